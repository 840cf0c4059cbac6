package fsk

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// send returns all samples of a burst, read 80 at a time.
func send(b Burst) []int16 {
	var s Sender
	s.Send(b)
	var out []int16
	for s.Sending() {
		var f [80]int16
		out = append(out, f[:s.Read(f[:])]...)
	}
	return out
}

// hear returns the bytes in a sound.
func hear(m Modem, s []int16) (all []Byte, errors int) {
	r := NewReceiver(m)
	for len(s) > 0 {
		n, b, ok := r.Hear(s)
		if ok {
			all = append(all, b)
		}
		s = s[n:]
	}
	return all, r.Errors
}

// noisy adds white noise so many dB below a sine of DefaultPeak.
func noisy(s []int16, snr float64, r *rand.Rand) []int16 {
	sigma := DefaultPeak / math.Sqrt2 * math.Pow(10, -snr/20)
	out := make([]int16, len(s))
	for i, x := range s {
		out[i] = int16(float64(x) + sigma*r.NormFloat64())
	}
	return out
}

var modems = []struct {
	name string
	m    Modem
}{{"V.23", V23}, {"Bell 202", Bell202}, {"V.21", V21High}}

func TestEveryByte(t *testing.T) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	for _, x := range modems {
		got, errors := hear(x.m, send(Burst{Modem: x.m, Seizure: 40, Mark: 80, Data: all, Tail: 10}))
		var b []byte
		for _, g := range got {
			b = append(b, g.Value)
		}
		// A seizure of "0101..." is heard as a few bytes; nobody knows where
		// its first begins.
		if len(b) != 4+256 || b[0] != 'U' || !bytes.Equal(b[4:], all) || errors != 0 {
			t.Fatalf("%s: heard %d bytes and %d errors: % x", x.name, len(b), errors, b)
		}
		// The last of these takes a stop bit and a one or two of the mark.
		if rest := got[4].Rest; rest < 77 || rest > 80 {
			t.Errorf("%s: %d ones before the first byte, want 77 to 80", x.name, rest)
		}
		if rest := got[5].Rest; rest != 0 {
			t.Errorf("%s: %d ones between bytes", x.name, rest)
		}
	}
}

// EN 300 659-1 section 6.1 (V.23): "1200 ±1 % bauds, 1300 Hz ±1.5 %, 2100 Hz ±1.5 %";
// GR-30-CORE: "logical 1 1200 ±12 Hz, logical 0 2200 ±22 Hz, transmission rate
// 1200 ±12 baud, -13.5 dBm ±1 dB".
func TestFrequencyLevelAndSpeed(t *testing.T) {
	for _, x := range modems {
		mark := send(Burst{Modem: x.m, Mark: 600})
		zeros := bytes.Repeat([]byte{0}, 60)
		for _, part := range []struct {
			name string
			hz   uint16
			s    []int16
		}{{"mark", x.m.Mark, mark[100 : len(mark)-100]}} {
			hz, peak := sine(part.s)
			level := 20*math.Log10(peak/32767) + 3.14
			t.Logf("%s: %s %.3f Hz at %.2f dBm0", x.name, part.name, hz, level)
			if math.Abs(hz-float64(part.hz)) > 0.5 || math.Abs(level+13.5) > 0.1 {
				t.Errorf("%s: %s is %.2f Hz at %.2f dBm0, want %d at -13.5", x.name, part.name, hz, level, part.hz)
			}
		}
		b := Burst{Modem: x.m, Mark: 10, Data: zeros, Tail: 10}
		s := send(b)
		if want := float64(b.Bits()) * 8000 / float64(x.m.Baud); math.Abs(float64(len(s))-want) > 1 {
			t.Errorf("%s: %d samples, want %.1f", x.name, len(s), want)
		}
		// Zeros: nine bits of space, one of mark. The turns of the phase
		// in it are what the two frequencies make, to the sample.
		want := 0.0
		for i := range b.Bits() {
			hz := x.m.Space
			if b.bit(i) == 1 {
				hz = x.m.Mark
			}
			want += float64(hz) / float64(x.m.Baud)
		}
		if got := float64(crossings(s)) / 2; math.Abs(got-want) > 1 {
			t.Errorf("%s: %.1f turns in all, want %.1f", x.name, got, want)
		}
	}
}

// EN 300 659-1 section 6.1: 1300 and 2100 Hz, each ±1.5 %; GR-30-CORE: -13.5 dBm ±1 dB.
// What is sent wide is within both, a quartz of 0.1 % included.
func TestWide(t *testing.T) {
	for _, part := range []struct {
		name  string
		hz    float64
		burst Burst
	}{
		{"mark", 1300, Burst{Modem: V23Wide, Peak: MarkPeak, Space: SpacePeak, Mark: 600}},
		{"space", 2100, Burst{Modem: V23Wide, Peak: MarkPeak, Space: SpacePeak, Data: make([]byte, 60)}},
	} {
		s := send(part.burst)
		if part.name == "space" {
			s = s[7+14 : 7+53] // the inside of a byte: start bit and zeros
		}
		hz, peak := sine(s[20 : len(s)-2])
		level := 20*math.Log10(peak/32767) + 3.14
		t.Logf("%s %.2f Hz at %.2f dBm0", part.name, hz, level)
		if off := math.Abs(hz - part.hz); off > part.hz*(0.015-0.001) || off < part.hz*0.01 || math.Abs(level+13.5) > 0.85 {
			t.Errorf("%s is %.2f Hz at %.2f dBm0", part.name, hz, level)
		}
	}
}

func crossings(s []int16) (n int) {
	for i := 1; i < len(s); i++ {
		if (s[i-1] < 0) != (s[i] < 0) {
			n++
		}
	}
	return n
}

// sine is frequency and peak of a pure one: x[n-1]+x[n+1] is 2cos(w) x[n].
func sine(s []int16) (hz, peak float64) {
	var num, den, sum float64
	for i := 1; i < len(s)-1; i++ {
		num += (float64(s[i-1]) + float64(s[i+1])) * float64(s[i])
		den += float64(s[i]) * float64(s[i])
		sum += float64(s[i]) * float64(s[i])
	}
	return math.Acos(num/den/2) * 8000 / (2 * math.Pi), math.Sqrt(2 * sum / float64(len(s)-2))
}

// The phase goes on where a bit ends: no two samples are further apart than a
// turn of the higher frequency takes them, and the sound begins and ends softly.
func TestPhaseIsContinuous(t *testing.T) {
	for _, x := range modems {
		s := send(Burst{Modem: x.m, Seizure: 300, Mark: 180, Data: []byte("the phase goes on"), Tail: 10})
		limit := 2 * DefaultPeak * math.Sin(math.Pi*float64(x.m.Space)/8000)
		worst := 0.0
		last := 0.0
		for _, v := range append(s, 0) {
			worst = max(worst, math.Abs(float64(v)-last))
			last = float64(v)
		}
		t.Logf("%s: largest step %.0f of %.0f", x.name, worst, limit)
		if worst > limit+2 {
			t.Errorf("%s: a step of %.0f, the tones make at most %.0f", x.name, worst, limit)
		}
		if math.Abs(float64(s[0]))+math.Abs(float64(s[len(s)-1])) > DefaultPeak/4 {
			t.Errorf("%s: begins with %d and ends with %d", x.name, s[0], s[len(s)-1])
		}
	}
}

// errorsAt is how many of n bursts of 40 bytes are not heard right.
func errorsAt(m Modem, snr float64, n int, gain float64) (bad int) {
	r := rand.New(rand.NewPCG(3, uint64(snr*10)))
	for range n {
		data := make([]byte, 40)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		s := noisy(send(Burst{Modem: m, Seizure: 300, Mark: 80, Data: data, Tail: 10}), snr, r)
		for i := range s {
			s[i] = int16(float64(s[i]) * gain)
		}
		got, _ := hear(m, s)
		var b []byte
		for _, g := range got {
			if g.Rest > 25 {
				b = b[:0]
			}
			b = append(b, g.Value)
		}
		if !bytes.Equal(b, data) {
			bad++
		}
	}
	return bad
}

// Our bar: all of ten messages at 12 dB over white noise of the whole band.
func TestNoise(t *testing.T) {
	for _, x := range modems[:2] {
		if bad := errorsAt(x.m, 12, 10, 1); bad > 0 {
			t.Errorf("%s: %d of 10 bursts lost at 12 dB", x.name, bad)
		}
		// EN 300 659-1: a telephone hears from -40 dBV per tone.
		if bad := errorsAt(x.m, 20, 10, math.Pow(10, -30.0/20)); bad > 0 {
			t.Errorf("%s: %d of 10 bursts lost at -43 dBm0", x.name, bad)
		}
		if testing.Verbose() {
			for snr := 12.0; snr >= 4; snr-- {
				t.Logf("%s: %2.0f dB: %d of 50 bursts lost", x.name, snr, errorsAt(x.m, snr, 50, 1))
			}
		}
	}
}

// Speeds and frequencies at the edge of what a sender may have.
func TestTolerance(t *testing.T) {
	data := []byte("a message of some length, with \x00 and \xff and \x55 in it")
	for _, m := range []Modem{V23, Bell202} {
		for _, baud := range []uint16{1188, 1200, 1212} {
			for _, off := range []float64{0.985, 1, 1.015} {
				x := Modem{uint16(float64(m.Mark) * off), uint16(float64(m.Space) * off), baud}
				got, errors := hear(m, send(Burst{Modem: x, Mark: 80, Data: data, Tail: 10}))
				var b []byte
				for _, g := range got {
					b = append(b, g.Value)
				}
				if !bytes.Equal(b, data) || errors != 0 {
					t.Errorf("%v heard as %v: %q", x, m, b)
				}
			}
		}
	}
}

func TestSilenceAndNoiseAreNoBytes(t *testing.T) {
	if got, errors := hear(V23, make([]int16, 8000)); len(got) != 0 || errors != 0 {
		t.Errorf("silence: %d bytes, %d errors", len(got), errors)
	}
	if got, errors := hear(V23, noisy(make([]int16, 8000), 50, rand.New(rand.NewPCG(1, 1)))); len(got) != 0 || errors != 0 {
		t.Errorf("noise of -64 dBm0: %d bytes, %d errors", len(got), errors)
	}
}

func TestNoAllocation(t *testing.T) {
	var s Sender
	r := NewReceiver(V23)
	data := []byte("allocates nothing")
	var f [80]int16
	if n := testing.AllocsPerRun(500, func() {
		if !s.Sending() {
			s.Send(Burst{Modem: V23, Mark: 20, Data: data})
		}
		s.Read(f[:])
		for in := f[:]; len(in) > 0; {
			n, _, _ := r.Hear(in)
			in = in[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func BenchmarkSend(b *testing.B) {
	var s Sender
	var f [80]int16
	data := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Sending() {
			s.Send(Burst{Modem: V23, Seizure: 300, Mark: 180, Data: data})
		}
		s.Read(f[:])
	}
}

func BenchmarkHear(b *testing.B) {
	r := NewReceiver(V23)
	s := send(Burst{Modem: V23, Seizure: 300, Mark: 180, Data: make([]byte, 200)})[:80*100]
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		for in := s[i : i+80]; len(in) > 0; {
			n, _, _ := r.Hear(in)
			in = in[n:]
		}
		i = (i + 80) % len(s)
	}
}
