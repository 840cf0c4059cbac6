package lab

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/phasor"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// An Ear tells what it hears: the tones it knows, by name and frequencies, other
// steady tones by their frequencies, or nothing. It counts its time by the samples it
// is fed. An Ear is not safe for concurrent use.
type Ear struct {
	known    []melody
	freqs    []uint16 // all frequencies it listens for
	carriers [][]phasor.Phasor
	tell     func(string)

	block  int     // samples between two looks
	loud   int16   // more than which no sample may be when a window is reckoned with
	flat   []int32 // weighs all samples of a window alike
	window []int16 // the latest two blocks, oldest first
	fresh  int     // samples since it was last looked at

	segments []segment // since the sound last became something else
	now      string    // what was told last
}

// A Sound is something an ear knows by name.
type Sound struct {
	Name  string
	Steps []Step
}

// A Step is a part of a sound: frequencies (none: silence) for a time; 0 is
// without end. After the last step comes the first that is not Once.
type Step struct {
	Hz   []uint16
	Time time.Duration
	Once bool
}

// A melody is a Sound as it is told and compared.
type melody struct {
	Sound
	title string   // "dial (350+440 Hz)"
	sets  []string // of the steps
}

// A segment is a stretch in which the same frequencies were heard.
type segment struct {
	set    string // "350+440", "" for silence, "?" for anything else
	blocks int
}

const (
	blockTime = 20 * time.Millisecond // between two looks; two blocks tell 440 and 480 Hz apart

	earFloor  = 30 // RMS below which it is silence: -57 dBm0
	earJoin   = 65 * time.Millisecond
	earSettle = 2  // blocks a new sound must last before it is believed
	earEdge   = 2  // blocks in which one sound goes over into another
	earLost   = 25 // blocks without a name until "something" is heard: a busy computer drops some sound
)

// Whistles are the frequencies beside the known sounds that an ear can name, if its
// rate is enough.
var Whistles = []uint16{697, 770, 852, 941, 1000, 1209, 1336, 1477, 1633, 1800, 2100, 5000}

// NewEar makes an ear that tells every change of what it hears at rate samples a
// second.
func NewEar(rate int, known []Sound, tell func(string)) *Ear {
	e := &Ear{tell: tell, now: "nothing", block: rate / 50, window: make([]int16, rate/25), flat: make([]int32, rate/50)}
	for i := range e.flat {
		e.flat[i] = 1 << 14
	}
	// For a window of 320 samples a quarter of full scale is the most.
	e.loud = 1 << 13 >> bits.Len(uint(rate/8000-1))
	for _, s := range known {
		m := melody{Sound: s}
		var heard []string
		for _, st := range s.Steps {
			e.freqs = append(e.freqs, st.Hz...)
			m.sets = append(m.sets, set(st.Hz))
			if h := set(st.Hz); h != "" && !slices.Contains(heard, h) {
				heard = append(heard, h)
			}
		}
		m.title = fmt.Sprintf("%s (%s Hz)", s.Name, strings.Join(heard, ", "))
		e.known = append(e.known, m)
	}
	for _, w := range Whistles {
		if int(w) < rate/2 && !slices.ContainsFunc(e.freqs, func(f uint16) bool { return near(f, w) }) {
			e.freqs = append(e.freqs, w)
		}
	}
	slices.Sort(e.freqs)
	e.freqs = slices.Compact(e.freqs)
	for _, f := range e.freqs {
		e.carriers = append(e.carriers, phasor.Carrier(float64(f)*8000/float64(rate), e.block))
	}
	return e
}

// near tells frequencies that one window cannot keep apart.
func near(a, b uint16) bool { return max(a, b)-min(a, b) < 30 }

// Now is what the ear hears.
func (e *Ear) Now() string { return e.now }

// Hear takes the next samples.
func (e *Ear) Hear(samples []int16) {
	for _, s := range samples {
		e.window[e.block+e.fresh] = s
		if e.fresh++; e.fresh == e.block {
			e.fresh = 0
			e.next(e.classify())
			copy(e.window, e.window[e.block:])
		}
	}
}

// Reset forgets what was heard, without a word: the receiver was put down.
func (e *Ear) Reset() {
	clear(e.window)
	e.fresh, e.segments, e.now = 0, nil, "nothing"
}

// classify names the frequencies in the window. It does so in integers: the ear
// is emulated too, on processors that have nothing else.
func (e *Ear) classify() string {
	var energy int64
	loudest := int16(0)
	for _, x := range e.window {
		energy += int64(x) * int64(x)
		loudest = max(loudest, x, ^x)
	}
	if energy < int64(earFloor*earFloor*len(e.window)) {
		return ""
	}
	x := slices.Clone(e.window)
	for loudest >= e.loud {
		loudest >>= 1
		for i := range x {
			x[i] >>= 1
		}
	}
	pairs := make([]phasor.Pair, e.block)
	// Of a sine of peak a: n a^2 / 32, and its phasor has a length of n a / 32.
	all := uint64(phasor.Fold(pairs, e.flat, x))
	type peak struct {
		hz   uint16
		part uint64 // thousandths: 1000 for a single sine
	}
	var peaks []peak
	for i, c := range e.carriers {
		part := 1000 * 32 * uint64(phasor.Of(pairs, c).Power()) / uint64(e.block) / all
		peaks = append(peaks, peak{e.freqs[i], part})
	}
	slices.SortFunc(peaks, func(a, b peak) int { return cmp.Compare(b.part, a.part) })
	var found []uint16
	var sum uint64
	for _, p := range peaks {
		if p.part < 100 || p.part < peaks[0].part/4 || len(found) == 4 {
			break
		}
		if !slices.ContainsFunc(found, func(f uint16) bool { return near(f, p.hz) }) { // else in the shadow of a stronger one
			found = append(found, p.hz)
			sum += p.part
		}
	}
	if sum < 700 {
		return "?"
	}
	slices.Sort(found)
	return set(found)
}

// next takes the name of one more block.
func (e *Ear) next(set string) {
	n := len(e.segments)
	if n > 0 && e.segments[n-1].set == "?" && set != "?" && e.segments[n-1].blocks <= earEdge {
		edge := e.segments[n-1].blocks // share it out between before and after
		e.segments = e.segments[:n-1]
		if n--; n > 0 {
			e.segments[n-1].blocks += edge / 2
		}
		e.add(set, edge-edge/2)
	}
	e.add(set, 1)
	e.decide()
}

func (e *Ear) add(set string, blocks int) {
	if n := len(e.segments); n > 0 && e.segments[n-1].set == set {
		e.segments[n-1].blocks += blocks
		return
	}
	if blocks > 0 {
		e.segments = append(e.segments, segment{set, blocks})
	}
}

// decide compares what was heard with what is known, and tells a change.
func (e *Ear) decide() {
	n := len(e.segments)
	last := e.segments[n-1]
	if last.blocks < earSettle || last.set == "?" && last.blocks <= earEdge {
		return
	}
	var fits []melody
	for _, s := range e.known {
		if s.fits(e.segments) {
			fits = append(fits, s)
		}
	}
	switch {
	case len(fits) == 1 && e.segments[0].set != "":
		e.become(fits[0].title)
		e.trim()
	case len(fits) > 1 && e.segments[0].set != "":
		return // cannot tell yet
	case n > 1:
		e.segments = e.segments[n-1:] // something new has begun
		e.decide()
	case last.set == "":
		if time.Duration(last.blocks)*blockTime >= 100*time.Millisecond {
			e.become("nothing")
		}
	case last.set == "?":
		if last.blocks >= earLost {
			e.become("something")
		}
	case last.blocks >= 4:
		e.become(last.set + " Hz")
	}
}

func (e *Ear) become(what string) {
	if what != e.now {
		e.now = what
		e.tell(what)
	}
}

// trim forgets whole periods of a sound that goes on and on.
func (e *Ear) trim() {
	for _, s := range e.known {
		if n := len(s.Steps); s.title == e.now && len(e.segments) > s.once()+3*n && n%2 == 0 {
			e.segments = append(e.segments[:s.once():s.once()], e.segments[n:]...)
		}
	}
}

// once is how many of the first steps are played only once.
func (s Sound) once() int {
	n := 0
	for n < len(s.Steps) && s.Steps[n].Once {
		n++
	}
	return n
}

// step is which the i-th from the beginning is.
func (s Sound) step(i int) int {
	if i < len(s.Steps) {
		return i
	}
	once := s.once()
	return once + (i-once)%(len(s.Steps)-once)
}

// fits tells whether the segments can be the beginning of the sound. The last
// segment may go on.
func (m melody) fits(heard []segment) bool {
	for i, h := range heard {
		if m.once() == len(m.Steps) && i >= len(m.Steps) {
			return false
		}
		st := m.step(i)
		if m.sets[st] != h.set {
			return false
		}
		d, full := time.Duration(h.blocks)*blockTime, m.Steps[st].Time
		if full == 0 {
			return i == len(heard)-1
		}
		if d > full+earJoin {
			return false
		}
		if i < len(heard)-1 && d < full-earJoin {
			return false
		}
	}
	return true
}

// set is the name of frequencies that are heard together.
func set(hz []uint16) string {
	var parts []string
	for _, f := range hz {
		parts = append(parts, fmt.Sprint(f))
	}
	return strings.Join(parts, "+")
}

// sine makes a tone at -10 dBm0 and a rate, from sample number start on.
func sine(out []int16, rate int, hz uint16, start int) {
	const amplitude = 7209 // -10 dBm0: 3.14 dBm0 is full scale
	turn := uint32((uint64(hz)<<32 + uint64(rate)/2) / uint64(rate))
	phase := turn * uint32(start)
	for i := range out {
		out[i] = int16(amplitude * tone.Sine(phase) >> 15)
		phase += turn
	}
}
