package media

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/cmplx"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A talker is somebody at a simulated handset, or at a telephone on a line, with
// its cord.
type talker struct {
	hal.Port
	hal.Hand
	*Cord
	rate int
	addr string
	w    *wire
}

// talkers runs one for each rate, 0 being a line, until the test is over.
func talkers(t *testing.T, rates []int, test func(w *wire, p []*talker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 5 * time.Millisecond}
		var ps []*talker
		var work sync.WaitGroup
		for i, rate := range rates {
			p := &talker{rate: rate, addr: fmt.Sprintf("10.0.0.%d", i+1), w: w}
			if rate == 0 {
				port := sim.New("1", sim.Options{})
				p.Port, p.Hand, p.rate = port, port, hal.SampleRate
			} else {
				port := sim.NewHandset("1", rate, sim.Options{})
				p.Port, p.Hand = port, port
			}
			p.Cord = NewCord(p.Port, func(Event) {})
			work.Go(func() {
				if err := p.Run(context.Background()); err != nil {
					t.Error(err)
				}
			})
			p.Lift()
			ps = append(ps, p)
			time.Sleep(3 * time.Millisecond) // the clocks of two ports are not one
		}
		test(w, ps)
		for _, p := range ps {
			p.Port.Close()
		}
		work.Wait()
	})
}

// call joins a to b by a codec, with events.
func call(t *testing.T, a, b *talker, codec rtp.Codec) (atA, atB *rtp.Stream) {
	t.Helper()
	return callWith(t, a, b, codec, 101)
}

func callWith(t *testing.T, a, b *talker, codec rtp.Codec, events uint8) (atA, atB *rtp.Stream) {
	t.Helper()
	open := func(p *talker) *rtp.Stream {
		s, err := rtp.Open(context.Background(), host{p.w, p.addr}, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	atA, atB = open(a), open(b)
	pt := map[rtp.Codec]uint8{rtp.PCMA: 8, rtp.G722: 9}[codec]
	r := rtp.Remote{Codec: codec, PT: pt, Events: events, Send: true, Receive: true}
	r.Addr = netip.AddrPortFrom(netip.MustParseAddr(b.addr), atB.LocalPort())
	atA.Start(r)
	r.Addr = netip.AddrPortFrom(netip.MustParseAddr(a.addr), atA.LocalPort())
	atB.Start(r)
	return atA, atB
}

// whistle is d of a sine at -10 dBm0.
func (p *talker) whistle(hz float64, d time.Duration) {
	s := make([]int16, d*time.Duration(p.rate)/time.Second)
	z, turn := complex(minusTen, 0), cmplx.Rect(1, 2*math.Pi*hz/float64(p.rate))
	for i := range s {
		s[i] = int16(math.Round(imag(z)))
		z *= turn
	}
	_ = p.Play(s)
}

const minusTen = 7217 // the peak of -10 dBm0

// heard is what the ear hears in the next d, but for the frames at both ends that
// are only half heard.
func (p *talker) heard(d time.Duration) []int16 {
	stop := make(chan struct{})
	time.AfterFunc(d, func() { close(stop) })
	s := p.Record(stop)
	return s[p.rate/50 : len(s)-p.rate/50]
}

// at is the level, dBm0, of a frequency in what p heard. Sines are made by
// turning, which emulators of machines without floating point can bear.
func (p *talker) at(s []int16, hz float64) float64 {
	var sum complex128
	z, turn := complex(1, 0), cmplx.Rect(1, -2*math.Pi*hz/float64(p.rate))
	w, slow := complex(1, 0), cmplx.Rect(1, 2*math.Pi/float64(len(s)))
	for _, x := range s {
		sum += complex(float64(x)*(1-real(w)), 0) * z
		z *= turn
		w *= slow
	}
	return 20*math.Log10(2*cmplx.Abs(sum)/float64(len(s))/32767+1e-9) + 3.14
}

// besides is the level of what is in s but some sines.
func (p *talker) besides(s []int16, hz ...float64) float64 {
	rest := make([]float64, len(s))
	for i, x := range s {
		rest[i] = float64(x)
	}
	for range 3 { // they are not quite at right angles
		for _, f := range hz {
			turn := cmplx.Rect(1, 2*math.Pi*f/float64(p.rate))
			var sum complex128
			z := complex(1, 0)
			for _, x := range rest {
				sum += complex(x, 0) * z
				z *= turn
			}
			z = cmplx.Conj(sum) * complex(2/float64(len(s)), 0)
			for i := range rest {
				rest[i] -= real(z)
				z *= turn
			}
		}
	}
	all := 0.0
	for _, x := range rest {
		all += x * x
	}
	return 10*math.Log10(2*all/float64(len(s))/32767/32767+1e-12) + 3.14
}

// ratesOf are those that a handset may have; where floating point is emulated, the
// one that has most to do with others.
func ratesOf() []int {
	if testing.Short() {
		return []int{16000}
	}
	return hal.Rates[:]
}

// From mouth to ear: flat within 1 dB where a voice is, and no more than 3 dB down
// at the ends of the band, which are 50 and 7000 Hz for G.722 and 300 and 3400 Hz
// for G.711. What G.711 cannot carry does not come out as something else.
func TestFrequencyResponse(t *testing.T) {
	if testing.Short() {
		t.Skip("measuring takes long where floating point is emulated")
	}
	type band struct {
		codec     rtp.Codec
		end, flat [2]float64
		dead      float64 // from here on nothing is heard
	}
	for _, rates := range [][]int{{16000, 48000}, {48000, 16000}, {32000, 32000}, {48000, 0}} {
		for _, b := range []band{
			{rtp.G722, [2]float64{50, 7000}, [2]float64{100, 6400}, 99999},
			{rtp.PCMA, [2]float64{300, 3400}, [2]float64{300, 3400}, 4700},
		} {
			if rates[1] == 0 {
				b.end, b.flat, b.dead = [2]float64{50, 3400}, [2]float64{50, 3400}, 4700
			}
			talkers(t, rates, func(_ *wire, p []*talker) {
				atA, atB := call(t, p[0], p[1], b.codec)
				defer atA.Close()
				defer atB.Close()
				p[0].Set(Patch{Far: [2]*rtp.Stream{atA}})
				p[1].Set(Patch{Far: [2]*rtp.Stream{atB}})
				time.Sleep(2 * time.Second)
				low, high := math.Inf(1), math.Inf(-1)
				for _, hz := range []float64{50, 100, 200, 300, 500, 800, 1300, 2000, 2600, 3000, 3400, 3700, 3900, 4000, 4100, 4300, 4700, 5000, 5500, 6000, 6400, 6700, 7000} {
					go p[0].whistle(hz, 400*time.Millisecond)
					time.Sleep(150 * time.Millisecond)
					s := p[1].heard(200 * time.Millisecond)
					time.Sleep(200 * time.Millisecond)
					loss := -10 - p[1].at(s, hz)
					if hz >= b.dead {
						if l := p[1].besides(s); l > -45 { // G.722's low half hears some of what is above
							t.Errorf("%v, %s: %v Hz is heard as something else, %.1f dBm0", rates, b.codec, hz, l)
						}
						continue
					}
					switch {
					case hz >= b.flat[0] && hz <= b.flat[1]:
						low, high = min(low, -loss), max(high, -loss)
						if math.Abs(loss) > 1 {
							t.Errorf("%v, %s: %v Hz loses %.2f dB, want 0 ± 1", rates, b.codec, hz, loss)
						}
					case hz >= b.end[0] && hz <= b.end[1]:
						t.Logf("%v, %s: %v Hz loses %.2f dB", rates, b.codec, hz, loss)
						if loss < -1 || loss > 3 {
							t.Errorf("%v, %s: %v Hz loses %.2f dB, want -1 to 3", rates, b.codec, hz, loss)
						}
					}
				}
				t.Logf("%v, %s: %v to %v Hz within %+.2f and %+.2f dB", rates, b.codec, b.flat[0], b.flat[1], low, high)
			})
		}
	}
}

// The exchange's tones are as high and as loud in a handset as on a line, and
// there is nothing besides: no images, and no click from frame to frame.
func TestTonesInAHandset(t *testing.T) {
	for _, rate := range ratesOf() {
		talkers(t, []int{rate}, func(_ *wire, p []*talker) {
			p[0].Tune(Tuning{Out: 6, Sidetone: 12}) // neither is for tones
			p[0].Set(Patch{Ear: tone.Usual(tone.Dial)})
			time.Sleep(100 * time.Millisecond)
			s := p[0].heard(2 * time.Second)
			near(t, "350 Hz", p[0].at(s, 350), -13, 0.1)
			near(t, "440 Hz", p[0].at(s, 440), -13, 0.1)
			rest := p[0].besides(s, 350, 440)
			t.Logf("%d Hz: besides the tone %.1f dBm0", rate, rest)
			if rest > -70 {
				t.Errorf("%d Hz: besides the tone there is %.1f dBm0", rate, rest)
			}
			p[0].Set(Patch{})
			time.Sleep(50 * time.Millisecond)
			for _, x := range p[0].heard(100 * time.Millisecond) {
				if x != 0 {
					t.Fatal("something is heard without a tone")
				}
			}
		})
	}
}

// The ear hears its own mouth as much softer as was said, to half a decibel, in the
// next frame and as wide as the handset is.
func TestSidetone(t *testing.T) {
	for _, rate := range ratesOf() {
		high := float64(rate) * 0.44
		talkers(t, []int{rate}, func(_ *wire, p []*talker) {
			for _, softer := range []int{0, 6, 12, 18, 24, 30, 35} {
				p[0].Tune(Tuning{Sidetone: softer, In: 3})
				for _, hz := range []float64{300, 1000, high} {
					go p[0].whistle(hz, 500*time.Millisecond)
					time.Sleep(100 * time.Millisecond)
					s := p[0].heard(300 * time.Millisecond)
					time.Sleep(200 * time.Millisecond)
					if softer == 0 {
						if l := p[0].at(s, hz); l > -100 {
							t.Errorf("%d Hz: without a sidetone %v Hz is heard, %.1f dBm0", rate, hz, l)
						}
						continue
					}
					near(t, fmt.Sprintf("%d Hz: %v Hz, %d dB softer", rate, hz, softer), p[0].at(s, hz), -10+3-float64(softer), 0.5)
					if rest := p[0].besides(s, hz); rest > -70 {
						t.Errorf("%d Hz: besides a sidetone of %v Hz there is %.1f dBm0", rate, hz, rest)
					}
				}
			}
		})
	}
}

// A far end, a tone and the own mouth may together be louder than the ear can
// bear. No sample is louder than level's ceiling then, and nothing is torn.
func TestALoudHandset(t *testing.T) {
	for _, rate := range ratesOf() {
		talkers(t, []int{rate, rate}, func(_ *wire, p []*talker) {
			atA, atB := call(t, p[0], p[1], rtp.G722)
			defer atA.Close()
			defer atB.Close()
			p[0].Tune(Tuning{Out: 12, In: 12, Sidetone: 6})
			p[0].Set(Patch{Far: [2]*rtp.Stream{atA}, Ear: tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{440}}}, Level: -3}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{atB}})
			time.Sleep(time.Second)
			go p[0].whistle(600, 3*time.Second)
			go p[1].whistle(1000, 3*time.Second)
			loudest := int16(0)
			for _, x := range p[0].heard(time.Second) {
				loudest = max(loudest, x, -x)
			}
			s := p[0].heard(time.Second)
			for _, x := range s {
				loudest = max(loudest, x, -x)
			}
			rest := p[0].besides(s, 440, 600, 1000)
			t.Logf("%d Hz: at most %d; 440 Hz %.1f, 600 Hz %.1f, 1000 Hz %.1f, besides %.1f dBm0", rate, loudest,
				p[0].at(s, 440), p[0].at(s, 600), p[0].at(s, 1000), rest)
			if loudest > 30000 || loudest < 25000 {
				t.Errorf("%d Hz: the loudest sample is %d, want up to 30000", rate, loudest)
			}
			if rest > -30 {
				t.Errorf("%d Hz: besides what should be heard there is %.1f dBm0", rate, rest)
			}
		})
	}
}

// A handset in the middle, somebody wide and somebody on a line: each hears both
// others, as wide as both ends are.
func TestAConferenceOfTwoWidths(t *testing.T) {
	talkers(t, []int{48000, 16000, 0}, func(_ *wire, p []*talker) {
		ab, b := call(t, p[0], p[1], rtp.G722)
		ac, c := call(t, p[0], p[2], rtp.PCMA)
		for _, s := range []*rtp.Stream{ab, b, ac, c} {
			defer s.Close()
		}
		p[0].Set(Patch{Far: [2]*rtp.Stream{ab, ac}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[2].Set(Patch{Far: [2]*rtp.Stream{c}})
		time.Sleep(time.Second)
		for _, row := range []struct {
			from  int
			hz    float64
			heard [3]bool
		}{
			{0, 1000, [3]bool{false, true, true}},
			{0, 5000, [3]bool{false, true, false}},
			{1, 1000, [3]bool{true, false, true}},
			{1, 5000, [3]bool{true, false, false}},
			{2, 1000, [3]bool{true, true, false}},
		} {
			go p[row.from].whistle(row.hz, 500*time.Millisecond)
			time.Sleep(200 * time.Millisecond)
			var ears sync.WaitGroup
			for i := range p {
				ears.Go(func() {
					s := p[i].heard(250 * time.Millisecond)
					if l := p[i].at(s, row.hz); row.heard[i] {
						near(t, fmt.Sprintf("%v Hz of %d at %d", row.hz, row.from, i), l, -10, 0.3)
					} else if all := p[i].besides(s); all > -40 {
						t.Errorf("%v Hz of %d is heard at %d, %.1f dBm0", row.hz, row.from, i, all)
					}
				})
			}
			ears.Wait()
			time.Sleep(300 * time.Millisecond)
		}
	})
}

// A call is taken over by the other kind of telephone, and back: each hears as
// wide as it can.
func TestAStreamChangesWidth(t *testing.T) {
	talkers(t, []int{16000, 0, 16000}, func(_ *wire, p []*talker) {
		a, c := call(t, p[0], p[2], rtp.G722)
		defer a.Close()
		defer c.Close()
		p[2].Set(Patch{Far: [2]*rtp.Stream{c}})
		for i := range 20 {
			p[1-i%2].Set(Patch{})
			p[i%2].Set(Patch{Far: [2]*rtp.Stream{a}})
			time.Sleep(33 * time.Millisecond)
		}
		for _, has := range []int{0, 1, 0} {
			p[1-has].Set(Patch{})
			p[has].Set(Patch{Far: [2]*rtp.Stream{a}})
			time.Sleep(500 * time.Millisecond)
			for _, hz := range []float64{1000, 5000} {
				go p[2].whistle(hz, 500*time.Millisecond)
				time.Sleep(150 * time.Millisecond)
				s := p[has].heard(300 * time.Millisecond)
				time.Sleep(300 * time.Millisecond)
				if hz < 4000 || has == 0 {
					near(t, fmt.Sprintf("%v Hz at %d", hz, has), p[has].at(s, hz), -10, 0.3)
				} else if l := p[has].besides(s); l > -40 { // of G.722's low half, which hears some of it
					t.Errorf("%v Hz is heard on a line, %.1f dBm0", hz, l)
				}
			}
		}
	})
}

// Lost packets are concealed in both halves of a wide sound.
func TestWideLossIsConcealed(t *testing.T) {
	if testing.Short() {
		t.Skip("measuring takes long where floating point is emulated")
	}
	talkers(t, []int{16000, 16000}, func(w *wire, p []*talker) {
		a, b := call(t, p[0], p[1], rtp.G722)
		defer a.Close()
		defer b.Close()
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		time.Sleep(time.Second)
		// A voice of 125 Hz, as wide as G.722.
		voice := make([]int16, 5*16000)
		for i := range voice {
			x := 0.0
			for h := 1; h*125 < 7000; h += 3 {
				x += math.Cos(2*math.Pi*float64(h*125*i)/16000 + float64(h*h))
			}
			voice[i] = int16(600 * x)
		}
		n := 0
		w.mu.Lock()
		w.pass = func(from, _ netip.AddrPort, b []byte) bool {
			if b[1]&0x7f == 9 && from.Addr().String() == p[0].addr {
				n++
				return n%20 != 0
			}
			return true
		}
		w.mu.Unlock()
		go p[0].Play(voice)
		time.Sleep(500 * time.Millisecond)
		s := p[1].heard(4 * time.Second)
		lost := b.Stats().Concealed
		if lost < 150*time.Millisecond {
			t.Errorf("only %v was concealed", lost)
		}
		// Where 20 ms are lost they are heard all the same, low and high, if
		// ever softer.
		for _, hz := range []float64{125, 2000, 4250, 6125} {
			near(t, fmt.Sprintf("%v Hz", hz), p[1].at(s, hz), p[1].at(voice, hz), 1)
			least := math.Inf(1)
			for at := 0; at+256 <= len(s); at += 64 { // two periods of the voice
				least = min(least, p[1].at(s[at:at+256], hz))
			}
			least -= p[1].at(voice, hz)
			t.Logf("%v Hz: %.1f dB where it was softest", hz, least)
			if least < -8 {
				t.Errorf("%v Hz: %.1f dB where it was softest, want -8", hz, least)
			}
		}
	})
}

// A key that a handset presses is heard in a wide ear as it is on a line, whether it
// came beside the sound or in it.
func TestKeysInAHandset(t *testing.T) {
	for i, codec := range []rtp.Codec{rtp.G722, rtp.PCMA, rtp.G722, rtp.PCMA} {
		talkers(t, []int{16000, 16000}, func(_ *wire, p []*talker) {
			a, b := callWith(t, p[0], p[1], codec, uint8(101*(i/2)))
			defer a.Close()
			defer b.Close()
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			time.Sleep(time.Second)
			if !a.Press('5') {
				t.Fatal("it cannot be pressed")
			}
			s := p[1].heard(300 * time.Millisecond)
			for len(s) > 800 { // the 50 ms in which it is loudest
				half := s[:len(s)-80]
				if p[1].besides(half) < p[1].besides(s[80:]) {
					half = s[80:]
				}
				s = half
			}
			near(t, "770 Hz", p[1].at(s, 770), float64(tone.DigitLevel), 0.3)
			near(t, "1336 Hz", p[1].at(s, 1336), float64(tone.DigitLevel)+2, 0.3)
			if rest := p[1].besides(s, 770, 1336); rest > -40 {
				t.Errorf("%s: besides the key there is %.1f dBm0", codec, rest)
			}
		})
	}
}

// still is a handset for whoever carries frames himself.
type still struct {
	*socket
	rate int
}

func (s *still) Rate() int                  { return s.rate }
func (s *still) ReadSamples([]int16) error  { return nil }
func (s *still) WriteSamples([]int16) error { return nil }

// wideCall is a cord of a handset with far ends that are mirrors, wide and narrow
// in turn.
func wideCall(t testing.TB, rate, far int) *Cord {
	c := NewCord(&still{newSocket(), rate}, func(Event) {})
	var p Patch
	for i := range far {
		s, err := rtp.Open(context.Background(), hall{}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		r := rtp.Remote{Addr: farSide, Codec: rtp.G722, PT: 9, Events: 101, Send: true, Receive: true}
		if i == 1 {
			r.Codec, r.PT = rtp.PCMA, 8
		}
		s.Start(r)
		p.Far[i] = s
	}
	p.Ear = tone.Usual(tone.CallWaiting)
	c.Tune(Tuning{In: 12, Out: 3, Sidetone: 12})
	c.Set(p)
	return c
}

func TestNoAllocationInAHandset(t *testing.T) {
	for _, rate := range ratesOf() {
		for far := range 3 {
			c := wideCall(t, rate, far)
			i := 0
			n := testing.AllocsPerRun(1000, func() {
				for k := range c.handset.mouth {
					c.handset.mouth[k] = int16((i*k*k)%30000 - 15000)
				}
				if i++; i%50 == 0 && far > 0 {
					c.now.Far[0].Press('5')
				}
				c.frame()
				runtime.Gosched() // to who receives
			})
			if n != 0 {
				t.Errorf("%d Hz, %d far ends: %v allocations per frame", rate, far, n)
			}
			for _, s := range c.now.Far[:far] {
				if st := s.Stats(); st.Received < 100 {
					t.Errorf("%d Hz, %d far ends: there was no call: %+v", rate, far, st)
				}
			}
		}
	}
}

func BenchmarkFrameOfAWideCall(b *testing.B) {
	for _, rate := range []int{16000, 48000} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			c := wideCall(b, rate, 1)
			b.ReportAllocs()
			for b.Loop() {
				c.frame()
				runtime.Gosched()
			}
		})
	}
}
