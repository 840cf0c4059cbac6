package noise

import (
	"math"
	"math/rand/v2"
	"testing"
)

// coloured is white noise behind 1/(1 + a z^-1 + b z^-2), with a level in dBov.
func coloured(n int, a, b, dBov float64) []int16 {
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float64, n)
	var p float64
	for i := range x {
		x[i] = r.NormFloat64()
		if i > 1 {
			x[i] -= a*x[i-1] + b*x[i-2]
		}
		p += x[i] * x[i]
	}
	s, g := make([]int16, n), 32768*math.Pow(10, dBov/20)/math.Sqrt(p/float64(n))
	for i := range s {
		s[i] = int16(math.Round(x[i] * g))
	}
	return s
}

func level(s []int16) float64 {
	var p int64 // the sum runs under emulators of machines without floating point
	for _, x := range s {
		p += int64(x) * int64(x)
	}
	return 10 * math.Log10(float64(p)/float64(len(s))/32768/32768)
}

// alike is the autocorrelation at a lag over that at 0.
func alike(s []int16, lag int) float64 {
	var c, e int64
	for i := lag; i < len(s); i++ {
		c += int64(s[i]) * int64(s[i-lag])
		e += int64(s[i]) * int64(s[i])
	}
	return float64(c) / float64(e)
}

// Noise that is analysed and made again has the same level, within 2 dB as
// G.168 test 9 asks of comfort noise, and the same colour.
func TestThereAndBack(t *testing.T) {
	for _, row := range []struct {
		name       string
		a, b, dBov float64
	}{
		{"white", 0, 0, -50},
		{"a fan", -0.9, 0, -45},
		{"hiss", 0.7, 0, -60},
		{"a whistling stove", -1.2, 0.9, -55},
		{"a quiet room", -0.5, 0.2, -70},
	} {
		in := coloured(80000, row.a, row.b, row.dBov)
		var an Analyser
		for i := 0; i+80 <= len(in); i += 80 {
			an.Hear(in[i : i+80])
		}
		var payload [1 + Order]byte
		n := an.Describe(payload[:])
		var g Generator
		g.Set(payload[:n])
		out := make([]int16, len(in))
		g.Read(out)
		t.Logf("%-18s %v: %.1f dBov became %.1f; alike at lags 1, 2, 5: %.2f %.2f %.2f became %.2f %.2f %.2f", row.name, payload[:4],
			level(in), level(out), alike(in, 1), alike(in, 2), alike(in, 5), alike(out, 1), alike(out, 2), alike(out, 5))
		if d := level(out) - level(in); d > 2 || d < -2 {
			t.Errorf("%s: %.1f dBov became %.1f", row.name, level(in), level(out))
		}
		for _, lag := range []int{1, 2, 3, 5, 8} {
			if d := alike(out, lag) - alike(in, lag); d > 0.12 || d < -0.12 {
				t.Errorf("%s: alike at lag %d: %.2f became %.2f", row.name, lag, alike(in, lag), alike(out, lag))
			}
		}
	}
}

// RFC 3389 section 3.1: "The magnitude of the noise level is packed into the
// least significant bits of the noise-level byte with the most significant bit
// unused and always set to 0": 0 to 127 below overload.
func TestLevels(t *testing.T) {
	for l := 30; l <= 80; l += 5 {
		var g Generator
		g.Set([]byte{byte(l)})
		out := make([]int16, 80000)
		g.Read(out)
		if d := level(out) + float64(l); d > 0.6 || d < -0.6 {
			t.Errorf("level %d makes %.1f dBov", l, level(out))
		}
		var an Analyser
		for i := 0; i < len(out); i += 80 {
			an.Hear(out[i : i+80])
		}
		if got := int(an.Level()); got < l-1 || got > l+1 {
			t.Errorf("level %d is heard as %d", l, got)
		}
	}
	var g Generator
	g.Set([]byte{0})
	out := make([]int16, 8000)
	g.Read(out)
	if level(out) > -29 {
		t.Errorf("a far end makes noise of %.1f dBov", level(out))
	}
	g.Set(nil)
	if g.Read(out); level(out) > -100 || !g.Silent() {
		t.Errorf("no payload is %.1f dBov", level(out))
	}
}

// No payload makes the filter louder than four times the level.
func TestAnyPayload(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var g Generator
	out := make([]int16, 800)
	for range 2000 {
		p := make([]byte, r.IntN(15))
		for i := range p {
			p[i] = byte(r.Uint32())
			if r.IntN(3) == 0 {
				p[i] = []byte{0, 127, 255, 254}[r.IntN(4)]
			}
		}
		g.Set(p)
		g.Read(out)
		g.Read(out)
		if len(p) > 0 && level(out) > -17.5 {
			t.Fatalf("% x makes %.1f dBov", p, level(out))
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var a Analyser
	var g Generator
	s, p := coloured(80, 0, 0, -50), make([]byte, 11)
	if n := testing.AllocsPerRun(100, func() { a.Hear(s); a.Describe(p); g.Set(p); g.Read(s) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRead10ms(b *testing.B) {
	var g Generator
	g.Set([]byte{50, 60, 140, 120, 127, 130})
	s := make([]int16, 80)
	b.ReportAllocs()
	for b.Loop() {
		g.Read(s)
	}
}

func BenchmarkHear10ms(b *testing.B) {
	var a Analyser
	s := coloured(80, 0, 0, -50)
	b.ReportAllocs()
	for b.Loop() {
		a.Hear(s)
	}
}
