package echo

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What is asked here is more than ITU-T G.168 asks: its test 2B wants 20 dB
// together with the loss of the line within a second, and its figures for
// lines of G.711 end at some 30 dB. The tests bear its numbers. Its words are
// not at hand, so what stands above an assertion is the sense of them.

// A bar is a figure over all paths: what is asked of the mean, and of each
// path no less than 60 % of the mean.
type bar struct {
	name  string
	ask   float64
	less  bool // the figure must be less
	value []float64
}

func bars(names ...any) (all []*bar) {
	for i := 0; i < len(names); i += 2 {
		b := &bar{name: names[i].(string)}
		switch ask := names[i+1].(type) {
		case float64: // a time
			b.ask, b.less = ask, true
		case int: // a loss
			b.ask = float64(ask)
		}
		all = append(all, b)
	}
	return all
}

func judgeBars(t *testing.T, all []*bar) {
	t.Helper()
	row := func(name string, value func(b *bar) string) {
		var s strings.Builder
		for _, b := range all {
			fmt.Fprintf(&s, "%*s", len(b.name)+3, value(b))
		}
		t.Logf("%-5s%s", name, &s)
	}
	row("", func(b *bar) string { return b.name })
	for i, p := range paths() {
		row(fmt.Sprintf("D.%d", p), func(b *bar) string { return fmt.Sprintf("%.2f", b.value[i]) })
	}
	mean := func(b *bar) (m float64) {
		for _, v := range b.value {
			m += v / float64(len(b.value))
		}
		return m
	}
	row("mean", func(b *bar) string { return fmt.Sprintf("%.2f", mean(b)) })
	row("bar", func(b *bar) string { return fmt.Sprintf("%.2f", b.ask) })
	for _, b := range all {
		m := mean(b)
		if b.less && m > b.ask || !b.less && m < b.ask {
			t.Errorf("%s: %.2f, want %.2f", b.name, m, b.ask)
		}
		if !b.less && slices.Min(b.value) < .6*m {
			t.Errorf("%s: a path has %.2f, 60 %% of the mean are %.2f", b.name, slices.Min(b.value), .6*m)
		}
	}
}

func add(all []*bar, values ...float64) {
	for i, v := range values {
		all[i].value = append(all[i].value, v)
	}
}

// Test 2B, convergence without NLP and again when the line becomes another;
// test 3, double talk, loud and low; test 4, leak while nobody speaks; test 6,
// tones that teach nothing. Each goes on from a line that is known.
func TestG168(t *testing.T) {
	table := bars("20 dB", .7, "30 dB", 1.2, "1 s", 34, "10 s", 50, "again", 1.0,
		"talk 0", 45, "talk -15", 30, "leak", 44, "tones", 44)
	talking, leaking, toning := 8*second, 120*second, 5*second
	if testing.Short() {
		talking, leaking, toning = 3*second, 5*second, second
	}
	for i, p := range paths() {
		l := lineOf(path(p, 6, 40), 256)
		echo, _, out := l.play(css(-10, 10*second), nil)
		figures := []float64{reach(echo, out, 20), reach(echo, out, 30),
			erle(echo[second:][:2800], out[second:][:2800]), erle(echo[9*second:], out[9*second:])}

		other := l.then()
		other.play(silence(second), nil)
		other.h = path(paths()[(i+1)%len(paths())], 6, 20)
		e, _, o := other.play(css(-10, 3*second), nil)
		figures = append(figures, reach(e, o, 20))

		after := func(far, near []int16) float64 {
			m := l.then()
			m.play(far, near)
			e, _, o := m.play(css(-10, second), nil)
			return erle(e, o)
		}
		figures = append(figures,
			after(css(-10, talking), talk(-10, talking)),
			after(css(-10, talking), talk(-25, talking)),
			after(silence(leaking), nil))
		var tones []int16
		for _, f := range [][2]float64{{697, 0}, {941, 0}, {1336, 0}, {1633, 0},
			{697, 1209}, {770, 1336}, {852, 1477}, {941, 1633}} {
			tones = append(tones, sines(-10, toning, f[0], f[1])...)
		}
		figures = append(figures, after(tones, nil))
		add(table, figures...)
	}
	judgeBars(t, table)
}

// Two voices of one pitch are no other line: what one says does not foretell
// the other for long. These are the pairs of many that once misled it.
func TestVoicesOfOnePitch(t *testing.T) {
	for _, row := range []struct {
		far, near uint64
		pitch     [2]int
	}{{2, 5, [2]int{200, 200}}, {3, 7, [2]int{200, 200}}, {3, 7, [2]int{200, 100}}, {4, 5, [2]int{110, 110}}, {4, 8, [2]int{200, 200}}} {
		l := lineOf(path(int(row.far)+2, 6, 0), 256)
		far := voice(row.far, row.pitch[0], -15, 13*second)
		l.play(far[:8*second], nil)
		known := l.c.Stats().Changes
		l.play(far[8*second:12*second], voice(row.near, row.pitch[1], -15, 12*second)[8*second:])
		e, _, o := l.play(far[12*second:], nil)
		after, changes := erle(e, o), l.c.Stats().Changes-known
		t.Logf("voices %d at %d Hz and %d at %d Hz: %.1f dB after double talk, want 35; %d changes", row.far, row.pitch[0], row.near, row.pitch[1], after, changes)
		if after < 35 || changes != 0 {
			t.Errorf("voices %d and %d: %.1f dB after double talk, %d changes of the line", row.far, row.near, after, changes)
		}
	}
}

// Two voices in place of the composite source signal. What counts is the
// echo that is heard while both speak, and after.
func TestVoices(t *testing.T) {
	table := bars("20 dB", 2.0, "15 s", 44, "during 0", 38, "after 0", 40, "during -15", 38, "after -15", 40)
	known, both := 15*second, 10*second
	if testing.Short() {
		known, both = 8*second, 3*second
	}
	far, near := voice(1, 110, -20, known+both+2*second), voice(2, 190, -20, both)
	for _, p := range paths() {
		l := lineOf(path(p, 6, 40), 256)
		echo, _, out := l.play(far[:known], nil)
		figures := []float64{reach(echo, out, 20), erle(echo[known-2*second:], out[known-2*second:])}
		for _, softer := range []int16{1, 6} {
			m := l.then()
			said := slices.Clone(near)
			for i := range said {
				said[i] /= softer
			}
			e, _, o := m.play(far[known:known+both], said)
			for i := range o {
				o[i] -= said[i]
			}
			figures = append(figures, erle(e, o))
			e, _, o = m.play(far[known+both:], nil)
			figures = append(figures, erle(e, o))
		}
		add(table, figures...)
	}
	judgeBars(t, table)
}

// Test 2A: with the NLP, what is heard after a second is below -65 dBm0 at
// its loudest.
func TestSuppression(t *testing.T) {
	for _, p := range paths() {
		l := lineOf(path(p, 6, 40), 256)
		l.c.NLP(true)
		_, _, out := l.play(css(-10, 6*second), nil)
		loudest := -200.0
		for i := second; i+280 <= len(out); i += 40 {
			loudest = max(loudest, dBm0(out[i:i+280]))
		}
		t.Logf("D.%d: at most %.0f dBm0", p, loudest)
		if loudest > -65 {
			t.Errorf("D.%d: %.1f dBm0 are heard", p, loudest)
		}
	}
}

// A long note of the near end is not its noise: when it ends beneath the far end's
// sound, which hides how quiet the near end is, no comfort as loud as the note is
// left.
func TestNoteIsNoNoise(t *testing.T) {
	l := lineOf(path(5, 6, 0), 128)
	l.c.NLP(true)
	l.play(css(-10, 3*second), hiss(-65, 3*second))
	l.play(silence(3*second), sines(-10, 3*second, 1000))
	_, _, out := l.play(css(-10, 3*second), hiss(-65, 3*second))
	for _, ms := range []int{100, 300, 500, 1000, 2900} {
		got := dBm0(out[ms*8 : (ms+100)*8])
		t.Logf("%4d ms after the note: %.1f dBm0", ms, got)
		if ms >= 300 && got > -60 {
			t.Errorf("%d ms after the note: %.1f dBm0 in a room of -65", ms, got)
		}
	}
}

// Test 9: comfort noise is within 2 dB of the near end's, and follows it up
// and down.
func TestComfortNoise(t *testing.T) {
	for _, level := range []float64{-60, -45} {
		l := lineOf(path(5, 6, 0), 128)
		l.c.NLP(true)
		l.play(css(-10, 3*second), hiss(level, 3*second))
		for _, now := range []float64{level, level + 10, level - 10} {
			noise := hiss(now, 4*second)
			l.play(silence(2*second), noise[:2*second])
			_, _, out := l.play(css(-10, 2*second), noise[2*second:])
			got := dBm0(out[second:])
			t.Logf("noise of %.0f dBm0: comfort %.1f", now, got)
			if got < now-2 || got > now+2 {
				t.Errorf("noise of %.0f dBm0: comfort %.1f", now, got)
			}
			if l.c.suppressor.gain != 0 {
				t.Errorf("noise of %.0f dBm0: the noise itself is heard", now)
			}
		}
	}
}

// The near end is heard through the NLP while the far end speaks too.
func TestNearEndIsHeard(t *testing.T) {
	l := lineOf(path(5, 6, 40), 256)
	l.c.NLP(true)
	l.play(css(-10, 5*second), nil)
	said := voice(3, 120, -15, 4*second)
	_, _, out := l.play(css(-10, 4*second), said)
	lost := slices.Clone(said)
	for i := range lost {
		lost[i] -= out[i]
	}
	t.Logf("what is lost is %.1f dB below the voice", erle(said, lost))
	if erle(said, lost) < 20 {
		t.Error("the near end is cut")
	}
}

// Test 5: a line that stops returning echoes is found to, and nothing is
// made up in their place.
func TestNoEcho(t *testing.T) {
	l := lineOf(path(2, 6, 40), 256)
	l.play(css(-10, 5*second), nil)
	l.play(silence(second), nil)
	l.h = make([]int32, 1)
	_, _, out := l.play(css(-10, 3*second), nil)
	t.Logf("made up: %.1f dBm0 in the first second, %.1f in the third", dBm0(out[:second]), dBm0(out[2*second:]))
	if dBm0(out[2*second:]) > -50 {
		t.Error("echoes are made up where there are none")
	}
	if s := l.c.Stats(); s.ERL < 30 {
		t.Errorf("ERL %d", s.ERL)
	}

	l = lineOf(make([]int32, 1), 128)
	l.c.NLP(true)
	_, _, out = l.play(css(-10, second/2), nil)
	if dBm0(out) > -100 {
		t.Errorf("made up from the beginning: %.1f dBm0", dBm0(out))
	}
	// And half a second is enough for a soft voice to be heard.
	said := voice(3, 120, -25, second)
	_, _, out = l.play(css(-10, second), said)
	lost := slices.Clone(said)
	for i := range lost {
		lost[i] -= out[i]
	}
	t.Logf("of a soft voice is lost what is %.1f dB below it", erle(said, lost))
	if erle(said, lost) < 15 {
		t.Error("a soft voice is cut")
	}
}

// Test 7: two minutes of one tone, the first thing ever heard, do not make it
// unstable, and it learns the line afterwards as fast as ever.
func TestStability(t *testing.T) {
	long := 120 * second
	if testing.Short() {
		long = 5 * second
	}
	l := lineOf(path(4, 6, 40), 256)
	echo, _, out := l.play(sines(-10, long, 1000), nil)
	if e := erle(echo[second:], out[second:]); e < -1 {
		t.Errorf("a tone is louder by %.1f dB", -e)
	}
	l.play(silence(second), nil)
	echo, _, out = l.play(css(-10, 3*second), nil)
	if s := reach(echo, out, 20); s > 1 {
		t.Errorf("20 dB after %.2f s", s)
	}
}

// Test 15: a direct current on either side changes little.
func TestOffset(t *testing.T) {
	for _, c := range [][2]int16{{32, 0}, {0, 16}} {
		l := lineOf(path(5, 6, 40), 256)
		far, near := css(-10, 6*second), silence(6*second)
		for i := range far {
			far[i] += c[0]
			near[i] += c[1]
		}
		echo, _, out := l.play(far, near)
		for i := range out {
			out[i] -= c[1]
		}
		e := erle(echo[5*second:], out[5*second:])
		t.Logf("offsets %d and %d: %.1f dB", c[0], c[1], e)
		if e < 44 {
			t.Errorf("offsets %d and %d: %.1f dB", c[0], c[1], e)
		}
	}
}

// A line within a network, where G.711 sets the limit, and other losses,
// levels and lengths.
func TestOtherLines(t *testing.T) {
	for _, c := range []struct {
		name  string
		taps  int
		loss  float64
		delay int
		level float64
		law   bool
		noise float64
		want  float64
	}{
		{"A-law", 256, 6, 40, -10, true, 0, 30},
		{"soft", 256, 6, 40, -30, false, 0, 42},
		{"loud", 256, 6, 40, -3, false, 0, 45},
		{"no loss", 256, 0, 40, -10, false, 0, 45},
		{"loss of 20 dB", 256, 20, 40, -10, false, 0, 38},
		{"16 ms", 128, 6, 0, -10, false, 0, 45},
		{"64 ms", 512, 6, 300, -10, false, 0, 42},
		// Test 2C: what is left is the noise.
		{"noise of -50 dBm0", 256, 6, 40, -10, false, -50, 31},
	} {
		l := lineOf(path(5, c.loss, c.delay), c.taps)
		l.law = c.law
		far, noise := css(c.level, 8*second), silence(8*second)
		if c.noise != 0 {
			noise = hiss(c.noise, 8*second)
		}
		echo, _, out := l.play(far, noise)
		for i := range out {
			out[i] -= noise[i]
		}
		e := erle(echo[7*second:], out[7*second:])
		t.Logf("%-18s 20 dB after %.2f s, %.1f dB after 7 s, %+v", c.name, reach(echo, out, 20), e, l.c.Stats())
		if e < c.want {
			t.Errorf("%s: %.1f dB, want %.0f", c.name, e, c.want)
		}
		if s := l.c.Stats(); s.ERL < int(c.loss)-4 || s.ERL > int(c.loss)+4 {
			t.Errorf("%s: ERL %d", c.name, s.ERL)
		}
	}
}

// G.168 section 7: 2100 ± 21 Hz with its phase turned every 450 ms, on either
// side, disables within a second; without the turns it only disables the NLP;
// after 250 ± 150 ms of quiet all is as before. Speech does neither.
func TestDisabler(t *testing.T) {
	for _, c := range []struct {
		hz    float64
		turn  int // ms
		level float64
		near  bool
		noise float64
		am    bool // ANSam of V.8: 20 % at 15 Hz

		linear, off bool
	}{
		{2100, 0, -12, false, 0, false, true, false},
		{2100, 0, -12, true, 0, false, true, false},
		{2079, 0, -31, false, 0, false, true, false},
		{2121, 0, 0, true, 0, false, true, false},
		{2100, 0, -12, true, 0, true, true, false},
		{2100, 450, -12, false, 0, false, true, true},
		{2100, 450, -12, true, 0, true, true, true},
		{2079, 425, -31, true, 0, false, true, true},
		{2121, 475, -20, false, 0, false, true, true},
		{2100, 450, -12, false, -25, false, true, true},
		{2100, 200, -12, false, 0, false, true, false}, // turns, but not those
		{2100, 900, -12, false, 0, false, true, false},
		{2000, 450, -12, false, 0, false, false, false},
		{2225, 0, -12, true, 0, false, false, false}, // Bell's answer
		{2100, 450, -45, false, 0, false, false, false},
	} {
		name := fmt.Sprintf("%.0f Hz, turned every %d ms, %.0f dBm0", c.hz, c.turn, c.level)
		const n = 2 * second
		tone := sines(c.level, n, c.hz)
		if c.am {
			tone = modulated(tone)
		}
		for i := range tone {
			if c.turn > 0 && i/(c.turn*8)%2 == 1 {
				tone[i] = -tone[i]
			}
		}
		if c.noise != 0 {
			for i, x := range hiss(c.noise, n) {
				tone[i] += x
			}
		}
		far, near := tone, silence(n)
		if c.near {
			far, near = near, far
		}
		l := lineOf(path(5, 6, 0), 128)
		l.c.NLP(true)
		linear, off := -1, -1
		for i := 0; i < n; i += 80 {
			_, sin, out := l.play(far[i:i+80], near[i:i+80])
			s := l.c.Stats()
			if s.Linear && linear < 0 {
				linear = i/8 + 10
			}
			if s.Disabled && off < 0 {
				off = i/8 + 10
			} else if s.Disabled && !slices.Equal(sin, out) {
				t.Fatalf("%s: disabled, but not transparent", name)
			}
		}
		t.Logf("%s: NLP off after %d ms, all off after %d ms", name, linear, off)
		if got := linear >= 0; got != c.linear {
			t.Errorf("%s: NLP off is %v", name, got)
		}
		if got := off >= 0; got != c.off {
			t.Errorf("%s: off is %v", name, got)
		}
		if linear > 400 || off > 1000 {
			t.Errorf("%s: NLP off after %d ms, all off after %d ms", name, linear, off)
		}
		if !c.linear {
			continue
		}
		again := 0
		for s := l.c.Stats(); s.Linear || s.Disabled; s = l.c.Stats() {
			l.play(silence(80), nil)
			again += 10
		}
		if again < 100 || again > 400 {
			t.Errorf("%s: again after %d ms", name, again)
		}
	}

	l := lineOf(path(5, 6, 0), 128)
	for i := range uint64(3) {
		v := voice(i, 150+60*int(i), -5, 5*second)
		for j := 0; j < len(v); j += 80 {
			l.play(v[j:j+80], nil)
			if s := l.c.Stats(); s.Linear || s.Disabled {
				t.Fatal("a voice is taken for a modem")
			}
		}
	}
}

func modulated(s []int16) []int16 {
	m := silent(len(s))
	wave(m, .2, 15, 0)
	for i := range s {
		s[i] = int16(float64(s[i]) * (1 + m[i]))
	}
	return s
}
