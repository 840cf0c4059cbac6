package sip

import (
	"context"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

const (
	probeFirst = 2 * time.Second  // how long a registration may be silent after a whole tour has failed, before all are asked
	probeTime  = 2 * time.Second  // for an answer
	probeSlow  = 30 * time.Second // between two rounds where the account is refused
)

// pause waits until a registration may be tried again: when wait is over, when
// the route moves (a call or the operator found something better), or, the
// usual way, when an address gives a sign of life that it did not give before;
// then that address is returned. With an account that is refused there is no
// hurry to find out who lives, and without a link there is nobody to ask.
func (l *Line) pause(ctx context.Context, wait time.Duration, problem Problem) (found outbound.Target, movedOn bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var look <-chan outbound.Target
	switch problem {
	case ProxyProblem:
		look = l.lookout(ctx, outbound.Target{}, 0, 0)
	case AccountProblem:
		look = l.lookout(ctx, outbound.Target{}, probeSlow, probeSlow)
	}
	moved, began := l.route.Moved(), l.where()
	for {
		select {
		case found = <-look:
			return found, true
		case <-moved:
			// Whoever gave a sign of life has moved it, or somebody else; or it
			// was only said that there is no need to wait.
			moved = l.route.Moved()
			at := l.where()
			if at == began && l.route.Wait() > 0 {
				continue
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.lives == at && at != began {
				found = at
			}
			return found, true
		case <-l.news:
			// A call got through. With an account that is refused that says nothing.
			if problem != AccountProblem && l.route.Wait() == 0 {
				return found, true
			}
		case <-l.changed:
			return found, true
		case <-ctx.Done():
			return found, false
		}
	}
}

// where is where the route points.
func (l *Line) where() outbound.Target {
	at, _ := l.route.Current()
	return at
}

// lookout asks all addresses for a sign of life, first after some time and then
// again and again until ctx ends, never more often than least says, and
// delivers those that give one. via is where a registration is under way, or
// nowhere: it is delivered whenever it answers at once.
func (l *Line) lookout(ctx context.Context, via outbound.Target, first, least time.Duration) <-chan outbound.Target {
	found := make(chan outbound.Target, 1)
	l.spawn(func() {
		if first > 0 && !sleep(ctx, first) {
			return
		}
		busy := map[outbound.Target]bool{} // answered 503 the last time
		for {
			l.probe(ctx, via, busy, found)
			if !sleep(ctx, max(l.route.Lookout(), least)) {
				return
			}
		}
	})
	return found
}

// probe sends one OPTIONS to every address and does not wait. busy is guarded
// by l.mu.
func (l *Line) probe(ctx context.Context, via outbound.Target, busy map[outbound.Target]bool, found chan<- outbound.Target) {
	for _, t := range l.route.Targets() {
		l.spawn(func() {
			rtt, code, err := l.optionsAt(ctx, t, outbound.Pace{Quiet: probeTime})
			if err != nil {
				return
			}
			l.mu.Lock()
			was := busy[t]
			if busy[t] = code == 503; !busy[t] {
				l.lives = t
			}
			l.mu.Unlock()
			// The route knows who was silent, and how long a fleet should wait
			// for it; that a 503 is over is seen here.
			if code != 503 && (l.route.Alive(t, rtt) || was || t == via && rtt > 0) {
				if was {
					l.eager.Store(true)
				}
				select {
				case found <- t:
				default:
				}
			}
		})
	}
}
