package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
	"github.com/ata-agent/ata-agent/internal/phone"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

// An extension is a port with its phone and its cord. It is the phone's Desk.
// Owned by the operator.
type extension struct {
	a     *Agent
	port  hal.Port
	phone *phone.Phone
	cord  *media.Cord

	country *country.Country
	line    string            // name of the line it calls through and is rung by; "" for a port out of use
	flash   bool              // in a call it is for the far end
	caller  callerid.Standard // in which it is told who calls
	lacks   string            // why it is not told as the country's telephones are

	off   bool // the receiver is lifted
	legs  phone.Leg
	fault string
	sound *status.Sound // of the last call; nil before the first
}

func newExtension(a *Agent, port hal.Port) *extension {
	e := &extension{a: a, port: port}
	e.phone = phone.New(e, phone.Config{})
	e.cord = media.NewCord(port, func(ev media.Event) { a.tell(heard{e, ev}) })
	return e
}

// configure takes what the owner chose. A call that is on goes on.
func (e *extension) configure(s portSetup) {
	e.country, e.line, e.flash = s.country, s.line, s.flash
	if p, ok := e.port.(interface{ SetTiming(hook.Timing) }); ok {
		p.SetTiming(s.timing)
	}
	e.cord.Tune(s.tuning)
	if s.lacks != "" && s.lacks != e.lacks {
		e.a.log.Info(fmt.Sprintf("port %s does not show who calls: %s", e.port.Name(), s.lacks))
	}
	e.caller, e.lacks = s.caller, s.lacks
	e.phone.Configure(phone.Config{Plan: s.plan, Single: s.single})
	l := e.a.lineOf(s.line)
	e.phone.Messages(l != nil && l.messages)
}

// start sends out the two messengers of the port: its events and its sound.
func (e *extension) start(ctx context.Context) {
	e.a.work.Go(func() {
		for ev := range e.port.Events() {
			e.a.tell(hooked{e, ev})
		}
		e.a.tell(broken{e, errGone})
	})
	e.a.work.Go(func() {
		if err := e.cord.Run(ctx); err != nil && ctx.Err() == nil {
			e.a.tell(broken{e, err})
		}
	})
}

// leave takes the phone out of its calls. A call that nobody else has ends.
func (e *extension) leave(now time.Time) {
	for _, c := range slices.Clone(e.a.calls) {
		leg := c.legOf(e)
		if leg == 0 {
			continue
		}
		e.step(now, phone.Event{Kind: phone.Ended, Leg: leg})
		e.note(now, c)
		c.without(e)
		if len(c.legs) == 0 {
			c.sip.Hangup()
			c.hush()
		}
	}
}

var tick = phone.Event{}

// step lets something happen to the phone. A receiver that the telephone lifts
// to be told who calls is no news to it, unless there is nothing more to tell.
func (e *extension) step(now time.Time, ev phone.Event) {
	e.phone.Step(now, ev)
	if e.off && e.phone.State() == "idle" {
		e.phone.Step(now, phone.Event{Kind: phone.Lift})
	}
}

// hook: the person did something.
func (e *extension) hook(now time.Time, ev hal.Event) {
	switch ev.Kind {
	case hal.OffHook:
		e.off = true
		if !e.cord.Hook(true) {
			e.step(now, phone.Event{Kind: phone.Lift})
		}
	case hal.OnHook:
		e.off = false
		if !e.cord.Hook(false) {
			e.step(now, phone.Event{Kind: phone.HangUp})
		}
	case hal.Flash:
		e.step(now, phone.Event{Kind: phone.Flash})
	case hal.Digit:
		e.step(now, phone.Event{Kind: phone.Digit, Digit: ev.Digit, Mute: true})
	}
}

// heard: a digit from the mouth, data, or news of the bell.
func (e *extension) heard(now time.Time, ev media.Event) {
	if ev.Fault != nil {
		e.bellFault(ev.Fault)
	}
	switch {
	case ev.Lifted && e.off:
		e.step(now, phone.Event{Kind: phone.Lift})
	case ev.Digit != 0:
		e.key(now, ev.Digit)
	case ev.Data:
		if c := e.a.callOf(e, e.phone.Leg()); c != nil {
			c.carry(e.law())
		}
	}
}

func (e *extension) key(now time.Time, digit byte) {
	if c := e.a.callOf(e, e.phone.Leg()); c != nil && c.stream != nil && c.line.cfg.Keys == "info" {
		c.sip.Digit(digit)
	}
	e.step(now, phone.Event{Kind: phone.Digit, Digit: digit})
}

func (e *extension) bellFault(err error) {
	e.a.log.Error(fmt.Sprintf("port %s: the bell: %v", e.port.Name(), err))
}

// broken: the hardware gave up.
func (e *extension) broken(now time.Time, err error) {
	if e.fault != "" {
		return
	}
	e.fault = err.Error()
	e.a.log.Error(fmt.Sprintf("port %s: %v", e.port.Name(), err))
	e.leave(now)
	e.off = false
	e.step(now, phone.Event{Kind: phone.HangUp})
}

// note remembers how the sound of a call went that is over for this phone.
func (e *extension) note(now time.Time, c *call) {
	if s := c.sound(now); s != nil {
		e.sound, c.heard = s, s
	}
}

// ---- what the phone asks for

// Hear plays a tone of the country, joined to nobody.
func (e *extension) Hear(n tone.Name) {
	e.cord.Set(media.Patch{Ear: e.country.Tone(n)})
}

// Join connects the phone to a call's far end.
func (e *extension) Join(leg phone.Leg) { e.join(leg, tone.None) }

func (e *extension) join(leg phone.Leg, n tone.Name) {
	p := media.Patch{Ear: e.country.Tone(n)}
	if c := e.a.callOf(e, leg); c != nil {
		p.Far[0] = c.stream
	}
	e.cord.Set(p)
}

// CallWaiting lets the person hear that somebody else calls, and tells who. A fax
// has no use for it, and who calls for help no time.
func (e *extension) CallWaiting(leg, caller phone.Leg) bool {
	c := e.a.callOf(e, leg)
	if c == nil || c.stream == nil || c.stream.CarriesData() || slices.Contains(c.line.urgent, c.peer) {
		return false
	}
	e.join(leg, tone.CallWaiting)
	e.cord.CallWaiting(e.country.Tone(tone.CallWaiting).First(), e.caller, e.message(caller))
	return true
}

// Hold puts a far end on hold, or resumes it. Nobody speaks to it meanwhile.
func (e *extension) Hold(leg phone.Leg, on bool) {
	if c := e.a.callOf(e, leg); c != nil {
		c.sip.Hold(on)
	}
}

// Bell rings as the country does, and tells who calls.
func (e *extension) Bell(on bool) {
	err := error(nil)
	if on {
		err = e.cord.Ring(media.Ringing{Cadence: e.country.Ring, Standard: e.caller, Caller: e.message(e.phone.Leg())})
	} else {
		err = e.cord.Silence()
	}
	if err != nil {
		e.bellFault(err)
	}
}

// message is what the telephone is told of a call that is for it. A clock that was
// never set has nothing to tell.
func (e *extension) message(leg phone.Leg) (m callerid.Message) {
	if now := time.Now(); now.Year() >= clockSet {
		m.At = now
	}
	if c := e.a.callOf(e, leg); c != nil {
		m.Number = c.peer
		if c.name != c.peer {
			m.Name = c.name
		}
		if c.withheld {
			m.NoNumber, m.NoName = callerid.Private, callerid.Private
		}
	}
	return m
}

// clockSet is a year before which no clock can be right: none of this was there.
const clockSet = 2024

// Call sets out through the port's line, registered or not: a call is the best
// probe there is.
func (e *extension) Call(number string) phone.Leg {
	l := e.a.lineOf(e.line)
	if l == nil {
		e.a.log.Warn(fmt.Sprintf("port %s dials %s, but has no line", e.port.Name(), number))
		return 0
	}
	c := &call{a: e.a, line: l, peer: number}
	if !c.open(e) {
		return 0
	}
	c.sip = l.sip.Call(number, c.local)
	e.legs++
	c.legs = []leg{{e, e.legs}}
	e.a.calls = append(e.a.calls, c)
	e.a.count.CallsOut++
	e.a.log.Info(fmt.Sprintf("port %s calls %s on line %s", e.port.Name(), number, l.cfg.Name))
	return e.legs
}

// Accept takes the call that rings here. All other phones it rings are left.
func (e *extension) Accept(leg phone.Leg) {
	if c := e.a.callOf(e, leg); c != nil {
		c.accept(e)
	}
}

// Refuse leaves a call to the other phones it rings, if any.
func (e *extension) Refuse(leg phone.Leg, code int) {
	if c := e.a.callOf(e, leg); c != nil {
		c.without(e)
		if len(c.legs) == 0 {
			c.refused = code
		}
	}
}

// Drop ends a call.
func (e *extension) Drop(leg phone.Leg) {
	if c := e.a.callOf(e, leg); c != nil {
		e.note(time.Now(), c)
		c.without(e)
		c.sip.Hangup()
		c.hush()
	}
}

// Flash is for the far end to hear of, where it takes flashes.
func (e *extension) Flash(leg phone.Leg) {
	c := e.a.callOf(e, leg)
	switch {
	case e.flash && c != nil && c.line.cfg.Keys == "info":
		c.sip.Flash()
	case !e.flash || c == nil || c.stream == nil || !c.stream.Flash():
		e.a.log.Debug(fmt.Sprintf("port %s: a flash that nobody takes", e.port.Name()))
	}
}

// Press sends a digit to the far end that nobody heard: of pulses or a handset.
func (e *extension) Press(leg phone.Leg, digit byte) {
	c := e.a.callOf(e, leg)
	switch {
	case c == nil || c.stream == nil:
	case c.line.cfg.Keys == "info":
		c.sip.Digit(digit)
	default:
		c.stream.Press(digit)
	}
}

// ---- sessions

// eventType is what we call RFC 4733 events, as everybody does.
const eventType = 101

// hears is what the phone can hear by a line, at a port of ours. The line fills
// in the address.
func (e *extension) hears(l *line, port uint16) sdp.Session {
	s := sdp.Session{
		Addr:     netip.AddrPortFrom(netip.IPv4Unspecified(), port),
		Ptime:    l.cfg.PacketTime.Truncate(hal.FrameTime),
		Codecs:   l.cfg.Sound(),
		MaxPtime: rtp.MaxPacket,
		Metrics:  true,
	}
	if l.cfg.SRTP == "required" {
		s.Crypto = sdp.NewCrypto()
	}
	if l.cfg.Keys == "rtp" {
		s.Events, s.Flash = eventType, e.flash
	}
	if len(s.Codecs) == 0 {
		s.Codecs = e.law()
	}
	if len(l.cfg.Codecs) == 0 && hal.RateOf(e.port) > hal.SampleRate {
		s.Codecs = append([]sdp.Codec{sdp.G722}, s.Codecs...)
	}
	return s
}

// law is G.711, the country's first.
func (e *extension) law() []sdp.Codec {
	if e.country.Companding == country.MuLaw {
		return []sdp.Codec{sdp.PCMU, sdp.PCMA}
	}
	return []sdp.Codec{sdp.PCMA, sdp.PCMU}
}

// remote is what was agreed, as a stream wants to know it; ours is what we said
// of it.
func (l *line) remote(ours, m sdp.Session) rtp.Remote {
	r := rtp.Remote{
		Addr:    m.Addr,
		Events:  m.Events,
		Flash:   m.Flash,
		Apart:   l.cfg.Keys == "info",
		Ptime:   cmp.Or(m.Ptime, ours.Ptime),
		Send:    m.Direction.Sends(),
		Receive: m.Direction.Receives(),
	}
	if m.Crypto.On() {
		r.Seal = &rtp.Seal{Out: ours.Crypto.Key, In: m.Crypto.Key}
	}
	if m.MaxPtime > 0 {
		r.Ptime = min(r.Ptime, m.MaxPtime)
	}
	// Nearly everybody sends by the numbers that he names, the rest by ours.
	for _, s := range []sdp.Session{m, ours} {
		for _, c := range s.Codecs {
			r.Payloads = append(r.Payloads, rtp.Payload{PT: c.PT, Codec: rtp.Codec(c.Name)})
		}
		if s.Events != 0 {
			r.Payloads = append(r.Payloads, rtp.Payload{PT: s.Events, Codec: rtp.Keys})
		}
	}
	if len(m.Codecs) > 0 {
		r.Codec, r.PT = rtp.Codec(m.Codecs[0].Name), m.Codecs[0].PT
	}
	return r
}
