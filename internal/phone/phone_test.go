package phone

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// notes is a Desk that writes down what it is asked.
type notes struct {
	said []string
	legs Leg
	full bool // no way to try a call, nor for a second call
}

func (d *notes) say(format string, args ...any) {
	d.said = append(d.said, fmt.Sprintf(format, args...))
}

func (d *notes) Hear(n tone.Name) {
	if n == tone.None {
		n = "nothing"
	}
	d.say("hear %s", n)
}
func (d *notes) Join(l Leg) { d.say("join %d", l) }
func (d *notes) Hold(l Leg, on bool) {
	d.say("%s %d", map[bool]string{true: "hold", false: "resume"}[on], l)
}
func (d *notes) CallWaiting(l, caller Leg) bool {
	d.say("waiting %d over %d", caller, l)
	return !d.full
}
func (d *notes) Accept(l Leg)        { d.say("accept %d", l) }
func (d *notes) Refuse(l Leg, c int) { d.say("refuse %d %d", l, c) }
func (d *notes) Drop(l Leg)          { d.say("drop %d", l) }
func (d *notes) Flash(l Leg)         { d.say("flash %d", l) }
func (d *notes) Press(l Leg, b byte) { d.say("press %d %c", l, b) }
func (d *notes) Bell(on bool)        { d.say("bell %v", on) }
func (d *notes) Call(n string) Leg {
	d.say("call %s", n)
	if d.full {
		return 0
	}
	d.legs++
	return d.legs
}

// Stories: what is done, and after each => what the phone asked for and where
// it then is.
//
//	lift, hang-up, flash     the receiver
//	12*#                     digits;  ~12 as pulses
//	4s                       time passes
//	in, rings, early, answer events of leg 1;  in2 of leg 2, in3 of leg 3
//	end, end486              the leg ends, with a code;  end2 that of leg 2
func TestStories(t *testing.T) {
	for _, story := range []struct {
		name, plan, text string
	}{
		{"a call", "", `
			lift          => hear dial: dialtone
			5             => hear nothing: dialing
			551234        => : dialing
			3s999ms       => : dialing
			1ms           => hear nothing, call 5551234: calling
			rings         => hear ringback: ringback
			rings         => : ringback
			answer        => join 1: talking
			5             => : talking
			~5            => press 1 5: talking
			flash         => flash 1: talking
			hang-up       => drop 1, hear nothing: idle`},
		{"the hash key ends the number", "", `
			lift          => hear dial: dialtone
			12#           => hear nothing, hear nothing, call 12: calling
			hang-up       => drop 1, hear nothing: idle
			rings         => : idle
			answer        => : idle
			end487        => : idle`},
		{"a service code", "", `
			lift          => hear dial: dialtone
			#21           => hear nothing: dialing
			4s            => hear nothing, call #21: calling`},
		{"a plan that knows the length", "(*xx|[2-9]xx)", `
			lift          => hear dial: dialtone
			23            => hear nothing: dialing
			9s999ms       => : dialing
			4             => hear nothing, call 234: calling
			end486        => hear busy: busy
			flash         => hear dial: dialtone
			1             => hear nothing, hear congestion: reorder`},
		{"an incomplete number", "(*xx|[2-9]xx)", `
			lift          => hear dial: dialtone
			23            => hear nothing: dialing
			10s           => hear congestion: reorder`},
		{"a barred number", "1900!|x.T", `
			lift          => hear dial: dialtone
			1900          => hear nothing: dialing
			4s            => hear congestion: reorder`},
		{"a hotline", "<:5551234>S0", `
			lift          => hear nothing, call 5551234: calling
			answer        => join 1: talking`},
		{"a warm line", "<:5551234>|x.T", `
			lift          => hear dial: dialtone
			4s            => hear nothing, call 5551234: calling`},
		{"nobody dials", "", `
			lift          => hear dial: dialtone
			15s999ms      => : dialtone
			1ms           => hear congestion: reorder
			60s           => hear howler: howler
			60s           => hear nothing: waiting
			600s          => : waiting
			12            => : waiting
			in2           => refuse 2 486: waiting
			flash         => hear dial: dialtone
			hang-up       => hear nothing: idle`},
		{"flash is a new dial tone", "", `
			lift          => hear dial: dialtone
			flash         => hear dial: dialtone
			12            => hear nothing: dialing
			flash         => hear dial: dialtone
			3             => hear nothing: dialing
			4s            => hear nothing, call 3: calling
			flash         => : calling
			rings         => hear ringback: ringback
			flash         => : ringback`},
		{"an announcement instead of ringback", "", `
			lift          => hear dial: dialtone
			1#            => hear nothing, hear nothing, call 1: calling
			early         => join 1: ringback
			~7            => press 1 7: ringback
			rings         => hear ringback: ringback
			~7            => : ringback
			early         => join 1: ringback
			end404        => hear congestion: reorder`},
		{"ringback, then an announcement, then somebody", "", `
			lift          => hear dial: dialtone
			1#            => hear nothing, hear nothing, call 1: calling
			rings         => hear ringback: ringback
			early         => join 1: ringback
			answer        => join 1: talking
			end           => hear congestion: reorder
			hang-up       => hear nothing: idle`},
		{"no way to try", "", `
			full          => : idle
			lift          => hear dial: dialtone
			1#            => hear nothing, hear nothing, call 1, hear congestion: reorder`},
		{"a call comes in", "", `
			in            => bell true: ringing
			flash         => : ringing
			in2           => refuse 2 486: ringing
			end2          => : ringing
			lift          => bell false, accept 1, join 1: talking
			end           => hear congestion: reorder`},
		{"a second call is answered, and the two take turns", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			~7            => press 1 7: callwaiting
			in3           => refuse 3 486: callwaiting
			flash         => hold 1, accept 2, join 2: holding
			~7            => press 2 7: holding
			in3           => refuse 3 486: holding
			flash         => hold 2, resume 1, join 1: holding
			flash         => hold 1, resume 2, join 2: holding
			end2          => resume 1, join 1: talking
			flash         => flash 1: talking
			hang-up       => drop 1, hear nothing: idle`},
		{"who is on hold hangs up", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			flash         => hold 1, accept 2, join 2: holding
			end           => : talking
			in3           => waiting 3 over 2: callwaiting`},
		{"the second caller gives up", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			end2          => join 1: talking`},
		{"whom we talk to hangs up while somebody calls", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			end           => hear callwaiting: callwaiting
			in3           => refuse 3 486: callwaiting
			flash         => accept 2, join 2: talking`},
		{"and then the caller too", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			end           => hear callwaiting: callwaiting
			end2          => hear congestion: reorder`},
		{"and the receiver is put down", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			end           => hear callwaiting: callwaiting
			hang-up       => hear nothing, bell true: ringing
			lift          => bell false, accept 2, join 2: talking`},
		{"who hangs up is rung by the second caller", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			hang-up       => drop 1, hear nothing, bell true: ringing
			end2          => bell false: idle`},
		{"who hangs up is rung for whom he has on hold", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			flash         => hold 1, accept 2, join 2: holding
			hang-up       => drop 2, hear nothing, bell true: ringing
			flash         => : ringing
			in3           => refuse 3 486: ringing
			lift          => bell false, resume 1, join 1: talking`},
		{"nobody comes back to him", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			flash         => hold 1, accept 2, join 2: holding
			hang-up       => drop 2, hear nothing, bell true: ringing
			59s           => : ringing
			1s            => drop 1, bell false: idle`},
		{"he does not wait so long", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			in2           => waiting 2 over 1: callwaiting
			flash         => hold 1, accept 2, join 2: holding
			hang-up       => drop 2, hear nothing, bell true: ringing
			end           => bell false: idle`},
		{"a second call that must not be heard of", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			full          => : talking
			in2           => waiting 2 over 1, refuse 2 486: talking`},
		{"the caller gives up", "", `
			in            => bell true: ringing
			end487        => bell false: idle
			lift          => hear dial: dialtone`},
		{"lifted at the moment the caller gives up", "", `
			in            => bell true: ringing
			lift          => bell false, accept 1, join 1: talking
			end487        => hear congestion: reorder
			hang-up       => hear nothing: idle`},
		{"called while the receiver is lifted", "", `
			lift          => hear dial: dialtone
			in            => refuse 1 486: dialtone
			end           => : dialtone`},
		{"a message waits", "", `
			message       => : idle
			lift          => hear stutter: dialtone`},
		{"the longest number", "", `
			lift          => hear dial: dialtone
			1234567890123456789012345678901  => hear nothing: dialing
			2             => hear nothing, call 12345678901234567890123456789012: calling`},
		{"what makes no sense changes nothing", "", `
			hang-up       => : idle
			12            => : idle
			answer        => : idle
			lift          => hear dial: dialtone
			lift          => : dialtone
			answer        => : dialtone`},
	} {
		t.Run(story.name, func(t *testing.T) {
			plan, err := ParsePlan(story.plan)
			if err != nil {
				t.Fatal(err)
			}
			d := &notes{}
			p := New(d, Config{Plan: plan})
			now := time.Unix(0, 0)
			for _, line := range strings.Split(strings.TrimSpace(story.text), "\n") {
				do, want, _ := strings.Cut(strings.TrimSpace(line), "=>")
				do, want = strings.TrimSpace(do), strings.TrimSpace(want)
				d.said = nil
				now = act(t, p, d, now, do)
				if got := strings.Join(d.said, ", ") + ": " + p.State(); got != want {
					t.Fatalf("%s => %s\n   want %s", do, got, want)
				}
			}
		})
	}
}

func act(t *testing.T, p *Phone, d *notes, now time.Time, do string) time.Time {
	leg := Leg(1)
	number := func(prefix string) int { n, _ := strconv.Atoi(do[len(prefix):]); return n }
	step := func(ev Event) { p.Step(now, ev) }
	switch {
	case do == "lift":
		step(Event{Kind: Lift})
	case do == "hang-up":
		step(Event{Kind: HangUp})
	case do == "flash":
		step(Event{Kind: Flash})
	case do == "in2", do == "in3":
		step(Event{Kind: Incoming, Leg: Leg(number("in"))})
	case do == "in":
		step(Event{Kind: Incoming, Leg: leg})
	case do == "rings":
		step(Event{Kind: Ringing, Leg: leg})
	case do == "early":
		step(Event{Kind: Early, Leg: leg})
	case do == "answer":
		step(Event{Kind: Answered, Leg: leg})
	case do == "end2":
		step(Event{Kind: Ended, Leg: 2})
	case strings.HasPrefix(do, "end"):
		step(Event{Kind: Ended, Leg: leg, Code: number("end")})
	case do == "full":
		d.full = true
	case do == "message":
		p.Messages(true)
	case strings.HasSuffix(do, "s"):
		wait, err := time.ParseDuration(do)
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(wait)
		step(Event{})
	default:
		mute := strings.HasPrefix(do, "~")
		for _, digit := range strings.TrimPrefix(do, "~") {
			step(Event{Kind: Digit, Digit: byte(digit), Mute: mute})
		}
	}
	return now
}

// Where one call is enough, who calls during it is told that it is busy.
func TestSingle(t *testing.T) {
	d := &notes{}
	p := New(d, Config{Single: true})
	now := time.Unix(0, 0)
	for _, do := range []string{"in", "lift", "in2"} {
		now = act(t, p, d, now, do)
	}
	if got := d.said[len(d.said)-1]; got != "refuse 2 486" || p.State() != "talking" {
		t.Errorf("%s: %s", got, p.State())
	}
}

func TestSIT(t *testing.T) {
	for code, want := range map[int]string{404: "hear sit", 484: "hear sit", 503: "hear congestion", 486: "hear busy", 600: "hear busy", 603: "hear congestion"} {
		d := &notes{}
		p := New(d, Config{SIT: true})
		now := time.Unix(0, 0)
		for _, do := range []string{"lift", "1#", "end" + strconv.Itoa(code)} {
			now = act(t, p, d, now, do)
		}
		if got := d.said[len(d.said)-1]; got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
}

// A busy person makes no garbage: lifting, dialling and hanging up allocate
// nothing but the number that is sent.
func TestStepAllocates(t *testing.T) {
	p := New(mute{}, Config{})
	now := time.Unix(0, 0)
	if n := testing.AllocsPerRun(100, func() {
		p.Step(now, Event{Kind: Lift})
		for _, d := range []byte("5551234") {
			p.Step(now, Event{Kind: Digit, Digit: d})
			now = now.Add(time.Second)
			p.Step(now, Event{})
		}
		p.Step(now, Event{Kind: Flash})
		now = now.Add(200 * time.Second)
		p.Step(now, Event{})
		p.Step(now, Event{Kind: HangUp})
		p.Step(now, Event{Kind: Incoming, Leg: 7})
		p.Step(now, Event{Kind: Lift})
		p.Step(now, Event{Kind: Incoming, Leg: 8})
		p.Step(now, Event{Kind: Flash})
		p.Step(now, Event{Kind: Flash})
		p.Step(now, Event{Kind: HangUp})
		p.Step(now, Event{Kind: Ended, Leg: 8})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type mute struct{}

func (mute) Hear(tone.Name)            {}
func (mute) Join(Leg)                  {}
func (mute) CallWaiting(_, _ Leg) bool { return true }
func (mute) Hold(Leg, bool)            {}
func (mute) Bell(bool)                 {}
func (mute) Call(string) Leg           { return 1 }
func (mute) Accept(Leg)                {}
func (mute) Refuse(Leg, int)           {}
func (mute) Drop(Leg)                  {}
func (mute) Flash(Leg)                 {}
func (mute) Press(Leg, byte)           {}
