package sip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/sdp"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// Times of our own choice, where RFC 3261 leaves them.
const (
	timerB   = 32 * time.Second // 64*T1: what the last address left gets to say anything
	ringLong = 3 * time.Minute  // timer C: how long a call may ring
	mute     = 2 * time.Second  // after a 100 and nothing more the proxy is asked whether it lives, and again
)

// errTakenAlong is why a call leaves a proxy that it had reached.
var errTakenAlong = outbound.Failure{Method: string(sip.INVITE), Cause: outbound.NoAnswer, Err: errors.New("after 100 Trying, and the line has moved")}

// Call places a call. offer is what we can hear; where its address is
// unspecified the line fills in its own. All that follows is told by events.
func (l *Line) Call(number string, offer sdp.Session) *Call {
	c := l.newCall(dialog.Tag(), dialog.Tag())
	c.start(func() { c.dial(number, offer) })
	return c
}

// A leg is what one far end has said to our INVITE: there may be several, when
// a proxy rings several phones.
type leg struct {
	dialog *dialog.Dialog
	theirs *sdp.Session

	rseq    uint32        // of its latest reliable response, RFC 3262; 0 is none
	pracked chan struct{} // closed when that was acknowledged
}

// dial takes a call through the addresses until one answers, and through the
// call after that.
func (c *Call) dial(number string, offer sdp.Session) {
	l := c.line
	user, err := dialled(number)
	if err != nil {
		c.end(484, err.Error()) // Address Incomplete
		return
	}
	to := l.domain
	to.User = user

	// Hanging up ends the waiting for DNS and connections too.
	setup, cancel := context.WithCancel(c.ctx)
	defer cancel()
	go func() {
		select {
		case <-c.hung:
			cancel()
		case <-setup.Done():
		}
	}()

	via, err := l.first(setup)
	if err != nil {
		c.end(0, "no proxy is known")
		return
	}
	l.route.Urge()
	if l.emergency(number) {
		c.rush(setup, via, to, offer)
		return
	}
	began, seq := time.Now(), uint32(dialog.FirstCSeq)
	var tried []outbound.Target
	for {
		tried = append(tried, via)
		f, done := c.attempt(setup, via, tried, to, offer, &seq)
		if done {
			return
		}
		next, more := outbound.Target{}, false
		if outbound.Judge(f) == outbound.Move {
			next, more = l.next(via, tried, c.doubt, f)
		}
		if !more {
			l.log.Debug("call failed", "line", l.cfg.Name, "via", via.Dest, "error", f)
			c.end(f.Code, f.Error())
			return
		}
		l.log.Debug("call moved", "line", l.cfg.Name, "from", via.Dest, "to", next.Dest, "why", f)
		c.say(Moved{c, via, next, f})
		via, c.began = next, began
	}
}

// next is where a call goes that via did not take: to the first address that
// has answered while via was silent, else where the route points now, else to
// any that it has not tried.
func (l *Line) next(via outbound.Target, tried []outbound.Target, d *doubt, f outbound.Failure) (outbound.Target, bool) {
	f = d.failure(f)
	if len(d.better) > 0 {
		l.route.NextTo(via, f, d.better[0]) // and the registration goes there too
		return d.better[0], true
	}
	at, _ := l.route.Next(via, f)
	if !at.IsZero() && !slices.Contains(tried, at) {
		return at, true
	}
	return l.untried(tried)
}

// first is the address a call begins with: where the line is registered,
// unless the route has moved since.
func (l *Line) first(ctx context.Context) (outbound.Target, error) {
	if via, ok := l.route.Current(); ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.status.State == "registered" && via == l.home {
			return l.status.Via, nil
		}
		return via, nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.NoAnswer)
	defer cancel()
	return l.route.First(ctx)
}

// untried is the best address that a call has not tried.
func (l *Line) untried(tried []outbound.Target) (outbound.Target, bool) {
	for _, t := range l.route.Targets() {
		if !slices.Contains(tried, t) {
			return t, true
		}
	}
	return outbound.Target{}, false
}

// attempt takes the call to one address. done means that the call is over;
// otherwise the failure says why the next address should be asked.
func (c *Call) attempt(setup context.Context, via outbound.Target, tried []outbound.Target, to sip.Uri, offer sdp.Session, seq *uint32) (f outbound.Failure, done bool) {
	l := c.line
	began, patience := time.Now(), l.route.Pace(via, string(sip.INVITE))
	pace := patience
	if _, more := l.untried(tried); more {
		pace.Quiet = max(pace.Quiet, l.cfg.NoAnswer)
	} else {
		pace.Quiet = timerB
	}
	c.doubt = l.doubts(via, tried, patience)
	local, err := l.reach(setup, via, pace.Quiet)
	if c.hungUp() {
		c.end(0, "hung up")
		return f, true
	}
	if err != nil {
		return failureOf(sip.INVITE, began, nil, err), false
	}
	c.moveTo(via, local)
	c.ours = withIdentity(at(offer, local), c.ours)
	clear(c.early)
	c.offered = true

	expires := time.Duration(0) // asked for by a 422
	for tries := 0; ; {
		began = time.Now()
		req := c.invite(to, *seq, expires)
		*seq++
		l.keys.sign(via, req)
		c.doubt.settle()
		c.doubt = l.doubts(via, tried, patience)
		inv := l.layer.InviteAt(c.ctx, via, req, pace)
		res, err := c.await(inv, req, via)
		c.doubt.settle()
		switch {
		case res == nil && err == nil:
			return f, true
		case err != nil:
			return failureOf(sip.INVITE, began, nil, err), false
		}
		switch code := res.StatusCode; {
		case code == 401 || code == 407:
			err := error(nil)
			if tries++; tries > maxTries {
				err = errors.New("asks again and again for the password")
			} else {
				err = l.keys.challenged(via, req, res)
			}
			if err != nil {
				c.end(code, fmt.Sprintf("%d %s: %v", code, reason(res), err))
				return f, true
			}
			continue
		case code == 422:
			// RFC 4028 section 6: "if the UAC receives a 422 [...] the UAC MAY
			// try again, with a Session-Expires of at least Min-SE".
			least, ok := seconds(res.GetHeader("Min-SE"))
			if ok && least > expires && least <= maxExpires {
				expires = least
				continue
			}
		}
		f := failureOf(sip.INVITE, began, res, nil)
		if outbound.Judge(f) == outbound.Move {
			return f, false
		}
		c.end(res.StatusCode, reason(res))
		return f, true
	}
}

// withIdentity keeps the session's identity over the attempts of one call.
func withIdentity(s, before sdp.Session) sdp.Session {
	s.ID, s.Version = before.ID, before.Version
	return s
}

func (c *Call) hungUp() bool {
	select {
	case <-c.hung:
		return true
	default:
		return false
	}
}

// invite builds the INVITE. Call-ID and From tag stay the same over all
// addresses, so that a far end that hears two knows them for one (RFC 3261
// section 8.2.2.2); CSeq grows with each.
func (c *Call) invite(to sip.Uri, seq uint32, expires time.Duration) *sip.Request {
	l := c.line
	via, local := c.place()
	req := sip.NewRequest(sip.INVITE, to)
	l.mu.Lock()
	for _, r := range l.views[via].service {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	l.mu.Unlock()
	l.head(req, sip.FromHeader{DisplayName: quotable(l.cfg.DisplayName), Address: l.me(), Params: params("tag", c.tag)},
		sip.ToHeader{Address: to}, c.id, seq)
	req.AppendHeader(l.contact(via, local))
	req.AppendHeader(sip.NewHeader("Allow", allow))
	req.AppendHeader(sip.NewHeader("Supported", supported))
	if expires > 0 {
		req.AppendHeader(sip.NewHeader("Session-Expires", strconv.Itoa(int(expires/time.Second))))
		req.AppendHeader(sip.NewHeader("Min-SE", strconv.Itoa(int(expires/time.Second))))
	}
	req.AppendHeader(contentType())
	req.SetBody(c.describe(c.ours))
	return req
}

// An invite is an INVITE on its way: a *txn.Invite, or the path of an emergency
// call that won.
type invite interface {
	Responses() <-chan *sip.Response
	Err() error
	Cancel()
	Abandon()
}

// await listens to one INVITE. It returns the final response if that is not a
// 2xx, or why there is none; nil and nil mean that the call is over: hung up,
// or answered and ended since.
func (c *Call) await(inv invite, req *sip.Request, via outbound.Target) (*sip.Response, error) {
	l := c.line
	var final *sip.Response
	d, long, unheard := c.doubt, time.NewTimer(ringLong), time.NewTimer(ringLong)
	defer long.Stop()
	defer unheard.Stop()
	gone := func() (*sip.Response, error) { // silent, and another is not
		inv.Abandon()
		return nil, txn.ErrNoAnswer
	}
	accepted, ringing := false, false
	home, _ := l.route.Current()
	for {
		moved := l.route.Moved()
		if at, ok := l.route.Current(); ok && at != via && at != home && accepted && !ringing {
			// The proxy took the call with a 100 and was found dead since: the
			// caller need not listen to nothing until he gives up.
			inv.Abandon()
			return nil, errTakenAlong
		}
		select {
		case res, ok := <-inv.Responses():
			if !ok {
				if final == nil && inv.Err() == nil {
					return nil, txn.ErrNoAnswer
				}
				return final, inv.Err()
			}
			d.settle()
			if res.StatusCode > 100 && !c.began.IsZero() {
				l.route.Noticed(fmt.Sprintf("a call took %.1f s longer", time.Since(c.began).Seconds()))
				c.began = time.Time{}
			}
			if res.StatusCode != 401 && res.StatusCode != 407 && !accepted {
				accepted = true
				l.keys.accepted(via, req, res)
				unheard.Reset(mute)
			}
			switch {
			case res.StatusCode == 100:
			case res.StatusCode < 200:
				ringing = true
				c.progress(req, res, via)
			case res.StatusCode < 300:
				l.route.Good(via, 0)
				c.answered(inv, req, res, via)
				return nil, nil
			default:
				final = res
			}
		case <-moved:
		case <-unheard.C:
			if !ringing {
				l.suspects()
				unheard.Reset(mute)
			}
		case <-d.suspect.C:
			d.begin(c.ctx)
		case <-d.over.C:
			if d.late = true; d.leave() {
				return gone()
			}
		case t := <-d.spoke:
			if d.heard(t) {
				return gone()
			}
		case <-c.hung:
			inv.Cancel()
			c.end(0, "hung up")
			c.drain(inv)
			return nil, nil
		case <-long.C:
			inv.Cancel()
			c.end(408, "nobody answered")
			c.drain(inv)
			return nil, nil
		case s := <-c.requests:
			c.asked(s)
		case do := <-c.news:
			do()
		case <-c.ctx.Done():
			c.end(0, "the line stopped")
			c.drain(inv)
			return nil, nil
		}
	}
}

// suspects asks the line's proxy for a sign of life ahead of time. A death moves
// the route, and the call with it.
func (l *Line) suspects() {
	select {
	case l.suspect <- struct{}{}:
	default:
	}
}

// drain reads what still comes of an INVITE that nobody waits for. The layer
// clears it up.
func (c *Call) drain(inv invite) {
	c.linger(inv.Responses(), func(*sip.Response) {})
}

// progress takes a provisional response: the leg it belongs to, whether it
// wants a PRACK, the sound it may bring.
func (c *Call) progress(req *sip.Request, res *sip.Response, via outbound.Target) {
	tag, _ := res.To().Params.Get("tag")
	g := c.early[tag]
	if g == nil && tag != "" && len(c.early) < 16 {
		if d, err := dialog.FromResponse(req, res); err == nil {
			g = &leg{dialog: d}
			c.early[tag] = g
		}
	}
	if reliable(res) {
		if g == nil || !c.prack(g, res, via) {
			return // out of order, or heard before
		}
	}
	if s := sessionIn(res); s != nil {
		c.theirs = s
		if g != nil {
			g.theirs = s
		}
		if reliable(res) {
			c.offered = false // RFC 3262 section 5: this is the answer; without PRACK it only announces one
		}
	}
	c.say(Progress{c, res.StatusCode, c.agreed()})
}

// agreed is the sound as it stands, or nil.
func (c *Call) agreed() *sdp.Session {
	if c.theirs == nil {
		return nil
	}
	m, err := sdp.Agree(c.ours, *c.theirs)
	if err != nil {
		return nil
	}
	return &m
}

// answered takes the 2xx: acknowledges it and talks, or ends what cannot work.
func (c *Call) answered(inv invite, req *sip.Request, res *sip.Response, via outbound.Target) {
	tag, _ := res.To().Params.Get("tag")
	g := c.early[tag]
	if g == nil {
		g = &leg{}
	}
	d, err := dialog.FromResponse(req, res)
	if err != nil {
		inv.Abandon() // it cannot be acknowledged by us; the layer does what can be done
		c.end(500, "answered without an address: "+err.Error())
		return
	}
	c.mu.Lock()
	if g.dialog != nil { // the sequence went on with PRACK
		d.LocalSeq = max(d.LocalSeq, g.dialog.LocalSeq)
		d.RemoteSeq = g.dialog.RemoteSeq
	}
	c.dialog = d
	c.mu.Unlock()
	clear(c.early)
	c.offered = false
	c.acknowledge(d, req, via)
	fork := func(res *sip.Response) { c.forked(req, res, via) }

	if s := sessionIn(res); s != nil {
		c.theirs = s
	} else {
		c.theirs = g.theirs
	}
	m := c.agreed()
	if m == nil {
		c.end(488, "no codec in common")
		c.bye()
		c.linger(inv.Responses(), fork)
		return
	}
	c.updates = takesUpdate(res)
	c.timer.caller(res)
	c.media, c.told = *m, true
	c.say(Answered{c, *m})
	c.talk(inv.Responses(), fork)
}

// acknowledge sends the ACK of a 2xx: through the proxy that brought it, with
// the credentials of the INVITE.
//
// RFC 3261 section 13.2.2.4: "The ACK MUST contain the same credentials as the
// INVITE."
func (c *Call) acknowledge(d *dialog.Dialog, invite *sip.Request, via outbound.Target) {
	ack := d.Ack(invite.CSeq().SeqNo)
	for _, proxy := range []bool{false, true} {
		for _, h := range invite.GetHeaders(field(proxy)) {
			ack.AppendHeader(sip.HeaderClone(h))
		}
	}
	ack.SetBody(nil)
	c.line.layer.Ack(via, ack)
}

// forked ends what an answered INVITE still brings: another far end that has
// answered too. The first one won.
//
// RFC 3261 section 13.2.2.4: "If, after acknowledging any 2xx response to an
// INVITE, the UAC does not want to continue with that dialog, then the UAC MUST
// terminate the dialog by sending a BYE request".
func (c *Call) forked(req *sip.Request, res *sip.Response, via outbound.Target) {
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return
	}
	d, err := dialog.FromResponse(req, res)
	if err != nil || c.dialog != nil && d.RemoteTag == c.dialog.RemoteTag {
		return
	}
	c.acknowledge(d, req, via)
	c.line.spawn(func() {
		c.line.send(c.ctx, via, timerB, func() *sip.Request {
			bye := d.Request(sip.BYE)
			bye.SetBody(nil)
			return bye
		})
	})
}

// sessionIn is the session in a message, or nil.
func sessionIn(msg sip.Message) *sdp.Session {
	if len(msg.Body()) == 0 {
		return nil
	}
	if h, ok := msg.(interface{ ContentType() *sip.ContentTypeHeader }); ok {
		if t := h.ContentType(); t == nil || !strings.HasPrefix(strings.ToLower(t.Value()), sdpType) {
			return nil
		}
	}
	s, err := sdp.Parse(msg.Body())
	if err != nil {
		return nil
	}
	return &s
}

// takesUpdate reports whether the far end lists UPDATE in Allow, RFC 3311
// section 5.1.
func takesUpdate(msg sip.Message) bool {
	return slices.ContainsFunc(tokens(msg, "Allow"), func(m string) bool { return strings.EqualFold(m, "UPDATE") })
}
