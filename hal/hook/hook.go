// Package hook turns the loop current of a telephone into what the person did:
// lifted, hung up, flashed, dialled a digit with pulses.
//
// Its one idea: a telephone says everything by how long the loop is open. The
// [Decoder] is told each edge and its time, keeps no clock, and can be asked
// when it wants to be told that time has passed. It decides the same whether it
// is asked often or late.
//
//	loop closed ────┐  ┌──┐  ┌─────────┐     ┌────────┐
//	loop open       └──┘  └──┘         └─────┘        └──────────▶
//	                 a pulse  ▲ digit 2   flash ▲       on hook ▲
package hook

import (
	"fmt"
	"time"
)

// A Timing says how long the loop must be open or closed to mean something.
// The limits do not overlap: Debounce <= PulseMin <= PulseMax <= FlashMin <=
// FlashMax <= OnHook; [Timing.Check] says which one does not hold. The zero
// Timing is [Wide].
type Timing struct {
	Debounce  time.Duration // a level counts once it has lasted this long; 0: contacts that do not bounce
	PulseMin  time.Duration // an open loop shorter than this is noise
	PulseMax  time.Duration // an open loop up to and including this is a dial pulse; below PulseMin: no pulse dialling
	Pause     time.Duration // a digit is complete when the loop was closed this long after its last pulse
	FlashMin  time.Duration // an open loop longer than PulseMax and at least this is a flash
	FlashMax  time.Duration // an open loop longer than this is no flash any more
	OnHook    time.Duration // an open loop of this length is a receiver put down; 0: FlashMax
	Numbering Numbering     // what so many pulses mean
}

// Limits that several styles share.
const (
	debounce = 10 * time.Millisecond  // our choice: longer than a contact bounces, shorter than the 15 ms of a pulse at 20 a second
	pulseMin = 15 * time.Millisecond  // DAHDI kernel.h, DAHDI_MINPULSETIME
	pause    = 250 * time.Millisecond // DAHDI kernel.h, DAHDI_PULSETIMEOUT; NEC NEAX 2000 wants at least 256 ms between digits
)

// The styles of a flash. A country that presses R for 100 ms and one that
// presses the hook for half a second are both served by Wide; the others are
// for telephones that Wide misreads.
var (
	// Wide takes a European R key and an American hook flash. 80 ms is what
	// DAHDI takes for the longest pulse where flashes are short
	// (SHORT_FLASH_TIME), 900 ms the longest flash of a Cisco ATA 191.
	Wide = Timing{
		Debounce: debounce, PulseMin: pulseMin, PulseMax: 80 * time.Millisecond, Pause: pause,
		FlashMin: 80 * time.Millisecond, FlashMax: 900 * time.Millisecond,
	}

	// TimedBreak takes only the European R key and hears a receiver put
	// down soonest. NEC SL2100 quick install guide page 24: pulses to 65 ms,
	// recall 70 to 125 ms. The 400 ms are ours: three times the recall.
	TimedBreak = Timing{
		Debounce: debounce, PulseMin: pulseMin, PulseMax: 65 * time.Millisecond, Pause: pause,
		FlashMin: 70 * time.Millisecond, FlashMax: 125 * time.Millisecond, OnHook: 400 * time.Millisecond,
	}

	// HookFlash takes only the slow American flash, and slow dials.
	// Grandstream HT8xx: 300 to 1100 ms; DAHDI_MAXPULSETIME: 200 ms.
	HookFlash = Timing{
		Debounce: debounce, PulseMin: pulseMin, PulseMax: 200 * time.Millisecond, Pause: pause,
		FlashMin: 300 * time.Millisecond, FlashMax: 1100 * time.Millisecond,
	}
)

// Check returns an error that names the limit that contradicts another.
func (t Timing) Check() error {
	t = t.whole()
	order := []struct {
		name string
		d    time.Duration
	}{
		{"Debounce", t.Debounce}, {"PulseMax", t.PulseMax}, {"FlashMin", t.FlashMin},
		{"FlashMax", t.FlashMax}, {"OnHook", t.OnHook},
	}
	for i, now := range order {
		if now.d < 0 {
			return fmt.Errorf("hook timing: %s is %v, less than nothing", now.name, now.d)
		}
		if i > 0 && now.d < order[i-1].d {
			return fmt.Errorf("hook timing: %s is %v, shorter than %s with %v", now.name, now.d, order[i-1].name, order[i-1].d)
		}
	}
	if t.OnHook == 0 {
		return fmt.Errorf("hook timing: OnHook is 0, so that a receiver could never stay lifted")
	}
	if t.PulseMin < t.Debounce {
		return fmt.Errorf("hook timing: PulseMin is %v, shorter than Debounce with %v", t.PulseMin, t.Debounce)
	}
	if t.Pause <= 0 {
		return fmt.Errorf("hook timing: Pause is %v, so that digits could not be told apart", t.Pause)
	}
	return nil
}

// whole returns t with what was left open filled in.
func (t Timing) whole() Timing {
	if t == (Timing{}) {
		t = Wide
	}
	if t.OnHook == 0 {
		t.OnHook = t.FlashMax
	}
	return t
}

// Numbering is what the holes of a dial are called. The names are those of the
// countries' data.
type Numbering uint8

// The three numberings in use.
const (
	Normal     Numbering = iota // one pulse is 1, ten are 0
	Swedish                     // one pulse is 0, ten are 9
	NewZealand                  // one pulse is 9, nine are 1, ten are 0
)

var numberings = [...]string{"normal", "swedish", "new-zealand"}

// ParseNumbering is the inverse of String.
func ParseNumbering(s string) (Numbering, error) {
	for i, name := range numberings {
		if s == name {
			return Numbering(i), nil
		}
	}
	return Normal, fmt.Errorf("pulse numbering %q is not known: normal, swedish or new-zealand", s)
}

func (n Numbering) String() string {
	if int(n) < len(numberings) {
		return numberings[n]
	}
	return "no numbering"
}

// Digit returns what a number of pulses means, '0' to '9', or 0 for a number
// that no dial sends.
func (n Numbering) Digit(pulses int) byte {
	if pulses < 1 || pulses > 10 {
		return 0
	}
	switch n {
	case Swedish:
		return '0' + byte(pulses-1)
	case NewZealand:
		return '0' + byte(10-pulses)
	}
	return '0' + byte(pulses%10)
}

// Pulses is the inverse of Digit; 0 for a digit that pulses cannot say.
func (n Numbering) Pulses(digit byte) int {
	for pulses := 1; pulses <= 10; pulses++ {
		if n.Digit(pulses) == digit {
			return pulses
		}
	}
	return 0
}
