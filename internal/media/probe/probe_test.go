package probe

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/soundtest"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A signal is what one machine says, on its way through a bad line.
type signal struct {
	tone    Tone
	ms      float64 // how long; the usual if 0
	off     float64 // Hz above where it should be
	level   float64 // dBm0; -13 if 0
	noise   float64 // dB below, white; none if 0
	turn    float64 // ms between reversals; 450 if 0
	degrees float64 // of a reversal; 180 if 0
	depth   float64 // of the envelope; 0.2 if 0
	wave    float64 // Hz of the envelope; 15 if 0
	baud    float64 // of V.21; 300 if 0
	shared  bool    // flags share a zero
	voice   float64 // dBm0 of a vowel at the same time; none if 0
	mix     bool    // a far echo 15 dB down, 40 ms later
}

// sound is the signal between two silences of 300 to 320 ms.
func (s signal) sound(r *rand.Rand) []int16 {
	set := func(x *float64, d float64) {
		if *x == 0 {
			*x = d
		}
	}
	usual := map[Tone]float64{CNG: 500, CED: 3300, ANS: 3300, ANSam: 3300, ANSamTurns: 3300, Preamble: 1000}
	set(&s.ms, usual[s.tone])
	set(&s.level, -13)
	set(&s.turn, 450)
	set(&s.degrees, 180)
	set(&s.depth, 0.2)
	set(&s.wave, 15)
	set(&s.baud, 300)
	peak := func(dBm0 float64) float64 { return 32767 * math.Pow(10, (dBm0-3.14)/20) }
	loud, noise, voice := peak(s.level), peak(s.level-s.noise)/math.Sqrt2, peak(s.voice)
	lead := 300 + 20*r.Float64()
	n := int((2*lead + s.ms) * 8)
	x := make([]float64, n)
	phase, wave, first := r.Uint32(), r.Uint32(), r.Float64()*s.turn
	waves, bits := turn(s.wave), 8.0
	if s.shared {
		bits = 7
	}
	one, zero := turn(1650+s.off), turn(1850+s.off)
	step := map[Tone]uint32{CNG: turn(1100 + s.off)}[s.tone]
	if step == 0 {
		step = turn(2100 + s.off)
	}
	for i := range x {
		t := float64(i)/8 - lead
		if t < 0 || t >= s.ms {
			continue
		}
		a, jump := loud, uint32(0)
		switch s.tone {
		case Preamble:
			step = one
			if at := math.Mod(t/1000*s.baud, bits); at < 1 || at >= 7 {
				step = zero
			}
		case ANS, ANSamTurns:
			if int((t+first)/s.turn)%2 == 1 {
				jump = uint32(s.degrees / 360 * (1 << 32))
			}
		}
		if s.tone == ANSam || s.tone == ANSamTurns {
			a *= 1 + s.depth*float64(tone.Sine(wave))/32768
			wave += waves
		}
		phase += step
		x[i] = a * float64(tone.Sine(phase+jump)) / 32768
	}
	out := make([]int16, n)
	for i := range out {
		v := x[i]
		if s.mix && i >= 320 {
			v += x[i-320] * 0.178
		}
		if s.noise != 0 {
			v += noise * r.NormFloat64()
		}
		if s.voice != 0 {
			v += voice * float64(tone.Sine(uint32(i)*turn(130))+tone.Sine(uint32(i)*turn(650))) / 65536
		}
		out[i] = int16(min(max(math.Round(v), -32767), 32767))
	}
	return out
}

// turn is how far a phase goes in a sample; 2^32 is a full turn.
func turn(hz float64) uint32 { return uint32(int64(hz / 8000 * (1 << 32))) }

// An event is a tone that has ended.
type event struct {
	tone      Tone
	start, ms float64
}

func (e event) String() string {
	return fmt.Sprintf("%v at %.0f ms for %.0f ms", e.tone, e.start, e.ms)
}

// listen gives a Probe 10 ms at a time and returns what it said.
func listen(x []int16) (all []event) {
	var p Probe
	for at := 0; len(x) > 0; {
		k := min(frame, len(x))
		at += k
		if h := p.Hear(x[:k]); h.Ended != None {
			ms := float64(h.For.Microseconds()) / 1000
			all = append(all, event{h.Ended, float64(at)/8 - float64(h.Ago.Microseconds())/1000 - ms, ms})
		}
		x = x[k:]
	}
	return all
}

// count is how many of so many signals are heard right, once each.
func (s signal) count(times int, r *rand.Rand) (right int, wrong string) {
	for range times {
		switch got := listen(s.sound(r)); {
		case len(got) == 1 && got[0].tone == s.tone:
			right++
		case len(got) > 0:
			wrong = fmt.Sprint(got)
		}
	}
	return right, wrong
}

// times is so many, or one on an emulated machine.
func times(n int) int {
	if testing.Short() {
		return 1
	}
	return n
}

// What the Recommendations say must be heard, and what must not; the sentence is
// in the name.
func TestLimits(t *testing.T) {
	times := times(10)
	const all, none = 1, 0
	for _, row := range []struct {
		name string
		s    signal
		want int
	}{
		{"T.30 4.2: 1100 Hz for 0.5 s", signal{tone: CNG}, all},
		{"T.30 4.2: 1100 + 38 Hz", signal{tone: CNG, off: 38}, all},
		{"T.30 4.2: 1100 - 38 Hz", signal{tone: CNG, off: -38}, all},
		{"T.30 4.2: 0.5 s - 15 %", signal{tone: CNG, ms: 425}, all},
		{"T.30 4.2: 0.5 s + 15 %", signal{tone: CNG, ms: 575}, all},
		{"1100 Hz, -43 dBm0", signal{tone: CNG, level: -43}, all},
		{"1100 Hz, 0 dBm0", signal{tone: CNG, level: -0.001}, all},
		{"1100 - 38 Hz, noise 10 dB below", signal{tone: CNG, off: -38, noise: 10}, all},
		{"1100 Hz for 0.25 s", signal{tone: CNG, ms: 250}, none},
		{"1100 Hz for 1 s", signal{tone: CNG, ms: 1000}, none},
		{"1160 Hz", signal{tone: CNG, off: 60}, none},
		{"1040 Hz", signal{tone: CNG, off: -60}, none},

		{"T.30 4.1: 2100 Hz for 2.6 s", signal{tone: CED, ms: 2600}, all},
		{"T.30 4.1: 2100 + 15 Hz", signal{tone: CED, off: 15}, all},
		{"T.30 4.1: 2100 - 15 Hz", signal{tone: CED, off: -15}, all},
		{"2100 Hz, -43 dBm0", signal{tone: CED, level: -43}, all},
		{"2100 - 15 Hz, noise 10 dB below", signal{tone: CED, off: -15, noise: 10}, all},
		{"2100 Hz under a voice 10 dB below", signal{tone: CED, voice: -23}, all},
		{"2100 Hz and an echo", signal{tone: CED, mix: true}, all},
		{"2100 Hz for 0.3 s", signal{tone: CED, ms: 300}, none},
		{"2140 Hz", signal{tone: CED, off: 40}, none},
		{"2060 Hz, as a howler has it", signal{tone: CED, off: -40}, none},

		{"V.25: reversals every 450 ms", signal{tone: ANS}, all},
		{"V.25: reversals every 425 ms", signal{tone: ANS, turn: 425}, all},
		{"V.25: reversals every 475 ms", signal{tone: ANS, turn: 475}, all},
		{"V.25: reversals of 170 degrees", signal{tone: ANS, degrees: 170}, all},
		{"V.25: 2115 Hz, reversals of 190 degrees", signal{tone: ANS, degrees: 190, off: 15}, all},
		{"V.25: 2085 Hz, reversals of 180 degrees, noise 10 dB below", signal{tone: ANS, off: -15, noise: 10}, all},
		{"V.25: ANS for 2.6 s", signal{tone: ANS, ms: 2600}, all},
		{"reversals, -43 dBm0", signal{tone: ANS, level: -43}, all},

		{"V.8: an envelope of 0.8 to 1.2", signal{tone: ANSam}, all},
		{"V.8: an envelope of 0.81 to 1.19, 14.9 Hz", signal{tone: ANSam, depth: 0.19, wave: 14.9}, all},
		{"an envelope, -43 dBm0", signal{tone: ANSam, level: -43}, all},
		{"an envelope, noise 10 dB below", signal{tone: ANSam, noise: 10}, all},
		{"V.8: envelope and reversals", signal{tone: ANSamTurns}, all},
		{"V.8: envelope and reversals every 425 ms, 15.1 Hz", signal{tone: ANSamTurns, turn: 425, wave: 15.1}, all},
		{"V.8: envelope and reversals every 475 ms", signal{tone: ANSamTurns, turn: 475}, all},
		{"envelope and reversals, noise 10 dB below", signal{tone: ANSamTurns, noise: 10}, all},
		{"envelope and reversals, -43 dBm0", signal{tone: ANSamTurns, level: -43}, all},

		{"T.30 5.3.1: flags for 1 s - 15 %", signal{tone: Preamble, ms: 850}, all},
		{"T.30 5.3.1: flags for 1 s + 15 %", signal{tone: Preamble, ms: 1150}, all},
		{"V.21: 6 Hz above, as sent, and 6 more from the line", signal{tone: Preamble, off: 12}, all},
		{"V.21: 12 Hz below", signal{tone: Preamble, off: -12}, all},
		{"V.21: 300 bit/s + 0.01 %", signal{tone: Preamble, baud: 300.03}, all},
		{"flags that share a zero", signal{tone: Preamble, shared: true}, all},
		{"flags, -43 dBm0", signal{tone: Preamble, level: -43}, all},
		{"flags, noise 10 dB below", signal{tone: Preamble, noise: 10}, all},
		{"flags and an echo", signal{tone: Preamble, mix: true}, all},
		{"flags for 0.1 s", signal{tone: Preamble, ms: 100}, none},
		{"flags at 200 bit/s", signal{tone: Preamble, baud: 200}, none},
		{"flags at 450 bit/s", signal{tone: Preamble, baud: 450}, none},
	} {
		right, wrong := row.s.count(times, rand.New(rand.NewPCG(1, 30)))
		if right != row.want*times || row.want == none && wrong != "" {
			t.Errorf("%-55s heard %d of %d, want %d; instead %s", row.name, right, times, row.want*times, wrong)
		}
	}
}

// When and for how long a tone sounded is known to 10 ms at both ends, or a bit or
// two.
func TestTiming(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	worst := map[Tone]float64{}
	for tone := CNG; tone <= Preamble; tone++ {
		for range times(20) {
			s := signal{tone: tone}
			x := s.sound(r)
			got := listen(x)
			if len(got) != 1 {
				t.Fatalf("%v: heard %v", tone, got)
			}
			long := map[Tone]float64{CNG: 500, Preamble: 1000}[tone]
			if long == 0 {
				long = 3300
			}
			start := (float64(len(x))/8 - long) / 2
			worst[tone] = max(worst[tone], math.Abs(got[0].start-start), math.Abs(got[0].start+got[0].ms-start-long))
		}
		t.Logf("%v: begins and ends within %.0f ms", tone, worst[tone])
		if worst[tone] > 15 {
			t.Errorf("%v: begins or ends %.0f ms beside", tone, worst[tone])
		}
	}
}

// How soon a tone is told while it sounds.
func TestSoon(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, row := range []struct {
		tone Tone
		most float64 // ms
	}{{CED, 430}, {ANS, 970}, {ANSam, 500}, {ANSamTurns, 970}, {Preamble, 200}} {
		worst := 0.0
		for range times(20) {
			x := signal{tone: row.tone}.sound(r)
			var p Probe
			for i := 0; i+frame <= len(x); i += frame {
				if p.Hear(x[i:i+frame]).Tone == row.tone {
					worst = max(worst, float64(i+frame)/8-300)
					break
				}
				if i+2*frame > len(x) {
					t.Fatalf("%v is not told", row.tone)
				}
			}
		}
		t.Logf("%v is told after %.0f ms at most", row.tone, worst)
		if worst > row.most {
			t.Errorf("%v is told after %.0f ms, want %.0f", row.tone, worst, row.most)
		}
	}
}

// The margins to the limits.
func TestMargins(t *testing.T) {
	margin := func(name string, good, bad, must, not float64, at func(x float64) signal) {
		soundtest.Margin(t, name, good, bad, must, not, func(x float64) float64 {
			right, _ := at(x).count(20, rand.New(rand.NewPCG(7, 7)))
			return float64(right) / 20
		})
	}
	margin("CNG above, Hz", 0, 100, 38, 0, func(x float64) signal { return signal{tone: CNG, off: x} })
	margin("CNG below, Hz", 0, 100, 38, 0, func(x float64) signal { return signal{tone: CNG, off: -x} })
	margin("CNG longest, ms", 500, 1000, 575, 0, func(x float64) signal { return signal{tone: CNG, ms: x} })
	margin("CNG shortest, ms", 500, 100, 425, 0, func(x float64) signal { return signal{tone: CNG, ms: x} })
	margin("CNG, dBm0", -10, -60, -43, 0, func(x float64) signal { return signal{tone: CNG, level: x} })
	margin("CNG, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: CNG, noise: x} })
	margin("CED above, Hz", 0, 100, 15, 0, func(x float64) signal { return signal{tone: CED, off: x} })
	margin("CED below, Hz", 0, 100, 15, 0, func(x float64) signal { return signal{tone: CED, off: -x} })
	margin("CED shortest, ms", 3300, 100, 2600, 0, func(x float64) signal { return signal{tone: CED, ms: x} })
	margin("CED, dBm0", -10, -60, -43, 0, func(x float64) signal { return signal{tone: CED, level: x} })
	margin("CED, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: CED, noise: x} })
	margin("ANS/ reversals more often, ms", 450, 300, 425, 0, func(x float64) signal { return signal{tone: ANS, turn: x} })
	margin("ANS/ reversals less often, ms", 450, 600, 475, 0, func(x float64) signal { return signal{tone: ANS, turn: x} })
	margin("ANS/ reversals of less, degrees", 180, 90, 170, 0, func(x float64) signal { return signal{tone: ANS, degrees: x} })
	margin("ANS/, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: ANS, noise: x} })
	margin("ANSam envelope, depth", 0.2, 0.01, 0.19, 0, func(x float64) signal { return signal{tone: ANSam, depth: x} })
	margin("ANSam, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: ANSam, noise: x} })
	margin("ANSam/, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: ANSamTurns, noise: x} })
	margin("V.21 above, Hz", 0, 100, 12, 0, func(x float64) signal { return signal{tone: Preamble, off: x} })
	margin("V.21 below, Hz", 0, 100, 12, 0, func(x float64) signal { return signal{tone: Preamble, off: -x} })
	margin("V.21 slower, bit/s", 300, 200, 299.97, 0, func(x float64) signal { return signal{tone: Preamble, baud: x} })
	margin("V.21 faster, bit/s", 300, 450, 300.03, 0, func(x float64) signal { return signal{tone: Preamble, baud: x} })
	margin("V.21, dBm0", -10, -60, -43, 0, func(x float64) signal { return signal{tone: Preamble, level: x} })
	margin("V.21, noise below, dB", 30, -3, 10, 0, func(x float64) signal { return signal{tone: Preamble, noise: x} })
}

// No tone of any country's exchange, no key, no noise is one of these.
func TestOtherTones(t *testing.T) {
	seconds, beside := 8, 50.0
	if testing.Short() {
		seconds, beside = 2, 450
	}
	x := make([]int16, 8000*seconds)
	quiet := func(what string) {
		if got := listen(x); len(got) > 0 {
			t.Errorf("%s: heard %v", what, got)
		}
	}
	play := func(tn tone.Tone, what string) {
		var p tone.Player
		p.Play(tn)
		p.Read(x)
		clear(x[len(x)-2400:])
		quiet(what)
	}
	codes := country.Codes()
	if testing.Short() {
		codes = codes[:2]
	}
	for _, code := range codes {
		c, err := country.Get(code)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []tone.Name{
			tone.Dial, tone.Stutter, tone.SpecialDial, tone.Recall, tone.Ringback, tone.Busy, tone.Congestion,
			tone.Unobtainable, tone.SIT, tone.CallWaiting, tone.Confirm, tone.Record, tone.Howler,
		} {
			play(c.Tone(n), code+" "+string(n))
		}
	}
	r := rand.New(rand.NewPCG(4, 4))
	for i := range tone.Keys {
		tn, _ := tone.Digit(tone.Keys[i])
		play(tn, "key "+tone.Keys[i:i+1])
		tn.Steps = []tone.Step{tn.Steps[0], {Ms: 100}}
		tn.Steps[0].Ms, tn.Loop = 100, true
		play(tn, "key "+tone.Keys[i:i+1]+", pressed and pressed")
	}
	for i := range x {
		x[i] = int16(3000 * r.NormFloat64())
	}
	quiet("noise")
	for hz := 200.0; hz < 3800; hz += beside { // steady tones beside those that are listened for
		if math.Abs(hz-2100) < 30 {
			continue
		}
		for i := range x {
			x[i] = int16(tone.Sine(uint32(i)*turn(hz)) / 4)
		}
		quiet(fmt.Sprintf("%.0f Hz", hz))
	}
	// A thousand bits of V.21 that are no flags.
	phase, bit := uint32(0), 0
	for i := range x {
		if i%27 == 0 {
			bit = r.IntN(2)
		}
		phase += turn(1850 - 200*float64(bit))
		x[i] = int16(tone.Sine(phase) / 4)
	}
	quiet("data of V.21")
}

// Recorded speech and music have none of these.
func TestRecorded(t *testing.T) {
	for _, kind := range []string{"speech", "music"} {
		var p Probe
		hits := 0
		heard := soundtest.Recorded(t, kind, func(sound []int16, file string, at time.Duration) {
			if h := p.Hear(sound); h.Ended != None {
				hits++
				t.Logf("%v for %v in %s at %v", h.Ended, h.For, file, at)
			}
		})
		t.Logf("%d tones heard in %v of %s", hits, heard.Round(time.Second), kind)
		if hits > 0 {
			t.Errorf("%d tones heard in %v of %s", hits, heard, kind)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var p Probe
	x := signal{tone: ANSamTurns, noise: 20}.sound(rand.New(rand.NewPCG(1, 1)))
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		p.Hear(x[i : i+frame])
		i = (i + frame) % (len(x) - frame)
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

// What 10 ms cost: scripts/insns counts the instructions of a MIPS.
func BenchmarkHear(b *testing.B) {
	for _, s := range []signal{{tone: ANSamTurns, noise: 20}, {tone: Preamble, noise: 20}} {
		b.Run(map[Tone]string{ANSamTurns: "ANSam", Preamble: "V21"}[s.tone], func(b *testing.B) {
			var p Probe
			x := s.sound(rand.New(rand.NewPCG(1, 1)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.Hear(x[i : i+frame])
				i = (i + frame) % (len(x) - frame)
			}
		})
	}
}
