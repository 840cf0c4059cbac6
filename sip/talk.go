package sip

import (
	"fmt"
	"net/netip"
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

// talk is the call from its answer to its end. late brings what an INVITE of
// ours still brings after its 2xx, and fork takes that; both nil for a call
// that came in.
func (c *Call) talk(late <-chan *sip.Response, fork func(*sip.Response)) {
	session := time.NewTimer(never)
	defer session.Stop()
	for len(c.keys) > 0 { // pressed while it rang
		<-c.keys
	}
	keys := c.keys
	c.wanted = c.ours
	for !c.over {
		c.propose()
		rearm(session, c.timer.next)
		select {
		case w := <-c.wants:
			if w.change != nil {
				w.change(&c.wanted)
				c.resting = false
			}
		case key := <-keys:
			keys = nil // the next has to wait, or it may overtake
			c.line.spawn(func() {
				c.digit(key)
				c.post(func() { keys = c.keys })
			})
		case <-c.hung:
			c.end(0, "hung up")
			c.bye()
		case s := <-c.requests:
			c.asked(s)
		case do := <-c.news:
			do()
		case <-session.C:
			c.expire()
		case res, ok := <-late:
			if !ok {
				late = nil
				continue
			}
			fork(res)
		case <-c.ctx.Done():
			c.end(0, "the line stopped")
		}
	}
	c.linger(late, fork)
}

// lookAgain is when a call whose signalling has failed is looked at again.
const lookAgain = 10 * time.Second

// never is longer than any call.
const never = 10000 * time.Hour

// rearm sets a timer to a time, the zero time being never.
func rearm(t *time.Timer, at time.Time) {
	if at.IsZero() {
		t.Reset(never)
	} else {
		t.Reset(time.Until(at))
	}
}

// linger waits for what may still come of an INVITE after its call is over.
func (c *Call) linger(late <-chan *sip.Response, fork func(*sip.Response)) {
	for late != nil {
		select {
		case res, ok := <-late:
			if !ok {
				return
			}
			fork(res)
		case do := <-c.news:
			do()
		case s := <-c.requests:
			c.line.reply(s, 481)
		case <-c.line.leaving:
			return
		}
	}
}

// asked takes a request in one of the call's dialogs, RFC 3261 section 12.2.2.
func (c *Call) asked(s *txn.Server) {
	l, req := c.line, s.Request()
	d := c.which(req)
	if d == nil || c.over {
		l.reply(s, 481)
		return
	}
	c.mu.Lock()
	err := d.Accept(req)
	c.mu.Unlock()
	if err != nil {
		l.reply(s, 500, "Retry-After", "1")
		return
	}
	if l.unfit(s) {
		return
	}
	switch req.Method {
	case sip.BYE:
		l.reply(s, 200)
		if d == c.dialog {
			c.end(0, byeReason(req))
		}
	case sip.INVITE, sip.UPDATE:
		c.reoffer(s, d)
	case sip.PRACK:
		c.pracked(s)
	case sip.INFO:
		if h := req.GetHeader("Info-Package"); h != nil {
			l.reply(s, 469, "Recv-Info", "") // RFC 6086 section 4.2.2: none is spoken
			return
		}
		if key, lasted, ok := keyIn(req); ok {
			c.say(Pressed{c, key, lasted})
		}
		l.reply(s, 200)
	case sip.OPTIONS:
		l.reply(s, 200, "Allow", allow, "Accept", sdpType, "Supported", supported)
	default: // NOTIFY of a subscription that nobody has made, RFC 6665 section 4.1.3
		l.reply(s, 481)
	}
}

// which is the dialog a request belongs to: the call's, or an early one.
func (c *Call) which(req *sip.Request) *dialog.Dialog {
	id, _ := dialog.Of(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dialog != nil {
		if c.dialog.RemoteTag == id.RemoteTag {
			return c.dialog
		}
		return nil
	}
	if g := c.early[id.RemoteTag]; g != nil {
		return g.dialog
	}
	return nil
}

// reoffer answers a re-INVITE or UPDATE: hold, resume, sound that moves, or
// only a sign that the session lives (RFC 3261 section 14.2, RFC 3311, RFC 4028).
func (c *Call) reoffer(s *txn.Server, d *dialog.Dialog) {
	l, req := c.line, s.Request()
	if c.offered && (len(req.Body()) > 0 || req.IsInvite()) {
		// RFC 3261 14.2: "A UAS that receives an INVITE on a dialog while an
		// INVITE it had sent on that dialog is in progress MUST return a 491";
		// RFC 3311 5.2 says the same of UPDATE.
		l.reply(s, 491)
		return
	}
	if l.unreadable(s) {
		return
	}
	timer := c.timer
	headers, least := timer.callee(req)
	if least > 0 {
		l.reply(s, 422, "Min-SE", strconv.Itoa(int(least/time.Second)))
		return
	}
	var body []byte
	var offer *sdp.Session
	switch {
	case len(req.Body()) > 0:
		o, err := sdp.Parse(req.Body())
		if err != nil {
			l.reply(s, 488, "Warning", `399 ata-agent "`+quotable(shown(err.Error()))+`"`)
			return
		}
		answer, err := sdp.Answer(c.ours, o)
		if err != nil {
			// RFC 3261 14.2: "If the new session description is not
			// acceptable, the UAS can reject it by returning a 488"; the
			// session goes on as it was.
			l.reply(s, 488)
			return
		}
		offer, body = &o, c.describe(answer)
	case req.IsInvite():
		body, c.offered = c.describe(c.ours), true
	}
	c.mu.Lock()
	d.Refresh(req)
	c.mu.Unlock()
	if err := s.Respond(c.accepted(s, body, headers)); err != nil {
		c.offered = false
		return
	}
	c.timer = timer
	if req.IsInvite() {
		c.awaitAck(s)
	}
	if offer != nil {
		c.theirs = offer
		c.tune()
	}
}

// accepted is the 200 to an INVITE or UPDATE.
func (c *Call) accepted(s *txn.Server, body []byte, headers []sip.Header) *sip.Response {
	l := c.line
	via, local := c.place()
	res := s.Response(200, "", body)
	res.AppendHeader(l.contact(via, local))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	res.AppendHeader(sip.NewHeader("Supported", supported))
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if len(body) > 0 {
		res.AppendHeader(contentType())
	}
	if l.cfg.UserAgent != "" {
		res.AppendHeader(sip.NewHeader("Server", l.cfg.UserAgent))
	}
	return res
}

// awaitAck waits for the ACK of our 2xx: it may bring the answer to our offer,
// and without it there is no session.
func (c *Call) awaitAck(s *txn.Server) {
	c.unacked = true
	c.line.spawn(func() {
		ack, ok := <-s.Acked()
		c.post(func() { c.acked(ack, ok) })
	})
}

func (c *Call) acked(ack *sip.Request, ok bool) {
	c.unacked = false
	if c.over {
		return
	}
	if !ok {
		// RFC 3261 13.3.1.4: "If the server retransmits the 2xx response for
		// 64*T1 seconds without receiving an ACK, the dialog is confirmed, but
		// the session SHOULD be terminated. This is accomplished with a BYE".
		c.end(0, "the far end did not confirm the answer")
		c.bye()
		return
	}
	if !c.offered {
		return
	}
	c.offered = false
	answer := sessionIn(ack)
	if answer == nil {
		c.end(488, "the far end's ACK holds no session")
		c.bye()
		return
	}
	c.theirs = answer
	c.tune()
}

// tune tells what was agreed, when that is news.
func (c *Call) tune() {
	m := c.agreed()
	switch {
	case m == nil && c.dialog != nil && c.told:
		// Nothing in common any more, or the stream was closed: silence, not an end.
		return
	case m == nil:
		c.end(488, "no codec in common")
		c.bye()
	case c.dialog == nil || c.dialog.Early:
		c.say(Progress{c, 183, m})
	case !c.told:
		c.media, c.told = *m, true
		c.say(Answered{c, *m})
	case !same(*m, c.media):
		c.media = *m
		c.say(Changed{c, *m})
	}
}

// byeReason is why the far end hung up, where it says so (RFC 3326).
func byeReason(req *sip.Request) string {
	if h := req.GetHeader("Reason"); h != nil {
		if _, text, ok := strings.Cut(h.Value(), "text="); ok {
			text, _, _ = strings.Cut(strings.TrimPrefix(text, `"`), `"`)
			if text = shown(text); text != "" {
				return "the far end hung up: " + text
			}
		}
	}
	return "the far end hung up"
}

// A sessionTimer is the agreement that one side gives a sign of life every
// now and then, RFC 4028. The zero sessionTimer is none.
type sessionTimer struct {
	every time.Duration // between refreshes at most; 0 is no agreement
	ours  bool          // we refresh
	since time.Time     // the latest refresh
	next  time.Time     // when to refresh, or to give up; zero is never
}

// minSE: RFC 4028 section 5, "the minimum value for the Min-SE [...] 90 seconds".
const minSE = 90 * time.Second

// caller reads the 2xx to a request of ours.
func (t *sessionTimer) caller(res *sip.Response) {
	h := res.GetHeader("Session-Expires")
	every, ok := seconds(h)
	if !ok {
		*t = sessionTimer{}
		return
	}
	t.set(every, refresher(h) == "uac")
}

// callee reads a request of theirs and says what the 2xx must hold; least is
// not 0 when they want more refreshes than we are willing to count.
func (t *sessionTimer) callee(req *sip.Request) (headers []sip.Header, least time.Duration) {
	h := req.GetHeader("Session-Expires")
	every, ok := seconds(h)
	if !ok {
		*t = sessionTimer{}
		return nil, 0
	}
	speaks := false // the far end knows of timers itself; a proxy may have put the header in
	for _, tag := range tokens(req, "Supported") {
		speaks = speaks || strings.EqualFold(tag, "timer")
	}
	if every < minSE {
		if speaks {
			return nil, minSE
		}
		every = minSE
	}
	who := refresher(h)
	if who == "" || !speaks {
		who = "uac"
		if !speaks {
			who = "uas" // RFC 4028 table 2: nobody else can
		}
	}
	t.set(every, who == "uas")
	headers = append(headers, sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=%s", every/time.Second, who)))
	if who == "uac" {
		// "the UAS MUST place a Require header field in the response with the
		// value 'timer'", section 9.
		headers = append(headers, sip.NewHeader("Require", "timer"))
	}
	return headers, 0
}

func refresher(h sip.Header) string {
	for _, p := range strings.Split(h.Value(), ";")[1:] {
		if k, v, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(k), "refresher") {
			return strings.ToLower(strings.TrimSpace(v))
		}
	}
	return ""
}

// set starts the count. RFC 4028 section 10: the refresher refreshes at half
// the interval; the other side gives up "the minimum of 32 seconds and
// one third of the session interval" before the end.
func (t *sessionTimer) set(every time.Duration, ours bool) {
	every = min(max(every, 10*time.Second), maxExpires)
	now := time.Now()
	*t = sessionTimer{every: every, ours: ours, since: now}
	if ours {
		t.next = now.Add(every / 2)
	} else {
		t.next = now.Add(every - min(32*time.Second, every/3))
	}
}

// restart counts from now: an incoming call rings before it is answered.
func (t *sessionTimer) restart() {
	if t.every > 0 {
		t.set(t.every, t.ours)
	}
}

// expire does what the timer has come for.
func (c *Call) expire() {
	t := &c.timer
	switch {
	case c.stale:
		c.renegotiate()
		return
	case !t.ours || time.Since(t.since) >= t.every:
		if c.spared() {
			return
		}
		c.end(0, "the far end gave no sign of life")
		c.bye()
		return
	}
	t.next = t.since.Add(t.every)
	c.refresh()
}

// spared reports whether a call that signalling calls dead goes on, because its
// sound flows: two people talk, and a proxy has lost its memory. It is looked
// at again every now and then.
func (c *Call) spared() bool {
	flows := c.line.cfg.MediaFlows
	if flows == nil || !flows(c.id) {
		return false
	}
	c.timer.next = time.Now().Add(lookAgain)
	return true
}

// relocate tells the far end that we have another address now, where it is to
// send sound and requests.
func (c *Call) relocate() {
	via, before := c.place()
	if c.over || c.dialog == nil || c.dialog.Early {
		return
	}
	local, err := c.line.reach(c.ctx, via, c.line.cfg.NoAnswer)
	if err != nil || local.Addr == before.Addr {
		return
	}
	c.moveTo(via, local)
	c.ours.Addr = netip.AddrPortFrom(local.Addr.Addr().WithZone(""), c.ours.Addr.Port())
	c.renegotiate()
}

// renegotiate sends a re-INVITE with the session as it is, and again until the
// far end has taken it.
func (c *Call) renegotiate() {
	if c.stale = true; c.offered {
		c.timer.next = time.Now().Add(time.Second)
		return
	}
	c.offer(c.current(), func(res *sip.Response, err error) {
		switch {
		case c.over:
		case err == nil && (res.IsSuccess() || res.StatusCode == 491 || res.StatusCode == 481 || res.StatusCode == 408):
			c.stale = !res.IsSuccess()
			c.refreshed(res, nil)
		default:
			c.timer.next = time.Now().Add(lookAgain)
		}
	})
}

// refresh sends the sign of life: UPDATE where the far end takes that, else a
// re-INVITE with the session as it is.
func (c *Call) refresh() {
	if c.offered {
		c.timer.next = time.Now().Add(time.Second)
		return
	}
	if c.updates {
		lives := c.timer.header()
		c.line.spawn(func() {
			res, err := c.deliver(c.ctx, func() *sip.Request { return c.request(sip.UPDATE, lives...) })
			c.post(func() { c.refreshed(res, err) })
		})
		return
	}
	c.offer(c.current(), c.refreshed)
}

// header asks for what was agreed, and for us to refresh.
func (t *sessionTimer) header() []sip.Header {
	if t.every == 0 {
		return nil
	}
	return []sip.Header{sip.NewHeader("Session-Expires", fmt.Sprintf("%d;refresher=uac", t.every/time.Second))}
}

// offer sends a re-INVITE and has the call's goroutine hear what came of it.
func (c *Call) offer(s sdp.Session, then func(*sip.Response, error)) {
	c.offered = true
	body, lives := c.describe(s), c.timer.header()
	c.line.spawn(func() {
		res, err := c.reinvite(body, lives)
		c.post(func() {
			c.offered = false
			if s := sessionIn2xx(res); s != nil {
				c.theirs = s
				c.tune()
			}
			then(res, err)
		})
	})
}

// propose asks the far end for what the operator wants of our session, as soon as
// there is nothing else under way.
//
// RFC 3261 section 14.1: "a UAC MUST NOT initiate a new INVITE transaction within
// a dialog while another INVITE transaction is in progress in either direction."
func (c *Call) propose() {
	if c.offered || c.unacked || c.glaring {
		return
	}
	want, was := c.wanted, c.ours
	if alike(want, was) {
		c.unheard = 0
		return
	}
	if c.resting {
		return
	}
	c.ours.Direction, c.ours.Codecs = want.Direction, want.Codecs
	s := c.current()
	s.Direction = want.Direction
	if s.Direction == sdp.SendOnly && c.theirs.Holds() {
		s.Direction = sdp.Inactive // RFC 3264 section 8.4: there was nothing to send before either
	}
	c.offer(s, func(res *sip.Response, err error) {
		if err == nil && res.IsSuccess() && c.agreed() != nil {
			c.refreshed(res, nil)
			return
		}
		// RFC 3261 14.1: "If a UA receives a non-2xx final response to a
		// re-INVITE, the session parameters MUST remain unchanged".
		c.ours.Direction, c.ours.Codecs = was.Direction, was.Codecs
		switch {
		case err != nil:
			c.putOff(want, err, unsent(err))
		case res.StatusCode == 491:
			c.glaring = true
			c.later(c.glare(), func() { c.glaring = false })
		case res.StatusCode == 481:
			c.refreshed(res, nil)
		case res.IsSuccess():
			c.giveUp(want, sdp.ErrNothingInCommon)
		case slices.Contains(undecided, res.StatusCode):
			c.putOff(want, refusal(res), false)
		default:
			c.giveUp(want, refusal(res))
		}
	})
}

// alike reports whether the operator would tell two sessions of ours apart.
func alike(a, b sdp.Session) bool {
	return a.Direction == b.Direction && slices.Equal(a.Codecs, b.Codecs)
}

// undecided are the answers to a re-INVITE by which no far end has refused it:
// proxies give them that have lost it, and RFC 3261 section 14.2 has the far end
// say 500 while it is busy with another.
var undecided = []int{408, 500, 503, 504}

// askTimes is how often is asked what nobody decides. Our choice: each time may
// cost the line a proxy that is not at fault.
const askTimes = 4

func refusal(res *sip.Response) error { return fmt.Errorf("%d %s", res.StatusCode, reason(res)) }

// putOff has what was asked for in vain asked for again after a while, or at once
// what is wanted by now.
func (c *Call) putOff(asked sdp.Session, why error, unsent bool) {
	first := c.unheard == 0
	if first || !unsent {
		c.unheard++
	}
	if c.unheard == askTimes {
		c.giveUp(asked, why)
		return
	}
	if alike(c.wanted, asked) {
		c.resting = true
		c.later(lookAgain, func() { c.resting = false })
	}
	if first {
		c.say(Unchanged{Call: c, Err: why, Again: true})
	}
}

// giveUp leaves the session as it is, unless something else is wanted by now.
func (c *Call) giveUp(asked sdp.Session, why error) {
	if alike(c.wanted, asked) {
		c.wanted = c.ours
	}
	c.say(Unchanged{Call: c, Err: why})
}

// later has the call's goroutine do something after a time.
func (c *Call) later(d time.Duration, do func()) {
	c.line.spawn(func() {
		select {
		case <-time.After(d):
			c.post(do)
		case <-c.done:
		}
	})
}

// glare is how long to wait when both sides have made an offer, RFC 3261 section
// 14.1: the owner of the Call-ID "between 2.1 and 4 seconds", the other "between
// 0 and 2 seconds", "in units of 10 ms".
func (c *Call) glare() time.Duration {
	if c.incoming {
		return c.line.between(0, 2*time.Second)
	}
	return c.line.between(2100*time.Millisecond, 4*time.Second)
}

// current is our session as it stands: held by them is held by us, and the codec
// in use comes first.
func (c *Call) current() sdp.Session {
	s := c.ours
	if len(c.media.Codecs) == 0 {
		return s
	}
	s.Direction = c.media.Direction
	for i, o := range s.Codecs {
		if o.Name == c.media.Codecs[0].Name {
			s.Codecs = append([]sdp.Codec{o}, s.Codecs[:i]...)
			s.Codecs = append(s.Codecs, c.ours.Codecs[i+1:]...)
		}
	}
	return s
}

func sessionIn2xx(res *sip.Response) *sdp.Session {
	if res == nil || !res.IsSuccess() {
		return nil
	}
	return sessionIn(res)
}

// reinvite sends a re-INVITE and acknowledges its 2xx. It waits.
func (c *Call) reinvite(body []byte, lives []sip.Header) (*sip.Response, error) {
	l := c.line
	via := c.way()
	tried := []outbound.Target{via}
	for try := 0; ; try++ {
		began := time.Now()
		req := c.request(sip.INVITE, append(lives[:len(lives):len(lives)], contentType())...)
		req.SetBody(body)
		l.keys.sign(via, req)
		pace := l.inDialog(via, l.cfg.NoAnswer)
		inv := l.layer.InviteAt(c.ctx, via, req, pace)
		var final *sip.Response
		for res := range inv.Responses() {
			switch {
			case res.StatusCode < 200:
			case res.StatusCode < 300:
				c.mu.Lock()
				c.dialog.Refresh(res)
				d := *c.dialog
				c.mu.Unlock()
				c.acknowledge(&d, req, via)
				l.spawn(func() { ends(inv) })
				return res, nil
			default:
				final = res
			}
		}
		if final != nil && try < maxTries && l.keys.challenged(via, req, final) == nil {
			continue
		}
		f := failureOf(sip.INVITE, began, final, inv.Err())
		f.Tries = unanswered(f, via, sent(pace))
		next, ok := c.detour(c.ctx, via, f, tried)
		if !ok {
			if final != nil {
				return final, nil
			}
			return nil, f
		}
		tried, via = append(tried, next), next
	}
}

// ends reads an INVITE to its end.
func ends(inv *txn.Invite) {
	for range inv.Responses() {
	}
}

// refreshed takes the answer to a sign of life.
func (c *Call) refreshed(res *sip.Response, err error) {
	if c.over {
		return
	}
	t := &c.timer
	soon := func(d time.Duration) { t.next = time.Now().Add(d) }
	switch {
	case err != nil:
		// Nobody answered, through no proxy. Sound may flow all the same:
		// asked again until the session runs out.
		if until := time.Until(t.since.Add(t.every)); until > 0 {
			soon(min(until, t.every/8))
		} else {
			soon(0)
		}
	case res.IsSuccess():
		c.mu.Lock()
		c.dialog.Refresh(res)
		c.mu.Unlock()
		t.caller(res)
	case res.StatusCode == 422:
		if least, ok := seconds(res.GetHeader("Min-SE")); ok && least > t.every && least <= maxExpires {
			t.every = least
		}
		soon(time.Second)
	case res.StatusCode == 491:
		soon(c.glare())
	case res.StatusCode == 405 || res.StatusCode == 501:
		c.updates = false
		soon(0)
	case res.StatusCode == 481 || res.StatusCode == 408:
		// RFC 4028 section 10 and RFC 3261 section 12.2.1.2: "the UAC SHOULD
		// terminate the dialog". Not while two people hear each other.
		if c.spared() {
			return
		}
		c.end(res.StatusCode, "the far end does not know the call any more")
		c.bye()
	default:
		soon(t.every / 8)
	}
}
