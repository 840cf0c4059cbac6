package trace

import (
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
)

// WritePCAP writes messages as a capture that Wireshark and tcpdump read:
// libpcap's classic format, each message as one datagram. What went over TCP or
// TLS is written as a datagram, too, in the clear, between the same addresses.
// Faults are left out: no packet of ours they were.
func WritePCAP(w io.Writer, all []Message) error {
	// pcap-savefile(5): magic for microseconds, version 2.4, zone and accuracy
	// 0, the most that is kept of a packet, link type.
	const linkRaw = 101 // LINKTYPE_RAW: begins with an IP header
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 65535)
	b = binary.LittleEndian.AppendUint32(b, linkRaw)
	for i := range all {
		m := &all[i]
		remote, err := netip.ParseAddrPort(m.Remote)
		if m.Fault != "" || err != nil {
			continue
		}
		from, to := ours(all, m, remote), remote
		if !m.Sent {
			from, to = to, from
		}
		p := packet(from, to, []byte(m.Text))
		b = binary.LittleEndian.AppendUint32(b, uint32(m.At.Unix()))
		b = binary.LittleEndian.AppendUint32(b, uint32(m.At.Nanosecond()/1000))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)+m.Cut))
		b = append(b, p...)
	}
	_, err := w.Write(b)
	return err
}

// ours is our own address of a message. A socket that listens everywhere does
// not know it; the Via of something we have sent to the same place does.
func ours(all []Message, m *Message, remote netip.AddrPort) netip.AddrPort {
	local, err := netip.ParseAddrPort(m.Local)
	if err == nil && !local.Addr().IsUnspecified() {
		return local
	}
	for i := range all {
		o := &all[i]
		if !o.Sent || o.Remote != m.Remote || strings.HasPrefix(o.Text, "SIP/") {
			continue
		}
		// Via: SIP/2.0/UDP 192.0.2.1:5060;branch=...
		_, by, _ := strings.Cut(o.Header("Via"), " ")
		by, _, _ = strings.Cut(by, ";")
		if a, err := netip.ParseAddrPort(strings.TrimSpace(by)); err == nil {
			return a
		}
	}
	if remote.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())
}

// packet is a datagram with its IP header, RFC 791 section 3.1, RFC 8200
// section 3, and RFC 768.
func packet(from, to netip.AddrPort, payload []byte) []byte {
	const udp = 17
	f, t := from.Addr(), to.Addr()
	if f.Is4() != t.Is4() {
		f, t = netip.AddrFrom16(f.As16()), netip.AddrFrom16(t.As16())
	}
	datagram := binary.BigEndian.AppendUint16(nil, from.Port())
	datagram = binary.BigEndian.AppendUint16(datagram, to.Port())
	datagram = binary.BigEndian.AppendUint16(datagram, uint16(8+len(payload)))
	datagram = append(datagram, 0, 0)
	datagram = append(datagram, payload...)

	pseudo := append(f.AsSlice(), t.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(datagram)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, udp)
	sum := checksum(append(pseudo, datagram...))
	if sum == 0 {
		sum = 0xffff // RFC 768: "an all zero transmitted checksum value means that the transmitter generated no checksum"
	}
	binary.BigEndian.PutUint16(datagram[6:], sum)

	var ip []byte
	if f.Is4() {
		ip = append(ip, 0x45, 0)
		ip = binary.BigEndian.AppendUint16(ip, uint16(20+len(datagram)))
		ip = append(ip, 0, 0, 0x40, 0, 64, udp, 0, 0)
		ip = append(append(ip, f.AsSlice()...), t.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	} else {
		ip = append(ip, 0x60, 0, 0, 0)
		ip = binary.BigEndian.AppendUint16(ip, uint16(len(datagram)))
		ip = append(ip, udp, 64)
		ip = append(append(ip, f.AsSlice()...), t.AsSlice()...)
	}
	return append(ip, datagram...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for len(b) > 1 {
		sum += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
