// Package plc hides lost packets from the ear.
//
// Its one idea: a voice repeats itself every few milliseconds, so for a while
// a gap may be filled with the last period heard, over and over, ever softer.
// The method is that of ITU-T G.711 Appendix I without its delay of 3.75 ms:
//
//		heard ────────────┤ lost                                ├─── heard
//		    period ─┐     │ period, period │ 2 periods │ 3 … 3 │ back
//		            └─────┼────────────────▶ ever softer ───────┼──▶ cross-faded
//
//	  - The period is the lag at which the last 15 ms are most like what was
//	    before, by normalised correlation.
//	  - The first 20 ms repeat one period, the next two, later ones three: one
//	    alone, heard too often, buzzes.
//	  - The sound fades: to 0.4 in 35 ms, then slowly; 200 ms after the last real
//	    sample there is silence.
//	  - The end of what was heard is out already and cannot be cross-faded. The
//	    step to where the period begins is made even over a millisecond.
//	  - The way back is cross-faded in 1.5 ms: what has come is right, and what
//	    was made up is out of step with it.
//
// Against Appendix I the periods grow later, the fading begins at once and ends
// later, and the way back is short. Over real speech of six voices, frames of 10,
// 20 and 30 ms and losses of 1 to 10 %, alone and in bursts, what is heard is nearer
// to what was said than with Appendix I and with libspandsp by each of four
// measures: a disturbance in the manner of P.862, the distance of spectra (10 %
// less than with Appendix I, 13 % in bursts) and of cepstra, and STOI.
//
// The same periods may be left out or heard twice when a jitter buffer wants
// to be shorter or longer: Period and Fit. Of a wide sound the lower half, 8000
// samples a second too, leads, and the upper half follows: Follow.
package plc

import (
	"math"
	"math/bits"
)

// Lengths in samples of 1/8000 s.
const (
	minPeriod = 40   // 5 ms: 200 Hz, G.711 Appendix I
	maxPeriod = 120  // 15 ms: 66 Hz
	span      = 120  // of the past that is compared with what was before
	stage     = 160  // after each 20 ms there is a period more,
	periods   = 3    // up to so many
	fade      = 480  // the first slope would be silence at 60 ms,
	tail      = 1600 // the second, from a half on, is at 200 ms
	step      = 8    // 1 ms
	wayBack   = 12   // 1.5 ms
	past      = periods*maxPeriod + maxPeriod/4
)

// A Concealer keeps the recent past of one sound. The zero Concealer has heard
// silence. It belongs to one goroutine and never allocates. What it is given
// and asked for may come in stretches of any length.
type Concealer struct {
	past [past]int16 // what was heard, the newest last

	gap    int         // samples made up since the last good one
	back   int         // samples of the way back that are done
	wave   [past]int16 // the past as it was when the gap began
	period int
	now    reader // of wave
	before reader // which it takes over from
	turn   int    // samples of that which are to come

	lead *Concealer // nil: none
	at   int        // where Fit has last left out or repeated
}

// Follow makes c conceal the upper half of a sound whose lower half lead has, at
// the same places. Whatever is asked of lead must then be asked of c, as the next
// thing and with as many samples.
func (c *Concealer) Follow(lead *Concealer) { c.lead = lead }

// A reader plays the end of a wave over and over.
type reader struct {
	n  int // periods
	at int // the next sample in them
}

// Good takes samples that have arrived. After a gap their beginning is
// changed, so that the sound made up fades into them.
func (c *Concealer) Good(s []int16) {
	if c.gap > 0 {
		c.fadeIn(s)
	}
	c.remember(s)
}

func (c *Concealer) fadeIn(s []int16) {
	for i := range s {
		if c.back == wayBack {
			c.gap, c.back = 0, 0
			return
		}
		c.back++
		w := int32(c.back) << 15 / (wayBack + 1)
		s[i] = mix(c.next(), s[i], w)
	}
}

// mix fades from a to b; w is the share of b, Q15.
func mix(a, b int16, w int32) int16 {
	return int16((int32(a)*(1<<15-w) + int32(b)*w) >> 15)
}

// Lost makes up samples that have not.
func (c *Concealer) Lost(s []int16) {
	if c.back > 0 {
		c.gap, c.back = 0, 0
	}
	if c.gap == 0 {
		c.wave = c.past
		if c.lead != nil {
			c.period = c.lead.period
		} else {
			c.period = find(&c.past, maxPeriod, 63)
		}
		c.now, c.turn = reader{n: 1}, 0
	}
	for i := range s {
		if c.gap == c.now.n*stage && c.now.n < periods {
			c.before, c.turn = c.now, c.period/4
			c.now = reader{n: c.now.n + 1, at: c.now.at % c.period}
		}
		s[i] = c.next()
	}
	c.remember(s)
}

func (c *Concealer) remember(s []int16) {
	if n := len(s); n >= past {
		copy(c.past[:], s[n-past:])
	} else {
		copy(c.past[:], c.past[n:])
		copy(c.past[past-n:], s)
	}
}

// next is the next sample of what is made up.
func (c *Concealer) next() int16 {
	x := c.now.next(c)
	switch {
	case c.gap < step:
		e := int32(c.wave[past-1]) - int32(c.wave[past-1-c.period])
		x = int16(min(max(int32(x)+e*int32(step-c.gap)/(step+1), -32768), 32767))
	case c.turn > 0:
		x = mix(x, c.before.next(c), int32(c.turn)<<15/int32(c.period/4+1))
		c.turn--
	}
	x = int16(int32(x) * loudness(int32(c.gap)) >> 15)
	c.gap = min(c.gap+1, 1<<20)
	return x
}

// loudness is what is left of a voice so long into a gap, Q15.
func loudness(gap int32) int32 {
	return max(max(fade-gap, 0)<<15/fade, max(tail-gap, 0)<<14/tail)
}

// next is the next sample of the last n periods, whose last quarter turns into
// what was before the first.
func (r *reader) next(c *Concealer) int16 {
	n, q := r.n*c.period, c.period/4
	x := c.wave[past-n+r.at]
	if k := r.at - (n - q); k >= 0 {
		x = mix(x, c.wave[past-2*n+r.at], int32(k+1)<<15/int32(q+1))
	}
	if r.at++; r.at == n {
		r.at = 0
	}
	return x
}

// Period is how many samples, up to most, may be left out of the next ones, or
// heard twice, without being noticed much: a period of a steady voice; -80 in
// silence, where it may be any number up to that; and otherwise 0. With a most
// of minPeriod or more it costs as much as the beginning of a gap.
func (c *Concealer) Period(most int) int {
	if c.gap > 0 {
		return 0
	}
	var loud int32
	for _, x := range c.past[past-span:] {
		loud += max(int32(x), -int32(x))
	}
	switch {
	case loud < hushed*span:
		return -80
	case most < minPeriod:
		return 0
	}
	p := find(&c.past, min(most, maxPeriod), 6) // the shortest of those that do: it can be cut soonest
	x := scaled(&c.past)
	recent, before := x[past-span:], x[past-span-p:][:span]
	cor, energy, was := product(recent, before), product(recent, recent), product(before, before)
	// A likeness of 0.8 or more, squared.
	if cor <= 0 || int64(cor)*int64(cor)/16 < int64(energy)*int64(was)/25 {
		return 0
	}
	return p
}

// hushed is what may be cut anywhere, mean of the magnitude: -57 dBm0.
const hushed = 20

// Fit writes in to out, of which one may be longer by up to 120 samples. In
// must be the last samples that were given to Good or Lost. A difference of a
// few samples is spread over all; a larger one, a Period, is left out or heard
// twice where that is heard least.
func (c *Concealer) Fit(out, in []int16) {
	switch n := len(out) - len(in); {
	case -few <= n && n <= few || len(out) < 2*seam || len(in) < 2*seam:
		squeeze(out, in)
	case n < 0:
		// in[at:] fades to in[at-n:].
		at := c.place(in[-n:], in, len(out)-seam)
		copy(out, in[:at])
		cross(out[at:at+seam], in[at:], in[at-n:])
		copy(out[at+seam:], in[at+seam-n:])
	default:
		// in[at:] fades to what was n samples before it.
		long := c.past[past-len(out):]
		at := c.place(long, in, len(in)-seam)
		copy(out, in[:at])
		cross(out[at:at+seam], in[at:], long[at:])
		copy(out[at+seam:], long[at+seam:])
	}
}

const (
	few  = 4  // samples that may be squeezed in or out of 10 ms: 5 %, a half tone
	seam = 24 // 3 ms
)

// place is where to change from one to the other.
func (c *Concealer) place(a, b []int16, last int) int {
	if c.lead != nil {
		c.at = c.lead.at
	} else {
		c.at = smoothest(a, b, last)
	}
	return c.at
}

// smoothest is the place, up to last, where a and b are most alike over a seam.
func smoothest(a, b []int16, last int) (at int) {
	least := int32(math.MaxInt32)
	for i := 0; i <= last; i += 4 {
		var d int32
		for k := range seam {
			e := int32(a[i+k]) - int32(b[i+k])
			d += max(e, -e)
		}
		if d < least {
			at, least = i, d
		}
	}
	return at
}

// cross fades from a to b.
func cross(out, a, b []int16) {
	for i := range out {
		out[i] = mix(a[i], b[i], int32(i+1)<<15/(seam+1))
	}
}

// squeeze makes in as long as out by straight lines between samples. Both ends
// stay where they are, so that what is squeezed joins.
func squeeze(out, in []int16) {
	if len(in) == len(out) || len(in) < 2 || len(out) < 2 {
		clear(out[copy(out, in):])
		return
	}
	step := uint32((len(in)-1)<<16)/uint32(len(out)-1) + 1
	for i, at := 0, uint32(0); i < len(out); i, at = i+1, at+step {
		k := at >> 16
		x := int32(in[k])
		if int(k)+1 < len(in) {
			x += (int32(in[k+1]) - x) * int32(at&0xffff>>1) >> 15
		}
		out[i] = int16(x)
	}
}

// find is the lag, up to most, at which the end of a sound is most like what was
// before. A longer one must be more alike by a part of 2^-more; 63 is any.
func find(s *[past]int16, most int, more uint) int {
	x := scaled(s)
	var half [past / 2]int32
	for i := range half {
		half[i] = x[2*i]
	}
	mid := 2 * search(half[:], span/2, minPeriod/2, most/2, more)
	return search(x[:], span, max(mid-1, minPeriod), min(mid+1, most), more)
}

// search is find for one range of lags and so many samples.
func search(x []int32, span, first, last int, more uint) int {
	end := x[len(x)-span:]
	best, most := first, int64(math.MinInt64)
	// What a lag compares with has one sample that the lag before has not.
	e := product(x[len(x)-span-first:][:span], x[len(x)-span-first:])
	for lag := first; lag <= last; lag++ {
		at := len(x) - span - lag
		c := product(end, x[at:][:span])
		// c / sqrt(e), squared with its sign. What cannot be more is not
		// divided: without 64 bits, a division costs as much as this search
		// of a lag.
		limit := most + max(most, 0)>>more
		if limit < 0 || c > 0 && int64(c)*int64(c) > limit*int64(e+1) {
			if v := int64(c) * int64(max(c, -c)) / int64(e+1); v > limit {
				best, most = lag, v
			}
		}
		e += x[at-1]*x[at-1] - x[at+span-1]*x[at+span-1]
	}
	return best
}

// product is the sum of the products of two sounds of one length.
func product(a, b []int32) (sum int32) {
	for len(a) >= 4 && len(b) >= 4 {
		p, q := (*[4]int32)(a), (*[4]int32)(b)
		sum += p[0]*q[0] + p[1]*q[1] + p[2]*q[2] + p[3]*q[3]
		a, b = a[4:], b[4:]
	}
	return sum
}

// scaled is a sound made smaller by so many bits that 32 hold the sum of span
// squares.
func scaled(s *[past]int16) (x [past]int32) {
	peak := int32(0)
	for _, v := range s {
		peak = max(peak, int32(v), -int32(v))
	}
	shift := max(bits.Len32(uint32(peak))-11, 0)
	for i, v := range s {
		x[i] = int32(v) >> shift
	}
	return x
}
