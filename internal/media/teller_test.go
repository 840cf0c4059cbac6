package media

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var (
	american = hal.Cadence{Steps: [8]time.Duration{2 * time.Second, 4 * time.Second}, Hz: 20}
	alice    = callerid.Message{Number: "5551234", Name: "ALICE"}
)

// A house is a telephone on a simulated line with its cord.
type house struct {
	*testing.T
	port *sim.Port
	cord *Cord
	news chan Event // of the cord, and Lifted when a person has lifted or put down

	mu    sync.Mutex
	story []string
	began time.Time
}

// atHome is where a test lives: in virtual time, until it is over.
func atHome(t *testing.T, test func(h *house)) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{T: t, news: make(chan Event, 100), began: time.Now()}
		h.port = sim.New("1", sim.Options{
			Bell: func(c hal.Cadence) {
				switch c.Steps[0] {
				case 0:
					h.tell("silence")
				case 500 * time.Millisecond:
					h.tell("pulse")
				default:
					h.tell("ring")
				}
			},
			Polarity: func(reversed bool) { h.tell(map[bool]string{true: "reverse", false: "restore"}[reversed]) },
		})
		h.cord = NewCord(h.port, func(e Event) { h.news <- e })
		var work sync.WaitGroup
		work.Go(func() {
			if err := h.cord.Run(context.Background()); err != nil {
				t.Error(err)
			}
		})
		work.Go(func() {
			for e := range h.port.Events() {
				if e.Kind != hal.Flash && !h.cord.Hook(e.Kind == hal.OffHook) {
					h.news <- Event{Lifted: e.Kind == hal.OffHook}
				}
			}
		})
		time.Sleep(3 * time.Millisecond) // beside the port's frames
		h.began = time.Now()
		test(h)
		time.Sleep(time.Millisecond)
		h.port.Close()
		work.Wait()
	})
}

func (h *house) tell(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.story = append(h.story, fmt.Sprintf("%d %s", time.Since(h.began).Milliseconds(), what))
}

func (h *house) told() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.story, ", ")
}

// wires records what comes over them for a time.
func (h *house) wires(d time.Duration) []int16 {
	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	return h.port.RecordWires(stop)
}

// reads is what a display makes of it.
func reads(std callerid.Standard, sound []int16) (all []callerid.Message) {
	r := callerid.NewReceiver(std, nil)
	for len(sound) > 0 {
		n, m, ok := r.Hear(sound)
		sound = sound[n:]
		if ok {
			all = append(all, m)
		}
	}
	return all
}

// standards are all that tell anything.
func standards(t *testing.T) (all []callerid.Standard) {
	for _, name := range callerid.Names() {
		std, err := callerid.ParseStandard(name)
		if err != nil {
			t.Fatal(err)
		}
		if std != callerid.Off {
			all = append(all, std)
		}
	}
	return all
}

// On the hook the display is told who calls, and the bell rings until it is
// stopped; then the line is as it was and carries nothing.
func TestRingTells(t *testing.T) {
	for _, std := range standards(t) {
		atHome(t, func(h *house) {
			if err := h.cord.Ring(Ringing{american, std, alice}); err != nil {
				h.Fatal(err)
			}
			if std == callerid.Japan { // it lifts to be told, and puts down
				time.AfterFunc(2500*time.Millisecond, h.port.Lift)
				time.AfterFunc(3400*time.Millisecond, h.port.HangUp)
			}
			sound := h.wires(5500 * time.Millisecond)
			got := reads(std, sound)
			if len(got) != 1 || got[0].Number != alice.Number || std.Modem().Baud != 0 && got[0].Name != alice.Name && std != callerid.Japan && std != callerid.BellcoreSDMF {
				h.Errorf("%v: the display reads %+v", std, got)
			}
			if !h.port.Ringing() {
				h.Errorf("%v: does not ring: %s", std, h.told())
			}
			if h.cord.teller.on.Load() {
				h.Errorf("%v: still tells", std)
			}
			if err := h.cord.Silence(); err != nil {
				h.Error(err)
			}
			if h.port.Ringing() || h.port.Reversed() {
				h.Errorf("%v: after all rings %v, reversed %v", std, h.port.Ringing(), h.port.Reversed())
			}
			h.Logf("%v: %s", std, h.told())
			for len(h.news) > 0 {
				h.Errorf("%v: tells %+v", std, <-h.news)
			}
		})
	}
}

// What the line does in time, and the sound between: in ms, a frame or two late.
func TestRingInTime(t *testing.T) {
	for _, x := range []struct {
		std  callerid.Standard
		want string
	}{
		{callerid.Off, "0 ring, 5500 silence"},
		{callerid.Bellcore, "7 ring, 5500 silence"},
		{callerid.UK, "7 reverse, 1437 ring, 5500 restore, 5500 silence"},
		{callerid.ETSIPulse, "7 pulse, 247 silence, 1767 ring, 5500 silence"},
	} {
		atHome(t, func(h *house) {
			if err := h.cord.Ring(Ringing{american, x.std, alice}); err != nil {
				h.Fatal(err)
			}
			time.Sleep(5500 * time.Millisecond)
			if err := h.cord.Silence(); err != nil {
				h.Error(err)
			}
			if got := h.told(); got != x.want {
				h.Errorf("%v: %s, want %s", x.std, got, x.want)
			}
		})
	}
}

// Whoever lifts, at any moment, finds a line at rest and silence.
func TestRingAnswered(t *testing.T) {
	for _, std := range standards(t) {
		for ms := 1; ms < 4000; ms += 330 {
			atHome(t, func(h *house) {
				if err := h.cord.Ring(Ringing{american, std, alice}); err != nil {
					h.Fatal(err)
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
				h.port.Lift()
				select { // in Japan it may be the telephone, for a while
				case e := <-h.news:
					if !e.Lifted || e.Fault != nil {
						h.Errorf("%v, lifted at %d ms: tells %+v", std, ms, e)
					}
				case <-time.After(10 * time.Second):
					h.Fatalf("%v, lifted at %d ms: nobody is told that it was a person", std, ms)
				}
				if err := h.cord.Silence(); err != nil {
					h.Error(err)
				}
				time.Sleep(20 * time.Millisecond)
				if h.port.Ringing() || h.port.Reversed() || h.cord.teller.on.Load() {
					h.Errorf("%v, lifted at %d ms: rings %v, reversed %v", std, ms, h.port.Ringing(), h.port.Reversed())
				}
				for _, x := range h.wires(time.Second) {
					if x != 0 {
						h.Errorf("%v, lifted at %d ms: is told something in the ear", std, ms)
						break
					}
				}
			})
		}
	}
}

// A bell that was stopped stays so, whatever the cord was about to do.
func TestSilenceLasts(t *testing.T) {
	for ms := range 40 {
		atHome(t, func(h *house) {
			for range 5 {
				if err := h.cord.Ring(Ringing{american, callerid.ETSIPulse, alice}); err != nil {
					h.Fatal(err)
				}
				time.Sleep(time.Duration(ms*50)*time.Millisecond + 7*time.Millisecond) // as a frame is made
				if err := h.cord.Silence(); err != nil {
					h.Error(err)
				}
				if h.port.Ringing() {
					h.Errorf("rings %d ms after it began, though it was stopped", ms*50)
				}
			}
		})
	}
}

// During a call: the telephone is alerted, answers with D, and reads who else
// calls, while neither side hears the other; then they do again.
func TestCallWaiting(t *testing.T) {
	for _, answers := range []bool{true, false} {
		together(t, 2, func(_ *wire, p []*party) {
			a, b := dial(t, p[0], p[1], 101)
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			p[0].say(700, -10)
			p[1].say(1000, -10)
			time.Sleep(500 * time.Millisecond)
			if !p[0].CallWaiting(0, callerid.Bellcore, alice) {
				t.Fatal("bellcore tells nothing during a call")
			}
			if answers {
				// 80 ms of alert, and the telephone has 100 to answer.
				time.AfterFunc(130*time.Millisecond, func() { go p[0].press('D', 60*time.Millisecond) })
			}
			done := make(chan []int16)
			go func() { done <- p[1].heard(600 * time.Millisecond) }()
			sound := p[0].heard(1100 * time.Millisecond)
			far := <-done
			if got := reads(callerid.Bellcore, sound); (len(got) == 1 && got[0].Name == "ALICE") != answers {
				t.Errorf("answers %v: the display reads %+v", answers, got)
			}
			if got := power(sound[160:560], 2130); got < -16 || got > -14 {
				t.Errorf("the alert has %.1f dBm0 of 2130 Hz", got)
			}
			if got := power(sound[160:560], 1000); got > -50 {
				t.Errorf("beneath the alert the far end is heard with %.0f dBm0", got)
			}
			if answers {
				if got := power(far[1600:4000], 1633); got > -50 {
					t.Errorf("the far end hears the telephone's answer with %.0f dBm0", got)
				}
			}
			for len(p[0].keys) > 0 {
				t.Errorf("the operator hears %+v", <-p[0].keys)
			}
			p[0].say(700, -10)
			time.Sleep(200 * time.Millisecond)
			if got := power(p[0].heard(200*time.Millisecond), 1000); got < -12 {
				t.Errorf("afterwards the far end is heard with %.0f dBm0", got)
			}
			if got := power(p[1].heard(200*time.Millisecond), 700); got < -12 {
				t.Errorf("afterwards the far end hears %.0f dBm0", got)
			}
		})
	}
}

// It may begin later, beneath a tone, and another patch is the end of it.
func TestCallWaitingIsEnded(t *testing.T) {
	for _, ms := range []int{100, 330, 500} {
		together(t, 2, func(_ *wire, p []*party) {
			a, b := dial(t, p[0], p[1], 101)
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			p[1].say(1000, -10)
			time.Sleep(500 * time.Millisecond)
			waiting := tone.Usual(tone.CallWaiting)
			p[0].Set(Patch{Ear: waiting, Far: [2]*rtp.Stream{a}})
			if waiting.First() != 300*time.Millisecond || !p[0].CallWaiting(waiting.First(), callerid.Bellcore, alice) {
				t.Fatal("bellcore tells nothing during a call")
			}
			time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { p[0].Set(Patch{Far: [2]*rtp.Stream{a}}) })
			sound := p[0].heard(time.Second)
			in := func(from, to int, hz float64) float64 { return power(sound[8*from:8*to], hz) }
			if got := in(40, 90, 440); got < -15 {
				t.Errorf("ended at %d ms: the tone has %.1f dBm0 before", ms, got)
			}
			if got := in(40, 90, 1000); got < -12 {
				t.Errorf("ended at %d ms: beneath the tone the far end has %.1f dBm0", ms, got)
			}
			if got := in(320, 370, 2130); (got > -16) != (ms > 370) {
				t.Errorf("ended at %d ms: behind the tone the alert has %.1f dBm0", ms, got)
			}
			if got := in(ms+40, ms+200, 1000); got < -12 {
				t.Errorf("ended at %d ms: then the far end is heard with %.1f dBm0", ms, got)
			}
			if got := in(ms+40, ms+200, 440); got > -40 {
				t.Errorf("ended at %d ms: then the tone has %.1f dBm0", ms, got)
			}
		})
	}
}

// Who hangs up while being told hears nothing of it the next time.
func TestCallWaitingAndHangingUp(t *testing.T) {
	atHome(t, func(h *house) {
		h.port.Lift()
		time.Sleep(100 * time.Millisecond)
		if h.cord.CallWaiting(0, callerid.DTMF, alice) {
			h.Error("keys during a call")
		}
		if !h.cord.CallWaiting(0, callerid.ETSIAlert, alice) {
			h.Error("etsi tells nothing during a call")
		}
		time.Sleep(30 * time.Millisecond)
		h.port.HangUp()
		time.Sleep(2 * time.Second)
		h.port.Lift()
		for _, x := range h.wires(time.Second) {
			if x != 0 {
				h.Fatal("something is still told")
			}
		}
	})
}

// A port that can do less rings all the same.
func TestUnable(t *testing.T) {
	if err := Able(newSocket(), callerid.Bellcore); err == nil || !strings.Contains(err.Error(), "test hardware") {
		t.Errorf("a port without anything is able: %v", err)
	}
	if err := Able(onlyTransmits{newSocket()}, callerid.Bellcore); err != nil {
		t.Error(err)
	}
	if err := Able(onlyTransmits{newSocket()}, callerid.UK); err == nil || !strings.Contains(err.Error(), "reverse") {
		t.Errorf("a port that does not reverse is able: %v", err)
	}
	if err := Able(newSocket(), callerid.Off); err != nil {
		t.Error(err)
	}
	var bell bell
	c := NewCord(&bell, nil)
	if err := c.Ring(Ringing{american, callerid.Bellcore, alice}); !errors.Is(err, errRefused) || bell.rings != american {
		t.Errorf("a port that refuses: %v, rings %v", err, bell.rings)
	}
	if err := c.Silence(); err != nil || bell.rings != (hal.Cadence{}) {
		t.Errorf("%v, rings %v", err, bell.rings)
	}
}

type onlyTransmits struct{ *socket }

func (onlyTransmits) TransmitOnHook(bool) error { return nil }

// A bell is a port that refuses to transmit on the hook.
type bell struct {
	socket
	rings hal.Cadence
}

var errRefused = errors.New("refused")

func (b *bell) TransmitOnHook(open bool) error { return errRefused }
func (b *bell) Ring(c hal.Cadence) error       { b.rings = c; return nil }

// A port that always transmits, for counting.
type free struct{ socket }

func (*free) TransmitOnHook(bool) error { return nil }
func (*free) Reverse(bool) error        { return nil }

func TestTellingAllocatesNothing(t *testing.T) {
	all := standards(t)
	c := NewCord(&free{}, func(Event) {})
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		if !c.teller.on.Load() {
			i++
			c.Ring(Ringing{american, all[i%len(all)], alice})
		}
		c.frame()
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}
