// Package dtmf hears the keys of a telephone in the sound from its mouth.
//
// Its one idea: a digit is two steady sines and nothing else, from one moment on
// and for long enough. Every 6 ms a Detector asks, of the last 12 ms under a
// Hann window, how much of the energy stands at one row and one column of the
// keypad, and how far their phases have turned since the window before, which
// is their frequency. Windows that overlap by half add up to a constant, so
// the sum of the amplitudes seen is the time a digit has lasted, to a fraction
// of a window.
//
//	sound ─▶ high-pass 160 Hz, with a dial tone 640 ─▶ window ─▶ 8 correlators
//	     Heard ◀─ timing ◀─ evidence ◀─ row, column, share of the energy ◀─┘
//
// Limits are those of ITU-T Q.24, Table A-1; AT&T's unless another
// Administration is asked for. All arithmetic is integer, in 32 bits where it is
// done for each sample.
package dtmf

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/phasor"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// An Administration is a column of ITU-T Q.24, Table A-1.
type Administration uint8

const (
	ATT Administration = iota
	NTT
	Denmark
	Australia
	Brazil
)

// limits are what is asked of a digit, in the middle between what a column says
// must be accepted and what must be rejected.
type limits struct {
	on  int // shortest signal, of hops of 6 ms
	off int // shortest pause, of the same: a shorter one is an interruption

	// Power of a tone at the floor, see peak.
	floor uint32

	// Permille, column over row and row over column, with 1.5 dB for noise.
	maxTwist, minTwist uint64
}

// The measure of time is exact to about 3 ms in noise, that of level and twist
// to 1 dB. All columns accept a frequency that is off by 1.8 % at the rows and
// columns, or by less, and reject one that is off by 3 % or more.
//
// AT&T's column is what spandsp and Asterisk have of it. The others were written
// from memory; nobody has held them against the Recommendation yet.
var columns = [...]limits{
	// Signal: 40 ms accepted, 23 rejected; pause: 40 ms, interruption bridged 10;
	// operation at 0 to -25 dBm, none at -55; high group +4 to -8 dB.
	ATT: {on: ms(31), off: ms(21), floor: peak(287), maxTwist: 3548, minTwist: 8912},
	// 40, 24; 30, 10; -3 to -24, -29; 5 dB.
	NTT: {on: ms(32), off: ms(20), floor: peak(1080), maxTwist: 4467, minTwist: 4467},
	// 40, 20; 40, 20; -2 to -27, -36; 6 dB.
	Denmark: {on: ms(30), off: ms(30), floor: peak(607), maxTwist: 5623, minTwist: 5623},
	// 40, 25; 70, 12; -5 to -27, -30; 10 dB.
	Australia: {on: ms(32), off: ms(32), floor: peak(858), maxTwist: 14125, minTwist: 14125},
	// 40, 20; 30, 10; -3 to -25, -50; 9 dB.
	Brazil: {on: ms(30), off: ms(20), floor: peak(287), maxTwist: 11220, minTwist: 11220},
}

// ms is a time in permille of hops.
func ms(t int) int { return t * permille / 6 }

// peak is the power of a tone with that peak, 32767 * 10^((dBm0-3.14)/20).
func peak(a uint32) uint32 { return a * a * 9 / 16 }

// What is asked besides, so that neither speech nor music dials.
const (
	// "Frequency accepted ±1.5 %, rejected ±3.5 %", or 1.8 and 3.0: the middle.
	maxOff = 240 // of 10^-4
	// A voice glides, a key does not.
	maxSpread = 240 // of 10^-4, between the hops of one digit

	// Of the energy in the window, the two tones must have this share.
	// White noise 15 dB below the digit leaves 97 %, 10 dB below 91 %; speech,
	// rarely more than half.
	minShare = 820 // permille

	// What a hop has above noShare, up to allShare, is evidence, if it is as
	// loud as the one before; noise 15 dB below the weaker tone changes it by
	// 5 % in the mean. Two hops without fault are enough evidence. A chord or a
	// vowel has little of it in each.
	noShare, allShare = 800, 920
	minEvidence       = 2 * (allShare - noShare)
	maxStep           = 4 // a quarter of the louder one

	// A key begins at once. Of a chord that happens to be at two of its
	// frequencies one tone or the other has sounded before: in the last hops
	// both must have been below a quarter of what they are.
	onset    = 5 // hops
	minOnset = 4

	// An echo, 20 ms late and 10 dB down, makes a tone up to 3.3 dB softer
	// from then on. What counts as its full length follows, by an eighth in
	// a hop, while more than half of it is there.
	fade = 8

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
	Over     time.Duration // how long before, if it has
	Held     bool          // a key is sounding at the end of this stretch
	Maybe    bool          // so does something that may become a key: mute it, if digits travel beside the sound
}

// A Detector listens to one telephone. The zero Detector is ready, with AT&T's
// limits. It belongs to one goroutine and never allocates.
type Detector struct {
	dialTone bool
	admin    Administration

	low     [2]section    // the high-pass for dial tone
	hum     int32         // eight times what is below the other
	sound   [window]int16 // the oldest first, behind the high-pass
	n       int           // samples of the second half that are there
	looks   [onset]look   // of the hops before, the latest first
	held    candidate     // the key that sounds; key 0 is none
	waiting candidate     // what may become one
}

// DialTone tells whether the telephone hears a tone of ours now. Its echo
// comes back into the mouth and must not hide a digit: low frequencies count
// for nothing while it lasts. During a call they do, since a voice has them
// and a key has not.
func (d *Detector) DialTone(on bool) { d.dialTone = on }

// Use makes an administration's limits those of the Detector.
func (d *Detector) Use(a Administration) { d.admin = a }

// Hear listens to the next samples, of any number; 80 are usual.
func (d *Detector) Hear(sound []int16) (h Heard) {
	for len(sound) > 0 {
		k := min(hop-d.n, len(sound))
		fresh := d.sound[hop+d.n:][:k]
		copy(fresh, sound)
		if d.dialTone {
			d.highPass(fresh)
		} else {
			d.noHum(fresh)
		}
		sound = sound[k:]
		if d.n += k; d.n == hop {
			d.hop(&h)
			copy(d.sound[:hop], d.sound[hop:])
			d.n = 0
		}
	}
	h.Held = d.held.key != 0
	h.Maybe = h.Held || d.looks[0].key != 0
	return h
}

// A look is what one window shows.
type look struct {
	key      byte             // that stands alone in it, or 0
	row, col int8             // the strongest of each group
	energy   uint32           // twice that of the window
	z        [8]phasor.Phasor // rows and columns
}

// hop looks at the window that has just become full.
func (d *Detector) hop(h *Heard) {
	limit := &columns[d.admin]
	l := d.look(limit)
	if d.held.key != 0 {
		d.held.add(&l)
		if d.held.off >= limit.off {
			h.Released, h.Over = true, length(d.held.off)
			d.held = candidate{}
		}
	}
	if d.waiting.key != 0 {
		d.waiting.add(&l)
	}
	if l.key != 0 && l.key != d.held.key {
		// What waits is given up for another key that shows twice.
		if l.key != d.waiting.key && (d.waiting.key == 0 || l.key == d.looks[0].key) {
			d.waiting.start(&d.looks, &l)
		}
		if l.key == d.waiting.key && l.key == d.looks[0].key {
			d.waiting.listen(&d.looks[0], &l)
		}
	}
	copy(d.looks[1:], d.looks[:])
	d.looks[0] = l

	switch {
	case d.waiting.key == 0:
	case d.waiting.off >= limit.off:
		d.waiting = candidate{}
	case d.waiting.certain(limit):
		h.Pressed, h.For = d.waiting.key, length(d.waiting.on())
		if d.held.key != 0 {
			h.Released, h.Over = true, h.For
		}
		d.held, d.waiting = d.waiting, candidate{}
	}
}

// length is so many permille of a hop.
func length(hops int) time.Duration {
	return time.Duration(hops) * hop * time.Second / (8000 * permille)
}

// look finds row, column and whether they are alone.
func (d *Detector) look(limit *limits) (l look) {
	var pairs [hop]phasor.Pair
	l.energy = phasor.Fold(pairs[:], hann, d.sound[:])
	if l.energy < limit.floor {
		return l
	}
	rows, cols := phasor.Four(pairs[:], carriers[0][:]), phasor.Four(pairs[:], carriers[1][:])
	copy(l.z[:4], rows[:])
	copy(l.z[4:], cols[:])
	l.row, l.col = strongest(&rows), 4+strongest(&cols)

	// The power of a sine that is alone is the energy.
	row, col := uint64(l.z[l.row].Power()), uint64(l.z[l.col].Power())
	if (row+col)*permille >= uint64(l.energy)*minShare &&
		col*permille <= row*limit.maxTwist && row*permille <= col*limit.minTwist &&
		row >= uint64(limit.floor) && col >= uint64(limit.floor) {
		l.key = tone.Pad[l.row][l.col-4]
	}
	return l
}

func strongest(z *[4]phasor.Phasor) (most int8) {
	for i := range z {
		if z[i].Power() > z[most].Power() {
			most = int8(i)
		}
	}
	return most
}

// A candidate is a key and the hops it may have sounded in.
type candidate struct {
	key      byte
	row, col int8
	n        int             // hops kept in amp
	amp      [past][2]uint32 // lengths of row and column, the oldest first
	top      [2]uint32       // the largest of each, of late
	before   [2]uint32       // the smallest of each, before it began
	off      int             // permille of hops that have been missing at the end
	evidence int
	devs     int // kept in dev
	dev      [past - 1][2]int32
}

// start begins anew with the key that l shows, and the looks before if they do. The
// one before those may have seen its beginning.
func (c *candidate) start(looks *[onset]look, l *look) {
	*c = candidate{key: l.key, row: l.row, col: l.col}
	first := 0
	for first < onset-1 && looks[first].key == l.key {
		first++
	}
	for i := onset - 1; i >= first; i-- {
		a := c.lengths(&looks[i])
		if i == onset-1 {
			c.before = a
		}
		c.before[0], c.before[1] = min(c.before[0], a[0]), min(c.before[1], a[1])
	}
	for i := first; i >= 0; i-- {
		c.add(&looks[i])
	}
	c.add(l)
}

func (c *candidate) lengths(l *look) [2]uint32 {
	return [2]uint32{l.z[c.row].Length(), l.z[c.col].Length()}
}

// add counts a hop, whatever it shows.
func (c *candidate) add(l *look) {
	a := c.lengths(l)
	if c.n == past {
		copy(c.amp[:], c.amp[1:])
		c.n--
	}
	c.amp[c.n] = a
	c.n++
	sounds := c.part(a) > permille/2
	for i := range a {
		if sounds {
			c.top[i] -= c.top[i] / fade
		}
		c.top[i] = max(c.top[i], a[i])
	}
	if part := c.part(a); part < 800 {
		c.off += permille - part
	} else {
		c.off = 0
	}
}

// part is how much of the window the tones filled, in permille.
func (c *candidate) part(a [2]uint32) int {
	p := uint32(permille)
	for i := range a {
		if c.top[i] != 0 {
			p = min(p, a[i]*permille/c.top[i])
		}
	}
	return int(p)
}

// on is how long the tones have sounded, in permille of hops.
func (c *candidate) on() (sum int) {
	for _, a := range c.amp[:c.n] {
		sum += c.part(a)
	}
	return sum
}

// listen weighs a hop in which the key stood alone, as in that before.
func (c *candidate) listen(before, l *look) {
	if c.devs == len(c.dev) {
		copy(c.dev[:], c.dev[1:])
		c.devs--
	}
	dev := &c.dev[c.devs]
	c.devs++

	steady, alone := true, uint64(0)
	for i, f := range [2]int8{l.row, l.col} {
		turn := int32(l.z[f].Turned(before.z[f]) - advance[f])
		// A turn of 2^16 in a hop of 6 ms is 166.7 Hz.
		dev[i] = turn * 25431 / (1000 * int32(frequencies[f]))
		// A tone that is off by 2^15 d turns a window has lost 1.29 d² of its power.
		alone += uint64(l.z[f].Power()) * uint64(1<<20+int64(turn)*int64(turn)*1321>>20) >> 20

		was, is := c.amp[c.n-2][i], c.amp[c.n-1][i]
		steady = steady && max(was, is)-min(was, is) <= max(was, is)/maxStep
	}
	// Where samples were lost the phase jumps; what was before says nothing then.
	if c.devs > 1 {
		was := c.dev[c.devs-2]
		for i := range was {
			if was[i]-dev[i] > maxSpread || dev[i]-was[i] > maxSpread {
				c.dev[0], c.devs = *dev, 1
				break
			}
		}
	}
	if share := int(alone * permille / uint64(l.energy)); steady && share > noShare {
		c.evidence += min(share, allShare) - noShare
	}
}

// certain reports whether a key was pressed.
func (c *candidate) certain(limit *limits) bool {
	if c.evidence < minEvidence || c.devs < 2 || c.on() < limit.on {
		return false
	}
	for i := range 2 {
		if c.before[i] > c.top[i]/minOnset {
			return false
		}
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
// a2 y2.
type section struct{ x1, x2, y1, y2 int32 }

// A shape is the numbers of a section, Q13. What comes out is below 2^17, so that
// a sum is right in 32 bits whatever its terms are.
type shape struct{ b0, b1, b2, a1, a2 int32 }

// elliptic is a high-pass of order 4, 640 Hz, 0.5 dB of ripple, 38 dB below
// 440 Hz: the dial tones of the world are below, the keypad's rows above.
var elliptic = [2]shape{
	{4275, -8466, 4275, -8488, 3137},
	{8192, -15615, 8192, -13648, 7265},
}

// pass takes a sample and returns what comes out, and the section after it.
func (s section) pass(h *shape, x int32) (int32, section) {
	y := (h.b0*x + h.b1*s.x1 + h.b2*s.x2 - h.a1*s.y1 - h.a2*s.y2 + 1<<12) >> 13
	return y, section{x, s.x1, y, s.y1}
}

// highPass takes what is below the rows out of x.
func (d *Detector) highPass(x []int16) {
	a, b := d.low[0], d.low[1]
	for i, v := range x {
		var y int32
		y, a = a.pass(&elliptic[0], int32(v))
		y, b = b.pass(&elliptic[1], y)
		x[i] = int16(min(max(y, -32768), 32767))
	}
	d.low[0], d.low[1] = a, b
}

// noHum takes the hum of the mains out of x, by 10 dB: a high-pass of order 1,
// 160 Hz. A voice keeps its low frequencies.
func (d *Detector) noHum(x []int16) {
	hum := d.hum
	for i, v := range x {
		y := int32(v) - hum>>3
		hum += y
		x[i] = int16(min(max(y, -32768), 32767))
	}
	d.hum = hum
}

// frequencies are the rows, then the columns.
var frequencies = func() (f [8]uint16) {
	copy(f[:4], tone.Rows[:])
	copy(f[4:], tone.Columns[:])
	return f
}()

// advance is how far the phase of each frequency turns in a hop; 2^16 is a
// full turn.
var advance = func() (a [8]int16) {
	for i, f := range frequencies {
		a[i] = int16((uint64(f)*hop<<16 + 4000) / 8000)
	}
	return a
}()

// carriers are the rows and the columns from the middle of a window on.
var carriers = func() (c [2][hop][4]phasor.Phasor) {
	for i, f := range frequencies {
		for k, z := range phasor.Carrier(float64(f), hop) {
			c[i/4][k][i%4] = z
		}
	}
	return c
}()

var hann = phasor.Hann(hop)
