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
	"sync"
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
	ratio  int // of the rates; 0 and 1 copy
	up     bool
	filter *filter
	past   [taps*top + block*top]int16 // taps of the past, then a block
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
		c.filter = &two()[way(c.up)]
	case 3:
		c.filter = &three()[way(c.up)]
	case 6:
		c.filter = &six()[way(c.up)]
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
		x := (*[taps]int16)(c.past[i+1:])
		for p := range c.ratio {
			h := (*[taps]int32)(c.filter[p*taps:])
			sum := int32(half)
			for k := 0; k < taps; k += 4 {
				sum += int32(x[k])*h[k] + int32(x[k+1])*h[k+1] + int32(x[k+2])*h[k+2] + int32(x[k+3])*h[k+3]
			}
			dst[i*c.ratio+p] = clip(sum >> 15)
		}
	}
}

// fall makes a sample of each ratio of n.
func (c *Converter) fall(dst []int16, n int) {
	for i := 0; i+c.ratio <= n; i += c.ratio {
		sum := int32(half)
		for p := range c.ratio {
			x := (*[taps]int16)(c.past[i+1+p*taps:])
			h := (*[taps]int32)(c.filter[p*taps:])
			for k := 0; k < taps; k += 4 {
				sum += int32(x[k])*h[k] + int32(x[k+1])*h[k+1] + int32(x[k+2])*h[k+2] + int32(x[k+3])*h[k+3]
			}
		}
		dst[i/c.ratio] = clip(sum >> 15)
	}
}

func clip(x int32) int16 { return int16(min(max(x, -32768), 32767)) }

// A filter has its taps in the order in which sound meets them, the oldest
// first, Q15: upwards phase after phase, each adding up to one; downwards as
// one row that adds up to one. So what is steady stays as it was.
type filter [top * taps]int32

// Made when they are needed: a start of the program must not pay for them.
var (
	two   = sync.OnceValue(func() *[2]filter { return design(2) })
	three = sync.OnceValue(func() *[2]filter { return design(3) })
	six   = sync.OnceValue(func() *[2]filter { return design(6) })
)

func way(up bool) int {
	if up {
		return 1
	}
	return 0
}

func design(ratio int) *[2]filter {
	h := new([2]filter)
	const beta = 6.2 // of Kaiser's window: 64 dB
	n := ratio * taps
	// The middle of the prototype lies on a sample.
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
	row := make([]float64, n)
	for i := range row {
		row[i] = proto[n-1-i]
	}
	round(h[way(false)][:n], row)
	for p := range ratio {
		phase := make([]float64, taps)
		for k := range phase {
			phase[taps-1-k] = proto[p+k*ratio]
		}
		round(h[way(true)][p*taps:(p+1)*taps], phase)
	}
	return h
}

// round makes integers of taps, that add up to 2^15.
func round(h []int32, taps []float64) {
	var sum float64
	for _, v := range taps {
		sum += v
	}
	left, most := int32(1<<15), 0
	for i, v := range taps {
		h[i] = int32(math.Round(v / sum * (1 << 15)))
		left -= h[i]
		if taps[i] > taps[most] {
			most = i
		}
	}
	h[most] += left
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
