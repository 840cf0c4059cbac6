package agent

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/phone"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/sip"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

var errGone = errors.New("the port went away")

// A call is one conversation of a line and the phones that take part: those it
// rings, or the one that has it. It lives until the line says that it ended,
// which may be long after the last phone has left. Owned by the operator.
type call struct {
	a    *Agent
	line *line
	sip  *sip.Call
	peer string // the number dialled, or the caller's
	name string // the caller's

	withheld bool // the caller does not want to be known

	legs    []leg // empty once no phone takes part
	refused int   // the status of the last phone that would not take it

	stream  *rtp.Stream   // nil before a phone of ours takes part
	local   sdp.Session   // what we said we can hear
	codec   sdp.Codec     // in which we speak, as was agreed
	ringing bool          // it rings over there
	listen  time.Time     // when to look whether early sound has come; zero: nothing is expected
	since   time.Time     // when it was answered; zero: not yet
	heard   *status.Sound // how its sound went; nil until the phone has left
}

// A leg is a phone's side of a call.
type leg struct {
	ext *extension
	leg phone.Leg
}

// listenTime is how often we look for early sound while it rings. Our choice:
// a person does not notice that ringback went on for so long.
const listenTime = 100 * time.Millisecond

// callOf is the call that a phone knows as leg; nil if there is none any more.
func (a *Agent) callOf(e *extension, l phone.Leg) *call {
	for _, c := range a.calls {
		if slices.Contains(c.legs, leg{e, l}) {
			return c
		}
	}
	return nil
}

// callOn is the call that a line knows.
func (a *Agent) callOn(sc *sip.Call) *call {
	for _, c := range a.calls {
		if c.sip == sc {
			return c
		}
	}
	return nil
}

func (c *call) legOf(e *extension) phone.Leg {
	for _, l := range c.legs {
		if l.ext == e {
			return l.leg
		}
	}
	return 0
}

// without goes on without a phone.
func (c *call) without(e *extension) {
	c.legs = slices.DeleteFunc(c.legs, func(l leg) bool { return l.ext == e })
}

// tellPhones steps every phone of the call. Phones may leave meanwhile.
func (c *call) tellPhones(now time.Time, kind phone.Kind, code int) {
	for _, l := range slices.Clone(c.legs) {
		l.ext.step(now, phone.Event{Kind: kind, Leg: l.leg, Code: code})
	}
}

// open makes the stream a phone will hear and speak through.
func (c *call) open(e *extension) bool {
	s, err := rtp.Open(c.a.ctx, c.a.cfg.Network, "", c.a.log)
	if err != nil {
		c.a.log.Error(fmt.Sprintf("port %s: no way for sound: %v", e.port.Name(), err))
		return false
	}
	c.stream = s
	c.local = e.hears(c.line, s.LocalPort())
	return true
}

// hush ends the sound. Nobody waits for the last packets.
func (c *call) hush() {
	c.listen = time.Time{}
	if s := c.stream; s != nil {
		c.stream = nil
		if c.sip != nil {
			c.a.streams.Delete(c.sip.ID())
		}
		c.a.work.Go(func() { s.Close() })
	}
}

// connect begins to send and hear what was agreed, or changes to it.
func (c *call) connect(m sdp.Session) {
	c.codec = m.Codecs[0]
	if c.stream != nil {
		c.a.streams.Store(c.sip.ID(), c.stream)
		c.stream.Start(c.line.remote(c.local, m))
	}
}

// carry lets a call with a fax or a modem go on in G.711, which alone carries what
// they say.
func (c *call) carry(law []sdp.Codec) {
	if slices.ContainsFunc(law, func(l sdp.Codec) bool { return l.Name == c.codec.Name }) {
		return
	}
	c.a.log.Info(fmt.Sprintf("line %s: call with %s carries a fax or a modem, which needs G.711 in place of %s", c.line.cfg.Name, c.who(), c.codec.Name))
	c.sip.Speak(law)
}

func (c *call) who() string { return cmp.Or(c.peer, "somebody") }

// unchanged: the far end keeps the call as it was.
func (c *call) unchanged(ev sip.Unchanged) {
	long := ""
	if ev.Again {
		long = " for now"
	}
	c.a.log.Warn(fmt.Sprintf("line %s: call with %s stays as it was%s: %v", c.line.cfg.Name, c.who(), long, ev.Err))
}

// ---- what the line tells

// incoming: somebody calls. Every idle phone of the line that can hear him rings,
// and whoever talks on another hears that a call waits.
func (a *Agent) incoming(now time.Time, l *line, ev sip.Incoming) {
	a.count.CallsIn++
	c := &call{a: a, line: l, sip: ev.Call, peer: ev.From, name: ev.Name, withheld: ev.Withheld}
	who := cmp.Or(ev.From, "somebody who does not say who")
	code, why := temporarilyUnavailable, "no port"
	for _, e := range a.exts {
		if e.line != l.cfg.Name || e.fault != "" {
			continue
		}
		if ev.Offer != nil {
			if _, err := sdp.Answer(e.hears(l, 1), *ev.Offer); err != nil {
				code, why = notAcceptableHere, err.Error()
				continue
			}
		}
		e.legs++
		c.legs = append(c.legs, leg{e, e.legs})
	}
	if len(c.legs) == 0 {
		a.turnAway(c, code, who, why)
		return
	}
	a.calls = append(a.calls, c)
	c.tellPhones(now, phone.Incoming, 0)
	if len(c.legs) == 0 {
		a.turnAway(c, c.refused, who, "busy")
		return
	}
	ev.Call.Ring()
	var ports []string
	for _, l := range c.legs {
		does := " rings"
		if l.ext.phone.Second() != 0 {
			does = " hears a call waiting"
		}
		ports = append(ports, "port "+l.ext.port.Name()+does)
	}
	a.log.Info(fmt.Sprintf("line %s: %s calls, %s", l.cfg.Name, who, strings.Join(ports, ", ")))
}

// SIP statuses we refuse a call with, RFC 3261 section 21.4.
const (
	temporarilyUnavailable = 480
	notAcceptableHere      = 488
	serverInternalError    = 500
)

func (a *Agent) turnAway(c *call, code int, who, why string) {
	a.count.Refused++
	a.log.Info(fmt.Sprintf("line %s: %s calls, refused with %d: %s", c.line.cfg.Name, who, code, why))
	if a.callOn(c.sip) == nil {
		a.calls = append(a.calls, c) // until its Ended
	}
	c.sip.Reject(code)
}

// accept gives the call to one phone; the others stop ringing.
func (c *call) accept(e *extension) {
	others := c.legs
	c.legs = []leg{{e, c.legOf(e)}}
	now := time.Now()
	for _, l := range others {
		if l.ext != e {
			l.ext.step(now, phone.Event{Kind: phone.Ended, Leg: l.leg})
		}
	}
	if !c.open(e) {
		c.sip.Reject(serverInternalError)
		return
	}
	c.sip.Answer(c.local)
	c.a.log.Info(fmt.Sprintf("port %s answers %s", e.port.Name(), cmp.Or(c.peer, "the call")))
}

// progress: our call is on its way. RFC 3960 section 3.2: "If a 180 (Ringing)
// has been received but there are no incoming media packets, generate local
// ringing", and if there are, "play them and do not generate local ringing".
func (c *call) progress(now time.Time, ev sip.Progress) {
	if ev.Media != nil {
		c.connect(*ev.Media)
		c.listen = now.Add(listenTime)
	}
	switch {
	case ev.Code == 180:
		c.ringing = true
		if !c.sounds() {
			c.tellPhones(now, phone.Ringing, 0)
		}
	case ev.Media != nil && !c.ringing:
		c.tellPhones(now, phone.Early, 0)
	}
}

// sounds reports whether anything has been heard from the far end.
func (c *call) sounds() bool { return c.stream != nil && c.stream.Stats().Received > 0 }

// flowing is how old the latest sound of a call may be that is said to go on.
// Our choice: longer than a far end that sends nothing but comfort noise is silent.
const flowing = 10 * time.Second

// flows reports whether the far end of the call with this Call-ID is heard. Any
// goroutine.
func (a *Agent) flows(id string) bool {
	s, ok := a.streams.Load(id)
	return ok && time.Since(s.(*rtp.Stream).Heard()) < flowing
}

// sound is how its sound goes; nil unless it was answered.
func (c *call) sound(now time.Time) *status.Sound {
	if c.since.IsZero() || c.stream == nil {
		return nil
	}
	s, q := c.stream.Stats(), c.stream.Quality()
	sound := &status.Sound{
		Peer: c.peer, Answered: c.since, Lasted: status.Millis(now.Sub(c.since).Round(time.Millisecond)),
		Sent: s.Sent, Received: s.Received, Lost: s.Lost, Late: s.Late, FarLost: float64(s.FarLost) / 256,
		Jitter: status.Millis(s.Jitter), RTT: status.Millis(s.RTT), Strangers: s.Strangers,
		Garbage: s.Garbage + s.Forged, Unwanted: s.Unwanted, SRTP: s.Sealed,
		Codec: string(q.Codec), Loss: math.Round(1e4*float64(q.Missed)/float64(max(1, q.Packets))) / 1e4,
		Delay: status.Millis(q.Delay.Round(time.Microsecond)), MOS: float64(q.MOS) / 100, FarMOS: float64(q.Far) / 100,
		Data: s.Data,
	}
	if s.Source.IsValid() {
		sound.Source = s.Source.String()
	}
	return sound
}

// early looks whether announced sound has come.
func (c *call) early(now time.Time) {
	if c.sounds() {
		c.listen = time.Time{}
		c.tellPhones(now, phone.Early, 0)
		return
	}
	c.listen = now.Add(listenTime)
}

// answered: both sides may speak.
func (c *call) answered(now time.Time, ev sip.Answered) {
	c.listen = time.Time{}
	c.since = now
	c.a.count.Answered++
	c.connect(ev.Media)
	c.tellPhones(now, phone.Answered, 0)
	c.a.log.Info(fmt.Sprintf("line %s: call with %s answered", c.line.cfg.Name, c.who()))
}

// ended: the call is over for everybody.
func (c *call) ended(now time.Time, ev sip.Ended) {
	for _, l := range c.legs {
		l.ext.note(now, c)
	}
	c.a.calls = slices.DeleteFunc(c.a.calls, func(o *call) bool { return o == c })
	c.tellPhones(now, phone.Ended, ev.Code)
	c.hush()
	end := "ended"
	if !c.since.IsZero() {
		end += " after " + now.Sub(c.since).Round(time.Second).String()
	}
	why := ev.Reason
	if ev.Code != 0 {
		why = fmt.Sprintf("%d %s", ev.Code, ev.Reason)
	}
	for _, how := range []string{c.heard.Complaint(), c.heard.Quality()} {
		if how != "" {
			why += "; " + how
		}
	}
	c.a.log.Info(fmt.Sprintf("line %s: call with %s %s: %s", c.line.cfg.Name, c.who(), end, why))
	c.a.settle(c.line)
}
