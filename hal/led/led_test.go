package led

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

const ms100 = 100 * time.Millisecond

var (
	solid  = hal.Pattern{Name: "solid", Steps: [8]time.Duration{time.Second}}
	slow   = hal.Pattern{Name: "slow", Steps: [8]time.Duration{5 * ms100, 5 * ms100}}
	triple = hal.Pattern{Name: "triple", Steps: [8]time.Duration{ms100, ms100, ms100, ms100, ms100, 9 * ms100}}
)

// tree makes files in a directory that stands for /sys/class/leds.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	class := t.TempDir()
	for name, text := range files {
		name = filepath.Join(class, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return class
}

func read(t *testing.T, class, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(class, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func open(t *testing.T, class, name string, o Options) *Lamp {
	t.Helper()
	l, err := Open(class, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func show(t *testing.T, l *Lamp, p hal.Pattern) {
	t.Helper()
	if err := l.Show(p); err != nil {
		t.Fatal(err)
	}
}

// TestFiles checks what stands in the files of the LED class after each Show.
func TestFiles(t *testing.T) {
	all := map[string]string{
		"blue:phone/brightness": "7", "blue:phone/max_brightness": "255\n",
		"blue:phone/trigger":  "none [phy0tpt] timer pattern usbport\n",
		"blue:phone/delay_on": "", "blue:phone/delay_off": "", "blue:phone/pattern": "",
	}
	class := tree(t, all)
	l := open(t, class, "blue:phone", Options{})
	if l.Name() != "blue:phone" {
		t.Errorf("name %q", l.Name())
	}
	for name, want := range all {
		if got := read(t, class, name); got != want {
			t.Errorf("Open has changed %s from %q to %q", name, want, got)
		}
	}
	tests := []struct {
		show hal.Pattern
		want map[string]string
	}{
		{solid, map[string]string{"trigger": "none", "brightness": "255"}},
		{slow, map[string]string{"trigger": "timer", "delay_on": "500", "delay_off": "500"}},
		{triple, map[string]string{"trigger": "pattern",
			"pattern": "255 100 255 0 0 100 0 0 255 100 255 0 0 100 0 0 255 100 255 0 0 900 0 0"}},
		{hal.Pattern{}, map[string]string{"trigger": "none", "brightness": "0"}},
	}
	for _, tt := range tests {
		show(t, l, tt.show)
		for file, want := range tt.want {
			if got := read(t, class, "blue:phone/"+file); got != want {
				t.Errorf("%s: %s holds %q, want %q", tt.show.Name, file, got, want)
			}
		}
	}
	// What the lamp did before is its own again.
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, class, "blue:phone/trigger"); got != "phy0tpt" {
		t.Errorf("after Close the trigger is %q", got)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("closing again: %v", err)
	}
	if err := l.Show(solid); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Show after Close: %v", err)
	}
}

func TestClose(t *testing.T) {
	tests := []struct {
		trigger    string // found
		keep       bool
		want, lamp string // trigger and brightness after Close
	}{
		{"[none] timer mmc0", false, "none", "0"},
		{"[none] timer mmc0", true, "none", "1"},
		{"none timer [mmc0]", false, "mmc0", ""},
		{"none timer [mmc0]", true, "mmc0", ""},
		{"none [timer] mmc0", false, "none", "0"}, // an agent that died
		{"none [pattern] mmc0", false, "none", "0"},
	}
	for _, tt := range tests {
		class := tree(t, map[string]string{"x/brightness": "0", "x/max_brightness": "1", "x/trigger": tt.trigger, "x/delay_on": "", "x/delay_off": ""})
		l := open(t, class, "x", Options{KeepLit: tt.keep})
		show(t, l, solid)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		trigger, lamp := read(t, class, "x/trigger"), read(t, class, "x/brightness")
		if trigger != tt.want || tt.lamp != "" && lamp != tt.lamp {
			t.Errorf("found %q, keep lit %v: trigger %q, brightness %q after Close", tt.trigger, tt.keep, trigger, lamp)
		}
	}
}

// TestOldKernel is one with neither triggers nor max_brightness.
func TestOldKernel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := tree(t, map[string]string{"x/brightness": "0"})
		l := open(t, class, "x", Options{})
		show(t, l, slow)
		for _, want := range []string{"1", "0", "1", "0"} {
			time.Sleep(250 * time.Millisecond)
			if got := read(t, class, "x/brightness"); got != want {
				t.Errorf("brightness %q, want %q", got, want)
			}
			time.Sleep(250 * time.Millisecond)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Run("the LED goes while it is lit", func(t *testing.T) {
		class := tree(t, map[string]string{"x/brightness": "0", "x/max_brightness": "1", "x/trigger": "[none]"})
		l := open(t, class, "x", Options{})
		show(t, l, solid)
		if err := os.RemoveAll(filepath.Join(class, "x")); err != nil {
			t.Fatal(err)
		}
		show(t, l, solid) // nothing to do, nothing to fail
		for range 2 {
			if err := l.Show(hal.Pattern{}); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "lamp x: ") {
				t.Errorf("got %v", err)
			}
		}
		if err := l.Close(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("the device refuses", func(t *testing.T) {
		class := tree(t, map[string]string{"x/max_brightness": "1"})
		if err := os.Symlink("/dev/full", filepath.Join(class, "x/brightness")); err != nil {
			t.Skip(err)
		}
		l := open(t, class, "x", Options{})
		if err := l.Show(solid); err == nil || !strings.HasPrefix(err.Error(), "lamp x: ") {
			t.Errorf("got %v", err)
		}
		if _, err := os.ReadFile(filepath.Join(class, "x/max_brightness")); err != nil {
			t.Fatal(err)
		}
		// It comes back: the same pattern is tried again.
		os.Remove(filepath.Join(class, "x/brightness"))
		os.WriteFile(filepath.Join(class, "x/brightness"), nil, 0o644)
		show(t, l, solid)
		if got := read(t, class, "x/brightness"); got != "1" {
			t.Errorf("brightness %q", got)
		}
	})
	t.Run("the LED goes while it blinks", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			class := tree(t, map[string]string{"x/brightness": "0"})
			l := open(t, class, "x", Options{})
			show(t, l, slow)
			os.Remove(filepath.Join(class, "x/brightness"))
			time.Sleep(time.Hour)
			if _, err := os.Stat(filepath.Join(class, "x/brightness")); err == nil {
				t.Error("a file of sysfs was made")
			}
			if err := l.Show(slow); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("shown again: %v", err)
			}
			os.WriteFile(filepath.Join(class, "x/brightness"), nil, 0o644)
			show(t, l, slow)
			time.Sleep(750 * time.Millisecond)
			if got := read(t, class, "x/brightness"); got != "0" {
				t.Errorf("the LED is back and does not blink: %q", got)
			}
			l.Close()
		})
	})
}

func TestOpenErrors(t *testing.T) {
	class := tree(t, map[string]string{"x/brightness": "0", "y/readme": ""})
	for name, want := range map[string]string{
		"":       `lamp "": this is not the name of an LED`,
		"..":     `lamp "..": this is not the name of an LED`,
		"a/b":    `lamp "a/b": this is not the name of an LED`,
		"absent": "lamp absent: no such LED in " + class + ": file does not exist",
		"y":      "lamp y: no such LED in " + class + ": file does not exist",
	} {
		if _, err := Open(class, name, Options{}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestColour(t *testing.T) {
	for name, want := range map[string]string{
		"green:telefon": "green", "vgv7519:blue:phone": "blue", "ACT": "", "": "", "a:b:amber:fxs1": "amber",
	} {
		if got := Colour(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	class := tree(t, map[string]string{
		"green:telefon/brightness": "", "board:green:power/brightness": "", "led0/brightness": "", "mygreen:telefon2/brightness": "",
	})
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{[]string{"green:telefon"}, "green:telefon"},
		{[]string{"green:power"}, "board:green:power"},
		{[]string{"ACT", "led0"}, "led0"},
		{[]string{"led0", "green:telefon"}, "led0"},
	} {
		if got, err := Find(class, tt.names...); got != tt.want || err != nil {
			t.Errorf("%v: %q, %v", tt.names, got, err)
		}
	}
	if _, err := Find(class, "ACT", "led1"); err == nil || err.Error() != "no LED is called ACT or led1 in "+class {
		t.Errorf("got %v", err)
	}
	if _, err := Find(class+"/nowhere", "ACT"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
