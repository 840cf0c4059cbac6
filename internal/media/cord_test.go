package media

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/echo"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A socket is a port whose receiver is always off the hook: a mouth that plays
// tones, an ear that remembers, and some echo between the two.
type socket struct {
	echo float64 // of the ear in the mouth

	mu    sync.Mutex
	talks float64 // white noise from the mouth, RMS
	plays []int16 // by the mouth
	noise *rand.Rand
	mouth tone.Player
	ear   []int16
	last  hal.Frame
	gone  chan struct{}
	fault error
}

func newSocket() *socket {
	return &socket{gone: make(chan struct{}), noise: rand.New(rand.NewPCG(1, 2))}
}

func (s *socket) Name() string             { return "1" }
func (s *socket) Kind() string             { return "test" }
func (s *socket) Events() <-chan hal.Event { return nil }
func (s *socket) Ring(hal.Cadence) error   { return nil }
func (s *socket) Close() error             { close(s.gone); return nil }

func (s *socket) Read(f *hal.Frame) error {
	t := time.NewTimer(hal.FrameTime)
	defer t.Stop()
	select {
	case <-s.gone:
		return io.EOF
	case <-t.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mouth.Read(f[:])
	if len(s.plays) > 0 {
		s.plays = s.plays[copy(f[:], s.plays):]
	}
	for i := range f {
		f[i] += int16(float64(s.last[i])*s.echo + s.talks*s.noise.NormFloat64())
	}
	return s.fault
}

func (s *socket) Write(f *hal.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ear = append(s.ear, f[:]...)
	s.last = *f
	return nil
}

// throw lets so much of what the ear hears come back from the mouth.
func (s *socket) throw(echo float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.echo = echo
}

// talk lets the mouth make noise, of an effective amplitude.
func (s *socket) talk(rms float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.talks = rms
}

// say lets the mouth sound.
func (s *socket) say(hz uint16, level tone.DBm0) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mouth.Play(tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{hz}}}, Level: level})
}

// press presses a key for a time.
func (s *socket) press(key byte, d time.Duration) { s.pressAt(key, 0, d) }

// pressAt presses one of a telephone that is not as loud as it should be.
func (s *socket) pressAt(key byte, level tone.DBm0, d time.Duration) {
	k, _ := tone.Digit(key)
	if level != 0 {
		k.Level = level
	}
	s.mu.Lock()
	s.mouth.Play(k)
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
	s.mouth.Stop()
	s.mu.Unlock()
}

// heard returns what the ear heard for a time from now.
func (s *socket) heard(d time.Duration) []int16 {
	s.mu.Lock()
	n := len(s.ear)
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ear[n:]
}

// power is the level of a frequency in s, dBm0. The sines are made by turning,
// which emulators of machines without floating point can bear.
func power(s []int16, hz float64) float64 {
	var sum complex128
	z, turn := complex(1, 0), cmplx.Rect(1, -2*math.Pi*hz/8000)
	w, slow := cmplx.Rect(1, math.Pi/float64(len(s))), cmplx.Rect(1, 2*math.Pi/float64(len(s)))
	for _, x := range s {
		y := float64(x) * (1 - real(w))
		sum += complex(y*real(z), y*imag(z))
		z *= turn
		w *= slow
	}
	return 20*math.Log10(2*cmplx.Abs(sum)/float64(len(s))/32767+1e-9) + 3.14
}

// A party is a telephone with its cord.
type party struct {
	*socket
	*Cord
	keys   chan Event
	addr   string
	w      *wire
	stream []*rtp.Stream
}

// together runs parties on a wire until the test is over.
func together(t *testing.T, n int, test func(w *wire, p []*party)) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 5 * time.Millisecond}
		var ps []*party
		var work sync.WaitGroup
		for i := range n {
			p := &party{socket: newSocket(), keys: make(chan Event, 100), addr: "10.0.0." + string(rune('1'+i)), w: w}
			p.Cord = NewCord(p.socket, func(e Event) { p.keys <- e })
			ps = append(ps, p)
			work.Go(func() {
				if err := p.Run(context.Background()); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(3 * time.Millisecond) // the clocks of two ports are not one
		}
		test(w, ps)
		for _, p := range ps {
			p.socket.Close()
		}
		work.Wait()
		for _, p := range ps {
			for _, s := range p.stream {
				s.Close()
			}
		}
	})
}

// dial connects a and b with a pair of streams.
func dial(t *testing.T, a, b *party, events uint8) (atA, atB *rtp.Stream) {
	t.Helper()
	open := func(p *party) *rtp.Stream {
		s, err := rtp.Open(context.Background(), host{p.w, p.addr}, "", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		p.stream = append(p.stream, s)
		return s
	}
	atA, atB = open(a), open(b)
	r := rtp.Remote{Codec: rtp.PCMA, PT: 8, Events: events, Send: true, Receive: true}
	r.Addr = netip.AddrPortFrom(netip.MustParseAddr(b.addr), atB.LocalPort())
	atA.Start(r)
	r.Addr = netip.AddrPortFrom(netip.MustParseAddr(a.addr), atA.LocalPort())
	atB.Start(r)
	return atA, atB
}

// told is every key that a party's cord has told of, and how long each had
// sounded. It ends the telling.
func (p *party) told() (keys string, lasted []time.Duration) {
	close(p.keys)
	for e := range p.keys {
		keys += string(e.Digit)
		lasted = append(lasted, e.Duration)
	}
	return keys, lasted
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: %.2f, want %.2f ± %v", what, got, want, tolerance)
	}
}

func TestTwoPartiesHearEachOther(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[0].say(1000, -10)
		p[1].say(600, -20)
		time.Sleep(time.Second)
		atB := p[1].heard(time.Second)
		atA := p[0].heard(time.Second)
		near(t, "1000 Hz at the second", power(atB, 1000), -10, 0.1)
		near(t, "600 Hz at the first", power(atA, 600), -20, 0.1)
		if l := power(atA, 1000); l > -60 {
			t.Errorf("the first hears itself at %.1f dBm0", l)
		}
	})
}

func TestThreePartiesHearEachOther(t *testing.T) {
	together(t, 3, func(_ *wire, p []*party) {
		ab, b := dial(t, p[0], p[1], 101)
		ac, c := dial(t, p[0], p[2], 101)
		p[0].Set(Patch{Far: [2]*rtp.Stream{ab, ac}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[2].Set(Patch{Far: [2]*rtp.Stream{c}})
		hz := []uint16{500, 900, 1900}
		for i := range p {
			p[i].say(hz[i], -16)
		}
		time.Sleep(time.Second)
		for i := range p {
			ear := p[i].heard(time.Second)
			for j := range p {
				l := power(ear, float64(hz[j]))
				if i == j {
					if l > -55 {
						t.Errorf("party %d hears itself at %.1f dBm0", i, l)
					}
				} else {
					near(t, "a party hears another", l, -16, 0.1)
				}
			}
		}
	})
}

func TestToneIsHeardAndGoesOn(t *testing.T) {
	together(t, 1, func(_ *wire, p []*party) {
		dialTone := tone.Usual(tone.Dial)
		p[0].Set(Patch{Ear: dialTone})
		time.Sleep(200 * time.Millisecond)
		ear := p[0].heard(time.Second)
		near(t, "350 Hz", power(ear, 350), -13, 0.1)
		near(t, "440 Hz", power(ear, 440), -13, 0.1)

		// The same tone again is the tone that is heard: its phase goes on.
		before := p[0].heard(500 * time.Millisecond)
		p[0].Set(Patch{Ear: tone.Usual(tone.Dial)})
		after := p[0].heard(500 * time.Millisecond)
		whole := append(append([]int16{}, before...), after...)
		near(t, "350 Hz across a patch", power(whole, 350), -13, 0.05)

		p[0].Set(Patch{})
		time.Sleep(50 * time.Millisecond)
		for _, x := range p[0].heard(100 * time.Millisecond) {
			if x != 0 {
				t.Fatal("something is heard without a tone")
			}
		}
	})
}

// A waiting call is told over the voice.
func TestToneOverACall(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[1].say(1000, -16)
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}, Ear: tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{440}}}, Level: -20}})
		time.Sleep(time.Second)
		ear := p[0].heard(time.Second)
		near(t, "the voice", power(ear, 1000), -16, 0.1)
		near(t, "the tone", power(ear, 440), -20, 0.1)
	})
}

const allKeys = "1234567890*#ABCD"

// Every key is told once, also through the echo of the dial tone.
func TestKeysAreToldOnce(t *testing.T) {
	together(t, 1, func(_ *wire, p []*party) {
		p[0].throw(0.4)
		p[0].Set(Patch{Ear: tone.Usual(tone.Dial)})
		time.Sleep(100 * time.Millisecond)
		for i := range allKeys {
			p[0].press(allKeys[i], 50*time.Millisecond)
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		got, lasted := p[0].told()
		for i, d := range lasted {
			if d < 25*time.Millisecond || d > 60*time.Millisecond {
				t.Errorf("key %c had sounded %v", got[i], d)
			}
		}
		if got != allKeys {
			t.Errorf("told %s, pressed %s", got, allKeys)
		}
	})
}

// What is a key is for the country to say: at -27 dBm0 it is none to NTT.
func TestKeysOfACountry(t *testing.T) {
	for admin, want := range map[dtmf.Administration]int{dtmf.ATT: 1, dtmf.NTT: 0} {
		together(t, 1, func(_ *wire, p []*party) {
			p[0].Tune(Tuning{Keys: admin})
			time.Sleep(50 * time.Millisecond)
			p[0].pressAt('5', -29, 100*time.Millisecond) // of the row; the column has 2 dB more
			time.Sleep(100 * time.Millisecond)
			if got := len(p[0].keys); got != want {
				t.Errorf("administration %d: %d keys, want %d", admin, got, want)
			}
		})
	}
}

// bursts finds the stretches, in ms, in which both frequencies sound.
func bursts(s []int16, a, b float64) (ms []int) {
	on := 0
	for i := 0; i+80 <= len(s); i += 80 {
		if power(s[i:i+80], a) > -25 && power(s[i:i+80], b) > -25 {
			on += 10
		} else if on > 0 {
			ms = append(ms, on)
			on = 0
		}
	}
	return ms
}

// A key goes to a far end once: beside the sound if it takes it there, with at
// most 20 ms of it in the sound, and in the sound if not.
func TestKeysInACall(t *testing.T) {
	for _, events := range []uint8{101, 0} {
		together(t, 2, func(w *wire, p []*party) {
			a, b := dial(t, p[0], p[1], events)
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			sound, inSound := 0, 0
			var pcma [256]float64 // power
			for i := range pcma {
				x := byte(i) ^ 0x55
				m := float64(x & 15)
				if e := x >> 4 & 7; e > 0 {
					m = (m + 16) * float64(int(1)<<(e-1))
				}
				pcma[i] = (m*16 + 8) * (m*16 + 8)
			}
			w.mu.Lock()
			w.pass = func(from, _ netip.AddrPort, b []byte) bool {
				if from.Addr().String() == p[0].addr && from.Port()%2 == 0 && b[1]&0x7f == 8 {
					for i := 12; i+40 <= len(b); i += 40 { // 5 ms
						sum := 0.0
						for _, c := range b[i : i+40] {
							sum += pcma[c]
						}
						sound += 5
						if sum/40 > 1000*1000 {
							inSound += 5
						}
					}
				}
				return true
			}
			w.mu.Unlock()
			time.Sleep(500 * time.Millisecond)
			go func() {
				for _, k := range []byte("55") {
					p[0].press(k, 120*time.Millisecond)
					time.Sleep(200 * time.Millisecond)
				}
			}()
			got := bursts(p[1].heard(time.Second), 770, 1336)
			if len(got) != 2 || got[0] < 70 || got[0] > 180 {
				t.Errorf("events %d: the far end hears %v ms, want two keys of 120", events, got)
			}
			if len(p[0].keys) != 2 {
				t.Errorf("events %d: %d keys told, want 2", events, len(p[0].keys))
			}
			if st := a.Stats(); st.EventsSent != 2*uint64(min(events, 1)) {
				t.Errorf("events %d: %d events sent", events, st.EventsSent)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Logf("events %d: %d ms of two keys left in the sound of %d ms", events, inSound, sound)
			if events != 0 && inSound > 40 {
				t.Errorf("%d ms of two keys left in the sound, want at most 20 each", inSound)
			}
			if events == 0 && inSound < 200 {
				t.Errorf("%d ms of two keys in the sound, want 240", inSound)
			}
		})
	}
}

// A patch that is changed while a key is down ends the key.
func TestPatchEndsAKey(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		time.Sleep(200 * time.Millisecond)
		go p[0].press('7', 300*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		p[0].Set(Patch{})
		time.Sleep(500 * time.Millisecond)
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].heard(time.Second)
		if got := bursts(p[1].heard(500*time.Millisecond), 852, 1209); len(got) != 0 {
			t.Errorf("the key is heard %v ms long after it was let go", got)
		}
	})
}

// A call is taken over by another port of ours: two cords, one stream.
func TestAStreamChangesHands(t *testing.T) {
	together(t, 3, func(_ *wire, p []*party) {
		a, c := dial(t, p[0], p[2], 101)
		p[2].Set(Patch{Far: [2]*rtp.Stream{c}})
		p[2].say(1000, -16)
		for i := range 20 {
			p[i%2].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1-i%2].Set(Patch{})
			time.Sleep(33 * time.Millisecond)
		}
		time.Sleep(time.Second)
		near(t, "who has the call hears", power(p[1].heard(time.Second), 1000), -16, 0.1)
		if l := power(p[0].heard(100*time.Millisecond), 1000); l > -60 {
			t.Errorf("who has it no more hears %.1f dBm0", l)
		}
	})
}

func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSocket()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- NewCord(s, nil).Run(ctx) }()
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("after the context ended: %v", err)
		}
		s.fault = errors.New("the DMA has stopped")
		if err := NewCord(s, nil).Run(context.Background()); !errors.Is(err, s.fault) {
			t.Errorf("a fault of the port came back as %v", err)
		}
		s.Close()
		if err := NewCord(s, nil).Run(context.Background()); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A mirror is a network that sends every packet back where it came from, and
// allocates nothing.
type mirror struct {
	port int
	in   chan glass
	once sync.Once
	gone chan struct{}
}

type glass struct {
	n int
	b [600]byte
}

var mirrorPort atomic.Uint32

// A hall opens mirrors.
type hall struct{}

func (hall) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	_, digits, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(digits)
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = int(mirrorPort.Add(2))
	}
	return &mirror{port: port, in: make(chan glass, 16), gone: make(chan struct{})}, nil
}

var farSide = netip.MustParseAddrPort("10.0.0.9:4000")

func (m *mirror) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case g := <-m.in:
		return copy(b, g.b[:g.n]), farSide, nil
	case <-m.gone:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (m *mirror) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	var g glass
	g.n = copy(g.b[:], b)
	select {
	case m.in <- g:
	default:
	}
	return len(b), nil
}

func (m *mirror) ReadFrom([]byte) (int, net.Addr, error) { panic("allocates") }
func (m *mirror) WriteTo([]byte, net.Addr) (int, error)  { panic("allocates") }
func (m *mirror) LocalAddr() net.Addr {
	return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: m.port}
}
func (m *mirror) Close() error                     { m.once.Do(func() { close(m.gone) }); return nil }
func (m *mirror) SetDeadline(time.Time) error      { return nil }
func (m *mirror) SetReadDeadline(time.Time) error  { return nil }
func (m *mirror) SetWriteDeadline(time.Time) error { return nil }

// inCall is a cord with as many far ends, that are mirrors.
func inCall(t testing.TB, far int) *Cord {
	c := NewCord(newSocket(), func(Event) {})
	var p Patch
	for i := range far {
		s, err := rtp.Open(context.Background(), hall{}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		s.Start(rtp.Remote{Addr: farSide, Codec: rtp.PCMU, Events: 101, Send: true, Receive: true})
		p.Far[i] = s
	}
	p.Ear = tone.Usual(tone.CallWaiting)
	c.Set(p)
	c.Tune(Tuning{Tail: 16 * time.Millisecond, In: 3, Out: -3})
	return c
}

// rms is how loud s is.
func rms(s []int16) float64 {
	sum := 0.0
	for _, x := range s {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum / float64(len(s)))
}

func TestEchoIsTakenOut(t *testing.T) {
	for _, tail := range []time.Duration{0, 16 * time.Millisecond} {
		together(t, 2, func(_ *wire, p []*party) {
			a, b := dial(t, p[0], p[1], 101)
			p[0].throw(0.4)
			p[0].Tune(Tuning{Tail: tail})
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			p[1].talk(1000)
			time.Sleep(2 * time.Second)
			loss := 20 * math.Log10(1000/(rms(p[1].heard(time.Second))+0.01))
			p[0].say(1000, -10)
			time.Sleep(500 * time.Millisecond)
			near(t, "the mouth in double talk", power(p[1].heard(time.Second), 1000), -10, 0.2)
			if tail == 0 {
				near(t, "echo that is left, dB below the voice", loss, 8, 0.3)
			} else if loss < 40 {
				t.Errorf("the far end hears itself %.1f dB softer", loss)
			}
		})
	}
}

// Another gain is not another line: the canceller is kept.
func TestTune(t *testing.T) {
	c := NewCord(newSocket(), nil)
	tune := func(u Tuning) *echo.Canceller {
		c.Tune(u)
		return c.tuning.Load().echo
	}
	first := tune(Tuning{Tail: 16 * time.Millisecond})
	if first == nil || tune(Tuning{Tail: 16 * time.Millisecond, In: 3}) != first {
		t.Error("with another gain the line is forgotten")
	}
	if longer := tune(Tuning{Tail: 32 * time.Millisecond, In: 3}); longer == nil || longer == first {
		t.Error("another tail is not used")
	}
	if tune(Tuning{In: 3}) != nil {
		t.Error("without a tail there is a canceller")
	}
}

// With a telephone that has no hybrid nothing is made up, and the mouth is heard
// as it is while the far end talks too.
func TestNoHybrid(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[0].Tune(Tuning{Tail: 16 * time.Millisecond})
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[1].talk(2000)
		for _, x := range p[1].heard(3 * time.Second) {
			if x < -8 || x > 8 { // 8 is A-law's silence
				t.Fatalf("the far end hears %d", x)
			}
		}
		p[0].say(1000, -25)
		time.Sleep(100 * time.Millisecond)
		near(t, "the mouth in double talk", power(p[1].heard(time.Second), 1000), -25, 0.2)
	})
}

// A modem answers with 2100 Hz, turned every 450 ms: the canceller gives way, for
// this call. In the next it takes the echo out from the first moment, since it
// still knows the line.
func TestModem(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[0].throw(0.4)
		p[0].Tune(Tuning{Tail: 16 * time.Millisecond})
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		loss := func() float64 {
			p[1].talk(1000)
			defer p[1].talk(0)
			time.Sleep(300 * time.Millisecond)
			return 20 * math.Log10(1000/(rms(p[1].heard(time.Second))+0.01))
		}
		loss()
		if l := loss(); l < 40 {
			t.Errorf("the far end hears itself %.1f dB softer", l)
		}
		answer := make([]int16, 3*8000)
		for i := range answer {
			answer[i] = int16(tone.Sine(tone.Turn(2100)*uint32(i)) / 4)
			if i/3600%2 == 1 {
				answer[i] = -answer[i]
			}
		}
		p[0].mu.Lock()
		p[0].plays = answer
		p[0].mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		said := power(p[1].heard(200*time.Millisecond), 2100)
		near(t, "the modem's answer", said, 20*math.Log10(0.25)+3.14, 0.1)
		p[1].heard(2600 * time.Millisecond)
		near(t, "echo for a modem, dB below its voice", loss(), 8, 0.3)

		p[0].Set(Patch{})
		time.Sleep(30 * time.Millisecond)
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
		if l := loss(); l < 40 {
			t.Errorf("in the next call the far end hears itself %.1f dB softer", l)
		}
	})
}

// A fax answers, at either end: from then on, pauses or not, what is soft beneath
// the far end's sound is carried as it is, and the delay is fixed.
func TestFax(t *testing.T) {
	ced := make([]int16, 8000)
	for i := range ced {
		ced[i] = int16(tone.Sine(tone.Turn(2100)*uint32(i)) / 4)
	}
	for _, answers := range []int{-1, 0, 1} {
		together(t, 2, func(_ *wire, p []*party) {
			a, b := dial(t, p[0], p[1], 101)
			p[0].throw(0.4)
			p[0].Tune(Tuning{Tail: 16 * time.Millisecond})
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			p[1].talk(3000)
			time.Sleep(2 * time.Second)
			p[1].talk(0)
			if answers >= 0 {
				p[answers].mu.Lock()
				p[answers].plays = ced
				p[answers].mu.Unlock()
			}
			time.Sleep(2500 * time.Millisecond)
			p[0].say(1000, -48)
			p[1].talk(3000)
			time.Sleep(500 * time.Millisecond)
			soft := power(p[1].heard(time.Second), 1000)
			if data := answers >= 0; data {
				near(t, "the soft end", soft, -48, 0.5)
				if !a.CarriesData() || !a.Stats().Data || !b.CarriesData() {
					t.Error("a fax was not heard")
				}
				if d := a.Stats().Delay; d < 80*time.Millisecond || d > 120*time.Millisecond {
					t.Errorf("the delay is %v", d)
				}
			} else if soft > -52 || a.CarriesData() || a.Stats().Delay > 60*time.Millisecond {
				t.Errorf("without a fax the soft end is heard at %.1f dBm0, with a delay of %v", soft, a.Stats().Delay)
			}
		})
	}
}

// A key is heard beneath a voice whose echo it might be, before the line is known
// and after, and goes on to a far end that takes keys in the sound.
func TestKeysBeneathAVoice(t *testing.T) {
	for _, echo := range []float64{0, 0.3} {
		together(t, 2, func(_ *wire, p []*party) {
			a, b := dial(t, p[0], p[1], 0)
			p[0].throw(echo)
			p[0].Tune(Tuning{Tail: 16 * time.Millisecond})
			p[1].talk(6000)
			p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
			p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
			time.Sleep(250 * time.Millisecond)
			far := make(chan string)
			go func() {
				var d dtmf.Detector
				got := ""
				for range 20 {
					if key := d.Hear(p[1].heard(100 * time.Millisecond)); key.Pressed != 0 {
						got += string(key.Pressed)
					}
				}
				far <- got
			}()
			for i := range allKeys {
				p[0].pressAt(allKeys[i], -22, 60*time.Millisecond)
				time.Sleep(60 * time.Millisecond)
			}
			if got := <-far; got != allKeys {
				t.Errorf("echo %v: pressed %s, the far end hears %s", echo, allKeys, got)
			}
			got, _ := p[0].told()
			if got != allKeys {
				t.Errorf("echo %v: pressed %s, told %s", echo, allKeys, got)
			}
		})
	}
}

// In a conference too every key is told, though what is said goes past the ear's
// own mix on its way to the others.
func TestKeysInAConference(t *testing.T) {
	together(t, 3, func(_ *wire, p []*party) {
		ab, ba := dial(t, p[0], p[1], 0)
		ac, ca := dial(t, p[0], p[2], 0)
		p[0].Set(Patch{Far: [2]*rtp.Stream{ab, ac}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{ba}})
		p[2].Set(Patch{Far: [2]*rtp.Stream{ca}})
		time.Sleep(100 * time.Millisecond)
		for i := range allKeys {
			p[0].press(allKeys[i], 60*time.Millisecond)
			time.Sleep(60 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		got, _ := p[0].told()
		if got != allKeys {
			t.Errorf("pressed %s, told %s", allKeys, got)
		}
	})
}

// What the far end presses comes back from the line before the line is known, and
// is no key of ours.
func TestKeysOfTheFarEnd(t *testing.T) {
	for _, tail := range []time.Duration{0, 16 * time.Millisecond} {
		for _, events := range []uint8{101, 0} {
			together(t, 2, func(_ *wire, p []*party) {
				a, b := dial(t, p[0], p[1], events)
				p[0].throw(0.5)
				p[0].Tune(Tuning{Tail: tail})
				p[0].Set(Patch{Far: [2]*rtp.Stream{a}})
				p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
				time.Sleep(100 * time.Millisecond)
				for i := range allKeys {
					p[1].press(allKeys[i], 80*time.Millisecond)
					time.Sleep(80 * time.Millisecond)
				}
				time.Sleep(200 * time.Millisecond)
				if len(p[1].keys) != len(allKeys) {
					t.Errorf("%d keys told, %d pressed", len(p[1].keys), len(allKeys))
				}
				for range len(p[0].keys) {
					t.Errorf("tail %v, events %d: the far end's key %c is told as ours", tail, events, (<-p[0].keys).Digit)
				}
			})
		}
	}
}

// A gain is for voices; a tone of ours is as loud as the country wants it.
func TestGains(t *testing.T) {
	together(t, 2, func(_ *wire, p []*party) {
		a, b := dial(t, p[0], p[1], 101)
		p[0].Tune(Tuning{In: -6, Out: 3})
		p[0].Set(Patch{Far: [2]*rtp.Stream{a}, Ear: tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{440}}}, Level: -13}})
		p[1].Set(Patch{Far: [2]*rtp.Stream{b}})
		p[0].say(1000, -10)
		p[1].say(600, -20)
		time.Sleep(time.Second)
		near(t, "the mouth, 6 dB softer", power(p[1].heard(time.Second), 1000), -16, 0.1)
		ear := p[0].heard(time.Second)
		near(t, "the far end, 3 dB louder", power(ear, 600), -17, 0.1)
		near(t, "our own tone", power(ear, 440), -13, 0.1)
	})
}

func TestNoAllocation(t *testing.T) {
	for far := range 3 {
		c := inCall(t, far)
		var m tone.Player
		i := 0
		n := testing.AllocsPerRun(1000, func() {
			if i%20 == 0 {
				k, _ := tone.Digit(allKeys[i/20%16])
				m.Play(k)
			} else if i%20 == 10 {
				m.Stop()
			}
			i++
			m.Read(c.mouth)
			for k := range c.mouth {
				if i > 700 { // so loud that the gain must give way
					c.mouth[k] += int16(rand.IntN(30000) - 15000)
				}
			}
			c.frame()
			runtime.Gosched() // to who receives
		})
		if n != 0 {
			t.Errorf("%d far ends: %v allocations per frame", far, n)
		}
		for _, s := range c.now.Far {
			if s == nil {
				continue
			}
			if st := s.Stats(); st.Received < 100 || st.EventsHeard == 0 {
				t.Errorf("%d far ends: there was no call: %+v", far, st)
			}
		}
	}
}

func benchmark(b *testing.B, far int) {
	c := inCall(b, far)
	var m tone.Player
	m.Play(tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{440}}}})
	m.Read(c.mouth)
	b.ReportAllocs()
	for b.Loop() {
		c.frame()
		runtime.Gosched()
	}
}

func BenchmarkFrameOfATone(b *testing.B)       { benchmark(b, 0) }
func BenchmarkFrameOfACall(b *testing.B)       { benchmark(b, 1) }
func BenchmarkFrameOfAConference(b *testing.B) { benchmark(b, 2) }
