package fsk

import (
	"cmp"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A Burst is what a Sender sends, in the order of its fields. The zero Burst
// has nothing to say.
type Burst struct {
	Modem   Modem
	Peak    int32  // of the sine, in samples; 0 is DefaultPeak
	Space   int32  // the same of zeros; 0 is Peak
	Seizure uint16 // bits, 0 and 1 in turn, that open the line
	Mark    uint16 // ones before the first byte
	Data    []byte // each between a start bit and its stop bits; only read
	Stop    uint8  // stop bits of a byte; 0 is 1
	Tail    uint16 // ones after the last byte
}

// Bits is how many bits a burst has.
func (b *Burst) Bits() int {
	return int(b.Seizure) + int(b.Mark) + len(b.Data)*(9+int(max(b.Stop, 1))) + int(b.Tail)
}

// Samples is how long a burst lasts, rounded up.
func (b *Burst) Samples() int {
	if b.Modem.Baud == 0 {
		return 0
	}
	return (b.Bits()*rate + int(b.Modem.Baud) - 1) / int(b.Modem.Baud)
}

// bit is the number at of its bits, 0 or 1.
func (b *Burst) bit(at int) byte {
	if at < int(b.Seizure) {
		return byte(at & 1) // "starting with a space", GR-30-CORE
	}
	at -= int(b.Seizure) + int(b.Mark)
	if at < 0 {
		return 1
	}
	long := 9 + int(max(b.Stop, 1))
	i, k := at/long, at%long
	switch {
	case i >= len(b.Data) || k > 8:
		return 1
	case k == 0:
		return 0
	}
	return b.Data[i] >> (k - 1) & 1 // the low bit first
}

// A Sender is one modem that speaks. The zero Sender is silent. It belongs to
// one goroutine.
type Sender struct {
	burst   Burst
	left    int    // samples to come
	at      int    // the bit that sounds
	bitLeft uint32 // of it, in 1/Baud samples
	phase   uint32
	now     uint32    // its phase step
	turn    [2]uint32 // phase step of space and mark
	peak    [2]int32  // of space and mark, Q8
	gain    int32     // Q8
	want    int32     // where the gain goes
}

// ramp is how long the sound takes to begin and to end, in samples: 2 ms. It is
// taken from the first and from the last bits, which say nothing.
const ramp = 16

// Send starts a burst, in place of what is being sent. The bytes of Data must
// stay as they are until the last sample has been read.
func (s *Sender) Send(b Burst) {
	if b.Peak == 0 {
		b.Peak = DefaultPeak
	}
	*s = Sender{burst: b, left: b.Samples(), bitLeft: rate, phase: s.phase,
		turn: [2]uint32{tone.Turn(b.Modem.Space), tone.Turn(b.Modem.Mark)},
		peak: [2]int32{cmp.Or(b.Space, b.Peak) << 8, b.Peak << 8}}
	s.now, s.want = s.turn[b.bit(0)], s.peak[b.bit(0)]
}

// Sending reports whether there are samples to come.
func (s *Sender) Sending() bool { return s.left > 0 }

// Read fills out with the next samples and returns how many of them were of
// the burst; the others are silence.
func (s *Sender) Read(out []int16) int {
	n := min(len(out), s.left)
	step := s.burst.Peak << 8 / ramp
	baud := uint32(s.burst.Modem.Baud)
	for i := range out[:n] {
		s.gain += min(max(s.want-s.gain, -step), step)
		s.left--
		if s.left < ramp {
			s.gain = min(s.gain, int32(s.left)*step)
		}
		out[i] = int16((int64(s.gain)*int64(tone.Sine(s.phase)) + 1<<22) >> 23)

		if s.bitLeft > baud {
			s.bitLeft -= baud
			s.phase += s.now
			continue
		}
		// The bit ends before the next sample: each of the two has its
		// share of the turn until then.
		rest := baud - s.bitLeft
		s.at++
		bit := s.burst.bit(s.at)
		next := s.turn[bit]
		s.phase += uint32((uint64(s.now)*uint64(s.bitLeft) + uint64(next)*uint64(rest)) / uint64(baud))
		s.now, s.bitLeft, s.want = next, rate-rest, s.peak[bit]
	}
	clear(out[n:])
	return n
}
