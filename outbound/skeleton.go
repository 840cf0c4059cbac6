package outbound

import (
	"errors"
	"net/netip"
	"time"
)

// A Pace says how a request is sent to an address: again after T1, then after
// twice that and so on, never more than T2 apart, and given up when Quiet has
// passed without any response.
type Pace struct{ T1, T2, Quiet time.Duration }

// Pace returns how a request of this method should be sent to t: quickly where
// t is the address in use and answers quickly, patiently where the line has
// only just come or nothing is known.
func (r *Route) Pace(t Target, method string) Pace {
	return Pace{500 * time.Millisecond, 4 * time.Second, 4 * time.Second}
}

// Patience is Pace(t, "INVITE").Quiet: how long a call waits for any response
// of t before it tries the next address.
func (r *Route) Patience(t Target) time.Duration { return r.Pace(t, "INVITE").Quiet }

// Proof says how an address that has missed a keep-alive may prove that it
// lives: it is asked again and again, and is dead when limit has passed since
// the first question without any answer. every is the keep-alive's interval:
// who asks seldom has time. Each question that went unanswered is reported to
// Missed; so the route learns how lossy the way is and asks more often there.
func (r *Route) Proof(t Target, every time.Duration) (again, limit time.Duration) {
	return time.Second, 4 * time.Second
}

// Missed reports that one question to t got no answer in time. It moves nothing.
func (r *Route) Missed(t Target) {}

// Heard reports that t answered a probe while the line is well elsewhere. It
// makes t known to be good and moves nothing. A line without any good address
// reports to Alive instead.
func (r *Route) Heard(t Target, rtt time.Duration) {}

// Unheard reports that t did not answer a probe while the line is well elsewhere.
func (r *Route) Unheard(t Target, f Failure) {}

// Standby returns which addresses are worth a slow probe while the line is
// well, best first: those it may go back to, and the one it would go to next.
func (r *Route) Standby() []Target { return nil }

// Back says whether it is time to go back to a preferred address, and to which.
// idle: no call is up. refreshing: the line is about to refresh its
// registration. The line then registers there instead, keeping what it has until that
// has worked, and reports to Good or Next as always: Good at that address moves
// the route, Next leaves it where it is and puts off the next attempt.
func (r *Route) Back(idle, refreshing bool) (t Target, ok bool) { return Target{}, false }

// Urge ends a wait that only serves to spread a fleet: somebody has lifted the
// receiver. Whoever waits is woken through Moved and should ask Wait again.
func (r *Route) Urge() {}

// Failover is an order to leave the address in use for another: the next one if
// to is not valid. The line stays there until Failback or a failure.
func (r *Route) Failover(to netip.AddrPort) (Target, error) {
	return Target{}, errors.New("not built yet")
}

// Failback is an order to go back to the most preferred address that is not
// known to be dead.
func (r *Route) Failback() (Target, error) { return Target{}, errors.New("not built yet") }

// A SwitchRecord tells one move of a line from an address that worked to another.
type SwitchRecord struct {
	From, To Target
	Cause    Cause         // of the failure; Asked: an operator; Preferred: failback
	Detail   string        // the same with all that is known of it: "no answer to 9 OPTIONS in 3.2s", a sentence
	At       time.Time     // when the first failure was reported
	Took     time.Duration // until To was good; 0: it is not yet
	Tries    int           // addresses tried until then, To included
	Noticed  string        // what the user noticed; "": nothing is known
}

// Noticed says what the user noticed of the latest switch: "a call was connected 1.2s late".
func (r *Route) Noticed(what string) {}

// History returns the latest switches, at most 64, newest first.
func (r *Route) History() []SwitchRecord { return nil }

// Phase is a number from [0, 1) that belongs to a device for good: what all
// devices do every so often, each does at its own time.
func Phase(device string) float64 { return 0 }
