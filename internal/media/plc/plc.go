// Package plc hides lost packets from the ear.
//
// Its one idea: a voice repeats itself every few milliseconds, so for a while
// a gap may be filled with the last period heard, over and over, ever softer.
// The method is that of ITU-T G.711 Appendix I without its delay of 3.75 ms:
// the period is found where two stretches of the past differ least, its seams
// and the way back into real sound are cross-faded, and 60 ms after the last
// real sample there is silence.
package plc

// Lengths in samples of 1/8000 s; times of G.711 Appendix I.
const (
	minPeriod = 40  // 5 ms: 200 Hz
	maxPeriod = 120 // 15 ms: 66 Hz
	span      = 160 // 20 ms of the past are compared with what was before
	full      = 80  // the first 10 ms are as loud as the sound was,
	fade      = 400 // and in the next 50 ms it goes to nothing
	past      = span + maxPeriod
)

// A Concealer keeps the recent past of one sound. The zero Concealer has heard
// silence. It belongs to one goroutine and never allocates. What it is given
// and asked for may come in stretches of any length.
type Concealer struct {
	past [past]int16 // what was heard, the newest last

	gap    int // samples made up since the last good one
	back   int // samples of the way back that are done
	period int
	wave   [maxPeriod]int16 // one period; its end leads into its beginning
	at     int              // the next of it
	turn   [maxPeriod / 4]int16
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
	// A quarter of the period, and 4 ms more for every 10 ms lost.
	n := min(c.period/4+(c.gap-c.back)*4/10, 80)
	for i := range s {
		if c.back == n {
			c.gap, c.back = 0, 0
			return
		}
		c.back++
		w := int32(c.back) << 15 / int32(n+1)
		s[i] = int16((int32(s[i])*w + int32(c.next())*(1<<15-w)) >> 15)
	}
}

// Lost makes up samples that have not.
func (c *Concealer) Lost(s []int16) {
	if c.back > 0 {
		c.gap, c.back = 0, 0
	}
	if c.gap == 0 {
		c.begin()
	}
	for i := range s {
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

// begin finds the period at the end of the past.
func (c *Concealer) begin() {
	c.period = c.find()
	p, q := c.period, c.period/4
	copy(c.wave[:p], c.past[past-p:])
	// The last quarter turns into what was before the period.
	for i := range q {
		w := int32(i+1) << 15 / int32(q+1)
		x := &c.wave[p-q+i]
		*x = int16((int32(*x)*(1<<15-w) + int32(c.past[past-p-q+i])*w) >> 15)
		// Since the past itself did not, its end goes on mirrored in time
		// while the wave comes up.
		c.turn[i] = c.past[past-1-i]
	}
	c.at = 0
}

// next is the next sample of the wave.
func (c *Concealer) next() int16 {
	x := int32(c.wave[c.at])
	if q := c.period / 4; c.gap < q {
		w := int32(c.gap+1) << 15 / int32(q+1)
		x = (x*w + int32(c.turn[c.gap])*(1<<15-w)) >> 15
	}
	if c.at++; c.at == c.period {
		c.at = 0
	}
	if c.gap >= full {
		x = x * int32(max(0, full+fade-c.gap)) / fade
	}
	c.gap = min(c.gap+1, 1<<20)
	return int16(x)
}

// find is the lag at which the past is most like itself.
func (c *Concealer) find() int {
	best, least := minPeriod, int32(1<<31-1)
	try := func(lag, step int) {
		var d int32
		for i := past - span; i < past; i += step {
			x := int32(c.past[i]) - int32(c.past[i-lag])
			d += max(x, -x) * int32(step)
		}
		if d < least {
			best, least = lag, d
		}
	}
	for lag := minPeriod; lag <= maxPeriod; lag += 2 {
		try(lag, 2)
	}
	least = 1<<31 - 1
	for mid, lag := best, max(best-1, minPeriod); lag <= min(mid+1, maxPeriod); lag++ {
		try(lag, 1)
	}
	return best
}
