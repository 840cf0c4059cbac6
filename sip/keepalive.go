package sip

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// Numbers of our own choice.
const (
	// The keep-alive's interval is drawn from this part of what is configured
	// up to all of it, so that from fault to registration elsewhere there are
	// never more than the interval and proofTime.
	keepAliveFrom = 0.85

	// proofTime is what a silent address gets to prove that it lives. Meanwhile
	// it is asked again every proofAgain, each time with the repetitions that
	// RFC 3261 has for lost datagrams: ten in all. With one in five lost each
	// way, one proof in 30,000 fails.
	proofTime  = 4 * time.Second
	proofAgain = time.Second

	// While no address takes the registration, all are asked for a sign of
	// life every probeFrom to probeTo, and after probeLong less and less often.
	probeFrom, probeTo = 2 * time.Second, 4 * time.Second
	probeLong          = 3 * time.Minute
	probeSlow          = 30 * time.Second
	probeTime          = 2 * time.Second // for an answer

	calm = 2 * time.Second // between two registrations, when the first one's connection was lost
)

// stay keeps a registration alive until it is time to register again: to
// refresh, then it returns true; or elsewhere, because via is silent or the
// route has moved, then it returns false.
//
// home is where the route pointed when via was chosen; mostly it is via.
func (l *Line) stay(ctx context.Context, via, home outbound.Target, granted time.Duration) bool {
	began := time.Now()
	refresh := time.NewTimer(l.part(granted, refreshFrom, refreshTo))
	defer refresh.Stop()
	for {
		moved := l.route.Moved()
		if at, ok := l.route.Current(); ok && at != via && at != home {
			return false
		}
		ask := time.NewTimer(l.part(l.cfg.KeepAlive, keepAliveFrom, 1))
		lives := true
		select {
		case <-ctx.Done():
			return false
		case <-refresh.C:
			return true
		case <-moved: // whereto is seen above
		case f := <-l.faults:
			switch {
			case f.Addr != via.Addr || f.Kind == transport.OwnSide:
			case f.Kind == transport.Lost || f.Kind == transport.TLSFailed:
				// The flow is the registration (RFC 5626): a new one, here if
				// possible, but not in a circle with a proxy that always hangs up.
				sleep(ctx, calm-time.Since(began))
				return true
			default:
				// An ICMP error can be forged: the address gets to speak for
				// itself, and if it is true, the answer to that is another one.
				lives = l.alive(ctx, via, moved)
			}
		case <-ask.C:
			lives = l.cfg.KeepAliveBy == "off" || l.alive(ctx, via, moved)
		}
		ask.Stop()
		if !lives {
			return false
		}
	}
}

// alive asks via for a sign of life and gives it proofTime. If there is none
// it moves the route and returns false. It returns early and true when the
// route moves meanwhile.
func (l *Line) alive(ctx context.Context, via outbound.Target, moved <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	began := time.Now()
	signs := make(chan error, int(proofTime/proofAgain)+1)
	waiting, asked := 0, 0
	ask := func() {
		waiting, asked = waiting+1, asked+1
		l.spawn(func() { signs <- l.ping(ctx, via, proofTime-time.Since(began)) })
	}
	again := time.NewTicker(proofAgain)
	defer again.Stop()
	ask()
	var err error
	for {
		select {
		case err = <-signs:
			if waiting--; err == nil {
				l.route.Good(via, rtt(began, asked))
				return true
			}
			var fault transport.Fault
			if !errors.As(err, &fault) && waiting > 0 {
				continue
			}
		case <-again.C:
			if time.Since(began) < proofTime {
				ask()
			}
			continue
		case <-moved:
			return true
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return true
			}
			err = txn.ErrNoAnswer
		}
		break
	}
	f := failureOf(sip.OPTIONS, began, nil, err)
	verdict := outbound.Judge(f)
	next, _ := l.route.Next(via, f)
	l.log.Warn("keep-alive failed", "line", l.cfg.Name, "via", via.Dest, "error", f, "next", next.Dest)
	if verdict == outbound.Wait {
		return true // a pulled cable is not the proxy's fault, and asked again soon enough
	}
	l.set("registering", via, f, ProxyProblem)
	l.tell(Failed{l, via, f})
	return false
}

// rtt is how long an answer took, if it is known which question it answers.
func rtt(began time.Time, asked int) time.Duration {
	if asked > 1 {
		return 0
	}
	return time.Since(began)
}

// ping asks once, in the way that is configured. Any answer is life, unless
// outbound.Judge knows better.
func (l *Line) ping(ctx context.Context, via outbound.Target, limit time.Duration) error {
	switch l.cfg.KeepAliveBy {
	case "crlf":
		return l.layer.Transport().Ping(ctx, via, transport.CRLF)
	case "stun":
		return l.layer.Transport().Ping(ctx, via, transport.STUN)
	}
	_, code, err := l.options(ctx, via, limit)
	if f := (outbound.Failure{Method: string(sip.OPTIONS), Code: code}); err == nil && outbound.Judge(f) == outbound.Move {
		return f
	}
	return err
}

// options sends an OPTIONS to the proxy itself. It returns how long the answer
// took and its status.
func (l *Line) options(ctx context.Context, via outbound.Target, limit time.Duration) (time.Duration, int, error) {
	if limit <= 0 {
		return 0, 0, txn.ErrNoAnswer
	}
	began := time.Now()
	local, err := l.reach(ctx, via, limit)
	if err != nil {
		return 0, 0, err
	}
	req := sip.NewRequest(sip.OPTIONS, l.domain)
	l.head(req, sip.FromHeader{Address: l.me(), Params: params("tag", dialog.Tag())}, sip.ToHeader{Address: l.domain}, dialog.Tag(), dialog.FirstCSeq)
	req.AppendHeader(&sip.ContactHeader{Address: l.contactURI(local, l.contactAddr(local))})
	req.AppendHeader(sip.NewHeader("Accept", sdpType))
	res, err := l.layer.Do(ctx, via, req, limit)
	if err != nil {
		return 0, 0, err
	}
	return time.Since(began), res.StatusCode, nil
}

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
		look = l.lookout(ctx, 0)
	case AccountProblem:
		look = l.lookout(ctx, probeSlow)
	}
	moved := l.route.Moved()
	select {
	case found = <-look:
	case <-moved:
		// Whoever gave a sign of life has moved it, or somebody else.
		movedOn = true
		if at, ok := l.route.Current(); ok {
			l.mu.Lock()
			if l.lives == at {
				found = at
			}
			l.mu.Unlock()
		}
	case <-ctx.Done():
	}
	return found, movedOn
}

// lookout asks all addresses for a sign of life, first after some time and then
// again and again until ctx ends, and delivers those that give one.
func (l *Line) lookout(ctx context.Context, first time.Duration) <-chan outbound.Target {
	found := make(chan outbound.Target, 1)
	began := time.Now()
	l.spawn(func() {
		if first > 0 && !sleep(ctx, first) {
			return
		}
		busy := map[outbound.Target]bool{} // answered 503 the last time
		for {
			l.probe(ctx, busy, found)
			gap := l.between(probeFrom, probeTo)
			if over := time.Since(began) - probeLong; over > 0 {
				gap = min(gap+over/4, probeSlow)
			}
			if !sleep(ctx, max(gap, first)) {
				return
			}
		}
	})
	return found
}

// probe sends one OPTIONS to every address and does not wait. busy is guarded
// by l.mu.
func (l *Line) probe(ctx context.Context, busy map[outbound.Target]bool, found chan<- outbound.Target) {
	for _, t := range l.route.Targets() {
		l.spawn(func() {
			rtt, code, err := l.options(ctx, t, probeTime)
			if err != nil {
				return
			}
			l.mu.Lock()
			was := busy[t]
			if busy[t] = code == 503; !busy[t] {
				l.lives = t
			}
			l.mu.Unlock()
			// The route knows who was silent; that a 503 is over is seen here.
			if code != 503 && (was || l.route.Alive(t, rtt)) {
				select {
				case found <- t:
				default:
				}
			}
		})
	}
}
