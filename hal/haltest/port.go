// Package haltest is what every backend must do, as a test.
//
// Its one idea: the agent knows no hardware, so whatever it counts on stands
// here once. A backend's test gives [Run] a port and a hand that moves the
// telephone in it: a simulated one, a virtual line joined to another, or a
// person's rig of relays.
//
//	func TestPort(t *testing.T) {
//		haltest.Run(t, func(t *testing.T) haltest.Rig {
//			p := sim.New("1", sim.Options{})
//			return haltest.Rig{Port: p, Hand: p, Wires: p}
//		})
//	}
package haltest

import (
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A Rig is a port and whoever moves the telephone in it.
type Rig struct {
	Port hal.Port
	Hand hal.Hand

	// NoPulses says that the hand cannot dial with pulses.
	NoPulses bool
	// Wires is what a telephone's display has of a port that can transmit on
	// the hook or reverse; nil: what it does there is not looked at.
	Wires Wires
}

// Wires are the two that lead to a telephone.
type Wires interface {
	// RecordWires returns what comes over them from now until stop is
	// closed, receiver on the hook or not.
	RecordWires(stop <-chan struct{}) []int16
	// Reversed reports whether they are exchanged.
	Reversed() bool
}

// Run checks a backend in real time, which takes about half a minute. open
// returns a port of its own for each check, its receiver on the hook; Run closes
// it.
func Run(t *testing.T, open func(t *testing.T) Rig) {
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) { check(t, open, law.check) })
	}
}

// RunVirtual is Run in virtual time: for a backend that keeps time by package
// time alone. It checks too that no goroutine is left.
func RunVirtual(t *testing.T, open func(t *testing.T) Rig) {
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { check(t, open, law.check) })
		})
	}
}

func check(t *testing.T, open func(t *testing.T) Rig, law func(*person)) {
	p := &person{T: t, Rig: open(t)}
	defer p.leave()
	law(p)
}

// How long is enough, and how short is nothing yet. A hook may take a second to
// tell a flash from a receiver put down.
const (
	soon  = 3 * time.Second
	quiet = 2 * time.Second
)

var laws = []struct {
	name  string
	check func(*person)
}{
	{"says what it is", func(p *person) {
		if p.Port.Name() == "" || p.Port.Kind() == "" {
			p.Errorf("name %q, kind %q: neither may be empty", p.Port.Name(), p.Port.Kind())
		}
		if events := p.Port.Events(); events != p.Port.Events() {
			p.Error("Events is another channel each time")
		}
		p.nothing()
	}},
	{"tells that the receiver is lifted, once", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.Hand.Lift()
		p.nothing()
	}},
	{"tells that the receiver is put down, once", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.Hand.HangUp()
		p.hears(hal.OnHook)
		p.Hand.HangUp()
		p.nothing()
	}},
	{"tells a flash, and nothing else", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.Hand.Flash()
		p.hears(hal.Flash)
		p.nothing()
		p.Hand.HangUp()
		p.hears(hal.OnHook)
	}},
	{"a flash on the hook is nothing", func(p *person) {
		p.Hand.Flash()
		p.nothing()
	}},
	{"put down and lifted again", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.Hand.HangUp()
		p.hears(hal.OnHook)
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.nothing()
	}},
	{"a clumsy hand makes no two events of one kind", func(p *person) {
		lifted := false
		for _, pause := range []time.Duration{1, 5, 20, 60, 90, 150, 300, 700, 899, 901, 1500} {
			p.Hand.Lift()
			time.Sleep(pause*time.Millisecond + 100*time.Microsecond)
			p.Hand.HangUp()
			time.Sleep(pause*time.Millisecond + 100*time.Microsecond)
		}
		time.Sleep(quiet)
		for {
			select {
			case e := <-p.Port.Events():
				switch {
				case e.Kind == hal.OffHook && lifted, e.Kind != hal.OffHook && !lifted:
					p.Errorf("%v while the receiver was said to be lifted: %v", e.Kind, lifted)
				}
				lifted = e.Kind == hal.OffHook || e.Kind != hal.OnHook && lifted
			default:
				if lifted {
					p.Error("the receiver is down and was not told so")
				}
				return
			}
		}
	}},
	{"frames come every 10 ms while lifted", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.paced(200)
	}},
	{"the mouth is silent while nobody speaks", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		c := p.cord(nil)
		time.Sleep(time.Second)
		if level := level(c.mouth()); level > -50 {
			p.Errorf("silence has %.0f dBm0", level)
		}
	}},
	{"keys are heard as tones", func(p *person) {
		if p.handset() != nil {
			p.Skip("a handset tells them")
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		c := p.cord(nil)
		const all = "123A456B789C*0#D"
		if err := p.Hand.Press(all); err != nil {
			p.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if got := Keys(c.mouth()); got != all {
			p.Errorf("pressed %s, heard %s", all, got)
		}
		p.nothing()
	}},
	{"a handset tells keys, and nobody hears them", func(p *person) {
		if p.handset() == nil {
			p.Skip("this port is no handset")
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		c := p.cord(nil)
		const all = "123A456B789C*0#D"
		if err := p.Hand.Press(all); err != nil {
			p.Fatal(err)
		}
		for _, want := range all {
			if e := p.hears(hal.Digit); e.Digit != byte(want) {
				p.Errorf("pressed %c, told %c", want, e.Digit)
			}
		}
		p.nothing()
		if level := level(c.mouth()); level > -50 {
			p.Errorf("keys have %.0f dBm0", level)
		}
	}},
	{"the rate of a handset is one of four", func(p *person) {
		h := p.handset()
		if h == nil {
			p.Skip("this port is no handset")
		}
		if !slices.Contains(hal.Rates[:], h.Rate()) {
			p.Errorf("it has %d Hz", h.Rate())
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		if h.Rate() != hal.SampleRate {
			if p.Port.Read(new(hal.Frame)) == nil || p.Port.Write(new(hal.Frame)) == nil {
				p.Errorf("at %d Hz frames of a line are taken", h.Rate())
			}
		}
	}},
	{"a handset carries all its rate can", func(p *person) {
		if p.handset() == nil {
			p.Skip("this port is no handset")
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		high := p.rate() * 7 / 16 / 100 * 100
		c := p.cord(SineAt(p.rate(), high-500, 3*time.Second))
		played := make(chan error)
		go func() { played <- p.Hand.Play(SineAt(p.rate(), high, time.Second)) }()
		heard := p.record(time.Second)
		if err := <-played; err != nil {
			p.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		if got := p.heard(heard, high-500); got < 900*time.Millisecond {
			p.Errorf("the ear heard %d Hz for %v of a second", high-500, got)
		}
		if got := p.heard(c.mouth(), high); got < 900*time.Millisecond || got > 1100*time.Millisecond {
			p.Errorf("the mouth spoke %d Hz for a second, heard for %v", high, got)
		}
	}},
	{"pulses are told as digits", func(p *person) {
		if p.NoPulses {
			p.Skip("this hand cannot")
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		if err := p.Hand.Dial("1902"); err != nil {
			p.Fatal(err)
		}
		for _, want := range "1902" {
			if e := p.hears(hal.Digit); e.Digit != byte(want) {
				p.Errorf("dialled %c, told %c", want, e.Digit)
			}
		}
		p.nothing()
	}},
	{"what is played is heard", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		c := p.cord(nil)
		if err := p.Hand.Play(p.sine(800, time.Second)); err != nil {
			p.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if got := p.heard(c.mouth(), 800); got < 900*time.Millisecond || got > 1100*time.Millisecond {
			p.Errorf("a second of 800 Hz was heard for %v", got)
		}
	}},
	{"what is written is heard", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		p.cord(p.sine(1000, 3*time.Second))
		heard := p.record(time.Second)
		if got := p.heard(heard, 1000); got < 900*time.Millisecond || got > 1100*time.Millisecond {
			p.Errorf("the ear heard 1000 Hz for %v of a second", got)
		}
	}},
	{"both ways at once", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		c := p.cord(p.sine(1000, 3*time.Second))
		played := make(chan error)
		go func() { played <- p.Hand.Play(p.sine(500, time.Second)) }()
		heard := p.record(time.Second)
		if err := <-played; err != nil {
			p.Error(err)
		}
		time.Sleep(200 * time.Millisecond)
		if got := p.heard(heard, 1000); got < 900*time.Millisecond {
			p.Errorf("the ear heard 1000 Hz for %v of a second", got)
		}
		if got := p.heard(c.mouth(), 500); got < 900*time.Millisecond {
			p.Errorf("the mouth spoke 500 Hz for a second, heard for %v", got)
		}
	}},
	{"the ear hears nothing on the hook", func(p *person) {
		p.cord(p.sine(1000, 3*time.Second))
		if level := level(p.record(time.Second)); level > -50 {
			p.Errorf("the ear hears %.0f dBm0", level)
		}
	}},
	{"Write does not wait", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		start := time.Now()
		for range 500 {
			if err := p.write(make([]int16, p.rate()/100)); err != nil {
				p.Fatal(err)
			}
		}
		if took := time.Since(start); took > time.Second {
			p.Errorf("five seconds of sound took %v", took)
		}
	}},
	{"the bell rings until it is stopped", func(p *person) {
		p.ring(cadence)
		for range 4 { // in its pauses too
			if !p.Hand.Ringing() {
				p.Error("the bell does not ring")
			}
			time.Sleep(700 * time.Millisecond)
		}
		p.ring(hal.Cadence{})
		time.Sleep(100 * time.Millisecond)
		if p.Hand.Ringing() {
			p.Error("the bell rings though it was stopped")
		}
		p.nothing()
	}},
	{"lifting stops the bell", func(p *person) {
		p.ring(cadence)
		time.Sleep(500 * time.Millisecond)
		p.Hand.Lift()
		p.hears(hal.OffHook)
		if p.Hand.Ringing() {
			p.Error("the bell rings at a lifted receiver")
		}
		p.nothing() // ringing voltage is no pulse and no flash
	}},
	{"a lifted receiver does not ring", func(p *person) {
		p.Hand.Lift()
		p.hears(hal.OffHook)
		_ = p.Port.Ring(cadence) // whether it says so or not
		time.Sleep(500 * time.Millisecond)
		if p.Hand.Ringing() {
			p.Error("the bell rings at a lifted receiver")
		}
	}},
	{"on the hook frames come while it transmits", func(p *person) {
		way := p.transmitter()
		for range 3 {
			p.transmit(way, true)
			p.paced(100)
			p.transmit(way, false)
		}
		p.nothing()
	}},
	{"on the hook the wires hear what is written, the ear does not", func(p *person) {
		way := p.transmitter()
		p.transmit(way, true)
		c := p.cord(Sine(1000, 4*time.Second))
		time.Sleep(200 * time.Millisecond)
		if p.Wires != nil {
			if got := Heard(p.recordWires(time.Second), 1000); got < 900*time.Millisecond {
				p.Errorf("the wires heard 1000 Hz for %v of a second", got)
			}
		}
		if level := level(p.record(time.Second)); level > -50 {
			p.Errorf("the ear hears %.0f dBm0", level)
		}
		said := len(c.mouth())
		p.transmit(way, false)
		time.Sleep(100 * time.Millisecond)
		if p.Wires != nil {
			if got := Heard(p.recordWires(time.Second), 1000); got > 50*time.Millisecond {
				p.Errorf("the wires heard 1000 Hz for %v of a second after the way was closed", got)
			}
		}
		if said < 200*hal.FrameSamples {
			p.Errorf("%d samples were read in 2.2 s on the hook", said)
		}
		p.nothing()
	}},
	{"it transmits between two rings", func(p *person) {
		way := p.transmitter()
		p.ring(cadence)
		p.transmit(way, true)
		c := p.cord(Sine(1000, 6*time.Second))
		time.Sleep(100 * time.Millisecond)
		before := len(c.mouth())
		if p.Wires != nil {
			if got := Heard(p.recordWires(2*time.Second), 1000); got < 900*time.Millisecond {
				p.Errorf("the wires heard 1000 Hz for %v of a second's pause", got)
			}
		} else {
			time.Sleep(2 * time.Second)
		}
		if n := len(c.mouth()) - before; n < 194*hal.FrameSamples || n > 206*hal.FrameSamples {
			p.Errorf("%d samples were read in 2 s, rings and pauses", n)
		}
		if !p.Hand.Ringing() {
			p.Error("the bell does not ring")
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		if p.Hand.Ringing() {
			p.Error("the bell rings at a lifted receiver")
		}
		p.transmit(way, false)
		if got := Heard(p.record(time.Second), 1000); got < 900*time.Millisecond {
			p.Errorf("the ear of a lifted receiver heard 1000 Hz for %v of a second", got)
		}
		p.nothing()
	}},
	{"a reversal is no event", func(p *person) {
		r, ok := p.Port.(hal.Reverser)
		if !ok {
			p.Skip("this port cannot reverse")
		}
		for _, reversed := range []bool{true, true, false, true} {
			if err := r.Reverse(reversed); err != nil {
				p.Fatal(err)
			}
			if p.Wires != nil && p.Wires.Reversed() != reversed {
				p.Errorf("reversed: %v, want %v", !reversed, reversed)
			}
			p.nothing()
		}
		p.Hand.Lift()
		p.hears(hal.OffHook)
		if err := r.Reverse(false); err != nil {
			p.Fatal(err)
		}
		p.nothing()
		p.Hand.HangUp()
		p.hears(hal.OnHook)
	}},
	{"Close ends a Read on the hook while it transmits", func(p *person) {
		way := p.transmitter()
		p.closes(func() { p.transmit(way, true) })
		if err := way.TransmitOnHook(true); err == nil {
			p.Error("TransmitOnHook of a closed port succeeds")
		}
		if r, ok := p.Port.(hal.Reverser); ok && r.Reverse(true) == nil {
			p.Error("Reverse of a closed port succeeds")
		}
	}},
	{"Close ends a Read that waits on the hook", func(p *person) {
		p.closes(func() {})
	}},
	{"Close ends a Read while lifted", func(p *person) {
		p.closes(func() {
			p.Hand.Lift()
			p.hears(hal.OffHook)
		})
	}},
	{"a closed port says so", func(p *person) {
		if err := errors.Join(p.Port.Close(), p.Port.Close()); err != nil {
			p.Errorf("closing twice: %v", err)
		}
		for range p.Port.Events() { // ends: it is closed
		}
		f := make([]int16, p.rate()/100)
		if err := p.read(f); err != io.EOF {
			p.Errorf("Read: %v, want io.EOF", err)
		}
		if err := p.write(f); err == nil {
			p.Error("Write to a closed port succeeds")
		}
		if err := p.Port.Ring(cadence); err == nil {
			p.Error("Ring of a closed port succeeds")
		}
	}},
}

// cadence has a short bell, so that a check meets its pauses.
var cadence = hal.Cadence{Steps: [8]time.Duration{time.Second, time.Second}}

// A person has a rig in hand. Only the goroutine of the check may call it.
type person struct {
	*testing.T
	Rig
	cords []*cord
}

func (p *person) leave() {
	p.Port.Close()
	for _, c := range p.cords {
		<-c.done
	}
}

// hears wants the next event to be of a kind, soon.
func (p *person) hears(kind hal.EventKind) hal.Event {
	p.Helper()
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case e := <-p.Port.Events():
		if e.Kind != kind {
			p.Fatalf("the port tells %v, want %v", e.Kind, kind)
		}
		return e
	case <-t.C:
		p.Fatalf("the port does not tell %v", kind)
	}
	return hal.Event{}
}

// nothing wants no event for a while.
func (p *person) nothing() {
	p.Helper()
	t := time.NewTimer(quiet)
	defer t.Stop()
	select {
	case e := <-p.Port.Events():
		p.Errorf("the port tells %v, and nothing happened", e.Kind)
	case <-t.C:
	}
}

func (p *person) ring(c hal.Cadence) {
	p.Helper()
	if err := p.Port.Ring(c); err != nil {
		p.Fatal(err)
	}
}

// handset is the port as one; nil if it is none.
func (p *person) handset() hal.Handset {
	h, _ := p.Port.(hal.Handset)
	return h
}

// What follows is at the port's rate.

func (p *person) rate() int { return hal.RateOf(p.Port) }

func (p *person) sine(hz int, d time.Duration) []int16 { return SineAt(p.rate(), hz, d) }

func (p *person) heard(sound []int16, hz int) time.Duration { return HeardAt(p.rate(), sound, hz) }

func (p *person) read(f []int16) error {
	if h := p.handset(); h != nil {
		return h.ReadSamples(f)
	}
	return p.Port.Read((*hal.Frame)(f))
}

func (p *person) write(f []int16) error {
	if h := p.handset(); h != nil {
		return h.WriteSamples(f)
	}
	return p.Port.Write((*hal.Frame)(f))
}

func (p *person) record(d time.Duration) []int16 {
	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	return p.Hand.Record(stop)
}

// paced wants n frames to come every 10 ms.
func (p *person) paced(n time.Duration) {
	p.Helper()
	f := make([]int16, p.rate()/100)
	var start time.Time
	for i := range n + 1 {
		if err := p.read(f); err != nil {
			p.Fatal(err)
		}
		if i == 0 { // whatever waited
			start = time.Now()
		}
	}
	if took := time.Since(start); took < n*hal.FrameTime*97/100 || took > n*hal.FrameTime*103/100 {
		p.Errorf("%d frames took %v", n, took)
	}
}

func (p *person) recordWires(d time.Duration) []int16 {
	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	return p.Wires.RecordWires(stop)
}

// transmitter is the port as one that transmits on the hook; a port that does
// not has nothing to be checked.
func (p *person) transmitter() hal.OnHookTransmitter {
	p.Helper()
	t, ok := p.Port.(hal.OnHookTransmitter)
	if !ok {
		p.Skip("this port does not transmit on the hook")
	}
	return t
}

func (p *person) transmit(t hal.OnHookTransmitter, open bool) {
	p.Helper()
	if err := t.TransmitOnHook(open); err != nil {
		p.Fatal(err)
	}
}

// closes wants Close to end a Read that began before.
func (p *person) closes(before func()) {
	before()
	ended := make(chan error, 1)
	go func() {
		f := make([]int16, p.rate()/100)
		for {
			if err := p.read(f); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(100 * time.Millisecond)
	p.Port.Close()
	t := time.NewTimer(soon)
	defer t.Stop()
	select {
	case err := <-ended:
		if err != io.EOF {
			p.Errorf("Read: %v, want io.EOF", err)
		}
	case <-t.C:
		p.Fatal("Read waits on after Close")
	}
}

// A cord reads what the mouth says and writes what the ear is to hear.
type cord struct {
	done chan struct{}
	mu   sync.Mutex
	said []int16
}

func (p *person) cord(ear []int16) *cord {
	c := &cord{done: make(chan struct{})}
	p.cords = append(p.cords, c)
	go func() {
		defer close(c.done)
		f := make([]int16, p.rate()/100)
		for p.read(f) == nil {
			c.mu.Lock()
			c.said = append(c.said, f...)
			c.mu.Unlock()
			clear(f)
			ear = ear[copy(f, ear):]
			if p.write(f) != nil {
				return
			}
		}
	}()
	return c
}

func (c *cord) mouth() []int16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.said
}

// level returns the level of sound in dBm0: a sine of full scale has 3.14.
func level(sound []int16) float64 {
	var sum float64
	for _, v := range sound {
		sum += float64(v) * float64(v)
	}
	if sum == 0 {
		return math.Inf(-1)
	}
	return 3.14 + 10*math.Log10(2*sum/float64(len(sound))/32767/32767)
}
