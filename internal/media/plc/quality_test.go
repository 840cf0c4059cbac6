package plc

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What is made up must be nearer to what was said than what G.711 Appendix I
// makes up, whatever the length of packets and the pattern of losses.
func TestNearerThanAppendixI(t *testing.T) {
	if testing.Short() {
		t.Skip("a score is the same on every processor, and reckoned in floating point")
	}
	nearer(t, words(12*8000))
}

// The same over real speech: CORPUS is what scripts/corpus makes.
func TestNearerThanAppendixIRecorded(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(os.Getenv("CORPUS"), "speech", "*.wav"))
	if os.Getenv("CORPUS") == "" || len(files) == 0 {
		t.Skip("no CORPUS")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		const start, length = 60 * 16000, 40 * 16000
		if len(b) < start+length {
			continue
		}
		in := make([]int16, length/2)
		for i := range in {
			in[i] = int16(binary.LittleEndian.Uint16(b[start+2*i:]))
		}
		t.Run(filepath.Base(f), func(t *testing.T) { nearer(t, in) })
	}
}

func nearer(t *testing.T, in []int16) {
	said := loudnesses(in, nil, nil)
	for _, ms := range []int{10, 20, 30} {
		for _, row := range []struct{ percent, burst float64 }{{3, 1}, {10, 1}, {5, 2.5}} {
			size := ms * 8
			r := rand.New(rand.NewPCG(uint64(ms), uint64(row.percent)))
			lost, bad := make([]bool, len(in)/size+1), false
			for i := range lost {
				if bad && row.burst > 1 {
					bad = r.Float64() > 1/row.burst
				} else {
					bad = r.Float64() < row.percent/100/row.burst
				}
				lost[i] = bad
			}
			of := func(i int) bool { return lost[i] }
			ours := disturbance(said, loudnesses(conceal(in, size, of), in, said))
			theirs := disturbance(said, loudnesses(appendixI(in, size, of), in, said))
			name := fmt.Sprintf("%d ms, %v %% in bursts of %v", ms, row.percent, row.burst)
			t.Logf("%-32s disturbed %.3f, by Appendix I %.3f", name, ours, theirs)
			if ours > theirs {
				t.Errorf("%s: more disturbed than by Appendix I", name)
			}
		}
	}
}

// words are vowels of a moving pitch, hisses and pauses.
func words(n int) []int16 {
	s, r := voice(n), rand.New(rand.NewPCG(3, 3))
	for at := 0; at < n; {
		size := 800 + r.IntN(2400)
		kind := r.IntN(5)
		for i := at; i < min(at+size, n); i++ {
			edge := min(float64(i-at), float64(at+size-i), 160) / 160
			switch kind {
			case 0:
				s[i] = int16(r.IntN(21) - 10)
			case 1:
				s[i] = int16(edge * 600 * r.NormFloat64())
			default:
				s[i] = int16(edge * float64(s[i]))
			}
		}
		at += size
	}
	return s
}

const (
	window = 256 // 32 ms, every 16
	bands  = 40
)

// loudnesses are those of each half Bark in each window, in the manner of
// ITU-T P.862: powers over bands of hearing, to the power of 0.23. Where s is like
// another sound, they are those.
func loudnesses(s, other []int16, those [][bands]float64) (all [][bands]float64) {
	bark := func(hz float64) float64 { return 6 * math.Asinh(hz/600) }
	var hann [window]float64
	var turns [window]complex128
	for i := range window {
		turns[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/window)
		hann[i] = .5 - .5*real(turns[i])
	}
	x := make([]complex128, window)
	for at := 0; at+window <= len(s); at += window / 2 {
		if other != nil && slices.Equal(s[at:at+window], other[at:at+window]) {
			all = append(all, those[len(all)])
			continue
		}
		for i, h := range hann {
			x[i] = complex(h*float64(s[at+i]), 0)
		}
		var power [bands]float64
		for k, v := range fourier(x, &turns)[:122] { // 125 to 3800 Hz
			if k < 4 {
				continue
			}
			z := (bark(31.25*float64(k)) - bark(125)) / (bark(3800) - bark(125))
			power[int(z*(bands-1))] += real(v)*real(v) + imag(v)*imag(v)
		}
		var loud [bands]float64
		for b, p := range power {
			const heard = 1e5 // some 50 dB below speech
			loud[b] = max(0, math.Pow(.5+.5*p/heard, .23)-1)
		}
		all = append(all, loud)
	}
	return all
}

// fourier is the transform of x, a power of two samples.
func fourier(x []complex128, turns *[window]complex128) []complex128 {
	n := len(x)
	if n == 1 {
		return []complex128{x[0]}
	}
	even, odd := make([]complex128, n/2), make([]complex128, n/2)
	for i := range even {
		even[i], odd[i] = x[2*i], x[2*i+1]
	}
	even, odd = fourier(even, turns), fourier(odd, turns)
	y := make([]complex128, n)
	for k, e := range even {
		o := odd[k] * turns[k*(window/n)]
		y[k], y[k+n/2] = e+o, e-o
	}
	return y
}

// disturbance is how far two sounds are apart: what differs by more than a quarter
// of the softer is heard, and in each third of a second the worst counts most.
func disturbance(a, b [][bands]float64) float64 {
	frames := make([]float64, len(a))
	for i := range a {
		for k, x := range a[i] {
			d := max(0, math.Abs(x-b[i][k])-min(x, b[i][k])/4)
			frames[i] += d * d / bands
		}
	}
	sum, n := 0.0, 0.0
	for i := 0; i+20 <= len(frames); i += 10 {
		worst := 0.0
		for _, d := range frames[i : i+20] {
			worst += d * d * d / 20
		}
		sum, n = sum+math.Cbrt(worst), n+1
	}
	return math.Sqrt(sum / n)
}

// appendixI loses packets and conceals them as G.711 Appendix I does, but for
// its delay, which is taken back.
func appendixI(in []int16, size int, lost func(i int) bool) []int16 {
	const (
		delay = 30
		keep  = periods*maxPeriod + delay
	)
	var past, wave [keep]float64
	var period, at, n, gap int // n periods are repeated; gap is in 10 ms
	out := make([]int16, len(in)+delay)
	made := func(to []float64) {
		for i := range to {
			to[i] = wave[keep-n*period+at]
			if at++; at == n*period {
				at = 0
			}
		}
	}
	// The last quarter period of the wave turns into what is before its first.
	seam := func() {
		q := period / 4
		for i := range q {
			w := float64(i+1) / float64(q)
			wave[keep-q+i] = past[keep-q+i]*(1-w) + wave[keep-n*period-q+i]*w
		}
	}
	for k := 0; (k+1)*80 <= len(in); k++ {
		var s [80]float64
		for i := range s {
			s[i] = float64(in[k*80+i])
		}
		gain := func(i int) float64 { return max(0, 1-.2*(float64(gap-1)+float64(i)/80)) }
		switch {
		case lost(k * 80 / size):
			switch {
			case gap == 0:
				wave, n, at = past, 1, 0
				best := math.Inf(-1)
				for lag := maxPeriod; lag >= minPeriod; lag-- {
					c, e := 0.0, 250.0
					for i := keep - 160; i < keep; i++ {
						c, e = c+past[i]*past[i-lag], e+past[i-lag]*past[i-lag]
					}
					if v := c / math.Sqrt(e); v > best {
						best, period = v, lag
					}
				}
				seam()
				copy(past[keep-period/4:], wave[keep-period/4:])
				made(s[:])
			case gap < periods:
				old, was := make([]float64, period/4), at
				made(old)
				n, at = n+1, was%period
				seam()
				made(s[:])
				for i, x := range old {
					w := float64(i+1) / float64(len(old))
					s[i] = x*(1-w) + s[i]*w
				}
			default:
				made(s[:])
			}
			if gap > 0 {
				for i := range s {
					s[i] *= gain(i)
				}
			}
			gap++
		case gap > 0:
			old := make([]float64, min(period/4+32*(gap-1), 80))
			made(old)
			g := gain(0)
			for i, x := range old {
				w := float64(i+1) / float64(len(old))
				s[i] = x*(1-w)*g + s[i]*w
			}
			gap = 0
		}
		copy(past[:], past[80:])
		copy(past[keep-80:], s[:])
		for i := range 80 {
			out[k*80+i] = int16(past[keep-delay-80+i])
		}
	}
	return out[delay:]
}
