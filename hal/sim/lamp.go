package sim

import (
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A Lamp is a lamp kept in memory. Shown may be called from any goroutine.
type Lamp struct {
	name  string
	shown atomic.Pointer[showing]
}

type showing struct {
	pattern hal.Pattern
	since   time.Time
}

// NewLamp returns a dark lamp.
func NewLamp(name string) *Lamp {
	l := &Lamp{name: name}
	l.shown.Store(new(showing))
	return l
}

// Name returns the name given to NewLamp.
func (l *Lamp) Name() string { return l.name }

// Show keeps the pattern. It never fails.
func (l *Lamp) Show(p hal.Pattern) error {
	if p != l.shown.Load().pattern {
		l.shown.Store(&showing{p, time.Now()})
	}
	return nil
}

// Shown returns the pattern last shown and since when.
func (l *Lamp) Shown() (hal.Pattern, time.Time) {
	s := l.shown.Load()
	return s.pattern, s.since
}

// Close leaves the lamp dark.
func (l *Lamp) Close() error {
	return l.Show(hal.Pattern{})
}
