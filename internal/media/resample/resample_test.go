package resample

import (
	"math"
	"slices"
	"testing"
)

func sine(n int, rate, hz, peak float64) []int16 {
	s := make([]int16, n)
	for i := range s {
		s[i] = int16(math.Round(peak * math.Sin(2*math.Pi*hz*float64(i)/rate)))
	}
	return s
}

// tone is the peak of a sine in s, and the RMS of what else there is.
func tone(s []int16, rate, hz float64) (peak, rest float64) {
	var re, im, sum float64
	for i, v := range s {
		a := 2 * math.Pi * hz * float64(i) / rate
		re += float64(v) * math.Cos(a)
		im += float64(v) * math.Sin(a)
		sum += float64(v) * float64(v)
	}
	n := float64(len(s))
	peak = 2 * math.Hypot(re, im) / n
	return peak, math.Sqrt(max(0, sum/n-peak*peak/2))
}

func convert(t *testing.T, from, to int, in []int16) []int16 {
	t.Helper()
	var c Converter
	if err := c.Set(from, to); err != nil {
		t.Fatal(err)
	}
	out := make([]int16, c.Len(len(in)))
	if n := c.Convert(out, in); n != len(out) {
		t.Fatalf("%d samples became %d, want %d", len(in), n, len(out))
	}
	return out
}

// What is below 0.42 of the lower rate passes as it is, with no images; what is
// above 0.58 does not pass.
func TestSines(t *testing.T) {
	dB := func(x float64) float64 { return 20 * math.Log10(max(x, 1e-9)) }
	for i, r := range []struct{ from, to int }{{8000, 16000}, {16000, 8000}, {8000, 48000}, {16000, 48000}, {48000, 8000}, {48000, 16000}, {8000, 32000}, {32000, 8000}, {16000, 32000}, {32000, 16000}} {
		if testing.Short() && i == 2 {
			break // measuring them takes long where floating point is emulated
		}
		low := float64(min(r.from, r.to))
		worst, images := 0.0, -200.0
		for f := 0.02; f < 0.421; f += 0.04 {
			hz := math.Round(f * low)
			out := convert(t, r.from, r.to, sine(r.from, float64(r.from), hz, 10000))
			skip := r.to / 10
			peak, rest := tone(out[skip:skip+r.to*8/10], float64(r.to), hz)
			if d := dB(peak / 10000); math.Abs(d) > math.Abs(worst) {
				worst = d
			}
			images = max(images, dB(rest*math.Sqrt2/10000))
		}
		leak := -200.0
		if r.from > r.to {
			for f := 0.58; f < float64(r.from)/low/2; f += 0.11 {
				hz := math.Round(f * low)
				out := convert(t, r.from, r.to, sine(r.from, float64(r.from), hz, 10000))
				_, rest := tone(out[r.to/10:r.to*9/10], float64(r.to), 1)
				leak = max(leak, dB(rest*math.Sqrt2/10000))
			}
		}
		t.Logf("%5d to %5d: %+.2f dB, images %.0f dB, above %.0f dB", r.from, r.to, worst, images, leak)
		if math.Abs(worst) > 0.1 || images > -56 || leak > -56 {
			t.Errorf("%d to %d: %+.2f dB (want 0.1), images %.0f dB, above %.0f dB (want -56)", r.from, r.to, worst, images, leak)
		}
	}
}

func TestSteadyAndFullScale(t *testing.T) {
	for _, r := range []struct{ from, to int }{{8000, 48000}, {48000, 8000}, {16000, 8000}, {32000, 16000}, {8000, 32000}} {
		for _, v := range []int16{32767, -32768, 1, -1} {
			in := make([]int16, 4800)
			for i := range in {
				in[i] = v
			}
			out := convert(t, r.from, r.to, in)
			for i, x := range out[len(out)/2:] {
				if x != v {
					t.Fatalf("%d to %d: a steady %d became %d at %d", r.from, r.to, v, x, i)
				}
			}
		}
		in := make([]int16, 4800) // the worst there is
		for i := range in {
			if in[i] = 32767; i/3%2 == 0 {
				in[i] = -32768
			}
		}
		convert(t, r.from, r.to, in)
	}
}

// Up and down again is the sound as it was, 24 samples later.
func TestThereAndBack(t *testing.T) {
	in := sine(8000, 8000, 440, 8000)
	for i, x := range sine(8000, 8000, 3100, 8000) {
		in[i] += x
	}
	const delay = 24
	for _, rate := range []int{16000, 48000} {
		out := convert(t, rate, 8000, convert(t, 8000, rate, in))
		var s, n float64
		for i := 1000; i < 7000; i++ {
			d := float64(in[i]) - float64(out[i+delay])
			s, n = s+float64(in[i])*float64(in[i]), n+d*d
		}
		t.Logf("over %d Hz: %.1f dB above what changed, at least 50 wanted", rate, 10*math.Log10(s/n))
		if s < n*1e5 {
			t.Errorf("over %d Hz: %.1f dB above what changed", rate, 10*math.Log10(s/n))
		}
	}
}

// The pulse is what it is said to be.
func TestPulse(t *testing.T) {
	bessel := func(x float64) float64 { // modified, of order 0
		sum, t := 1.0, 1.0
		for k := 1.0; k < 30; k++ {
			t *= x / (2 * k) * (x / (2 * k))
			sum += t
		}
		return sum
	}
	for i, got := range pulse {
		x := float64(i) / fine
		want := bessel(6.2*math.Sqrt(1-x*x/144)) / bessel(6.2)
		if i > 0 {
			want *= math.Sin(math.Pi*x) / (math.Pi * x)
		}
		if d := float64(got) - want*(1<<24); math.Abs(d) > 1 {
			t.Errorf("%d twelfths: %d, %.1f too many", i, got, d)
		}
	}
}

// No sample is made too many or too few, however long it goes on, and what comes
// out a minute later is as late as it was: a sine stays where it is.
func TestNoDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("it is the same on every machine")
	}
	const frames = 6000 // a minute
	for _, r := range []struct{ from, to int }{{8000, 16000}, {16000, 8000}, {8000, 48000}, {48000, 8000}, {16000, 48000}, {48000, 16000}} {
		var c Converter
		if err := c.Set(r.from, r.to); err != nil {
			t.Fatal(err)
		}
		// 100 Hz has a whole period in each frame.
		in, out, first := sine(r.from/100, float64(r.from), 100, 10000), make([]int16, r.to/100), []int16(nil)
		for i := range frames {
			if n := c.Convert(out, in); n != len(out) {
				t.Fatalf("%d to %d: frame %d has %d samples, want %d", r.from, r.to, i, n, len(out))
			}
			if i == 1 {
				first = slices.Clone(out)
			}
			if i > 1 && (i < 10 || i == frames-1) && !slices.Equal(first, out) {
				t.Fatalf("%d to %d: frame %d is not as the others", r.from, r.to, i)
			}
		}
	}
}

func TestPieces(t *testing.T) {
	in := sine(4800, 48000, 1000, 10000)
	for _, r := range []struct{ from, to int }{{8000, 48000}, {48000, 8000}, {16000, 8000}, {32000, 16000}, {8000, 32000}} {
		whole := convert(t, r.from, r.to, in)
		var c Converter
		if err := c.Set(r.from, r.to); err != nil {
			t.Fatal(err)
		}
		got, out := []int16(nil), make([]int16, 6*4800)
		for i, n := 0, 6; i < len(in); i, n = i+n, n*7%366 {
			n = min(n, len(in)-i)
			got = append(got, out[:c.Convert(out, in[i:i+n])]...)
		}
		for i := range whole {
			if whole[i] != got[i] {
				t.Fatalf("%d to %d: sample %d depends on how the sound is cut", r.from, r.to, i)
			}
		}
	}
}

func TestRates(t *testing.T) {
	var c Converter
	for _, r := range [][2]int{{8000, 44100}, {44100, 8000}, {32000, 48000}, {48000, 32000}} {
		if err := c.Set(r[0], r[1]); err == nil {
			t.Errorf("%d to %d is taken", r[0], r[1])
		}
	}
	out := make([]int16, 3)
	if n := c.Convert(out, []int16{1, 2, 3}); n != 3 || out[2] != 3 {
		t.Errorf("the zero Converter made %v of 1 2 3", out[:n])
	}
}

func TestNoAllocation(t *testing.T) {
	var up, down Converter
	if up.Set(8000, 48000) != nil || down.Set(48000, 8000) != nil {
		t.Fatal("rates")
	}
	low, high := make([]int16, 80), make([]int16, 480)
	if n := testing.AllocsPerRun(100, func() { up.Convert(high, low); down.Convert(low, high) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func BenchmarkUp8to48of20ms(b *testing.B)   { bench(b, 8000, 48000) }
func BenchmarkDown48to8of20ms(b *testing.B) { bench(b, 48000, 8000) }
func BenchmarkUp8to16of20ms(b *testing.B)   { bench(b, 8000, 16000) }

func bench(b *testing.B, from, to int) {
	var c Converter
	if err := c.Set(from, to); err != nil {
		b.Fatal(err)
	}
	in, out := make([]int16, from/50), make([]int16, to/50)
	b.ReportAllocs()
	for b.Loop() {
		c.Convert(out, in)
	}
}
