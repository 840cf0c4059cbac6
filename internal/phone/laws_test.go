package phone

import (
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// exchange is a Desk that knows the laws of telephony and what became of
// every leg. It complains at once.
type exchange struct {
	t    *testing.T
	off  bool // the receiver is lifted
	bell bool
	hear tone.Name
	join Leg
	legs map[Leg]*legState
	last Leg
}

type legState struct {
	incoming           bool
	accepted, answered bool // by us, by them
	early, gone        bool
	held               bool
}

func (x *exchange) live(l Leg, what string) *legState {
	s := x.legs[l]
	if s == nil || s.gone {
		x.t.Fatalf("%s leg %d: there is no such leg", what, l)
	}
	return s
}

func (x *exchange) Hear(n tone.Name) { x.hear, x.join = n, 0 }
func (x *exchange) Join(l Leg) {
	if s := x.live(l, "join"); !s.accepted && !s.answered && !s.early {
		x.t.Fatalf("joined to leg %d, which nobody answered", l)
	}
	if x.legs[l].held {
		x.t.Fatalf("joined to leg %d, which is on hold", l)
	}
	x.hear, x.join = tone.None, l
}
func (x *exchange) CallWaiting(l, caller Leg) bool {
	x.live(l, "wait over")
	if s := x.live(caller, "waiting"); x.join != l || !s.incoming || s.accepted || x.hear != tone.None {
		x.t.Fatalf("leg %d waits over leg %d, joined to %d: %+v", caller, l, x.join, s)
	}
	if caller%5 == 0 {
		return false // now and then it must not be
	}
	x.hear = tone.CallWaiting
	return true
}
func (x *exchange) Hold(l Leg, on bool) {
	if s := x.live(l, "hold"); !s.accepted && !s.answered || s.held == on {
		x.t.Fatalf("hold %v of leg %d %+v", on, l, s)
	}
	x.legs[l].held = on
}
func (x *exchange) Bell(on bool) {
	if on && x.off {
		x.t.Fatal("a bell rings while the receiver is lifted")
	}
	x.bell = on
}
func (x *exchange) Call(string) Leg {
	if !x.off {
		x.t.Fatal("a call sets out while the receiver is on the hook")
	}
	for l, s := range x.legs {
		if !s.gone && !s.incoming {
			x.t.Fatalf("a second call sets out while leg %d is there", l)
		}
	}
	x.last++
	if x.last%7 == 0 {
		return 0 // now and then there is no way
	}
	x.legs[x.last] = &legState{}
	return x.last
}
func (x *exchange) Accept(l Leg) {
	s := x.live(l, "accept")
	if !s.incoming || !x.off {
		x.t.Fatalf("accepted leg %d: incoming %v, receiver lifted %v", l, s.incoming, x.off)
	}
	s.accepted = true
}
func (x *exchange) Refuse(l Leg, code int) {
	if s := x.live(l, "refuse"); !s.incoming || s.accepted || code < 400 || code > 699 {
		x.t.Fatalf("refused leg %d %+v with %d", l, s, code)
	}
	x.legs[l].gone = true
}
func (x *exchange) Drop(l Leg)  { x.live(l, "drop").gone = true }
func (x *exchange) Flash(l Leg) { x.live(l, "flash") }
func (x *exchange) Press(l Leg, d byte) {
	if x.live(l, "press"); x.join != l {
		x.t.Fatalf("digit %c to leg %d, joined to %d", d, l, x.join)
	}
}

// check says the laws that hold after any event.
func (x *exchange) check(p *Phone, now time.Time) {
	living := 0
	for l, s := range x.legs {
		if s.gone {
			continue
		}
		living++
		if !x.off && !(s.incoming && !s.accepted) && !(s.held && x.bell) {
			x.t.Fatalf("%s: on hook, but leg %d is a call", p.State(), l)
		}
		if l != p.Leg() && l != p.Second() {
			x.t.Fatalf("%s: leg %d is forgotten", p.State(), l)
		}
		if (s.accepted || s.answered) && s.held == (x.join == l) {
			x.t.Fatalf("%s: leg %d has answered, on hold: %v, joined to %d", p.State(), l, s.held, x.join)
		}
	}
	for _, l := range []Leg{p.Leg(), p.Second()} {
		if l != 0 {
			x.live(l, p.State()+" with")
			living--
		}
	}
	if living != 0 || p.Second() != 0 && p.Leg() == 0 {
		x.t.Fatalf("%s: has legs %d and %d", p.State(), p.Leg(), p.Second())
	}
	if p.Second() != 0 && p.State() != "callwaiting" && p.State() != "holding" {
		x.t.Fatalf("%s: with a second leg %d", p.State(), p.Second())
	}
	if !x.off && (x.join != 0 || x.hear != tone.None) {
		x.t.Fatalf("%s: on hook, but the ear hears %q and leg %d", p.State(), x.hear, x.join)
	}
	if x.join != 0 && x.legs[x.join].gone {
		x.t.Fatalf("%s: joined to leg %d, which is gone", p.State(), x.join)
	}
	if x.bell != (p.State() == "ringing") || x.bell && x.off {
		x.t.Fatalf("%s: bell %v, receiver lifted %v", p.State(), x.bell, x.off)
	}
	if x.off != (p.State() != "idle" && p.State() != "ringing") {
		x.t.Fatalf("%s: receiver lifted %v", p.State(), x.off)
	}
	if d := p.Deadline(); !d.IsZero() && !d.After(now) {
		x.t.Fatalf("%s: at %v the deadline %v is past", p.State(), now, d)
	}
	sounds := map[string]tone.Name{"dialtone": tone.Dial, "busy": tone.Busy, "howler": tone.Howler,
		"dialing": tone.None, "calling": tone.None, "talking": tone.None, "waiting": tone.None,
		"callwaiting": tone.CallWaiting, "holding": tone.None}
	if want, ok := sounds[p.State()]; ok && x.hear != want {
		x.t.Fatalf("%s: the ear hears %q, want %q", p.State(), x.hear, want)
	}
	if (p.State() == "talking" || p.State() == "holding") && x.join != p.Leg() {
		x.t.Fatalf("talking on leg %d, joined to %d", p.Leg(), x.join)
	}
}

// act does what one byte says; the argument is the next byte.
func (x *exchange) act(p *Phone, now *time.Time, op, arg byte) {
	leg := Leg(arg % 16)
	s := x.legs[leg]
	switch op % 12 {
	case 0, 1:
		x.off = true
		p.Step(*now, Event{Kind: Lift})
	case 2:
		x.off = false
		p.Step(*now, Event{Kind: HangUp})
	case 3:
		p.Step(*now, Event{Kind: Flash})
	case 4, 5:
		p.Step(*now, Event{Kind: Digit, Digit: "0123456789*#ABCD"[arg%16], Mute: arg&16 != 0})
	case 6:
		*now = now.Add(time.Duration(arg) * 500 * time.Millisecond)
		p.Step(*now, Event{})
	case 7:
		x.last++
		x.legs[x.last] = &legState{incoming: true}
		p.Step(*now, Event{Kind: Incoming, Leg: x.last})
	default: // news of a leg, old ones too
		kind := [...]Kind{Ringing, Early, Answered, Ended}[op%12-8]
		if arg&128 != 0 {
			leg = p.Leg()
			if arg&64 != 0 {
				leg = p.Second()
			}
			s = x.legs[leg]
		}
		if s != nil && !s.gone {
			if s.incoming && kind != Ended {
				return // the far end of an incoming call does not ring
			}
			s.early = s.early || kind == Early
			s.answered = s.answered || kind == Answered
			s.gone = kind == Ended
		}
		p.Step(*now, Event{Kind: kind, Leg: leg, Code: 400 + int(arg)})
	}
}

// The laws hold after any events at all, in any order, at any time.
func FuzzLaws(f *testing.F) {
	f.Add("", []byte{0, 0, 4, 5, 4, 11, 8, 128, 10, 128, 3, 0, 2, 0})
	f.Add("", []byte{7, 0, 0, 0, 11, 128, 6, 255, 6, 255, 2, 0})
	f.Add(cisco, []byte{0, 0, 4, 4, 4, 1, 4, 1, 6, 8, 9, 128, 11, 128, 3, 0, 6, 100, 6, 255, 7, 0, 2, 0})
	f.Add("", []byte{0, 0, 4, 5, 4, 11, 10, 128, 7, 0, 3, 0, 7, 0, 3, 0, 11, 128, 7, 0, 2, 0, 0, 0, 2, 0})
	f.Add("", []byte{7, 0, 0, 0, 7, 0, 3, 0, 3, 0, 5, 17, 2, 0, 0, 0, 7, 0, 11, 128, 3, 0, 11, 192, 7, 0, 11, 192})
	f.Add("", []byte{7, 0, 0, 0, 7, 0, 3, 0, 2, 0, 6, 255, 6, 255, 7, 0, 11, 128})
	f.Add("<:55>S0", []byte{0, 0, 10, 128, 2, 0, 10, 1, 7, 0, 7, 0, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, text string, script []byte) {
		plan, err := ParsePlan(text)
		if err != nil {
			return
		}
		x := &exchange{t: t, legs: make(map[Leg]*legState)}
		p := New(x, Config{Plan: plan, SIT: len(script)%2 == 0, Single: len(script)%8 == 7})
		now := time.Unix(0, 0)
		for ; len(script) >= 2; script = script[2:] {
			x.act(p, &now, script[0], script[1])
			x.check(p, now)
		}
		// And whatever happened, a receiver put down is the end of it.
		x.off = false
		p.Step(now, Event{Kind: HangUp})
		if p.State() != "idle" && p.State() != "ringing" {
			t.Fatalf("%s after the receiver was put down", p.State())
		}
		x.check(p, now)
	})
}
