package lab

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
)

// The display reads every standard, and only when and how it may be told.
func TestDisplay(t *testing.T) {
	alice := callerid.Message{Number: "5551234", Name: "ALICE"}
	for _, x := range []struct {
		standard string
		m        callerid.Message
		want     string
	}{
		{"bellcore", alice, "the display shows 5551234 ALICE (Bell 202 after the first ring)"},
		{"bellcore-single", alice, "the display shows 5551234 (Bell 202 after the first ring)"},
		{"bellcore", callerid.Message{NoNumber: callerid.Private}, "the display shows private (Bell 202 after the first ring)"},
		{"etsi", alice, "the display shows 5551234 ALICE (V.23 after the first ring)"},
		{"etsi-alert", alice, "the display shows 5551234 ALICE (V.23 behind a dual tone)"},
		{"etsi-pulse", alice, "the display shows 5551234 ALICE (V.23 behind a short ring)"},
		{"etsi-reversal", alice, "the display shows 5551234 ALICE (V.23 behind a reversal and a dual tone)"},
		{"uk", alice, "the display shows 5551234 ALICE (V.23 behind a reversal and a dual tone)"},
		{"dtmf", alice, "the display shows 5551234 (keys before the first ring)"},
		{"dtmf", callerid.Message{NoNumber: callerid.Private}, "the display shows private (keys before the first ring)"},
		{"dtmf-reversal", alice, "the display shows 5551234 (keys behind a reversal)"},
		{"dtmf-hash", callerid.Message{}, "the display shows unavailable (keys behind a reversal)"},
		{"dtmf-d", alice, "the display shows 5551234 (keys before the first ring)"},
	} {
		if got := displayed(t, x.standard, x.m, func(*display) {}); got != x.want {
			t.Errorf("%s: %q, want %q", x.standard, got, x.want)
		}
	}
	// Data out of the blue, too early, and bits that are wrong.
	asleep := displayed(t, "etsi-alert", alice, func(d *display) { d.alert = 0 })
	if asleep != "the display sleeps while V.23 sounds" {
		t.Errorf("without an alert: %q", asleep)
	}
	early := displayed(t, "bellcore", alice, func(d *display) { d.cadence.Steps[0] = 2100 * time.Millisecond })
	if early != "the display sleeps while Bell 202 sounds" {
		t.Errorf("400 ms after the ring: %q", early)
	}
	if got := displayed(t, "bellcore", callerid.Message{Name: "ALICE"}, func(d *display) {
		if len(d.bytes) > 5 {
			d.bytes[4] = '!'
		}
	}); !strings.HasPrefix(got, "the display reads nonsense") {
		t.Errorf("with bits that are wrong: %q", got)
	}
}

// displayed is what a display tells of a call; spoil may do something to it
// before each frame.
func displayed(t *testing.T, standard string, m callerid.Message, spoil func(*display)) string {
	var told []string
	synctest.Test(t, func(t *testing.T) {
		std, err := callerid.ParseStandard(standard)
		if err != nil {
			t.Fatal(err)
		}
		d := &display{tell: func(s string) { told = append(told, s) }}
		usual := hal.Cadence{Steps: [8]time.Duration{2 * time.Second, 4 * time.Second}}
		short := hal.Cadence{Steps: [8]time.Duration{500 * time.Millisecond, 500 * time.Millisecond}}
		var s callerid.Sender
		s.Call(std, &m, usual.Steps)
		for s.Busy() {
			var f hal.Frame
			l := s.Read(f[:])
			for bit, do := range map[callerid.Line]func(){
				callerid.Ring:    func() { d.ring(usual) },
				callerid.Pulse:   func() { d.ring(short) },
				callerid.Silence: func() { d.ring(hal.Cadence{}) },
				callerid.Reverse: func() { d.reverse(true) },
			} {
				if l&bit != 0 {
					do()
				}
			}
			spoil(d)
			d.hear(f[:], false)
			time.Sleep(hal.FrameTime)
		}
	})
	return strings.Join(told, ", ")
}

// During a call the display answers the dual tone, and is told then; one that is cut
// short is none of its business.
func TestDisplayInCall(t *testing.T) {
	for _, x := range []struct {
		standard string
		spoil    func(i int, f *hal.Frame) // of the i-th frame
		want     string
	}{
		{"bellcore", nil, "answers, the display shows 5551234 ALICE (Bell 202 during the call)"},
		{"bellcore-single", nil, "answers, the display shows 5551234 (Bell 202 during the call)"},
		{"etsi", nil, "answers, the display shows 5551234 ALICE (V.23 during the call)"},
		{"uk", nil, "answers, the display shows 5551234 ALICE (V.23 during the call)"},
		{"japan", nil, ""},
		{"dtmf", nil, ""},
		{"etsi", func(i int, f *hal.Frame) {
			if i > 8 {
				*f = hal.Frame{}
			}
		}, "answers"},
		{"etsi", func(i int, f *hal.Frame) {
			if i > 5 {
				*f = hal.Frame{}
			}
		}, ""},
	} {
		var told []string
		synctest.Test(t, func(t *testing.T) {
			std, err := callerid.ParseStandard(x.standard)
			if err != nil {
				t.Fatal(err)
			}
			var s callerid.Sender
			said := make(chan byte, 1)
			d := &display{tell: func(s string) { told = append(told, s) }, say: func(key []int16) {
				time.Sleep(time.Duration(len(key)) * time.Second / hal.SampleRate)
				said <- 'D'
			}}
			for range 2 { // and then the next caller
				s.CallWaiting(std, &callerid.Message{Number: "5551234", Name: "ALICE"})
				for i := range 150 {
					var f hal.Frame
					s.Read(f[:])
					if x.spoil != nil {
						x.spoil(i, &f)
					}
					d.hear(f[:], true)
					time.Sleep(hal.FrameTime)
					select {
					case key := <-said:
						told = append(told, "answers")
						s.Key(key)
					default:
					}
				}
			}
		})
		want := x.want
		if want != "" {
			want += ", " + want
		}
		if got := strings.Join(told, ", "); got != want {
			t.Errorf("%s: %q, want %q", x.standard, got, want)
		}
	}
}
