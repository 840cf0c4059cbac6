package outbound

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// firstWait is how long, at boot, better proxies may hold up those already known.
const firstWait = 1500 * time.Millisecond

// A RouteConfig says where a line goes out. Proxies and Resolver are needed,
// the zero values of all others are good.
type RouteConfig struct {
	Proxies       []Proxy        // in order of preference, 1 to MaxProxies
	Resolver      *Resolver      // asked for names; may be nil when all proxies are addresses
	StateFile     string         // where last good addresses are kept; "": nowhere. One file per Route.
	Keep          time.Duration  // how long past addresses stay trusted: the registration's expiry; 0: an hour
	Cap           time.Duration  // longest wait after whole tours; 0: 300 s
	Order         Order          // of addresses that DNS does not tell apart
	Device        string         // whose own order OrderSpread makes: a serial number or MAC address
	Spread        time.Duration  // an idle line's first failover waits U(0, Spread); 0: it goes at once
	BootSpread    time.Duration  // the first registration waits U(0, BootSpread); 0: it goes at once
	Failback      Failback       // when to go back to a preferred address
	FailbackAfter time.Duration  // for OnTimer: how long after the line left; 0: an hour
	Random        func() float64 // from [0, 1), for jitter; nil: math/rand. Any goroutine calls it.
	Logger        *slog.Logger   // hears of changes; nil: nobody
}

// A Route leads to the proxies of a line: a [Ring] of their addresses, kept
// fresh, and the knowledge of when to turn it. It is safe for concurrent use.
type Route struct {
	cfg     RouteConfig
	ctx     context.Context // of all questions to DNS; ends with Run
	stop    func()
	asking  sync.WaitGroup
	trusted atomic.Pointer[trusted]
	memory  memory // owned by Run

	mu      sync.Mutex // guards all that follows
	policy  Policy
	names   []name         // the configured proxies
	history []SwitchRecord // oldest first, at most maxHistory
	moved   chan struct{}  // closed when the current address changes, or a wait is cut short
	news    chan struct{}  // closed when DNS has said something
}

// maxHistory is how many switches are remembered: a bad day's.
const maxHistory = 64

// NewRoute makes a route. It reads the state file and asks nobody yet.
func NewRoute(cfg RouteConfig) *Route {
	if cfg.Resolver == nil {
		cfg.Resolver = NewResolver(ResolverConfig{})
	}
	if cfg.Keep <= 0 {
		cfg.Keep = time.Hour
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Proxies) > MaxProxies {
		cfg.Logger.Error("too many outbound proxies, the last are left out", "given", len(cfg.Proxies), "used", MaxProxies)
		cfg.Proxies = cfg.Proxies[:MaxProxies]
	}
	r := &Route{cfg: cfg, policy: NewPolicy(&Rules{
		Spread: cfg.Spread, Cap: cfg.Cap, Failback: cfg.Failback, FailbackAfter: cfg.FailbackAfter, Random: cfg.Random,
	}), moved: make(chan struct{}), news: make(chan struct{})}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.trusted.Store(new(trusted))
	for _, p := range cfg.Proxies {
		n := name{Proxy: p, whole: time.Now()}
		if p.Addr.IsValid() {
			answer, _ := cfg.Resolver.Lookup(r.ctx, p)
			n.known, n.rank, n.fresh = answer.Targets, answer.rank, true
		}
		r.names = append(r.names, n)
	}
	r.remember()
	r.load(time.Now())
	return r
}

// First returns the address to begin with. It waits for DNS if it must: as
// long as any address is known only briefly, for a proxy that is preferred to
// it; else until ctx ends. Once an address has been given, First is Current.
// The first registration should let Wait pass, a call should not.
func (r *Route) First(ctx context.Context) (Target, error) {
	patience := time.After(firstWait)
	hurry := false
	for {
		r.mu.Lock()
		if t := r.policy.Current(); !t.IsZero() && (r.policy.begun || hurry || r.settled()) {
			r.policy.Begin(time.Now(), r.cfg.BootSpread)
			r.mu.Unlock()
			return t, nil
		}
		next := r.askDue(time.Now())
		news, problem := r.news, r.dnsProblem()
		r.mu.Unlock()

		select {
		case <-news:
		case <-next:
		case <-patience:
			hurry = true
		case <-ctx.Done():
			if problem != nil {
				return Target{}, fmt.Errorf("no address of a proxy is known: %w", problem)
			}
			return Target{}, fmt.Errorf("no address of a proxy is known yet: %w", ctx.Err())
		case <-r.ctx.Done():
			return Target{}, r.ctx.Err()
		}
	}
}

// settled reports whether nothing better than what is known can come soon:
// every proxy up to the first with fresh addresses has been asked, in vain.
func (r *Route) settled() bool {
	for i := range r.names {
		n := &r.names[i]
		if n.fresh || n.asking || n.asked.IsZero() {
			return n.fresh
		}
	}
	return true
}

// Current returns the address in use. It is false as long as none is known.
func (r *Route) Current() (Target, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.policy.Current()
	return t, !t.IsZero()
}

// Next reports that failed did not work out and returns the address to use
// now. It moves the ring only if the failure is one that moves it (see
// [Judge]), enough went unanswered to prove it (see [Failure.Tries]), failed is
// still the current address, and f did not begin before the ring last moved. It
// never waits for DNS. A registration should let wait pass before it uses next;
// a call uses it at once. wait is
//
//	U(0, Spread)              for the first failover, so that a fleet does not arrive as one; 0 if f is urgent
//	0                         for further ones inside a tour
//	½..1 · min(Cap, 4 s·2ⁿ)   after the nth whole tour that failed, and until any Retry-After is over
//	½..1 · min(20 m, 1 m·2ⁿ)  after the account was refused for the nth time in a row
//	1 s                       when the fault is on our side, or no address is known
//
// A refused account leaves an address where some line is registered; others it
// leaves, slowly. Where the failure proves nothing yet, next is the address to
// try again, and for an INVITE the one where the call may go meanwhile.
func (r *Route) Next(failed Target, f Failure) (next Target, wait time.Duration) {
	return r.NextTo(failed, f, Target{})
}

// NextTo is Next where another address has spoken while failed was silent: the
// route goes there, and nobody who follows it sees an address between. What
// Alive does not believe is not believed here.
func (r *Route) NextTo(failed Target, f Failure, spoke Target) (next Target, wait time.Duration) {
	if Judge(f) == Wait && r.otherFamily(failed) {
		f.Cause = NoFamily
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now, from := time.Now(), r.policy.Current()
	step := r.policy.Next(now, failed, f)
	if !spoke.IsZero() && r.policy.Current() != spoke {
		r.policy.Alive(now, spoke, 0)
	}
	if step.Ask {
		r.askAgain(now)
	}
	if step.Moved {
		what := "outbound proxy failed"
		if Judge(f) == Account {
			what = "account refused"
		}
		r.cfg.Logger.Info(what, "proxy", from.Proxy, "address", from.String(), "error", f.Error(), "next", r.policy.Current().String())
	}
	r.follow(from)
	return step.To, step.Wait
}

// Good reports that t took a registration or a call, or answered a keep-alive
// of a line that is registered there. rtt is how long that took; 0: not
// measured. The tour ends. If the current address is not good, or Back has
// named t, then t becomes current: that is where the line is.
func (r *Route) Good(t Target, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.policy.Current()
	if done, ok := r.policy.Good(time.Now(), t, rtt); ok {
		r.history = append(r.history[max(0, len(r.history)+1-maxHistory):], done)
		r.cfg.Logger.Info("outbound proxy in use", "proxy", t.Proxy, "address", t.String(), "instead of", done.From.String(),
			"why", done.Detail, "tries", done.Tries, "took", done.Took)
	}
	r.follow(from)
}

// Alive reports that t answered a probe while the line has no good address. If
// t was silent until now or has not been tried, then t becomes current, the
// wait is cut short, and Alive returns true: a registration there is worth
// trying as soon as Wait has passed. A proxy that refused, or an account that
// is refused, gains nothing by this: an answer refutes silence, it does not
// refute a refusal.
func (r *Route) Alive(t Target, rtt time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.policy.Current()
	defer r.follow(from)
	return r.policy.Alive(time.Now(), t, rtt)
}

// Heard reports that t answered a probe while the line is well elsewhere. It
// makes t known to be good and moves nothing. A line without any good address
// reports to Alive instead.
func (r *Route) Heard(t Target, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy.Heard(time.Now(), t, rtt)
}

// Unheard reports that t did not answer a probe while the line is well
// elsewhere. It moves nothing: t is the last to be tried for a while.
func (r *Route) Unheard(t Target, f Failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy.Unheard(time.Now(), t, f)
}

// Missed reports that one question to t got no answer in time. It moves
// nothing; when t answers after all, it says how lossy the way there is.
func (r *Route) Missed(t Target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.policy.Missed(t)
}

// Standby returns which addresses are worth a slow probe while the line is
// well, best first: those it may go back to, and the one it would go to next.
// At most three; none while the line is not well.
func (r *Route) Standby() []Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Standby(time.Now())
}

// Back says whether it is time to go back to a preferred address, and to which.
// idle: no call is up. refreshing: the line is about to refresh its
// registration. The address has answered three probes in a row over a minute
// or more without missing one, and been left alone long enough: a minute, twice
// as long for each time in a row that it did not hold for an hour, and U(0,
// 20·Spread) so that a fleet does not return as one.
//
// The line registers there instead, keeping what it has until that has worked,
// and reports as always: Good moves the route, Next leaves it where it is and
// puts off the next attempt.
func (r *Route) Back(idle, refreshing bool) (t Target, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Back(time.Now(), idle, refreshing)
}

// Failover is an operator's order to leave the address in use for another: the
// next one if to is not valid; a port of 0 in it fits any. The line stays there
// until Failback or a failure.
func (r *Route) Failover(to netip.AddrPort) (Target, error) {
	return r.order(func(now time.Time) (Target, error) { return r.policy.Failover(now, to) })
}

// Failback is an operator's order to go back to the most preferred address
// that did not fail when it was last asked.
func (r *Route) Failback() (Target, error) { return r.order(r.policy.Recall) }

func (r *Route) order(do func(now time.Time) (Target, error)) (Target, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.policy.Current()
	to, err := do(time.Now())
	if err == nil {
		r.cfg.Logger.Info("outbound proxy changed by order", "from", from.String(), "to", to.String())
	}
	r.follow(from)
	return to, err
}

// Urge ends a wait that only serves to spread a fleet: somebody has lifted the
// receiver. Whoever waits is woken through Moved and should ask Wait again.
func (r *Route) Urge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.policy.Urge() {
		r.wake()
	}
}

// follow tells whoever waits for it that the finger has moved from somewhere.
func (r *Route) follow(from Target) {
	if r.policy.Current() != from {
		r.wake()
	}
}

func (r *Route) wake() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// otherFamily reports whether the failure of an address is that this host does
// not speak its IP version, and another address can be reached. It sends nothing.
func (r *Route) otherFamily(failed Target) bool {
	r.mu.Lock()
	other := netip.AddrPort{}
	for i := range r.policy.ring.Len() {
		if a := r.policy.ring.Place(i).Addr; a.Addr().Is4() != failed.Addr.Addr().Is4() {
			other = a
		}
	}
	r.mu.Unlock()
	return other.IsValid() && !r.reaches(failed.Addr) && r.reaches(other)
}

func (r *Route) reaches(a netip.AddrPort) bool {
	conn, err := r.cfg.Resolver.cfg.Network.DialContext(r.ctx, "udp", a.String())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Wait returns how long a registration should still wait before it uses
// Current; 0: not at all. It does not count waits for an account.
func (r *Route) Wait() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Wait(time.Now())
}

// Moved returns a channel that is closed when the current address changes, or
// Urge has cut a wait short. Ask again after that: each change has its own
// channel.
func (r *Route) Moved() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Pace returns how a request of this method should be sent to t: quickly where
// t is the address in use and answers quickly, patiently where the line has
// only just come, or nothing is known.
func (r *Route) Pace(t Target, method string) Pace {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Pace(time.Now(), t, method)
}

// Patience is Pace(t, "INVITE").Quiet: how long a call waits for any response
// of t before it tries the next address. It is a second for an address in use
// that answers in 20 ms, four where nothing is known.
func (r *Route) Patience(t Target) time.Duration { return r.Pace(t, "INVITE").Quiet }

// Proof says how an address that has missed a keep-alive may prove that it
// lives: it is asked again and again, and is dead when limit has passed since
// the first question without any answer. every is the keep-alive's interval:
// who asks seldom has time. Each question that got no answer is reported to
// Missed; on a way that loses many, more are asked.
func (r *Route) Proof(t Target, every time.Duration) (again, limit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Proof(t, every)
}

// Lookout returns how long it should be until all addresses are asked again for
// a sign of life, while the line waits for one. Answers go to Alive.
func (r *Route) Lookout() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.Lookout(time.Now())
}

// Targets returns all addresses, best first: where a BYE may be tried, what
// may be probed.
func (r *Route) Targets() []Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Target, r.policy.ring.Len())
	for i := range all {
		all[i] = r.policy.ring.Place(i).Target
	}
	return all
}

// Noticed says what the user noticed of the latest switch: "a call connected
// 1.2 s late".
func (r *Route) Noticed(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !r.policy.leaving.From.IsZero():
		r.policy.leaving.Noticed = what
	case len(r.history) > 0:
		r.history[len(r.history)-1].Noticed = what
	}
}

// History returns the latest switches, at most 64, newest first. One that is
// not over yet has Took 0.
func (r *Route) History() []SwitchRecord {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]SwitchRecord, 0, len(r.history)+1)
	if now, ok := r.switching(); ok {
		list = append(list, now)
	}
	for i := range r.history {
		list = append(list, r.history[len(r.history)-1-i])
	}
	return list[:min(len(list), maxHistory)]
}

// switching is the switch that is not over yet.
func (r *Route) switching() (SwitchRecord, bool) {
	s, to := r.policy.leaving, r.policy.Current()
	s.To = to
	return s, !s.From.IsZero() && !s.From.same(&to)
}

// A RouteStatus is a snapshot of a Route.
type RouteStatus struct {
	Ring       []PlaceStatus // best first
	LastSwitch SwitchRecord  // zero: the line never moved
	Wait       time.Duration // a registration waits this long still
	DNS        string        // what is wrong with DNS, a sentence; "": nothing
}

// A PlaceStatus is one address of the ring as people see it. Its State is
//
//	in use    the line is there
//	trying    the line is on its way there
//	good      answered last time
//	failed    did not
//	held      asked to be left alone for now
//	unknown   not tried yet
type PlaceStatus struct {
	Target
	State         string
	RTT           time.Duration // of good answers, smoothed; 0: not measured
	Loss          float64       // the part of questions that get no answer though it lives, smoothed; 0: not measured
	LastGood      time.Time     // zero: never
	Failures      int           // since then
	LastFailure   string        // a sentence; "": never failed
	LastFailureAt time.Time     // zero: never failed
	Quarantine    time.Time     // until then others are tried first; zero, or past: no
}

// Status returns what there is to know.
func (r *Route) Status() RouteStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, ring := time.Now(), &r.policy.ring
	s := RouteStatus{Wait: r.policy.Wait(now), Ring: make([]PlaceStatus, ring.Len())}
	if moving, ok := r.switching(); ok {
		s.LastSwitch = moving
	} else if len(r.history) > 0 {
		s.LastSwitch = r.history[len(r.history)-1]
	}
	for i := range s.Ring {
		p := ring.Place(i)
		s.Ring[i] = PlaceStatus{
			Target: p.Target, State: p.state(now), RTT: p.RTT, Loss: p.Loss,
			LastGood: p.Good, Failures: p.Fails, LastFailureAt: p.Failed, Quarantine: p.Out,
		}
		if !p.Failed.IsZero() {
			s.Ring[i].LastFailure = p.Failure.Error()
		}
		switch {
		case i != ring.Finger() || !r.policy.begun:
		case r.policy.since.IsZero():
			s.Ring[i].State = "trying"
		default:
			s.Ring[i].State = "in use"
		}
	}
	if err := r.dnsProblem(); err != nil {
		s.DNS = err.Error()
	}
	return s
}
