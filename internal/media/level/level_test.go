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
		g.Set(row.dB)
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
	g.Set(20)
	g.Apply(sine(800, 30000))
	soft := sine(8000, 500)
	g.Apply(soft)
	peak, _ := fit(soft[6400:])
	if peak < 4500 || peak > 5050 {
		t.Errorf("0.8 s after a shout a sine of 500 is %.0f, want 5000", peak)
	}
}

func TestSidetone(t *testing.T) {
	var s Sidetone
	ear, mouth := make([]int16, 80), sine(80, 10000)
	if s.Add(ear, mouth); ear[5] != 0 {
		t.Error("the zero Sidetone is heard")
	}
	s.Set(20)
	s.Add(ear, mouth)
	if d := float64(ear[5]) / float64(mouth[5]); math.Abs(d-0.1) > 0.005 {
		t.Errorf("20 dB softer is %.3f", d)
	}
	for i := range ear {
		ear[i] = 32767
	}
	s.Set(0)
	s.Add(ear, mouth)
	if ear[3] != 32767 {
		t.Errorf("too loud wraps: %d", ear[3])
	}
}

func TestNoAllocation(t *testing.T) {
	var g Gain
	var s Sidetone
	g.Set(3)
	s.Set(12)
	a, b := sine(80, 1000), sine(80, 1000)
	if n := testing.AllocsPerRun(100, func() { g.Apply(a); s.Add(a, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkApply10ms(b *testing.B) {
	var g Gain
	g.Set(6)
	s := sine(80, 100)
	b.ReportAllocs()
	for b.Loop() {
		g.Apply(s)
	}
}
