// Package level makes sound louder and softer, for handsets and lines that are
// not as loud as they should be.
//
// Its one idea: a gain that never clips. What would be too loud is turned down
// within a sample and comes back within a fifth of a second, as a hand on a
// knob would do; loud speech is squeezed, not torn.
//
//	mouth ─▶ Gain ─────┬────▶ far end
//	                   ▼ Sidetone
//	ear  ◀─ Gain ◀─── (+) ◀── far end
//
// A gain of 0 dB leaves every sample as it is: a fax notices nothing. All
// arithmetic is integer and nothing allocates.
package level

// Limits of a gain in dB, and what no sample is louder than if there is one.
const (
	Most  = 24
	Least = -36

	ceiling = 30000 // +2.4 dBm0
)

// A Gain makes sound louder or softer. The zero Gain leaves it as it is. It
// belongs to one goroutine.
type Gain struct {
	more int32 // the gain without 1, Q12
	hold int32 // turned down so far without 1, Q15; 0 or less
}

// Set makes it so many dB, from Least to Most; what is beyond is brought there.
func (g *Gain) Set(dB int) { g.more = factor(dB) - 1<<12 }

// Apply changes s.
func (g *Gain) Apply(s []int16) {
	if g.more == 0 {
		return
	}
	for i, x := range s {
		y := int32(x) * (g.more + 1<<12) >> 12
		// 2^-11 of the way back in a sample: a quarter of a second.
		g.hold -= g.hold >> 11
		if m := max(y, -y); m>>3*((g.hold+1<<15)>>3)>>9 > ceiling {
			g.hold = ceiling<<15/m - 1<<15
		}
		s[i] = int16(min(max(y>>3*((g.hold+1<<15)>>3)>>9, -ceiling), ceiling))
	}
}

// Sidetone is what the ear hears of its own mouth; a telephone without it feels
// dead, one with too much makes people whisper. The zero Sidetone is none: an
// analogue telephone makes its own.
type Sidetone struct {
	part int32 // Q12
}

// Set makes the mouth so many dB softer in the ear, 0 to -Least; more is none.
func (t *Sidetone) Set(softer int) {
	if t.part = factor(-max(softer, 0)); softer > -Least {
		t.part = 0
	}
}

// Add lets the ear hear the mouth.
func (t *Sidetone) Add(ear, mouth []int16) {
	if t.part == 0 {
		return
	}
	for i, x := range mouth[:len(ear)] {
		ear[i] = int16(min(max(int32(ear[i])+int32(x)*t.part>>12, -32768), 32767))
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
