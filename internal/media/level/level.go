// Package level makes sound louder and softer, for handsets and lines that are
// not as loud as they should be.
//
// Its one idea: a gain that never clips. What would be too loud is turned down
// within a sample and comes back within a fifth of a second, as a hand on a
// knob would do; loud speech is squeezed, not torn.
//
//	mouth ─▶ Gain ───────┬──────────▶ far end
//	                     ▼ Sidetone
//	ear  ◀─ Limiter ◀── (+) ◀─ Gain ◀─ far end
//
// A gain of 0 dB leaves every sample as it is: a fax notices nothing. Rates are
// 8000 to 48000 samples a second. All arithmetic is integer and nothing allocates.
package level

import "math/bits"

// Limits of a gain in dB, and what no sample is louder than if there is one.
const (
	Most  = 24
	Least = -36

	ceiling = 30000 // +2.4 dBm0
)

// A Limiter turns down what would be too loud. The zero Limiter is one for 8000
// samples a second. It belongs to one goroutine.
type Limiter struct {
	hold int32 // turned down so far without 1, Q15; 0 or less
	slow uint8 // beyond 11: 2^-slow of the way back is made in a sample
}

// Set makes it one for a rate.
func (l *Limiter) Set(rate int) {
	// A quarter of a second to 1/e of it; at 48000 a sixth.
	l.slow = uint8(bits.Len(uint(rate/8000))) - 1
}

// Limit writes to dst what may be up to three times full scale.
func (l *Limiter) Limit(dst []int16, src []int32) {
	for i, x := range src[:len(dst)] {
		dst[i] = l.limit(x)
	}
}

// limit is one sample, up to 17 times full scale.
func (l *Limiter) limit(y int32) int16 {
	m := max(y, -y)
	if l.hold == 0 && m <= ceiling {
		return int16(y)
	}
	l.hold -= l.hold >> (11 + l.slow&3)
	if m>>3*((l.hold+1<<15)>>3)>>9 > ceiling {
		l.hold = ceiling<<15/m - 1<<15
	}
	return int16(min(max(y>>3*((l.hold+1<<15)>>3)>>9, -ceiling), ceiling))
}

// A Gain makes sound louder or softer. The zero Gain leaves it as it is. It
// belongs to one goroutine.
type Gain struct {
	Limiter
	more int32 // the gain without 1, Q12
}

// Set makes it so many dB, from Least to Most, for samples of a rate; what is
// beyond is brought there.
func (g *Gain) Set(dB, rate int) {
	g.Limiter.Set(rate)
	g.more = factor(dB) - 1<<12
}

// Apply changes s.
func (g *Gain) Apply(s []int16) {
	if g.more == 0 {
		return
	}
	for i, x := range s {
		s[i] = g.limit(int32(x) * (g.more + 1<<12) >> 12)
	}
}

// Sidetone is what the ear hears of its own mouth; a telephone without it feels
// dead, one with too much makes people whisper. The zero Sidetone is none: an
// analogue telephone makes its own.
type Sidetone struct {
	part int32 // Q12
}

// Set makes the mouth so many dB softer in the ear, 1 to 35; 0 is none, and so is
// more.
func (t *Sidetone) Set(softer int) {
	if t.part = factor(-softer); softer <= 0 || softer >= -Least {
		t.part = 0
	}
}

// Add lets the ear hear the mouth.
func (t *Sidetone) Add(ear []int32, mouth []int16) {
	if t.part == 0 {
		return
	}
	for i, x := range mouth[:len(ear)] {
		ear[i] += int32(x) * t.part >> 12
	}
}

// factor is 10^(dB/20), Q12.
func factor(dB int) int32 {
	dB = min(max(dB, Least), Most)
	a := uint64(1) << 32
	for ; dB > 0; dB-- {
		a = a * 73533 >> 16 // 10^(1/20)
	}
	for ; dB < 0; dB++ {
		a = a * 58409 >> 16
	}
	return int32((a + 1<<19) >> 20)
}
