// Package resample turns sound of one rate into sound of another: 8000, 16000,
// 32000 and 48000 samples a second.
//
// Its one idea: between two rates of which one is a multiple of the other
// there is one low-pass, and only those of its products are made that are
// heard. Upwards, each new sample has its own 24 taps, a phase of the filter;
// downwards, only every second, third, fourth or sixth sample is made at all.
//
//	8000 ──×6──▶ 48000       sinc, Kaiser window, 24 periods of the lower rate:
//	8000 ◀──÷6── 48000       flat within 0.1 dB to 0.42 of the lower rate, 56 dB
//	8000 ◀─×2÷2─▶ 16000      down from 0.58 of it; a delay of 12 samples of the
//	16000 ◀×3÷3▶ 48000       lower rate either way; 32000 likewise, but not
//	                         beside 48000, of which it is no part
//
// What lies between 0.42 and 0.58, for a telephone 3.4 to 4.6 kHz, folds over
// softened by 6 dB or more; nothing of a voice that matters is there.
// Arithmetic is integer and nothing allocates.
package resample

import (
	"fmt"
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

// Set makes c convert between two rates, each 8000, 16000, 32000 or 48000 and one
// a multiple of the other, and forget what it has heard.
func (c *Converter) Set(from, to int) error {
	low, high := min(from, to), max(from, to)
	if !known(low) || !known(high) || high%low != 0 {
		return fmt.Errorf("%d to %d: want 8000, 16000, 32000 or 48000, one a multiple of the other", from, to)
	}
	*c = Converter{ratio: high / low, up: to > from}
	if c.ratio > 1 {
		c.filter = filters(c.ratio, c.up)
	}
	return nil
}

func known(rate int) bool { return rate == 8000 || rate == 16000 || rate == 32000 || rate == 48000 }

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

// made are the filters of each ratio, down and up. They are made when they are
// needed: a start of the program must not pay for them.
var made struct {
	sync.Mutex
	of [top + 1]*[2]filter
}

func filters(ratio int, up bool) *filter {
	made.Lock()
	defer made.Unlock()
	f := &made.of[ratio]
	if *f == nil {
		*f = design(ratio)
	}
	return &(*f)[way(up)]
}

func way(up bool) int {
	if up {
		return 1
	}
	return 0
}

// design samples the pulse as finely as a ratio needs.
func design(ratio int) *[2]filter {
	f := new([2]filter)
	row := f[way(false)][:ratio*taps]
	for i := range row {
		row[i] = at(i+1-ratio*taps/2, ratio)
	}
	scale(row)
	for p := range ratio {
		phase := f[way(true)][p*taps : (p+1)*taps]
		for k := range phase {
			phase[k] = at(p+(taps/2-1-k)*ratio, ratio)
		}
		scale(phase)
	}
	return f
}

// at is the pulse so many samples of the higher rate from its middle.
func at(x, ratio int) int32 {
	if x = max(x, -x) * fine / ratio; x < len(pulse) {
		return pulse[x]
	}
	return 0
}

// scale makes taps add up to 2^15; what rounding leaves, the largest gets.
func scale(taps []int32) {
	sum, most := int64(0), 0
	for i, v := range taps {
		sum += int64(v)
		if v > taps[most] {
			most = i
		}
	}
	left := int32(1 << 15)
	for i, v := range taps {
		half := sum
		if v < 0 {
			half = -half
		}
		taps[i] = int32((int64(v)<<16 + half) / (2 * sum))
		left -= taps[i]
	}
	taps[most] += left
}

// pulse is half of the low-pass: sin(pi x) / pi x under a window of Kaiser with
// beta 6.2, which is 64 dB, Q24, for x in twelfths of a sample of the lower rate.
var pulse = [taps / 2 * fine]int32{
	16777216, 16583953, 16012294, 15086208, 13844295, 12337832, 10628199, 8783818, 6876789, 4979384, 3160616, 1483045,
	0, -1246642, -2228024, -2929140, -3348922, -3499583, -3405295, -3100288, -2626487, -2030865, -1362640, -670498,
	0, 608705, 1122723, 1517743, 1778794, 1900421, 1886288, 1748277, 1505155, 1180909, 802886, 399834,
	0, -370626, -689806, -940220, -1110239, -1194291, -1192812, -1111818, -962140, -758402, -517809, -258850,
	0, 241501, 450706, 615802, 728693, 785295, 785550, 733171, 635151, 501079, 342334, 171204,
	0, -159772, -298134, -407213, -481630, -518703, -518452, -483418, -418322, -329605, -224870, -112286,
	0, 104424, 194478, 265083, 312838, 336136, 335151, 311699, 268999, 211353, 143768, 71569,
	0, -66125, -122726, -166683, -195983, -209772, -208328, -192957, -165819, -129714, -87837, -43522,
	0, 39820, 73526, 99334, 116159, 123633, 122071, 112388, 95986, 74608, 50190, 24700,
	0, -22277, -40827, -54730, -63488, -67012, -65597, -59855, -50647, -38990, -25967, -12647,
	0, 11156, 20206, 26755, 30639, 31906, 30793, 27683, 23060, 17462, 11428, 5464,
	0, -4629, -8199, -10601, -11834, -11988, -11230, -9773, -7858, -5722, -3587, -1635,
}

const fine = 12 // of which 2, 3, 4 and 6 are parts
