package plc

import (
	"math"
	"math/rand/v2"
	"testing"
)

// voice is a vowel of 125 Hz and its harmonics; its pitch and loudness move.
func voice(n int) []int16 {
	s := make([]int16, n)
	phase := 0.0
	for i := range s {
		phase += 2 * math.Pi * (125 + 10*math.Sin(float64(i)/4000)) / 8000
		x := 0.0
		for h, a := range []float64{1, 0.8, 0.6, 0.9, 0.5, 0.2, 0.1} {
			x += a * math.Sin(float64(h+1)*phase+float64(h))
		}
		s[i] = int16(3000 * x * (1 + 0.3*math.Sin(float64(i)/3000)))
	}
	return s
}

// conceal loses packets of size samples.
func conceal(in []int16, size int, lost func(i int) bool) []int16 {
	var c Concealer
	out := make([]int16, len(in))
	copy(out, in)
	for i := 0; (i+1)*size <= len(in); i++ {
		for j := i * size; j < (i+1)*size; j += 80 {
			if lost(i) {
				c.Lost(out[j : j+80])
			} else {
				c.Good(out[j : j+80])
			}
		}
	}
	return out
}

func snr(want, got []int16) float64 {
	var s, n float64
	for i, x := range want {
		d := float64(x) - float64(got[i])
		s, n = s+float64(x)*float64(x), n+d*d
	}
	return 10 * math.Log10(s/n)
}

func TestGapsOfAVoiceAreFilled(t *testing.T) {
	in := voice(80000)
	r := rand.New(rand.NewPCG(1, 1))
	lost := make([]bool, 500)
	for i := range lost {
		lost[i] = i > 2 && r.IntN(20) == 0
	}
	silent := make([]int16, len(in))
	copy(silent, in)
	for i := range lost {
		if lost[i] {
			clear(silent[i*160 : i*160+160])
		}
	}
	got := conceal(in, 160, func(i int) bool { return lost[i] })
	base, have := snr(in, silent), snr(in, got)
	t.Logf("5 %% lost: %.1f dB with silence, %.1f dB concealed", base, have)
	if have < base+8 {
		t.Errorf("concealed %.1f dB, silence %.1f dB; want 8 dB more", have, base)
	}
}

func TestNothingIsChangedWithoutLoss(t *testing.T) {
	in := voice(8000)
	got := conceal(in, 160, func(int) bool { return false })
	for i := range in {
		if in[i] != got[i] {
			t.Fatalf("sample %d changed from %d to %d", i, in[i], got[i])
		}
	}
}

// A click is a step that the sound itself does not make.
func TestNoClick(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []int16
	}{
		{"voice", voice(40000)},
		{"a sine of 1000 Hz", sine(40000, 1000, 10000)},
		{"a sine of 100 Hz", sine(40000, 100, 10000)},
		{"a tone at full scale", sine(40000, 410, 32767)},
	} {
		step := func(s []int16) (m int) {
			for i := 1; i < len(s); i++ {
				d := int(s[i]) - int(s[i-1])
				m = max(m, d, -d)
			}
			return m
		}
		r := rand.New(rand.NewPCG(2, 2))
		got := conceal(row.in, 80, func(i int) bool { return i > 5 && r.IntN(6) == 0 })
		if s, o := step(got), step(row.in); s > o*5/4+100 {
			t.Errorf("%s: a step of %d, the sound itself makes at most %d", row.name, s, o)
		}
	}
}

// G.711 Appendix I is silent after 60 ms. A gap of a few packets is heard less as
// such if the voice is still there, and one that lasts must end: it is 8 to 14 dB
// softer at 60 ms, and there is silence at 200 ms.
func TestLongLossIsSilence(t *testing.T) {
	var c Concealer
	c.Good(voice(800))
	var s [80]int16
	first := 0.0
	for i := range 30 {
		c.Lost(s[:])
		var peak int16
		for _, x := range s {
			peak = max(peak, x, -x)
		}
		switch level := 20 * math.Log10(float64(peak)/first); {
		case i == 0:
			if first = float64(peak); peak < 3000 {
				t.Errorf("the first 10 ms have a peak of %d", peak)
			}
		case i == 6:
			if t.Logf("after 60 ms %.1f dB", level); level < -14 || level > -8 {
				t.Errorf("%.1f dB after 60 ms", level)
			}
		case i >= 20 && peak != 0:
			t.Errorf("peak %d, %d ms after the last packet", peak, i*10)
		}
	}
}

func TestSilenceStaysSilent(t *testing.T) {
	var c Concealer
	var s [80]int16
	c.Lost(s[:])
	c.Good(s[:])
	for _, x := range s {
		if x != 0 {
			t.Fatal("sound out of nothing")
		}
	}
}

// What is left out or heard twice is a period: the rest of a voice stays as it
// was, and nothing clicks.
func TestFit(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []int16
		may  bool
	}{
		{"voice", voice(40000), true},
		{"a sine of 200 Hz", sine(40000, 200, 10000), true},
		{"silence", make([]int16, 8000), true},
		{"noise", noise(40000, 3000), false},
	} {
		var c Concealer
		var out, left []int16
		cuts, repeats, frames := 0, 0, 0
		r := rand.New(rand.NewPCG(2, 2))
		for in := row.in; len(in) > 200; frames++ {
			p := 0
			if frames%5 == 0 {
				if p = c.Period(maxPeriod); p < 0 {
					p = 10 + r.IntN(-p-10)
				}
			}
			n, o := 80, 80
			switch {
			case p == 0:
			case r.IntN(2) == 0:
				n, cuts = n+p, cuts+1
			default:
				o, repeats = o+p, repeats+1
			}
			s := in[:n]
			in = in[n:]
			c.Good(s)
			left = append(left[:0], make([]int16, o)...)
			c.Fit(left, s)
			out = append(out, left...)
		}
		biggest := func(s []int16) (m int) {
			for i := 1; i < len(s); i++ {
				d := int(s[i]) - int(s[i-1])
				m = max(m, d, -d)
			}
			return m
		}
		t.Logf("%-16s %d cut, %d repeated of %d; steps of %d, before %d", row.name, cuts, repeats, frames, biggest(out), biggest(row.in))
		if row.may != (cuts+repeats > frames/6) {
			t.Errorf("%s: %d of %d frames were changed", row.name, cuts+repeats, frames)
		}
		if o := biggest(row.in); biggest(out) > o*11/10+20 {
			t.Errorf("%s: a step of %d, the sound itself makes at most %d", row.name, biggest(out), o)
		}
	}
	// A sample more or less is spread over the frame.
	var c Concealer
	in, out := sine(81, 200, 10000), make([]int16, 80)
	c.Good(in)
	c.Fit(out, in)
	if out[0] != in[0] || out[79] != in[80] {
		t.Errorf("ends %d and %d became %d and %d", in[0], in[80], out[0], out[79])
	}
}

func noise(n int, peak int32) []int16 {
	r := rand.New(rand.NewPCG(5, 5))
	s := make([]int16, n)
	for i := range s {
		s[i] = int16(r.Int32N(2*peak) - peak)
	}
	return s
}

func TestNoAllocation(t *testing.T) {
	var c Concealer
	s := voice(80)
	if n := testing.AllocsPerRun(100, func() { c.Good(s); c.Lost(s); c.Period(maxPeriod); c.Fit(s, s) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

// The search is that of every lag by the definition, in two steps.
func TestFind(t *testing.T) {
	plain := func(s *[past]int16, most int, more uint) int {
		x := scaled(s)
		best, top := minPeriod, int64(math.MinInt64)
		try := func(lag, by int) {
			var c, e int64
			for i := past - span; i < past; i += by {
				c += int64(x[i]) * int64(x[i-lag])
				e += int64(x[i-lag]) * int64(x[i-lag])
			}
			if v := c * max(c, -c) / (e + 1); v > top+max(top, 0)>>more {
				best, top = lag, v
			}
		}
		for lag := minPeriod; lag <= most; lag += 2 {
			try(lag, 2)
		}
		mid := best
		best, top = max(mid-1, minPeriod), math.MinInt64
		for lag := best; lag <= min(mid+1, most); lag++ {
			try(lag, 1)
		}
		return best
	}
	r := rand.New(rand.NewPCG(7, 7))
	long := voice(40000)
	found := map[int]bool{}
	for range 2000 {
		var s [past]int16
		copy(s[:], long[r.IntN(len(long)-past):])
		switch r.IntN(4) {
		case 0:
			copy(s[:], noise(past, 1+r.Int32N(32767)))
		case 1:
			for i := range s {
				s[i] >>= 10
			}
		case 2:
			s[r.IntN(past)] = -32768
		}
		for _, more := range []uint{6, 63} {
			most := minPeriod + r.IntN(maxPeriod-minPeriod+1)
			got, want := find(&s, most, more), plain(&s, most, more)
			if got != want {
				t.Fatalf("%d, by the definition %d", got, want)
			}
			found[got] = true
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d lags were found", len(found))
	}
}

func sine(n int, hz, peak float64) []int16 {
	s := make([]int16, n)
	for i := range s {
		s[i] = int16(peak * math.Sin(2*math.Pi*hz*float64(i)/8000))
	}
	return s
}

func BenchmarkFirstLost(b *testing.B) {
	var c Concealer
	s := voice(80)
	b.ReportAllocs()
	for b.Loop() {
		c.Good(s)
		c.Lost(s)
	}
}

func BenchmarkGood(b *testing.B) {
	var c Concealer
	s := voice(80)
	b.ReportAllocs()
	for b.Loop() {
		c.Good(s)
	}
}

// The upper half of a sound is filled, cut and repeated where the lower half is,
// whatever it would have done alone.
func TestFollow(t *testing.T) {
	var lead, upper Concealer
	upper.Follow(&lead)
	r := rand.New(rand.NewPCG(1, 2))
	low, high := voice(16000), make([]int16, 16000)
	for i := range high {
		high[i] = int16(r.IntN(2001) - 1000)
	}
	for at := 0; at+80 <= len(low); at += 80 {
		a, b := low[at:at+80], high[at:at+80]
		if r.IntN(5) == 0 {
			lead.Lost(a)
			upper.Lost(b)
		} else {
			lead.Good(a)
			upper.Good(b)
		}
		if lead.period != upper.period || lead.gap != upper.gap || lead.back != upper.back {
			t.Fatalf("frame %d: period %d, gap %d, back %d; followed by %d, %d, %d", at/80, lead.period, lead.gap, lead.back, upper.period, upper.gap, upper.back)
		}
		for _, n := range []int{30, 80, 140} {
			out := make([]int16, n)
			lead.Fit(out, a)
			upper.Fit(out, b)
			if lead.at != upper.at {
				t.Fatalf("frame %d to %d: cut at %d and %d", at/80, n, lead.at, upper.at)
			}
		}
	}
}
