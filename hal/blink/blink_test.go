package blink_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/blink"
	"github.com/ata-agent/ata-agent/hal/haltest"
)

var slow = hal.Pattern{Name: "slow", Steps: [8]time.Duration{500 * time.Millisecond, 500 * time.Millisecond}}

func TestLamp(t *testing.T) {
	haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
		var lit atomic.Bool
		l := blink.New("x", func(on bool) error { lit.Store(on); return nil })
		return haltest.LampRig{Lamp: l, Lit: lit.Load}
	})
}

func TestSteps(t *testing.T) {
	full := hal.Pattern{}
	for i := range full.Steps {
		full.Steps[i] = time.Second
	}
	for _, tt := range []struct {
		p    hal.Pattern
		want int
	}{{hal.Pattern{}, 0}, {hal.Pattern{Steps: [8]time.Duration{1}}, 1}, {slow, 2}, {full, 8}} {
		if got := blink.Steps(tt.p); got != tt.want {
			t.Errorf("%v: %d steps, want %d", tt.p.Steps, got, tt.want)
		}
		if tt.want > 1 && (!blink.Lit(tt.p, 0) || blink.Lit(tt.p, tt.p.Steps[0]) || !blink.Lit(tt.p, time.Duration(tt.want)*tt.p.Steps[0])) {
			t.Errorf("%v: lit at the wrong time", tt.p.Steps)
		}
	}
	if err := blink.Check(full); err != nil {
		t.Error(err)
	}
}

// TestADayDoesNotDrift counts how often the switch is thrown in a virtual day.
func TestADayDoesNotDrift(t *testing.T) {
	day := 24 * time.Hour
	if testing.Short() {
		day /= 12
	}
	synctest.Test(t, func(t *testing.T) {
		n := 0
		l := blink.New("x", func(bool) error {
			n++
			time.Sleep(time.Millisecond) // a switch takes its time
			return nil
		})
		if err := l.Show(slow); err != nil {
			t.Fatal(err)
		}
		time.Sleep(day + 100*time.Millisecond)
		l.Close()
		if want := 2*int(day/time.Second) + 2; n != want {
			t.Errorf("thrown %d times, want %d", n, want)
		}
	})
}

// TestAStall lets the switch take longer than a step once, as a machine that
// slept: the blinking goes on from there, and does not catch up.
func TestAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		l := blink.New("x", func(bool) error {
			if n++; n == 2 {
				time.Sleep(time.Minute)
			}
			return nil
		})
		l.Show(slow)
		time.Sleep(time.Minute + 2*time.Second)
		l.Close()
		if n > 10 {
			t.Errorf("thrown %d times in two seconds after a stall", n)
		}
	})
}

func TestASwitchThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("no contact")
		var fails atomic.Bool
		var n atomic.Int32
		l := blink.New("x", func(bool) error {
			n.Add(1)
			if fails.Load() {
				return broken
			}
			return nil
		})
		if err := l.Show(slow); err != nil {
			t.Fatal(err)
		}
		fails.Store(true)
		time.Sleep(time.Hour)
		if n.Load() != 2 {
			t.Errorf("a broken switch was thrown %d times", n.Load()-1)
		}
		if err := l.Show(slow); !errors.Is(err, broken) || err.Error() != "lamp x: no contact" {
			t.Errorf("got %v", err)
		}
		fails.Store(false)
		n.Store(0)
		if err := l.Show(slow); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		if n.Load() != 3 {
			t.Errorf("mended, thrown %d times", n.Load())
		}
		fails.Store(true)
		if err := l.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var thrown []bool
		l := blink.New("x", func(on bool) error { thrown = append(thrown, on); return nil })
		l.Show(slow)
		l.Forget()
		time.Sleep(time.Hour)
		l.Show(slow)
		l.Close()
		if len(thrown) != 3 {
			t.Errorf("thrown %v, want on, on, off", thrown)
		}
	})
}
