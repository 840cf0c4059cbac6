package sip

import (
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/sdp"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// ringAgain: RFC 3261 section 13.3.1.1, a UAS that takes its time "MUST send a
// non-100 provisional response at every minute".
const ringAgain = time.Minute

// spoken is all that a phone here may be able to hear. Whether the one that is
// rung can, the operator knows.
var spoken = []sdp.Codec{sdp.PCMU, sdp.PCMA, sdp.G722, sdp.G726, sdp.G726AAL2}

// incoming takes an INVITE from outside. It does not wait: everything but the
// quickest refusals is the call's own goroutine's.
func (l *Line) incoming(s *txn.Server) {
	req := s.Request()
	if req.Recipient.User != l.user {
		// Not sent to the address we registered: a binding of an earlier
		// boot, or somebody who guesses. It does not ring.
		l.reply(s, 404)
		return
	}
	l.mu.Lock()
	full := len(l.calls) >= maxCalls
	l.mu.Unlock()
	if full {
		l.reply(s, 486)
		return
	}
	if l.unreadable(s) {
		return
	}
	d, err := dialog.FromRequest(req, s.Tag())
	if err != nil {
		l.reply(s, 400)
		return
	}
	c := l.newCall(d.CallID, d.LocalTag)
	c.dialog, c.incoming = d, true
	c.start(func() { c.receive(s) })
}

// receive is an incoming call from its INVITE to its answer, and on.
func (c *Call) receive(s *txn.Server) {
	l, req := c.line, s.Request()
	c.told = false
	if n := len(req.Body()); n > 0 {
		offer, err := sdp.Parse(req.Body())
		if err != nil {
			c.refuse(s, 400, "the offer cannot be read: "+err.Error())
			return
		}
		if !offer.Speaks(spoken) {
			c.refuse(s, 488, sdp.ErrNothingInCommon.Error())
			return
		}
		c.theirs = &offer
	}
	timer := c.timer
	headers, least := timer.callee(req)
	if least > 0 {
		l.reply(s, 422, "Min-SE", strconv.Itoa(int(least/time.Second)))
		c.over = true // nobody was told of it
		c.forget()
		return
	}
	via := l.target(s)
	local, err := l.reach(c.ctx, via, l.cfg.NoAnswer)
	if err != nil {
		c.refuse(s, 480, err.Error())
		return
	}
	c.moveTo(via, local)
	c.updates = takesUpdate(req)
	number, name, withheld := caller(req)
	c.say(Incoming{c, number, name, withheld, c.theirs})

	ringing := false
	minute := time.NewTicker(ringAgain)
	defer minute.Stop()
	repeat := time.NewTimer(never)
	defer repeat.Stop()
	for !c.over {
		if c.reliable != nil {
			rearm(repeat, c.reliable.next)
		}
		select {
		case w := <-c.wants:
			switch {
			case w.change != nil:
			case w.code == 180:
				ringing = true
				c.ring(s)
			case w.code == 200:
				if c.accept(s, w.session, headers, timer) {
					c.talk(nil, nil)
				}
				return
			default:
				c.refuse(s, w.code, "rejected")
			}
		case <-c.hung:
			c.refuse(s, 480, "hung up")
		case <-s.Cancelled():
			c.end(487, "the caller gave up")
		case r := <-c.requests:
			c.asked(r)
			if c.over { // a BYE before the answer, RFC 3261 section 15.1.2
				l.reply(s, 487)
			}
		case do := <-c.news:
			do()
		case <-repeat.C:
			p := c.reliable
			if !time.Now().Before(p.until) {
				// RFC 3262 3: "the UAS SHOULD reject the original request
				// with a 5xx response".
				c.refuse(s, 504, "the caller does not acknowledge the ringing")
				break
			}
			s.Respond(p.res)
			p.again *= 2
			if p.next = time.Now().Add(p.again); p.next.After(p.until) {
				p.next = p.until
			}
		case <-minute.C:
			if ringing {
				c.ring(s)
			}
		case <-c.ctx.Done():
			c.refuse(s, 480, "the line stopped")
		}
	}
}

// refuse answers an incoming call with anything but success.
func (c *Call) refuse(s *txn.Server, code int, why string) {
	c.line.reply(s, code)
	c.end(code, why)
}

// forget takes the call off the line without a word.
func (c *Call) forget() {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	delete(c.line.calls, c.tag)
}

// accept answers with 200. Where the caller made no offer, ours goes out and
// the call is agreed when its ACK comes.
func (c *Call) accept(s *txn.Server, session sdp.Session, headers []sip.Header, timer sessionTimer) bool {
	_, local := c.place()
	c.ours = withIdentity(at(session, local), c.ours)
	var body []byte
	if c.theirs != nil {
		answer, err := sdp.Answer(c.ours, *c.theirs)
		if err != nil {
			c.refuse(s, 488, err.Error())
			return false
		}
		body = c.describe(answer)
	} else {
		body, c.offered = c.describe(c.ours), true
	}
	if err := s.Respond(c.accepted(s, body, headers)); err != nil {
		c.end(487, "the caller gave up")
		return false
	}
	c.mu.Lock()
	c.dialog.Early = false
	c.mu.Unlock()
	timer.restart()
	c.timer = timer
	c.awaitAck(s)
	if c.theirs != nil {
		c.tune()
	}
	return true
}
