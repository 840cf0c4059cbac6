// Package g711 is the two logarithmic codes of ITU-T G.711, one byte per
// sample. Its one idea: both ways are one look in a table.
//
// Samples are linear, 16 bit, as package hal has them; the code keeps their
// upper 14 (mu) or 13 (A) bits. Any goroutine may call anything here; nothing
// allocates.
package g711

// A Law is one of the two codes. The zero Law is mu.
type Law uint8

// The laws: mu is spoken in North America and Japan, A elsewhere.
const (
	Mu Law = iota
	A
)

// Silence is the code of the smallest positive sample.
func (l Law) Silence() byte {
	if l == A {
		return 0xd5
	}
	return 0xff
}

// Encode writes the codes of src to dst, which must be as long or longer.
func (l Law) Encode(dst []byte, src []int16) {
	t := &muCodes
	if l == A {
		t = &aCodes
	}
	dst = dst[:len(src)]
	for i, s := range src {
		dst[i] = t[uint16(s)>>2]
	}
}

// Decode writes the samples of src to dst, which must be as long or longer.
func (l Law) Decode(dst []int16, src []byte) {
	t := &muSamples
	if l == A {
		t = &aSamples
	}
	dst = dst[:len(src)]
	for i, c := range src {
		dst[i] = t[c]
	}
}

// Codes by the upper 14 bits of a sample. Computing the segment instead costs
// a MIPS without a count-leading-zeros in Go eight times as much.
var muCodes, aCodes = func() (mu, a [1 << 14]byte) {
	for i := range mu {
		s := int16(uint16(i) << 2)
		mu[i], a[i] = muCode(s), aCode(s)
	}
	return
}()

var muSamples, aSamples = func() (mu, a [256]int16) {
	for i := range mu {
		mu[i], a[i] = muSample(byte(i)), aSample(byte(i))
	}
	return
}()

// muCode is G.711 table 2: eight segments, each twice as coarse as the one
// below, of 14-bit magnitudes raised by 33 so that the segment is the place
// of the highest bit. All bits are inverted on the line.
func muCode(s int16) byte {
	m, sign := int(s), byte(0x80)
	if s < 0 {
		m, sign = int(^s), 0
	}
	m = min(m>>2+33, 0x1fff)
	seg := 0
	for m>>(seg+6) != 0 {
		seg++
	}
	return sign | byte(7-seg)<<4 | byte(15-m>>(seg+1)&15)
}

func muSample(c byte) int16 {
	seg := ^c >> 4 & 7
	m := (int(^c&15)<<1+33)<<seg - 33
	if c&0x80 == 0 {
		m = -m
	}
	return int16(m << 2)
}

// aCode is G.711 table 1: the first two segments are equally fine; every
// other bit is inverted on the line.
func aCode(s int16) byte {
	m, sign := int(s)>>4, byte(0x80)
	if s < 0 {
		m, sign = int(^s)>>4, 0
	}
	seg := 0
	for m>>(seg+5) != 0 {
		seg++
	}
	if m>>4 != 0 {
		m = m>>seg&15 | (seg+1)<<4
	}
	return (sign | byte(m)) ^ 0x55
}

func aSample(c byte) int16 {
	x := c ^ 0x55
	seg, m := int(x>>4&7), int(x&15)<<4+8
	if seg > 0 {
		m = (m + 256) << (seg - 1)
	}
	if x&0x80 == 0 {
		m = -m
	}
	return int16(m)
}
