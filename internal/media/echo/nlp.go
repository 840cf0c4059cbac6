package echo

import "math/bits"

// Of our own choosing.
const (
	// Residual echo may be 18 dB louder than the best of late: voices
	// differ from moment to moment in where the line is known worst.
	residualMargin = 18 * dB
	// The best is believed only so fast, since the next sound may be less
	// well known than the last: 20 dB in a second.
	belief    = dB / 5   // per frame
	bestTrust = -48 * dB // however good the last seconds were
	// Before anything is known, all of the far end may come back.
	worstLine = 0 * dB
	// But what throws nothing back for the length of an echo is no hybrid,
	// and is believed at once. A hybrid's loss at some frequencies may be so
	// much more than at others.
	bareMargin = 28 * dB
	// The mean of |e| over 2 ms is compared with the peak of the far end,
	// for which 64 ms of the past count. Speech peaks 9 dB over its mean.
	meanShift, peakShift = 4, 9
	crest                = -9 * dB
	// What is louder than an echo can be is heard within 1 ms, and for
	// 20 ms after it; then comes the noise, within 4 ms.
	hang       = 160
	open, shut = 32, 8 // of 256, per sample
	// Where echo can be no louder than this, there is nothing to hide.
	faint = 8 // Q4

	// The near end's noise is the least that its loudness, over about
	// 80 ms, has been in the last 1.5 s, and 0.7 dB, since noise has its
	// own ups and downs.
	smoothing   = 8
	span, spans = 25, 6 // frames, and how many of them
	ups         = 7 * dB / 10
	// No comfort is louder than -31 dBm0.
	loudest = 24 * octave
)

// A suppressor puts noise in the place of residual echo.
type suppressor struct {
	trust level // residual that is thought possible, against the far end
	ratio int32 // the mean of what may be echo, against the far end's peak, Q15
	peak  int32 // of the far end
	mean  int32 // of |e|, Q4 of a sample
	hold  int   // samples for which the near end is still heard
	gain  int32 // of the near end, 0 to 256

	smooth int64        // energy of a frame, over about 80 ms
	lows   [spans]level // the least in each span
	low    int          // frames in this span
	same   int32        // product of neighbours against energy, Q15, in noise
	loud   int32        // amplitude of the white noise, Q8
	colour int32        // each sample has so much of the last, Q15
	seed   uint32
	last   int32 // noise, Q8
}

// suppress makes samples of rest, Q4, replaced where they are not louder than
// echo may be.
func (c *Canceller) suppress(out, far []int16, rest []int32) {
	s := &c.suppressor
	linear := c.keep || c.disabler.linear
	for i := range out {
		x := int32(far[i])
		s.peak = max(s.peak-(s.peak+511)>>peakShift, x, -x)
		e := min(max(rest[i], -1<<19), 1<<19-16)
		s.mean += (max(e, -e) - s.mean) >> meanShift
		e = (e + 8) >> 4
		if linear {
			out[i] = int16(e)
			continue
		}
		switch limit := s.limit(); {
		case s.mean <= limit:
			s.hold--
		case limit < faint:
			s.hold = 1
		default:
			s.hold = hang
		}
		if s.hold > 0 {
			s.gain = min(s.gain+open, 256)
		} else {
			s.hold = 0
			s.gain = max(s.gain-shut, 0)
		}
		if s.gain < 256 {
			e = (e*s.gain + s.noise()*(256-s.gain)>>8 + 128) >> 8
		}
		out[i] = int16(min(max(e, -32768), 32767))
	}
}

// noise is a sample, Q8, of the near end's noise.
func (s *suppressor) noise() int32 {
	s.seed = s.seed*1664525 + 1013904223
	white := int32(s.seed) >> 16 * (s.loud >> 4) >> 11 // even between -loud and loud
	s.last = min(max(white+s.last>>7*s.colour>>8, -1<<22), 1<<22)
	return s.last
}

// turn ends a frame: least is the best residual of late, bare the least that came
// from the line.
func (s *suppressor) turn(rest *[frame]int32, least, bare level) {
	if s.limit() > faint {
		s.trust = max(min(s.trust-belief, bare+bareMargin), min(least, worstLine), bestTrust)
	}
	s.ratio = amplitude(min(s.trust+residualMargin, worstLine)+crest, 15)

	// Only what is clearly not echo tells how loud the near end's noise is; what
	// may be echo tells how loud it is at most.
	certain := s.mean >= 2*s.limit()
	var sum, next int64
	for i, e := range rest[:frame-1] {
		e = min(max(e>>2, -1<<15), 1<<15)
		n := min(max(rest[i+1]>>2, -1<<15), 1<<15)
		sum += int64(e * e >> 4)
		next += int64(e * n >> 4)
	}
	if s.smooth += (sum - s.smooth) / smoothing; s.smooth > 8*sum {
		s.smooth = 8 * sum // a note has ended: noise has no such ups and downs
	}
	now := power64(uint64(s.smooth))
	if s.seed == 0 { // the first
		if !certain {
			return
		}
		s.seed, s.smooth = 1, sum
		now = power64(uint64(sum))
		for i := range s.lows {
			s.lows[i] = now
		}
	}
	s.lows[0] = min(s.lows[0], now)
	floor := s.lows[0]
	for _, l := range s.lows {
		floor = min(floor, l)
	}
	if certain {
		if s.low++; s.low == span {
			s.low = 0
			copy(s.lows[1:], s.lows[:])
			s.lows[0] = now
		}
	}
	if certain && power64(uint64(sum)) < floor+6*dB && sum > 0 {
		n := max(bits.Len64(uint64(sum))-15, 0)
		s.same += (int32(next>>n)<<15/int32(sum>>n) - s.same) / 16
		s.same = min(max(s.same, -30000), 30000)
	}
	s.paint(min(floor+ups, loudest))
}

// limit is what the mean of |e| may be while it is echo, Q4.
func (s *suppressor) limit() int32 { return s.peak * s.ratio >> 11 }

// paint sets the noise to an energy per frame and to the colour of what was
// heard.
func (s *suppressor) paint(energy level) {
	s.colour = s.same
	// White noise even between -a and a has a power of a²/3; the colour
	// makes it louder by 1/(1-colour²).
	white := uint32(1<<15 - s.colour*s.colour>>15)
	s.loud = amplitude(energy+powerOf(3*white)-15*octave-powerOf(frame-1), 8)
}

// amplitude is the root of a power, in Q q.
func amplitude(l level, q int) int32 {
	l = l/2 + level(q)*octave
	return shift(int32(exps[l&(octave-1)>>2]), int(l>>10)-15)
}
