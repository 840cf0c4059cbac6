// Package sim is a telephone port made of software: a socket, the telephone in
// it, and the hand of the person who uses it.
//
// Its one idea: the sound of a line is a function of its samples' numbers. A
// digit pressed is a place in that numbering, so a frame can be made when it is
// asked for, a reader that comes late misses nothing it could still have had,
// and a receiver on its hook costs no work at all.
//
// A [Port] keeps time by package time alone: real time in a program, virtual
// time under testing/synctest.
package sim

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
)

// Sizes and times of our own choosing.
const (
	backlog = 25  // frames kept for a reader or a player that is late: 250 ms, more than a busy machine needs
	pending = 256 // events kept for their reader; a person makes ten a second at most

	flashTime = 200 * time.Millisecond // a European R key takes 100, an American hook flash 500 ms; hook.Wide hears all of them
)

// Options of a port. The zero Options are a good telephone.
type Options struct {
	// Timing of the hook; the zero Timing is hook.Wide. Its Debounce is not
	// used: these contacts do not bounce, and what a hand does is known in
	// the same instant.
	Timing hook.Timing

	// Hybrid throws what the ear hears back into the mouth, as the meeting of
	// two wires and four does: that many dB softer where it is loudest, spread
	// over 3 ms. 0 is a telephone without an echo, 6 a bad one (ITU-T G.168
	// asks for no worse). A Handset has none.
	Hybrid int

	// Bell is told each time the bell starts to be rung (with its cadence)
	// and stops (with the zero Cadence). It must not wait, and may be called
	// by any goroutine.
	Bell func(hal.Cadence)
	// Polarity is told each time the two wires are exchanged, or put back. As
	// Bell.
	Polarity func(reversed bool)
}

// A Port is a simulated port and the telephone in it. It implements hal.Port
// for the agent and hal.Hand for whoever plays the person. Except for Read and
// Write, which belong to one goroutine, its methods may be called from any.
type Port struct{ telephone }

// A telephone is what a Port and a Handset have in common.
type telephone struct {
	name   string
	rate   int       // of its samples
	start  time.Time // sample 0
	bell   func(hal.Cadence)
	poles  func(reversed bool)
	hybrid *hybrid // nil: none
	events chan hal.Event
	wake   chan struct{} // Read has something to wait for: the receiver was lifted, or sound goes to it on the hook
	done   chan struct{} // closed by Close
	finger chan struct{} // held by whoever presses, dials or flashes: a person has one
	tick   *time.Timer   // Read's
	ears   atomic.Pointer[[]*ear]

	mu      sync.Mutex // of all below
	closed  bool
	line    *hook.Decoder
	expiry  *time.Timer   // at the decoder's deadline
	lifted  bool          // where the person has put the receiver
	open    bool          // the loop is open: on hook, or in a pulse or a flash
	down    chan struct{} // closed when the receiver is put down
	onHook  bool          // sound goes to a telephone on the hook
	crossed bool          // the wires are exchanged
	next    int64         // the frame that Read delivers next
	play    int64         // the frame that Write fills next
	sounds  []sound       // what goes into the mouthpiece, from some sample on
	hushed  chan struct{} // closed and replaced by Hush
	cadence hal.Cadence   // of the bell; zero: silent
	rung    time.Time     // since when
	sine    *[sineSize]int16
}

// New returns a port with its receiver on the hook.
func New(name string, o Options) *Port {
	p := new(Port)
	p.plugIn(name, hal.SampleRate, o)
	p.hybrid = newHybrid(o.Hybrid)
	return p
}

// plugIn makes a telephone with its receiver on the hook.
func (p *telephone) plugIn(name string, rate int, o Options) {
	*p = telephone{
		name: name, rate: rate, start: time.Now(), bell: o.Bell, poles: o.Polarity,
		events: make(chan hal.Event, pending),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
		finger: make(chan struct{}, 1),
		hushed: make(chan struct{}),
		line:   hook.New(clean(o.Timing), false),
		open:   true,
		sine:   sineTable(),
	}
	p.ears.Store(new([]*ear))
}

// clean returns t for contacts that do not bounce.
func clean(t hook.Timing) hook.Timing {
	if t == (hook.Timing{}) {
		t = hook.Wide
	}
	t.Debounce = 0
	return t
}

// SetTiming changes what the hook takes for a pulse, a flash and a receiver put
// down, and what its pulses mean, from the next edge on. A Timing that
// contradicts itself panics: hook.Timing.Check says so first.
func (p *telephone) SetTiming(t hook.Timing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line.SetTiming(clean(t))
}

// Name returns the name given to New.
func (p *telephone) Name() string { return p.name }

// Kind returns "sim".
func (p *telephone) Kind() string { return "sim" }

// Events delivers what the hook and the dial say. A reader that is 256 events
// behind misses the next.
func (p *telephone) Events() <-chan hal.Event { return p.events }

// OffHook reports whether the port takes the receiver for lifted: through
// pulses and flashes, and until it is clear that a receiver put down is no
// flash.
func (p *telephone) OffHook() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.line.Lifted()
}

// Close hangs up nothing: it takes the port away. Events is closed, Read
// returns io.EOF, and every hand lets go with an error.
func (p *telephone) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if p.expiry != nil {
		p.expiry.Stop()
	}
	close(p.events)
	close(p.done)
	return nil
}

// ---- the loop

// edge opens or closes the loop at an instant. p.mu is held.
func (p *telephone) edge(at time.Time, closed bool) {
	if p.closed {
		return
	}
	p.open = !closed
	var events [4]hal.Event
	p.tell(p.line.Edge(at, closed, events[:0]))
}

// expire lets the decoder decide what has become due.
func (p *telephone) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	var events [4]hal.Event
	p.tell(p.line.Expire(time.Now(), events[:0]))
}

// tell sends events and waits for the next deadline. p.mu is held.
func (p *telephone) tell(events []hal.Event) {
	for _, e := range events {
		if e.Kind == hal.OffHook {
			p.next = p.frame() // what was before is not spoken
			p.awake()
		}
		select {
		case p.events <- e:
		default:
		}
	}
	deadline := p.line.Deadline()
	switch {
	case deadline.IsZero():
		if p.expiry != nil {
			p.expiry.Stop()
		}
	case p.expiry == nil:
		p.expiry = time.AfterFunc(time.Until(deadline), p.expire)
	default:
		p.expiry.Reset(time.Until(deadline))
	}
}

func (p *telephone) awake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// TransmitOnHook lets sound go to a telephone on the hook, or no longer.
func (p *Port) TransmitOnHook(open bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return io.ErrClosedPipe
	}
	if open && !p.onHook && !p.line.Lifted() {
		p.next = p.frame()
		p.awake()
	}
	p.onHook = open
	return nil
}

// Reverse exchanges the two wires, or puts them back.
func (p *Port) Reverse(reversed bool) error {
	p.mu.Lock()
	changed := reversed != p.crossed
	closed := p.closed
	if !closed {
		p.crossed = reversed
	}
	p.mu.Unlock()
	if closed {
		return io.ErrClosedPipe
	}
	if changed && p.poles != nil {
		p.poles(reversed)
	}
	return nil
}

// Reversed reports whether the wires are exchanged.
func (p *Port) Reversed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crossed
}

// ---- the sound

// sample returns the number of the sample that sounds now; frame that of its
// frame. Both run on while the receiver is on the hook.
func (p *telephone) sample() int64 {
	return time.Since(p.start).Microseconds() * int64(p.rate) / 1e6
}

func (p *telephone) frame() int64 { return int64(time.Since(p.start) / hal.FrameTime) }

// Read waits for the next 10 ms from the mouthpiece. Frames end on a grid of
// 10 ms that began with New, so that they do not drift; while the receiver is
// on the hook there are none but under TransmitOnHook. A reader that is late
// gets up to 250 ms at once and misses what is older. While the loop is open, as
// in a flash, the mouth is silent.
func (p *Port) Read(f *hal.Frame) error { return p.read(f[:]) }

func (p *telephone) read(f []int16) error {
	if len(f) != p.rate/framesPerSecond {
		return errFrame
	}
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return io.EOF
		}
		if !p.line.Lifted() && !p.onHook {
			p.mu.Unlock()
			select {
			case <-p.wake:
			case <-p.done:
			}
			continue
		}
		now := p.frame()
		p.next = max(p.next, now-backlog)
		if p.next < now {
			p.speak(f, p.next*int64(len(f)))
			p.next++
			p.mu.Unlock()
			return nil
		}
		due := p.start.Add(time.Duration(p.next+1) * hal.FrameTime)
		p.mu.Unlock()

		if p.tick == nil {
			p.tick = time.NewTimer(time.Until(due))
		} else {
			p.tick.Reset(time.Until(due))
		}
		select {
		case <-p.tick.C:
		case <-p.done:
			p.tick.Stop()
		}
	}
}

// Write gives the ear 10 ms. They begin with the frame of the present instant,
// or after those written before; what is more than 250 ms ahead of the ear is
// dropped, and so is everything while the loop is open. On the hook, under
// TransmitOnHook, they come over the wires alone, and not while the bell sounds.
func (p *Port) Write(f *hal.Frame) error { return p.write(f[:]) }

func (p *telephone) write(f []int16) error {
	if len(f) != p.rate/framesPerSecond {
		return errFrame
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return io.ErrClosedPipe
	}
	now := p.frame()
	p.play = max(p.play, now)
	ear, onHook := !p.open && p.line.Lifted(), p.onHook && !p.line.Lifted()
	if !ear && !onHook || p.play > now+backlog {
		p.mu.Unlock()
		return nil
	}
	at := p.play * int64(len(f))
	wires := ear || !p.clapper(p.start.Add(time.Duration(p.play)*hal.FrameTime))
	p.play++
	if wires {
		p.hybrid.heard(at, f)
	}
	p.mu.Unlock()
	for _, e := range *p.ears.Load() {
		if ear || wires && e.wires {
			e.hear(at, f)
		}
	}
	return nil
}

var errFrame = errors.New("that is not 10 ms at the rate of this handset")

// ---- the bell

// Ring rings the bell, or stops it with the zero Cadence. A lifted receiver
// does not ring: the person was faster.
func (p *telephone) Ring(c hal.Cadence) error {
	for _, step := range c.Steps {
		if step < 0 {
			return fmt.Errorf("port %s: a bell cannot ring for %v", p.name, step)
		}
	}
	if c.Hz != 0 && (c.Hz < 15 || c.Hz > 50) {
		return fmt.Errorf("port %s: a bell rings at 15 to 50 Hz, not at %d", p.name, c.Hz)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return io.ErrClosedPipe
	}
	if c.Steps[0] == 0 || !p.open || p.line.Lifted() {
		c = hal.Cadence{}
	}
	p.ring(c)
	return nil
}

// ring changes what the bell does, and lets go of p.mu.
func (p *telephone) ring(c hal.Cadence) {
	changed := c != p.cadence
	if changed {
		p.cadence, p.rung = c, time.Now()
	}
	p.mu.Unlock()
	if changed && p.bell != nil {
		p.bell(c)
	}
}

// Ringing reports whether the bell is being rung, in a pause of its cadence
// too.
func (p *telephone) Ringing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cadence.Steps[0] != 0
}

// Cadence returns what the bell is being rung with and since when; the zero
// Cadence for a silent bell.
func (p *telephone) Cadence() (hal.Cadence, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cadence, p.rung
}

// Sounds reports whether the clapper strikes at an instant, as the bell is rung
// now: not in a pause, and not before it began.
func (p *telephone) Sounds(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clapper(at)
}

// clapper is Sounds. p.mu is held.
func (p *telephone) clapper(at time.Time) bool {
	c := p.cadence
	if c.Steps[0] == 0 || at.Before(p.rung) {
		return false
	}
	into := at.Sub(p.rung)
	var period time.Duration
	for _, step := range c.Steps {
		period += step
	}
	into %= period
	for i, step := range c.Steps {
		if into < step {
			return i%2 == 0
		}
		into -= step
	}
	return false
}

// ---- the hand

// Errors of a hand.
var (
	errOnHook  = errors.New("the receiver is on the hook")
	errPutBack = errors.New("the receiver was put down")
	errHushed  = errors.New("it was told to be quiet")
	errClosed  = errors.New("the port was closed")
)

// Lift takes the receiver off the hook. A bell that rings stops at once, as a
// line card stops it when current flows.
func (p *telephone) Lift() {
	p.mu.Lock()
	if p.closed || p.lifted {
		p.mu.Unlock()
		return
	}
	p.lifted, p.down = true, make(chan struct{})
	p.edge(time.Now(), true)
	p.ring(hal.Cadence{})
}

// HangUp puts the receiver down. What was being pressed, dialled or played
// ends. The port tells OnHook when it is clear that this was no flash.
func (p *telephone) HangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || !p.lifted {
		return
	}
	p.lifted, p.sounds = false, p.sounds[:0]
	close(p.down)
	p.edge(time.Now(), false)
}

// Flash presses the hook for 200 ms, or where the port's Timing takes that for
// something else, for a time that it takes for a flash. On a receiver that is on
// the hook it does nothing.
func (p *telephone) Flash() {
	p.mu.Lock()
	d, t := flashTime, p.line.Timing()
	p.mu.Unlock()
	if d <= max(t.PulseMax, t.FlashMin) || d >= t.FlashMax {
		d = (max(t.PulseMax, t.FlashMin) + t.FlashMax) / 2
	}
	_ = p.pulse([]span{{d, 0}})
}

// Hush stops what Play is speaking; Play returns with an error.
func (p *telephone) Hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sounds = slices.DeleteFunc(p.sounds, func(s sound) bool { return s.samples != nil })
	close(p.hushed)
	p.hushed = make(chan struct{})
}

// Press dials digits 0-9, *, #, A-D as tones, 100 ms each and 100 ms apart, and
// returns when the last has sounded. A comma is a pause of a second. The
// receiver must be lifted; Press ends with an error when it is put down.
func (p *Port) Press(digits string) error {
	free, err := p.reach(digits)
	if err != nil {
		return err
	}
	defer free()

	p.mu.Lock()
	down, at := p.down, p.sample()
	first := at
	for _, d := range digits {
		if d == ',' {
			at += hal.SampleRate
			continue
		}
		low, high, _ := dtmf(d)
		p.say(sound{from: at, to: at + toneOn, low: low, high: high})
		at += toneOn + toneOff
	}
	p.mu.Unlock()
	return p.wait(down, nil, p.span(at-first))
}

// Dial sends digits 0-9 as pulses, ten a second, and returns when the last is
// complete. The numbering is that of the port's Timing.
func (p *Port) Dial(digits string) error {
	p.mu.Lock()
	numbering := p.line.Timing().Numbering
	p.mu.Unlock()
	var spans []span
	for _, d := range digits {
		pulses := 0
		if d < 0x80 {
			pulses = numbering.Pulses(byte(d))
		}
		if pulses == 0 {
			return fmt.Errorf("port %s: cannot dial %q with pulses: a dial has 0-9", p.name, d)
		}
		for range pulses {
			spans = append(spans, span{pulseBreak, pulseMake})
		}
		spans[len(spans)-1].closed = betweenDigits
	}
	return p.pulse(spans)
}

// Play speaks samples into the mouthpiece, mixed with what is pressed, and
// returns when the last was spoken. The receiver must be lifted; Play ends with
// an error when it is put down. The samples must not change meanwhile.
func (p *telephone) Play(samples []int16) error {
	p.mu.Lock()
	if err := p.ready(); err != nil {
		p.mu.Unlock()
		return err
	}
	down, hushed, at := p.down, p.hushed, p.sample()
	p.say(sound{from: at, to: at + int64(len(samples)), samples: samples})
	p.mu.Unlock()
	return p.wait(down, hushed, p.span(int64(len(samples))))
}

// reach waits for the finger and a lifted receiver, if there are such keys.
func (p *telephone) reach(digits string) (free func(), err error) {
	for _, d := range digits {
		if _, _, ok := dtmf(d); !ok && d != ',' {
			return nil, fmt.Errorf("port %s: cannot press %q: the keys are 0-9, *, #, A-D, and a comma pauses for a second", p.name, d)
		}
	}
	return p.take()
}

// take waits for the finger and a lifted receiver; free lets the finger go.
func (p *telephone) take() (free func(), err error) {
	select {
	case p.finger <- struct{}{}:
	case <-p.done:
		return nil, fmt.Errorf("port %s: %w", p.name, errClosed)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ready(); err != nil {
		<-p.finger
		return nil, err
	}
	return func() { <-p.finger }, nil
}

// ready returns why nothing can be said into the port now. p.mu is held.
func (p *telephone) ready() error {
	switch {
	case p.closed:
		return fmt.Errorf("port %s: %w", p.name, errClosed)
	case !p.lifted:
		return fmt.Errorf("port %s: %w: lift it first", p.name, errOnHook)
	}
	return nil
}

// wait lets time pass, or returns why it must not. hushed may be nil.
func (p *telephone) wait(down, hushed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-down:
		return fmt.Errorf("port %s: %w", p.name, errPutBack)
	case <-hushed:
		return fmt.Errorf("port %s: %w", p.name, errHushed)
	case <-p.done:
		return fmt.Errorf("port %s: %w", p.name, errClosed)
	}
}

// A span is a loop open, then closed, for so long.
type span struct{ open, closed time.Duration }

// The dial's pulses: ten a second, 60 % break (TIA-464: 8 to 11 a second, 58 to
// 64 %), and 700 ms from digit to digit, as a finger takes.
const (
	pulseBreak    = 60 * time.Millisecond
	pulseMake     = 40 * time.Millisecond
	betweenDigits = 700 * time.Millisecond
)

// pulse opens and closes the loop. The decoder is told when each edge should
// have been, so that a busy machine dials no wrong number.
func (p *telephone) pulse(spans []span) error {
	free, err := p.take()
	if err != nil {
		return err
	}
	defer free()
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	at := time.Now()
	for _, s := range spans {
		for _, step := range [...]struct {
			closed bool
			d      time.Duration
		}{{false, s.open}, {true, s.closed}} {
			p.mu.Lock()
			if p.down == down && p.lifted { // still the same call
				p.edge(at, step.closed)
			}
			p.mu.Unlock()
			at = at.Add(step.d)
			if err := p.wait(down, nil, time.Until(at)); err != nil {
				return err
			}
		}
	}
	return nil
}
