package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// whistleIn has the stranger send sound to where the latest call's should go, in
// sequence, and reports to the port above.
func (w *World) whistleIn(ctx context.Context, length string) error {
	pc, err := w.strangers(ctx)
	if err != nil {
		return err
	}
	defer pc.Close()
	ssrc, said := rand.Uint32(), 0
	return w.spray(ctx, pc, length, func(seq uint16) []byte {
		pcm := make([]int16, tickSamples)
		sine(pcm, 8000, 1500, said)
		said += len(pcm)
		p := rtpHeader(0, seq, uint32(seq)*tickSamples, ssrc)
		for _, x := range pcm {
			p = append(p, encodeMu(x))
		}
		return p
	})
}

// garble has the latest far end send, between its packets of sound, what is none.
func (w *World) garble(ctx context.Context, length string) error {
	s := w.Provider.sound("")
	if s == nil {
		return fmt.Errorf("no far end has a call")
	}
	ssrc := rand.Uint32()
	return w.spray(ctx, s.pc, length, func(seq uint16) []byte {
		whole := append(rtpHeader(0, seq, uint32(seq)*tickSamples, ssrc), make([]byte, tickSamples)...)
		switch seq % 9 {
		case 0:
			return whole[:1]
		case 1:
			return whole[:11]
		case 2:
			whole[0] = 1 << 6 // another version
		case 3:
			whole[1] = 77 // a payload type that nobody agreed on
		case 4:
			whole[0] |= 15 // contributing sources that are not there
			return whole[:20]
		case 5:
			whole[0] |= 0x10 // an extension that is not
			binary.BigEndian.PutUint16(whole[14:], 0xffff)
		case 6:
			whole[0] |= 0x20 // more padding than packet
			whole[len(whole)-1] = 0xff
		case 7:
			return append(whole, make([]byte, 4000)...)
		case 8:
			return whole[:12] // no sound in it
		}
		return whole
	})
}

// spray sends packets to the agent's end of the latest call's sound, every 5 ms,
// and reports that are none.
func (w *World) spray(ctx context.Context, pc net.PacketConn, length string, packet func(seq uint16) []byte) error {
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	s := w.Provider.sound("")
	if s == nil {
		return fmt.Errorf("no far end has a call")
	}
	s.mu.Lock()
	to := s.m.to
	s.mu.Unlock()
	reports := net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), to.Port()+1))
	for i := range int(d / (5 * time.Millisecond)) {
		pc.WriteTo(packet(uint16(i)), net.UDPAddrFromAddrPort(to))
		report := make([]byte, i%60)
		for k := range report {
			report[k] = byte(i + k)
		}
		if len(report) > 1 {
			report[0], report[1] = 0x9f, byte(200+i%8)
		}
		pc.WriteTo(report, reports)
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// strangers opens a socket where nobody knows it.
func (w *World) strangers(ctx context.Context) (net.PacketConn, error) {
	if w.strange == nil {
		w.strange = w.place("stranger")
	}
	return w.strange.ListenPacket(ctx, "udp", ":0")
}
