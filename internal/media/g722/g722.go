// Package g722 is the wideband code of ITU-T G.722: 16000 samples a second in
// 64 kbit/s, a byte for every two samples.
//
// Its one idea: split the sound at 4 kHz and send of each half only how far it
// is from what could be foreseen.
//
//	          ┌─ 0-4 kHz ─▶ ADPCM, 6 bits ─┐
//	sound ─ QMF                            ├─▶ HHLLLLLL
//	          └─ 4-8 kHz ─▶ ADPCM, 2 bits ─┘
//
// Both ends foresee in the same way, from the codes alone, so that a decoder
// which missed some finds its way back within a few hundred milliseconds. The
// low half is foreseen from the upper 4 of its 6 bits: in 56 and 48 kbit/s one
// or two of them carry something else.
//
// Arithmetic is that of the Recommendation to the last bit. In RTP the clock
// runs at 8000 although the sound has 16000 samples, RFC 3551 section 4.5.2:
// a byte is a tick. Nothing here allocates.
package g722

// An Encoder is one sound on its way to codes. The zero Encoder is ready. It
// belongs to one goroutine.
type Encoder struct {
	low, high band
	qmf       filter
}

// Encode writes the codes of src to dst, a byte for two samples at 16 kHz.
// Src has an even number; dst must be half as long or longer.
func (e *Encoder) Encode(dst []byte, src []int16) {
	for n := 0; len(src) > 1; src, dst = src[2*n:], dst[n:] {
		n = min(len(src)/2, block)
		h := e.qmf.load(src[:2*n])
		for i := range dst[:n] {
			even, odd := convolve(h[2*i : 2*i+taps])
			low, high := limit((even+odd)>>14), limit((even-odd)>>14)
			dst[i] = byte(e.high.codeHigh(high)<<6 | e.low.codeLow(low))
		}
		e.qmf.keep(2 * n)
	}
}

// A Decoder is one sound on its way from codes. The zero Decoder is ready. It
// belongs to one goroutine.
type Decoder struct {
	// Spare is how many of the lower bits of every code are not sound: 0 in
	// 64 kbit/s, 1 in 56, 2 in 48. RTP has 0 always.
	Spare int

	low, high band
	qmf       filter
}

// Decode writes the sound of src to dst, two samples at 16 kHz for a byte.
// Dst must be twice as long as src or longer.
func (d *Decoder) Decode(dst []int16, src []byte) {
	var low, high [block]int16
	for n := 0; len(src) > 0; src, dst = src[n:], dst[2*n:] {
		n = min(len(src), block)
		d.Halves(low[:n], high[:n], src[:n])
		d.Join(dst, low[:n], high[:n])
	}
}

// Halves is Decode without the filters: a sample of each half of the sound for
// every byte, below 4 kHz and above, as loud as they are in the whole. Whoever has
// done with them what is done at 8000 samples a second has them joined. Low and
// high must be as long as src or longer.
func (d *Decoder) Halves(low, high []int16, src []byte) {
	for i, c := range src {
		low[i] = int16(d.low.soundLow(int32(c&63), d.Spare)) << 1
		high[i] = int16(d.high.soundHigh(int32(c>>6))) << 1
	}
}

// Join makes sound of two halves. Dst must be twice as long as low, and high as
// long.
func (d *Decoder) Join(dst, low, high []int16) {
	for n := 0; len(low) > 0; low, high, dst = low[n:], high[n:], dst[2*n:] {
		n = min(len(low), block)
		h := d.qmf.space(2 * n)
		for i, x := range low[:n] {
			x, y := int32(x), int32(high[i])
			h[2*i], h[2*i+1] = int16(saturate((x+y)>>1)), int16(saturate((x-y)>>1))
		}
		h = d.qmf.past[:]
		for i := range n {
			first, second := convolve(h[2*i : 2*i+taps])
			dst[2*i], dst[2*i+1] = int16(saturate(first>>11)), int16(saturate(second>>11))
		}
		d.qmf.keep(2 * n)
	}
}

// Quadrature mirror filters, section 3.1 and table 11: 24 taps, of which the
// second half mirrors the first.
const (
	taps  = 24
	block = 80 // codes done at once
)

var mirror = [taps / 2]int32{3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11}

// A filter is what a filter remembers, and room for a block behind it.
type filter struct {
	past [taps - 2 + 2*block]int16
}

// space is where the next samples go.
func (f *filter) space(n int) []int16 { return f.past[taps-2 : taps-2+n] }

// load takes samples and returns them behind the taps-2 before.
func (f *filter) load(s []int16) []int16 {
	copy(f.space(len(s)), s)
	return f.past[:]
}

// keep forgets n samples.
func (f *filter) keep(n int) { copy(f.past[:taps-2], f.past[n:]) }

// convolve is the two phases of the filter over the 24 samples of x: of the
// later and of the earlier of each pair.
func convolve(x []int16) (odd, even int32) {
	x = x[:taps]
	for i, c := range mirror {
		even += int32(x[2*i]) * c
		odd += int32(x[taps-1-2*i]) * c
	}
	return odd, even
}

// A band is one half's ADPCM, with the names of section 6.2. Values are those
// of 16-bit words, kept in 32 bits.
type band struct {
	s, sz int32    // foreseen; by the zeros alone
	nb    int32    // logarithm of the step
	less  int32    // the step, as far as it is above the smallest
	a     [2]int32 // poles
	r     [2]int32 // reconstructed, the newest first
	p     [2]int32 // its part that the zeros do not foresee
	b     [6]int32 // zeros
	d     [6]int32 // differences, the newest first
}

// The smallest steps, what a reset leaves: table 12.
const (
	smallestLow  = 32
	smallestHigh = 8
)

// codeLow codes a sample of the low half, 6 bits.
func (b *band) codeLow(x int32) int32 {
	step := b.less + smallestLow
	e := saturate(x - b.s)
	m := e
	if e < 0 {
		m = ^e
	}
	// The decision levels grow: find the first above.
	lo, hi := 0, len(levels)
	for lo < hi {
		if mid := (lo + hi) / 2; m < levels[mid]*step>>12 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	code := int32(61 - lo) // positive: 61 is the nearest to 0, 32 the farthest
	if e < 0 {
		// Negative: 63, 62, then 31 down to 4.
		if code = int32(63 - lo); lo > 1 {
			code = int32(33 - lo)
		}
	}
	b.adaptLow(code >> 2)
	return code
}

// soundLow is the sample of a code of 6 bits, of which the spare lower ones do
// not count.
func (b *band) soundLow(code int32, spare int) int32 {
	step := b.less + smallestLow
	var level int32
	switch spare {
	case 0:
		level = inverse6[code]
	case 1:
		level = inverse5[code>>1]
	default:
		level = inverse4[code>>2]
	}
	x := limit(saturate(b.s + step*level>>15))
	b.adaptLow(code >> 2)
	return x
}

func (b *band) adaptLow(code int32) {
	d := (b.less + smallestLow) * inverse4[code] >> 15
	b.nb = min(max(b.nb*127>>7+stepLow[code], 0), 18432)
	b.less = exponential(b.nb, 8) - smallestLow
	b.foresee(d)
}

// codeHigh codes a sample of the high half, 2 bits.
func (b *band) codeHigh(x int32) int32 {
	step := b.less + smallestHigh
	e := saturate(x - b.s)
	m, code := e, int32(2)
	if e < 0 {
		m, code = ^e, 0
	}
	if m < 564*step>>12 {
		code++
	}
	b.adaptHigh(code)
	return code
}

func (b *band) soundHigh(code int32) int32 {
	step := b.less + smallestHigh
	x := limit(saturate(b.s + step*inverse2[code]>>15))
	b.adaptHigh(code)
	return x
}

func (b *band) adaptHigh(code int32) {
	d := (b.less + smallestHigh) * inverse2[code] >> 15
	b.nb = min(max(b.nb*127>>7+stepHigh[code], 0), 22528)
	b.less = exponential(b.nb, 10) - smallestHigh
	b.foresee(d)
}

// exponential is the step of a logarithm, SCALEL and SCALEH of section 6.2.1.
func exponential(nb int32, top int32) int32 {
	m := powers[nb>>6&31]
	if shift := top - nb>>11; shift >= 0 {
		m >>= shift
	} else {
		m <<= -shift
	}
	return m << 2
}

// foresee adapts the two poles and six zeros to a difference and foresees the
// next sample: block 4 of section 6.2.1.3, in its order.
func (b *band) foresee(d int32) {
	r := saturate(b.s + d)  // RECONS
	p := saturate(b.sz + d) // PARREC

	// UPPOL2
	w := saturate(b.a[0] << 2)
	if (p^b.p[0])>>15 == 0 {
		w = min(-w, 32767)
	}
	a2 := w>>7 + b.a[1]*32512>>15
	if (p^b.p[1])>>15 == 0 {
		a2 += 128
	} else {
		a2 -= 128
	}
	a2 = min(max(a2, -12288), 12288)

	// UPPOL1
	a1 := b.a[0] * 32640 >> 15
	if (p^b.p[0])>>15 == 0 {
		a1 += 192
	} else {
		a1 -= 192
	}
	a1 = min(max(saturate(a1), a2-15360), 15360-a2)

	// UPZERO, and DELAYA
	if d == 0 {
		for i := 5; i >= 0; i-- {
			b.b[i] = b.b[i] * 32640 >> 15
			if i > 0 {
				b.d[i] = b.d[i-1]
			}
		}
	} else {
		for i := 5; i >= 0; i-- {
			w := int32(128)
			if (d^b.d[i])>>15 != 0 {
				w = -128
			}
			b.b[i] = saturate(w + b.b[i]*32640>>15)
			if i > 0 {
				b.d[i] = b.d[i-1]
			}
		}
	}
	b.d[0] = d
	b.a = [2]int32{a1, a2}
	b.p = [2]int32{p, b.p[0]}
	b.r = [2]int32{r, b.r[0]}

	// FILTEP, FILTEZ, PREDIC
	sp := saturate(a1*saturate(2*b.r[0])>>15 + a2*saturate(2*b.r[1])>>15)
	sz := int32(0)
	for i := range b.d {
		sz += b.b[i] * saturate(2*b.d[i]) >> 15
	}
	b.sz = saturate(sz)
	b.s = saturate(sp + b.sz)
}

// saturate is what 16 bits hold.
func saturate(x int32) int32 {
	if int32(int16(x)) == x {
		return x
	}
	return 32767 ^ x>>31
}

// limit is what 15 bits hold: LIMIT of section 6.2.2, LOWT of 6.2.1.
func limit(x int32) int32 { return min(max(x, -16384), 16383) }

// levels are the decision levels of the low half, Q6 of table 14.
var levels = [29]int32{
	35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714,
	786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
}

// Inverse quantisers, QM6, QM5, QM4 and QM2 of tables 15 to 18.
var (
	inverse6 = [64]int32{
		-136, -136, -136, -136, -24808, -21904, -19008, -16704,
		-14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
		-7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576,
		-3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
		24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192,
		10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
		4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032,
		1688, 1360, 1040, 728, 432, 136, -432, -136,
	}
	inverse5 = [32]int32{
		-280, -280, -23352, -17560, -14120, -11664, -9752, -8184,
		-6864, -5712, -4696, -3784, -2960, -2208, -1520, -880,
		23352, 17560, 14120, 11664, 9752, 8184, 6864, 5712,
		4696, 3784, 2960, 2208, 1520, 880, 280, -280,
	}
	inverse4 = [16]int32{
		0, -20456, -12896, -8968, -6288, -4240, -2584, -1200,
		20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
	}
	inverse2 = [4]int32{-7408, -1616, 7408, 1616}
)

// How the logarithm of the step changes with a code, WL by RL42 and WH by RH2.
var (
	stepLow = [16]int32{
		-60, 3042, 1198, 538, 334, 172, 58, -30,
		3042, 1198, 538, 334, 172, 58, -30, -60,
	}
	stepHigh = [4]int32{798, -214, 798, -214}
)

// powers are 2048 * 2^(i/32), ILB.
var powers = [32]int32{
	2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
	2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
}
