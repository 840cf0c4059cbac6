package echo

import (
	"math"
	"math/bits"
)

// A level is the logarithm of a power: 1024 to the octave, 0.003 dB. The
// product of powers is the sum of levels; their sum is plus. A level of 0 is
// whatever is called 1 where it is made.
type level int32

const (
	octave  level = 1024
	nothing level = -64 * octave // the level of no power at all
)

// dB is for constants only: 3.01 dB are an octave.
const dB level = 340 // 0.05 % short

var (
	logs [256]uint16    // log2(1+(i+½)/256) of 1024
	exps [256]uint16    // 2^(i/256) of 2^15
	sums [16 * 16]int16 // log2(1+2^-d), d in sixteenths of an octave
	gone [16 * 16]int16 // -log2(1-2^-d), likewise; gone[0] is never used
)

func init() {
	for i := range logs {
		logs[i] = uint16(math.Round(1024 * math.Log2(1+(float64(i)+.5)/256)))
		exps[i] = uint16(math.Round(32768 * math.Exp2(float64(i)/256)))
	}
	for i := range sums {
		d := math.Exp2(-(float64(i) + .5) / 16)
		sums[i] = int16(math.Round(1024 * math.Log2(1+d)))
		gone[i] = int16(math.Round(-1024 * math.Log2(1-d)))
	}
}

// powerOf is the level of a power.
func powerOf(p uint32) level {
	if p == 0 {
		return nothing
	}
	n := bits.Len32(p)
	return level(n-1)*octave + level(logs[p<<(33-n)>>24])
}

// power64 is the level of a power too large for 32 bits.
func power64(p uint64) level {
	if hi := uint32(p >> 32); hi != 0 {
		n := bits.Len32(hi)
		return powerOf(uint32(p>>n)) + level(n)*octave
	}
	return powerOf(uint32(p))
}

// square is the level of the power of a complex number, within 0.4 dB.
func square(re, im int32) level {
	return 2 * powerOf(uint32(magnitude(re, im)))
}

// magnitude is the amount of a complex number, within 4 %.
func magnitude(re, im int32) int32 {
	a, b := max(re, -re), max(im, -im)
	return max(a, b) + min(a, b)*3>>3
}

// plus is the level of the sum of two powers.
func plus(a, b level) level {
	if a < b {
		a, b = b, a
	}
	if d := (a - b) >> 6; d < level(len(sums)) {
		a += level(sums[d])
	}
	return a
}

// less is how much of a power remains when the share of it is taken away, a
// level below 0.
func less(share level) level {
	if d := -share >> 6; d < level(len(gone)) {
		return -level(gone[d])
	}
	return 0
}
