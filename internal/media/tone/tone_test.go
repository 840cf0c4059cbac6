package tone

import (
	"math"
	"math/cmplx"
	"testing"
)

// read plays ms of what p has to say.
func read(p *Player, ms int) []int16 {
	out := make([]int16, ms*8)
	for i := 0; i < len(out); i += 80 {
		p.Read(out[i:min(i+80, len(out))])
	}
	return out
}

// at is the peak and phase of one frequency, Hann window. The sines are made
// by turning, which emulators of machines without floating point can bear.
func at(s []int16, hz float64) complex128 {
	var sum complex128
	z, turn := complex(1, 0), cmplx.Rect(1, -2*math.Pi*hz/8000)
	w, slow := cmplx.Rect(1, math.Pi/float64(len(s))), cmplx.Rect(1, 2*math.Pi/float64(len(s)))
	for _, x := range s {
		y := float64(x) * (1 - real(w))
		sum += complex(y*real(z), y*imag(z))
		z *= turn
		w *= slow
	}
	return sum * complex(2/float64(len(s)), 0)
}

func dBm0(peak float64) float64 { return 20*math.Log10(peak/32767) + 3.14 }

func rms(s []int16) float64 {
	var sum float64
	for _, x := range s {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(s)))
}

func TestFrequencyAndLevel(t *testing.T) {
	worstHz, worstDB := 0.0, 0.0
	for _, hz := range []uint16{25, 425, 697, 1477, 3400} {
		for _, level := range []DBm0{3, -13, -40} {
			var p Player
			p.Play(Tone{Steps: []Step{{Hz: [4]uint16{hz}}}, Level: level})
			s := read(&p, 2100)[800:]
			// The phase turns by 2 pi f t between two stretches t apart.
			a, b := at(s[:4000], float64(hz)), at(s[8000:12000], float64(hz))
			turned := cmplx.Phase(b / a) // of whole turns, 1 s apart: 0 when exact
			off := math.Abs(turned) / (2 * math.Pi) / float64(hz)
			if off > 0.001 {
				t.Errorf("%d Hz is off by %.4f %%", hz, off*100)
			}
			miss := math.Abs(dBm0(cmplx.Abs(a)) - float64(level))
			if miss > 0.1 {
				t.Errorf("%d Hz at %d dBm0 plays at %.2f", hz, level, dBm0(cmplx.Abs(a)))
			}
			worstHz, worstDB = max(worstHz, off), max(worstDB, miss)
		}
	}
	t.Logf("worst frequency %.6f %%, worst level %.3f dB", worstHz*100, worstDB)
}

// Q.23: "the total power of all unwanted frequencies shall be at least 20 dB
// below the level of the lowest-level component of the signal".
func TestDigitsAreClean(t *testing.T) {
	worst := 200.0
	for r, row := range Pad {
		for c, key := range row {
			d, ok := Digit(key)
			if !ok {
				t.Fatalf("no key %q", key)
			}
			var p Player
			p.Play(d)
			s := read(&p, 1100)[800:]
			low, high := at(s, float64(Rows[r])), at(s, float64(Columns[c]))
			if x := dBm0(cmplx.Abs(low)); math.Abs(x-float64(DigitLevel)) > 0.1 {
				t.Errorf("%c: row at %.2f dBm0", key, x)
			}
			if x := dBm0(cmplx.Abs(high)); math.Abs(x-float64(DigitLevel)-2) > 0.1 {
				t.Errorf("%c: column at %.2f dBm0", key, x)
			}
			var rest float64
			turnLow, turnHigh := cmplx.Rect(1, 2*math.Pi*float64(Rows[r])/8000), cmplx.Rect(1, 2*math.Pi*float64(Columns[c])/8000)
			zl, zh := low, high
			for _, x := range s {
				d := float64(x) - real(zl) - real(zh)
				rest += d * d / float64(len(s))
				zl *= turnLow
				zh *= turnHigh
			}
			margin := 20*math.Log10(cmplx.Abs(low)/math.Sqrt2) - 10*math.Log10(rest)
			if margin < 60 {
				t.Errorf("%c: unwanted power only %.1f dB below the row", key, margin)
			}
			worst = min(worst, margin)
		}
	}
	t.Logf("unwanted power at least %.1f dB below, 20 asked for", worst)
	if _, ok := Digit('x'); ok {
		t.Error("there is a key x")
	}
	for i := range Keys {
		if Key(Keys[i]) != i {
			t.Errorf("key %c is number %d, want %d", Keys[i], Key(Keys[i]), i)
		}
	}
}

func TestStepsLastAndRepeat(t *testing.T) {
	on := [4]uint16{1000}
	const T, F = true, false
	for _, row := range []struct {
		name string
		tone Tone
		want []bool // sound in each 100 ms
	}{
		{"busy repeats", Tone{Loop: true, Steps: []Step{{Hz: on, Ms: 200}, {Ms: 100}}}, []bool{T, T, F, T, T, F, T, T, F}},
		{"without loop it ends", Tone{Steps: []Step{{Hz: on, Ms: 200}, {Ms: 100}}}, []bool{T, T, F, F, F, F}},
		{"once is not repeated", Tone{Loop: true, Steps: []Step{{Hz: on, Ms: 100, Once: true}, {Ms: 200}, {Hz: on, Ms: 200}}}, []bool{T, F, F, T, T, F, F, T, T, F, F, T, T}},
		{"0 ms is until stopped", Tone{Loop: true, Steps: []Step{{Hz: on, Ms: 100}, {Ms: 100}, {Hz: on}}}, []bool{T, F, T, T, T, T, T, T, T}},
		{"silence until stopped", Tone{Loop: true, Steps: []Step{{Hz: on, Ms: 100, Once: true}, {}}}, []bool{T, F, F, F, F}},
		{"all once, then nothing", Tone{Loop: true, Steps: []Step{{Hz: on, Ms: 100, Once: true}}}, []bool{T, F, F, F}},
		{"the zero tone", Tone{}, []bool{F, F}},
	} {
		var p Player
		p.Play(row.tone)
		s := read(&p, 100*len(row.want))
		for i, want := range row.want {
			part := s[i*800 : (i+1)*800]
			if want != (rms(part[40:]) > 100) {
				t.Errorf("%s: sound %v between %d and %d ms", row.name, !want, i*100, i*100+100)
			}
		}
	}
}

// A click is a step between two samples larger than the tone itself makes.
func TestNoClick(t *testing.T) {
	loud := Tone{Loop: true, Level: -3, Steps: []Step{
		{Hz: [4]uint16{950, 440}, Ms: 33}, {Hz: [4]uint16{1400}, Ms: 33}, {Ms: 7},
		{Hz: [4]uint16{350, 440, 480}, Ms: 21}, {Ms: 2}, {Hz: [4]uint16{400}, AM: 16, Ms: 100}}}
	var p Player
	var last int16
	worst := 0
	hear := func(n int) {
		out := make([]int16, n)
		p.Read(out)
		for _, x := range out {
			worst = max(worst, max(int(x)-int(last), int(last)-int(x)))
			last = x
		}
	}
	for i := range 300 {
		switch i % 7 {
		case 0:
			p.Play(loud)
		case 3:
			d, _ := Digit(Keys[i%16])
			p.Play(d)
		case 5:
			p.Stop()
		}
		hear(37 + i%91)
	}
	// Two sines of -3 dBm0, 1400 and 950 Hz, in transition at once.
	limit := 2 * math.Pi * (1400 + 950 + 440) / 8000 * 32767 * math.Pow(10, (-3-3.14)/20)
	if float64(worst) > limit {
		t.Errorf("a step of %d, the tones themselves make at most %.0f", worst, limit)
	}
	t.Logf("largest step %d of %.0f", worst, limit)
}

func TestStopIsSilenceWithin5ms(t *testing.T) {
	var p Player
	p.Play(Usual(Dial))
	read(&p, 100)
	p.Stop()
	read(&p, 5)
	if p.Playing() {
		t.Error("still playing 5 ms after Stop")
	}
	if s := read(&p, 10); rms(s) != 0 {
		t.Errorf("rms %.1f after Stop", rms(s))
	}
}

// Japan's ringback: 400 Hz, amplitude modulated with 15 Hz.
func TestModulation(t *testing.T) {
	var p Player
	p.Play(Tone{Steps: []Step{{Hz: [4]uint16{400}, AM: 15}}, Level: -16})
	s := read(&p, 2100)[800:]
	carrier := dBm0(cmplx.Abs(at(s, 400)))
	if math.Abs(carrier+16) > 0.1 {
		t.Errorf("carrier at %.2f dBm0", carrier)
	}
	for _, side := range []float64{385, 415} {
		depth := 2 * cmplx.Abs(at(s, side)) / cmplx.Abs(at(s, 400))
		if math.Abs(depth-0.85) > 0.02 {
			t.Errorf("side band %v: depth %.3f, want 0.85", side, depth)
		}
	}
}

func TestUsual(t *testing.T) {
	for _, n := range []Name{Dial, Stutter, SpecialDial, Recall, Ringback, Busy, Congestion, Unobtainable, SIT, CallWaiting, Confirm, Record, Howler} {
		u := Usual(n)
		if u.Silent() || u.Name != n {
			t.Errorf("%s: %+v", n, u)
		}
		if !u.Equal(Usual(n)) || u.Equal(Usual(Dial)) != (n == Dial) {
			t.Errorf("%s: Equal is wrong", n)
		}
		var p Player
		p.Play(u)
		for _, x := range read(&p, 3000) {
			if x == math.MaxInt16 || x == math.MinInt16 {
				t.Fatalf("%s: the sum of its frequencies is clipped", n)
			}
		}
	}
	if !Usual(None).Silent() {
		t.Error("None has a sound")
	}
}

func TestNoAllocation(t *testing.T) {
	var p Player
	var out [80]int16
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		d, _ := Digit(Keys[i%16])
		p.Play(d)
		p.Read(out[:])
		p.Play(Usual(Howler))
		p.Read(out[:])
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func BenchmarkRead(b *testing.B) {
	var p Player
	var out [80]int16
	p.Play(Usual(Dial))
	b.ReportAllocs()
	for b.Loop() {
		p.Read(out[:])
	}
}
