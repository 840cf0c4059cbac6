package rtp

import "encoding/binary"

// A header is the part of an RTP header that matters here, RFC 3550 section
// 5.1. Contributing sources and extensions are stepped over.
type header struct {
	marker bool
	pt     uint8
	seq    uint16
	time   uint32
	ssrc   uint32
}

const (
	version    = 2 << 6
	headerSize = 12
)

// put writes h to the first 12 bytes of b.
func (h header) put(b []byte) {
	b[0], b[1] = version, h.pt
	if h.marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], h.seq)
	binary.BigEndian.PutUint32(b[4:], h.time)
	binary.BigEndian.PutUint32(b[8:], h.ssrc)
}

// headerEnd is where a packet's payload begins; ok is false when it is not RTP.
func headerEnd(b []byte) (at int, ok bool) {
	if len(b) < headerSize || b[0]&0xc0 != version {
		return 0, false
	}
	at = headerSize + 4*int(b[0]&15)
	if b[0]&0x10 != 0 {
		if len(b) < at+4 {
			return 0, false
		}
		at += 4 + 4*int(binary.BigEndian.Uint16(b[at+2:]))
	}
	return at, at <= len(b)
}

// parse takes a packet apart; ok is false when it is not RTP.
func parse(b []byte) (h header, payload []byte, ok bool) {
	at, ok := headerEnd(b)
	if !ok {
		return h, nil, false
	}
	h = header{
		marker: b[1]&0x80 != 0,
		pt:     b[1] & 0x7f,
		seq:    binary.BigEndian.Uint16(b[2:]),
		time:   binary.BigEndian.Uint32(b[4:]),
		ssrc:   binary.BigEndian.Uint32(b[8:]),
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		pad := int(b[end-1])
		if pad == 0 {
			return h, nil, false
		}
		end -= pad
	}
	if at > end {
		return h, nil, false
	}
	return h, b[at:end], true
}
