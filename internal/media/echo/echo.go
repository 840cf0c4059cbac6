// Package echo is a line echo canceller: it takes out of the sound that comes
// from a telephone what the far end hears of itself.
//
// Its one idea: learn boldly in the background, and let the caller hear only
// what has proved better. Two filters imitate the line. The foreground makes
// the sound that goes out. The background learns from every frame, each
// frequency at its own pace, and replaces the foreground when its error has
// been smaller for a while; when it is misled, the foreground replaces it.
//
//	far end ── Rin ─────┬──────────────┬─────────▶ Rout ─▶ telephone
//	                    ▼              ▼                      │ hybrid
//	              foreground ◀─────▶ background ◀─ learns     │
//	                    │ copy   back  │                      │
//	far end ◀─ Sout ─ NLP ◀─ (−) ◀─── (−) ◀───── Sin ◀────────┘
//
// # How it learns
//
// Every 10 ms the last 32 ms of the far end and the last 10 ms of what the
// background left over are transformed to 129 frequencies. For each, a
// Canceller knows two powers: its doubt, which is how wrong the background may
// still be, and the power there that it cannot explain by that doubt, which
// is the near end or noise. Their proportion is the step (a Kalman filter with
// one state per frequency). Whoever talks at the near end raises the second
// at once, in just the frequencies of the voice, and it falls slowly: so
// double talk needs no detector, and slows learning only where it must. Doubt
// falls with every step and is never quite gone.
//
// Doubt that has become too small for a line that has changed is found by a
// trial. When the residual has been well above its best for some frames,
// doubt is raised for 320 ms. If the background then comes well below the
// foreground, the line has changed, and it becomes the foreground; if not,
// somebody was talking, and background and doubt are put back. The foreground
// does not notice.
//
// A far end that is only a tone or two teaches nothing about the other
// frequencies; there is no learning from it. Once the residual is small,
// every second frame is enough.
//
// # What follows the filters
//
// The non-linear processor (NLP) replaces what is left by noise of the
// loudness and colour of the near end's own, while it is no louder than an
// echo can still be. 2100 Hz from either side, which is how faxes answer,
// turns it off; with its phase reversed every 450 ms, which is how modems
// answer, all of the canceller is, until both sides have been quiet for
// 250 ms (G.168 section 7, and V.25, V.8).
//
// # What it does
//
// On the echo paths D.2 to D.9 of ITU-T G.168 with a loss of 6 dB, with the
// composite source signal at -10 dBm0, linear samples, 256 taps, means of the
// eight; TestG168 and TestVoices print each path and what is asked:
//
//	20 dB, 30 dB after                          0.38 s, 0.58 s
//	another line, 20 dB after                   0.54 s
//	after 1 s, after 10 s                       42 dB, 59 dB
//	after double talk at 0 dB, at -15 dB        60 dB, 60 dB
//	after 2 minutes of silence, after tones     60 dB, 60 dB
//	synthetic voices, 20 dB after               1.2 s
//	during double talk of voices, 0 dB, -15 dB  54 dB, 56 dB
//	with A-law in the line                      37 dB
//	heard through the NLP after 1 s             nothing
//
// A MIPS without FPU executes at most 0.52 million instructions for 20 ms with
// 128 taps, 0.39 million once the line is known, and 0.78 and 0.65 million
// with 256. Sound is not delayed. All arithmetic is integer.
//
// # What it does not do
//
// Echoes that come later than the taps reach, or before their cause, are not
// found: the delay of the hardware's buffers is for the caller to take out. A
// direct current on the near side of more than some 50 units costs precision;
// line chips take it out. It was tried on signals, not on a real line.
package echo

const (
	frame   = 80  // samples between two lessons, 10 ms
	maxTaps = 512 // 64 ms
	usual   = 128 // 16 ms: a hybrid beside the line's chip rings for less than 8
)

// A Canceller is for one telephone. The zero Canceller is ready, with 128
// taps and the NLP on. It belongs to one goroutine and never allocates.
type Canceller struct {
	taps int  // 0 before the first sample of a zero Canceller
	keep bool // what is left, without the NLP

	far  [maxTaps + frame]int16 // the oldest first; the frame that fills up is the last
	near [frame]int16
	n    int          // samples of the frame that are there
	rest [frame]int32 // what the foreground leaves of near, Q4
	back [frame]int32 // what the background leaves of it, Q4

	fg pattern // what is heard; written only by adopt
	bg pattern // learner.long, rounded

	learner
	judge
	suppressor
	disabler
}

// A pattern is the line as a filter: Q14, the last tap first.
type pattern [maxTaps]int16

// New makes a Canceller for echoes that come within so many samples of
// 1/8000 s, its taps: 8 to 512 in steps of 8, other numbers are brought to
// the nearest that can be. 128 are 16 ms. Twice the taps cost nearly twice
// the time.
func New(taps int) *Canceller {
	c := new(Canceller)
	c.init(taps)
	return c
}

func (c *Canceller) init(taps int) {
	keep := c.keep
	*c = Canceller{taps: min(max(taps+7, 8), maxTaps) &^ 7, keep: keep}
	c.learner.parts = (c.taps + part - 1) / part
	c.judge.init()
	c.suppressor.ratio = amplitude(worstLine+crest, 15)
}

// Reset forgets the line; a new call on the same telephone need only Resume.
func (c *Canceller) Reset() {
	if c.taps != 0 {
		c.init(c.taps)
	}
}

// Resume is for the first Cancel after a time without, as between two calls. The
// line stays known. What was heard before is forgotten, and with it the fax or
// the modem that turned something off.
func (c *Canceller) Resume() {
	c.far, c.n = [maxTaps + frame]int16{}, 0
	c.learner.hush()
	c.judge.better, c.judge.worse = 0, 0
	c.disabler = disabler{}
}

// NLP says whether what is left is replaced by comfort noise where it can only
// be echo. It is, unless turned off.
func (c *Canceller) NLP(on bool) { c.keep = !on }

// Cancel writes to out what is left of sin when the echo of rin has been
// taken away. Rin is what was played to the telephone beside the time when
// sin was recorded: an echo may not come before its cause. The three are of
// one length, any; out may be sin.
func (c *Canceller) Cancel(out, rin, sin []int16) {
	if c.taps == 0 {
		c.init(usual)
	}
	for len(sin) > 0 {
		n := min(frame-c.n, len(sin))
		copy(c.far[maxTaps+c.n:], rin[:n])
		copy(c.near[c.n:], sin[:n])
		if c.disabler.off {
			copy(out, sin[:n])
			for i, x := range sin[:n] {
				c.rest[c.n+i] = int32(x) << 4
			}
		} else {
			c.subtract(n)
			c.suppress(out[:n], c.far[maxTaps+c.n:], c.rest[c.n:])
		}
		if c.n += n; c.n == frame {
			c.n = 0
			c.lesson()
			copy(c.far[:], c.far[frame:])
		}
		out, rin, sin = out[n:], rin[n:], sin[n:]
	}
}

// Linear writes to out, of at most 80 samples, the last that Cancel made as they
// were before the NLP: for a detector, which noise in the place of a soft tone
// would make deaf.
func (c *Canceller) Linear(out []int16) {
	at := c.n - len(out)
	for i := range out {
		k := at + i
		if k < 0 {
			k += frame
		}
		out[i] = int16(min(max((c.rest[k]+8)>>4, -32768), 32767))
	}
}

// subtract takes what each filter makes of the far end from n samples.
func (c *Canceller) subtract(n int) {
	fg, bg := c.fg[:c.taps], c.bg[:c.taps]
	put := func(i int, f, b int32) {
		d := int32(c.near[i]) << 14
		c.rest[i], c.back[i] = (d-f)>>10, (d-b)>>10
	}
	i, end := c.n, c.n+n
	for ; i+4 <= end; i += 4 {
		f, b := filter4(fg, bg, c.far[maxTaps+i+1-c.taps:maxTaps+i+4])
		for k := range 4 {
			put(i+k, f[k], b[k])
		}
	}
	for ; i < end; i++ {
		f, b := filter(fg, bg, c.far[maxTaps+i+1-c.taps:maxTaps+i+1])
		put(i, f, b)
	}
}

// filter is what two patterns make of x, which is as long. Sums may wrap on
// the way: what counts is that the result fits, and it does while an echo is
// at most four times full scale.
func filter(fg, bg, x []int16) (f, b int32) {
	for i, v := range x {
		f += int32(v) * int32(fg[i])
		b += int32(v) * int32(bg[i])
	}
	return f, b
}

// filter4 is that for four samples, one after the other: x is longer by
// three. Each number is fetched once for all.
func filter4(fg, bg, x []int16) (f, b [4]int32) {
	var f0, f1, f2, f3, b0, b1, b2, b3 int32
	for len(fg) >= 8 && len(bg) >= 8 && len(x) >= 11 {
		g, h, v := (*[8]int16)(fg), (*[8]int16)(bg), (*[11]int16)(x)
		x0, x1, x2, x3 := int32(v[0]), int32(v[1]), int32(v[2]), int32(v[3])
		x4, x5, x6, x7 := int32(v[4]), int32(v[5]), int32(v[6]), int32(v[7])
		x8, x9, x10 := int32(v[8]), int32(v[9]), int32(v[10])
		t := int32(g[0])
		f0, f1, f2, f3 = f0+x0*t, f1+x1*t, f2+x2*t, f3+x3*t
		t = int32(h[0])
		b0, b1, b2, b3 = b0+x0*t, b1+x1*t, b2+x2*t, b3+x3*t
		t = int32(g[1])
		f0, f1, f2, f3 = f0+x1*t, f1+x2*t, f2+x3*t, f3+x4*t
		t = int32(h[1])
		b0, b1, b2, b3 = b0+x1*t, b1+x2*t, b2+x3*t, b3+x4*t
		t = int32(g[2])
		f0, f1, f2, f3 = f0+x2*t, f1+x3*t, f2+x4*t, f3+x5*t
		t = int32(h[2])
		b0, b1, b2, b3 = b0+x2*t, b1+x3*t, b2+x4*t, b3+x5*t
		t = int32(g[3])
		f0, f1, f2, f3 = f0+x3*t, f1+x4*t, f2+x5*t, f3+x6*t
		t = int32(h[3])
		b0, b1, b2, b3 = b0+x3*t, b1+x4*t, b2+x5*t, b3+x6*t
		t = int32(g[4])
		f0, f1, f2, f3 = f0+x4*t, f1+x5*t, f2+x6*t, f3+x7*t
		t = int32(h[4])
		b0, b1, b2, b3 = b0+x4*t, b1+x5*t, b2+x6*t, b3+x7*t
		t = int32(g[5])
		f0, f1, f2, f3 = f0+x5*t, f1+x6*t, f2+x7*t, f3+x8*t
		t = int32(h[5])
		b0, b1, b2, b3 = b0+x5*t, b1+x6*t, b2+x7*t, b3+x8*t
		t = int32(g[6])
		f0, f1, f2, f3 = f0+x6*t, f1+x7*t, f2+x8*t, f3+x9*t
		t = int32(h[6])
		b0, b1, b2, b3 = b0+x6*t, b1+x7*t, b2+x8*t, b3+x9*t
		t = int32(g[7])
		f0, f1, f2, f3 = f0+x7*t, f1+x8*t, f2+x9*t, f3+x10*t
		t = int32(h[7])
		b0, b1, b2, b3 = b0+x7*t, b1+x8*t, b2+x9*t, b3+x10*t
		fg, bg, x = fg[8:], bg[8:], x[8:]
	}
	return [4]int32{f0, f1, f2, f3}, [4]int32{b0, b1, b2, b3}
}

// lesson is done when a frame is full.
func (c *Canceller) lesson() {
	far, near := energy(c.far[maxTaps:]), energy(c.near[:])
	c.disabler.hear(c.far[maxTaps:], c.near[:], far, near)
	if c.disabler.off {
		c.judge.better, c.judge.worse = 0, 0
		c.learner.hush()
		return
	}
	c.adapt(far, near)
	c.suppressor.turn(&c.rest, c.judge.least, c.judge.bare)
}

// energy is the sum of the squares of a frame.
func energy(s []int16) (e uint64) {
	for i := 0; i+1 < len(s); i += 2 {
		e += uint64(uint32(int32(s[i])*int32(s[i])) + uint32(int32(s[i+1])*int32(s[i+1])))
	}
	return e
}

// energy4 is that of samples in Q4, as if they were not.
func energy4(s []int32) (e uint64) {
	for _, x := range s {
		x = max(x, -x)
		e += uint64(uint32(x)) * uint64(uint32(x))
	}
	return e >> 8
}

// Stats is how well a Canceller does.
type Stats struct {
	ERL  int // echo return loss of the line as it was learnt, dB; 99 is no echo
	ERLE int // what the canceller took away of late while only the far end spoke, without the NLP, dB

	Disabled bool // by 2100 Hz with phase reversals
	Linear   bool // the NLP is, by 2100 Hz

	Changes int // how often the line was found to be another
}

// Stats may be asked by the goroutine the Canceller belongs to.
func (c *Canceller) Stats() Stats {
	s := Stats{Disabled: c.disabler.off, Linear: c.disabler.linear, Changes: c.judge.changes}
	s.ERL = int(min((28*octave-power64(energy(c.fg[:])))/dB, 99))
	s.ERLE = int(max((power64(uint64(c.judge.came))-power64(uint64(c.judge.left)))/dB, 0))
	return s
}
