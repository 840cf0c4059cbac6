package phasor

import (
	"math"
	"math/rand/v2"
	"testing"
)

// A sine in a window: its length, its energy, its direction, and what it leaves
// at other frequencies.
func TestSine(t *testing.T) {
	const n = 48
	window, pairs, x := Hann(n), make([]Pair, n), make([]int16, 2*n)
	carrier, far := Carrier(1000, n), Carrier(1000+8000/n, n)
	r := rand.New(rand.NewPCG(1, 1))
	var long, strong, wide, leak float64
	for range 200 {
		peak, phase := 300+r.Float64()*32000, r.Float64()*2*math.Pi
		for i := range x {
			x[i] = int16(math.Round(peak * math.Cos(2*math.Pi*1000*float64(i-n)/8000+phase)))
		}
		energy := Fold(pairs, window, x)
		z := Of(pairs, carrier)
		turn := math.Remainder(math.Atan2(float64(z.Im), float64(z.Re))-phase, 2*math.Pi)
		long = max(long, math.Abs(float64(z.Length())/(n*peak/64)-1))
		strong = max(strong, math.Abs(float64(energy)/(3*n*peak*peak/256)-1))
		wide = max(wide, math.Abs(turn))
		leak = max(leak, float64(Of(pairs, far).Length())/float64(z.Length()))

		var four [n][4]Phasor
		for k := range four {
			four[k] = [4]Phasor{far[k], carrier[k], far[k], carrier[k]}
		}
		if got := Four(pairs, four[:]); got[1] != z || got[3] != z || got[0] != Of(pairs, far) {
			t.Fatalf("four at a time: %v, one: %v", got, z)
		}
	}
	t.Logf("length within %.2f %%, energy %.2f %%, angle %.2f degrees; %.1f dB are left two bins away",
		100*long, 100*strong, wide*180/math.Pi, 20*math.Log10(leak))
	if long > 0.02 || strong > 0.02 || wide > 0.02 || leak > 0.02 {
		t.Error("that is too much")
	}
}

func TestTurned(t *testing.T) {
	worst := 0.0
	for deg := range 360 {
		for _, long := range []float64{100, 40000} {
			at := func(deg float64) Phasor {
				s, c := math.Sincos(deg * math.Pi / 180)
				return Phasor{int32(long * c), int32(long * s)}
			}
			a := at(77)
			z := at(77 + float64(deg))
			got := float64(z.Turned(a)) * 360 / 65536
			off := math.Abs(math.Remainder(got-float64(deg), 360))
			if long > 1000 {
				worst = max(worst, off)
			}
			if off > 1.5 {
				t.Errorf("turned by %d degrees: %.1f", deg, got)
			}
		}
	}
	t.Logf("within %.2f degrees", worst)
	if worst > 0.35 {
		t.Errorf("off by %.2f degrees", worst)
	}
	if (Phasor{}).Turned(Phasor{1, 1}) != 0 {
		t.Error("nothing has a direction")
	}
}

// The loudest sound stays within 32 bits.
func TestLoudest(t *testing.T) {
	const n = 48
	window, pairs, x, carrier := Hann(n), make([]Pair, n), make([]int16, 2*n), Carrier(1234, n)
	for i := range x {
		x[i] = 32767
		if k := max(i-n, n-i); k < n && carrier[k].Re < 0 {
			x[i] = -32768
		}
	}
	energy := Fold(pairs, window, x)
	var re int64
	for k, p := range pairs {
		re += int64(p.Sum) * int64(carrier[k].Re)
	}
	if z := Of(pairs, carrier); int64(z.Re) != re>>15 || energy>>31 != 0 {
		t.Errorf("%d of %d; energy %d", z.Re, re>>15, energy)
	}
}
