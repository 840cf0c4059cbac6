// Package dtmf hears the keys of a telephone in the sound from its mouth.
//
// Its one idea: a digit is two steady sines and nothing else, for long enough.
// Every 6 ms a Detector asks, of the last 12 ms under a Hann window, how much
// of the energy stands at one row and one column of the keypad, and how far
// their phases have turned since the window before, which is their frequency.
// Windows that overlap by half add up to a constant, so the sum of the
// amplitudes seen is the time a digit has lasted, to a fraction of a window.
//
//	sound ─▶ high-pass 640 Hz ─▶ 8 correlators ─▶ row, column ─▶ timing ─▶ Heard
//	   └─▶ energy (during a call: before the high-pass)──┘
//
// Limits are those of the AT&T column of ITU-T Q.24. All arithmetic is
// integer.
package dtmf

import (
	"math"
	"math/bits"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// Requirements of ITU-T Q.24, AT&T, and what is asked here to be sure of them.
const (
	// "Minimum duration of signal accepted 40 ms, maximum rejected 23 ms":
	// the middle, since the measure is exact to about 3 ms in noise.
	minOn = 31 * permille / 6 // of hops of 6 ms
	// "Interruption bridged 10 ms, minimum pause 40 ms": the measure is
	// that of minOn.
	minOff = 21 * permille / 6
	// "Frequency accepted ±1.5 %, rejected ±3.5 %": the middle.
	maxOff = 240 // of 10^-4
	// A voice glides, a key does not.
	maxSpread = 240 // of 10^-4, between the hops of one digit
	// "High group +4 to -8 dB against the low group", and 1.5 dB for
	// noise: 10^0.55 and 10^0.95.
	maxTwist, minTwist = 3548, 8912 // permille, column/row and row/column
	// Of the energy in the window, the two tones must have this share.
	// White noise 15 dB below the digit leaves 97 % of what the filters
	// pass; speech, rarely more than half.
	minShare = 820 // permille

	// One window alone happens in speech; three in a row that agree on
	// both frequencies, seldom.
	minHops = 3

	permille = 1000
)

const (
	window = 96 // samples, 12 ms: the tones of a group differ by 73 Hz or more
	hop    = window / 2
	past   = 8 // hops of a candidate that are looked at, 48 ms
)

// Heard is what a Detector knows after a stretch of sound.
type Heard struct {
	Pressed  byte          // the key that was recognised in this stretch, or 0
	For      time.Duration // how long it had sounded by then
	Released bool          // the key recognised before, or in this stretch, has ended
	Held     bool          // a key is sounding at the end of this stretch
	Maybe    bool          // so does something that may become a key: mute it, if digits travel beside the sound
}

// A Detector listens to one telephone. The zero Detector is ready. It belongs
// to one goroutine and never allocates.
type Detector struct {
	dialTone bool

	low     [2]section    // the high-pass
	raw     [window]int16 // sound, the oldest first
	pass    [window]int32 // the same behind the high-pass
	n       int           // samples of the second half that are there
	last    look          // of the hop before
	held    candidate     // the key that sounds; key 0 is none
	waiting candidate     // what may become one
}

// DialTone tells whether the telephone hears a tone of ours now. Its echo
// comes back into the mouth and must not hide a digit: low frequencies count
// for nothing while it lasts. During a call they do, since a voice has them
// and a key has not.
func (d *Detector) DialTone(on bool) { d.dialTone = on }

// Hear listens to the next samples, of any number; 80 are usual.
func (d *Detector) Hear(sound []int16) (h Heard) {
	for len(sound) > 0 {
		k := min(hop-d.n, len(sound))
		for i, x := range sound[:k] {
			d.raw[hop+d.n+i] = x
			d.pass[hop+d.n+i] = d.low[1].pass(&highPass[1], d.low[0].pass(&highPass[0], int32(x)<<6)) >> 6
		}
		sound = sound[k:]
		if d.n += k; d.n == hop {
			d.hop(&h)
			copy(d.raw[:hop], d.raw[hop:])
			copy(d.pass[:hop], d.pass[hop:])
			d.n = 0
		}
	}
	h.Held = d.held.key != 0
	h.Maybe = h.Held || d.last.key != 0
	return h
}

// A look is what one window shows.
type look struct {
	key      byte // that stands alone in it, or 0
	row, col int8 // the strongest of each group
	z        [8]phasor
	amp      [8]uint32 // of each tone; 6144 is a sine of peak 1
}

// A phasor is one tone in one window. Only its angle is used.
type phasor struct{ re, im int32 }

// hop looks at the window that has just become full.
func (d *Detector) hop(h *Heard) {
	l := d.look()
	dev, turned := d.turned(&l)
	before := d.last
	d.last = l

	if d.held.key != 0 {
		d.held.add(&l)
		if d.held.off >= minOff {
			d.held = candidate{}
			h.Released = true
		}
	}
	if d.waiting.key != 0 {
		d.waiting.add(&l)
	}
	if l.key != 0 && l.key != d.held.key {
		if l.key != d.waiting.key {
			d.waiting.start(&before, &l)
		}
		d.waiting.valid(dev, turned)
	}
	if d.waiting.key == 0 {
		return
	}
	if d.waiting.off >= minOff {
		d.waiting = candidate{}
		return
	}
	if d.waiting.certain() {
		if d.held.key != 0 {
			h.Released = true
		}
		d.held, d.waiting = d.waiting, candidate{}
		h.Pressed = d.held.key
		h.For = time.Duration(d.held.on()) * hop * time.Second / (8000 * permille)
	}
}

// look finds row, column and whether they are alone.
func (d *Detector) look() (l look) {
	peak := int32(0)
	for _, x := range d.pass {
		peak = max(peak, x, -x)
	}
	if peak < floorPeak {
		return l
	}

	// The window, scaled to 13 bits so that 32 bits hold all sums.
	up := 13 - bits.Len32(uint32(peak))
	var x [window]int32
	var total uint32
	for i, s := range d.pass {
		if up >= 0 {
			s <<= up
		} else {
			s >>= -up
		}
		s = (s*hann[i] + 1<<14) >> 15
		x[i] = s
		total += uint32(s * s)
	}
	energy := uint64(total)
	if !d.dialTone {
		// As far as it goes above what has passed the filter.
		energy = 0
		for i, s := range d.raw {
			s := (int32(s)*hann[i] + 1<<14) >> 15
			energy += uint64(uint32(s * s))
		}
		if up >= 0 {
			energy <<= 2 * up
		} else {
			energy >>= -2 * up
		}
	}

	var power [8]uint64
	for f := range power {
		var re, im int32
		c := &carriers[f]
		for i, s := range x {
			re += s * c[i].re
			im -= s * c[i].im
		}
		power[f] = uint64(int64(re)*int64(re)) + uint64(int64(im)*int64(im))
		l.z[f] = phasor{re >> 15, im >> 15}
		l.amp[f] = uint32(root(power[f]) >> (up + 4))
	}
	for f := int8(1); f < 4; f++ {
		if power[f] > power[l.row] {
			l.row = f
		}
	}
	l.col = 4
	for f := int8(5); f < 8; f++ {
		if power[f] > power[l.col] {
			l.col = f
		}
	}

	// A sine of peak a gives |z| = a·48/2·2^12 and an energy under the
	// window of a²·36/2, so energy is |z|² / 2^29.
	row, col := power[l.row]>>29, power[l.col]>>29
	if (row+col)*permille >= energy*minShare &&
		col*permille <= row*maxTwist && row*permille <= col*minTwist &&
		l.amp[l.row] >= floorAmp && l.amp[l.col] >= floorAmp {
		l.key = tone.Pad[l.row][l.col-4]
	}
	return l
}

// turned is how far the two tones of a window are from their frequencies, in
// 10^-4, if the window before shows the same key.
func (d *Detector) turned(l *look) (dev [2]int32, ok bool) {
	if l.key == 0 || d.last.key != l.key {
		return dev, false
	}
	for i, f := range [2]int8{l.row, l.col} {
		a, b := d.last.z[f], l.z[f]
		// b times the conjugate of a: its angle is that from a to b.
		re := int64(b.re)*int64(a.re) + int64(b.im)*int64(a.im)
		im := int64(b.im)*int64(a.re) - int64(b.re)*int64(a.im)
		turn := int32(int16(angle(re, im) - advance[f]))
		// A turn of 2^16 in a hop of 6 ms is 166.7 Hz.
		dev[i] = turn * 25431 / (1000 * int32(frequencies[f]))
	}
	return dev, true
}

// A candidate is a key and the hops it may have sounded in.
type candidate struct {
	key      byte
	row, col int8
	n        int             // hops kept in amp
	amp      [past][2]uint32 // of row and column, the oldest first
	top      [2]uint32       // the largest of each
	off      int             // permille of hops that have been missing at the end
	hops     int             // that were valid
	devs     int             // kept in dev
	dev      [past - 1][2]int32
}

// start begins anew with the key that l shows. The window before may have
// seen its beginning.
func (c *candidate) start(before, l *look) {
	*c = candidate{key: l.key, row: l.row, col: l.col}
	c.add(before)
	c.add(l)
}

// add counts a hop, whatever it shows.
func (c *candidate) add(l *look) {
	a := [2]uint32{l.amp[c.row], l.amp[c.col]}
	if c.n == past {
		copy(c.amp[:], c.amp[1:])
		c.n--
	}
	c.amp[c.n] = a
	c.n++
	c.top[0], c.top[1] = max(c.top[0], a[0]), max(c.top[1], a[1])
	if part := c.part(a); part < 800 {
		c.off += permille - part
	} else {
		c.off = 0
	}
}

// part is how much of the window the tones filled, in permille.
func (c *candidate) part(a [2]uint32) int {
	p := permille
	for i := range a {
		if c.top[i] != 0 {
			p = min(p, int(uint64(a[i])*permille/uint64(c.top[i])))
		}
	}
	return p
}

// on is how long the tones have sounded, in permille of hops.
func (c *candidate) on() (sum int) {
	for _, a := range c.amp[:c.n] {
		sum += c.part(a)
	}
	return sum
}

// valid counts a hop in which the key stood alone.
func (c *candidate) valid(dev [2]int32, ok bool) {
	c.hops++
	if !ok {
		return
	}
	if c.devs == len(c.dev) {
		copy(c.dev[:], c.dev[1:])
		c.devs--
	}
	c.dev[c.devs] = dev
	c.devs++
}

// certain reports whether a key was pressed.
func (c *candidate) certain() bool {
	if c.hops < minHops || c.devs == 0 || c.on() < minOn {
		return false
	}
	for i := range 2 {
		var sum int32
		low, high := c.dev[0][i], c.dev[0][i]
		for _, d := range c.dev[:c.devs] {
			sum += d[i]
			low, high = min(low, d[i]), max(high, d[i])
		}
		mean := sum / int32(c.devs)
		if mean > maxOff || mean < -maxOff || high-low > maxSpread {
			return false
		}
	}
	return true
}

// A section is a filter of second order, y = b0 x + b1 x1 + b2 x2 - a1 y1 -
// a2 y2, on samples with 6 bits of fraction.
type section struct{ x1, x2, y1, y2 int32 }

// A shape is the numbers of a section, Q26.
type shape struct{ b0, b1, b2, a1, a2 int64 }

// highPass is elliptic, order 4, 640 Hz, 0.5 dB of ripple, 38 dB below 440 Hz:
// the dial tones of the world are below, the keypad's rows above.
var highPass = [2]shape{
	{35022463, -69355816, 35022463, -69534439, 25698581},
	{67108864, -127918527, 67108864, -111807336, 59514183},
}

func (s *section) pass(h *shape, x int32) int32 {
	y := int32((h.b0*int64(x) + h.b1*int64(s.x1) + h.b2*int64(s.x2) - h.a1*int64(s.y1) - h.a2*int64(s.y2) + 1<<25) >> 26)
	s.x2, s.x1 = s.x1, x
	s.y2, s.y1 = s.y1, y
	return y
}

// frequencies are the rows, then the columns.
var frequencies = func() (f [8]uint16) {
	copy(f[:4], tone.Rows[:])
	copy(f[4:], tone.Columns[:])
	return f
}()

// advance is how far the phase of each frequency turns in a hop; 2^16 is a
// full turn.
var advance = func() (a [8]uint16) {
	for i, f := range frequencies {
		a[i] = uint16((uint64(f)*hop<<16 + 4000) / 8000)
	}
	return a
}()

// carriers are the frequencies over a window, Q12.
var carriers = func() (c [8][window]phasor) {
	for i, f := range frequencies {
		for n := range c[i] {
			sin, cos := math.Sincos(2 * math.Pi * float64(f) * float64(n) / 8000)
			c[i][n] = phasor{int32(math.Round(4096 * cos)), int32(math.Round(4096 * sin))}
		}
	}
	return c
}()

// hann is the window, Q15; two of them half a window apart add up to 1.
var hann = func() (w [window]int32) {
	for n := range w {
		w[n] = int32(math.Round(16384 * (1 - math.Cos(2*math.Pi*float64(n)/window))))
	}
	return w
}()

const (
	floorPeak = 200        // samples; two tones at the floor have peaks above it
	floorAmp  = 287 * 6144 // of a tone at the floor: peak 32767 * 10^((floor-3.14)/20)
)

// angle is the direction of a vector, 2^16 a full turn, within 0.3 degrees.
func angle(re, im int64) uint16 {
	x, y := max(re, -re), max(im, -im)
	if x == 0 && y == 0 {
		return 0
	}
	swap := y > x
	if swap {
		x, y = y, x
	}
	if n := bits.Len64(uint64(x)) - 30; n > 0 {
		x, y = x>>n, y>>n
	}
	// The arc tangent of q is near q (pi/4 + 0.273 (1 - q)).
	q := y << 15 / x
	a := int32(q * (8192 + 2847*(1<<15-q)>>15) >> 15)
	if swap {
		a = 1<<14 - a
	}
	if re < 0 {
		a = 1<<15 - a
	}
	if im < 0 {
		a = -a
	}
	return uint16(a)
}

// root is the square root, rounded down.
func root(x uint64) (r uint64) {
	for b := uint64(1) << ((bits.Len64(x) + 1) / 2 * 2); b != 0; b >>= 2 {
		if x >= r+b {
			x -= r + b
			r = r>>1 + b
		} else {
			r >>= 1
		}
	}
	return r
}
