package sim

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/blink"
)

// A Lamp is a lamp kept in memory. It implements hal.Lamp; any goroutine may
// look at it.
type Lamp struct {
	name string

	mu     sync.Mutex
	shown  hal.Pattern
	since  time.Time
	closed bool
}

// NewLamp returns a dark lamp.
func NewLamp(name string) *Lamp { return &Lamp{name: name} }

// Name returns the name given to NewLamp.
func (l *Lamp) Name() string { return l.name }

// Show shows a pattern from its first step on, or goes on with it.
func (l *Lamp) Show(p hal.Pattern) error {
	if err := blink.Check(p); err != nil {
		return fmt.Errorf("lamp %s: %w", l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("lamp %s: %w", l.name, io.ErrClosedPipe)
	}
	if p.Steps != l.shown.Steps {
		l.since = time.Now()
	}
	l.shown = p
	return nil
}

// Shown returns the pattern that the lamp shows.
func (l *Lamp) Shown() hal.Pattern {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown
}

// Lit reports whether the lamp shines at this instant.
func (l *Lamp) Lit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return blink.Lit(l.shown, time.Since(l.since))
}

// Close leaves the lamp dark.
func (l *Lamp) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.closed = hal.Pattern{}, true
	return nil
}
