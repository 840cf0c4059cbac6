//go:build !linux || !(arm || arm64 || amd64)

package gpio

import (
	"fmt"
	"runtime"

	"periph.io/x/conn/v3/gpio"
)

// Open refuses: periph's driver asks a MIPS kernel with the request numbers of
// other machines and finds no line. There, a lamp on a pin is declared to the
// kernel as gpio-leds, and driven by hal/led.
func Open(line string) (gpio.PinOut, error) {
	return nil, fmt.Errorf("GPIO line %s: pins cannot be driven on %s; declare the lamp as gpio-leds in the device tree and name it as an LED", line, runtime.GOARCH)
}
