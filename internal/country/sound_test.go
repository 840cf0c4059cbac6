package country

import (
	"math"
	"math/cmplx"
	"slices"
	"testing"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// Every tone of every country, as it sounds: what the collection says is what
// is heard. ITU-T E.180 leaves frequencies, levels and cadences to the
// administrations; the limits are ours: 0.1 % of frequency, 0.5 dB of level,
// 5 ms of each edge.
func TestSound(t *testing.T) {
	all := records(t)
	worst := &margins{}
	heard := 0
	for _, code := range Codes() {
		if testing.Short() && code != "za" {
			continue
		}
		c, err := Get(code)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []tone.Name{tone.Dial, tone.Stutter, tone.SpecialDial, tone.Recall, tone.Ringback,
			tone.Busy, tone.Congestion, tone.Unobtainable, tone.SIT, tone.CallWaiting, tone.Confirm, tone.Record, tone.Howler} {
			heard++
			l := listener{T: t, tone: code + " " + string(name), worst: worst}
			want := l.collected(all[code], name)
			if want == nil { // another tone of the country or the usual one stands in
				want = l.data(c.Tone(name))
			}
			l.hear(c.Tone(name), want)
		}
	}
	t.Logf("%d tones; at worst: frequency %.5f %% of 0.1, level %.3f dB of 0.5, edge %.1f ms of 5, modulation %.1f %% from 85, a click of %.0f dB where a cut would make %.0f",
		heard, worst.hz*100, worst.level, worst.edge, worst.depth*100, worst.click, worst.cut)
}

// margins are the worst of what was heard. A click is what sounds far beside a
// tone's frequencies where it begins or ends, relative to the tone.
type margins struct{ hz, level, edge, depth, click, cut float64 }

// A stretch of a tone: what sounds together, from one sample to before another.
type stretch struct {
	from, to int
	hz       []float64
	level    []float64 // dBm0, of each
	am       float64   // Hz
}

// How much of a tone is listened to: so many samples, and the first stretches of
// them. What follows two rounds is like them.
const (
	judged    = 14 * 8000
	stretches = 12
)

type listener struct {
	*testing.T
	tone  string
	worst *margins
}

// collected is a tone as countries.json has it; nil if it has none.
func (l *listener) collected(r record, name tone.Name) (all []stretch) {
	from, ok := r.Tones[name]
	if !ok {
		return nil
	}
	levels := r.levels(l.T, name)
	if levels == nil {
		levels = []int{int(name.Level())}
	}
	add := func(i, from int) (to int, ends bool) {
		s := r.Tones[name].Steps[i]
		x := stretch{from: from, to: from + int(s.MS)*8, am: float64(s.AM)}
		for k, f := range s.F {
			x.hz = append(x.hz, float64(f))
			x.level = append(x.level, float64(levels[min(k, len(levels)-1)]))
		}
		if s.MS == 0 {
			x.to = judged
		}
		all = append(all, x)
		return x.to, s.MS == 0
	}
	return l.rounds(&all, len(from.Steps), add, func(i int) bool { return from.Loop && !from.Steps[i].Once })
}

// data is a tone as its steps say.
func (l *listener) data(x tone.Tone) (all []stretch) {
	level := x.Level
	if level == 0 {
		level = x.Name.Level()
	}
	add := func(i, from int) (to int, ends bool) {
		s := x.Steps[i]
		y := stretch{from: from, to: from + int(s.Ms)*8, am: float64(s.AM)}
		for k, f := range s.Hz {
			if f != 0 {
				y.hz = append(y.hz, float64(f))
				y.level = append(y.level, float64(level)+float64(s.Gain[k]))
			}
		}
		if s.Ms == 0 {
			y.to = judged
		}
		all = append(all, y)
		return y.to, s.Ms == 0
	}
	return l.rounds(&all, len(x.Steps), add, func(i int) bool { return x.Loop && !x.Steps[i].Once })
}

// rounds adds steps until enough is there to judge, and joins what goes on.
func (l *listener) rounds(all *[]stretch, n int, add func(i, from int) (int, bool), again func(i int) bool) (joined []stretch) {
	at, ends, any := 0, false, true
	for first := true; at < judged && !ends && any; first = false {
		any = false
		for i := 0; i < n && at < judged && !ends; i++ {
			if first || again(i) {
				any = true
				at, ends = add(i, at)
			}
		}
	}
	for _, s := range append(*all, stretch{from: at, to: judged}) {
		s.to = min(s.to, judged)
		if k := len(joined) - 1; k >= 0 && slices.Equal(joined[k].hz, s.hz) && joined[k].am == s.am {
			joined[k].to = s.to
		} else if s.from < s.to {
			joined = append(joined, s)
		}
	}
	return joined
}

// hear plays a tone and compares it with what is wanted.
func (l *listener) hear(x tone.Tone, want []stretch) {
	var p tone.Player
	p.Play(x)
	sound := make([]int16, judged+1600)
	p.Read(sound[:judged])
	p.Stop()
	p.Read(sound[judged:])
	if want = append(want, stretch{from: judged, to: judged + 1600}); len(want) > stretches { // it was stopped
		want = slices.Delete(want, stretches-2, len(want)-2)
	}
	var before *stretch
	for i := range want {
		s := &want[i]
		s.to = min(s.to, len(sound))
		if len(s.hz) > 0 {
			l.steady(sound, s)
		} else if s.to-s.from > 80 {
			l.silent(sound[s.from+40 : min(s.to, len(sound))])
		}
		if len(s.hz) > 0 || before != nil && len(before.hz) > 0 {
			l.edge(sound, before, s)
		}
		before = s
	}
}

func (l *listener) silent(sound []int16) {
	for _, x := range sound {
		if x != 0 {
			l.Errorf("%s: sounds where it is silent", l.tone)
			return
		}
	}
}

// carriers are all frequencies of a stretch: its own, and beside them those of
// its modulation.
func (s *stretch) carriers() []float64 {
	hz := slices.Clone(s.hz)
	if s.am != 0 {
		for _, f := range s.hz {
			hz = append(hz, f-s.am, f+s.am)
		}
	}
	return hz
}

// steady judges the middle of a stretch.
func (l *listener) steady(sound []int16, s *stretch) {
	const ramp = 6 * 8 // its beginning and end
	from, to := s.from+ramp, min(s.to-ramp, s.from+ramp+1600)
	if to-from < 100 { // too short to be told from its ends
		return
	}
	hz := s.carriers()
	half := (to - from) / 2
	one, rest := fit(sound[from:from+half], hz)
	two, _ := fit(sound[from+half:from+2*half], hz)
	if rest > -35 {
		l.Errorf("%s: at %d ms, something else sounds with %v Hz: %.1f dB", l.tone, s.from/8, s.hz, rest)
	}
	for i, f := range s.hz {
		// The sum of the two, each at its own phase, is what sounds throughout.
		level := 20*math.Log10(math.Sqrt((sq(one[i])+sq(two[i]))/2)/32767) + 3.14
		turned := two[i] * cmplx.Conj(one[i]) * cmplx.Exp(complex(0, -2*math.Pi*f*float64(half)/8000))
		off := math.Abs(cmplx.Phase(turned)) / (2 * math.Pi) * 8000 / float64(half) / f
		bad := math.Abs(level - s.level[i])
		l.worst.hz, l.worst.level = max(l.worst.hz, off), max(l.worst.level, bad)
		if off > 0.001 || bad > 0.5 {
			l.Errorf("%s: at %d ms, %v Hz is off by %.3f %% and sounds at %.2f dBm0, want %v", l.tone, s.from/8, f, 100*off, level, s.level[i])
		}
		if s.am == 0 || float64(half)*s.am/8000 < 1 {
			continue
		}
		for k := range 2 {
			side := len(s.hz) + 2*i + k
			depth := 2 * cmplx.Abs(one[side]) / cmplx.Abs(one[i])
			l.worst.depth = max(l.worst.depth, math.Abs(depth-0.85))
			if math.Abs(depth-0.85) > 0.05 {
				l.Errorf("%s: at %d ms, %v Hz is modulated by %.0f %% with %v Hz, want 85", l.tone, s.from/8, f, 100*depth, s.am)
			}
		}
	}
}

// edge judges where one stretch goes over into another: when, and how softly.
func (l *listener) edge(sound []int16, before, s *stretch) {
	if before != nil && before.to-before.from >= 40*8 && s.to-s.from >= 40*8 {
		ms := l.turn(sound, before, s)
		l.worst.edge = max(l.worst.edge, math.Abs(ms))
		if math.Abs(ms) > 5 {
			l.Errorf("%s: %v Hz becomes %v Hz %.1f ms from %d ms", l.tone, before.hz, s.hz, ms, s.from/8)
		}
	}
	one := s // what begins or ends
	if len(s.hz) == 0 {
		one = before
	} else if before != nil && len(before.hz) > 0 {
		return // goes over into another
	}

	// 32 ms about the end, in which a sound that is cut off would be heard far
	// above its own frequencies.
	const about = 128
	w, hard := make([]int16, 2*about), make([]int16, 2*about)
	for i := range w {
		if n := s.from - about + i; n >= 0 && n < len(sound) {
			w[i] = sound[n]
		}
		if (i >= about) == (one == s) { // cut off where it is strongest
			for k, f := range one.hz {
				peak := 32767 * math.Pow(10, (one.level[k]-3.14)/20)
				hard[i] += int16(peak * math.Cos(2*math.Pi*f*float64(i-about)/8000))
			}
		}
	}
	top := slices.Max(one.carriers()) + 800
	click, cut := above(w, top), above(hard, top)
	if l.worst.cut == 0 || click-cut > l.worst.click-l.worst.cut {
		l.worst.click, l.worst.cut = click, cut
	}
	if click > cut-20 {
		l.Errorf("%s: a click at %d ms: %.0f dB above %.0f Hz, and a cut would make %.0f", l.tone, s.from/8, click, top, cut)
	}
}

// turn is when one stretch becomes another, in ms from where it should: the
// instant for which what sounds before it, from its middle on, and what sounds
// after it leave the least unexplained.
func (l *listener) turn(sound []int16, before, s *stretch) float64 {
	const about, ramp, long = 100, 40, 800
	expect := func(x *stretch, from, to int) (y []float64) {
		y = make([]float64, 2*about)
		hz := x.carriers()
		if len(hz) == 0 {
			return y
		}
		c, _ := fit(sound[from:to], hz)
		for i := range y {
			for k, f := range hz {
				y[i] += real(c[k] * cmplx.Exp(complex(0, 2*math.Pi*f*float64(s.from-about+i-from)/8000)))
			}
		}
		return y
	}
	old := expect(before, max(before.from+ramp, s.from-ramp-long), s.from-ramp)
	young := expect(s, s.from+ramp, min(s.to-ramp, s.from+ramp+long))
	left := 0.0
	for i, y := range young {
		left += math.Pow(float64(sound[s.from-about+i])-y, 2)
	}
	at, least := 0, left
	for i := range young {
		x := float64(sound[s.from-about+i])
		left += (x-old[i])*(x-old[i]) - (x-young[i])*(x-young[i])
		if left < least {
			at, least = i+1, left
		}
	}
	return float64(at-about) / 8
}

// above is what of a sound lies above a frequency, in dB of the whole: a Hann
// window and a Fourier transform.
func above(s []int16, hz float64) float64 {
	n := len(s)
	turn := make([]complex128, n)
	for i := range turn {
		turn[i] = cmplx.Exp(complex(0, -2*math.Pi*float64(i)/float64(n)))
	}
	var high, all float64
	for k := range n / 2 {
		var sum complex128
		for i, x := range s {
			sum += complex((0.5-0.5*real(turn[i]))*float64(x), 0) * turn[k*i%n]
		}
		all += sq(sum)
		if float64(k)*8000/float64(n) > hz {
			high += sq(sum)
		}
	}
	return 10 * math.Log10(high/all)
}

func sq(c complex128) float64 { return real(c)*real(c) + imag(c)*imag(c) }

// fit finds the sines of given frequencies that make up a sound: their peaks
// and phases by least squares, and what is left over, in dB of the whole.
func fit(s []int16, hz []float64) (c []complex128, rest float64) {
	n := 2 * len(hz)
	basis := make([][]float64, n)
	for i, f := range hz {
		basis[2*i], basis[2*i+1] = make([]float64, len(s)), make([]float64, len(s))
		at, turn := complex(1, 0), cmplx.Exp(complex(0, 2*math.Pi*f/8000))
		for t := range s {
			basis[2*i][t], basis[2*i+1][t] = real(at), -imag(at)
			at *= turn
		}
	}
	m := make([][]float64, n) // the normal equations
	for i := range n {
		m[i] = make([]float64, n+1)
		for k := range i + 1 {
			for t := range s {
				m[i][k] += basis[i][t] * basis[k][t]
			}
			m[k][i] = m[i][k]
		}
		for t, x := range s {
			m[i][n] += basis[i][t] * float64(x)
		}
	}
	for i := range n { // Gauss and Jordan; the matrix is positive
		for k := range n {
			if k == i {
				continue
			}
			by := m[k][i] / m[i][i]
			for j := i; j <= n; j++ {
				m[k][j] -= by * m[i][j]
			}
		}
	}
	var left, all float64
	for t, x := range s {
		y := float64(x)
		all += y * y
		for i := range n {
			y -= basis[i][t] * m[i][n] / m[i][i]
		}
		left += y * y
	}
	for i := range hz {
		c = append(c, complex(m[2*i][n]/m[2*i][2*i], m[2*i+1][n]/m[2*i+1][2*i+1]))
	}
	return c, 10 * math.Log10(left/all)
}
