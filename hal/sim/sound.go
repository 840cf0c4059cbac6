package sim

import (
	"math"
	"math/cmplx"
	"slices"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// The keypad, ITU-T Q.23: a low tone for the row, a high one for the column.
var (
	rows    = [4]uint32{697, 770, 852, 941}
	columns = [4]uint32{1209, 1336, 1477, 1633}
)

const keys = "123A456B789C*0#D"

// Times and levels of a telephone's keypad. Q.23 leaves them to administrations;
// a sender stays well inside what every receiver of ITU-T Q.24 takes: 40 ms on
// and off at least, 0 to -25 dBm0 a tone, the high one at most 4 dB above.
const (
	toneOn  = 100 * hal.SampleRate / 1000
	toneOff = 100 * hal.SampleRate / 1000

	// 0 dBm0 lies 3.14 dB below a full-scale sine (ITU-T G.711, A-law), so
	// x dBm0 has the peak 32767 * 10^((x-3.14)/20).
	lowPeak  = 8100  // -9 dBm0
	highPeak = 10197 // -7 dBm0: 2 dB above, for what a cable takes
)

// dtmf returns the two frequencies of a key as phase steps.
func dtmf(key rune) (low, high uint32, ok bool) {
	if key >= 'a' && key <= 'd' {
		key += 'A' - 'a'
	}
	for i, k := range keys {
		if k == key {
			return step(rows[i/4]), step(columns[i%4]), true
		}
	}
	return 0, 0, false
}

// step is how far a tone's phase goes in a sample; 1<<32 is the whole circle.
func step(hz uint32) uint32 { return uint32((uint64(hz)<<32 + hal.SampleRate/2) / hal.SampleRate) }

// The sine of 1024 phases. Rounding the phase to one of them leaves noise 50 dB
// below the tone; Q.23 asks for 20.
const (
	sineBits = 10
	sineSize = 1 << sineBits
)

// sineTable is made when the first port is: it is the only float of the package
// and no port should cost a start of the agent anything.
var sineTable = sync.OnceValue(func() *[sineSize]int16 {
	t := new([sineSize]int16)
	for i := range t {
		t[i] = int16(math.Round(32767 * math.Sin(2*math.Pi*float64(i)/sineSize)))
	}
	return t
})

// A sound goes into the mouthpiece from one sample to before another: a key's
// two tones, or recorded samples.
type sound struct {
	from, to  int64
	low, high uint32 // phase steps; unused with samples
	samples   []int16
}

// say puts a sound into the mouthpiece. Sounds that nobody can read any more are
// forgotten here, for a port without a reader. p.mu is held.
func (p *telephone) say(s sound) {
	gone := (p.frame() - backlog) * int64(p.rate/framesPerSecond)
	p.sounds = slices.DeleteFunc(p.sounds, func(s sound) bool { return s.to < gone })
	p.sounds = append(p.sounds, s)
}

// speak makes the frame that begins with sample at. p.mu is held.
func (p *telephone) speak(f []int16, at int64) {
	clear(f)
	left := p.sounds[:0]
	for _, s := range p.sounds {
		if !p.open {
			s.add(f, at, p.sine)
		}
		if s.to > at+int64(len(f)) {
			left = append(left, s)
		}
	}
	clear(p.sounds[len(left):]) // let go of the samples
	p.sounds = left
	p.hybrid.throwBack(f, at)
}

// A hybrid is where two wires meet four. A nil hybrid is a perfect one.
type hybrid struct {
	taps [24]int32                                 // Q15, of 3 ms
	ear  [(2*backlog + 4) * hal.FrameSamples]int16 // what the ear heard last; sample n is at n modulo its length
	end  int64                                     // the sample after the latest
}

// newHybrid makes one that rings at 1273 Hz, is loudest there with so many dB of
// loss, 2 to 5 dB softer elsewhere, and dies away within 3 ms.
func newHybrid(loss int) *hybrid {
	if loss <= 0 {
		return nil
	}
	h := new(hybrid)
	var shape [len(h.taps)]float64
	var sum complex128 // of what 1273 Hz, 1 radian a sample, makes of it
	for i := range shape {
		shape[i] = 0.5 * math.Cos(float64(i)) * math.Exp(-float64(i)/4)
		if i == 0 {
			shape[i]++
		}
		sum += cmplx.Rect(shape[i], -float64(i))
	}
	scale := 32768 * math.Pow(10, -float64(loss)/20) / cmplx.Abs(sum)
	for i := range shape {
		h.taps[i] = int32(math.Round(scale * shape[i]))
	}
	return h
}

// heard keeps the frame that begins with sample at.
func (h *hybrid) heard(at int64, f []int16) {
	if h == nil {
		return
	}
	for n := max(h.end, at-int64(len(h.ear))); n < at; n++ {
		h.ear[n%int64(len(h.ear))] = 0 // the player had nothing to play
	}
	for i, x := range f {
		h.ear[(at+int64(i))%int64(len(h.ear))] = x
	}
	h.end = at + int64(len(f))
}

// throwBack adds the echo to the frame that begins with sample at.
func (h *hybrid) throwBack(f []int16, at int64) {
	if h == nil {
		return
	}
	oldest := max(0, h.end-int64(len(h.ear)))
	for i := range f {
		var sum int64
		for k, tap := range h.taps {
			if n := at + int64(i-k); oldest <= n && n < h.end {
				sum += int64(tap) * int64(h.ear[n%int64(len(h.ear))])
			}
		}
		f[i] = clamp(int32(f[i]) + int32(sum>>15))
	}
}

// add adds what of s falls into the frame that begins with sample at.
func (s *sound) add(f []int16, at int64, sine *[sineSize]int16) {
	first, last := max(s.from, at), min(s.to, at+int64(len(f)))
	for n := first; n < last; n++ {
		into := n - s.from
		var v int32
		if s.samples != nil {
			v = int32(s.samples[into])
		} else {
			v = int32(sine[s.low*uint32(into)>>(32-sineBits)])*lowPeak>>15 +
				int32(sine[s.high*uint32(into)>>(32-sineBits)])*highPeak>>15
		}
		f[n-at] = clamp(int32(f[n-at]) + v)
	}
}

func clamp(v int32) int16 { return int16(min(max(v, math.MinInt16), math.MaxInt16)) }

// framesPerSecond is how many 10 ms there are in one.
const framesPerSecond = int(time.Second / hal.FrameTime)

// span is how long n samples take.
func (p *telephone) span(n int64) time.Duration {
	return time.Duration(n) * time.Second / time.Duration(p.rate)
}
