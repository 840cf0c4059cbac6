package tone

import "math"

// A Player plays one tone at a time. The zero Player is silent. It belongs to
// one goroutine, never fails and never allocates.
//
// Each frequency has an oscillator: a phase that is never set back while it
// sounds, and a gain that moves to where it should be within 4 ms. A step
// that begins or ends, a tone that replaces another and Stop therefore make
// no click. A step's sound is as long as the step, measured from half gain to
// half gain.
type Player struct {
	tone Tone
	step int // the step that sounds, an index into tone.Steps
	left uint32
	held bool // the step lasts until stopped

	osc [4]oscillator
	am  oscillator // the modulation; its gain is the depth, Q15
}

// An oscillator is one sine with its own soft gain.
type oscillator struct {
	phase uint32 // 2^32 is a full turn
	inc   uint32 // turn per sample
	gain  int32  // peak amplitude now, Q8
	want  int32  // peak amplitude it moves to, Q8
	slope int32  // Q8 per sample
}

const (
	sampleRate = 8000
	samplesMs  = sampleRate / 1000

	// rampSamples is how long a gain takes: 4 ms. Shorter is heard as a
	// click, longer would blunt tones of 40 ms.
	rampSamples = 4 * samplesMs

	// amDepth is the depth of modulation, 85 % in Q15: NTT's ringback is
	// specified as 85±15 %.
	amDepth = 85 * 32768 / 100

	chunk = 80 // samples made at a time
)

// Play starts a tone from its beginning, in place of the one that plays.
func (p *Player) Play(t Tone) {
	p.tone, p.step = t, 0
	if t.Silent() {
		p.Stop()
		return
	}
	p.begin()
}

// Stop ends the tone softly: 4 ms of it are still to be read.
func (p *Player) Stop() {
	p.tone, p.held, p.left = Tone{}, true, 0
	for i := range p.osc {
		p.osc[i].fade(0)
	}
}

// Playing reports whether there is sound now or to come.
func (p *Player) Playing() bool {
	if !p.tone.Silent() {
		return true
	}
	return p.sounding()
}

func (p *Player) sounding() bool {
	for i := range p.osc {
		if o := &p.osc[i]; o.gain != 0 || o.want != 0 {
			return true
		}
	}
	return false
}

// Read fills out with the next samples and reports whether any can be other
// than zero.
func (p *Player) Read(out []int16) bool {
	heard := false
	for len(out) > 0 {
		n := min(len(out), chunk)
		if !p.tone.Silent() && !p.held {
			if p.left == 0 {
				p.next()
				continue
			}
			n = min(n, int(p.left))
			p.left -= uint32(n)
		}
		if p.sounding() {
			heard = true
			p.make(out[:n])
		} else {
			clear(out[:n])
		}
		out = out[n:]
	}
	return heard
}

// next goes to the step after the one that has ended.
func (p *Player) next() {
	for p.step++; p.step < len(p.tone.Steps); p.step++ {
		p.begin()
		return
	}
	if p.tone.Loop {
		for i := range p.tone.Steps {
			if !p.tone.Steps[i].Once {
				p.step = i
				p.begin()
				return
			}
		}
	}
	p.Stop()
}

// begin starts the current step.
func (p *Player) begin() {
	s := &p.tone.Steps[p.step]
	p.left, p.held = s.Ms*samplesMs, s.Ms == 0
	if s.Hz[0] != 0 { // what fades into silence is modulated to its end
		p.modulate(s.AM)
	}
	level := p.tone.level()
	ended := false
	for i := range p.osc {
		o := &p.osc[i]
		ended = ended || s.Hz[i] == 0
		if ended {
			o.fade(0)
			continue
		}
		if o.gain == 0 {
			o.phase = 0
		}
		o.inc = Turn(s.Hz[i])
		o.fade(Amplitude(int(level) + int(s.Gain[i])))
	}
}

// modulate begins, changes or ends the modulation: softly, unless nothing
// sounds that could click.
func (p *Player) modulate(hz uint16) {
	silent := !p.sounding()
	if silent || p.am.gain == 0 {
		p.am.phase = 0
	}
	if hz == 0 {
		p.am.fade(0)
	} else {
		p.am.inc = Turn(hz)
		p.am.fade(amDepth)
	}
	if silent {
		p.am.gain = p.am.want
	}
}

// make writes samples of the current step.
func (p *Player) make(out []int16) {
	var sum [chunk]int32
	for i := range p.osc {
		p.osc[i].add(sum[:len(out)])
	}
	if p.am.gain != 0 || p.am.want != 0 {
		for i := range out {
			p.am.phase += p.am.inc
			p.am.move()
			m := 32768 + p.am.gain*Sine(p.am.phase)>>15
			sum[i] = int32(int64(sum[i]) * int64(m) >> 15)
		}
	}
	for i := range out {
		out[i] = int16(min(max(sum[i], -32768), 32767))
	}
}

func (o *oscillator) fade(want int32) {
	o.want = want
	o.slope = (want - o.gain) / rampSamples
	if o.slope == 0 {
		o.gain = want
	}
}

// move brings the gain a sample's way nearer to where it should be.
func (o *oscillator) move() {
	if o.gain != o.want {
		o.gain += o.slope
		if (o.slope > 0) == (o.gain > o.want) {
			o.gain = o.want
		}
	}
}

func (o *oscillator) add(sum []int32) {
	if o.gain == 0 && o.want == 0 {
		return
	}
	for i := range sum {
		o.move()
		sum[i] += int32((int64(o.gain)*int64(Sine(o.phase)) + 1<<22) >> 23)
		o.phase += o.inc
	}
}

// Turn is the phase step of a frequency: within 10^-6 Hz of it; 2^32 is a full
// turn.
func Turn(hz uint16) uint32 { return uint32((uint64(hz)<<32 + sampleRate/2) / sampleRate) }

// Amplitude is the peak of a sine at a level, in samples Q8.
func Amplitude(dBm0 int) int32 {
	if dBm0 < int(MinLevel) {
		return 0
	}
	a := uint64(maxPeak) << 24
	for l := int(MaxLevel); l > dBm0; l-- {
		a = a * oneDB >> 16
	}
	return int32(a >> 16)
}

const (
	maxPeak = 32242 // of a sine of MaxLevel, +3 dBm0: 32767 * 10^(-0.14/20)
	oneDB   = 58409 // 10^(-1/20) in Q16
)

// Sine is the sine of a phase, Q15, by a table of a quarter turn and a
// straight line between its points; it is within 2 of the truth.
func Sine(phase uint32) int32 {
	quarter := phase & (1<<30 - 1)
	if phase&(1<<30) != 0 {
		quarter = 1<<30 - quarter
	}
	i, f := quarter>>22, int32(quarter>>8&0x3fff)
	s := table[i]
	if f != 0 {
		s += (table[i+1] - s) * f >> 14
	}
	if phase&(1<<31) != 0 {
		return -s
	}
	return s
}

// table is the first quarter of a sine, 256 parts, Q15.
var table = func() (t [257]int32) {
	for i := range t {
		t[i] = int32(math.Round(32767 * math.Sin(float64(i)*math.Pi/512)))
	}
	return t
}()
