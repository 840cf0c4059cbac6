package level

import (
	"math"
	"testing"
)

func sine(n int, peak float64) []int16 {
	s := make([]int16, n)
	for i := range s {
		s[i] = int16(math.Round(peak * math.Sin(2*math.Pi*440*float64(i)/8000)))
	}
	return s
}

// fit is the peak of the 440 Hz in s, and the RMS of what else there is.
func fit(s []int16) (peak, rest float64) {
	var re, im, sum float64
	for i, v := range s {
		a := 2 * math.Pi * 440 * float64(i) / 8000
		re += float64(v) * math.Cos(a)
		im += float64(v) * math.Sin(a)
		sum += float64(v) * float64(v)
	}
	n := float64(len(s))
	peak = 2 * math.Hypot(re, im) / n
	return peak, math.Sqrt(max(0, sum/n-peak*peak/2))
}

func TestGain(t *testing.T) {
	for _, row := range []struct {
		dB   int
		peak float64
		want float64
	}{
		{0, 32767, 32767}, {6, 1000, 1995}, {-6, 10000, 5012}, {24, 100, 1585}, {-36, 20000, 317}, {99, 100, 1585},
		{24, 20000, ceiling}, {12, 10000, ceiling},
	} {
		var g Gain
		g.Set(row.dB, 8000)
		s := sine(8000, row.peak)
		for i := 0; i < len(s); i += 80 {
			g.Apply(s[i : i+80])
		}
		peak, rest := fit(s[4000:])
		t.Logf("%+3d dB of a sine of %5.0f: %5.0f, and %.0f dB below it what it was not", row.dB, row.peak, peak, 20*math.Log10(peak/max(rest, 0.1)))
		if math.Abs(20*math.Log10(peak/row.want)) > 0.3 {
			t.Errorf("%+d dB of a sine of %.0f: %.0f, want %.0f", row.dB, row.peak, peak, row.want)
		}
		if rest > peak/50 {
			t.Errorf("%+d dB of a sine of %.0f: torn, %.0f of other things", row.dB, row.peak, rest)
		}
	}
}

// A sound that was too loud does not make the next one soft for long.
func TestItComesBack(t *testing.T) {
	var g Gain
	g.Set(20, 8000)
	g.Apply(sine(800, 30000))
	soft := sine(8000, 500)
	g.Apply(soft)
	peak, _ := fit(soft[6400:])
	if peak < 4500 || peak > 5050 {
		t.Errorf("0.8 s after a shout a sine of 500 is %.0f, want 5000", peak)
	}
}

// What the ear hears of its mouth is as much softer as was said.
func TestSidetone(t *testing.T) {
	var s Sidetone
	ear, mouth := make([]int32, 800), sine(800, 10000)
	if s.Add(ear, mouth); ear[5] != 0 {
		t.Error("the zero Sidetone is heard")
	}
	for softer := 0; softer <= 40; softer++ {
		clear(ear)
		s.Set(softer)
		s.Add(ear, mouth)
		out := make([]int16, len(ear))
		new(Limiter).Limit(out, ear)
		peak, _ := fit(out)
		if got := 20 * math.Log10(10000/max(peak, 0.01)); softer%-Least == 0 || softer > -Least {
			if got < 100 {
				t.Errorf("%d dB softer is heard, %.2f dB", softer, got)
			}
		} else if math.Abs(got-float64(softer)) > 0.1 {
			t.Errorf("%d dB softer is %.2f", softer, got)
		}
	}
}

// No sample is louder than the ceiling, whatever comes and however suddenly; what
// is turned down stays a sine, and comes back in the same time at every rate.
func TestLimiter(t *testing.T) {
	for _, rate := range []int{8000, 16000, 32000, 48000} {
		if testing.Short() && rate > 8000 {
			break // making sines takes long where floating point is emulated
		}
		var l Limiter
		l.Set(rate)
		turn := 2 * math.Pi * 440 / float64(rate)
		run := func(n int, peak float64) (out []int16) {
			src := make([]int32, n)
			for i := range src {
				src[i] = int32(peak * math.Sin(turn*float64(i)))
			}
			out = make([]int16, n)
			l.Limit(out, src)
			for _, x := range out {
				if x > ceiling || x < -ceiling {
					t.Fatalf("%d Hz: a sample of %d", rate, x)
				}
			}
			return out
		}
		run(rate, 3*32767)
		run(2*rate, 60000)
		loud := run(rate, 60000)
		var re, im, sum float64
		for i, v := range loud {
			re += float64(v) * math.Cos(turn*float64(i))
			im += float64(v) * math.Sin(turn*float64(i))
			sum += float64(v) * float64(v)
		}
		n := float64(len(loud))
		peak := 2 * math.Hypot(re, im) / n
		below := 10 * math.Log10((sum/n)/max(sum/n-peak*peak/2, 0.01))
		back := -1
		soft := run(rate, 20000)
		for at := 0; at < rate && back < 0; at += rate / 100 {
			most := int16(0)
			for _, x := range soft[at : at+rate/100] {
				most = max(most, x)
			}
			if most > 18000 { // within 1 dB
				back = at * 1000 / rate
			}
		}
		t.Logf("%d Hz: 60000 becomes %.0f, %.0f dB above what it was not; 20000 is back after %d ms", rate, peak, below, back)
		if below < 34 || back < 50 || back > 500 {
			t.Errorf("%d Hz: %.0f dB, %d ms", rate, below, back)
		}
		quiet := run(rate, 12345)
		if quiet[rate/4] != int16(12345*math.Sin(turn*float64(rate/4))) {
			t.Errorf("%d Hz: what is not too loud was changed", rate)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var g Gain
	var s Sidetone
	g.Set(3, 8000)
	s.Set(12)
	a, b, sum := sine(80, 1000), sine(80, 1000), make([]int32, 80)
	var l Limiter
	if n := testing.AllocsPerRun(100, func() { g.Apply(a); s.Add(sum, b); l.Limit(a, sum) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkApply10ms(b *testing.B) {
	var g Gain
	g.Set(6, 8000)
	s := sine(80, 100)
	b.ReportAllocs()
	for b.Loop() {
		g.Apply(s)
	}
}
