// Package hal says what a phone socket and a lamp are, and nothing else.
//
// Its one idea: a port is events in, a bell, and sound both ways in frames of
// 10 ms, where the hardware's next frame is the only clock the sound knows.
// Everything that only some hardware can do is an interface of its own, found
// by asking the port: if h, ok := port.(hal.Hand); ok { ... }.
//
// Backends live in the folders beside this file; hal/haltest is the test that
// every one of them must pass.
package hal

import (
	"io"
	"time"
)

// The sound of an analog line, ITU-T G.711 section 1: 8000 samples a second.
const (
	SampleRate   = 8000
	FrameSamples = 80 // samples in a Frame
	FrameTime    = 10 * time.Millisecond
)

// A Frame is 10 ms of sound: linear samples, full scale ±32767. A sine of full
// scale is +3.14 dBm0 (ITU-T G.711, A-law). The zero Frame is silence.
type Frame [FrameSamples]int16

// A Port is where a phone plugs in. Each method says who may call it.
type Port interface {
	// Name is how configuration, status and log call the port: "1", "2".
	Name() string

	// Kind names the backend: "sim", "dahdi".
	Kind() string

	// Events delivers what the person does, in order. The channel is the
	// same for the life of the port and closed by Close. One reader.
	Events() <-chan Event

	// Ring starts the bell with a cadence, or stops it with the zero
	// Cadence. It does not wait. Any goroutine.
	Ring(Cadence) error

	// Read waits for the next 10 ms from the mouth. A port whose receiver
	// is on the hook may deliver no frames at all, so a caller must be
	// content to wait. After Close it returns io.EOF. One goroutine, the
	// one that also calls Write.
	Read(*Frame) error

	// Write gives the ear its next 10 ms. It does not wait; what cannot be
	// played is dropped by the port.
	Write(*Frame) error

	io.Closer
}

// An Event is something a person did with the telephone.
type Event struct {
	Kind  EventKind
	Digit byte      // for Digit: 0-9, *, #, A-D
	At    time.Time // when it was decided, by the hardware's clock where it has one
}

// EventKind tells what happened.
type EventKind uint8

// What a person does with a telephone.
const (
	OffHook EventKind = iota + 1 // the receiver was lifted
	OnHook                       // the receiver was put down, for longer than a flash
	Flash                        // the hook was pressed briefly
	Digit                        // a digit was dialled by pulses or a keypad (not by tones: those are heard in the sound)
)

func (k EventKind) String() string {
	switch k {
	case OffHook:
		return "off-hook"
	case OnHook:
		return "on-hook"
	case Flash:
		return "flash"
	case Digit:
		return "digit"
	}
	return "no event"
}

// A Cadence is how a bell rings: on, off, on, off, ... and again from the
// start. The zero Cadence is silence.
type Cadence struct {
	Steps [8]time.Duration // alternately ringing and silent; a zero ends the list
	Hz    uint8            // of the ringing voltage, 15 to 50; 0 means 25
}

// An OnHookTransmitter is a port that can send sound to a telephone on the hook,
// whose display listens there between two rings or before the first (EN 300
// 659-1, GR-30-CORE).
type OnHookTransmitter interface {
	// TransmitOnHook opens the way, or closes it. While it is open Read and
	// Write go on on the hook as if the receiver were lifted, whatever the
	// bell does; what is written while the bell sounds may be lost. Lifting
	// and putting down do not change it. It does not wait. Any goroutine.
	TransmitOnHook(open bool) error
}

// A Reverser is a port that can exchange the line's two wires, which some
// countries' displays are woken by.
type Reverser interface {
	// Reverse puts the wires the other way round than a port begins with,
	// or back, on the hook and off. It is neither a flash nor a pulse. It
	// does not wait. Any goroutine.
	Reverse(reversed bool) error
}

// A Handset is a port that is the receiver of an IP telephone: no line lies
// between it and the converters, and its sound may be wider than a line's. Who
// finds one carries its sound by these methods; Read and Write of hal.Frame work
// at a rate of 8000 alone and return an error otherwise. Its keys are told as
// Digit and are not heard.
type Handset interface {
	// Rate is how many samples its sound has in a second, both ways, one of
	// Rates. It never changes.
	Rate() int

	// ReadSamples is Read for the next 10 ms, Rate()/100 samples.
	ReadSamples([]int16) error

	// WriteSamples is Write of 10 ms, Rate()/100 samples. They are not kept.
	WriteSamples([]int16) error
}

// Rates are those that a Handset may have, samples a second.
var Rates = [...]int{8000, 16000, 32000, 48000}

// RateOf is how many samples the sound of a port has in a second.
func RateOf(p Port) int {
	if h, ok := p.(Handset); ok {
		return h.Rate()
	}
	return SampleRate
}

// A Lamp is one light. Show does not wait and may be called again with the
// same pattern at no cost. One goroutine.
type Lamp interface {
	Name() string
	Show(Pattern) error
	io.Closer
}

// A Pattern is how a lamp shines: on, off, on, off, ... and again from the
// start; a single step is a steady light. The zero Pattern is dark. Patterns
// are comparable.
type Pattern struct {
	Name  string           // "solid", "slow", ...; for status
	Steps [8]time.Duration // alternately lit and dark; a zero ends the list
}

// A Hand is a port whose receiver a program can move: a simulated one.
// Digits are pressed as a person does, and heard or seen by the agent only as
// sound and loop current.
type Hand interface {
	Lift()
	HangUp()
	Flash()
	// Press dials digits 0-9, *, #, A-D as DTMF tones, or on a Handset as
	// Digit, one after the other, and returns when the last is over. A comma
	// pauses for a second.
	Press(digits string) error
	// Dial sends digits 0-9 as loop pulses and returns after the last.
	Dial(digits string) error
	// Play speaks linear samples of the port's rate into the mouthpiece and
	// returns when the last was taken.
	Play(samples []int16) error
	// Record returns what the ear hears from now until stop is closed, at the
	// port's rate.
	Record(stop <-chan struct{}) []int16
	// Ringing reports whether the bell is being rung (in a pause of its
	// cadence too).
	Ringing() bool
}
