package led

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/hal/haltest"
)

// A linux is an LED as Linux drives it: what drivers/leds/led-class.c,
// led-triggers.c, trigger/ledtrig-timer.c and ledtrig-pattern.c do with what is
// written, and refuse.
type linux struct {
	mu         sync.Mutex
	max        int
	triggers   string
	trigger    string
	brightness int
	on, off    int // ms
	pattern    [][2]int
	since      time.Time
	writes     int
	broken     map[string]bool // files that refuse to be written
}

func (k *linux) write(file, text string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	if k.broken[file] {
		return syscall.EIO
	}
	n, err := strconv.Atoi(text)
	switch file {
	case "trigger":
		if !strings.Contains(" "+k.triggers+" ", " "+text+" ") {
			return syscall.EINVAL
		}
		k.trigger, k.brightness, k.on, k.off, k.pattern = text, 0, 500, 500, nil
	case "brightness":
		if err != nil || n > k.max {
			return syscall.EINVAL
		}
		k.brightness = n
		if n == 0 {
			k.trigger = "none" // a user who writes 0 removes the trigger
		}
	case "delay_on", "delay_off":
		if k.trigger != "timer" {
			return syscall.ENOENT // the file comes with the trigger
		}
		if file == "delay_on" {
			k.on = n
		} else {
			k.off = n
		}
	case "pattern":
		if k.trigger != "pattern" {
			return syscall.ENOENT
		}
		fields := strings.Fields(text)
		k.pattern = nil
		for i := 0; i+1 < len(fields); i += 2 {
			value, _ := strconv.Atoi(fields[i])
			delta, _ := strconv.Atoi(fields[i+1])
			if value < 0 || value > k.max {
				return syscall.EINVAL
			}
			k.pattern = append(k.pattern, [2]int{value, delta})
		}
		if len(k.pattern) < 2 {
			return syscall.EINVAL
		}
	default:
		return syscall.ENOENT
	}
	k.since = time.Now()
	return nil
}

func (k *linux) lit() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	into := int(time.Since(k.since).Milliseconds())
	switch k.trigger {
	case "timer":
		return into%(k.on+k.off) < k.on
	case "pattern":
		period := 0
		for _, tuple := range k.pattern {
			period += tuple[1]
		}
		into %= period
		for i, tuple := range k.pattern {
			if into < tuple[1] {
				if next := k.pattern[(i+1)%len(k.pattern)]; next[0] != tuple[0] {
					panic(fmt.Sprintf("the lamp fades: %v", k.pattern))
				}
				return tuple[0] == k.max
			}
			into -= tuple[1]
		}
	}
	return k.brightness == k.max
}

// open puts a lamp on it.
func (k *linux) open(t *testing.T) *Lamp {
	t.Helper()
	class := tree(t, map[string]string{
		"green:voip/brightness":     "0",
		"green:voip/max_brightness": strconv.Itoa(k.max) + "\n",
		"green:voip/trigger":        k.triggers + "\n",
	})
	l, err := Open(class, "green:voip", Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.write = k.write
	return l
}

func TestLampOnAKernel(t *testing.T) {
	for _, max := range []int{1, 255} {
		for _, triggers := range []string{"none timer pattern", "none timer", "none pattern", "none", "none mmc0 heartbeat", ""} {
			t.Run(fmt.Sprintf("%d with %q", max, triggers), func(t *testing.T) {
				haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
					k := &linux{max: max, triggers: triggers, trigger: "none"}
					return haltest.LampRig{Lamp: k.open(t), Lit: k.lit}
				})
			})
		}
	}
}

// TestAKernelThatRefuses breaks what the kernel offers, one file at a time: the
// lamp must find another way.
func TestAKernelThatRefuses(t *testing.T) {
	for _, broken := range []string{"delay_on", "delay_off", "pattern", "delay_off pattern"} {
		t.Run(broken, func(t *testing.T) {
			haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
				k := &linux{max: 255, triggers: "none timer pattern", trigger: "none", broken: map[string]bool{}}
				for _, file := range strings.Fields(broken) {
					k.broken[file] = true
				}
				return haltest.LampRig{Lamp: k.open(t), Lit: k.lit}
			})
		})
	}
}

func TestTheKernelIsToldOnce(t *testing.T) {
	k := &linux{max: 1, triggers: "none timer pattern", trigger: "none"}
	l := k.open(t)
	for range 3 {
		if err := l.Show(slow); err != nil {
			t.Fatal(err)
		}
	}
	if k.writes != 3 { // trigger, delay_on, delay_off
		t.Errorf("%d files written", k.writes)
	}
	if allocs := testing.AllocsPerRun(100, func() { _ = l.Show(slow) }); allocs != 0 {
		t.Errorf("%v allocations to show the same again", allocs)
	}
}
