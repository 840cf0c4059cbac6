package fleet

import "time"

// A proxy is a server with a queue in front of it: first come, first served.
// No two messages take the same time: where they do, a queue that is full gives
// its places to whoever keeps step with it.
type proxy struct {
	second float64 // what one message costs, in seconds
	shed   time.Duration
	down   bool          // nobody answers
	closed bool          // its host says so
	busy   time.Duration // it has work until then
	asked  int           // REGISTERs in this second
	chance func() float64
}

// What comes of a message.
type fate uint8

const (
	lost    fate = iota // nothing
	served              // the response it should get
	refused             // ICMP, RST: its host says that nobody listens
	shedded             // 503
)

// ask puts a message that costs so many REGISTERs into the queue, and says what
// comes of it and when the sender knows.
func (p *proxy) ask(now time.Duration, cost float64) (fate, time.Duration) {
	switch {
	case p.closed:
		return refused, now + roundTrip
	case p.down:
		return lost, 0
	case cost == 0:
		return served, now + roundTrip
	}
	p.busy = max(p.busy, now)
	what := served
	switch waits := p.busy - now; {
	case waits > queueTime:
		return lost, 0
	case p.shed > 0 && waits > shedTime:
		what, cost = shedded, cost*shedCost
	}
	p.busy += time.Duration(cost * p.second * (0.5 + p.chance()) * float64(time.Second))
	return what, p.busy + roundTrip
}
