// Package g726 is the code of ITU-T G.726 at 32 kbit/s: half a byte for a
// sample.
//
// Its one idea: send only how far each sample is from what could be foreseen,
// in steps that follow the sound.
//
//	sample ─▶ − ─▶ log ─▶ 4 bits ─▶ code
//	          ▲                 └─▶ step, difference ─▶ 2 poles, 6 zeros ─┐
//	          └──────────────────── foreseen ◀───────────────────────────┘
//
// Both ends foresee from the codes alone. Arithmetic is that of the
// Recommendation to the last bit, with its floating-point words of 11 bits:
// sign, 4 of exponent, 6 of mantissa. Names in comments are its blocks,
// section 4.2.
//
// Two codes share a byte in one of two orders. RFC 3551 section 4.5.4 puts the
// first into the low half and calls it G726-32; ITU-T I.366.2, for AAL2, puts
// it into the high half, RFC 3551 calls that AAL2-G726-32, and not a few who
// say the one mean the other. Nothing here allocates.
package g726

import (
	"math/bits"

	"github.com/ata-agent/ata-agent/internal/media/g711"
)

// A Packing is the order of two codes in a byte. The zero Packing is that of
// RFC 3551.
type Packing uint8

// The packings.
const (
	RFC3551 Packing = iota // the first code in the low half
	AAL2                   // the first code in the high half
)

// An Encoder is one sound on its way to codes. The zero Encoder is ready. It
// belongs to one goroutine.
type Encoder struct {
	Packing Packing
	state   state
}

// Encode writes the codes of src to dst, a byte for two samples. Src has an
// even number; dst must be half as long or longer.
func (e *Encoder) Encode(dst []byte, src []int16) {
	dst = dst[:len(src)/2]
	for i := range dst {
		a, b := e.state.code(src[2*i]), e.state.code(src[2*i+1])
		if e.Packing == AAL2 {
			a, b = b, a
		}
		dst[i] = a | b<<4
	}
}

// A Decoder is one sound on its way from codes. The zero Decoder is ready. It
// belongs to one goroutine.
type Decoder struct {
	Packing Packing
	state   state
}

// Decode writes the sound of src to dst, two samples for a byte. Dst must be
// twice as long as src or longer.
func (d *Decoder) Decode(dst []int16, src []byte) {
	dst = dst[:2*len(src)]
	for i, c := range src {
		a, b := d.Packing.halves(c)
		dst[2*i], dst[2*i+1] = d.state.sample(a), d.state.sample(b)
	}
}

// Unpack writes each code of src as a byte of its own to dst, the first first.
// Dst must be twice as long as src or longer.
func (p Packing) Unpack(dst, src []byte) {
	dst = dst[:2*len(src)]
	for i, c := range src {
		dst[2*i], dst[2*i+1] = p.halves(c)
	}
}

// DecodeUnpacked writes the sound of codes that have a byte each to dst, a
// sample for a code. Dst must be as long as src or longer.
func (d *Decoder) DecodeUnpacked(dst []int16, src []byte) {
	dst = dst[:len(src)]
	for i, c := range src {
		dst[i] = d.state.sample(c & 15)
	}
}

// DecodeLaw writes the sound of src to dst as G.711 has it, a byte for a
// sample. It moves samples that lie between two, so that what is coded and
// decoded again and again gets no worse: SYNC of section 4.2.8.
func (d *Decoder) DecodeLaw(law g711.Law, dst, src []byte) {
	dst = dst[:2*len(src)]
	for i, c := range src {
		a, b := d.Packing.halves(c)
		dst[2*i], dst[2*i+1] = d.state.sampleLaw(law, a), d.state.sampleLaw(law, b)
	}
}

func (p Packing) halves(c byte) (first, second byte) {
	if p == AAL2 {
		return c >> 4, c & 15
	}
	return c & 15, c >> 4
}

// A state is what both ends know, as far as it is above what a reset leaves:
// the zero state is that of a reset, table 4.
type state struct {
	yl, yu   int32    // step, logarithmic: slow, Q15, and fast, Q9
	dms, dml int32    // how large codes were lately, and for long
	ap       int32    // how fast the step should be, Q8
	td       bool     // a narrow band, a modem's, is likely
	a        [2]int32 // poles, Q14
	b        [6]int32 // zeros, Q14
	p        [2]bool  // the signs of what the zeros did not foresee, the newest first
	r        [2]word  // reconstructed, the newest first
	d        [6]word  // differences, the newest first
}

const (
	resetYL = 34816
	resetYU = 544
)

// code is the code of a sample.
func (s *state) code(x int16) byte {
	sez, se := s.foresee()
	y := s.step()
	c := quantise(int32(x)>>2-se, y)
	s.adapt(c, y, sez, se)
	return c
}

// sample is the sample of a code.
func (s *state) sample(c byte) int16 {
	sez, se := s.foresee()
	r := s.adapt(c, s.step(), sez, se)
	return int16(min(max(r<<2, -32768), 32767))
}

func (s *state) sampleLaw(law g711.Law, c byte) byte {
	sez, se := s.foresee()
	y := s.step()
	r := s.adapt(c, y, sez, se)

	var code [1]byte
	var back [1]int16
	x := int16(min(max(r<<2, -32768), 32767))
	if law == g711.Mu && x < 0 {
		// COMPRESS looks at magnitudes, hence the lower code of two that
		// are equally near is that of the smaller one.
		law.Encode(code[:], []int16{int16(min(-r<<2, 32767))})
		code[0] &= 0x7f
	} else {
		law.Encode(code[:], []int16{x})
	}
	law.Decode(back[:], code[:])
	again := quantise(int32(back[0])>>2-se, y)
	// Codes in the order of what they stand for are 8 to 15, 0 to 7.
	switch is, want := again^8, c^8; {
	case is > want:
		return below(law, code[0])
	case is < want:
		return above(law, code[0])
	}
	return code[0]
}

// foresee is the next sample as the zeros alone and all of them foresee it:
// FMULT and ACCUM. Sums wrap at 16 bits there, and so here.
func (s *state) foresee() (sez, se int32) {
	for i, b := range s.b {
		sez += s.d[i].times(b >> 2)
	}
	se = sez + s.r[1].times(s.a[1]>>2) + s.r[0].times(s.a[0]>>2)
	return int32(int16(sez)) >> 1, int32(int16(se)) >> 1
}

// step is the logarithm of the step: MIX.
func (s *state) step() int32 {
	if s.ap >= 256 {
		return s.yu + resetYU
	}
	y := (s.yl + resetYL) >> 6
	d := s.yu + resetYU - y
	d *= s.ap >> 2
	if d < 0 {
		d += 63
	}
	return y + d>>6
}

// quantise is the code of a difference: LOG, SUBTB and QUAN.
func quantise(d, y int32) byte {
	m := max(d, -d)
	exp := int32(bits.Len32(uint32(m >> 1)))
	l := exp<<7 + m<<7>>uint(exp)&127 - y>>2
	c := byte(0)
	for int(c) < len(levels) && l >= levels[c] {
		c++
	}
	if d < 0 || c == 0 {
		return 15 - c
	}
	return c
}

// adapt follows a code and returns the sample it stands for, 14 bits or a
// little more.
func (s *state) adapt(c byte, y, sez, se int32) (r int32) {
	// RECONST, ADDA and ANTILOG.
	var m int32
	if l := logs[c] + y>>2; l >= 0 {
		m = (128 + l&127) << 7 >> uint(14-l>>7&15)
	}
	negative := c >= 8
	d := m
	if negative {
		d = -m
	}
	r = se + d   // ADDB
	p := d + sez // ADDC

	transition := s.transition(m)
	s.scale(y, steps[c]<<5)
	if transition {
		s.a, s.b = [2]int32{}, [6]int32{}
	} else {
		s.poles(p)
		s.zeros(m, negative)
	}

	copy(s.d[1:], s.d[:5])
	s.d[0] = float(m, negative)
	s.r = [2]word{float(max(r, -r)&0x7fff, r < 0), s.r[0]}
	s.p = [2]bool{p < 0, s.p[0]}
	s.td = !transition && s.a[1] < -11776 // TONE
	s.speed(y, speeds[c], transition)
	return r
}

// transition says that after a narrow band something else begins: TRANS.
func (s *state) transition(m int32) bool {
	if !s.td {
		return false
	}
	yl := s.yl + resetYL
	limit := int32(31 << 10)
	if yl>>15 <= 9 {
		limit = (32 + yl>>10&31) << uint(yl>>15)
	}
	return m > (limit+limit>>1)>>1
}

// scale moves the step: FILTD, LIMB and FILTE.
func (s *state) scale(y, w int32) {
	s.yu = min(max(y+(w-y)>>5, 544), 5120) - resetYU
	s.yl += s.yu + resetYU + -(s.yl+resetYL)>>6
}

// poles moves the poles: UPA2, LIMC, UPA1 and LIMD.
func (s *state) poles(p int32) {
	a1, a2 := s.a[0], s.a[1]
	changed := s.p[0] != (p < 0)
	a2 -= a2 >> 7
	if p != 0 {
		f := -a1
		if changed {
			f = a1
		}
		switch {
		case f < -8191:
			a2 -= 256
		case f > 8191:
			a2 += 255
		default:
			a2 += f >> 5
		}
		if s.p[1] != (p < 0) {
			a2 -= 128
		} else {
			a2 += 128
		}
		a2 = min(max(a2, -12288), 12288)
	}
	a1 -= a1 >> 8
	if p != 0 {
		if changed {
			a1 -= 192
		} else {
			a1 += 192
		}
	}
	s.a = [2]int32{min(max(a1, a2-15360), 15360-a2), a2}
}

// zeros moves the zeros: XOR and UPB.
func (s *state) zeros(m int32, negative bool) {
	for i := range s.b {
		s.b[i] -= s.b[i] >> 8
		if m == 0 {
			continue
		}
		if s.d[i].negative() == negative {
			s.b[i] += 128
		} else {
			s.b[i] -= 128
		}
	}
}

// speed says how fast the step should be: FILTA, FILTB, SUBTC and FILTC.
func (s *state) speed(y, f int32, transition bool) {
	s.dms += (f - s.dms) >> 5
	s.dml += (f<<2 - s.dml) >> 7
	d := s.dms<<2 - s.dml
	switch {
	case transition:
		s.ap = 256
	case y < 1536 || s.td || max(d, -d) >= s.dml>>3:
		s.ap += (512 - s.ap) >> 4
	default:
		s.ap += -s.ap >> 4
	}
}

// A word is a number of 11 bits: sign, 4 of exponent, 6 of mantissa of which
// the highest is set. It is kept without that bit, so that the zero word is
// what a reset leaves, the mantissa of 0.
type word int16

// float is the word of a magnitude and a sign: FLOATA and FLOATB.
func float(m int32, negative bool) word {
	if m == 0 {
		if negative {
			return sign
		}
		return 0
	}
	exp := bits.Len32(uint32(m))
	w := word(exp<<6 + int(m<<6>>uint(exp)) - 32)
	if negative {
		w |= sign
	}
	return w
}

const sign word = 1 << 10

func (w word) negative() bool { return w&sign != 0 }

// times multiplies by a pole or a zero of 14 bits: FMULT.
func (w word) times(an int32) int32 {
	m := an
	if an <= 0 {
		m = -an & 0x1fff
	}
	exp := int32(bits.Len32(uint32(m)))
	mant := int32(32)
	if m != 0 {
		if mant = m << 6 >> uint(exp); exp < 6 {
			mant = m << uint(6-exp)
		}
	}
	exp += int32(w)>>6&15 - 19
	p := (mant*(int32(w)&63+32) + 48) >> 4
	if exp >= 0 {
		p = p << uint(exp) & 0x7fff
	} else {
		p >>= uint(-exp)
	}
	if w.negative() != (an < 0) {
		return -p
	}
	return p
}

// above and below are the neighbours of a code of G.711, nearer to the most
// positive and to the most negative sample.
func above(law g711.Law, c byte) byte { return move(law, c, 1) }
func below(law g711.Law, c byte) byte { return move(law, c, -1) }

func move(law g711.Law, c byte, by int) byte {
	flip := byte(0x7f) // of a code whose lower bits grow with the magnitude
	if law == g711.A {
		flip = 0x55
	}
	c ^= flip
	// From -127 to -0, then from +0 to +127.
	place := int(c&0x7f) + 128
	if c&0x80 == 0 {
		place = 127 - int(c&0x7f)
	}
	place += by
	if law == g711.Mu && (place == 127 && by < 0 || place == 128 && by > 0) {
		place += by // the two zeros of mu are one
	}
	if place = min(max(place, 0), 255); place >= 128 {
		return byte(place) ^ flip
	}
	return byte(127-place) ^ flip
}

// Tables 6 to 9: decision levels, what a code stands for, how the step and its
// speed change with it.
var (
	levels = [7]int32{-124, 80, 178, 246, 300, 349, 400}
	logs   = [16]int32{-2048, 4, 135, 213, 273, 323, 373, 425, 425, 373, 323, 273, 213, 135, 4, -2048}
	steps  = [16]int32{-12, 18, 41, 64, 112, 198, 355, 1122, 1122, 355, 198, 112, 64, 41, 18, -12}
	speeds = [16]int32{0, 0, 0, 512, 512, 512, 1536, 3584, 3584, 1536, 512, 512, 512, 0, 0, 0}
)
