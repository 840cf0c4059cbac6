package echo

// Of our own choosing, by trial on the same signals.
const (
	// Below this the far end teaches nothing: 80 samples of 57, -51 dBm0.
	quietFar = 18 * octave
	// A frame is loud that is within 10 dB of the loudest whose echo may
	// still come. Only loud ones are compared.
	loudness = 10 * dB

	// The background is better with 1 dB less error three times running,
	// and worse with 3 dB more.
	proofs = 3

	// The line may be another when the residual has been 12 dB over its
	// best for eight frames; the best is forgotten by 1 dB in a second.
	suspicion  = 12 * dB
	suspicions = 8
	forgetting = dB / 100 // per frame
	// Doubt is then 6 dB over what the residual shows, since it is not
	// even over frequencies.
	trialDoubt = 6 * dB
	trialTime  = 32 // loud frames
	// It is another when the background is 6 dB better than the foreground
	// ten times running. In double talk it would have to foretell the near
	// end: of two voices on vowels of like pitch it does, by 5 dB, until one
	// of them speaks another.
	trialProofs = 10
	// A residual louder than that, against the far end, is no echo.
	mostEcho = 3 * dB
	// After a trial in vain there is a pause, twice as long each time.
	minPause, maxPause = 10, 160 // frames

	// The best residual that is asked of a line: below, rounding decides.
	bestResidual = -60 * dB
	// At this residual half the lessons are enough.
	goodResidual = -54 * dB
)

// A judge decides which filter is heard. It counts in frames in which the far
// end speaks.
type judge struct {
	farPow [maxTaps/frame + 2]level // of the frames whose echo may come now, in turns
	farAt  int

	least      level // the best residual of late, against the far end
	bare       level // the least that came from the line at all, against the same
	came, left int64 // energies before and after the foreground, over about 30 loud frames

	better, worse int                // frames running
	odd           int                // loud frames with far more than the least residual
	trial         int                // loud frames that are left of one; 0: there is none
	pause, wait   int                // until the next trial may be; after the next in vain
	kept          [parts][bins]level // doubt from before the trial

	lessons int
	changes int // trials that were right
}

func (j *judge) init() {
	j.least, j.bare, j.wait = -nothing, -nothing, minPause
	for i := range j.farPow {
		j.farPow[i] = nothing
	}
}

// extremes takes the energy of the far end in a frame and gives the levels of
// the loudest and the softest frame whose echo may come now.
func (j *judge) extremes(now level, taps int) (loudest, softest level) {
	window := taps/frame + 2
	if j.farAt++; j.farAt >= window {
		j.farAt = 0
	}
	j.farPow[j.farAt] = now
	loudest, softest = now, now
	for _, p := range j.farPow[:window] {
		loudest, softest = max(loudest, p), min(softest, p)
	}
	return loudest, softest
}

// adapt takes the lesson of a frame, given the energies of its two sides, and
// judges the filters by how they did before it.
func (c *Canceller) adapt(farEnergy, nearEnergy uint64) {
	j := &c.judge
	now := power64(farEnergy)
	far, all := j.extremes(now, c.taps)
	if far < quietFar {
		c.learner.hush()
		return
	}
	j.bare += forgetting
	if all >= quietFar {
		j.bare = min(j.bare, power64(nearEnergy)-all)
	}

	// With one part only, the spectrum of a lesson skipped is not needed
	// in the next.
	j.lessons++
	skip := j.least < goodResidual && j.trial == 0 && j.odd == 0 && j.lessons&1 == 0
	if !skip || c.learner.parts > 1 {
		c.learner.listen(c.far[maxTaps+frame-points:])
		if tonal(&c.learner.of(0).x) {
			j.better, j.worse = 0, 0
			return
		}
	}
	if !skip && c.learner.learn(&c.back) {
		c.round()
	}

	fg, bg := energy4(c.rest[:]), energy4(c.back[:])
	loud := now > far-loudness
	residual := max(power64(fg)-far, bestResidual)
	if loud {
		j.least = min(j.least+forgetting, residual)
		if residual < j.least+suspicion {
			j.came += (int64(nearEnergy) - j.came) / 32
			j.left += (int64(fg) - j.left) / 32
		}
	}
	switch {
	case j.trial > 0:
		if loud {
			c.try(fg, bg, residual < mostEcho)
		}
		return
	case j.pause > 0:
		j.pause--
	}
	switch {
	case !loud:
	case residual > j.least+suspicion && residual < mostEcho:
		if j.odd++; j.odd >= suspicions && j.pause == 0 {
			c.suspect(residual)
			return
		}
	default:
		if j.odd = max(j.odd-2, 0); j.odd == 0 {
			j.wait = minPause
		}
	}

	switch {
	case bg < fg-fg/5:
		j.worse = 0
		if j.better++; j.better == proofs {
			c.adopt()
		}
	case bg > 2*fg:
		j.better = 0
		if j.worse++; j.worse == proofs {
			c.fallBack()
		}
	default:
		j.better, j.worse = 0, 0
	}
}

// suspect begins a trial.
func (c *Canceller) suspect(residual level) {
	j := &c.judge
	j.odd, j.better, j.trial = 0, 0, trialTime
	j.kept = c.learner.doubt
	d := min(residual+trialDoubt, 0)
	for p := range c.learner.parts {
		for k := range bins {
			c.learner.doubt[p][k] = max(c.learner.doubt[p][k], d)
		}
	}
}

// try goes on with a trial; echo is that the residual may be one.
func (c *Canceller) try(fg, bg uint64, echo bool) {
	j := &c.judge
	if j.better++; bg >= fg/4 || !echo {
		j.better = 0
	}
	j.trial--
	switch {
	case j.better == trialProofs:
		j.changes++
		j.trial, j.wait, j.least, j.bare = 0, minPause, -nothing, -nothing
		c.adopt()
	case j.trial == 0:
		j.pause, j.wait = j.wait, min(2*j.wait, maxPause)
		c.learner.doubt = j.kept
		c.fallBack()
	}
}

// adopt makes the background heard.
func (c *Canceller) adopt() {
	c.fg = c.bg
	c.judge.better = 0
}

// fallBack makes the background what is heard.
func (c *Canceller) fallBack() {
	c.bg = c.fg
	c.judge.better, c.judge.worse = 0, 0
	for i := range c.taps {
		c.learner.long[i] = int32(c.bg[c.taps-1-i]) << 15
	}
}
