package echo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// While the far end is silent, the near end is heard bit by bit.
func TestNearEndAlone(t *testing.T) {
	l := lineOf(path(5, 6, 40), 128)
	l.play(css(-10, 3*second), nil)
	l.play(silence(second/10), nil)
	said := voice(4, 140, -10, 2*second)
	_, _, out := l.play(silence(2*second), said)
	if !slices.Equal(out, said) {
		t.Error("the near end is changed while nobody else speaks")
	}
}

func TestSilence(t *testing.T) {
	var c Canceller
	c.Reset()
	s := silence(second)
	c.Cancel(s, silence(second), s)
	for _, x := range s {
		if x != 0 {
			t.Fatal("silence is heard as", x)
		}
	}
}

// A zero Canceller is New(128), sound may come in stretches of any length and
// go back to where it came from.
func TestZeroAndLengths(t *testing.T) {
	far := css(-10, 2*second)
	sin := lineOf(path(5, 6, 0), 128).echo(far)
	want := make([]int16, len(far))
	New(128).Cancel(want, far, sin)

	var c Canceller
	r := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(far); {
		j := min(i+r.IntN(200), len(far))
		c.Cancel(sin[i:j], far[i:j], sin[i:j])
		i = j
	}
	if !slices.Equal(sin, want) {
		t.Error("the length of the stretches matters")
	}
}

// Linear is what a Canceller without NLP gives, whatever the length of the
// stretches, and when a modem has turned everything off.
func TestLinear(t *testing.T) {
	far := css(-10, 3*second)
	for i, x := range sines(-12, second, 2100) {
		if far[second+i] = x; i/3600%2 == 1 {
			far[second+i] = -x
		}
	}
	sin := lineOf(path(5, 6, 0), 128).echo(far)
	plain, c := New(128), New(128)
	plain.NLP(false)
	r := rand.New(rand.NewPCG(2, 1))
	changed := false
	for i := 0; i < len(far); {
		j := min(i+1+r.IntN(80), len(far))
		var out, want, got [80]int16
		plain.Cancel(want[:j-i], far[i:j], sin[i:j])
		c.Cancel(out[:j-i], far[i:j], sin[i:j])
		c.Linear(got[:j-i])
		if got != want {
			t.Fatalf("at sample %d: %v, without NLP %v", i, got[:j-i], want[:j-i])
		}
		changed = changed || out != want
		i = j
	}
	if !changed {
		t.Error("the NLP did nothing")
	}
	if !c.Stats().Disabled {
		t.Error("the modem was not heard")
	}

	c.Resume()
	if s := c.Stats(); s.Disabled || s.Linear || s.ERL > 10 {
		t.Errorf("in the next call: %+v", s)
	}
	next := css(-10, second)
	sin = lineOf(path(5, 6, 0), 128).echo(next)
	out := make([]int16, len(sin))
	c.NLP(false)
	c.Cancel(out, next, sin)
	if e := erle(sin[:second/10], out[:second/10]); e < 25 {
		t.Errorf("in the first 100 ms of the next call: %.1f dB", e)
	}
}

func TestReset(t *testing.T) {
	l := lineOf(path(5, 6, 0), 200)
	echo, _, first := l.play(css(-10, second), nil)
	l.c.Reset()
	second := make([]int16, len(first))
	l.c.Cancel(second, css(-10, len(first)), echo)
	if !slices.Equal(first, second) {
		t.Error("something is left of the time before")
	}
}

// Whatever is heard, the line is learnt again afterwards.
func TestAnything(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	rounds := 30
	if testing.Short() {
		rounds = 4
	}
	l := lineOf(path(3, 6, 40), 256)
	for range rounds {
		any := func() []int16 {
			s := make([]int16, 800+r.IntN(4000))
			switch kind := r.IntN(5); kind {
			case 0:
			case 1: // as loud as can be
				for i := range s {
					s[i] = int16(r.IntN(2)*65535 - 32768)
				}
			case 2: // a square
				for i := range s {
					s[i] = int16(i/(4+kind)%2*65535 - 32768)
				}
			case 3: // clicks
				for i := 0; i < len(s); i += 1 + r.IntN(300) {
					s[i] = int16(r.IntN(65536) - 32768)
				}
			case 4: // steady
				for i := range s {
					s[i] = 32767
				}
			}
			return s
		}
		far, near := any(), any()
		l.play(far, near[:min(len(far), len(near))])
	}
	l.play(silence(second), nil)
	echo, _, out := l.play(css(-10, 5*second), nil)
	t.Logf("20 dB after %.2f s, %.1f dB after 4", reach(echo, out, 20), erle(echo[4*second:], out[4*second:]))
	if reach(echo, out, 20) > 2 || erle(echo[4*second:], out[4*second:]) < 40 {
		t.Error("the line is not learnt")
	}
}

func TestNothingAllocates(t *testing.T) {
	far := css(-10, 2*second)
	sin := lineOf(path(5, 6, 0), 128).echo(far)
	c := New(128)
	at := 0
	if n := testing.AllocsPerRun(100, func() {
		c.Cancel(sin[at:at+80], far[at:at+80], sin[at:at+80])
		at += 80
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

// BenchmarkFrames is 20 ms of both sides with everything on.
func BenchmarkFrames(b *testing.B) {
	for _, taps := range []int{128, 256, 512} {
		b.Run(fmt.Sprint(taps), func(b *testing.B) {
			far := css(-10, 10*second)
			sin := lineOf(path(5, 6, 0), 128).echo(far)
			c := New(taps)
			var out [160]int16
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at := i % 500 * 160
				c.Cancel(out[:], far[at:at+160], sin[at:at+160])
			}
		})
	}
}
