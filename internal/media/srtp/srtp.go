// Package srtp seals RTP and RTCP packets and opens them again, RFC 3711 with
// AES_CM_128_HMAC_SHA1_80, which everybody has (RFC 4568 section 6.2.1).
//
// Its one idea: a packet's number makes a key stream of its own, and ten bytes at
// its end prove that nobody has touched it.
//
//	RTP   header │ payload xor AES(salt, SSRC, number) │ tag
//	RTCP  8 bytes│ the rest xor AES(...) │ E, number   │ tag
//
// It is our own, and compared with pion/srtp byte for byte, because that costs ten
// times as much of a small board's flash and allocates for each packet.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash"
)

// Sizes in bytes.
const (
	keySize  = 16
	saltSize = 14
	tagSize  = 10

	Overhead     = tagSize     // of a sealed RTP packet
	OverheadRTCP = tagSize + 4 // of a sealed RTCP packet
)

// A Key is a master key and its salt, RFC 4568 section 6.1: 16 bytes and 14.
type Key [keySize + saltSize]byte

// ErrForged is a packet that was not sealed with the key, or has come before.
var ErrForged = errors.New("srtp: not authentic, or a repetition")

// A Context is one direction of one session. It is not safe for concurrent use
// and allocates nothing after New.
type Context struct {
	rtp, rtcp half

	// Of RTP, RFC 3711 section 3.3.1.
	ssrc   uint32
	on     bool
	newest uint64 // number of the newest packet: rollovers and sequence number
	seen   uint64 // which of the 64 up to it have come; bit 0 is the newest

	// Of RTCP.
	index    uint32 // of the last packet sealed
	latest   uint32 // of the newest opened
	reported uint64 // which of the 64 up to it have come
}

// New makes a context.
func New(k Key) *Context {
	master, err := aes.NewCipher(k[:keySize])
	if err != nil {
		panic(err) // the size is right
	}
	c := new(Context)
	c.rtp.derive(master, k[keySize:], 0)
	c.rtcp.derive(master, k[keySize:], 3)
	return c
}

// Seal seals an RTP packet whose header has so many bytes, in place, and returns
// it Overhead bytes longer: b must have the room. Sequence numbers go on by less
// than 2^15 from one packet to the next.
func (c *Context) Seal(b []byte, header int) []byte {
	ssrc := binary.BigEndian.Uint32(b[8:])
	if ssrc != c.ssrc {
		c.ssrc, c.on = ssrc, false
	}
	n := c.number(binary.BigEndian.Uint16(b[2:]))
	if !c.on || n > c.newest {
		c.on, c.newest = true, n
	}
	c.rtp.crypt(b[header:], ssrc, n)
	return append(b, c.rtp.tag(b, uint32(n>>16), true)...)
}

// Open opens an RTP packet whose header has so many bytes, in place, and returns
// it without its tag.
func (c *Context) Open(b []byte, header int) ([]byte, error) {
	end := len(b) - tagSize
	if header < 12 || end < header {
		return nil, ErrForged
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	known := c.on && ssrc == c.ssrc
	n := uint64(binary.BigEndian.Uint16(b[2:]))
	if known {
		n = c.number(uint16(n))
	}
	back := c.newest - n
	if known && n <= c.newest && (back > 63 || c.seen>>back&1 != 0) {
		return nil, ErrForged
	}
	if !hmac.Equal(c.rtp.tag(b[:end], uint32(n>>16), true), b[end:]) {
		return nil, ErrForged
	}
	switch {
	case !known:
		c.ssrc, c.on, c.newest, c.seen = ssrc, true, n, 1
	case n > c.newest:
		c.seen = c.seen<<(n-c.newest) | 1
		c.newest = n
	default:
		c.seen |= 1 << back
	}
	c.rtp.crypt(b[header:end], ssrc, n)
	return b[:end], nil
}

// number is the whole number of a packet with a sequence number: the nearest to
// the newest, RFC 3711 appendix A.
func (c *Context) number(seq uint16) uint64 {
	if !c.on {
		return uint64(seq)
	}
	n := c.newest&^0xffff | uint64(seq)
	switch d := int64(n) - int64(c.newest); {
	case d > 1<<15 && n >= 1<<16:
		n -= 1 << 16
	case d < -1<<15:
		n += 1 << 16
	}
	return n
}

// SealRTCP seals a compound RTCP packet in place and returns it OverheadRTCP
// bytes longer: b must have the room.
func (c *Context) SealRTCP(b []byte) []byte {
	c.index = (c.index + 1) &^ encrypted
	c.rtcp.crypt(b[8:], binary.BigEndian.Uint32(b[4:]), uint64(c.index))
	b = binary.BigEndian.AppendUint32(b, encrypted|c.index)
	return append(b, c.rtcp.tag(b, 0, false)...)
}

// encrypted is the E bit, RFC 3711 section 3.4.
const encrypted = 1 << 31

// OpenRTCP opens a compound RTCP packet in place and returns it without what
// sealing has added.
func (c *Context) OpenRTCP(b []byte) ([]byte, error) {
	end := len(b) - tagSize
	if end < 8+4 {
		return nil, ErrForged
	}
	word := binary.BigEndian.Uint32(b[end-4:])
	n := word &^ encrypted
	back := c.latest - n
	if n <= c.latest && c.reported != 0 && (back > 63 || c.reported>>back&1 != 0) {
		return nil, ErrForged
	}
	if !hmac.Equal(c.rtcp.tag(b[:end], 0, false), b[end:]) {
		return nil, ErrForged
	}
	if n > c.latest {
		c.reported = c.reported<<(n-c.latest) | 1
		c.latest = n
	} else {
		c.reported |= 1 << back
	}
	b = b[:end-4]
	if word&encrypted != 0 {
		c.rtcp.crypt(b[8:], binary.BigEndian.Uint32(b[4:]), uint64(n))
	}
	return b, nil
}

// A half is the keys of RTP or of RTCP, and room to work in.
type half struct {
	block cipher.Block
	salt  [16]byte
	mac   hash.Hash

	iv, stream [16]byte
	sum        [sha1.Size]byte
	roc        [4]byte
}

// derive makes the session's keys, RFC 3711 section 4.3: labels of the cipher's
// key, the authentication's and the salt follow each other.
func (h *half) derive(master cipher.Block, salt []byte, label byte) {
	var key [keySize]byte
	var auth [sha1.Size]byte
	for i, out := range [][]byte{key[:], auth[:], h.salt[:saltSize]} {
		var x, b [16]byte
		copy(x[:], salt)
		x[7] ^= label + byte(i)
		for at := 0; at < len(out); at += len(b) {
			x[15] = byte(at / len(b))
			master.Encrypt(b[:], x[:])
			copy(out[at:], b[:])
		}
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the size is right
	}
	h.block, h.mac = block, hmac.New(sha1.New, auth[:])
}

// crypt encrypts or decrypts, which is the same: RFC 3711 section 4.1.1.
func (h *half) crypt(b []byte, ssrc uint32, n uint64) {
	h.iv = h.salt
	be := binary.BigEndian
	be.PutUint32(h.iv[4:], be.Uint32(h.iv[4:])^ssrc)
	be.PutUint64(h.iv[6:], be.Uint64(h.iv[6:])^n)
	for i := uint16(0); len(b) > 0; i++ {
		be.PutUint16(h.iv[14:], i)
		h.block.Encrypt(h.stream[:], h.iv[:])
		for k := range min(len(b), len(h.stream)) {
			b[k] ^= h.stream[k]
		}
		b = b[min(len(b), len(h.stream)):]
	}
}

// tag is the first 80 bits of the packet's HMAC, section 4.2; of RTP with the
// rollover counter behind it.
func (h *half) tag(b []byte, roc uint32, rtp bool) []byte {
	h.mac.Reset()
	h.mac.Write(b)
	if rtp {
		binary.BigEndian.PutUint32(h.roc[:], roc)
		h.mac.Write(h.roc[:])
	}
	return h.mac.Sum(h.sum[:0])[:tagSize]
}
