// Package resample turns sound of one rate into sound of another: 8000, 16000
// and 48000 samples a second.
//
// Its one idea: between two rates of which one is a multiple of the other
// there is one low-pass, and only those of its products are made that are
// heard. Upwards, each new sample has its own 24 taps, a phase of the filter;
// downwards, only every second, third or sixth sample is made at all.
//
//	8000 ──×6──▶ 48000       sinc, Kaiser window, 24 periods of the lower rate:
//	8000 ◀──÷6── 48000       flat within 0.1 dB to 0.42 of the lower rate, 60 dB
//	8000 ◀─×2÷2─▶ 16000      down from 0.58 of it; a delay of 12 samples of the
//	16000 ◀×3÷3▶ 48000       lower rate either way
//
// What lies between 0.42 and 0.58, for a telephone 3.4 to 4.6 kHz, folds over
// softened by 6 dB or more; nothing of a voice that matters is there.
// Arithmetic is integer and nothing allocates.
package resample

import (
	"fmt"
	"math"
)

const (
	taps  = 24 // of a phase
	top   = 6  // the largest ratio
	block = 80 // samples of the lower rate that are done at once
	half  = 1 << 14
)

// A Converter is one sound on its way from a rate to another. The zero
// Converter changes nothing. It belongs to one goroutine.
type Converter struct {
	ratio int // of the rates; 0 and 1 copy
	up    bool
	taps  *[top * taps]int32
	past  [taps*top + block*top]int16 // taps of the past, then a block
}

// Set makes c convert between two rates, each 8000, 16000 or 48000, and forget
// what it has heard.
func (c *Converter) Set(from, to int) error {
	for _, rate := range []int{from, to} {
		if rate != 8000 && rate != 16000 && rate != 48000 {
			return fmt.Errorf("a rate of %d: want 8000, 16000 or 48000", rate)
		}
	}
	*c = Converter{ratio: max(from, to) / min(from, to), up: to > from}
	switch c.ratio {
	case 2:
		c.taps = &taps2
	case 3:
		c.taps = &taps3
	case 6:
		c.taps = &taps6
	}
	return nil
}

// Len is how many samples n become. Downwards n must be a multiple of the
// ratio.
func (c *Converter) Len(n int) int {
	switch {
	case c.ratio < 2:
		return n
	case c.up:
		return n * c.ratio
	}
	return n / c.ratio
}

// Convert writes src at its new rate to dst, which must have room for
// Len(len(src)), and returns how many samples that are.
func (c *Converter) Convert(dst, src []int16) int {
	if c.ratio < 2 {
		return copy(dst, src)
	}
	step, back := block, taps
	if !c.up {
		step, back = block*c.ratio, taps*c.ratio
	}
	done := 0
	for len(src) > 0 {
		n := min(step, len(src))
		copy(c.past[back:], src[:n])
		if c.up {
			c.rise(dst[done:], n)
		} else {
			c.fall(dst[done:], n)
		}
		done += c.Len(n)
		copy(c.past[:back], c.past[n:])
		src = src[n:]
	}
	return done
}

// rise makes ratio samples for each of n.
func (c *Converter) rise(dst []int16, n int) {
	for i := range n {
		x := c.past[i+1 : i+1+taps]
		for p := range c.ratio {
			h := c.taps[p*taps : p*taps+taps]
			sum := int32(half)
			for k, v := range x {
				sum += int32(v) * h[k]
			}
			dst[i*c.ratio+p] = clip(sum >> 15)
		}
	}
}

// fall makes a sample of each ratio of n.
func (c *Converter) fall(dst []int16, n int) {
	for i := 0; i+c.ratio <= n; i += c.ratio {
		sum := int32(0)
		for p := range c.ratio {
			// Phase p meets every ratio-th sample from there on; its taps are
			// those of a filter louder by the ratio.
			h := c.taps[p*taps : p*taps+taps]
			at := i + c.ratio - p
			var part int32
			for _, t := range h {
				part += int32(c.past[at]) * t
				at += c.ratio
			}
			sum += (part + int32(c.ratio)<<6) / (int32(c.ratio) << 7)
		}
		dst[i/c.ratio] = clip((sum + 1<<7) >> 8)
	}
}

func clip(x int32) int16 { return int16(min(max(x, -32768), 32767)) }

// The filters, phase by phase, Q15; each phase adds up to one, so that what is
// steady stays so.
var (
	taps2 = design(2)
	taps3 = design(3)
	taps6 = design(6)
)

func design(ratio int) (h [top * taps]int32) {
	const beta = 6.2 // of Kaiser's window: 64 dB
	n := ratio * taps
	// The middle of the prototype lies on a sample, so that one phase is
	// nearly the samples themselves.
	proto := make([]float64, n)
	for i := range proto {
		x := float64(i - n/2)
		s := 1.0
		if x != 0 {
			s = math.Sin(math.Pi*x/float64(ratio)) / (math.Pi * x / float64(ratio))
		}
		r := x / float64(n/2)
		proto[i] = s * bessel(beta*math.Sqrt(max(0, 1-r*r))) / bessel(beta)
	}
	for p := range ratio {
		var sum float64
		for k := range taps {
			sum += proto[p+k*ratio]
		}
		// x runs from the oldest sample to the newest, the filter backwards.
		left := int32(1 << 15)
		for k := range taps {
			v := int32(math.Round(proto[p+k*ratio] / sum * (1 << 15)))
			h[p*taps+taps-1-k] = v
			left -= v
		}
		h[p*taps+taps/2-1] += left
	}
	return h
}

// bessel is the modified Bessel function of order 0.
func bessel(x float64) float64 {
	sum, t := 1.0, 1.0
	for k := 1.0; k < 30; k++ {
		t *= x / (2 * k) * (x / (2 * k))
		sum += t
	}
	return sum
}
