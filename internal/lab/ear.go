package lab

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// An Ear tells what it hears: the tones it knows by name, other steady tones
// by their frequencies, or nothing. It is fed 8 kHz samples and counts its time
// by them. An Ear is not safe for concurrent use.
type Ear struct {
	known []Sound
	freqs []float64 // all frequencies it listens for
	coeff []float64
	tell  func(string)

	window [earWindow]float64 // the latest samples, oldest first
	fresh  int                // samples since it was last looked at

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
	Hz   []float64
	Time time.Duration
	Once bool
}

// A segment is a stretch in which the same frequencies were heard.
type segment struct {
	set    string // "350+440", "" for silence, "?" for anything else
	blocks int
}

const (
	earWindow = 320 // samples: 40 ms, so that 440 and 480 Hz are told apart
	earBlock  = 160 // samples between two looks
	blockTime = 20 * time.Millisecond

	earFloor  = 30 // RMS below which it is silence: -57 dBm0
	earJoin   = 65 * time.Millisecond
	earSettle = 2  // blocks a new sound must last before it is believed
	earEdge   = 2  // blocks in which one sound goes over into another
	earLost   = 25 // blocks without a name until "something" is heard: a busy computer drops some sound
)

// Whistles are the frequencies beside the known sounds that an ear can name.
var Whistles = []float64{697, 770, 852, 941, 1000, 1209, 1336, 1477, 1633, 1800, 2100}

// NewEar makes an ear that tells every change of what it hears.
func NewEar(known []Sound, tell func(string)) *Ear {
	e := &Ear{known: known, tell: tell, now: "nothing"}
	for _, s := range known {
		for _, st := range s.Steps {
			e.freqs = append(e.freqs, st.Hz...)
		}
	}
	for _, w := range Whistles {
		near := slices.ContainsFunc(e.freqs, func(f float64) bool { return math.Abs(f-w) < 30 })
		if !near {
			e.freqs = append(e.freqs, w)
		}
	}
	slices.Sort(e.freqs)
	e.freqs = slices.Compact(e.freqs)
	for _, f := range e.freqs {
		e.coeff = append(e.coeff, 2*math.Cos(2*math.Pi*f/8000))
	}
	return e
}

// Now is what the ear hears.
func (e *Ear) Now() string { return e.now }

// Hear takes the next samples.
func (e *Ear) Hear(samples []int16) {
	for _, s := range samples {
		e.window[earWindow-earBlock+e.fresh] = float64(s)
		if e.fresh++; e.fresh == earBlock {
			e.fresh = 0
			e.next(e.classify())
			copy(e.window[:], e.window[earBlock:])
		}
	}
}

// Reset forgets what was heard, without a word: the receiver was put down.
func (e *Ear) Reset() {
	e.window, e.fresh, e.segments, e.now = [earWindow]float64{}, 0, nil, "nothing"
}

// classify names the frequencies in the window.
func (e *Ear) classify() string {
	var energy float64
	for _, x := range e.window {
		energy += x * x
	}
	if math.Sqrt(energy/earWindow) < earFloor {
		return ""
	}
	type peak struct{ f, part float64 }
	var peaks []peak
	for i, c := range e.coeff {
		var s1, s2 float64
		for _, x := range e.window {
			s1, s2 = x+c*s1-s2, s1
		}
		part := 2 * (s1*s1 + s2*s2 - c*s1*s2) / (earWindow * energy) // 1 for a single sine
		peaks = append(peaks, peak{e.freqs[i], part})
	}
	slices.SortFunc(peaks, func(a, b peak) int { return cmp.Compare(b.part, a.part) })
	var found []float64
	sum := 0.0
	for _, p := range peaks {
		if p.part < 0.1 || p.part < peaks[0].part/4 || len(found) == 4 {
			break
		}
		shadow := slices.ContainsFunc(found, func(f float64) bool { return math.Abs(f-p.f) < 30 })
		if !shadow { // else the neighbour of a stronger one
			found = append(found, p.f)
			sum += p.part
		}
	}
	if sum < 0.7 {
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
	var fits []Sound
	for _, s := range e.known {
		if s.fits(e.segments) {
			fits = append(fits, s)
		}
	}
	switch {
	case len(fits) == 1 && e.segments[0].set != "":
		e.become(fits[0].Name)
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
		if n := len(s.Steps); s.Name == e.now && len(e.segments) > s.once()+3*n && n%2 == 0 {
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

// step is the i-th from the beginning.
func (s Sound) step(i int) Step {
	if i < len(s.Steps) {
		return s.Steps[i]
	}
	once := s.once()
	return s.Steps[once+(i-once)%(len(s.Steps)-once)]
}

// fits tells whether the segments can be the beginning of the sound. The last
// segment may go on.
func (s Sound) fits(heard []segment) bool {
	for i, h := range heard {
		if s.once() == len(s.Steps) && i >= len(s.Steps) {
			return false
		}
		st := s.step(i)
		if set(st.Hz) != h.set {
			return false
		}
		d := time.Duration(h.blocks) * blockTime
		if st.Time == 0 {
			return i == len(heard)-1
		}
		if d > st.Time+earJoin {
			return false
		}
		if i < len(heard)-1 && d < st.Time-earJoin {
			return false
		}
	}
	return true
}

// set is the name of frequencies that are heard together.
func set(hz []float64) string {
	var parts []string
	for _, f := range hz {
		parts = append(parts, fmt.Sprint(f))
	}
	return strings.Join(parts, "+")
}

// sine makes a tone at -10 dBm0, from sample number start on.
func sine(out []int16, hz float64, start int) {
	const amplitude = 32767 * 0.22 // -10 dBm0: 3.14 dBm0 is full scale
	for i := range out {
		out[i] = int16(amplitude * math.Sin(2*math.Pi*hz*float64(start+i)/8000))
	}
}
