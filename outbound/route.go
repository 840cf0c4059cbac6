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

// From standards.
const (
	// RFC 5626 section 4.5 waits between half and all of min(max, base·2^n).
	// Its base is 30 s, its max 1800 s; ours are shorter, for a telephone.
	tourBase = 4 * time.Second   // a first tour may have met a restart; the same bound as "no answer"
	tourCap  = 300 * time.Second // simulated with 10^6 lines: higher gains nothing, lower overloads who returns
	maxHold  = 30 * time.Minute  // RFC 5626's max: a Retry-After of a week must not silence a line for a week
)

// Of our own choosing.
const (
	stable      = time.Minute             // a registration that held this long was a good one
	accountBase = time.Minute             // so the first wait is 30 s at least: an account is mended by people
	accountCap  = 20 * time.Minute        // what the field uses for 403
	localWait   = time.Second             // a link comes back any moment, and asking costs no packet
	firstWait   = 1500 * time.Millisecond // at boot: how long better proxies may hold up those already known
)

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
	ring    Ring
	names   []name    // the configured proxies
	begun   bool      // an address has been given out: from now on the finger moves for a reason only
	since   time.Time // the current address has been good since then; zero: it is not
	entered time.Time // when the finger last moved
	tours   int       // whole tours that failed since the last stable registration
	ready   time.Time // when a registration may be tried again
	refused int       // account failures in a row
	pardon  time.Time // when the last one counts no more
	leaving Switch    // from the first failure until an address is good; zero: all is well
	last    Switch
	moved   chan struct{} // closed when the current address changes
	news    chan struct{} // closed when DNS has said something
}

// NewRoute makes a route. It reads the state file and asks nobody yet.
func NewRoute(cfg RouteConfig) *Route {
	if cfg.Resolver == nil {
		cfg.Resolver = NewResolver(ResolverConfig{})
	}
	if cfg.Keep <= 0 {
		cfg.Keep = time.Hour
	}
	if cfg.Cap <= 0 {
		cfg.Cap = tourCap
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
	r := &Route{cfg: cfg, moved: make(chan struct{}), news: make(chan struct{})}
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
func (r *Route) First(ctx context.Context) (Target, error) {
	patience := time.After(firstWait)
	hurry := false
	for {
		r.mu.Lock()
		if r.ring.Len() > 0 && (r.begun || hurry || r.settled()) {
			if !r.begun {
				r.begun, r.entered = true, time.Now()
			}
			t := r.ring.Current()
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
	return r.ring.Current(), r.ring.Len() > 0
}

// Next reports that failed did not work out and returns the address to use
// now. It moves the ring only if the failure is one that moves it (see
// [Judge]), failed is still the current address, and f did not begin before
// the ring last moved. It never waits for DNS. A registration should let wait
// pass before it uses next; a call uses it at once. wait is
//
//	0                         inside a tour
//	½..1 · min(Cap, 4 s·2ⁿ)   after the nth whole tour that failed, and until any Retry-After is over
//	½..1 · min(20 m, 1 m·2ⁿ)  after the account was refused for the nth time in a row
//	1 s                       when the fault is on our side, or no address is known
//
// A refused account leaves an address where some line is registered; others it
// leaves, slowly.
func (r *Route) Next(failed Target, f Failure) (next Target, wait time.Duration) {
	if f.Method == "" {
		f.Method = "REGISTER"
	}
	verdict := Judge(f)
	if verdict == Wait && r.otherFamily(failed) {
		verdict = Move
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.ring.Len() == 0 {
		r.askAgain(now)
		return Target{}, localWait
	}
	at := r.ring.Find(failed)
	if at >= 0 && (verdict == Move || verdict == Account) {
		p := r.ring.Place(at)
		p.Failed, p.Failure, p.Bad = now, f, true
		if f.RetryAfter > 0 {
			p.Held = now.Add(min(f.RetryAfter, maxHold))
		}
	}
	current := at == r.ring.Finger() && (f.Began.IsZero() || !f.Began.Before(r.entered))

	switch {
	case verdict == Wait:
		return r.ring.Current(), localWait
	case verdict == Account:
		return r.refuse(at, current, f, now), r.accountWait(now)
	case verdict == Stay && f.Method == "REGISTER":
		return r.ring.Current(), r.accountWait(now) // or it would be sent again at once, for ever
	case verdict == Move && current:
		r.turn(f, now)
	}
	return r.ring.Current(), r.left(now)
}

// turn moves the finger off the current address.
func (r *Route) turn(f Failure, now time.Time) {
	from := r.ring.Current()
	if !r.since.IsZero() {
		if now.Sub(r.since) >= stable {
			r.tours = 0
		}
		r.leaving = Switch{From: from, Cause: f.Error(), At: now}
	}
	r.since = time.Time{}

	for i := range r.ring.Len() {
		if r.ring.Place(i).Held.After(now) {
			r.ring.Skip(i)
		}
	}
	past, over := r.ring.Rotate()
	if past || over {
		r.askAgain(now)
	}
	if over {
		if f.Method != "INVITE" { // a person who dials again and again must not slow down the registration
			r.ready = now.Add(r.jitter(tourBase, r.cfg.Cap, r.tours))
			r.tours++
		}
		r.leastHeld(now)
		if held := r.ring.Place(r.ring.Finger()).Held; held.After(r.ready) {
			r.ready = held
		}
	}
	r.cfg.Logger.Info("outbound proxy failed", "proxy", from.Proxy, "address", from.String(), "error", f.Error(), "next", r.ring.Current().String())
	r.arrive(from, now)
	r.entered = now // a ring of one has moved too
}

// leastHeld moves the finger on to the next address that does not want to be
// left alone, or else to the one that wants it the shortest.
func (r *Route) leastHeld(now time.Time) {
	best, from := r.ring.Finger(), r.ring.Finger()
	for k := range r.ring.Len() {
		i := (from + k) % r.ring.Len()
		held := r.ring.Place(i).Held
		if held.Before(r.ring.Place(best).Held) {
			best = i
		}
		if !held.After(now) {
			best = i
			break
		}
	}
	r.ring.Point(best)
}

// refuse deals with an address that is well but does not want the account, and
// returns where a line with that account may try next. Where a line is at home
// the finger stays for now: if that line has another account, it will say Good
// again; if it is this one, the next refusal moves.
func (r *Route) refuse(at int, current bool, f Failure, now time.Time) Target {
	switch {
	case at < 0:
		return r.ring.Current()
	case current && r.since.IsZero():
		from := r.ring.Current()
		if past, over := r.ring.Rotate(); past || over {
			r.askAgain(now)
		}
		r.cfg.Logger.Info("account refused", "proxy", from.Proxy, "address", from.String(), "error", f.Error(), "next", r.ring.Current().String())
		r.arrive(from, now)
		r.entered = now
		return r.ring.Current()
	case current:
		r.leaving = Switch{From: r.ring.Current(), Cause: f.Error(), At: now}
		r.since = time.Time{}
	}
	return r.ring.Place((at + 1) % r.ring.Len()).Target
}

// accountWait grows from one refusal to the next. It is forgotten when there
// has been none for as long again as the last wait.
func (r *Route) accountWait(now time.Time) time.Duration {
	if now.After(r.pardon) {
		r.refused = 0
	}
	wait := r.jitter(accountBase, accountCap, r.refused)
	r.refused++
	r.pardon = now.Add(2*wait + time.Minute)
	return wait
}

// jitter is the pace of RFC 5626 section 4.5.
func (r *Route) jitter(base, most time.Duration, n int) time.Duration {
	wait := min(base<<min(n, 16), most)
	return wait/2 + time.Duration(r.cfg.Random()*float64(wait/2))
}

// Good reports that t took a registration or a call, or answered a keep-alive
// of a line that is registered there. rtt is how long that took; 0: not
// measured. The tour ends. If the current address is not good, t becomes
// current: that is where the line is.
func (r *Route) Good(t Target, rtt time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, now := r.ring.Find(t), time.Now()
	if at < 0 {
		return
	}
	p := r.ring.Place(at)
	p.Good, p.Bad, p.Held = now, false, time.Time{}
	if rtt > 0 {
		p.RTT = rtt
	}
	if !r.since.IsZero() {
		return
	}
	r.begun = true
	from := r.ring.Current()
	r.ring.Point(at)
	r.arrive(from, now)
	r.ring.Restart()
	r.since, r.ready = now, time.Time{}
	if r.leaving.From.IsZero() {
		return
	}
	if !r.leaving.From.same(&t) {
		r.last = r.leaving
		r.last.To, r.last.Took = t, now.Sub(r.leaving.At)
		r.cfg.Logger.Info("outbound proxy in use", "proxy", t.Proxy, "address", t.String(), "instead of", r.last.From.String(), "took", r.last.Took)
	}
	r.leaving = Switch{}
}

// Alive reports that t answered a probe. If no address is good, and t was
// silent until now or has not been tried, then t becomes current and the wait
// is over: Alive returns true, and a registration is worth trying at once.
// A proxy that refused, or an account that is refused, gains nothing by this:
// an answer refutes silence, it does not refute a refusal.
func (r *Route) Alive(t Target, rtt time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, now := r.ring.Find(t), time.Now()
	if at < 0 {
		return false
	}
	p := r.ring.Place(at)
	if rtt > 0 {
		p.RTT = rtt
	}
	here := r.ring.Place(r.ring.Finger())
	switch {
	case p.Bad && p.Failure.Code != 0, p.Held.After(now):
		return false
	case here.Bad && Judge(here.Failure) == Account:
		return false
	}
	p.Good, p.Bad = now, false
	if !r.since.IsZero() {
		return false
	}
	r.begun = true
	from := r.ring.Current()
	r.ring.Point(at)
	r.ring.Restart()
	r.ready = time.Time{}
	r.arrive(from, now)
	return true
}

// arrive tells whoever waits for it that the finger has moved from somewhere.
func (r *Route) arrive(from Target, now time.Time) {
	if r.ring.Current() != from {
		r.entered = now
		close(r.moved)
		r.moved = make(chan struct{})
	}
}

// otherFamily reports whether the failure of an address is that this host does
// not speak its IP version, and another address can be reached. Without that
// a host with IPv6 only would wait for ever for an IPv4 link. It sends nothing.
func (r *Route) otherFamily(failed Target) bool {
	r.mu.Lock()
	other := netip.AddrPort{}
	for i := range r.ring.Len() {
		if a := r.ring.Place(i).Addr; a.Addr().Is4() != failed.Addr.Addr().Is4() {
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
	return r.left(time.Now())
}

func (r *Route) left(now time.Time) time.Duration { return max(0, r.ready.Sub(now)) }

// Moved returns a channel that is closed when the current address changes.
// Ask again after that: each change has its own channel.
func (r *Route) Moved() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// Targets returns all addresses, best first: where a BYE may be tried, what
// may be probed.
func (r *Route) Targets() []Target {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Target, r.ring.Len())
	for i := range all {
		all[i] = r.ring.Place(i).Target
	}
	return all
}

// A RouteStatus is a snapshot of a Route.
type RouteStatus struct {
	Ring       []PlaceStatus // best first
	LastSwitch Switch        // zero: the line never moved
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
	RTT           time.Duration // of the last good answer; 0: not measured
	LastFailure   string        // a sentence; "": never failed
	LastFailureAt time.Time     // zero: never failed
}

// A Switch is one move of a line from an address that worked to another.
type Switch struct {
	From, To Target
	Cause    string
	At       time.Time     // when the first failure was reported
	Took     time.Duration // until To was good; 0: it is not yet
}

// Status returns what there is to know.
func (r *Route) Status() RouteStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	s := RouteStatus{LastSwitch: r.last, Wait: r.left(now), Ring: make([]PlaceStatus, r.ring.Len())}
	if current := r.ring.Current(); !r.leaving.From.IsZero() && !r.leaving.From.same(&current) {
		s.LastSwitch = r.leaving
		s.LastSwitch.To = current
	}
	for i := range s.Ring {
		p := r.ring.Place(i)
		s.Ring[i] = PlaceStatus{Target: p.Target, State: p.state(now), RTT: p.RTT, LastFailureAt: p.Failed}
		if !p.Failed.IsZero() {
			s.Ring[i].LastFailure = p.Failure.Error()
		}
		switch {
		case i != r.ring.Finger() || !r.begun:
		case r.since.IsZero():
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
