package sip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/sdp"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// A Call is one conversation, in or out, from its first to its last message.
// Its methods are commands: they do not wait and may come at any time from any
// goroutine; what makes no sense any more is ignored.
type Call struct {
	line     *Line
	id       string // Call-ID
	tag      string // ours
	ctx      context.Context
	incoming bool

	wants    chan want        // what the operator wants
	keys     chan byte        // to be sent by INFO
	hung     chan struct{}    // closed by Hangup
	hang     sync.Once        // closes it
	requests chan *txn.Server // from the far end, in order
	news     chan func()      // from goroutines that wait for an answer; run by the call's
	done     chan struct{}    // closed when the call's goroutine is gone

	// Owned by the call's goroutine.
	over     bool // Ended was told
	told     bool // Answered was told
	ours     sdp.Session
	wanted   sdp.Session  // ours as the operator wants it, once answered: its Direction and Codecs
	theirs   *sdp.Session // their latest
	media    sdp.Session  // agreed
	body     string       // our latest session as it was sent
	offered  bool         // an offer of ours waits for its answer
	unacked  bool         // a 2xx of ours waits for its ACK
	glaring  bool         // an offer of ours met one of theirs, and is not made again yet
	unheard  int          // how often nobody has decided on what is wanted; what could not be sent counts once
	resting  bool         // nor is it asked again yet
	updates  bool         // the far end takes UPDATE
	stale    bool         // the far end does not know yet where we are
	timer    sessionTimer
	early    map[string]*leg // of our INVITE, by the far end's tag
	doubt    *doubt          // about the address of our INVITE
	began    time.Time       // when it was dialled, if it has moved since and nothing was heard
	reliable *provisional    // our 180, where the caller insists on a PRACK

	// A request in the dialog is built by whoever waits for its answer.
	mu     sync.Mutex
	dialog *dialog.Dialog // once there is one that counts
	via    outbound.Target
	local  transport.Local
}

// A want is a command of the operator's.
type want struct {
	code    int // 180 ring, 200 answer, else reject
	session sdp.Session
	change  func(*sdp.Session) // of what is wanted of an answered call; nil: the above
}

func (l *Line) newCall(id, tag string) *Call {
	return &Call{
		line: l, id: id, tag: tag,
		wants: make(chan want, 4), keys: make(chan byte, maxKeys), hung: make(chan struct{}),
		requests: make(chan *txn.Server, 16), news: make(chan func()), done: make(chan struct{}),
		early: map[string]*leg{},
	}
}

// ID is the Call-ID, for logs.
func (c *Call) ID() string { return c.id }

// Line is the line it runs on.
func (c *Call) Line() *Line { return c.line }

// Ring says that the phone rings for an incoming call.
func (c *Call) Ring() { c.want(want{code: 180}) }

// Answer takes an incoming call. local is what we can hear, as in Line.Call.
func (c *Call) Answer(local sdp.Session) { c.want(want{code: 200, session: local}) }

// Reject refuses an incoming call with a status from 300 to 699: 486 busy,
// 603 decline, ... Any other becomes 480.
func (c *Call) Reject(code int) {
	if code < 300 || code > 699 {
		code = 480
	}
	c.want(want{code: code})
}

// Hold puts the far end of an answered call on hold, or resumes it. Changed
// follows, or Unchanged.
func (c *Call) Hold(on bool) {
	d := sdp.SendRecv
	if on {
		d = sdp.SendOnly
	}
	c.want(want{change: func(s *sdp.Session) { s.Direction = d }})
}

// Speak asks the far end of an answered call to go on in one of these codecs.
// Changed follows, unless the call has been in it, or Unchanged.
func (c *Call) Speak(codecs []sdp.Codec) {
	c.want(want{change: func(s *sdp.Session) { s.Codecs = codecs }})
}

// Hangup ends the call, whatever state it is in.
func (c *Call) Hangup() { c.hang.Do(func() { close(c.hung) }) }

// Digit sends a key, 0-9, *, #, A-D, to the far end of an answered call by INFO,
// after those before it. For far ends that take none beside the sound.
func (c *Call) Digit(key byte) {
	select {
	case c.keys <- key:
	default: // faster than anybody dials
	}
}

// Flash sends a hook flash as Digit sends keys.
func (c *Call) Flash() { c.Digit(flash) }

func (c *Call) want(w want) {
	select {
	case c.wants <- w:
	default: // somebody rings and answers without end
	}
}

// start runs the call in a goroutine of its own. When the line is not running
// the call ends at once.
func (c *Call) start(run func()) {
	l := c.line
	l.mu.Lock()
	running := l.running
	if running {
		l.calls[c.tag] = c
		l.active[c] = true
		c.ctx = l.ctx
		l.work.Go(func() {
			defer c.gone()
			run()
			c.end(0, "ended")
		})
	}
	l.mu.Unlock()
	if !running {
		go c.end(0, "the line is not running")
	}
}

// gone answers what came too late.
func (c *Call) gone() {
	close(c.done)
	c.line.mu.Lock()
	delete(c.line.active, c)
	c.line.mu.Unlock()
	for {
		select {
		case s := <-c.requests:
			c.line.reply(s, 481)
		default:
			return
		}
	}
}

// give hands over a request in one of the call's dialogs. It does not wait.
func (c *Call) give(s *txn.Server) {
	select {
	case c.requests <- s:
	default:
		c.line.reply(s, 500, "Retry-After", "5")
	}
}

// post has the call's goroutine do something, unless it is gone.
func (c *Call) post(do func()) {
	select {
	case c.news <- do:
	case <-c.done:
	}
}

// end tells that it is over, once, and forgets the call: what still comes for
// it is answered with 481.
func (c *Call) end(code int, reason string) {
	if c.over {
		return
	}
	c.over = true
	l := c.line
	l.mu.Lock()
	delete(l.calls, c.tag)
	l.mu.Unlock()
	l.tell(Ended{c, code, reason})
}

// say tells an event, unless the call has ended.
func (c *Call) say(e Event) {
	if !c.over {
		c.line.tell(e)
	}
}

// request builds our next request in the dialog, with what its method needs.
func (c *Call) request(method sip.RequestMethod, more ...sip.Header) *sip.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dress(c.dialog.Request(method), more...)
}

// dress adds Contact and what we speak. c.mu is held.
func (c *Call) dress(req *sip.Request, more ...sip.Header) *sip.Request {
	l := c.line
	switch req.Method {
	case sip.INVITE, sip.UPDATE: // target refresh requests
		req.AppendHeader(l.contact(c.via, c.local))
		req.AppendHeader(sip.NewHeader("Allow", allow))
		req.AppendHeader(sip.NewHeader("Supported", supported))
	}
	for _, h := range more {
		req.AppendHeader(h)
	}
	if l.cfg.UserAgent != "" {
		req.AppendHeader(sip.NewHeader("User-Agent", l.cfg.UserAgent))
	}
	req.SetBody(nil)
	return req
}

// place is the address the call's messages go to.
func (c *Call) place() (outbound.Target, transport.Local) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.via, c.local
}

func (c *Call) moveTo(via outbound.Target, local transport.Local) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.via, c.local = via, local
}

// deliver sends a request in the dialog, through the call's proxy and, should
// that be gone, through every other in turn. It waits; the call's goroutine
// has others do that.
func (c *Call) deliver(ctx context.Context, build func() *sip.Request) (*sip.Response, error) {
	l := c.line
	via := c.way()
	tried := []outbound.Target{via}
	for {
		began := time.Now()
		res, err := l.send(ctx, via, l.cfg.NoAnswer, build)
		f := failureOf(sip.BYE, began, res, err)
		f.Tries = unanswered(f, via, sent(l.inDialog(via, l.cfg.NoAnswer)))
		next, ok := c.detour(ctx, via, f, tried)
		if !ok {
			return res, err
		}
		tried, via = append(tried, next), next
	}
}

// way is the address that the call's next request goes to: its proxy, unless
// that is known to be dead and the line has left it.
func (c *Call) way() outbound.Target {
	l := c.line
	via, _ := c.place()
	at := l.where()
	if at == via || at.IsZero() {
		return via
	}
	for _, p := range l.route.Status().Ring {
		if p.Target == via && p.State == "failed" {
			return c.pass(c.ctx, via, at)
		}
	}
	return via
}

// detour leads a request in the dialog that failed at via to an address that it
// has not tried. It returns false when there is none, or via did its work.
func (c *Call) detour(ctx context.Context, via outbound.Target, f outbound.Failure, tried []outbound.Target) (outbound.Target, bool) {
	l := c.line
	if outbound.Judge(f) != outbound.Move || ctx.Err() != nil {
		return via, false
	}
	l.route.Next(via, f)
	next := l.where()
	if slices.Contains(tried, next) || next.IsZero() {
		var more bool
		if next, more = l.untried(tried); !more {
			return via, false
		}
	}
	return c.pass(ctx, via, next), true
}

// pass has the dialog's requests pass by way of next and not via. The route set
// stays, but for a first route that names the dead address.
func (c *Call) pass(ctx context.Context, via, next outbound.Target) outbound.Target {
	local, err := c.line.reach(ctx, next, c.line.cfg.NoAnswer)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialog.Detour(via.Addr)
	if c.via = next; err == nil {
		c.local = local
	}
	return next
}

// byeTime is for how long a BYE is kept that cannot be sent: without a link, say.
// Our choice: a router has started again by then, and nobody else will say that
// the call is over.
const byeTime = 5 * time.Minute

// unsent reports whether a request has failed on our side alone.
func unsent(err error) bool { return err != nil && outbound.Judge(asFailure(err)) == outbound.Wait }

// bye ends the dialog at the far end. The caller has told Ended already: a
// person who has hung up need not wait for the proxies.
func (c *Call) bye() {
	for end := time.Now().Add(byeTime); ; {
		_, err := c.deliver(c.ctx, func() *sip.Request { return c.request(sip.BYE) })
		if !unsent(err) || time.Now().After(end) {
			return
		}
		select {
		case <-time.After(lookAgain):
		case <-c.line.leaving:
			return
		}
	}
}

// describe is our session as a body. Its version grows with each change.
//
// RFC 3264 section 8: "the version in the origin field MUST increment by one
// from the previous SDP" if it differs; if not, "it MUST remain the same".
func (c *Call) describe(s sdp.Session) []byte {
	if c.body == "" {
		c.ours.ID, c.ours.Version = uint64(rand.Uint32()), 1
	}
	s.ID, s.Version = c.ours.ID, c.ours.Version
	body := s.Marshal()
	if c.body != "" && c.body != string(body) {
		c.ours.Version++
		s.Version = c.ours.Version
		body = s.Marshal()
	}
	c.body = string(body)
	return body
}

// at is a session with our address filled in where it was left open.
func at(s sdp.Session, local transport.Local) sdp.Session {
	if a := s.Addr.Addr(); !a.IsValid() || a.IsUnspecified() {
		s.Addr = netip.AddrPortFrom(local.Addr.Addr().WithZone(""), s.Addr.Port())
	}
	return s
}

// same reports whether sound flows as before.
func same(a, b sdp.Session) bool {
	return a.Addr == b.Addr && a.Events == b.Events && a.Ptime == b.Ptime && a.Direction == b.Direction && a.Crypto == b.Crypto &&
		slices.Equal(a.Codecs, b.Codecs)
}

// contentType is the header of a body that is a session.
func contentType() sip.Header {
	h := sip.ContentTypeHeader(sdpType)
	return &h
}
