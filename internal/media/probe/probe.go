// Package probe hears that a fax or a modem is at work, in the sound of either
// end of a call.
//
// Its one idea: what these machines say to each other first is so plain that
// three frequencies tell it. Every 10 ms a Probe asks, of these 10 ms under a
// Hann window, how much of the energy stands at 1100 and at 2100 Hz and how far
// their phases have turned since the 10 ms before; and, every 1.25 ms, to which
// side of 1750 Hz the sound is.
//
//	1100 Hz for half a second, silence before and after     CNG     a fax calls
//	2100 Hz                                                 CED     a fax answers
//	  its phase reversed every 450 ms                       ANS/    a modem answers
//	  its amplitude going up and down 15 times a second     ANSam   a modem of V.8
//	  both                                                  ANSam/
//	1650 and 1850 Hz in the rhythm of HDLC flags            V.21    a fax speaks
//
// What is sent, and what is accepted here:
//
//	CNG      T.30 section 4.2: 1100 ± 38 Hz, 0.5 s on, 3 s off, ± 15 %; here ± 43 Hz
//	CED      T.30 section 4.1: 2100 ± 15 Hz, 2.6 to 4 s; V.25, ANS: 3.3 ± 0.7 s; here
//	         ± 21 Hz, which is G.168's, from 0.4 s on
//	ANS/     V.25: 180 ± 10 degrees every 450 ± 25 ms; here more than 137, ± 35 ms, twice
//	ANSam    V.8: an envelope of 0.8 to 1.2 at 15 ± 0.1 Hz; here half of that or more
//	V.21     T.30 section 5.3.1: flags for 1 s ± 15 %; V.21, channel 2: 1750 Hz, 1 is
//	         100 Hz below, 0 above, 300 bit/s; here 5 flags, which take 133 ms
//
// All down to -43 dBm0 and to 10 dB above white noise. What a tone is may be known
// only after some time: a CED becomes an ANS/ when it turns for the second time.
// All arithmetic is integer.
package probe

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/phasor"
)

// A Tone is what a machine says.
type Tone uint8

const (
	None       Tone = iota
	CNG             // a fax calls
	CED             // a fax answers; a modem that has no echo cancellers to turn off does so too
	ANS             // with reversals
	ANSam           // with an envelope
	ANSamTurns      // with both
	Preamble        // flags of V.21, channel 2
)

var names = [...]string{"", "CNG", "CED", "ANS/", "ANSam", "ANSam/", "V.21"}

// String is the name as in the table above.
func (t Tone) String() string { return names[t] }

// Data reports whether data follows or has begun, so that sound has to be carried
// as it is.
func (t Tone) Data() bool { return t >= CED }

// Heard is what a Probe knows after a stretch of sound.
type Heard struct {
	Tone  Tone          // that sounds, as far as it is known; a CNG is known when it is over
	Ended Tone          // one that has ended
	For   time.Duration // how long that lasted, to 10 ms
	Ago   time.Duration // how long before the end of the stretch that was
}

const (
	frame = 80 // samples, 10 ms
	half  = frame / 2
	tick  = 10 // samples, 1.25 ms
	ticks = frame / tick

	permille = 1000
	hertz    = 1 << 16 / 100 // a turn of the phase in 10 ms
)

// Our choices.
const (
	floorPeak = 110 // of a tone, -46 dBm0: where an envelope is lowest
	// Power of a tone in a folded window: the square of 40/64 of its peak. Its
	// energy is 6/5 of that.
	floorEnergy = floorPeak * floorPeak * 15 / 32

	// Of the energy of 10 ms, a tone has this share. One that is 21 Hz off has lost
	// 6 % in the window, one that is 38 Hz off 19 %; noise 10 dB below it takes 9 %.
	minShare, minShareCNG = 680, 600 // permille
)

// A Probe listens to one end. The zero Probe is ready. It belongs to one goroutine
// and never allocates.
type Probe struct {
	sound   [frame]int16
	n       int
	calling calling
	answer  answer
	flags   flags
}

// Hear listens to the next samples; up to 80 at a time, so that nothing that ends
// is missed.
func (p *Probe) Hear(sound []int16) (h Heard) {
	for len(sound) > 0 {
		k := copy(p.sound[p.n:], sound)
		sound = sound[k:]
		if p.n += k; p.n == frame {
			p.frame(&h)
			p.n = 0
		}
	}
	h.Tone = p.answer.tone()
	if p.flags.count >= enoughFlags {
		h.Tone = Preamble
	}
	return h
}

// frame listens to the 10 ms that have just become full.
func (p *Probe) frame(h *Heard) {
	var pairs [half]phasor.Pair
	energy := phasor.Fold(pairs[:], hann, p.sound[:])
	if energy < floorEnergy {
		p.calling.hear(h, phasor.Phasor{}, energy)
		p.answer.hear(h, phasor.Phasor{})
		p.flags.stop(h)
		return
	}
	p.calling.hear(h, alone(phasor.Of(pairs[:], at1100), energy, minShareCNG), energy)
	p.answer.hear(h, alone(phasor.Of(pairs[:], at2100), energy, minShare))
	p.flags.hear(h, &p.sound)
}

// alone is z if it has its share of the energy.
func alone(z phasor.Phasor, energy uint32, share uint64) phasor.Phasor {
	if uint64(z.Power())*permille*6/5 < uint64(energy)*share {
		return phasor.Phasor{}
	}
	return z
}

func (h *Heard) ended(t Tone, lasted, ago time.Duration) { h.Ended, h.For, h.Ago = t, lasted, ago }

// frames is so many times 10 ms.
func frames(n int) time.Duration { return time.Duration(n) * frame * time.Second / 8000 }

var (
	hann   = phasor.Hann(half)
	at1100 = phasor.Carrier(1100, half)
	at2100 = phasor.Carrier(2100, half)
)

// A drift is how far a tone is from its frequency.
type drift struct {
	last   phasor.Phasor // of the frame before; 0 if the tone was not there
	turn   int32         // in a frame, in the mean of some
	agreed int           // frames that did
}

// A tone that turns otherwise than before by more is another one.
const maxChange = 8 * hertz

// follow takes the next frame and reports whether its tone is that of before.
func (d *drift) follow(z phasor.Phasor) bool {
	before := d.last
	d.last = z
	if before == (phasor.Phasor{}) || z == (phasor.Phasor{}) {
		return false
	}
	off := int32(z.Turned(before) - int16(d.turn))
	if d.agreed > 0 && (off > maxChange || off < -maxChange) {
		d.agreed--
		return false
	}
	d.agreed++
	d.turn = int32(int16(d.turn + off/int32(min(d.agreed, 8))))
	return true
}

// within reports whether the tone is at most so far off.
func (d *drift) within(most int32) bool { return d.turn <= most && d.turn >= -most }

// A look is a tone's power in a window, and the energy there.
type look struct{ power, energy uint64 }

// A calling is what may be CNG: 1100 Hz between two silences.
type calling struct {
	drift
	on, gap   int       // frames since it began; and missing since then
	newest    look      // the last frame, which it may not fill
	low, high uint32    // power of those between it and the first
	sum       look      // and their sum
	before    [2]uint32 // energy of the frames without it, the latest first
	quiet     uint32    // of the last that it cannot have begun in
}

const (
	maxOffCNG      = 43 * hertz
	minCNG, maxCNG = 41, 60 // frames: 425 to 575 ms begin and end in one more or one less
	gapCNG         = 1      // frames that noise may hide
	silence        = 3      // times less energy than in the tone

	// Its share in all of the tone, what the window loses made up for. Of one that
	// is 60 Hz off, which turns as one that is 40 Hz off does, 78 % are found.
	shareCNG = 830 // permille
)

func (c *calling) hear(h *Heard, z phasor.Phasor, energy uint32) {
	c.follow(z)
	if z == (phasor.Phasor{}) {
		if c.gap++; c.on > 0 && c.gap > gapCNG {
			if c.whole(energy) {
				h.ended(CNG, frames(c.on), frames(c.gap))
			}
			*c = calling{before: c.before}
		}
		c.before = [2]uint32{energy, c.before[0]}
		return
	}
	switch {
	case c.on == 0:
		c.quiet, c.gap = c.before[1], 0
	case c.on == 1:
	default:
		p := uint32(c.newest.power)
		if c.low == 0 {
			c.low, c.high = p, p
		}
		c.low, c.high = min(c.low, p), max(c.high, p)
		c.sum.power += c.newest.power
		c.sum.energy += c.newest.energy
	}
	c.newest = look{uint64(z.Power()), uint64(energy)}
	c.on += c.gap + 1
	c.gap = 0
}

// whole reports whether what has ended was CNG; energy is that of a frame after
// it. The tone was even, to 3.5 dB in power.
func (c *calling) whole(energy uint32) bool {
	if c.on < minCNG || c.on > maxCNG || c.agreed < c.on*3/4 || !c.within(maxOffCNG) ||
		c.high/9 > c.low/4 || c.quiet > c.low/silence || energy > c.low/silence {
		return false
	}
	// A tone that is off by 2^16 d turns a frame has lost 1.29 d² of its power.
	left := 1<<32 - uint64(c.turn*c.turn)*129/100
	return c.sum.power<<10/(left>>22)*permille*6/5 >= c.sum.energy*shareCNG
}

// An answer is 2100 Hz.
type answer struct {
	drift
	older    phasor.Phasor // of the frame before the last; 0 if the tone was not there
	on, gap  int           // frames since it began; and missing since then
	turns    int           // reversals, one after the other as they should be
	since    int           // frames since the last
	reversed bool          // there were enough
	wave     envelope
}

const (
	maxOffAnswer = 21 * hertz
	minAnswer    = 40 // frames
	gapAnswer    = 3  // frames that a reversal or noise may hide

	turned           = 137 << 16 / 360 // 180 degrees, and 43 less
	minTurn, maxTurn = 41, 49          // frames between two: 450 ± 25 ms, and one more or less
	enoughTurns      = 2
)

func (a *answer) hear(h *Heard, z phasor.Phasor) {
	older := a.older
	a.older = a.last
	if z == (phasor.Phasor{}) {
		a.follow(z)
		a.wave.begin()
		if a.gap++; a.on > 0 && a.gap > gapAnswer {
			if t := a.tone(); t != None {
				h.ended(t, frames(a.on), frames(a.gap))
			}
			*a = answer{}
		}
		return
	}
	if a.on == 0 {
		a.gap = 0
	}
	a.on += a.gap + 1
	a.since += a.gap + 1
	a.gap = 0
	if older != (phasor.Phasor{}) && a.agreed >= 4 {
		// The frame between may hold the turn.
		if off := int32(z.Turned(older) - int16(2*a.turn)); off > turned || off < -turned {
			a.reverse(z)
			return
		}
	}
	if a.follow(z) {
		a.wave.hear(z.Length())
	} else {
		a.wave.begin()
	}
}

// reverse counts a turn; z is the first frame after it.
func (a *answer) reverse(z phasor.Phasor) {
	if a.since < minTurn || a.since > maxTurn {
		a.turns = 0
	}
	a.turns++
	a.reversed = a.reversed || a.turns >= enoughTurns
	a.since = 0
	a.last, a.older = z, phasor.Phasor{} // and it shall not be found again
	a.wave.begin()
}

// tone is what it is, as far as it is known.
func (a *answer) tone() Tone {
	switch {
	case a.on < minAnswer || a.agreed < minAnswer*3/4 || !a.within(maxOffAnswer):
		return None
	case a.wave.there() && a.reversed:
		return ANSamTurns
	case a.wave.there():
		return ANSam
	case a.reversed:
		return ANS
	}
	return CED
}

// An envelope looks for 15 Hz in the amplitude of a tone: three waves in 200 ms.
type envelope struct {
	n           int // frames of these 200 ms
	sum, re, im int32
	waves, flat int // 200 ms with, and without
}

const waveFrames = 20

// begin begins 200 ms anew.
func (e *envelope) begin() { *e = envelope{waves: e.waves, flat: e.flat} }

func (e *envelope) hear(amplitude uint32) {
	a := int32(amplitude)
	e.sum += a
	e.re += a * at15[e.n].Re >> 10
	e.im += a * at15[e.n].Im >> 10
	if e.n++; e.n < waveFrames {
		return
	}
	// An envelope of 1 ± d has a sum of n, and here n d / 2 * 8: half of 0.2 is
	// asked for.
	if z := (phasor.Phasor{Re: e.re >> 4, Im: e.im >> 4}); 16*int32(z.Length()) >= 4*e.sum/10 {
		e.waves++
	} else {
		e.flat++
	}
	e.begin()
}

func (e *envelope) there() bool { return e.waves > e.flat }

var at15 = phasor.Carrier(15*frame, waveFrames)

// A flags is HDLC flags, 01111110, in V.21, channel 2: two bits at 1850 Hz, six at
// 1650, and again.
type flags struct {
	odd    bool          // the frame: 1750 Hz repeat every 160 samples
	last   phasor.Phasor // of the tick before
	cross  int32         // the same's, see hear
	space  bool          // the tone now is 1850 Hz
	run    int           // ticks that it has been
	before int           // ticks that the other one was
	mean   struct{ cross, power, energy uint32 }
	age    int // ticks since the first flag began
	whole  int // of them up to the end of the last
	count  int // flags
}

const (
	// Two zeros are 5.3 ticks; flags may share one of 2.7. Six ones are 16.
	minSpace, maxSpace = 2, 7
	minMark, maxMark   = 14, 18
	zero               = 3 // ticks of one bit
	enoughFlags        = 5
)

func (f *flags) hear(h *Heard, x *[frame]int16) {
	carrier := at1750[:frame]
	if f.odd {
		carrier = at1750[frame:]
	}
	f.odd = !f.odd
	for t := range ticks {
		var re, im int32
		var energy uint32
		c := carrier[t*tick:][:tick]
		for i, s := range x[t*tick:][:tick] {
			s := int32(s) >> 3
			re += s * c[i].Re
			im -= s * c[i].Im
			energy += uint32(s * s)
		}
		z := phasor.Phasor{Re: re >> 15, Im: im >> 15}
		// The sine of the angle between two ticks, times their lengths: ± 45 degrees
		// are ± 100 Hz.
		cross := z.Im*f.last.Re - z.Re*f.last.Im
		f.last = z
		f.tick(h, cross, z.Power(), energy)
	}
}

// tick takes the next 1.25 ms.
func (f *flags) tick(h *Heard, cross int32, power, energy uint32) {
	space := cross+f.cross > 0
	f.cross = cross
	f.age++
	if space != f.space {
		switch {
		case f.space && (f.run < minSpace || f.run > maxSpace), !f.space && !f.mark():
			f.over(h)
		case !f.space:
			if f.count++; f.count == 1 {
				f.age = min(f.before, zero) + f.run
			}
			f.whole = f.age + zero
		}
		f.space, f.before, f.run = space, f.run, 0
		f.mean.cross, f.mean.power, f.mean.energy = 0, 0, 0
	}
	f.run++
	if f.run > maxMark || space && f.run > maxSpace {
		f.over(h)
		return
	}
	f.mean.cross += uint32(max(cross, -cross)) >> 4
	f.mean.power += power >> 4
	f.mean.energy += energy >> 4
}

// mark reports whether what has ended may be the ones of a flag: as long, as far
// below 1750 Hz (a sine of 0.7), and nothing else in the sound. The power of a
// tone alone is 0.3 of its energy.
func (f *flags) mark() bool {
	m := &f.mean
	return f.run >= minMark && f.before >= minSpace && f.before <= maxSpace &&
		m.cross > m.power*2/5 && m.cross < m.power*19/20 && m.power > m.energy*18/100
}

// over ends the flags.
func (f *flags) over(h *Heard) {
	if f.count >= enoughFlags {
		const t = time.Second * tick / 8000
		h.ended(Preamble, time.Duration(f.whole)*t, time.Duration(max(0, f.age-f.whole))*t)
	}
	f.count = 0
}

// stop is that 10 ms are silent.
func (f *flags) stop(h *Heard) {
	f.age += ticks
	f.over(h)
	*f = flags{}
}

var at1750 = phasor.Carrier(1750, 2*frame)
