// Package led drives lamps of the Linux LED class, /sys/class/leds.
//
// Its one idea: the kernel blinks better than we do. Where it has the timer or
// the pattern trigger, a pattern is handed over once and costs nothing more; a
// timer of our own throws the switch only where it has neither.
package led

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/blink"
)

// Class is where the kernel shows its lamps.
const Class = "/sys/class/leds"

// A Lamp is one LED. It implements hal.Lamp.
type Lamp struct {
	name     string
	dir      string
	max      int    // brightness of a lit lamp
	found    string // the trigger it had, given back by Close; "" for none
	keep     bool
	triggers []string
	soft     *blink.Lamp // steady lights, and blinking where the kernel cannot
	by       mover
	shown    hal.Pattern // by that mover
	closed   bool

	write func(file, text string) error
}

// A mover is who switches the lamp.
type mover uint8

const (
	nobody mover = iota // of ours: what was there before
	kernel
	ourselves
)

// Options of a lamp.
type Options struct {
	// KeepLit leaves the lamp lit after Close: for a lamp that means power,
	// which stays when the agent goes.
	KeepLit bool
}

// Open takes the LED called name below class, which is [Class] on a device. It
// changes nothing until the first Show.
func Open(class, name string, o Options) (*Lamp, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsRune(name, '/') {
		return nil, fmt.Errorf("lamp %q: this is not the name of an LED", name)
	}
	l := &Lamp{name: name, dir: filepath.Join(class, name), max: 1, keep: o.KeepLit}
	l.write = l.writeFile
	if _, err := os.Stat(l.file("brightness")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("lamp %s: no such LED in %s: %w", name, class, fs.ErrNotExist)
		}
		return nil, fmt.Errorf("lamp %s: %w", name, err)
	}
	// A lamp without max_brightness is as old as kernel 2.6; 1 is on.
	if text, err := os.ReadFile(l.file("max_brightness")); err == nil {
		if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil && n > 0 {
			l.max = n
		}
	}
	l.readTriggers()
	l.soft = blink.New(name, l.light)
	return l, nil
}

// readTriggers reads what the kernel can do with the lamp: "none [mmc0] timer".
// The one in brackets is what it does now.
func (l *Lamp) readTriggers() {
	text, err := os.ReadFile(l.file("trigger"))
	if err != nil {
		return // this kernel has no triggers
	}
	for _, word := range strings.Fields(string(text)) {
		name := strings.Trim(word, "[]")
		l.triggers = append(l.triggers, name)
		// Our own blinking, left by an agent that died, is not given back.
		if name != word && name != "none" && name != "timer" && name != "pattern" {
			l.found = name
		}
	}
}

// Name returns the LED's name in the class.
func (l *Lamp) Name() string { return l.name }

// Show shows a pattern, or goes on with it if it is shown already. A way of
// blinking that the kernel offers but refuses is left for the next one.
func (l *Lamp) Show(p hal.Pattern) error {
	if err := blink.Check(p); err != nil {
		return fmt.Errorf("lamp %s: %w", l.name, err)
	}
	if l.closed {
		return fmt.Errorf("lamp %s: %w", l.name, os.ErrClosed)
	}
	if p.Steps == l.shown.Steps {
		switch l.by {
		case kernel:
			return nil
		case ourselves:
			return l.soft.Show(p)
		}
	}
	l.soft.Forget() // before anybody else writes
	l.by = nobody
	n := blink.Steps(p)
	if n > 1 && (n == 2 && l.timer(p) || l.pattern(p, n)) {
		l.shown, l.by = p, kernel
		return nil
	}
	if l.has("none") {
		if err := l.write("trigger", "none"); err != nil {
			return fmt.Errorf("lamp %s: %w", l.name, err)
		}
	}
	l.shown, l.by = p, ourselves
	return l.soft.Show(p)
}

// timer has the kernel blink with two steps and reports whether it does.
func (l *Lamp) timer(p hal.Pattern) bool {
	return l.has("timer") && l.hand(
		[2]string{"trigger", "timer"},
		[2]string{"delay_on", ms(p.Steps[0])},
		[2]string{"delay_off", ms(p.Steps[1])},
	)
}

// pattern has the kernel blink with n steps and reports whether it does. The
// trigger would fade from one value to the next; a second value after no time
// makes the edge sharp (Linux Documentation/leds/leds-trigger-pattern).
func (l *Lamp) pattern(p hal.Pattern, n int) bool {
	if !l.has("pattern") {
		return false
	}
	var b strings.Builder
	for i, step := range p.Steps[:n] {
		value := l.max
		if i%2 == 1 {
			value = 0
		}
		fmt.Fprintf(&b, "%d %s %d 0 ", value, ms(step), value)
	}
	return l.hand([2]string{"trigger", "pattern"}, [2]string{"pattern", strings.TrimSpace(b.String())})
}

// hand hands the blinking over to the kernel by writing files, and reports
// whether it took them.
func (l *Lamp) hand(files ...[2]string) bool {
	for _, f := range files {
		if l.write(f[0], f[1]) != nil {
			return false
		}
	}
	return true
}

// light is the switch for blinking of our own.
func (l *Lamp) light(lit bool) error {
	value := 0
	if lit {
		value = l.max
	}
	return l.write("brightness", strconv.Itoa(value))
}

func (l *Lamp) has(trigger string) bool { return slices.Contains(l.triggers, trigger) }

func (l *Lamp) file(name string) string { return filepath.Join(l.dir, name) }

// writeFile writes a file of sysfs: it is there or it is not, and is never made.
func (l *Lamp) writeFile(name, text string) error {
	f, err := os.OpenFile(l.file(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func ms(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Close gives the lamp back: to the trigger it was found with, or else dark, or
// lit where it was opened so.
func (l *Lamp) Close() error {
	if l.closed {
		return nil
	}
	if l.found != "" {
		l.soft.Forget()
		l.closed = true
		if err := l.write("trigger", l.found); err != nil {
			return fmt.Errorf("lamp %s: %w", l.name, err)
		}
		return nil
	}
	var rest hal.Pattern
	if l.keep {
		rest.Steps[0] = time.Second
	}
	err := l.Show(rest)
	l.soft.Forget()
	l.closed = true
	return err
}

// Colour returns the colour in an LED's name, "" for none: names are
// function, colour:function or device:colour:function.
func Colour(name string) string {
	parts := strings.Split(name, ":")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-2]
}

// Find returns the first LED below class that has one of the names, best name
// first: as it stands, or after the name of a device, which older kernels put
// before it ("board:green:power" for "green:power").
func Find(class string, names ...string) (string, error) {
	entries, err := os.ReadDir(class)
	if err != nil {
		return "", fmt.Errorf("no LEDs: %w", err)
	}
	for _, name := range names {
		for _, e := range entries {
			if e.Name() == name || strings.HasSuffix(e.Name(), ":"+name) {
				return e.Name(), nil
			}
		}
	}
	return "", fmt.Errorf("no LED is called %s in %s", strings.Join(names, " or "), class)
}
