package outbound

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// A RouteConfig says where a line goes out. Proxies and Resolver are needed,
// the zero values of all others are good.
type RouteConfig struct {
	Proxies   []Proxy        // in order of preference, 1 to MaxProxies
	Resolver  *Resolver      // asked for names; may be nil when all proxies are addresses
	StateFile string         // where last good addresses are kept; "": nowhere. One file per Route.
	Keep      time.Duration  // how long past addresses stay trusted: the registration's expiry; 0: an hour
	Cap       time.Duration  // longest wait after whole tours; 0: 300 s
	Random    func() float64 // from [0, 1), for jitter; nil: math/rand. Any goroutine calls it.
	Logger    *slog.Logger   // hears of changes; nil: nobody
}

// A Route leads to the proxies of a line. It is safe for concurrent use.
type Route struct {
	cfg   RouteConfig
	moved chan struct{}
}

// NewRoute makes a route. It reads the state file and asks nobody yet.
func NewRoute(cfg RouteConfig) *Route { return &Route{cfg: cfg, moved: make(chan struct{})} }

// Run keeps the addresses fresh until ctx ends: it asks each name again ahead
// of its TTL and when resolv.conf changes, and writes the state file. It
// returns ctx's error. A Route is not used after Run has returned.
func (r *Route) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// First returns the address to begin with, and waits for DNS if it must: at
// most briefly as long as any address is known, else until ctx ends. Once a
// first address has been given it is Current.
func (r *Route) First(ctx context.Context) (Target, error) { return Target{}, ctx.Err() }

// Current returns the address in use. It is false as long as none is known.
func (r *Route) Current() (Target, bool) { return Target{}, false }

// Next reports that failed did not work out and returns the address to use
// now. It moves the ring only if the failure is one that moves it (see Judge),
// failed is still the current address and f did not begin before the ring last
// moved. It never waits. A registration should let wait pass before it uses
// next; a call uses it at once.
func (r *Route) Next(failed Target, f Failure) (next Target, wait time.Duration) {
	return Target{}, 0
}

// Good reports that t took a registration, a call, or a keep-alive of the line
// that is registered there. rtt is how long its answer took; 0: not measured.
// It ends the tour. If the current address is not good, t becomes current.
func (r *Route) Good(t Target, rtt time.Duration) {}

// Alive reports that t answered a probe. If the line is waiting for any proxy
// to come back and t was silent before, t becomes current and the wait ends:
// then Alive returns true and a registration is worth trying now. A proxy that
// answered before, and refused, gains nothing by answering a probe.
func (r *Route) Alive(t Target, rtt time.Duration) bool { return false }

// Wait returns how long a registration should still wait before it uses Current; 0: not at all.
func (r *Route) Wait() time.Duration { return 0 }

// Moved returns a channel that is closed when the current address changes.
// Ask again after that: each change has its own channel.
func (r *Route) Moved() <-chan struct{} { return r.moved }

// Targets returns all addresses, best first: where a BYE may be tried, what
// may be probed.
func (r *Route) Targets() []Target { return nil }

// Trusts reports whether a is, or was until lately, an address of a configured
// proxy. It takes no lock and allocates nothing: it is asked for every datagram.
func (r *Route) Trusts(a netip.Addr) bool { return false }

// Refresh asks all names again now, as after SIGHUP or a new link. It does not wait.
func (r *Route) Refresh() {}

// Status returns what there is to know, as a value.
func (r *Route) Status() RouteStatus { return RouteStatus{} }

// A RouteStatus is a snapshot of a Route.
type RouteStatus struct {
	Ring       []PlaceStatus // best first
	LastSwitch Switch        // zero: the line never moved
	Wait       time.Duration // a registration waits this long still
	DNS        string        // what is wrong with DNS, a sentence; "": nothing
}

// A PlaceStatus is one address of the ring as people see it.
type PlaceStatus struct {
	Target
	State         string // "in use", "trying", "good", "failed", "held", "unknown"
	RTT           time.Duration
	LastFailure   string    // a sentence; "": never failed
	LastFailureAt time.Time // zero: never failed
}

// A Switch is one move of a line from an address that worked to another that does.
type Switch struct {
	From, To Target
	Cause    string
	At       time.Time     // when the first failure was reported
	Took     time.Duration // until To was good; 0: not yet
}
