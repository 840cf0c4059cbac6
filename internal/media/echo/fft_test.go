package echo

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestSpectrum holds the transform against its definition, at full scale.
func TestSpectrum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var in [points]int32
	for i := range in {
		in[i] = int32(r.IntN(65536) - 32768)
	}
	var got [bins]complex32
	spectrum(&got, &in)
	worst := 0.0
	for k := 0; k < bins; k += 4 {
		var re, im float64
		for i, x := range in {
			s, c := math.Sincos(-2 * math.Pi * float64(k*i%points) / points)
			re, im = re+c*float64(x), im+s*float64(x)
		}
		worst = max(worst, math.Abs(re-float64(got[k].re)), math.Abs(im-float64(got[k].im)))
	}
	t.Logf("worst bin is off by %.1f of some 300 000", worst)
	if worst > 40 {
		t.Errorf("worst bin is off by %.1f", worst)
	}
}

// TestSamples brings a spectrum of 16 bits back.
func TestSamples(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var in, out [points]int32
	for i := range in {
		in[i] = int32(r.IntN(1024) - 512)
	}
	var s [bins]complex32
	spectrum(&s, &in)
	samples(&out, &s)
	worst := int32(0)
	for i := range in {
		worst = max(worst, out[i]-128*in[i], 128*in[i]-out[i])
	}
	t.Logf("off by %.2f of 512", float64(worst)/128)
	if worst > 100 {
		t.Errorf("off by %d/128", worst)
	}
}

func TestLevels(t *testing.T) {
	for _, c := range []struct{ a, b float64 }{{1, 1}, {1000, 3}, {70000, 69000}, {4e9, 1e7}} {
		a, b := powerOf(uint32(c.a)), powerOf(uint32(c.b))
		want := 1024 * math.Log2(c.a+c.b)
		if got := plus(a, b); math.Abs(float64(got)-want) > 24 {
			t.Errorf("%g + %g: level %d, want %.0f", c.a, c.b, got, want)
		}
		if got := powerOf(uint32(c.a)); math.Abs(float64(got)-1024*math.Log2(c.a)) > 4 {
			t.Errorf("%g: level %d", c.a, got)
		}
		if got := power64(uint64(c.a) << 20); math.Abs(float64(got)-1024*(20+math.Log2(c.a))) > 4 {
			t.Errorf("%g<<20: level %d", c.a, got)
		}
		if got, want := float64(amplitude(a, 10)), 1024*math.Sqrt(c.a); math.Abs(got/want-1) > .01 {
			t.Errorf("amplitude of %g: %.0f, want %.0f", c.a, got, want)
		}
	}
	// Half of a power taken away leaves half.
	if got := less(-octave); got > -900 || got < -1100 {
		t.Errorf("less half: %d", got)
	}
}
