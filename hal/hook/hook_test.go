package hook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
)

const ms = time.Millisecond

var midnight = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// play lets a loop be closed, open, closed, ... for so many milliseconds each
// and returns what was told, with its time: "0 off-hook, 1060 digit 1". A last
// span of 0 leaves the loop as it is. step is how often the decoder is asked
// between edges; 0 asks only at its deadlines.
func play(timing hook.Timing, step time.Duration, spans ...int) string {
	d := hook.New(timing, false)
	now := midnight
	var events []hal.Event
	closed := true
	for _, span := range spans {
		events = d.Edge(now, closed, events)
		end := now.Add(time.Duration(span) * ms)
		if step > 0 {
			for ; now.Add(step).Before(end); now = now.Add(step) {
				events = d.Expire(now.Add(step), events)
			}
		}
		now = end
		closed = !closed
	}
	events = d.Expire(now.Add(time.Hour), events)
	return story(events)
}

func story(events []hal.Event) string {
	var b strings.Builder
	for i, e := range events {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d %v", e.At.Sub(midnight)/ms, e.Kind)
		if e.Kind == hal.Digit {
			fmt.Fprintf(&b, " %c", e.Digit)
		}
	}
	return b.String()
}

// dial appends n pulses to spans: 60 ms open, 40 ms closed, the last closed for
// 700 ms.
func dial(spans []int, n int) []int {
	for range n {
		spans = append(spans, 60, 40)
	}
	spans[len(spans)-1] = 700
	return spans
}

// clean is Wide for contacts that do not bounce, which reads better in a table.
var clean = func() hook.Timing {
	t := hook.Wide
	t.Debounce = 0
	return t
}()

func TestDecoder(t *testing.T) {
	bounced := clean
	bounced.Debounce = 10 * ms
	timedBreak, hookFlash := hook.TimedBreak, hook.HookFlash
	timedBreak.Debounce, hookFlash.Debounce = 0, 0
	swedish, newZealand := clean, clean
	swedish.Numbering, newZealand.Numbering = hook.Swedish, hook.NewZealand

	tests := []struct {
		name   string
		timing hook.Timing
		spans  []int // closed, open, closed, ...
		want   string
	}{
		{"lifted", clean, []int{1000}, "0 off-hook"},
		{"lifted and put down", clean, []int{1000, 0}, "0 off-hook, 1900 on-hook"},
		{"put down and lifted", clean, []int{1000, 2000, 0}, "0 off-hook, 1900 on-hook, 3000 off-hook"},

		{"noise of 14 ms", clean, []int{1000, 14, 1000}, "0 off-hook"},
		{"a pulse of 15 ms", clean, []int{1000, 15, 1000}, "0 off-hook, 1265 digit 1"},
		{"a pulse of 80 ms", clean, []int{1000, 80, 1000}, "0 off-hook, 1330 digit 1"},
		{"a flash of 81 ms", clean, []int{1000, 81, 1000}, "0 off-hook, 1081 flash"},
		{"a flash of 100 ms, as R in Europe", clean, []int{1000, 100, 1000}, "0 off-hook, 1100 flash"},
		{"a flash of 500 ms, as a hook in America", clean, []int{1000, 500, 1000}, "0 off-hook, 1500 flash"},
		{"a flash of 899 ms", clean, []int{1000, 899, 1000}, "0 off-hook, 1899 flash"},
		{"no flash of 900 ms", clean, []int{1000, 900, 1000}, "0 off-hook, 1900 on-hook, 1900 off-hook"},
		{"two flashes", clean, []int{1000, 200, 300, 200, 1000}, "0 off-hook, 1200 flash, 1700 flash"},

		{"ten pulses are 0", clean, dial([]int{1000}, 10), "0 off-hook, 2210 digit 0"},
		{"eleven are nothing", clean, dial([]int{1000}, 11), "0 off-hook"},
		{"1 9", clean, dial(dial([]int{1000}, 1), 9), "0 off-hook, 1310 digit 1, 2870 digit 9"},
		{"pulses 249 ms apart are one digit", clean, []int{1000, 60, 249, 60, 1000}, "0 off-hook, 1619 digit 2"},
		{"pulses 250 ms apart are two", clean, []int{1000, 60, 250, 60, 1000}, "0 off-hook, 1310 digit 1, 1620 digit 1"},
		{"twenty a second", clean, []int{1000, 33, 17, 33, 17, 33, 1000}, "0 off-hook, 1383 digit 3"},
		{"eight a second", clean, []int{1000, 77, 48, 77, 48, 77, 1000}, "0 off-hook, 1577 digit 3"},
		{"put down within a digit", clean, []int{1000, 60, 40, 60, 40, 2000, 1000}, "0 off-hook, 2100 on-hook, 3200 off-hook"},
		{"flashed within a digit", clean, []int{1000, 60, 40, 60, 100, 300, 1000}, "0 off-hook, 1560 digit 2, 1560 flash"},
		{"Swedish: one pulse is 0", swedish, dial([]int{1000}, 1), "0 off-hook, 1310 digit 0"},
		{"Swedish: ten are 9", swedish, dial([]int{1000}, 10), "0 off-hook, 2210 digit 9"},
		{"New Zealand: one pulse is 9", newZealand, dial([]int{1000}, 1), "0 off-hook, 1310 digit 9"},
		{"New Zealand: ten are 0", newZealand, dial([]int{1000}, 10), "0 off-hook, 2210 digit 0"},

		{"timed break: a pulse of 65 ms", timedBreak, []int{1000, 65, 1000}, "0 off-hook, 1315 digit 1"},
		{"timed break: neither at 68 ms", timedBreak, []int{1000, 68, 1000}, "0 off-hook"},
		{"timed break: a recall of 70 ms", timedBreak, []int{1000, 70, 1000}, "0 off-hook, 1070 flash"},
		{"timed break: a recall of 125 ms", timedBreak, []int{1000, 125, 1000}, "0 off-hook, 1125 flash"},
		{"timed break: 200 ms is nothing", timedBreak, []int{1000, 200, 1000}, "0 off-hook"},
		{"timed break: 400 ms is put down", timedBreak, []int{1000, 500, 1000}, "0 off-hook, 1400 on-hook, 1500 off-hook"},
		{"hook flash: a slow dial of 150 ms", hookFlash, []int{1000, 150, 1000}, "0 off-hook, 1400 digit 1"},
		{"hook flash: R for 100 ms is a pulse", hookFlash, []int{1000, 100, 1000}, "0 off-hook, 1350 digit 1"},
		{"hook flash: 299 ms is nothing", hookFlash, []int{1000, 299, 1000}, "0 off-hook"},
		{"hook flash: 300 ms", hookFlash, []int{1000, 300, 1000}, "0 off-hook, 1300 flash"},
		{"hook flash: 1.1 s is put down", hookFlash, []int{1000, 1100, 1000}, "0 off-hook, 2100 on-hook, 2100 off-hook"},

		// Contacts that bounce: what lasted 10 ms counts, from its edge on.
		{"bouncing: lifted", bounced, []int{3, 1, 4, 2, 1000}, "20 off-hook"},
		{"bouncing: never lifted", bounced, []int{9, 9, 9, 9, 9, 0}, ""},
		{"bouncing: a pulse", bounced, []int{1000, 2, 1, 57, 2, 3, 1000}, "10 off-hook, 1315 digit 1"},
		{"bouncing: a flash of 81 ms from first to last edge", bounced, []int{1000, 81, 1000}, "10 off-hook, 1091 flash"},
		{"bouncing: put down", bounced, []int{1000, 5, 3, 0}, "10 off-hook, 1908 on-hook"},
		{"bouncing: a flash that ends as time is up", bounced, []int{1000, 895, 1000}, "10 off-hook, 1905 flash"},
		{"bouncing: a click as time is up", bounced, []int{1000, 895, 8, 2000}, "10 off-hook, 1900 on-hook"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// A machine that is late, and one that asks each millisecond,
			// are told the same.
			for _, step := range []time.Duration{0, ms, 7 * ms} {
				if got := play(tt.timing, step, tt.spans...); got != tt.want {
					t.Errorf("asked every %v:\n got %s\nwant %s", step, got, tt.want)
				}
			}
		})
	}
}

func TestZeroDecoder(t *testing.T) {
	var d hook.Decoder
	events := d.Edge(midnight, true, nil)
	events = d.Edge(midnight.Add(time.Second), false, events)
	events = d.Edge(midnight.Add(time.Second+200*ms), true, events)
	events = d.Edge(midnight.Add(3*time.Second), false, events)
	events = d.Expire(midnight.Add(time.Minute), events)
	if got, want := story(events), "10 off-hook, 1210 flash, 3900 on-hook"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if at := d.Deadline(); !at.IsZero() {
		t.Errorf("a receiver on its hook waits for %v", at)
	}
}

func TestLiftedAtStart(t *testing.T) {
	d := hook.New(clean, true)
	if !d.Lifted() {
		t.Error("it starts lifted")
	}
	events := d.Edge(midnight, true, nil)
	events = d.Edge(midnight.Add(ms), false, events)
	events = d.Expire(midnight.Add(time.Hour), events)
	if got, want := story(events), "901 on-hook"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimeThatRunsBackwards(t *testing.T) {
	d := hook.New(clean, false)
	events := d.Edge(midnight.Add(time.Second), true, nil)
	events = d.Edge(midnight, false, events) // counts as one second
	events = d.Expire(midnight.Add(1899*ms), events)
	if got, want := story(events), "1000 off-hook"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSetTiming(t *testing.T) {
	d := hook.New(hook.HookFlash, true)
	timing := clean
	timing.Numbering = hook.Swedish
	d.SetTiming(timing)
	if d.Timing().Numbering != hook.Swedish || d.Timing().OnHook != timing.FlashMax {
		t.Errorf("timing %+v", d.Timing())
	}
	events := d.Edge(midnight, false, nil)
	events = d.Edge(midnight.Add(60*ms), true, events)
	events = d.Expire(midnight.Add(time.Second), events)
	if got, want := story(events), "310 digit 0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimingCheck(t *testing.T) {
	for _, good := range []hook.Timing{{}, hook.Wide, hook.TimedBreak, hook.HookFlash} {
		if err := good.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	tests := []struct {
		change func(*hook.Timing)
		want   string
	}{
		{func(t *hook.Timing) { t.FlashMin = 70 * ms }, "FlashMin is 70ms, shorter than PulseMax with 80ms"},
		{func(t *hook.Timing) { t.FlashMax = 50 * ms }, "FlashMax is 50ms, shorter than FlashMin with 80ms"},
		{func(t *hook.Timing) { t.OnHook = 500 * ms }, "OnHook is 500ms, shorter than FlashMax with 900ms"},
		{func(t *hook.Timing) { t.Debounce = -ms }, "Debounce is -1ms, less than nothing"},
		{func(t *hook.Timing) { t.Debounce = 20 * ms }, "PulseMin is 15ms, shorter than Debounce with 20ms"},
		{func(t *hook.Timing) { t.Pause = 0 }, "Pause is 0s, so that digits could not be told apart"},
		{func(t *hook.Timing) { t.PulseMax, t.FlashMin, t.FlashMax = ms*10, ms*10, ms*10; t.OnHook = ms }, "OnHook is 1ms, shorter than FlashMax with 10ms"},
	}
	for _, tt := range tests {
		bad := hook.Wide
		tt.change(&bad)
		if err := bad.Check(); err == nil || err.Error() != "hook timing: "+tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

func TestNumbering(t *testing.T) {
	tests := []struct {
		n    hook.Numbering
		name string
		want string // the digits of one to ten pulses
	}{
		{hook.Normal, "normal", "1234567890"},
		{hook.Swedish, "swedish", "0123456789"},
		{hook.NewZealand, "new-zealand", "9876543210"},
	}
	for _, tt := range tests {
		n, err := hook.ParseNumbering(tt.name)
		if n != tt.n || err != nil || n.String() != tt.name {
			t.Errorf("%s: %v, %v", tt.name, n, err)
		}
		for pulses := 1; pulses <= 10; pulses++ {
			digit := tt.want[pulses-1]
			if got := tt.n.Digit(pulses); got != digit {
				t.Errorf("%s: %d pulses are %c, want %c", tt.name, pulses, got, digit)
			}
			if got := tt.n.Pulses(digit); got != pulses {
				t.Errorf("%s: %c takes %d pulses, want %d", tt.name, digit, got, pulses)
			}
		}
		if tt.n.Digit(0) != 0 || tt.n.Digit(11) != 0 || tt.n.Pulses('#') != 0 {
			t.Errorf("%s: what no dial sends has a meaning", tt.name)
		}
	}
	if _, err := hook.ParseNumbering("oslo"); err == nil || !strings.Contains(err.Error(), "swedish") {
		t.Errorf("an unknown numbering: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	d := hook.New(hook.Wide, false)
	now := midnight
	events := make([]hal.Event, 0, 16)
	allocs := testing.AllocsPerRun(100, func() {
		for range 10 {
			now = now.Add(60 * ms)
			events = d.Edge(now, true, events[:0])
			now = now.Add(40 * ms)
			events = d.Edge(now, false, events[:0])
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a digit", allocs)
	}
}

// FuzzDecoder tells a decoder any edges at all, each after as many milliseconds
// as a byte says (times eight from 128 on), and wants the laws of a telephone.
func FuzzDecoder(f *testing.F) {
	f.Add(byte(0), []byte{10, 60, 40, 60, 40, 255, 200, 10})
	f.Add(byte(1), []byte{250, 135, 250, 14, 3, 1, 255, 255})
	f.Add(byte(6), []byte{1, 1, 1, 1, 133, 133, 133, 133, 250})
	f.Fuzz(func(t *testing.T, style byte, gaps []byte) {
		timing := []hook.Timing{hook.Wide, hook.TimedBreak, hook.HookFlash, clean}[style&3]
		timing.Numbering = hook.Numbering(style >> 2 % 3)
		often, seldom := hook.New(timing, false), hook.New(timing, false)
		now, closed := midnight, false
		var a, b []hal.Event
		for i, gap := range gaps {
			wait := time.Duration(gap) * ms
			if gap >= 128 {
				wait *= 8
			}
			end := now.Add(wait)
			for at := often.Deadline(); !at.IsZero() && !at.After(end); at = often.Deadline() {
				before := len(a)
				a = often.Expire(at, a)
				if often.Deadline().Equal(at) {
					t.Fatalf("a deadline that does not pass: %v after %v", at.Sub(midnight), gaps[:i+1])
				}
				if len(a) > before+2 {
					t.Fatalf("%d events at one deadline", len(a)-before)
				}
			}
			now = end
			closed = !closed
			a = often.Edge(now, closed, a)
			b = seldom.Edge(now, closed, b)
			if often.Lifted() != seldom.Lifted() {
				t.Fatal("asking changes what is so")
			}
		}
		now = now.Add(time.Hour)
		a, b = often.Expire(now, a), seldom.Expire(now, b)
		if !slices.Equal(a, b) {
			t.Fatalf("asking changes what is told:\n%s\n%s", story(a), story(b))
		}
		if !often.Deadline().IsZero() {
			t.Fatal("an hour later there is still something to decide")
		}
		if often.Lifted() != closed && (closed || !often.Lifted()) && timing.Debounce == 0 {
			t.Fatalf("the loop is closed: %v, the receiver lifted: %v", closed, often.Lifted())
		}
		lifted := false
		last := midnight
		for _, e := range a {
			if e.At.Before(last) {
				t.Fatalf("time runs backwards: %s", story(a))
			}
			last = e.At
			switch e.Kind {
			case hal.OffHook:
				if lifted {
					t.Fatalf("lifted twice: %s", story(a))
				}
				lifted = true
			case hal.OnHook:
				if !lifted {
					t.Fatalf("put down twice: %s", story(a))
				}
				lifted = false
			case hal.Flash, hal.Digit:
				if !lifted {
					t.Fatalf("%v on the hook: %s", e.Kind, story(a))
				}
				if e.Kind == hal.Digit && (e.Digit < '0' || e.Digit > '9') {
					t.Fatalf("digit %q", e.Digit)
				}
			default:
				t.Fatalf("event %v", e.Kind)
			}
		}
		if lifted != often.Lifted() {
			t.Fatalf("told %s, but lifted is %v", story(a), often.Lifted())
		}
	})
}

func ExampleDecoder() {
	d := hook.New(hook.Wide, false)
	at := func(ms int) time.Time { return midnight.Add(time.Duration(ms) * time.Millisecond) }
	var events []hal.Event
	events = d.Edge(at(0), true, events)     // lifted
	events = d.Edge(at(2000), false, events) // the dial runs
	events = d.Edge(at(2060), true, events)
	events = d.Edge(at(2100), false, events)
	events = d.Edge(at(2160), true, events)
	fmt.Println("ask again at", d.Deadline().Sub(midnight))
	events = d.Expire(at(3000), events)
	fmt.Println(story(events))
	// Output:
	// ask again at 2.17s
	// 10 off-hook, 2410 digit 2
}
