// Package jitter puts packets of sound back into the order and the pace they
// were sent in.
//
// Its one idea: a Buffer is a ring of ticks, one code of 1/8000 s each, laid
// out by RTP timestamp. A packet falls where its timestamp says, whatever
// order it comes in; a finger moves along, 80 ticks at every pull; what is
// missing under the finger is lost. The finger's distance from what arrives
// is the only thing that adapts, and it is known without any clock: a packet
// that falls 30 ticks ahead of the finger had 30 ticks to spare.
//
// Three things move the finger against the sender. When the ring is empty it
// waits, since a late packet is likelier than a lost one: the delay grows.
// When the next packet then shows that one was lost, the finger makes up for
// the wait. When every packet of the last seconds had time to spare, or too
// little, a few ticks more or less than 80 are taken for each 10 ms, which
// whoever decodes them squeezes into 80 samples; slow drift between two
// crystals is followed in the same way.
package jitter

import "math"

// Lengths in ticks of 1/8000 s.
const (
	Tick     = 8000     // ticks in a second
	Pull     = 80       // of a Frame at the usual pace: 10 ms
	MaxFrame = Pull + 4 // of the longest Frame
	MaxDelay = 1600     // 200 ms: beyond it, late is lost
	MaxData  = 480      // of the longest packet, 60 ms
)

// Our choices, in ticks.
const (
	ring = 4096

	// What the unluckiest packet of the last 4 s should have to spare. A
	// pull sees whole steps of 80 only, so that the band must be wider.
	spareLow  = 20
	spareHigh = 120

	// The first packet of a talk spurt waits this long at least.
	minLead = 120

	buckets    = 8
	bucketTime = 50 // pulls, 0.5 s
)

// A Kind says what a tick is. Kinds from First on are the caller's: which
// codec a code belongs to.
type Kind uint8

// Kinds that the Buffer makes itself.
const (
	Lost  Kind = iota // a packet that should be here is not: conceal it
	Quiet             // nothing was sent, or nothing has come yet
	First             // and above: as it was put
)

// A Packet is what a Buffer needs to know about an RTP packet. Data has one
// byte for each tick.
type Packet struct {
	SSRC uint32
	Seq  uint16
	Time uint32 // RTP timestamp
	Kind Kind
	Data []byte // not kept
}

// A Frame is the ticks to be heard in the next 10 ms: N of them, Pull±4.
type Frame struct {
	N    int
	Code [MaxFrame]byte
	Kind [MaxFrame]Kind
}

// Stats counts what became of packets and ticks.
type Stats struct {
	Late       uint32 // packets that came after their time
	Duplicates uint32
	Strays     uint32 // packets from nowhere near, dropped
	Resyncs    uint32 // new beginnings: SSRC or timestamp jumped, or after a pause
	LostTicks  uint32
	Delay      uint32 // ticks in the buffer now
}

// A Buffer holds the sound of one stream. The zero Buffer is empty. It is not
// safe for concurrent use and never allocates.
type Buffer struct {
	code [ring]byte
	kind [ring]Kind // Lost where nothing is

	on    bool   // a stream is being played
	ssrc  uint32 // of it
	play  uint32 // the finger: the next tick to be heard
	end   uint32 // after the newest tick
	quiet uint32 // before it, what is missing was not sent
	held  int32  // ticks that the finger has waited

	top    uint16 // the newest sequence number
	seen   uint64 // which of the 64 up to top have come; bit 0 is top
	strays int    // in a row

	// Ticks to spare of packets, least and most, in each bucket of time;
	// bucket 0 is the present one.
	least, most [buckets]int32
	filled      int // buckets in use
	pulls       int // in bucket 0
	lead        int32

	stats Stats
}

// Put takes a packet. It returns whether any of it will be heard.
func (b *Buffer) Put(p Packet) bool {
	if len(p.Data) == 0 || len(p.Data) > MaxData {
		b.stats.Strays++
		return false
	}
	if !b.on || p.SSRC != b.ssrc {
		b.resync(p)
	}
	step := int16(p.Seq - b.top)
	spare := int32(p.Time - b.play)
	if spare > ring/2 || spare < -MaxDelay {
		// Far from the finger. The next packet in order means that the
		// sender's clock has jumped; an old one is late; and anything else
		// must come three times before it is believed.
		if step <= 0 && step > -1000 {
			b.stats.Late++
			return false
		}
		if b.strays++; step > 100 || step < 0 {
			if b.strays < 3 {
				b.stats.Strays++
				return false
			}
		}
		b.resync(p)
		step, spare = 0, int32(p.Time-b.play)
	}
	b.strays = 0

	switch {
	case step > 0:
		b.seen = b.seen<<uint(step) | 1
		b.top = p.Seq
	case step > -64:
		bit := uint64(1) << uint(-step)
		if b.seen&bit != 0 {
			b.stats.Duplicates++
			return false
		}
		b.seen |= bit
	default: // the sequence began anew
		b.seen, b.top = 1, p.Seq
	}

	if b.held > 0 && spare+int32(len(p.Data)) > 0 {
		// While the finger waited, it stood for what was lost.
		if skip := min(spare, b.held); skip > 0 {
			b.move(skip)
			spare -= skip
		}
		b.held = 0
	}
	b.least[0], b.most[0] = min(b.least[0], spare), max(b.most[0], spare)

	if spare < 0 {
		b.stats.Late++
		if -spare >= int32(len(p.Data)) {
			return false
		}
		p.Data = p.Data[-spare:]
		p.Time += uint32(-spare)
	}
	for i, c := range p.Data {
		at := (p.Time + uint32(i)) % ring
		b.code[at], b.kind[at] = c, p.Kind
	}
	if end := p.Time + uint32(len(p.Data)); int32(end-b.end) > 0 {
		b.end = end
	}
	if over := int32(b.end-b.play) - MaxDelay - MaxData; over > 0 {
		b.move(over + MaxDelay + MaxData - b.lead)
	}
	return true
}

// resync begins anew with p: it will be heard after the lead that the jitter
// so far asks for.
func (b *Buffer) resync(p Packet) {
	if b.filled > 0 {
		least, most := b.window(buckets)
		if most >= least {
			b.lead = max(b.lead*7/8, most-least+spareLow)
		}
	}
	b.lead = min(max(b.lead, minLead), MaxDelay)
	clear(b.kind[:])
	b.on, b.ssrc = true, p.SSRC
	b.top, b.seen = p.Seq, 0
	b.play, b.end, b.quiet = p.Time-uint32(b.lead), p.Time, p.Time
	b.held, b.strays = 0, 0
	b.filled, b.pulls = 1, 0
	b.least[0], b.most[0] = math.MaxInt32, math.MinInt32
	b.stats.Resyncs++
}

// move lets the finger jump ahead over ticks that will not be heard.
func (b *Buffer) move(ticks int32) {
	for range ticks {
		b.kind[b.play%ring] = Lost
		b.play++
	}
	b.shift(-ticks)
}

// shift says that from now on packets have so many more ticks to spare.
func (b *Buffer) shift(ticks int32) {
	for i := range b.filled {
		if b.least[i] <= b.most[i] {
			b.least[i] += ticks
			b.most[i] += ticks
		}
	}
}

// window is the least and the most to spare in the newest n buckets; least
// is above most when no packet came.
func (b *Buffer) window(n int) (least, most int32) {
	least, most = math.MaxInt32, math.MinInt32
	for i := range min(n, b.filled) {
		least, most = min(least, b.least[i]), max(most, b.most[i])
	}
	return least, most
}

// pace is how many ticks the next frame should have.
func (b *Buffer) pace() int {
	if least, most := b.window(2); least <= most && least < spareLow {
		if int32(b.end-b.play) < MaxDelay {
			return Pull - min(4, 1+int(spareLow-least)/100)
		}
		return Pull
	}
	if b.filled > 2 {
		if least, most := b.window(buckets); least <= most && least > spareHigh {
			return Pull + min(4, 1+int(least-spareHigh)/200)
		}
	}
	return Pull
}

// Get takes the next 10 ms.
func (b *Buffer) Get(f *Frame) {
	f.N = Pull
	if !b.on {
		for i := range f.N {
			f.Kind[i] = Quiet
		}
		return
	}
	f.N = b.pace()
	was := b.play
	for i := range f.N {
		at := b.play % ring
		switch {
		case b.kind[at] != Lost:
			f.Code[i], f.Kind[i] = b.code[at], b.kind[at]
			b.kind[at] = Lost
			b.play++
		case int32(b.quiet-b.play) > 0:
			f.Kind[i] = Quiet
			b.play++
		case int32(b.end-b.play) > 0:
			f.Kind[i] = Lost
			b.stats.LostTicks++
			b.play++
		case !b.on:
			f.Kind[i] = Quiet
		default:
			f.Kind[i] = Lost
			b.held++
			b.on = b.held < MaxDelay
		}
	}
	b.shift(Pull - int32(b.play-was))
	if b.pulls++; b.pulls == bucketTime {
		b.pulls = 0
		copy(b.least[1:], b.least[:])
		copy(b.most[1:], b.most[:])
		b.least[0], b.most[0] = math.MaxInt32, math.MinInt32
		b.filled = min(b.filled+1, buckets)
	}
}

// Stats returns the counts so far.
func (b *Buffer) Stats() Stats {
	s := b.stats
	if b.on {
		s.Delay = uint32(max(0, int32(b.end-b.play)))
	}
	return s
}
