package rtp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// What a far end must hear of us on the odd port, or it may think we are
// gone: a report every few seconds and a goodbye, RFC 3550 section 6.

const (
	reportEvery = 5 * time.Second // RFC 3550 section 6.2, the recommended minimum

	// longestTrip is more than any way to the far end and back takes. Our choice.
	longestTrip = 10 * time.Second

	packetSR   = 200
	packetRR   = 201
	packetSDES = 202
	packetBYE  = 203

	// unix70 is the second of NTP, which counts from 1900, that Unix counts from.
	unix70 = 2208988800
)

// A farReport is what the far end reports. Guarded by Stream.in.
type farReport struct {
	from  netip.AddrPort // where the last came from
	ssrc  uint32         // of its last sender report,
	ntp   uint32         // the middle 32 bits of that report's time,
	at    time.Time
	lost  uint8
	rtt   time.Duration
	heard bool

	// Of its extended report; zero while unknown.
	mos    int           // of what it hears, in tenths
	system time.Duration // its part of the delay, both ways
	rerl   int           // how much softer its echo is, dB
}

func (s *Stream) sendReports() {
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.report(false)
		case <-s.done:
			return
		}
	}
}

// report sends what we have sent and received.
func (s *Stream) report(bye bool) {
	s.clerk.Lock()
	defer s.clerk.Unlock()
	to := s.to.Load()
	r := s.remote.Load()
	if to == nil || r == nil || r.holds() || to.Port() == 0xffff {
		return
	}
	s.cord.Lock()
	packets, octets, at, last := s.out.packets, s.out.octets, s.out.time, s.out.last
	s.cord.Unlock()
	s.in.Lock()
	recv, far := s.recv, s.far
	fraction := s.recv.fraction()
	learned := s.source.at != r.Addr
	s.in.Unlock()

	now := time.Now()
	be := binary.BigEndian
	b := make([]byte, 0, 192)
	blocks := byte(0)
	if recv.on {
		blocks = 1
	}
	if packets > 0 {
		b = append(b, version|blocks, packetSR, 0, 0)
		b = be.AppendUint32(b, s.ssrc)
		b = be.AppendUint64(b, ntp(now))
		b = be.AppendUint32(b, at+uint32(now.Sub(last)/125000)) // samples of 125 us since the last
		b = be.AppendUint32(b, packets)
		b = be.AppendUint32(b, octets)
	} else {
		b = append(b, version|blocks, packetRR, 0, 0)
		b = be.AppendUint32(b, s.ssrc)
	}
	if recv.on {
		b = be.AppendUint32(b, recv.ssrc)
		lost := max(min(recv.lost(), 0x7fffff), -0x800000)
		b = be.AppendUint32(b, uint32(fraction)<<24|uint32(lost)&0xffffff)
		b = be.AppendUint32(b, recv.top)
		b = be.AppendUint32(b, recv.jitter>>4)
		if far.heard && far.ssrc == recv.ssrc {
			b = be.AppendUint32(b, far.ntp)
			b = be.AppendUint32(b, uint32(now.Sub(far.at)*65536/time.Second))
		} else {
			b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		}
	}
	be.PutUint16(b[2:], uint16(len(b)/4-1))

	at0 := len(b)
	b = append(b, version|1, packetSDES, 0, 0)
	b = be.AppendUint32(b, s.ssrc)
	b = append(b, 1, byte(len(s.cname)))
	b = append(b, s.cname...)
	for b = append(b, 0); len(b)%4 != 0; b = append(b, 0) {
	}
	be.PutUint16(b[at0+2:], uint16((len(b)-at0)/4-1))

	b = s.appendXR(b)
	if bye {
		b = append(b, version|1, packetBYE, 0, 1)
		b = be.AppendUint32(b, s.ssrc)
	}
	// A NAT keeps no ports side by side.
	there := netip.AddrPortFrom(to.Addr(), to.Port()+1)
	if learned && far.from.Addr() == to.Addr() {
		there = far.from
	}
	// Like the sound, it may be refused; there is nobody to tell.
	if b, err := r.ways.reportsOut.sealReport(b); err == nil {
		s.rtcp.write(b, there)
	}
}

// fraction is what was lost since it was asked last, in 1/256.
func (c *reception) fraction() uint8 {
	expected, lost := c.top-c.base+1, c.lost()
	d, l := expected-c.expected, lost-c.wasLost
	c.expected, c.wasLost = expected, lost
	if d == 0 || l <= 0 {
		return 0
	}
	return uint8(min(l<<8/int64(d), 255))
}

// ntp is a time as NTP writes it: seconds of 32 bits and a fraction of 32.
func ntp(t time.Time) uint64 {
	return uint64(t.Unix()+unix70)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

func (s *Stream) receiveReports() {
	var b [1500]byte
	for errs := 0; ; {
		n, from, err := s.rtcp.read(b[:])
		if err == nil {
			errs = 0
			s.takeReport(b[:n], from, time.Now())
			continue
		}
		if s.over(err, &errs) {
			return
		}
	}
}

// takeReport deals with one datagram, a chain of RTCP packets.
func (s *Stream) takeReport(b []byte, from netip.AddrPort, now time.Time) {
	s.in.Lock()
	defer s.in.Unlock()
	if from.Addr() != s.source.at.Addr() {
		s.count.Strangers++
		return
	}
	if r := s.remote.Load(); r != nil {
		var err error
		if b, err = r.ways.reportsIn.unsealReport(b); err != nil {
			s.count.Forged++
			return
		}
	}
	be := binary.BigEndian
	for len(b) >= 8 {
		n := 4 * (int(be.Uint16(b[2:])) + 1)
		if b[0]&0xc0 != version || n > len(b) {
			break
		}
		p := b[:n]
		b = b[n:]
		s.far.from = from
		var blocks []byte
		switch {
		case p[1] == packetSR && n >= 28:
			s.far.heard, s.far.ssrc, s.far.at = true, be.Uint32(p[4:]), now
			s.far.ntp = uint32(be.Uint64(p[8:]) >> 16)
			blocks = p[28:]
		case p[1] == packetRR && n >= 8:
			blocks = p[8:]
		case p[1] == packetXR && n >= 8:
			s.takeXR(p[8:])
			continue
		}
		for range p[0] & 31 {
			if len(blocks) < 24 {
				break
			}
			if be.Uint32(blocks) == s.ssrc {
				s.far.lost = blocks[4]
				if sent := be.Uint32(blocks[16:]); sent != 0 {
					rtt := time.Duration(int32(uint32(ntp(now)>>16)-sent-be.Uint32(blocks[20:]))) * time.Second / 65536
					if rtt.Abs() < longestTrip {
						s.far.rtt = max(0, rtt)
					}
				}
			}
			blocks = blocks[24:]
		}
	}
	if len(b) > 0 {
		s.count.Garbage++
	}
}
