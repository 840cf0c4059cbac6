package sip

import (
	"context"
	crand "crypto/rand"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// Of our own choice.
const (
	// A standby is asked every so many keep-alive intervals, and never more
	// often than standbyLeast: what is known of it is for the day it is needed.
	standbyEvery = 4
	standbyLeast = 10 * time.Second

	// The first question comes soon: how long an answer takes is worth knowing.
	standbyFirst = 5 * time.Second

	standbyPatience = 4 * time.Second // for an answer

	spareFirst = 5 * time.Second // after which a second registration is made
	spareAgain = time.Minute     // after one has failed
)

// watch looks after the other addresses while the line is well at via, until
// ctx ends: it asks them now and then, so that the next one is known before it
// is needed and a preferred one is seen to be well again, and where that is
// wanted it holds a second registration.
func (l *Line) watch(ctx context.Context, via outbound.Target) {
	l.spawn(func() {
		wait := l.between(0, standbyFirst)
		every := max(standbyEvery*l.cfg.KeepAlive, standbyLeast)
		for sleep(ctx, wait) {
			var asked sync.WaitGroup
			for _, t := range l.standby(via) {
				asked.Go(func() { l.look(ctx, t) })
			}
			asked.Wait()
			l.nudge()
			wait = l.part(every, 0.75, 1.25)
		}
	})
	if l.cfg.Standby == "register" && l.cfg.InstanceID != "" {
		l.spawn(func() { l.hold(ctx, via) })
	}
}

// standby is whom to ask. With standby "off" those are only preferred
// addresses, which the line may go back to.
func (l *Line) standby(via outbound.Target) []outbound.Target {
	all, some := l.route.Targets(), l.route.Standby()
	here := slices.Index(all, via)
	return slices.DeleteFunc(some, func(t outbound.Target) bool {
		return t == via || l.cfg.Standby == "off" && slices.Index(all, t) > here
	})
}

// look asks an address that is not in use for a sign of life.
func (l *Line) look(ctx context.Context, t outbound.Target) Probed {
	began := time.Now()
	rtt, code, err := l.optionsAt(ctx, t, outbound.Pace{Quiet: standbyPatience})
	p := Probed{Target: t, RTT: rtt, Code: code}
	switch {
	case err != nil:
		f := failureOf(sip.OPTIONS, began, nil, err)
		p.Err = f
		if ctx.Err() == nil && outbound.Judge(f) == outbound.Move {
			f.Tries = sent(outbound.Pace{T1: t1, T2: standbyPatience, Quiet: standbyPatience})
			l.route.Unheard(t, f)
		}
	case code >= 500 && code < 600:
		// It lives; but nobody has to go where that is said.
		f := outbound.Failure{Code: code, Began: began}
		p.Err = f
		l.route.Unheard(t, f)
	default:
		l.route.Heard(t, rtt)
	}
	return p
}

// nudge wakes the line to think again about where it is.
func (l *Line) nudge() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// back goes to a preferred address when the route says that it is time. The
// registration at via is kept until the other one stands, so there is no gap;
// then it is let expire: where both share their knowledge it has been replaced,
// and taking it back would take back the new one.
func (l *Line) back(ctx context.Context, via outbound.Target, refreshing bool) (outbound.Target, time.Duration) {
	idle := l.Status().Calls == 0
	t, ok := l.route.Back(idle, refreshing)
	if !ok || t == via {
		return t, 0
	}
	l.flow.silent = true
	granted, err := l.register(ctx, &l.flow, t, l.route.Pace(t, string(sip.REGISTER)))
	l.flow.silent = false
	if err != nil {
		if ctx.Err() == nil {
			l.route.Next(t, asFailure(err))
		}
		return t, 0
	}
	return t, granted
}

// hold keeps a second registration through another address while the line is
// well at via: RFC 5626 section 4.2. Calls come in through either, and when via
// dies the line can still be called.
func (l *Line) hold(ctx context.Context, via outbound.Target) {
	f := flow{id: "2", callID: crand.Text(), silent: true}
	defer l.spareAt(outbound.Target{})
	var failed []outbound.Target
	wait := l.between(spareFirst/2, spareFirst)
	for sleep(ctx, wait) {
		t, ok := l.spareFor(via, failed)
		if !ok || l.noOutbound(false) {
			failed, wait = nil, spareAgain
			continue
		}
		granted, err := l.register(ctx, &f, t, l.route.Pace(t, string(sip.REGISTER)))
		if err != nil {
			if outbound.Judge(asFailure(err)) == outbound.Move && ctx.Err() == nil {
				l.route.Unheard(t, asFailure(err))
			}
			l.spareAt(outbound.Target{})
			failed = append(failed, t)
			wait = l.between(0, standbyFirst)
			continue
		}
		l.spareAt(t)
		wait = l.alive(ctx, t, l.part(granted, refreshFrom, refreshTo))
	}
	// The line leaves or moves. Where it moves the next second registration
	// has the same reg-id and takes this one's place.
}

// alive asks the second address for signs of life until its registration is to
// be refreshed, and returns how long to wait before that: not at all, or less
// than a moment when it is silent and another is needed.
func (l *Line) alive(ctx context.Context, t outbound.Target, until time.Duration) time.Duration {
	began := time.Now()
	for time.Since(began) < until {
		if !sleep(ctx, min(l.part(l.cfg.KeepAlive, keepAliveFrom, keepAliveTo), until-time.Since(began))) {
			break
		}
		if p := l.look(ctx, t); p.Err != nil {
			break
		}
	}
	return 0
}

// spareFor is the best address for a second registration.
func (l *Line) spareFor(via outbound.Target, failed []outbound.Target) (outbound.Target, bool) {
	for _, t := range append(l.route.Standby(), l.route.Targets()...) {
		if t != via && !slices.Contains(failed, t) {
			return t, true
		}
	}
	return outbound.Target{}, false
}

func (l *Line) spareAt(t outbound.Target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spare = t
}

// A Probed is what came of asking one address.
type Probed struct {
	Target outbound.Target
	RTT    time.Duration // of the answer
	Code   int           // its status; 0: none came
	Err    error         // why it counts for nothing; nil: it is well
}

// Probe asks all addresses for a sign of life, at once, and returns what they
// say, best address first. It takes 4 s if one of them is silent. It changes
// nothing but what is known of them.
func (l *Line) Probe(ctx context.Context) []Probed {
	l.mu.Lock()
	running := l.running
	l.mu.Unlock()
	if !running {
		return nil
	}
	all := l.route.Targets()
	out := make([]Probed, len(all))
	var asked sync.WaitGroup
	for i, t := range all {
		asked.Go(func() { out[i] = l.look(ctx, t) })
	}
	asked.Wait()
	l.nudge()
	return out
}

// Failover is an order to leave the address in use for to, or for the next one
// if to is not valid. The line stays there until Failback or a failure. The
// error says why it cannot.
func (l *Line) Failover(to netip.AddrPort) (outbound.Target, error) { return l.route.Failover(to) }

// Failback is an order to go back to the most preferred address that is not
// known to be dead.
func (l *Line) Failback() (outbound.Target, error) { return l.route.Failback() }

// NetworkChanged tells that a link, an address or a route of this host has
// changed. Where that leaves the line with another address it registers at
// once, and moves its calls; where it waited for a link it waits no more.
func (l *Line) NetworkChanged() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// elsewhere reports whether we are no longer where the registration says.
func (l *Line) elsewhere(ctx context.Context, via outbound.Target) bool {
	l.layer.Transport().Renew(ctx, via)
	local, err := l.reach(ctx, via, l.cfg.NoAnswer)
	if err != nil {
		// Without a link nothing can be said; the next change says more, or
		// the keep-alive.
		return false
	}
	if local.Addr == l.flow.local.Addr {
		return false
	}
	l.mu.Lock()
	calls := slices.Collect(maps.Keys(l.active))
	l.mu.Unlock()
	for _, c := range calls {
		l.spawn(func() { c.post(c.relocate) })
	}
	return true
}
