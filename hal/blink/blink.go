// Package blink makes a lamp of any switch.
//
// Its one idea: a pattern is steps in time, and where neither the kernel nor a
// chip takes them, a timer throws the switch at each step. A steady lamp has no
// timer; no goroutine waits for one that blinks.
package blink

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// Shortest is the shortest step of a pattern. The eye sees nothing faster, and
// a smaller one would keep a processor busy.
const Shortest = 10 * time.Millisecond

// Check returns an error for a pattern that no lamp can show: a step that is
// negative or shorter than Shortest.
func Check(p hal.Pattern) error {
	for _, step := range p.Steps {
		if step == 0 {
			return nil
		}
		if step < Shortest {
			return fmt.Errorf("pattern %q: a step of %v; the shortest is %v", p.Name, step, Shortest)
		}
	}
	return nil
}

// Steps returns how many steps p has: 0 is dark, 1 a steady light.
func Steps(p hal.Pattern) int {
	for n, step := range p.Steps {
		if step == 0 {
			return n
		}
	}
	return len(p.Steps)
}

// Lit reports whether a lamp that began to show p some time ago is lit now.
func Lit(p hal.Pattern, ago time.Duration) bool {
	n := Steps(p)
	if n < 2 {
		return n == 1
	}
	var period time.Duration
	for _, step := range p.Steps[:n] {
		period += step
	}
	ago %= period
	i := 0
	for ago >= p.Steps[i] {
		ago -= p.Steps[i]
		i++
	}
	return i%2 == 0
}

// A Lamp shows patterns by throwing a switch. It implements hal.Lamp.
type Lamp struct {
	name  string
	light func(lit bool) error

	mu     sync.Mutex
	closed bool
	shown  hal.Pattern
	known  bool // the switch is where shown says; false at first and after a failure
	round  int  // a timer that was started in an earlier one does nothing
	step   int  // of shown, that shows now
	next   time.Time
	timer  *time.Timer
}

// New returns a lamp of a switch. light is not called concurrently, must not
// wait, and is not called after Close.
func New(name string, light func(lit bool) error) *Lamp {
	return &Lamp{name: name, light: light}
}

// Name returns the name given to New.
func (l *Lamp) Name() string { return l.name }

// Show shows a pattern from its first step on, or goes on with it if it is
// shown already. It returns the error of the switch; a switch that fails later
// ends the blinking, and the next Show tries again.
func (l *Lamp) Show(p hal.Pattern) error {
	if err := Check(p); err != nil {
		return fmt.Errorf("lamp %s: %w", l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("lamp %s: %w", l.name, io.ErrClosedPipe)
	}
	if l.known && p.Steps == l.shown.Steps {
		return nil
	}
	l.stop()
	l.shown, l.known = p, true
	if err := l.light(Steps(p) > 0); err != nil {
		l.known = false
		return fmt.Errorf("lamp %s: %w", l.name, err)
	}
	if Steps(p) > 1 {
		l.step, l.next = 0, time.Now()
		l.wait()
	}
	return nil
}

// wait throws the switch again after the present step. l.mu is held.
func (l *Lamp) wait() {
	l.next = l.next.Add(l.shown.Steps[l.step])
	if now := time.Now(); l.next.Before(now) { // the machine slept: go on from here
		l.next = now
	}
	round := l.round
	l.timer = time.AfterFunc(time.Until(l.next), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if round != l.round {
			return
		}
		n := Steps(l.shown)
		l.step = (l.step + 1) % n
		if l.light(l.step%2 == 0) != nil {
			l.known = false
			return
		}
		l.wait()
	})
}

// stop ends the blinking. l.mu is held.
func (l *Lamp) stop() {
	l.round++
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// Forget ends the blinking and leaves the switch as it stands, for somebody else
// to throw. The next Show throws it again.
func (l *Lamp) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop()
	l.known = false
}

// Close ends the blinking and leaves the lamp dark.
func (l *Lamp) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.stop()
	l.closed = true
	if err := l.light(false); err != nil {
		return fmt.Errorf("lamp %s: %w", l.name, err)
	}
	return nil
}
