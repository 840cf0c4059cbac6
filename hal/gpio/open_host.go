//go:build linux && (arm || arm64 || amd64)

package gpio

import (
	"fmt"
	"slices"
	"strings"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpioreg"
	_ "periph.io/x/host/v3/gpioioctl" // the kernel's named lines, by /dev/gpiochip*
)

// Open returns the line of this machine that the kernel calls by a name, as
// "GPIO17" on a Raspberry Pi. It needs the character device of Linux 5.10 or
// newer. The driver keeps every /dev/gpiochip* open from the first call on.
func Open(line string) (gpio.PinOut, error) {
	state, err := driverreg.Init()
	if err != nil {
		return nil, fmt.Errorf("GPIO line %s: %w", line, err)
	}
	if pin := gpioreg.ByName(line); pin != nil {
		return pin, nil
	}
	for _, failure := range slices.Concat(state.Failed, state.Skipped) {
		return nil, fmt.Errorf("GPIO line %s: %w", line, failure.Err)
	}
	var known []string
	for _, pin := range gpioreg.All() {
		known = append(known, pin.Name())
	}
	slices.Sort(known)
	return nil, fmt.Errorf("GPIO line %s: the kernel names no such line; it has %s", line, strings.Join(known, " "))
}
