package gpio

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/haltest"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

var _ hal.Lamp = (*Lamp)(nil)

// A pin is an output that can be looked at. It panics where a lamp has no
// business: periph's kernel lines turn into inputs when they are asked what they
// are.
type pin struct {
	level  atomic.Bool
	outs   int
	halted int
	err    error
}

func (p *pin) Out(l gpio.Level) error {
	p.outs++
	p.level.Store(bool(l))
	return p.err
}
func (p *pin) Halt() error                           { p.halted++; return p.err }
func (p *pin) Name() string                          { return "GPIO17" }
func (p *pin) Number() int                           { return 17 }
func (p *pin) String() string                        { return "GPIO17(17)" }
func (p *pin) Function() string                      { panic("a lamp asks its pin what it is") }
func (p *pin) PWM(gpio.Duty, physic.Frequency) error { panic("a lamp has no duty") }

func TestLamp(t *testing.T) {
	for _, low := range []bool{false, true} {
		t.Run(fmt.Sprintf("active low %v", low), func(t *testing.T) {
			haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
				p := new(pin)
				p.level.Store(low)
				return haltest.LampRig{
					Lamp: New("phone1", p, Options{ActiveLow: low}),
					Lit:  func() bool { return p.level.Load() != low },
				}
			})
		})
	}
}

func TestThePinIsLeftAloneUntilItIsNeeded(t *testing.T) {
	p := &pin{}
	l := New("phone1", p, Options{ActiveLow: true})
	if p.outs != 0 {
		t.Error("New makes an output of the pin")
	}
	// Dark is a level too: the first Show makes the output.
	for range 3 {
		if err := l.Show(hal.Pattern{}); err != nil {
			t.Fatal(err)
		}
	}
	if p.outs != 1 || !p.level.Load() {
		t.Errorf("%d times out, high %v; want once, high", p.outs, p.level.Load())
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Fatal(err)
	}
	if p.halted == 0 {
		t.Error("the pin was not let go")
	}
}

func TestAPinThatFails(t *testing.T) {
	p := &pin{err: errors.New("device or resource busy")}
	l := New("phone1", p, Options{})
	solid := hal.Pattern{Steps: [8]time.Duration{time.Second}}
	for range 2 {
		if err := l.Show(solid); err == nil || err.Error() != "lamp phone1: device or resource busy" {
			t.Errorf("got %v", err)
		}
	}
	if err := l.Close(); !errors.Is(err, p.err) {
		t.Errorf("Close: %v", err)
	}
}

// TestOpen asks for a line that no machine has. What the error says depends on
// the machine; that it names the line does not.
func TestOpen(t *testing.T) {
	_, err := Open("ATA-NO-SUCH-LINE")
	if err == nil || !strings.HasPrefix(err.Error(), "GPIO line ATA-NO-SUCH-LINE: ") {
		t.Errorf("got %v", err)
	}
	t.Log(err)
}
