package sip

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/sdp"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// hedgeAfter is how long an emergency call waits for any word of the proxies it
// has gone to, before it goes to one more as well.
const hedgeAfter = time.Second

// A path is an emergency call by way of one address.
type path struct {
	via   outbound.Target
	local transport.Local
	began time.Time
	ours  sdp.Session
	inv   *txn.Invite
	later chan *sip.Response // what the INVITE brings after the call was given away
	req   *sip.Request
	seq   uint32
	tries int // challenges answered
	heard bool
}

// A word is what was heard on a path: a response, its end, or that there is a
// way to it.
type word struct {
	p     *path
	inv   *txn.Invite // which of its INVITEs
	res   *sip.Response
	local transport.Local
	err   error
	ready bool
}

// rush takes an emergency call through all addresses, and through the call after
// that.
func (c *Call) rush(ctx context.Context, via outbound.Target, to sip.Uri, offer sdp.Session) {
	c.offered = true
	win := c.hedge(ctx, via, to, offer, dialog.FirstCSeq)
	if win == nil {
		return
	}
	c.doubt = c.line.doubts(win.via, nil, outbound.Pace{T1: timerB, Quiet: timerB})
	c.doubt.settle()
	res, err := c.await(win, win.req, win.via)
	switch {
	case res != nil:
		c.end(res.StatusCode, reason(res))
	case err != nil:
		c.end(0, failureOf(sip.INVITE, win.began, nil, err).Error())
	}
}

// hedge takes an emergency call to one address after the other without leaving
// any: the same call (Call-ID, From tag and CSeq are the same, so that a far
// end which hears it twice knows it for one, RFC 3261 section 8.2.2.2). The
// first that rings or answers has it, and the others are cancelled. What only
// refuses counts when nobody else is left. It returns the winner, whose first
// word is still to be read; nil when the call is over.
func (c *Call) hedge(ctx context.Context, first outbound.Target, to sip.Uri, offer sdp.Session, seq uint32) *path {
	l := c.line
	var paths []*path
	var tried []outbound.Target
	words := make(chan word)
	over := make(chan struct{})
	defer close(over)
	say := func(w word) {
		select {
		case words <- w:
		case <-over:
		}
	}
	open := 0 // paths that may still bring something
	start := func(via outbound.Target) {
		p := &path{via: via, began: time.Now(), seq: seq}
		paths, tried, open = append(paths, p), append(tried, via), open+1
		l.spawn(func() {
			local, err := l.reach(ctx, via, timerB)
			say(word{p: p, local: local, err: err, ready: err == nil})
		})
	}
	send := func(p *path) {
		c.moveTo(p.via, p.local)
		c.ours = withIdentity(at(offer, p.local), c.ours)
		p.ours = c.ours
		req := c.invite(to, p.seq, 0)
		l.keys.sign(p.via, req)
		pace := l.route.Pace(p.via, string(sip.INVITE))
		p.req, p.later = req, make(chan *sip.Response, 64)
		p.inv = l.layer.InviteAt(c.ctx, p.via, req, outbound.Pace{T1: pace.T1, T2: pace.T2, Quiet: timerB})
		inv, later := p.inv, p.later
		l.spawn(func() {
			defer close(later)
			for res := range inv.Responses() {
				select {
				case words <- word{p: p, inv: inv, res: res}:
				case <-over:
					select {
					case later <- res:
					default:
					}
				}
			}
			say(word{p: p, inv: inv, err: inv.Err()})
		})
	}
	drop := func(but *path) {
		for _, p := range paths {
			if p != but && p.inv != nil {
				p.inv.Abandon() // CANCELled, or ACK and BYE for one that answers all the same
			}
		}
	}

	var last outbound.Failure
	next := time.NewTimer(hedgeAfter)
	defer next.Stop()
	long := time.NewTimer(ringLong)
	defer long.Stop()
	start(first)
	for {
		another := false
		select {
		case w := <-words:
			p := w.p
			switch {
			case w.inv != p.inv: // an INVITE before the challenge was answered
			case w.ready:
				p.local = w.local
				send(p)
			case w.res == nil:
				if p.inv != nil && w.err == nil {
					break // a refusal was heard before
				}
				last = failureOf(sip.INVITE, p.began, nil, w.err)
				open, another = open-1, true
			case w.res.StatusCode == 100:
				p.heard = true
				next.Reset(l.cfg.NoAnswer)
			case w.res.StatusCode < 300:
				drop(p)
				p.heard = true
				c.moveTo(p.via, p.local)
				c.ours = withIdentity(p.ours, c.ours)
				c.prefer(p, paths)
				p.later <- w.res
				return p
			case (w.res.StatusCode == 401 || w.res.StatusCode == 407) && p.tries < maxTries && l.keys.challenged(p.via, p.req, w.res) == nil:
				p.heard, p.tries, p.seq = true, p.tries+1, p.seq+1
				send(p)
			case w.res.StatusCode == 482:
				// Loop Detected, RFC 3261 section 8.2.2.2: it has the call already,
				// by another way.
				open--
			default:
				p.heard = true
				last = failureOf(sip.INVITE, p.began, w.res, nil)
				open, another = open-1, true
			}
		case <-next.C:
			another = true
		case <-c.hung:
			drop(nil)
			c.end(0, "hung up")
			return nil
		case <-long.C:
			drop(nil)
			c.end(408, "nobody answered")
			return nil
		case s := <-c.requests:
			c.asked(s)
		case do := <-c.news:
			do()
		case <-c.ctx.Done():
			drop(nil)
			c.end(0, "the line stopped")
			return nil
		}
		if another {
			if t, more := l.untried(tried); more {
				c.say(Moved{c, tried[len(tried)-1], t, errors.New("an emergency call waits for nobody")})
				start(t)
				next.Reset(hedgeAfter)
			}
		}
		if open == 0 {
			if last.Err == nil && last.Code == 0 {
				last = outbound.Failure{Method: string(sip.INVITE), Cause: outbound.NoAnswer}
			}
			c.end(last.Code, last.Error())
			return nil
		}
	}
}

// Responses delivers what the winner's INVITE brings, as txn.Invite's does.
func (p *path) Responses() <-chan *sip.Response { return p.later }
func (p *path) Err() error                      { return p.inv.Err() }
func (p *path) Cancel()                         { p.inv.Cancel() }
func (p *path) Abandon()                        { p.inv.Abandon() }

// prefer moves the line to the address that took an emergency call, when the
// one in use has said nothing.
func (c *Call) prefer(win *path, paths []*path) {
	l := c.line
	for _, p := range paths {
		if p == win || p.heard || p.via != l.where() {
			continue
		}
		f := outbound.Failure{Method: string(sip.INVITE), Cause: outbound.NoAnswer, Began: p.began, Urgent: true}
		f.Tries = unanswered(f, p.via, sent(outbound.Pace{T1: t1, T2: timerB, Quiet: time.Since(p.began)}))
		l.route.Next(p.via, f)
		if l.where() != win.via {
			l.route.Alive(win.via, 0)
		}
	}
}

// emergency reports whether a number is one that does not wait.
func (l *Line) emergency(number string) bool { return slices.Contains(l.cfg.Emergency, number) }
