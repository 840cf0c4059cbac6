package outbound

import (
	"math"
	"time"
)

// From standards.
const (
	t1      = 500 * time.Millisecond // RFC 3261 section 17.1.1.1: T1, the estimate where nothing is known
	t2      = 4 * time.Second        // RFC 3261 section 17.1.2.2: T2
	timerF  = 64 * t1                // RFC 3261: timers B and F
	shortT1 = t1 / 2                 // the least: a registrar is given 200 ms for a 100 Trying (section 17.2.1)
	longT1  = 4 * t1                 // the most: "If the RTT is larger, T1 SHOULD be configured larger"
)

// Of our own choosing.
const (
	fewest   = 3                      // transmissions that must go unanswered before an address is doubted at all
	untilNow = 0.25                   // the loss of a way that nothing is known of: as bad as radio at its worst
	leastWay = 0.03                   // nor is any better than this: five questions in vain are then one in 10^7
	worstWay = 0.7                    // beyond this a telephone is no use and the address may as well be dead
	lossGain = 1.0 / 16               // of the smoothed loss: five minutes of keep-alives
	certain  = 1e-7                   // how often a keep-alive may call a living address dead
	likely   = 1e-4                   // how often a request may: there are fewer of those
	longest  = 10 * time.Second       // for a proof: with a keep-alive of 15 s a death is known within 30 s
	crowded  = 20 * time.Second       // and in a fleet: shorter, and those who are well at the survivors leave them when they are full (docs/fleet.md)
	oftenest = 100 * time.Millisecond // between the questions of a proof: half of what a server may take to answer, with more of them
	hurried  = 4 * time.Second        // who asks seldom lets a proof take this long at least: a proxy may stand still for a while
	lately   = 3 * time.Minute        // how long an answer to a probe makes an address known to be alive

	quarantine    = 30 * time.Second // after a failure an address is the last to be tried for this long, doubling
	maxQuarantine = 10 * time.Minute

	goodRun  = 3           // answers in a row, without one missed,
	goodTime = time.Minute // and over this time, before a line goes back to an address
	minDwell = time.Minute // how long a line stays at least before it goes back, doubling for an address that flaps
	maxFlaps = 6           // doublings: an hour and four minutes
	steady   = time.Hour   // an address that held this long did not flap
)

// Health is what is known of one address. The zero Health is nothing.
type Health struct {
	Good time.Time     // its last good answer
	RTT  time.Duration // how long those take, smoothed; 0: not measured
	Dev  time.Duration // and by how much that varies: RTTVAR of RFC 6298
	Loss float64       // the part of questions that get no answer though it lives, smoothed; 0: not measured

	Failed  time.Time // its last failure
	Failure Failure   // and what that was
	Bad     bool      // the failure came after the good answer
	Fails   int       // failures since then
	Out     time.Time // in quarantine until then: the last to be tried in a tour
	Held    time.Time // it asked to be left alone until then (Retry-After)
	Aside   time.Time // the line does not go back to it before then
	Flaps   int       // how often in a row it did not hold for an hour

	missed int       // questions unanswered since the last answer
	probed bool      // it is probed while the line is elsewhere
	run    int       // answers in a row while the line is elsewhere
	ran    time.Time // when that run began
}

// answer takes an answer to heart, and how long it took: 0 is not measured,
// which is right when it is not known which of several questions it answers.
func (h *Health) answer(now time.Time, rtt time.Duration) {
	h.Good, h.Bad, h.Fails, h.Out, h.Held = now, false, 0, time.Time{}, time.Time{}
	h.lose(h.missed, 1)
	h.missed = 0
	h.measure(rtt)
}

// measure smoothes a round-trip time as RFC 6298 section 2 says.
func (h *Health) measure(rtt time.Duration) {
	switch {
	case rtt <= 0:
	case h.RTT == 0:
		h.RTT, h.Dev = rtt, rtt/2
	default:
		h.Dev += ((h.RTT - rtt).Abs() - h.Dev) / 4
		h.RTT += (rtt - h.RTT) / 8
	}
}

// lose smoothes the loss. Only questions to an address that has answered since
// count: what a dead one did not answer was not lost.
func (h *Health) lose(lost, answered int) {
	if h.Loss == 0 {
		h.Loss = untilNow
	}
	for range min(lost, 64) {
		h.Loss += (1 - h.Loss) * lossGain
	}
	for range answered {
		h.Loss -= h.Loss * lossGain
	}
}

// fail takes a failure to heart.
func (h *Health) fail(now time.Time, f Failure) {
	h.Failed, h.Failure, h.Bad = now, f, true
	h.Out = now.Add(min(quarantine<<min(h.Fails, 8), maxQuarantine))
	h.Fails++
	h.missed, h.run = 0, 0
	if f.RetryAfter > 0 {
		h.Held = now.Add(min(f.RetryAfter, maxHold))
	}
}

// heard notes an answer to a probe, for going back to it.
func (h *Health) heard(now time.Time) {
	if h.run == 0 {
		h.ran = now
	}
	h.probed = true
	h.run++
}

// proven reports whether what a failure did not get an answer to is enough to
// call the address dead. Unanswered questions add up until there is an answer.
func (h *Health) proven(f Failure) bool {
	if f.Cause != NoAnswer || f.Code != 0 || f.Tries == 0 || h.Good.IsZero() || h.Bad {
		return true
	}
	h.missed += f.Tries
	return h.missed >= h.enough(likely)
}

// enough is how many questions in a row must go unanswered so that chance alone
// does that no more often than odds says.
func (h *Health) enough(odds float64) int {
	way := h.Loss
	if way == 0 {
		way = untilNow
	}
	way = min(max(way, leastWay), worstWay)
	return max(fewest, int(math.Ceil(math.Log(odds)/math.Log(way))))
}

// t1 is the time after which an answer is overdue: RTO of RFC 6298.
func (h *Health) t1() time.Duration {
	if h.RTT == 0 {
		return t1
	}
	return min(max(h.RTT+4*h.Dev, shortT1), longT1)
}

// welcome reports whether the line may go back to this address now.
func (h *Health) welcome(now time.Time) bool {
	switch {
	case h.Aside.After(now), h.Held.After(now):
		return false
	case h.probed:
		return !h.Bad && h.run >= goodRun && now.Sub(h.ran) >= goodTime
	case h.Bad:
		return !h.Out.After(now) // nobody probes it: it is only found out by trying
	}
	return true
}

// state is what people are told of an address that is not in use.
func (h *Health) state(now time.Time) string {
	switch {
	case h.Held.After(now):
		return "held"
	case h.Bad:
		return "failed"
	case !h.Good.IsZero():
		return "good"
	}
	return "unknown"
}

// A Pace says how a request is sent to an address: again after T1, then after
// twice that and so on, never more than T2 apart, and given up when Quiet has
// passed without any response.
type Pace struct{ T1, T2, Quiet time.Duration }
