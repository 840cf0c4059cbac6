// Package gpio makes lamps of general purpose output pins.
//
// Its one idea: a pin is periph's gpio.PinOut, whoever made it, and a lamp is a
// pin with a rhythm. Pins of this machine come from [Open], where that is sound.
package gpio

import (
	"errors"
	"fmt"

	"github.com/ata-agent/ata-agent/hal/blink"
	"periph.io/x/conn/v3/gpio"
)

// A Lamp is a light on a pin. It implements hal.Lamp; Name and Show are those of
// a [blink.Lamp].
type Lamp struct {
	*blink.Lamp
	pin gpio.PinOut
}

// Options of a lamp.
type Options struct {
	ActiveLow bool // the lamp is lit while the pin is low
}

// New returns a lamp on a pin, which becomes an output with the first Show.
func New(name string, pin gpio.PinOut, o Options) *Lamp {
	return &Lamp{pin: pin, Lamp: blink.New(name, func(lit bool) error {
		return pin.Out(gpio.Level(lit != o.ActiveLow))
	})}
}

// Close leaves the lamp dark and the pin alone.
func (l *Lamp) Close() error {
	err := l.Lamp.Close()
	if halt := l.pin.Halt(); halt != nil {
		err = errors.Join(err, fmt.Errorf("lamp %s: %w", l.Name(), halt))
	}
	return err
}
