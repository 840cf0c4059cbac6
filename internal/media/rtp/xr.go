package rtp

import (
	"encoding/binary"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/emodel"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
)

// How a call sounds goes to the far end too, and comes from there: the VoIP
// metrics of RFC 3611 section 4.7, behind every report.

const (
	packetXR    = 207 // RFC 3611 section 2
	blockVoIP   = 7   // section 4.7
	voipSize    = 36  // bytes of the block
	unavailable = 127 // "the parameter is unavailable", of levels, R and MOS

	// rxConfig, section 4.7.6: enhanced concealment, a jitter buffer that
	// adapts, how fast is not said.
	rxConfig = 2<<6 | 3<<4

	// portDelay is how long a frame waits in the port, each way: one is read
	// when it is full, one is written while the one before still sounds.
	portDelay = hal.FrameTime
)

// A Quality is how the far end has sounded at our end since Start.
type Quality struct {
	Codec   Codec         // of the latest packet; "" while none has come
	Packets uint32        // that were sent
	Missed  uint32        // of those, not heard: lost or late
	Delay   time.Duration // from mouth to ear: ours, half the way there and back if that is known, theirs if they say so and else as ours
	R       int           // ITU-T G.107, in tenths: 932 at best
	MOS     int           // of a conversation, in hundredths, 100 to 450; 0 while nothing has come
	LQ      int           // of listening alone, without the delay
	Far     int           // MOS of what we send, as the far end says, in hundredths; 0 while it has not
}

// Quality estimates how the far end sounds. Any goroutine may ask every now and
// then, also after Close; it is no work for each frame.
func (s *Stream) Quality() Quality {
	s.cord.Lock()
	sending := ticks(uint64(s.out.per)) + portDelay
	s.cord.Unlock()
	s.in.Lock()
	l, far, codec, wait := s.losses, s.far, s.codec, s.wait()
	s.in.Unlock()
	return quality(l.whole(), far, codec, sending+wait+portDelay)
}

// wait is how long a packet has waited in the buffer, on average. Called with in
// held.
func (s *Stream) wait() time.Duration {
	b := s.buffer.Stats()
	return ticks(b.Waited / uint64(max(1, b.Heard)))
}

// quality makes the estimate; here is our part of the delay of both ways, which
// is what the end of theirs is called in RFC 3611 section 4.7.3.
func quality(l losses, far farReport, codec Codec, here time.Duration) Quality {
	q := Quality{Codec: codec, Packets: l.packets, Missed: l.missed(), Far: 10 * far.mos}
	if l.packets == 0 {
		return q
	}
	there := here
	if far.system > 0 {
		there = far.system
	}
	q.Delay = (here + far.rtt + there) / 2
	p := emodel.Path{Delay: q.Delay, Packets: q.Packets, Missed: q.Missed, Rows: l.rows, RERL: far.rerl}
	switch codec {
	case G722:
		p.Ie = emodel.G722
	case G726, G726AAL2:
		p.Ie = emodel.G726
	}
	talk := p.Rate()
	p.Delay = 0
	q.R, q.MOS, q.LQ = talk.R, talk.MOS, p.Rate().MOS
	return q
}

// appendXR appends the metrics of what we have heard from a source.
func (s *Stream) appendXR(b []byte) []byte {
	s.cord.Lock()
	sending := ticks(uint64(s.out.per)) + portDelay
	s.cord.Unlock()
	s.in.Lock()
	l, far, codec, wait, per := s.losses, s.far, s.codec, s.wait(), s.per
	s.in.Unlock()
	if !l.on {
		return b
	}
	l = l.whole()
	here := sending + wait + portDelay
	q := quality(l, far, codec, here)

	be := binary.BigEndian
	b = append(b, version, packetXR, 0, 2+voipSize/4-1)
	b = be.AppendUint32(b, s.ssrc)
	b = append(b, blockVoIP, 0, 0, voipSize/4-1)
	b = be.AppendUint32(b, l.ssrc)
	b = append(b, part(l.lost, l.packets), part(l.discarded, l.packets),
		part(l.burst.missed, l.burst.packets), part(l.gap.missed, l.gap.packets))
	b = be.AppendUint16(b, ms(l.burst.mean(per)))
	b = be.AppendUint16(b, ms(l.gap.mean(per)))
	b = be.AppendUint16(b, ms(far.rtt))
	b = be.AppendUint16(b, ms(here))
	b = append(b, unavailable, unavailable, unavailable, gmin) // levels of signal, noise and echo
	// R is whole, and a MOS in tenths, section 4.7.5.
	b = append(b, tenth(q.R), unavailable, tenth(q.LQ), tenth(q.MOS), rxConfig, 0)
	b = be.AppendUint16(b, ms(wait))
	b = be.AppendUint16(b, ms(ticks(jitter.MaxDelay)))
	return be.AppendUint16(b, ms(ticks(jitter.MaxDelay)))
}

// mean is how long a stretch has lasted on average, of packets with so many ticks.
func (a *account) mean(per int) time.Duration {
	return ticks(uint64(a.packets) * uint64(per) / uint64(max(1, a.n)))
}

// part is a fraction in 1/256, at most 255.
func part(some, all uint32) byte { return byte(min(uint64(some)*256/uint64(max(1, all)), 255)) }

// ms is whole milliseconds, at most 65535.
func ms(d time.Duration) uint16 { return uint16(min(d.Milliseconds(), 0xffff)) }

// tenth is a tenth of n, rounded.
func tenth(n int) byte { return byte((n + 5) / 10) }

// takeXR takes the blocks of an extended report that speak of what we send.
// Called with in held.
func (s *Stream) takeXR(blocks []byte) {
	be := binary.BigEndian
	for len(blocks) >= 4 {
		n := 4 * (int(be.Uint16(blocks[2:])) + 1)
		if n > len(blocks) {
			return
		}
		if b := blocks[:n]; b[0] == blockVoIP && n == voipSize && be.Uint32(b[4:]) == s.ssrc {
			s.far.system = time.Duration(be.Uint16(b[18:])) * time.Millisecond
			s.far.rerl = 0
			if b[22] < unavailable {
				s.far.rerl = int(b[22])
			}
			// The conversation's score, or that of listening where there is none.
			s.far.mos = 0
			for _, v := range []byte{b[26], b[27]} {
				if 10 <= v && v <= 50 {
					s.far.mos = int(v)
				}
			}
		}
		blocks = blocks[n:]
	}
}
