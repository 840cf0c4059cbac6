package echo

import "math"

// The transform of 256 real samples is one of 128 complex numbers and a turn
// of each. Nothing is scaled on the way: what goes in has 16 bits, what
// comes out 24, and no product needs more than 31.

const (
	points = 256
	bins   = points/2 + 1
)

type complex32 struct{ re, im int32 }

var (
	turn    [points/4 + 1]complex32 // e^(-2πi k/256), 2^15 is 1
	turns   [5][]complex32          // e^(-πi k/n) for k < n = 4, 8, .. 64
	flipped [points / 2]uint8       // numbers of 7 bits, the bits reversed
)

func init() {
	at := func(angle float64) complex32 {
		s, c := math.Sincos(angle)
		return complex32{int32(math.Round(32768 * c)), int32(math.Round(32768 * s))}
	}
	for k := range turn {
		turn[k] = at(-2 * math.Pi * float64(k) / points)
	}
	for i := range turns {
		turns[i] = make([]complex32, 4<<i)
		for k := range turns[i] {
			turns[i][k] = at(-math.Pi * float64(k) / float64(len(turns[i])))
		}
	}
	for k := range flipped {
		for b := range 7 {
			flipped[k] |= uint8(k >> b & 1 << (6 - b))
		}
	}
}

// times is a turned by w, of which 2^15 is 1. Of a the upper and the lower
// bits are multiplied one after the other.
func (a complex32) times(w complex32) complex32 {
	rh, rl, ih, il := a.re>>9, a.re&511, a.im>>9, a.im&511
	return complex32{
		(rh*w.re - ih*w.im + (rl*w.re-il*w.im)>>9 + 32) >> 6,
		(rh*w.im + ih*w.re + (rl*w.im+il*w.re)>>9 + 32) >> 6,
	}
}

func (a complex32) conj() complex32 { return complex32{a.re, -a.im} }

// fft is the transform of z, which is in flipped order.
func fft(z *[points / 2]complex32) {
	// The first two stages need no products.
	for i := 0; i < len(z); i += 4 {
		q := (*[4]complex32)(z[i : i+4])
		a, b, c, d := q[0], q[1], q[2], q[3]
		a, b = complex32{a.re + b.re, a.im + b.im}, complex32{a.re - b.re, a.im - b.im}
		c, d = complex32{c.re + d.re, c.im + d.im}, complex32{c.re - d.re, c.im - d.im}
		q[0], q[2] = complex32{a.re + c.re, a.im + c.im}, complex32{a.re - c.re, a.im - c.im}
		q[1], q[3] = complex32{b.re + d.im, b.im - d.re}, complex32{b.re - d.im, b.im + d.re}
	}
	for _, w := range turns {
		for rest := z[:]; len(rest) > 0; rest = rest[2*len(w):] {
			lower, upper := rest[:len(w)], rest[len(w):][:len(w)]
			for j := range w {
				// b is upper turned; a call of times would cost as much as it does.
				t, a, u := &w[j], &lower[j], &upper[j]
				c, s, re, im := t.re, t.im, u.re, u.im
				rh, rl, ih, il := re>>9, re&511, im>>9, im&511
				re = (rh*c - ih*s + (rl*c-il*s)>>9 + 32) >> 6
				im = (rh*s + ih*c + (rl*s+il*c)>>9 + 32) >> 6
				u.re, u.im = a.re-re, a.im-im
				a.re, a.im = a.re+re, a.im+im
			}
		}
	}
}

// spectrum transforms real samples.
func spectrum(out *[bins]complex32, in *[points]int32) {
	var z [points / 2]complex32
	for i, f := range &flipped {
		z[f&(points/2-1)] = complex32{in[2*i], in[2*i+1]}
	}
	fft(&z)
	out[0] = complex32{z[0].re + z[0].im, 0}
	out[bins-1] = complex32{z[0].re - z[0].im, 0}
	for k := 1; k < len(turn); k++ {
		a, b := z[k], z[points/2-k].conj()
		even := complex32{a.re + b.re, a.im + b.im}
		odd := complex32{a.im - b.im, b.re - a.re}.times(turn[k]) // (a-b)/i, turned
		out[k] = complex32{(even.re + odd.re) >> 1, (even.im + odd.im) >> 1}
		out[points/2-k] = complex32{(even.re - odd.re) >> 1, (odd.im - even.im) >> 1}
	}
}

// samples transforms a spectrum back, and 128 times as loud.
func samples(out *[points]int32, in *[bins]complex32) {
	var z [points / 2]complex32
	z[0] = complex32{(in[0].re + in[bins-1].re) >> 1, (in[bins-1].re - in[0].re) >> 1}
	for k := 1; k < len(turn); k++ {
		a, b := in[k], in[points/2-k].conj()
		even := complex32{a.re + b.re, a.im + b.im}
		odd := complex32{a.re - b.re, a.im - b.im}.times(turn[k].conj())
		// even + i odd, conjugated because the transform forward is used.
		z[flipped[k]&(points/2-1)] = complex32{(even.re - odd.im) >> 1, -(even.im + odd.re) >> 1}
		z[flipped[points/2-k]&(points/2-1)] = complex32{(even.re + odd.im) >> 1, (even.im - odd.re) >> 1}
	}
	fft(&z)
	for i, x := range &z {
		out[2*i], out[2*i+1] = x.re, -x.im
	}
}
