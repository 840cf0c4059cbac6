package echo

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/ata-agent/ata-agent/internal/media/g711"
)

// rms is the effective amplitude of a level: a full sine is +3.14 dBm0.
func rms(dBm0 float64) float64 { return 32767 / math.Sqrt2 * math.Pow(10, (dBm0-3.14)/20) }

// dBm0 is the level of a sound.
func dBm0(s []int16) float64 { return 10*math.Log10(power(s)/float64(len(s))) - 20*math.Log10(rms(0)) }

func power(s []int16) float64 {
	var e int64
	for _, x := range s {
		e += int64(x) * int64(x)
	}
	return float64(e) + 1e-3
}

// at brings a shape to a level and length, repeating it, every second time
// inverted if it is to be.
func at(level float64, shape []float64, n int, invert bool) []int16 {
	g, p := 0.0, 0.0
	for _, x := range shape {
		if x != 0 { // pauses do not count
			g += x * x
			p++
		}
	}
	g = rms(level) / math.Sqrt(g/p)
	one := make([]int16, len(shape))
	for i, x := range shape {
		one[i] = int16(math.Round(min(max(x*g, -32768), 32767)))
	}
	out := make([]int16, n)
	for i := range out {
		out[i] = one[i%len(one)]
		if invert && i/len(one)%2 == 1 {
			out[i] = -out[i]
		}
	}
	return out
}

func silence(n int) []int16 { return make([]int16, n) }

const (
	second = 8000
	fast   = 44100.0 // the rate of the Recommendation's own samples
)

var cosines = sync.OnceValue(func() *[4096]float64 {
	var t [4096]float64
	for i := range t {
		t[i] = math.Cos(2 * math.Pi * float64(i) / 4096)
	}
	return &t
})

// wave adds a cosine, of a frequency in Hz and a phase in turns.
func wave(out []float64, amplitude, hz, turns float64) {
	t := cosines()
	phase, inc := uint32(int64(turns*(1<<32))), uint32(int64(hz/8000*(1<<32)))
	for i := range out {
		out[i] += amplitude * t[phase>>20]
		phase += inc
	}
}

// voiced is n samples at 8 kHz of a period at 44.1 kHz, up to 3.7 kHz.
func voiced(period []float64, n int) []float64 {
	out := make([]float64, n)
	t := cosines()
	for h := 1; ; h++ {
		hz := float64(h) * fast / float64(len(period))
		if hz > 3700 {
			return even(out)
		}
		var a, b float64
		for i, x := range period {
			k := h * i * 4096 / len(period)
			a, b = a+x*t[k&4095], b+x*t[(k-1024)&4095]
		}
		wave(out, math.Hypot(a, b), hz, -math.Atan2(b, a)/2/math.Pi)
	}
}

// even brings a piece to an effective amplitude of 1.
func even(s []float64) []float64 {
	p := 0.0
	for _, x := range s {
		p += x * x
	}
	p = math.Sqrt(p / float64(len(s)))
	for i := range s {
		s[i] /= p
	}
	return s
}

// The composite source signal of G.168 Annex C: of the far end, 48.62 ms
// voiced, 200 ms of pseudo noise with the spectrum of speech, 101.38 ms of
// pause; of the near end 72.69 ms voiced, 200 ms of white noise, 127.31 ms of
// pause. Every second time it is inverted.
var cssFar = sync.OnceValue(func() []float64 {
	noise := make([]float64, 1600)
	r := rand.New(rand.NewPCG(168, 1))
	for k := 1; k <= 685; k++ { // up to 3.69 kHz
		hz := fast * float64(k) / 8192
		wave(noise, math.Pow(10, density(hz)/20), hz, float64(r.IntN(2))/2+.25)
	}
	return slices.Concat(voiced(cssC1, 389), even(noise), silent(811))
})

var cssNear = sync.OnceValue(func() []float64 {
	noise := make([]float64, 1600)
	r := rand.New(rand.NewPCG(168, 2))
	for i := range noise {
		noise[i] = r.NormFloat64()
	}
	return slices.Concat(voiced(cssC3, 582), even(noise), silent(1018))
})

func silent(n int) []float64 { return make([]float64, n) }

// density is that of the pseudo noise in dB.
func density(hz float64) float64 {
	marks := [][2]float64{{50, -25.8}, {100, -12.8}, {200, 17.4}, {215, 17.8}, {500, 12.2}, {1000, 7.2},
		{2850, 0}, {3600, -2}, {3660, -20}, {3680, -30}, {3690, -60}}
	if hz < 50 {
		return -60
	}
	for i := 1; i < len(marks); i++ {
		if a, b := marks[i-1], marks[i]; hz < b[0] {
			return a[1] + (hz-a[0])*(b[1]-a[1])/(b[0]-a[0])
		}
	}
	return -60
}

func css(level float64, n int) []int16  { return at(level, cssFar(), n, true) }
func talk(level float64, n int) []int16 { return at(level, cssNear(), n, true) }

func hiss(level float64, n int) []int16 {
	r := rand.New(rand.NewPCG(1, uint64(-level)))
	s, a := make([]int16, n), rms(level)*math.Sqrt(3)
	for i := range s {
		s[i] = int16(math.Round(a * (2*r.Float64() - 1)))
	}
	return s
}

func sines(level float64, n int, hz ...float64) []int16 {
	s := silent(n)
	for _, f := range hz {
		if f != 0 {
			wave(s, rms(level)*math.Sqrt2, f, 0)
		}
	}
	out := make([]int16, n)
	for i, x := range s {
		out[i] = int16(math.Round(x))
	}
	return out
}

// A voice is like speech where it matters to an echo canceller: syllables of
// gliding pitch under formants that move, hisses between them, pauses, and a
// loudness that is never the same. It is made of integers.
func voice(seed uint64, pitch int, level float64, n int) []int16 {
	r := rand.New(rand.NewPCG(seed, 7))
	shape := make([]float64, n)
	type formant struct{ a1, a2, y1, y2 int32 } // Q14
	var f [3]formant
	tune := func(i int, hz, width float64) {
		rad := math.Exp(-math.Pi * width / 8000)
		f[i].a1 = int32(2 * rad * math.Cos(2*math.Pi*hz/8000) * 16384)
		f[i].a2 = int32(-rad * rad * 16384)
	}
	for i := 0; i < n; {
		long := 800 + r.IntN(1600) // 100 to 300 ms
		tune(0, 300+500*r.Float64(), 80)
		tune(1, 900+1400*r.Float64(), 100)
		tune(2, 2300+800*r.Float64(), 150)
		kind := r.IntN(8)
		loud := int32(20 + r.IntN(100))
		glide := r.IntN(41) - 20
		next := 0
		for j := range min(long, n-i) {
			var x int32
			switch {
			case kind == 0: // a pause
			case kind == 1: // a hiss
				x = int32(r.IntN(401)-200) * loud / 100
			default:
				if next--; next <= 0 {
					p := 8000 / (pitch + glide*j/long)
					next = p
					x = 1000 * loud / 100
				}
				x += int32(r.IntN(9) - 4)
			}
			// It rises and falls within 20 ms.
			x = x * int32(min(j, long-j, 160)) / 160
			y := x
			for k := range f {
				q := &f[k]
				v := y + (q.a1*(q.y1>>2)+q.a2*(q.y2>>2))>>12
				q.y2, q.y1 = q.y1, v
				y = v
				if k == 0 && kind != 1 {
					y = v >> 2
				}
			}
			shape[i+j] = float64(y)
		}
		i += long
	}
	return at(level, shape, n, false)
}

// A line is what G.168 calls the echo path, with an end near to it: what is
// played on it comes back as its echo, with what the near end says.
type line struct {
	h    []int32 // Q15
	past []int16
	law  bool // G.711 A-law in both directions, as in a network
	c    *Canceller
}

// path is figure D.n of G.168 with an echo return loss and a delay in
// samples before it.
func path(n int, loss float64, delay int) []int32 {
	p := echoPaths[n]
	h := make([]int32, delay, delay+len(p.m))
	for _, m := range p.m {
		h = append(h, int32(math.Round(32768*m*p.k*math.Pow(10, -loss/20))))
	}
	return h
}

// lineOf is a line with a canceller without NLP.
func lineOf(h []int32, taps int) *line {
	l := &line{h: h, c: New(taps)}
	l.c.NLP(false)
	return l
}

// then is the same at this moment, with a life of its own.
func (l *line) then() *line {
	m := *l
	c := *l.c
	m.c = &c
	m.past = slices.Clone(l.past)
	return &m
}

func (l *line) echo(far []int16) []int16 {
	const most = 1024
	all := slices.Concat(silence(most-len(l.past)), l.past, far)
	l.past = slices.Clone(all[len(all)-most:])
	out := make([]int16, len(far))
	for i := range out {
		x := all[most+i+1-len(l.h) : most+i+1]
		var y int32
		for j, a := range l.h {
			y += a * int32(x[len(x)-1-j]) >> 3
		}
		out[i] = int16(min(max((y+1<<11)>>12, -32768), 32767))
	}
	return out
}

// play lets far be said from one end and near, which may be nil, from the
// other. It gives the echo alone, what came from the line and what went out.
func (l *line) play(far, near []int16) (echo, sin, sout []int16) {
	if l.law {
		far = code(far)
	}
	echo = l.echo(far)
	sin = slices.Clone(echo)
	for i := range near {
		sin[i] = int16(min(max(int32(sin[i])+int32(near[i]), -32768), 32767))
	}
	if l.law {
		sin = code(sin)
	}
	sout = make([]int16, len(sin))
	for i := 0; i < len(sin); i += 80 {
		j := min(i+80, len(sin))
		l.c.Cancel(sout[i:j], far[i:j], sin[i:j])
	}
	return echo, sin, sout
}

func code(s []int16) []int16 {
	b, out := make([]byte, len(s)), make([]int16, len(s))
	g711.A.Encode(b, s)
	g711.A.Decode(out, b)
	return out
}

// erle is how much smaller b is than a, dB.
func erle(a, b []int16) float64 { return 10 * math.Log10(power(a)/power(b)) }

// reach is when, in seconds, b first is so many dB below a, both measured
// with a time constant of 35 ms as in G.168 6.4.1.2.1.
func reach(a, b []int16, dB float64) float64 {
	var p, q int64
	ratio := int64(math.Round(math.Pow(10, dB/10)))
	for i := range a {
		x, y := int64(a[i]), int64(b[i])
		p += (x*x<<8 - p) / 280
		q += (y*y<<8 - q) / 280
		if i > 400 && p > 1000<<8 && q*ratio < p {
			return float64(i) / second
		}
	}
	return 99
}

// paths are figures D.2 to D.9, or two of them where time is dear.
func paths() []int {
	if testing.Short() {
		return []int{5, 8}
	}
	return []int{2, 3, 4, 5, 6, 7, 8, 9}
}
