package haltest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A LampRig is a lamp and an eye on it.
type LampRig struct {
	Lamp hal.Lamp
	Lit  func() bool
}

// RunLamp checks in virtual time a lamp whose blinking can be watched.
func RunLamp(t *testing.T, open func(t *testing.T) LampRig) {
	for _, law := range lampLaws {
		t.Run(law.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t)
				defer r.Lamp.Close()
				law.check(t, r)
			})
		})
	}
}

// Patterns of each shape: as they stand in the table of lamps.
var (
	dark  = hal.Pattern{Name: "off"}
	solid = pattern("solid", 1000)
	slow  = pattern("slow", 500, 500)
	flash = pattern("triple", 100, 100, 100, 100, 100, 900)
	odd   = pattern("odd", 200, 100, 300) // lit from its end into its start
)

func pattern(name string, ms ...int) hal.Pattern {
	p := hal.Pattern{Name: name}
	for i, n := range ms {
		p.Steps[i] = time.Duration(n) * time.Millisecond
	}
	return p
}

var lampLaws = []struct {
	name  string
	check func(*testing.T, LampRig)
}{
	{"has a name", func(t *testing.T, r LampRig) {
		if r.Lamp.Name() == "" {
			t.Error("the lamp has no name")
		}
	}},
	{"steady light and dark", func(t *testing.T, r LampRig) {
		for _, p := range []hal.Pattern{solid, dark, dark, solid, solid} {
			r.watch(t, p, 3*time.Second)
		}
	}},
	{"blinks in each rhythm", func(t *testing.T, r LampRig) {
		for _, p := range []hal.Pattern{slow, flash, odd, slow, dark, flash, solid, flash, slow} {
			r.watch(t, p, 5*time.Second)
		}
	}},
	{"a pattern shown again goes on", func(t *testing.T, r LampRig) {
		r.show(t, slow)
		time.Sleep(750 * time.Millisecond)
		r.show(t, slow)
		if r.Lit() {
			t.Error("the rhythm began anew")
		}
		renamed := slow
		renamed.Name = "another word for it"
		r.show(t, renamed)
		if r.Lit() {
			t.Error("the rhythm began anew for another name")
		}
	}},
	{"a step that no lamp can show is refused", func(t *testing.T, r LampRig) {
		for _, p := range []hal.Pattern{{Steps: [8]time.Duration{-1}}, {Steps: [8]time.Duration{time.Second, time.Microsecond}}} {
			if err := r.Lamp.Show(p); err == nil {
				t.Errorf("%v is shown", p.Steps)
			}
		}
	}},
	{"Close leaves it dark", func(t *testing.T, r LampRig) {
		r.show(t, slow)
		time.Sleep(time.Second)
		if err := r.Lamp.Close(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if r.Lit() {
				t.Fatal("a closed lamp is lit")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err := r.Lamp.Close(); err != nil {
			t.Errorf("closing twice: %v", err)
		}
		if err := r.Lamp.Show(solid); err == nil || r.Lit() {
			t.Errorf("a closed lamp shows: %v, lit %v", err, r.Lit())
		}
	}},
}

func (r LampRig) show(t *testing.T, p hal.Pattern) {
	t.Helper()
	if err := r.Lamp.Show(p); err != nil {
		t.Fatal(err)
	}
}

// watch shows a pattern and looks at it each 10 ms, beside the instants at which
// it changes.
func (r LampRig) watch(t *testing.T, p hal.Pattern, d time.Duration) {
	t.Helper()
	r.show(t, p)
	start := time.Now()
	time.Sleep(5 * time.Millisecond)
	for time.Since(start) < d {
		into := time.Since(start)
		if want := lit(p, into); r.Lit() != want {
			t.Fatalf("%s: lit %v after %v, want %v", p.Name, r.Lit(), into, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// lit walks through the steps; it is not how a backend would do it.
func lit(p hal.Pattern, into time.Duration) bool {
	if p.Steps[1] == 0 {
		return p.Steps[0] != 0
	}
	for i := 0; ; i++ {
		if i == len(p.Steps) || p.Steps[i] == 0 {
			i = 0
		}
		if into < p.Steps[i] {
			return i%2 == 0
		}
		into -= p.Steps[i]
	}
}
