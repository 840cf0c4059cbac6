package hook

import (
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A Decoder hears one loop. The zero Decoder is a receiver on its hook with
// [Wide] timing. It allocates nothing but what the caller's slice of events
// needs. A Decoder is not safe for concurrent use.
//
// Times must not run backwards; one that does counts as the latest one seen.
type Decoder struct {
	timing Timing // whole

	raw    bool      // the level last told: closed
	rawAt  time.Time // since when
	closed bool      // the level that lasted
	since  time.Time // since when the loop is closed or open: its first edge, not the end of the bouncing
	lifted bool      // what the agent was told
	pulses int       // of the digit being dialled
	last   time.Time // the latest time seen
}

// New returns a decoder for a loop that is now closed (a lifted receiver: no
// event is made of it) or open. A Timing that contradicts itself panics: it is
// a constant of a backend, or was checked when it was read.
func New(t Timing, offHook bool) *Decoder {
	if err := t.Check(); err != nil {
		panic(err)
	}
	return &Decoder{timing: t.whole(), raw: offHook, closed: offHook, lifted: offHook}
}

// SetTiming changes the limits from the next edge on. It panics as New does.
func (d *Decoder) SetTiming(t Timing) {
	if err := t.Check(); err != nil {
		panic(err)
	}
	d.timing = t.whole()
}

// Timing returns the limits in use.
func (d *Decoder) Timing() Timing { return d.timing.whole() }

// Lifted reports whether the receiver is lifted as far as is known: through
// pulses and flashes, and until OnHook has been decided.
func (d *Decoder) Lifted() bool { return d.lifted }

// Edge tells the level of the loop at an instant: closed (current flows) or
// open. A level told twice is no edge. What has been decided by then is
// appended to events.
func (d *Decoder) Edge(now time.Time, closed bool, events []hal.Event) []hal.Event {
	now = d.forward(now)
	events = d.Expire(now, events)
	if closed == d.raw {
		return events
	}
	d.raw, d.rawAt = closed, now
	return d.Expire(now, events) // without debouncing it counts at once
}

// Expire tells that time has passed. What has been decided by then is appended
// to events, each with the instant at which it was decided.
func (d *Decoder) Expire(now time.Time, events []hal.Event) []hal.Event {
	now = d.forward(now)
	for {
		at := d.Deadline()
		if at.IsZero() || at.After(now) {
			return events
		}
		events = d.decide(at, events)
	}
}

// Deadline returns the instant at which Expire has something to decide, or the
// zero time.
func (d *Decoder) Deadline() time.Time {
	t := d.timing.whole()
	switch {
	case d.raw != d.closed: // a new level counts once it has lasted; until then the old one may have ended
		return d.rawAt.Add(t.Debounce)
	case d.closed && d.pulses > 0:
		return d.since.Add(t.Pause)
	case !d.closed && d.lifted:
		return d.since.Add(t.OnHook)
	}
	return time.Time{}
}

// decide does what was due at an instant.
func (d *Decoder) decide(at time.Time, events []hal.Event) []hal.Event {
	if d.raw == d.closed { // the level has lasted
		if d.closed {
			return d.digit(at, events)
		}
		d.lifted, d.pulses = false, 0
		return append(events, hal.Event{Kind: hal.OnHook, At: at})
	}

	open := d.rawAt.Sub(d.since) // when the loop closes: how long it was open
	d.closed, d.since = d.raw, d.rawAt
	if !d.closed {
		return events // an opening means nothing until it has ended or lasted
	}
	t := d.timing.whole()
	switch {
	case !d.lifted:
		d.lifted = true
		return append(events, hal.Event{Kind: hal.OffHook, At: at})
	case open < t.PulseMin:
		// Noise: as if it had not been.
	case open <= t.PulseMax:
		d.pulses++
	case open >= t.FlashMin && open <= t.FlashMax:
		events = d.digit(at, events) // one that was cut short by the flash
		return append(events, hal.Event{Kind: hal.Flash, At: at})
	}
	return events
}

// digit ends the digit being dialled, if there is one.
func (d *Decoder) digit(at time.Time, events []hal.Event) []hal.Event {
	digit := d.timing.Numbering.Digit(d.pulses)
	d.pulses = 0
	if digit == 0 {
		return events
	}
	return append(events, hal.Event{Kind: hal.Digit, Digit: digit, At: at})
}

// forward returns now, or the latest time seen where now lies before it.
func (d *Decoder) forward(now time.Time) time.Time {
	if now.Before(d.last) {
		return d.last
	}
	d.last = now
	return now
}
