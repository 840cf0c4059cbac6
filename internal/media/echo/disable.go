package echo

import (
	"math"
	"math/bits"
)

// ITU-T G.168 section 7 says when a canceller gives way, V.25 and V.8 what is
// sent: 2100 Hz, and with its phase turned by 180 degrees every 450 ms.
const (
	// "2100 Hz ± 21 Hz" down to -31 dBm0, with 2 dB to spare. Of a tone
	// that is 21 Hz off 86 % remain in the correlation over 10 ms; noise
	// 11 dB below takes its share too.
	toneLevel = 23*octave + octave/4 // energy of 80 samples at -33 dBm0
	toneShare = -155 * dB / 100      // 70 %
	// A tone for 300 ms turns the NLP off.
	toneTime, toneGap = 30, 3 // frames
	// "180 ± 25 degrees" is a turn, "0 ± 110" is none: 137.
	turned = -2995 // cosine in Q12
	// "450 ± 25 ms" between two turns, with a frame to spare at both ends.
	// The second comes within the second that G.168 gives.
	minTurn, maxTurn = 41, 49
	enoughTurns      = 2
	// Release "250 ± 150 ms" after both sides fell below -36 dBm0.
	quietTime  = 25
	quietLevel = 22*octave + octave/4
)

var tone [frame]complex32 // 21 turns in 10 ms, Q14

func init() {
	for i := range tone {
		s, c := math.Sincos(2 * math.Pi * 21 * float64(i) / frame)
		tone[i] = complex32{int32(math.Round(16384 * c)), -int32(math.Round(16384 * s))}
	}
}

// A disabler listens for 2100 Hz on both sides.
type disabler struct {
	side  [2]answer
	quiet int // frames

	linear bool // the NLP gives way
	off    bool // all of the canceller does
}

// hear takes a frame of both sides with their energies.
func (d *disabler) hear(far, near []int16, farEnergy, nearEnergy uint64) {
	f, n := power64(farEnergy), power64(nearEnergy)
	d.side[0].hear(far, f)
	d.side[1].hear(near, n)
	for i := range d.side {
		d.linear = d.linear || d.side[i].there >= toneTime
		d.off = d.off || d.side[i].turns >= enoughTurns
	}
	if d.quiet++; f > quietLevel || n > quietLevel {
		d.quiet = 0
	}
	if d.quiet >= quietTime && (d.linear || d.off) {
		*d = disabler{}
	}
}

// An answer is what one side may be sending: the tone with which faxes and
// modems answer.
type answer struct {
	there  int          // frames of tone
	gap    int          // frames without, running
	past   [2]complex32 // direction in the last frames, Q12; 0 where there was no tone
	drift  complex32    // how far it goes in a frame, Q12
	steady int          // frames that agreed on that
	turns  int          // half turns, one after the other as they should
	since  int          // frames since the last
}

func (a *answer) hear(s []int16, energy level) {
	var now complex32
	if energy >= toneLevel {
		now = direction(s, energy)
	}
	a.since++
	if now == (complex32{}) {
		if a.gap++; a.gap > toneGap {
			*a = answer{}
			return
		}
	} else {
		a.there++
		a.gap = 0
		a.follow(now)
	}
	a.past = [2]complex32{now, a.past[0]}
}

// follow compares a direction with those before.
func (a *answer) follow(now complex32) {
	if a.steady >= 4 && a.past[1] != (complex32{}) {
		// The frame between may hold the turn.
		want := cross(cross(a.past[1], a.drift), a.drift)
		if dot(now, want) < turned {
			if a.turns > 0 && (a.since < minTurn || a.since > maxTurn) {
				a.turns = 0
			}
			a.turns++
			a.since = 0
			a.past[0] = complex32{} // and it shall not be found again
			return
		}
	}
	if a.past[0] == (complex32{}) {
		return
	}
	step := cross(now, a.past[0].conj())
	switch {
	case a.steady == 0:
		a.drift, a.steady = step, 1
	case dot(step, a.drift) > 0:
		a.steady++
		a.drift = unit(complex32{3*a.drift.re + step.re, 3*a.drift.im + step.im})
	default:
		a.steady = max(a.steady-1, 0)
	}
}

// direction is the phase of 2100 Hz in a frame, or 0 when it holds less than
// its share of the energy.
func direction(s []int16, energy level) complex32 {
	var z complex32
	for i, x := range s[:frame] {
		z.re += int32(x) * tone[i].re >> 7
		z.im += int32(x) * tone[i].im >> 7
	}
	re, im := uint32(max(z.re, -z.re)), uint32(max(z.im, -z.im))
	there := power64(uint64(re)*uint64(re) + uint64(im)*uint64(im))
	if there-14*octave-powerOf(frame/2) < energy+toneShare {
		return complex32{}
	}
	return unit(z)
}

// unit is a direction of length 1 in Q12.
func unit(z complex32) complex32 {
	n := 14 - bits.Len32(uint32(max(z.re, -z.re, z.im, -z.im)))
	z.re, z.im = shift(z.re, n), shift(z.im, n)
	by := amplitude(-powerOf(uint32(z.re*z.re+z.im*z.im)), 28)
	return complex32{z.re * by >> 16, z.im * by >> 16}
}

// cross turns one direction by another, dot is the cosine between them.
func cross(a, b complex32) complex32 {
	return complex32{(a.re*b.re - a.im*b.im) >> 12, (a.re*b.im + a.im*b.re) >> 12}
}

func dot(a, b complex32) int32 { return (a.re*b.re + a.im*b.im) >> 12 }
