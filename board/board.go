// Package board knows devices: which telephone sockets and which lamps each
// has, and how to tell that a machine is one of them.
//
// Its one idea: a device is data. A new one is a [Profile] of a dozen lines; no
// other package learns its name.
package board

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/gpio"
	"github.com/ata-agent/ata-agent/hal/led"
	"github.com/ata-agent/ata-agent/hal/sim"
)

// A Board is a device with its sockets and lamps in hand. Who loaded it closes
// it.
type Board struct {
	Name    string
	Model   string
	Country string // where the device was sold, two letters; "" is not known
	Ports   []hal.Port
	Lamps   []Lamp

	// Patterns replace what the lamps show on this device, by the keys of
	// status.Table: "voip.backup" = "100/1900".
	Patterns map[string]string

	// Faults are sentences about what the profile has and this machine has
	// not, or does not let us use. A device telephones without its lamps.
	Faults []error
}

// A Lamp is a light with the part it plays: "power", "voip", or "phone1",
// "phone2" for the first and second socket.
type Lamp struct {
	Role string
	hal.Lamp
}

// ErrNoBackend says that a device's sockets need a backend that this program
// does not have.
var ErrNoBackend = errors.New("this version has no such backend")

// Load takes the device called name in hand. root is where its file system
// stands, "/" on the device itself.
//
// An unknown name is an error that tells the known ones. With an error that
// wraps ErrNoBackend comes the board without those sockets, for whoever wants
// its lamps all the same.
func Load(name, root string) (*Board, error) {
	p, err := find(name)
	if err != nil {
		return nil, err
	}
	b := &Board{Name: p.Name, Model: p.Model, Country: p.Country, Patterns: p.Patterns}
	for _, l := range p.Lamps {
		lamp, err := l.open(root)
		if err != nil {
			b.Faults = append(b.Faults, fmt.Errorf("board %s: %s lamp: %w", name, l.Role, err))
			continue
		}
		b.Lamps = append(b.Lamps, Lamp{l.Role, lamp})
	}
	var missing error
	for _, port := range p.Ports {
		if port.Kind != "sim" {
			missing = fmt.Errorf("board %s: its telephone sockets are driven by %s: %w; board = \"sim\" telephones without sockets", name, port.Kind, ErrNoBackend)
			continue
		}
		if port.Rate > 0 {
			b.Ports = append(b.Ports, sim.NewHandset(port.Name, port.Rate, sim.Options{}))
		} else {
			b.Ports = append(b.Ports, sim.New(port.Name, sim.Options{}))
		}
	}
	return b, missing
}

// Close lets go of ports and lamps.
func (b *Board) Close() error {
	var errs []error
	for _, p := range b.Ports {
		errs = append(errs, p.Close())
	}
	for _, l := range b.Lamps {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

func find(name string) (*Profile, error) {
	for i := range Profiles {
		if Profiles[i].Name == name {
			return &Profiles[i], nil
		}
	}
	return nil, fmt.Errorf("board %q is not known: want one of %s", name, strings.Join(Names(), ", "))
}

// Names returns the names of all profiles, the simulated board's first.
func Names() []string {
	var names []string
	for _, p := range Profiles {
		names = append(names, p.Name)
	}
	return names
}

// open makes the lamp of a profile.
func (l *ProfileLamp) open(root string) (hal.Lamp, error) {
	class := filepath.Join(root, led.Class)
	switch {
	case l.GPIO != "":
		pin, err := gpio.Open(l.GPIO)
		if err != nil {
			return nil, err
		}
		return gpio.New(l.GPIO, pin, gpio.Options{ActiveLow: l.ActiveLow}), nil
	case len(l.LED) == 0:
		return sim.NewLamp(l.Role), nil
	}
	name, err := led.Find(class, l.LED...)
	if err != nil {
		return nil, err
	}
	lamp, err := led.Open(class, name, led.Options{KeepLit: l.KeepLit})
	if err != nil || l.Warning == "" {
		return lamp, err
	}
	// The second colour is an extra: without it the first says everything.
	warning, err := led.Find(class, l.Warning)
	if err != nil {
		return lamp, nil
	}
	other, err := led.Open(class, warning, led.Options{})
	if err != nil {
		return lamp, nil
	}
	return &twoColours{Lamp: lamp, warning: other}, nil
}

// twoColours is a lamp whose warnings shine in another colour. The rhythm stays:
// it carries the meaning for those who do not see the colour.
type twoColours struct {
	hal.Lamp // the everyday colour
	warning  hal.Lamp
}

// warnings are the patterns of faults.
var warnings = map[string]bool{"triple": true, "double": true}

func (l *twoColours) Show(p hal.Pattern) error {
	if warnings[p.Name] {
		return errors.Join(l.Lamp.Show(hal.Pattern{}), l.warning.Show(p))
	}
	return errors.Join(l.warning.Show(hal.Pattern{}), l.Lamp.Show(p))
}

func (l *twoColours) Close() error { return errors.Join(l.warning.Close(), l.Lamp.Close()) }
