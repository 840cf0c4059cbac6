package fsk

import "github.com/ata-agent/ata-agent/internal/media/tone"

// A Discriminator tells which frequency of a modem it hears. Both frequencies
// are turned to rest by a carrier each, and what rests is summed over the
// length of a bit: the sum is long where the frequency was right. The zero
// Discriminator has no modem and must not be used. It belongs to one goroutine.
type Discriminator struct {
	turn  [2]uint32 // phase step of space and mark
	phase [2]uint32
	span  int // samples of a bit, rounded
	at    int // in ring, the oldest
	ring  [2][longest]vector
	sum   [2]vector
}

const longest = 32 // samples of the slowest bit, V.21's 27

// A vector is a sum of turned samples.
type vector struct{ re, im int32 }

// NewDiscriminator listens to m. Bits may last up to 32 samples.
func NewDiscriminator(m Modem) Discriminator {
	span := (rate + int(m.Baud)/2) / int(m.Baud)
	return Discriminator{span: span, turn: [2]uint32{tone.Turn(m.Space), tone.Turn(m.Mark)}}
}

// Hear takes one sample and returns how much power of mark and of space there
// is in the bit that ends with it. A sine of peak a alone gives
// (a*span/2)² * 2^10, whatever the modem.
func (d *Discriminator) Hear(x int16) (mark, space uint64) {
	var power [2]uint64
	for i := range power {
		// Q5: 27 of them fit.
		v := vector{int32(x) * (tone.Sine(d.phase[i]+1<<30) >> 3) >> 7, int32(x) * (tone.Sine(d.phase[i]) >> 3) >> 7}
		old := &d.ring[i][d.at]
		s := &d.sum[i]
		s.re += v.re - old.re
		s.im += v.im - old.im
		*old = v
		d.phase[i] += d.turn[i]
		power[i] = uint64(int64(s.re)*int64(s.re)) + uint64(int64(s.im)*int64(s.im))
	}
	if d.at++; d.at == d.span {
		d.at = 0
	}
	return power[1], power[0]
}

// A Byte is what a Receiver has heard.
type Byte struct {
	Value byte
	Rest  uint16 // ones before its start bit, its forerunner's stop bit not counted
}

// A Receiver hears bytes. The zero Receiver has no modem and must not be used.
// It belongs to one goroutine.
//
// A byte begins where mark becomes space; the instant is known to a part of a
// sample, by a straight line between two of them. From there the middle of
// every bit is counted out, and each stop bit brings the count back to the
// sender's.
type Receiver struct {
	d     Discriminator
	baud  uint32
	floor uint64

	last    int64  // what the sample before said: above 0 is mark
	running bool   // in a byte
	wait    uint32 // until the middle of the next bit, in 1/baud samples
	bits    uint8  // seen of the byte, start bit included
	value   byte
	rest    uint32 // since the last byte, in 1/baud samples
	Errors  int    // bytes that had no stop bit
}

// NewReceiver listens to m. Below -50 dBm0 it is deaf: telephones are asked to
// hear -40 dBV, and noise is no byte.
func NewReceiver(m Modem) Receiver {
	d := NewDiscriminator(m)
	const faint = 72 // peak of -50 dBm0
	half := uint64(d.span) * faint / 2
	return Receiver{d: d, baud: uint32(m.Baud), floor: half * half << 10}
}

// Hear listens until a byte has ended or the sound has. It returns how many
// samples it has taken.
func (r *Receiver) Hear(sound []int16) (n int, b Byte, ok bool) {
	for i, x := range sound {
		mark, space := r.d.Hear(x)
		now := int64(mark) - int64(space)
		if mark+space < r.floor {
			now = 0
		}
		b, ok = r.step(now)
		r.last = now
		if ok {
			return i + 1, b, true
		}
	}
	return len(sound), Byte{}, false
}

func (r *Receiver) step(now int64) (b Byte, ok bool) {
	if !r.running {
		r.rest += r.baud
		if now == 0 {
			r.rest = 0
		}
		if r.last > 0 && now < 0 {
			// The bit began when the line between the two samples went
			// through zero; its middle is half a bit later.
			since := uint32(uint64(-now) >> 8 * uint64(r.baud) / (uint64(r.last-now)>>8 + 1))
			r.running, r.bits, r.value = true, 0, 0
			r.wait = rate/2 - min(since, rate/2)
		}
		return b, false
	}
	if r.wait > r.baud {
		r.wait -= r.baud
		return b, false
	}
	// The middle lies between this sample and the one before: by a straight
	// line again.
	at := now
	if r.wait < r.baud {
		at = (r.last>>12*int64(r.baud-r.wait) + now>>12*int64(r.wait))
	}
	r.wait += rate - r.baud
	switch {
	case r.bits == 0 && at >= 0: // no start bit after all
		r.running = false
	case r.bits == 9:
		r.running = false
		if at <= 0 {
			r.Errors++
			r.rest = 0
			return b, false
		}
		rest := r.rest / rate
		r.rest = 0
		return Byte{r.value, uint16(min(rest, 65535))}, true
	case r.bits > 0 && at > 0:
		r.value |= 1 << (r.bits - 1)
	}
	r.bits++
	return b, false
}
