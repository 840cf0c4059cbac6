package echo

import "math/bits"

// The line is learnt in parts of two frames: a part and the frame that teaches
// it fit into the transform, and the far end's spectrum of two frames ago is
// that of the next part.
const (
	part  = 2 * frame
	parts = (maxTaps + part - 1) / part

	// overlap is the share of the transform that a frame fills, 80/256.
	overlap = -1718 * octave / 1024
)

// Of our own choosing, by trial on the signals of G.168 and on speech in five
// languages.
const (
	// Theory takes a frequency's doubt to fall by the share of a step that
	// is not overlap. But neighbours of a frequency hide in it, and voices
	// leave out much: learning from speech would stop 30 dB too soon. A
	// tenth of that is safe.
	slow = -10 * dB
	// Less doubt than this is less than 16 bits can show.
	leastDoubt = -75 * dB
	// What a near end raised falls by so much in a frame. Faster, the gaps
	// between syllables are taken for its end.
	fall = 2 * dB
	// The rounding of Sin is there whoever is silent: 80 samples of a
	// twelfth, and as much again that was rounded before.
	rounding = 4 * octave
	// Two peaks that leave less of the energy than a fiftieth to the rest
	// of the spectrum are tones.
	sliver = 50
)

// A learner finds the line from its echoes.
type learner struct {
	parts int                 // in use
	long  [parts * part]int32 // the background, Q29

	doubt [parts][bins]level // how wrong the background may be; 0 is as loud as the far end
	other [bins]level        // power of what doubt does not explain

	far [2*parts - 1]spectre // of the frames, far[at] the newest
	at  int

	hushed bool // far is empty
}

// A spectre is a spectrum and its powers.
type spectre struct {
	x   [bins]complex32
	pow [bins]level
}

// of is the far end's spectrum as part p has it.
func (l *learner) of(p int) *spectre {
	i := l.at + 2*p
	if i >= len(l.far) {
		i -= len(l.far)
	}
	return &l.far[i]
}

// hush is for a frame in which the far end is not listened to: what comes
// after it does not follow what was before.
func (l *learner) hush() {
	if !l.hushed {
		clear(l.far[:])
		l.hushed = true
	}
}

// listen takes the last 32 ms of the far end.
func (l *learner) listen(far []int16) {
	l.hushed = false
	if l.at--; l.at < 0 {
		l.at = len(l.far) - 1
	}
	s := l.of(0)
	var x [points]int32
	for i, v := range far[:points] {
		x[i] = int32(v)
	}
	spectrum(&s.x, &x)
	for k, v := range &s.x {
		s.pow[k] = square(v.re, v.im)
	}
}

// learn takes what the background has left of a frame, Q4, and says whether
// it changed the background.
func (l *learner) learn(rest *[frame]int32) bool {
	// The loudest sample is brought to 15 bits.
	top := int32(1)
	for _, x := range rest {
		top = max(top, x, -x)
	}
	up := 16 - bits.Len32(uint32(top))
	var buf [points]int32
	for i, x := range rest {
		buf[points-frame+i] = shift(x, up)
	}
	up += 4
	var e [bins]complex32
	spectrum(&e, &buf)

	// What is there in each frequency, real and possible.
	var heard, all [bins]level
	unit := level(up) * 2 * octave
	for k, v := range &e {
		h := square(v.re, v.im) - unit
		heard[k] = h
		h = max(h, l.other[k]-fall, rounding)
		l.other[k], all[k] = h, h
	}
	for p := range l.parts {
		far, doubt := &l.of(p).pow, &l.doubt[p]
		for k, f := range far {
			all[k] = plus(all[k], f+doubt[k]+overlap)
		}
	}

	// The step of each frequency and part is doubt over that.
	var gain [parts][bins]level
	loudest := nothing
	for p := range l.parts {
		far, doubt, gain := &l.of(p).pow, &l.doubt[p], &gain[p]
		for k, f := range far {
			d := doubt[k]
			g := d + overlap - all[k]
			gain[k] = g
			loudest = max(loudest, 2*g+f+heard[k])
			doubt[k] = max(d+less(g+f+overlap+slow), leastDoubt)
		}
	}

	// The step itself has 16 bits at its loudest frequency.
	q := 16 - int(loudest/2/octave)
	if q > 60 { // nothing to learn
		return false
	}
	for p := range l.parts {
		far, gain := l.of(p), &gain[p]
		var step [bins]complex32
		for k, x := range &far.x {
			// The far end's conjugate times e times gain: each brought to
			// 14 bits first.
			a, b := 13-int(far.pow[k]/2/octave), 13-int((heard[k]+unit)/2/octave)
			x.re, x.im = shift(x.re, a), shift(x.im, a)
			y := complex32{shift(e[k].re, b), shift(e[k].im, b)}
			g := gain[k]
			m, s := int32(exps[g&(octave-1)>>2]), int(g>>10)-1-a-b-up+q
			step[k].re = shift((x.re*y.re+x.im*y.im)>>14*m, s)
			step[k].im = shift((x.re*y.im-x.im*y.re)>>14*m, s)
		}
		samples(&buf, &step)
		long := l.long[p*part:][:part]
		for i := range long {
			long[i] = min(max(long[i]+shift(buf[i], 29-7-q), -1<<30), 1<<30)
		}
	}
	return true
}

// shift is x times 2^n, rounded.
func shift(x int32, n int) int32 {
	if n >= 0 {
		return x << n
	}
	return (x>>min(-n-1, 31) + 1) >> 1
}

// round makes the background's pattern of what was learnt.
func (c *Canceller) round() {
	bg := c.bg[:c.taps]
	for i := range bg {
		bg[len(bg)-1-i] = int16(min(max((c.long[i]+1<<14)>>15, -32768), 32767))
	}
}

// tonal says whether a far end is only a tone or two.
func tonal(x *[bins]complex32) bool {
	// Amplitudes under a Hann window, so that a tone is three bins wide.
	var amp [2 + bins + 2]int32
	top := int32(0)
	for k := 1; k < bins-1; k++ {
		re := x[k].re - (x[k-1].re+x[k+1].re)>>1
		im := x[k].im - (x[k-1].im+x[k+1].im)>>1
		a := magnitude(re, im)
		amp[k+2] = a
		top = max(top, a)
	}
	down := max(bits.Len32(uint32(top))-11, 0)
	sum := int32(0)
	for k, a := range &amp {
		a >>= down
		amp[k] = a * a
		sum += amp[k]
	}
	left := sum
	for range 2 {
		at := 2
		for k, a := range amp[:2+bins] {
			if a > amp[at] {
				at = k
			}
		}
		for k := at - 2; k <= at+2; k++ {
			left -= amp[k]
			amp[k] = 0
		}
	}
	return left < sum/sliver
}
