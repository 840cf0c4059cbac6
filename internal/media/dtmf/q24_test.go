package dtmf

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/soundtest"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A press is one key on its way through a bad line.
type press struct {
	ms          float64 // how long; 60 if 0
	row, col    float64 // percent off frequency
	level       float64 // dBm0 of the stronger tone; -10 if 0
	twist       float64 // dB, column over row
	gapAt, gap  float64 // ms: an interruption
	slipAt      float64 // ms: where 10 ms of sound are lost
	pause       float64 // ms after it; 80 if 0
	noise       float64 // dB below the tones' power, white; none if 0
	echo        float64 // ms later, 10 dB down
	hum         float64 // dBm0 of 50 Hz; none if 0
	dial        float64 // dBm0 of 350+440 Hz each; none if 0
	decay       float64 // dB by which the end is softer than the start
	third       float64 // dB of a third tone, 1020 Hz, against the stronger tone; none if 0
	dialTone    bool    // the detector knows of a dial tone
	admin       Administration
	clipTo      float64 // the samples' largest value; 32767 if 0
	onlyRow     bool
	onlyColumn  bool
	secondAfter float64 // ms until the column begins after the row
}

// sound is the press of a key, pause included.
func (p press) sound(key byte, r *rand.Rand) []int16 {
	set := func(x *float64, d float64) {
		if *x == 0 {
			*x = d
		}
	}
	set(&p.ms, 60)
	set(&p.level, -10)
	set(&p.pause, 80)
	set(&p.clipTo, 32767)
	if p.level == -0.001 {
		p.level = 0
	}
	peak := func(dBm0 float64) float64 { return 32767 * math.Pow(10, (dBm0-3.14)/20) }
	var row, col float64
	for y := range tone.Pad {
		for x := range tone.Pad[y] {
			if tone.Pad[y][x] == key {
				row, col = float64(tone.Rows[y]), float64(tone.Columns[x])
			}
		}
	}
	row, col = row*(1+p.row/100), col*(1+p.col/100)
	ar, ac := peak(p.level), peak(p.level)
	if p.twist > 0 {
		ar *= math.Pow(10, -p.twist/20)
	} else {
		ac *= math.Pow(10, p.twist/20)
	}
	if p.onlyRow {
		ac = 0
	}
	if p.onlyColumn {
		ar = 0
	}
	lead := 20 + r.Float64()*20 // ms: any place in the detector's windows
	low, high := wave(row, r), wave(col, r)
	third, fifty := wave(1020, r), wave(50, r)
	dial := [2]oscillator{wave(350, r), wave(440, r)}
	sigma := 0.0
	if p.noise != 0 {
		sigma = math.Sqrt((ar*ar+ac*ac)/2) * math.Pow(10, -p.noise/20)
	}
	tens := func(dB float64) float64 { return math.Pow(10, dB/20) }
	a3, hum, dt, fading := 0.0, 0.0, 0.0, tens(-p.decay/(p.ms*8))
	if p.third != 0 {
		a3 = peak(p.level) * tens(p.third)
	}
	if p.hum != 0 {
		hum = peak(p.hum)
	}
	if p.dial != 0 {
		dt = peak(p.dial)
	}
	loud := 1.0
	keyed := make([]float64, int((lead+p.ms+p.pause)*8))
	out := make([]int16, len(keyed))
	for i := range out {
		x, y := ar*low.next(), ac*high.next()
		if p.slipAt != 0 && i == int((lead+p.slipAt)*8) {
			for range 80 {
				low.next()
				high.next()
			}
		}
		if t := float64(i)/8 - lead; t >= 0 && t < p.ms && (p.gap == 0 || t < p.gapAt || t >= p.gapAt+p.gap) {
			if t >= p.secondAfter {
				x += y
			}
			if a3 != 0 {
				x += a3 * third.next()
			}
			keyed[i] = x * loud
			loud *= fading
		}
		x = keyed[i]
		if p.echo != 0 && i >= int(p.echo*8) {
			x += keyed[i-int(p.echo*8)] * 0.316 // 10 dB down
		}
		if sigma != 0 {
			x += sigma * r.NormFloat64()
		}
		if hum != 0 {
			x += hum * fifty.next()
		}
		if dt != 0 {
			x += dt * (dial[0].next() + dial[1].next())
		}
		out[i] = int16(min(max(x, -p.clipTo), p.clipTo))
	}
	return out
}

// An oscillator makes a sine by recursion: the sum runs under emulators, on
// machines without floating point, in a bearable time.
type oscillator struct{ c, a, b float64 }

func wave(hz float64, r *rand.Rand) oscillator {
	w, phase := 2*math.Pi*hz/8000, r.Float64()*2*math.Pi
	return oscillator{2 * math.Cos(w), math.Sin(phase - w), math.Sin(phase - 2*w)}
}

func (o *oscillator) next() float64 {
	o.a, o.b = o.c*o.a-o.b, o.a
	return o.a
}

// count presses every key so many times, one behind the other, and returns how many
// were heard right, how many besides, and of how many.
func (p press) count(times int, r *rand.Rand) (right, extra, of int) {
	var d Detector
	d.DialTone(p.dialTone)
	d.Use(p.admin)
	keys := tone.Keys
	if testing.Short() {
		keys = "159D" // every row and column once
	}
	for i := range keys {
		for range times {
			of++
			n := 0
			s := p.sound(keys[i], r)
			for len(s) > 0 {
				k := min(80, len(s))
				if h := d.Hear(s[:k]); h.Pressed == keys[i] && n == 0 {
					right++
					n++
				} else if h.Pressed != 0 {
					extra++
				}
				s = s[k:]
			}
		}
	}
	return right, extra, of
}

// ITU-T Q.24, Table A-1, column AT&T, and ETSI ES 201 235-3 for timing; the
// sentence stands in the name. Every row is 16 keys, three times each, or ten
// times with go test -v, and then drawn anew.
func TestQ24(t *testing.T) {
	times, seed := 3, uint64(0)
	const all, none = 1, 0
	if testing.Short() {
		times = 1
	}
	if testing.Verbose() {
		times = 10
		seed = rand.Uint64()
		t.Logf("seed %d", seed)
	}
	for _, row := range []struct {
		name string
		p    press
		want int
	}{
		{"signal duration, minimum accepted 40 ms", press{ms: 40}, all},
		{"signal duration, maximum rejected 23 ms", press{ms: 23}, none},
		{"signal below 20 ms shall not be recognised", press{ms: 19}, none},
		{"pause, minimum 40 ms, cycle 93 ms", press{ms: 53, pause: 20}, all}, // sound adds 20 to 40 ms before
		{"interruption of 10 ms bridged, early", press{ms: 80, gapAt: 20, gap: 10}, all},
		{"interruption of 10 ms bridged, middle", press{ms: 90, gapAt: 40, gap: 10}, all},
		{"interruption of 10 ms bridged, late", press{ms: 120, gapAt: 80, gap: 10}, all},
		{"frequency +1.5 % both", press{row: 1.5, col: 1.5}, all},
		{"frequency -1.5 % both", press{row: -1.5, col: -1.5}, all},
		{"frequency +1.5 % -1.5 %", press{row: 1.5, col: -1.5}, all},
		{"frequency -1.5 % +1.5 %", press{row: -1.5, col: 1.5}, all},
		{"frequency ±1.5 % in 40 ms", press{ms: 40, row: 1.5, col: -1.5}, all},
		{"row +3.5 % rejected", press{row: 3.5, ms: 100}, none},
		{"row -3.5 % rejected", press{row: -3.5, ms: 100}, none},
		{"column +3.5 % rejected", press{col: 3.5, ms: 100}, none},
		{"column -3.5 % rejected", press{col: -3.5, ms: 100}, none},
		{"power per frequency 0 dBm", press{level: -0.001}, all},
		{"power per frequency -25 dBm", press{level: -25}, all},
		{"-25 dBm, 40 ms", press{level: -25, ms: 40}, all},
		{"-30 dBm", press{level: -30}, all},
		{"non-operate -55 dBm", press{level: -55}, none},
		{"non-operate -45 dBm", press{level: -45}, none},
		{"high group +4 dB", press{twist: 4}, all},
		{"high group -8 dB", press{twist: -8}, all},
		{"+4 dB, 40 ms, +1.5 %", press{twist: 4, ms: 40, row: 1.5, col: 1.5}, all},
		{"-8 dB, 40 ms, -1.5 %", press{twist: -8, ms: 40, row: -1.5, col: -1.5}, all},
		{"high group +7 dB", press{twist: 7}, none},
		{"high group -11 dB", press{twist: -11}, none},
		{"echo 20 ms late, 10 dB down", press{echo: 20}, all},
		{"echo 20 ms late, 10 dB down, 40 ms", press{echo: 20, ms: 40}, all},
		{"echo 20 ms late, 10 dB down, 100 ms, pause 40 ms", press{echo: 20, ms: 100, pause: 20}, all},
		{"echo, 40 ms, pause 40 ms, dial tone mode", press{echo: 20, ms: 40, pause: 20, dialTone: true}, all},
		{"white noise 15 dB below", press{noise: 15}, all},
		{"white noise 15 dB below, 40 ms", press{noise: 15, ms: 40}, all},
		{"white noise 15 dB below, dial tone mode", press{noise: 15, dialTone: true}, all},
		{"white noise 20 dB below, -25 dBm, +4 dB", press{noise: 20, level: -25, twist: 4}, all},
		{"white noise 20 dB below, -25 dBm, -8 dB", press{noise: 20, level: -25, twist: -8}, all},
		{"white noise 15 dB below, 23 ms", press{noise: 15, ms: 23}, none},
		{"dial tone as loud as the keys", press{dial: -10, dialTone: true}, all},
		{"dial tone as loud as the keys, 40 ms", press{dial: -10, ms: 40, dialTone: true}, all},
		{"dial tone as loud as the keys, -8 dB", press{dial: -10, twist: -8, dialTone: true}, all},
		{"dial tone alone", press{dial: -5, level: -80, dialTone: true}, none},
		{"dial tone mode, no dial tone, 23 ms", press{ms: 23, dialTone: true}, none},
		{"dial tone mode, 40 ms", press{ms: 40, dialTone: true}, all},
		{"hum of 50 Hz, -10 dBm0, dial tone mode", press{hum: -10, dialTone: true}, all},
		{"hum of 50 Hz, -10 dBm0, in a call", press{hum: -10}, all},
		{"hum of 50 Hz, -10 dBm0, in a call, 40 ms, -8 dB", press{hum: -10, ms: 40, twist: -8}, all},
		{"softer by 3 dB at the end", press{decay: 3}, all},
		{"a long press is one press", press{ms: 1000}, all},
		{"a row alone", press{onlyRow: true, ms: 200}, none},
		{"a column alone", press{onlyColumn: true, ms: 200}, none},
		{"a third tone as loud", press{third: -0.001, ms: 200}, none},
		{"a third tone 20 dB below", press{third: -20}, all},
		{"column 10 ms after row", press{secondAfter: 10, ms: 60}, all},
		{"10 ms of sound lost, early", press{ms: 80, slipAt: 30}, all},
		{"10 ms of sound lost, late", press{ms: 80, slipAt: 50}, all},
		{"column 60 ms after row: a chord, not a key", press{secondAfter: 60, ms: 260}, none},
		{"white noise 15 dB below, 60 ms, +1.5 % -1.5 %, -8 dB", press{noise: 15, row: 1.5, col: -1.5, twist: -8}, all},
		{"white noise 15 dB below, 60 ms, -1.5 % +1.5 %, +4 dB", press{noise: 15, row: -1.5, col: 1.5, twist: 4}, all},
	} {
		right, extra, of := row.p.count(times, rand.New(rand.NewPCG(seed, 24)))
		if right != row.want*of || extra != 0 {
			t.Errorf("%-45s heard %d of %d, want %d; %d besides", row.name, right, of, row.want*of, extra)
		}
	}
}

// Other columns of Table A-1. What a column says nothing about is not asked.
func TestAdministrations(t *testing.T) {
	times := 2
	if testing.Short() {
		times = 1
	}
	for _, c := range []struct {
		name             string
		admin            Administration
		short, gap       float64 // ms: signal rejected, interruption bridged
		pause            float64 // ms, minimum
		row, col         float64 // percent accepted
		far              float64 // percent rejected
		loud, soft, none float64 // dBm0: operation, none
		twist            float64
	}{
		{"NTT", NTT, 24, 10, 30, 1.8, 1.8, 3.0, -3, -24, -29, 5},
		{"Denmark", Denmark, 20, 20, 40, 1.5 + 2/6.97, 1.5 + 2/12.09, 3.5, -2, -27, -36, 6},
		{"Australia", Australia, 25, 12, 70, 1.5 + 4/6.97, 1.5 + 4/12.09, 7, -5, -27, -30, 10},
		{"Brazil", Brazil, 20, 10, 30, 1.8, 1.8, 3.0, -3, -25, -50, 9},
	} {
		for _, row := range []struct {
			name string
			p    press
			want int
		}{
			{"signal accepted, 40 ms", press{ms: 40}, 1},
			{"signal rejected", press{ms: c.short}, 0},
			{"pause", press{ms: 60, pause: c.pause - 20}, 1}, // sound adds 20 to 40 ms before
			{"interruption", press{ms: 90, gapAt: 35, gap: c.gap}, 1},
			{"frequency above", press{row: c.row, col: c.col}, 1},
			{"frequency below", press{row: -c.row, col: -c.col}, 1},
			{"row too high", press{row: c.far, ms: 100}, 0},
			{"row too low", press{row: -c.far, ms: 100}, 0},
			{"column too high", press{col: c.far, ms: 100}, 0},
			{"column too low", press{col: -c.far, ms: 100}, 0},
			{"loudest", press{level: c.loud}, 1},
			{"softest", press{level: c.soft}, 1},
			{"too soft", press{level: c.none}, 0},
			{"high group louder", press{twist: c.twist}, 1},
			{"low group louder", press{twist: -c.twist}, 1},
			{"dial tone as loud", press{dial: -10, dialTone: true}, 1},
		} {
			row.p.admin = c.admin
			right, extra, of := row.p.count(times, rand.New(rand.NewPCG(3, 24)))
			if right != row.want*of || extra != 0 {
				t.Errorf("%s: %s: heard %d of %d, want %d; %d besides", c.name, row.name, right, of, row.want*of, extra)
			}
		}
	}
}

// The margins to the limits of Q.24.
func TestMargins(t *testing.T) {
	margin := func(name string, good, bad, must, not float64, at func(x float64) press) {
		soundtest.Margin(t, name, good, bad, must, not, func(x float64) float64 {
			right, _, _ := at(x).count(10, rand.New(rand.NewPCG(7, 7)))
			return float64(right) / 160
		})
	}
	margin("duration, ms", 60, 10, 40, 23, func(x float64) press { return press{ms: x} })
	margin("row above, %", 0, 5, 1.5, 3.5, func(x float64) press { return press{row: x, ms: 100} })
	margin("row below, %", 0, 5, 1.5, 3.5, func(x float64) press { return press{row: -x, ms: 100} })
	margin("column above, %", 0, 5, 1.5, 3.5, func(x float64) press { return press{col: x, ms: 100} })
	margin("column below, %", 0, 5, 1.5, 3.5, func(x float64) press { return press{col: -x, ms: 100} })
	margin("twist, high group louder, dB", 0, 12, 4, 0, func(x float64) press { return press{twist: x} })
	margin("twist, low group louder, dB", 0, 15, 8, 0, func(x float64) press { return press{twist: -x} })
	margin("level, dBm0", -10, -60, -25, -55, func(x float64) press { return press{level: x} })
	margin("noise below tones, dB", 30, 0.5, 15, 0, func(x float64) press { return press{noise: x} })
	margin("hum over keys at -10 dBm0, dBm0", -40, 3, -10, 0, func(x float64) press { return press{hum: x} })
	margin("dial tone over keys at -10 dBm0, dBm0", -30, 3, -10, 0, func(x float64) press { return press{dial: x, dialTone: true} })
}

// White noise and chords are no keys. The voice is harder than any real one:
// it has no breath, and holds two narrow formants for 100 ms at a time. Real
// ones are listened to in TestTalkOffRecorded.
func TestTalkOff(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dial := range []bool{false, true} {
		var d Detector
		d.DialTone(dial)
		hits, n := "", 0
		hear := func(what string, sample func(i int) float64, seconds int) {
			var f [80]int16
			for i := 0; i < seconds*8000; i += 80 {
				for j := range f {
					f[j] = int16(min(max(sample(i+j), -32767), 32767))
				}
				if h := d.Hear(f[:]); h.Pressed != 0 {
					n++
					hits += fmt.Sprintf(" %c in %s at %v", h.Pressed, what, time.Duration(i)*time.Second/8000)
				}
			}
		}
		hear("noise", func(int) float64 { return 5000 * r.NormFloat64() }, 20)
		// Chords of a piano: three notes with five harmonics each.
		var notes [15]oscillator
		var loud [15]float64
		hear("chords", func(i int) (x float64) {
			if i%2000 == 0 {
				for k := range notes {
					if k%5 == 0 {
						root := 110 * math.Pow(2, float64(r.IntN(36))/12)
						for h := range 5 {
							notes[k+h], loud[k+h] = wave(root*float64(h+1), r), 2500/float64(h+1)
						}
					}
				}
			}
			for k := range notes {
				x += loud[k] * notes[k].next()
				loud[k] *= 1 - 1.0/1500
			}
			return x
		}, 20)
		// A voice: a pulse train that glides as in a sentence, some tens of Hz
		// a second, through two moving formants.
		var y [2][2]float64
		phase, f0, glide := 0.0, 120.0, 0.0
		const b = 0.97 // a formant is about 80 Hz wide
		var formants [2]float64
		hear("voice", func(i int) float64 {
			if i%800 == 0 {
				f0 = 80 + r.Float64()*170
				for k, from := range []float64{250, 900} {
					f := from + r.Float64()*[]float64{650, 1500}[k]
					formants[k] = 2 * b * math.Cos(2*math.Pi*f/8000)
				}
				glide = (0.3 + r.Float64()) * f0
				if r.IntN(2) == 0 {
					glide = -glide
				}
			}
			f0 += glide / 8000
			phase += f0 / 8000
			x := 0.0
			if phase >= 1 {
				phase--
				x = 20000
			}
			for k, c := range formants {
				z := x + c*y[k][0] - b*b*y[k][1]
				y[k][1], y[k][0] = y[k][0], z
				x = z * 0.15
			}
			return x * 0.5
		}, 40)
		if n > 3 || !dial && strings.Contains(hits, "noise") {
			t.Errorf("dial tone %v: heard%s", dial, hits)
		}
		t.Logf("dial tone %v: heard%s", dial, hits)
	}
}

// Recorded speech and music dial nothing. Nobody talks for long under a dial tone:
// then, hits are only counted.
func TestTalkOffRecorded(t *testing.T) {
	for _, kind := range []struct {
		name string
		hits float64       // allowed
		in   time.Duration // so long
	}{
		{"speech", 1, 5 * time.Hour},
		{"music", 5, 44 * time.Minute},
	} {
		for _, dial := range []bool{false, true} {
			var d Detector
			d.DialTone(dial)
			maybe, hits := 0, 0
			heard := soundtest.Recorded(t, kind.name, func(sound []int16, file string, at time.Duration) {
				h := d.Hear(sound)
				if h.Pressed != 0 {
					hits++
					t.Logf("%c in %s at %v", h.Pressed, file, at)
				}
				if h.Maybe {
					maybe++
				}
			})
			allowed := max(1, kind.hits*float64(heard)/float64(kind.in))
			t.Logf("dial tone %v: %d keys heard in %v of %s, at most %.1f without a dial tone; %.2f %% of it could be one",
				dial, hits, heard.Round(time.Second), kind.name, allowed, 1000*float64(maybe)/float64(heard.Milliseconds()))
			if !dial && float64(hits) > allowed {
				t.Errorf("%d keys heard in %v of %s", hits, heard, kind.name)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var d Detector
	s := press{ms: 100}.sound('5', rand.New(rand.NewPCG(1, 1)))
	i := 0
	if n := testing.AllocsPerRun(500, func() {
		d.Hear(s[i : i+80])
		i = (i + 80) % (len(s) - 80)
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

// What a Detector says in the course of one press, in stretches of 10 ms.
func TestHeard(t *testing.T) {
	var d Detector
	s := press{ms: 100, pause: 120}.sound('#', rand.New(rand.NewPCG(1, 1)))
	pressed, released, held := -1, -1, 0
	first := -1
	for i := 0; i+80 <= len(s); i += 80 {
		h := d.Hear(s[i : i+80])
		if h.Maybe && first < 0 {
			first = i / 8
		}
		if h.Pressed != 0 {
			if pressed >= 0 || h.Pressed != '#' {
				t.Errorf("pressed %c at %d ms, and before at %d", h.Pressed, i/8, pressed)
			}
			pressed = i / 8
			if h.For < 30*time.Millisecond || h.For > 50*time.Millisecond {
				t.Errorf("it had sounded %v", h.For)
			}
		}
		if h.Released {
			released = i / 8
		}
		if h.Held {
			held++
		}
	}
	if pressed < 0 || released < pressed {
		t.Fatalf("pressed at %d ms, released at %d ms", pressed, released)
	}
	if first > pressed-20 {
		t.Errorf("could be a key at %d ms, was one at %d ms", first, pressed)
	}
	// Up to 31 ms are needed to be sure, 21 ms to be sure that it has ended.
	if ms := held * 10; ms < 60 || ms > 110 {
		t.Errorf("held for %d ms of 100", ms)
	}
}

// What ten milliseconds cost when it is never silent and half of them have a key:
// scripts/insns counts the instructions of a MIPS.
func BenchmarkHear(b *testing.B) {
	for _, dial := range []bool{false, true} {
		b.Run(map[bool]string{false: "call", true: "dialtone"}[dial], func(b *testing.B) {
			var d Detector
			d.DialTone(dial)
			s := press{ms: 100, noise: 20}.sound('5', rand.New(rand.NewPCG(1, 1)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.Hear(s[i : i+80])
				i = (i + 80) % (len(s) - 80)
			}
		})
	}
}
