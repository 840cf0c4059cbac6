package rtp

import (
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/g722"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/plc"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

// WideSamples is 10 ms at 16000 samples a second.
const WideSamples = 2 * hal.FrameSamples

// wide is what a Stream needs to be carried at 16000 samples a second. A tick is
// then still a sample, of the sound below 4 kHz, and beside it one of the sound
// above: ordering, stretching and concealing are done to both halves alike, and
// what is heard last is joined by G.722's own filters. A far end that speaks no
// G.722 has no upper half, and is heard by a better low-pass. Guarded by
// Stream.cord.
type wide struct {
	joins   bool    // the far end has an upper half
	upper   []int16 // of ear.pcm
	conceal plc.Concealer
	sound   [hal.FrameSamples + jitter.MaxFrame]int16 // of ear.sound
	low     hal.Frame
	high    hal.Frame
	up      resample.Converter

	down   resample.Converter // to a far end that speaks no G.722
	narrow hal.Frame
}

// Widen lets Read and Write be given 160 samples in place of 80, or no longer.
// Any goroutine.
func (s *Stream) Widen(on bool) {
	s.cord.Lock()
	defer s.cord.Unlock()
	switch {
	case !on:
		s.wide = nil
	case s.wide == nil:
		s.wide = &wide{upper: make([]int16, jitter.MaxFrame)}
		s.wide.conceal.Follow(&s.ear.conceal)
		s.wide.up.Set(8000, 16000)
		s.wide.down.Set(16000, 8000)
	}
}

// half is the upper half of the ticks from i to j; nil of a narrow sound.
func (w *wide) half(i, j int) []int16 {
	if w == nil {
		return nil
	}
	return w.upper[i:j]
}

// fit is what Concealer.Fit does to the lower half.
func (w *wide) fit(at, out, in int) {
	if w != nil {
		w.conceal.Fit(w.sound[at:at+out], w.upper[:in])
	}
}

// next takes a frame of the n samples that wait.
func (w *wide) next(n int) {
	if w != nil {
		copy(w.high[:], w.sound[:])
		copy(w.sound[:], w.sound[hal.FrameSamples:n])
	}
}

// whole writes what is heard of both halves.
func (w *wide) whole(f []int16, by *g722.Decoder) {
	if w.joins {
		by.Join(f, w.low[:], w.high[:])
	} else {
		w.up.Convert(f, w.low[:])
	}
}
