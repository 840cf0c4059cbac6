package sim_test

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/haltest"
	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/hal/sim"
)

const ms = time.Millisecond

var (
	_ hal.Port              = (*sim.Port)(nil)
	_ hal.Hand              = (*sim.Port)(nil)
	_ hal.OnHookTransmitter = (*sim.Port)(nil)
	_ hal.Reverser          = (*sim.Port)(nil)
	_ hal.Lamp              = (*sim.Lamp)(nil)
	_ hal.Port              = (*sim.Handset)(nil)
	_ hal.Hand              = (*sim.Handset)(nil)
	_ hal.Handset           = (*sim.Handset)(nil)
)

func TestPort(t *testing.T) {
	haltest.RunVirtual(t, func(t *testing.T) haltest.Rig {
		p := sim.New("1", sim.Options{})
		return haltest.Rig{Port: p, Hand: p, Wires: p}
	})
}

func TestHandset(t *testing.T) {
	for _, rate := range []int{16000, 8000, 32000, 48000} {
		if testing.Short() && rate != 16000 {
			break // hearing them takes long where floating point is emulated
		}
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			haltest.RunVirtual(t, func(t *testing.T) haltest.Rig {
				h := sim.NewHandset("1", rate, sim.Options{})
				return haltest.Rig{Port: h, Hand: h, NoPulses: true}
			})
		})
	}
}

func TestLamp(t *testing.T) {
	haltest.RunLamp(t, func(t *testing.T) haltest.LampRig {
		l := sim.NewLamp("voip")
		return haltest.LampRig{Lamp: l, Lit: l.Lit}
	})
}

func TestLampShown(t *testing.T) {
	l := sim.NewLamp("voip")
	want := hal.Pattern{Name: "solid", Steps: [8]time.Duration{time.Second}}
	if err := l.Show(want); err != nil {
		t.Fatal(err)
	}
	if got := l.Shown(); got != want {
		t.Errorf("shown %+v", got)
	}
}

// virtual runs a test in virtual time with a port whose audio grid began now.
func virtual(t *testing.T, o sim.Options, test func(t *testing.T, p *sim.Port)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := sim.New("1", o)
		defer p.Close()
		test(t, p)
	})
}

// cord reads and writes until the port is closed, and keeps what it read with
// its sample numbers: mouth[n] was spoken n samples after the first lifting.
func cord(p *sim.Port) (mouth func() []int16) {
	var mu sync.Mutex
	var said []int16
	go func() {
		var f, silence hal.Frame
		for p.Read(&f) == nil {
			mu.Lock()
			said = append(said, f[:]...)
			mu.Unlock()
			_ = p.Write(&silence)
		}
	}()
	return func() []int16 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(said)
	}
}

func events(p *sim.Port) string {
	var b strings.Builder
	for {
		select {
		case e := <-p.Events():
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			b.WriteString(e.Kind.String())
			if e.Kind == hal.Digit {
				fmt.Fprintf(&b, " %c", e.Digit)
			}
		default:
			return b.String()
		}
	}
}

func TestFramesEndOnAGridOfTenMilliseconds(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		start := time.Now()
		time.Sleep(3*ms + 400*time.Microsecond)
		p.Lift()
		var f hal.Frame
		for n := 1; n <= 60_000; n++ { // ten minutes
			if err := p.Read(&f); err != nil {
				t.Fatal(err)
			}
			if at := time.Since(start); at != time.Duration(n)*hal.FrameTime {
				t.Fatalf("frame %d came after %v", n, at)
			}
		}
	})
}

func TestNothingIsSpokenFromBeforeLifting(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		for range 2 {
			time.Sleep(time.Hour + 3*ms)
			p.Lift()
			var f hal.Frame
			for _, want := range []time.Duration{7 * ms, 10 * ms, 10 * ms} {
				before := time.Now()
				_ = p.Read(&f)
				if took := time.Since(before); took != want {
					t.Errorf("a frame after %v, want %v", took, want)
				}
			}
			p.HangUp()
			time.Sleep(10*time.Second - 30*ms) // back to 7 ms before a frame's end
		}
	})
}

func TestALateReaderGetsAQuarterOfASecond(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		go p.Play(haltest.Sine(1000, 10*time.Second))
		var f hal.Frame
		_ = p.Read(&f)
		time.Sleep(time.Second)
		start := time.Now()
		var late []int16
		for time.Since(start) == 0 {
			if err := p.Read(&f); err != nil {
				t.Fatal(err)
			}
			late = append(late, f[:]...)
		}
		if n := len(late)/hal.FrameSamples - 1; n != 25 {
			t.Errorf("%d frames at once, want 25", n)
		}
		if got := haltest.Heard(late, 1000); got < 230*ms {
			t.Errorf("the tone is heard for %v of 260 ms: what was late is not in one piece", got)
		}
		for range 10 {
			before := time.Now()
			_ = p.Read(&f)
			if took := time.Since(before); took != 10*ms {
				t.Errorf("a frame after %v, want 10 ms", took)
			}
		}
		p.HangUp()
	})
}

func TestNothingHappensOnTheHook(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		read := make(chan struct{})
		go func() {
			_ = p.Read(new(hal.Frame))
			close(read)
		}()
		time.Sleep(50 * 365 * 24 * time.Hour) // any timer that runs would keep a test busy for years
		select {
		case <-read:
			t.Error("a frame from a receiver on the hook")
		default:
		}
		p.Lift()
		<-read
		// Fifty years are more samples than 32 bits hold, and the grid is still there.
		if into := time.Now().UnixNano() % int64(hal.FrameTime); into != 0 {
			t.Errorf("the frame came %v beside the grid", time.Duration(into))
		}
	})
}

func TestKeypad(t *testing.T) {
	// ITU-T Q.23: each signal is one frequency of a low group of four and one
	// of a high group of four.
	want := map[rune][2]float64{
		'1': {697, 1209}, '2': {697, 1336}, '3': {697, 1477}, 'A': {697, 1633},
		'4': {770, 1209}, '5': {770, 1336}, '6': {770, 1477}, 'B': {770, 1633},
		'7': {852, 1209}, '8': {852, 1336}, '9': {852, 1477}, 'C': {852, 1633},
		'*': {941, 1209}, '0': {941, 1336}, '#': {941, 1477}, 'D': {941, 1633},
		'a': {697, 1633}, 'b': {770, 1633}, 'c': {852, 1633}, 'd': {941, 1633},
	}
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		worst := math.Inf(1)
		for key, hz := range want {
			from := len(mouth())
			start := time.Now()
			if err := p.Press(string(key)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took != 200*ms {
				t.Errorf("%c took %v, want 100 ms of tone and 100 ms of silence", key, took)
			}
			time.Sleep(20 * ms)
			heard := mouth()[from:]
			first := slices.IndexFunc(heard, func(v int16) bool { return v != 0 })
			last := len(heard) - 1
			for ; heard[last] == 0; last-- {
			}
			// A sine begins with 0: a sample or two at the ends may be 0.
			if n := last - first + 1; n < 797 || n > 800 {
				t.Errorf("%c sounds for %d samples, want 800", key, n)
			}
			low, high, rest := twoTones(heard[first-1:first+799], hz[0], hz[1])
			if math.Abs(low+9) > 0.1 || math.Abs(high+7) > 0.1 {
				t.Errorf("%c: %.2f and %.2f dBm0, want -9 and -7", key, low, high)
			}
			// Q.23: what else there is must be at least 20 dB below.
			if margin := low - rest; margin < 20 {
				t.Errorf("%c: noise is only %.1f dB below the weaker tone", key, margin)
			} else {
				worst = min(worst, margin)
			}
		}
		t.Logf("everything else is at least %.1f dB below the weaker tone (20 wanted)", worst)
	})
}

// twoTones fits two sines to samples by least squares and returns their levels
// and that of what is left, in dBm0.
func twoTones(s []int16, f1, f2 float64) (low, high, rest float64) {
	basis := func(k, i int) float64 {
		w := 2 * math.Pi * []float64{f1, f1, f2, f2}[k] * float64(i) / 8000
		if k%2 == 0 {
			return math.Sin(w)
		}
		return math.Cos(w)
	}
	var m [4][5]float64
	for i, v := range s {
		for r := range 4 {
			for c := range 4 {
				m[r][c] += basis(r, i) * basis(c, i)
			}
			m[r][4] += basis(r, i) * float64(v)
		}
	}
	for p := range 4 { // Gauss-Jordan: the matrix is nearly diagonal
		for r := range 4 {
			if r == p {
				continue
			}
			q := m[r][p] / m[p][p]
			for c := p; c < 5; c++ {
				m[r][c] -= q * m[p][c]
			}
		}
	}
	var x [4]float64
	for k := range 4 {
		x[k] = m[k][4] / m[k][k]
	}
	var sum float64
	for i, v := range s {
		d := float64(v)
		for k := range 4 {
			d -= x[k] * basis(k, i)
		}
		sum += d * d
	}
	dBm0 := func(peak float64) float64 { return 3.14 + 20*math.Log10(peak/32767) }
	return dBm0(math.Hypot(x[0], x[1])), dBm0(math.Hypot(x[2], x[3])), dBm0(math.Sqrt(2 * sum / float64(len(s))))
}

func TestAPauseIsASecond(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		start := time.Now()
		if err := p.Press("0,12"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 1600*ms {
			t.Errorf("0,12 took %v, want 1.6s", took)
		}
		time.Sleep(50 * ms)
		if got := haltest.Keys(mouth()); got != "012" {
			t.Errorf("heard %s", got)
		}
	})
}

func TestAHandWithOneFinger(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		var hands sync.WaitGroup
		for _, digits := range []string{"111", "222", "333"} {
			hands.Go(func() {
				if err := p.Press(digits); err != nil {
					t.Error(err)
				}
			})
		}
		hands.Wait()
		time.Sleep(50 * ms)
		got := haltest.Keys(mouth())
		for _, digits := range []string{"111", "222", "333"} {
			if !strings.Contains(got, digits) || len(got) != 9 {
				t.Errorf("heard %s: %s is not in one piece", got, digits)
			}
		}
	})
}

func TestWhatAHandCannotDo(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		wants := func(err error, want string) {
			t.Helper()
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		const onHook = "port 1: the receiver is on the hook: lift it first"
		wants(p.Press("1"), onHook)
		wants(p.Dial("1"), onHook)
		wants(p.Play(make([]int16, 80)), onHook)
		p.Lift()
		wants(p.Press("12x"), "port 1: cannot press 'x': the keys are 0-9, *, #, A-D, and a comma pauses for a second")
		wants(p.Dial("12#"), "port 1: cannot dial '#' with pulses: a dial has 0-9")
		wants(p.Dial("1é"), "port 1: cannot dial 'é' with pulses: a dial has 0-9")

		const putDown = "port 1: the receiver was put down"
		for name, act := range map[string]func() error{
			"Press": func() error { return p.Press("1234567890") },
			"Dial":  func() error { return p.Dial("1234567890") },
			"Play":  func() error { return p.Play(make([]int16, 80_000)) },
		} {
			p.Lift()
			start := time.Now()
			time.AfterFunc(333*ms, p.HangUp)
			wants(act(), putDown)
			if took := time.Since(start); took != 333*ms {
				t.Errorf("%s went on for %v", name, took)
			}
			time.Sleep(2 * time.Second)
		}
		p.Lift()
		time.AfterFunc(ms, func() { p.Close() })
		wants(p.Play(make([]int16, 80_000)), "port 1: the port was closed")
		wants(p.Press("1"), "port 1: the port was closed")
		wants(p.Play(nil), "port 1: the port was closed")
	})
}

func TestSoundEndsWithTheCall(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		go p.Play(haltest.Sine(1000, time.Minute))
		time.Sleep(time.Second)
		p.HangUp()
		time.Sleep(500 * ms) // the port still waits for a flash to end
		p.Lift()
		before := len(mouth())
		time.Sleep(time.Second)
		if s := mouth()[before:]; slices.ContainsFunc(s, func(v int16) bool { return v != 0 }) {
			t.Error("what was played before is heard after the receiver was put down")
		}
		if got, want := events(p), "off-hook, flash"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

func TestHush(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		played := make(chan error, 1)
		go func() { played <- p.Play(haltest.Sine(1000, time.Minute)) }()
		time.Sleep(time.Second)
		p.Hush()
		if err := <-played; err == nil {
			t.Error("told to be quiet, Play says that it has spoken all")
		}
		time.Sleep(ms)
		before := len(mouth())
		time.Sleep(time.Second)
		if s := mouth()[before+hal.FrameSamples:]; slices.ContainsFunc(s, func(v int16) bool { return v != 0 }) {
			t.Error("heard after it was told to be quiet")
		}
		if err := p.Play(haltest.Sine(1000, 100*ms)); err != nil {
			t.Errorf("and then never again: %v", err)
		}
	})
}

func TestPlayedAndPressedAtOnce(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		loud := slices.Repeat([]int16{30000}, 1600) // with a key on top it clips
		go p.Play(loud)
		go p.Play(haltest.Sine(500, time.Second))
		if err := p.Press("5"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s := mouth()
		if most := slices.Max(s); most != math.MaxInt16 {
			t.Errorf("the peak is %d: not mixed, or wrapped", most)
		}
		if least := slices.Min(s[:1600]); least < 0 {
			t.Errorf("a sample of %d: the sum has wrapped", least)
		}
		if got := haltest.Heard(s, 500); got < 750*ms {
			t.Errorf("500 Hz is heard alone for %v, want 0.8 s", got)
		}
	})
}

func TestHangingUpQuickly(t *testing.T) {
	tests := []struct {
		down time.Duration
		want string
	}{
		{10 * ms, "off-hook"},
		{50 * ms, "off-hook, digit 1"}, // that is what a telephone says by it
		{90 * ms, "off-hook, flash"},
		{899 * ms, "off-hook, flash"},
		{901 * ms, "off-hook, on-hook, off-hook"},
		{5 * time.Second, "off-hook, on-hook, off-hook"},
	}
	for _, tt := range tests {
		t.Run(tt.down.String(), func(t *testing.T) {
			virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
				p.Lift()
				time.Sleep(time.Second)
				p.HangUp()
				time.Sleep(tt.down)
				p.Lift()
				time.Sleep(3 * time.Second)
				if got := events(p); got != tt.want {
					t.Errorf("told %s, want %s", got, tt.want)
				}
				if !p.OffHook() {
					t.Error("the receiver is lifted, the port says not")
				}
			})
		})
	}
}

func TestHangingUpInAFlash(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		time.Sleep(time.Second)
		time.AfterFunc(100*ms, p.HangUp)
		start := time.Now()
		p.Flash()
		if took := time.Since(start); took != 100*ms {
			t.Errorf("the flash went on for %v", took)
		}
		time.Sleep(3 * time.Second)
		if got, want := events(p), "off-hook, on-hook"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		if p.OffHook() {
			t.Error("the flash has lifted the receiver")
		}
	})
}

// TestHangingUpAsAFlashEnds puts the receiver down in the very instant in which
// the flash closes the loop: whoever comes first, the receiver is down.
func TestHangingUpAsAFlashEnds(t *testing.T) {
	for range 50 {
		virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
			p.Lift()
			time.AfterFunc(200*ms, p.HangUp)
			p.Flash()
			time.Sleep(3 * time.Second)
			if p.OffHook() {
				t.Fatal("the flash has lifted the receiver")
			}
		})
	}
}

func TestTheEarHearsNothingWhileTheLoopIsOpen(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		time.Sleep(time.Second)
		p.HangUp() // for half a second it might be a flash
		stop := make(chan struct{})
		time.AfterFunc(500*ms, func() { close(stop) })
		go func() {
			for range 40 {
				_ = p.Write(&hal.Frame{1, 2, 3})
				time.Sleep(10 * ms)
			}
		}()
		if got := p.Record(stop); len(got) != 4000 || slices.Max(got) != 0 {
			t.Errorf("%d samples, the loudest %d; want 4000 of silence", len(got), slices.Max(got))
		}
	})
}

func TestTheMouthIsSilentInAFlash(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		mouth := cord(p)
		p.Lift()
		go p.Play(haltest.Sine(1000, time.Second))
		time.Sleep(400 * ms)
		p.Flash()
		time.Sleep(time.Second + ms)
		if got := haltest.Heard(mouth(), 1000); got < 740*ms || got > 800*ms {
			t.Errorf("a second of tone with a flash of 200 ms in it is heard for %v", got)
		}
		if n := len(mouth()); n != 1600*8 {
			t.Errorf("%d samples in 1.6 s: the clock stood still", n)
		}
	})
}

func TestTimingOfTheHook(t *testing.T) {
	virtual(t, sim.Options{Timing: hook.HookFlash}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		p.Flash() // a hand takes as long as the style wants
		time.Sleep(time.Second)
		swedish := hook.TimedBreak
		swedish.Numbering = hook.Swedish
		p.SetTiming(swedish)
		if err := p.Dial("09"); err != nil {
			t.Fatal(err)
		}
		p.HangUp()
		time.Sleep(399 * ms)
		if !p.OffHook() {
			t.Error("put down before 400 ms")
		}
		time.Sleep(2 * ms)
		if p.OffHook() {
			t.Error("not put down after 400 ms")
		}
		if got, want := events(p), "off-hook, flash, digit 0, digit 9, on-hook"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

func TestAReaderOfEventsThatIsGone(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		for range 400 {
			p.Lift()
			p.HangUp()
			time.Sleep(time.Second)
		}
		n := 0
		for len(p.Events()) > 0 {
			<-p.Events()
			n++
		}
		if n != 256 {
			t.Errorf("%d events were kept, want 256", n)
		}
	})
}

func TestRecorders(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		time.Sleep(3 * ms)
		p.Lift() // 3 ms into frame 0
		var f, one hal.Frame
		for i := range one {
			one[i] = 1
		}
		recorded := make([][]int16, 3)
		var recorders sync.WaitGroup
		for i, d := range []time.Duration{100 * ms, 55 * ms, 400 * ms} {
			recorders.Go(func() {
				stop := make(chan struct{})
				time.AfterFunc(d, func() { close(stop) })
				recorded[i] = p.Record(stop)
			})
		}
		synctest.Wait()
		for range 2 {
			_ = p.Read(&f)
		}
		_ = p.Write(&one) // 20 ms: 17 into the recording, for 10 ms
		for range 2 {
			_ = p.Read(&f)
		}
		_ = p.Write(&one) // 40 ms: 37 into the recording
		_ = p.Write(&one) // and after that
		recorders.Wait()
		for i, want := range [][2]int{{800, 240}, {440, 224}, {3200, 240}} {
			var at, n int
			for j, v := range recorded[i] {
				if v != 0 && n == 0 {
					at = j
				}
				n += int(v)
			}
			if len(recorded[i]) != want[0] || n != want[1] || at != 17*8 {
				t.Errorf("recording %d: %d samples, %d of them sound, the first at %d; want %d, %d, 136",
					i, len(recorded[i]), n, at, want[0], want[1])
			}
		}
	})
}

func TestARecordingBeginsWithinAFrame(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		time.Sleep(7 * ms)
		stop := make(chan struct{})
		time.AfterFunc(20*ms, func() { close(stop) })
		time.AfterFunc(ms, func() { _ = p.Write(&hal.Frame{79: 7, 10: 3}) }) // the frame that is under way
		got := p.Record(stop)
		if len(got) != 160 || got[23] != 7 || slices.Contains(got, 3) {
			t.Errorf("%d samples, the frame's last is %d", len(got), got[23])
		}
	})
}

func TestWhatCannotBePlayedIsDropped(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		stop := make(chan struct{})
		heard := 0
		remove := p.Listen(func([]int16) { heard++ })
		for range 100 {
			_ = p.Write(new(hal.Frame))
		}
		if heard != 26 { // the present frame and 250 ms
			t.Errorf("%d frames are kept for the ear", heard)
		}
		time.Sleep(100 * ms)
		for range 100 {
			_ = p.Write(new(hal.Frame))
		}
		if heard != 36 {
			t.Errorf("100 ms later %d frames, want 10 more", heard)
		}
		remove()
		time.Sleep(time.Second)
		_ = p.Write(new(hal.Frame))
		if heard != 36 {
			t.Error("an ear that was taken away hears")
		}
		close(stop)
		if got := p.Record(stop); len(got) != 0 {
			t.Errorf("a recording that was stopped before has %d samples", len(got))
		}
	})
}

// The hybrid throws back what the ear hears, in the frame in which it hears it,
// and at no frequency louder than it was told to.
func TestHybrid(t *testing.T) {
	for _, hz := range []int{300, 1000, 1273, 2000, 3400} {
		virtual(t, sim.Options{Hybrid: 6}, func(t *testing.T, p *sim.Port) {
			p.Lift()
			var in, out hal.Frame
			sine := haltest.Sine(hz, time.Second)
			played, back := 0.0, 0.0
			for n := range 50 {
				if err := p.Read(&in); err != nil {
					t.Fatal(err)
				}
				for i := range in {
					if n > 1 { // the first frame that was written is spoken while the second is
						back += float64(in[i]) * float64(in[i])
						played += float64(out[i]) * float64(out[i])
					} else if n == 0 && in[i] != 0 {
						t.Fatal("an echo before its cause")
					}
				}
				copy(out[:], sine[n*len(out):])
				_ = p.Write(&out)
			}
			loss := 10 * math.Log10(played/back)
			t.Logf("%d Hz: %.1f dB", hz, loss)
			if loss < 5.9 || loss > 11 || hz == 1273 && loss > 6.1 {
				t.Errorf("%d Hz: a hybrid of 6 dB has a loss of %.1f dB", hz, loss)
			}
		})
	}
}

func TestBell(t *testing.T) {
	var told []string
	note := func(c hal.Cadence) { told = append(told, fmt.Sprint(c.Steps[0])) }
	virtual(t, sim.Options{Bell: note}, func(t *testing.T, p *sim.Port) {
		uk := hal.Cadence{Steps: [8]time.Duration{400 * ms, 200 * ms, 400 * ms, 2000 * ms}, Hz: 25}
		if err := p.Ring(uk); err != nil {
			t.Fatal(err)
		}
		c, since := p.Cadence()
		if c != uk || since != time.Now() {
			t.Errorf("rung with %v since %v", c, since)
		}
		for _, tt := range []struct {
			ms    int
			rings bool
		}{{-1, false}, {0, true}, {399, true}, {400, false}, {599, false}, {600, true}, {999, true}, {1000, false}, {2999, false}, {3000, true}, {3400, false}, {3600, true}, {300_300, true}, {300_500, false}} {
			if got := p.Sounds(since.Add(time.Duration(tt.ms) * ms)); got != tt.rings {
				t.Errorf("after %d ms the bell sounds: %v", tt.ms, got)
			}
		}
		_ = p.Ring(uk) // the same again goes on
		steady := hal.Cadence{Steps: [8]time.Duration{time.Second}}
		_ = p.Ring(steady)
		if !p.Sounds(time.Now().Add(time.Hour)) {
			t.Error("a cadence of one step has no pause")
		}
		_ = p.Ring(hal.Cadence{Hz: 20})
		if p.Ringing() || p.Sounds(time.Now()) {
			t.Error("a cadence without steps rings")
		}
		_ = p.Ring(uk)
		p.Lift()
		_ = p.Ring(uk)
		if got, want := strings.Join(told, " "), "400ms 1s 0s 400ms 0s"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		for _, bad := range []hal.Cadence{{Hz: 14}, {Hz: 51}, {Steps: [8]time.Duration{time.Second, -1}}} {
			if err := p.Ring(bad); err == nil || !strings.HasPrefix(err.Error(), "port 1: a bell ") {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

func TestClosedPort(t *testing.T) {
	virtual(t, sim.Options{}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		p.HangUp()
		p.Close()
		// No hand makes a closed port do anything, and none waits.
		p.Lift()
		p.HangUp()
		p.Flash()
		time.Sleep(time.Minute)
		if got := p.Record(nil); len(got) != 0 {
			t.Errorf("recorded %d samples", len(got))
		}
		if err := p.Write(new(hal.Frame)); err != io.ErrClosedPipe {
			t.Errorf("Write: %v", err)
		}
	})
}

func TestSoundAllocatesNothing(t *testing.T) {
	virtual(t, sim.Options{Hybrid: 6}, func(t *testing.T, p *sim.Port) {
		p.Lift()
		frames := 0
		defer p.Listen(func([]int16) { frames++ })()
		go p.Play(haltest.Sine(1000, 10*time.Second))
		go p.Press("12345678901234567890")
		var f hal.Frame
		allocs := testing.AllocsPerRun(200, func() {
			if err := p.Read(&f); err != nil {
				t.Fatal(err)
			}
			if err := p.Write(&f); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations a frame", allocs)
		}
		if frames < 200 {
			t.Errorf("only %d frames were heard", frames)
		}
		p.HangUp()
	})
}

// TestRealTime is the port as a program has it: with the clock on the wall, a
// few hands at once, and a machine that may be slow.
func TestRealTime(t *testing.T) {
	p := sim.New("1", sim.Options{})
	mouth := cord(p)
	p.Lift()
	var hands sync.WaitGroup
	hands.Go(func() { _ = p.Press("12") })
	hands.Go(func() { _ = p.Play(haltest.Sine(1000, 200*ms)) })
	hands.Go(func() {
		stop := make(chan struct{})
		time.AfterFunc(300*ms, func() { close(stop) })
		if n := len(p.Record(stop)); n < 2400 {
			t.Errorf("recorded %d samples in 300 ms", n)
		}
	})
	hands.Go(func() { _ = p.Ringing() && p.OffHook() })
	hands.Wait()
	p.HangUp()
	if n := len(mouth()); n < 1600 { // a slow machine is late, but catches up
		t.Errorf("%d samples in 400 ms", n)
	}
	if e := <-p.Events(); e.Kind != hal.OffHook {
		t.Errorf("told %v", e.Kind)
	}
	if e := <-p.Events(); e.Kind != hal.OnHook {
		t.Errorf("told %v", e.Kind)
	}
	p.Close()
	if _, open := <-p.Events(); open {
		t.Error("an event of a closed port")
	}
}

func ExamplePort() {
	p := sim.New("1", sim.Options{})
	defer p.Close()
	p.Lift()
	fmt.Println((<-p.Events()).Kind)
	p.Flash()
	fmt.Println((<-p.Events()).Kind)
	// Output:
	// off-hook
	// flash
}
