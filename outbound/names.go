package outbound

import (
	"context"
	"errors"
	"slices"
	"time"
)

// How often DNS is asked. A fleet of a million asks the same server, so each
// of these is jittered and none is short while addresses are known.
const (
	refreshFloor = 30 * time.Second // no name is asked more often than this just because its TTL is short
	wrapFloor    = 30 * time.Second // nor because the ring came round; a shorter TTL counts here
	retryAfter   = 30 * time.Second // a question in vain is asked again; RFC 8767 section 5: failure recheck timer
	retryFirst   = time.Second      // the same while no address at all is known; doubles
	retryNoName  = 5 * time.Minute  // a name that does not exist may soon, whatever its zone says
	askLong      = 10 * time.Second // how long an answer is waited for when nothing is known of a name
	askShort     = 3 * time.Second  // and when its old addresses do meanwhile
	holeTime     = time.Hour        // so long an answer with holes takes nothing away; then the holes are how this network is
	watchConf    = 5 * time.Second  // how often resolv.conf is looked at
)

// A name is one configured proxy and what is known of it. An entry that is an
// address is a name that needs no asking.
type name struct {
	Proxy
	known  []Target      // best first; an answer replaces it, nothing empties it
	rank   []uint16      // of each
	fresh  bool          // known comes from DNS or configuration, not from the state file
	asking bool          // a question is on its way
	asked  time.Time     // when it left; zero: never
	due    time.Time     // when the next one is to leave; zero: now
	whole  time.Time     // when an answer without holes came last; at first: the start
	ttl    time.Duration // of the last answer
	failed int           // questions in vain since then
	err    error         // of the last question
}

// Run keeps the addresses fresh until ctx ends: it asks each name again ahead
// of its TTL and whenever resolv.conf changes, and writes the state file. It
// returns ctx's error. A Route is not used after Run has returned.
func (r *Route) Run(ctx context.Context) error {
	defer r.asking.Wait()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stop()
	}()
	var watch <-chan time.Time
	if r.cfg.Resolver.watched() {
		ticker := time.NewTicker(watchConf)
		defer ticker.Stop()
		watch = ticker.C
	}
	version := r.cfg.Resolver.version()
	for {
		r.mu.Lock()
		next, news := r.askDue(time.Now()), r.news
		r.mu.Unlock()
		r.save(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-next:
		case <-watch:
			if v := r.cfg.Resolver.version(); v != version {
				version = v
				r.Refresh()
			}
		}
	}
}

// Refresh asks all names again now, as after SIGHUP or with a new link. It
// does not wait.
func (r *Route) Refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.names {
		r.ask(i, time.Now())
	}
}

// askDue asks the names whose time has come. The channel it returns says when
// the next one's has; it is nil if none waits.
func (r *Route) askDue(now time.Time) <-chan time.Time {
	next := time.Time{}
	for i := range r.names {
		n := &r.names[i]
		if !n.due.After(now) {
			r.ask(i, now)
		}
		if !n.asking && !n.Addr.IsValid() && (next.IsZero() || n.due.Before(next)) {
			next = n.due
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(next.Sub(now))
}

// askAgain is for when the ring has come round: all names are asked, but none
// before its floor, and a fleet not all at once.
func (r *Route) askAgain(now time.Time) {
	later := now.Add(r.policy.chance(r.policy.rules.Spread))
	for i := range r.names {
		n := &r.names[i]
		floor := wrapFloor
		if n.ttl > 0 {
			floor = min(floor, n.ttl)
		}
		soonest := n.asked.Add(floor)
		if soonest.Before(later) {
			soonest = later
		}
		if n.due.After(soonest) {
			n.due = soonest
		}
	}
	r.askDue(now)
	r.tellNews() // Run has to look at the new times
}

// ask sends a question about a name, unless one is on its way.
func (r *Route) ask(i int, now time.Time) {
	n := &r.names[i]
	if n.asking || n.Addr.IsValid() || r.ctx.Err() != nil {
		return
	}
	n.asking, n.asked = true, now
	limit := askShort
	if len(n.known) == 0 {
		limit = askLong
	}
	proxy := n.Proxy
	r.asking.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, limit)
		defer cancel()
		answer, err := r.cfg.Resolver.Lookup(ctx, proxy)
		if r.ctx.Err() == nil {
			r.learn(i, answer, err)
		}
	})
}

// learn takes an answer, or the lack of one, to heart.
func (r *Route) learn(i int, answer Answer, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, now := &r.names[i], time.Now()
	n.asking = false
	if (err == nil) != (n.err == nil) {
		r.logDNS(n, err)
	}
	n.err = err
	if err != nil {
		n.failed++
		n.due = now.Add(r.early(n.retry(err, r.policy.ring.Len() == 0)))
		r.tellNews()
		return
	}
	n.failed, n.fresh, n.ttl = 0, true, answer.TTL
	r.policy.Renewed()
	if r.cfg.Order == OrderSpread {
		answer.spread(r.cfg.Device)
	}
	n.due = now.Add(r.early(max(refreshFloor, answer.TTL/10*8)))
	switch {
	case !answer.Partial:
		n.whole = now
	case now.Sub(n.whole) < holeTime:
		n.due = now.Add(r.early(refreshFloor))
		answer.join(n.known, n.rank)
	}
	if !n.knows(answer) {
		n.known, n.rank = answer.Targets, answer.rank
		r.load(now)
	}
	r.tellNews()
}

// retry is how long after a question in vain the next one follows.
func (n *name) retry(err error, nowhere bool) time.Duration {
	wait := retryAfter
	if absent := (*NotFoundError)(nil); errors.As(err, &absent) {
		wait = min(max(wait, absent.TTL), retryNoName)
	}
	if nowhere {
		wait = min(wait, retryFirst<<min(n.failed-1, 4))
	}
	return wait
}

// early is d less up to a tenth, by chance.
func (r *Route) early(d time.Duration) time.Duration {
	return d - time.Duration(r.cfg.Random()*float64(d/10))
}

// knows reports whether an answer says nothing new: the same addresses, none
// of them more or less preferred. The order of equals is no news. Where it
// changes with every answer the line would go back and forth.
func (n *name) knows(a Answer) bool {
	if len(a.Targets) != len(n.known) {
		return false
	}
	for i := range a.Targets {
		old := slices.Index(n.known, a.Targets[i])
		if old < 0 || n.rank[old] != a.rank[i] {
			return false
		}
	}
	return true
}

// join adds to an answer with holes in it what was known before: a hole takes
// nothing away.
func (a *Answer) join(known []Target, rank []uint16) {
	for i, t := range known {
		if len(a.Targets) < Capacity && !slices.Contains(a.Targets, t) {
			a.Targets = append(a.Targets, t)
			a.rank = append(a.rank, rank[i])
		}
	}
}

// load deals the addresses of all proxies into the ring. A line stays where it
// is well, even if DNS no longer names that address: it is asked to leave by
// silence, not by a record.
func (r *Route) load(now time.Time) {
	was, keep := r.policy.Current(), Target{}
	if !r.policy.since.IsZero() {
		keep = was
	}
	if r.policy.Load(now, deal(r.names, keep)) {
		r.trust(now)
		r.follow(was)
	}
}

// deal lays the addresses of all proxies one after the other, as many as a
// Ring holds. Each proxy that has any gets one place at least, those first in
// line get what is left. keep has a place in any case.
func deal(names []name, keep Target) []Target {
	waiting := 0
	for i := range names {
		if len(names[i].known) > 0 {
			waiting++
		}
	}
	list := make([]Target, 0, Capacity)
	for i := range names {
		n := &names[i]
		if len(n.known) == 0 {
			continue
		}
		waiting--
		known := n.known
		room := max(0, Capacity-len(list)-waiting)
		if keep.Proxy == n.String() && !slices.Contains(known[:min(room, len(known))], keep) {
			known = append(slices.Clone(known[:min(room-1, len(known))]), keep)
		}
		list = append(list, known[:min(room, len(known))]...)
	}
	return list
}

// tellNews wakes whoever waits for DNS.
func (r *Route) tellNews() {
	close(r.news)
	r.news = make(chan struct{})
}

// dnsProblem is the first thing wrong with DNS, nil if nothing is.
func (r *Route) dnsProblem() error {
	for i := range r.names {
		if r.names[i].err != nil {
			return r.names[i].err
		}
	}
	return nil
}

func (r *Route) logDNS(n *name, err error) {
	if err != nil {
		r.cfg.Logger.Warn("DNS", "proxy", n.Proxy.String(), "error", err, "addresses still known", len(n.known))
		return
	}
	r.cfg.Logger.Info("DNS answers again", "proxy", n.Proxy.String())
}
