// Package phasor looks at single frequencies in a short stretch of sound.
//
// Its one idea: a window is the same before and after its middle. Around the
// middle a cosine is so too and a sine is its negative; so the second half is
// laid over the mirrored first, once as a sum and once as a difference, and half
// the products do for every frequency.
//
// A window has an even number of samples, 2n, its middle is sample n, and sample
// 0 counts for nothing. All arithmetic on sound is integer with 32 bits; a window
// may have 96 samples, or 320 that are no louder than a quarter of full scale.
package phasor

import (
	"math"
	"math/bits"
)

// A Phasor is one frequency as it stands in the middle of a window: length and
// direction. A sine of peak a has a length of n a / 64.
type Phasor struct{ Re, Im int32 }

// A Pair is two samples equally far from the middle, weighed: their sum and how
// much the later is above the earlier.
type Pair struct{ Sum, Diff int32 }

// Fold weighs the samples x of a window and lays them into pairs, one for each of
// the window's weights; x has two for each. It returns twice the energy: of a
// sine of peak a, 3 n a² / 256. Samples lose three bits on the way: the largest
// sum of 48 pairs with a carrier is then 24 * 8192 * 2^13 < 2^31; of 160 pairs of
// 2^13, weighed alike, 2/pi * 160 * 2048 * 2^13.
func Fold(pairs []Pair, window []int32, x []int16) (energy uint32) {
	n := len(window)
	pairs, x = pairs[:n], x[:2*n]
	mid := int32(x[n]) >> 3
	pairs[0] = Pair{Sum: mid}
	energy = 2 * uint32(mid*mid)
	after, before := x[n:], x[:n+1]
	for k := 1; k < n; k++ {
		a, b, w := int32(after[k]), int32(before[n-k]), window[k]
		sum, diff := ((a+b)*w+1<<16)>>17, ((a-b)*w+1<<16)>>17
		pairs[k] = Pair{sum, diff}
		energy += uint32(sum*sum) + uint32(diff*diff)
	}
	return energy
}

// Of is a carrier's frequency in a folded window.
func Of(pairs []Pair, carrier []Phasor) Phasor {
	var re, im int32
	carrier = carrier[:len(pairs)]
	for k, p := range pairs {
		re += p.Sum * carrier[k].Re
		im -= p.Diff * carrier[k].Im
	}
	return Phasor{re >> 15, im >> 15}
}

// Four are the frequencies of four carriers in a folded window, in less time
// than one after the other.
func Four(pairs []Pair, carriers [][4]Phasor) (z [4]Phasor) {
	var a, b, c, d Phasor // registers, which an array is not
	carriers = carriers[:len(pairs)]
	for k, p := range pairs {
		f := &carriers[k]
		a.Re += p.Sum * f[0].Re
		a.Im -= p.Diff * f[0].Im
		b.Re += p.Sum * f[1].Re
		b.Im -= p.Diff * f[1].Im
		c.Re += p.Sum * f[2].Re
		c.Im -= p.Diff * f[2].Im
		d.Re += p.Sum * f[3].Re
		d.Im -= p.Diff * f[3].Im
	}
	return [4]Phasor{
		{a.Re >> 15, a.Im >> 15}, {b.Re >> 15, b.Im >> 15},
		{c.Re >> 15, c.Im >> 15}, {d.Re >> 15, d.Im >> 15},
	}
}

// Hann is the weights of the window of that name, from its middle on, Q14. Two
// of them half a window apart add up to 1.
func Hann(n int) []int32 {
	w := make([]int32, n)
	for k := range w {
		w[k] = int32(math.Round(8192 * (1 + math.Cos(math.Pi*float64(k)/float64(n)))))
	}
	return w
}

// Carrier is a frequency of hz in 1/8000 s steps, from where its phase is 0 on,
// n of them, Q13.
func Carrier(hz float64, n int) []Phasor {
	c := make([]Phasor, n)
	for k := range c {
		sin, cos := math.Sincos(2 * math.Pi * hz * float64(k) / 8000)
		c[k] = Phasor{int32(math.Round(8192 * cos)), int32(math.Round(8192 * sin))}
	}
	return c
}

// Power is the square of the length.
func (z Phasor) Power() uint32 { return uint32(z.Re*z.Re) + uint32(z.Im*z.Im) }

// Length is the length, rounded down.
func (z Phasor) Length() (r uint32) {
	x := z.Power()
	for b := uint32(1) << 30; b != 0; b >>= 2 {
		if x >= r+b {
			x -= r + b
			r = r>>1 + b
		} else {
			r >>= 1
		}
	}
	return r
}

// Turned is the angle from a to z, 2^16 a full turn, within 0.3 degrees; 0 if one
// of them has no length.
func (z Phasor) Turned(a Phasor) int16 {
	// z times the conjugate of a.
	re := int64(z.Re)*int64(a.Re) + int64(z.Im)*int64(a.Im)
	im := int64(z.Im)*int64(a.Re) - int64(z.Re)*int64(a.Im)
	x, y := max(re, -re), max(im, -im)
	if x == 0 && y == 0 {
		return 0
	}
	swap := y > x
	if swap {
		x, y = y, x
	}
	if n := bits.Len64(uint64(x)) - 15; n > 0 {
		x, y = x>>n, y>>n
	}
	// The arc tangent of q is near q (pi/4 + 0.273 (1 - q)).
	q := int32(y) << 15 / int32(x)
	angle := q * (8192 + 2847*(1<<15-q)>>15) >> 15
	if swap {
		angle = 1<<14 - angle
	}
	if re < 0 {
		angle = 1<<15 - angle
	}
	if im < 0 {
		angle = -angle
	}
	return int16(angle)
}
