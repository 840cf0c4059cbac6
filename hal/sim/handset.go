package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode"

	"github.com/ata-agent/ata-agent/hal"
)

// A Handset is the receiver of an IP telephone, its keypad and its hook. It
// implements hal.Handset beside hal.Port and hal.Hand; its sound has a rate of
// its own, and nobody hears its keys. Except for ReadSamples and WriteSamples,
// which belong to one goroutine, its methods may be called from any.
type Handset struct{ telephone }

// NewHandset returns a handset on the hook, whose sound has rate samples a
// second, one of hal.Rates. Others panic.
func NewHandset(name string, rate int, o Options) *Handset {
	if !slices.Contains(hal.Rates[:], rate) {
		panic(fmt.Sprintf("a handset of %d Hz", rate))
	}
	h := new(Handset)
	h.plugIn(name, rate, o)
	return h
}

// Rate is how many samples its sound has in a second.
func (h *Handset) Rate() int { return h.rate }

// ReadSamples waits for the next 10 ms from the mouthpiece, as Port.Read does.
func (h *Handset) ReadSamples(s []int16) error { return h.read(s) }

// WriteSamples gives the ear 10 ms, as Port.Write does.
func (h *Handset) WriteSamples(s []int16) error { return h.write(s) }

// Read is ReadSamples at a rate of 8000, and an error at another.
func (h *Handset) Read(f *hal.Frame) error { return h.read(f[:]) }

// Write is WriteSamples at a rate of 8000, and an error at another.
func (h *Handset) Write(f *hal.Frame) error { return h.write(f[:]) }

// Press presses keys, 100 ms each and 100 ms apart, and returns when the last
// has been let go. Each is told as hal.Digit when it goes down. A comma is a
// pause of a second. The receiver must be lifted; Press ends with an error when
// it is put down.
func (h *Handset) Press(digits string) error {
	free, err := h.reach(digits)
	if err != nil {
		return err
	}
	defer free()
	h.mu.Lock()
	down := h.down
	h.mu.Unlock()
	for _, d := range digits {
		long := time.Second
		if d != ',' {
			long = time.Second * (toneOn + toneOff) / hal.SampleRate
			h.mu.Lock()
			if h.down == down && h.lifted && !h.closed {
				h.tell([]hal.Event{{Kind: hal.Digit, Digit: byte(unicode.ToUpper(d)), At: time.Now()}})
			}
			h.mu.Unlock()
		}
		if err := h.wait(down, nil, long); err != nil {
			return err
		}
	}
	return nil
}

// Dial fails: a handset has keys and no dial.
func (h *Handset) Dial(string) error {
	return fmt.Errorf("port %s: %w", h.name, errNoDial)
}

var errNoDial = errors.New("a handset has keys and no dial")
