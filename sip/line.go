// Package sip is a telephone line: an account that registers, rings and places
// calls, and stays reachable while its proxies come and go.
//
// Its one idea: whoever notices first that a proxy is gone moves the route,
// and everybody follows. A registration, a keep-alive and a call each report
// to [outbound.Route]; the line registers where the route points, a call that
// nobody answered goes on to the next address while its caller still listens.
//
//	Run ── First ─▶ register ─▶ stay (keep alive, refresh) ─▶ register ...
//	          ▲ Next    │ failed         │ silent, moved
//	          └─ pause ◀┴────────────────┘
//
// A line is a goroutine that runs; so is each call. They are told what to do
// by methods that do not wait, and tell what happened by events.
package sip

import (
	"context"
	crand "crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/digest"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// A Config says whose line it is and how it gets out.
type Config struct {
	Name        string // for log and status
	User        string
	AuthUser    string // empty: User
	Password    string
	Domain      string // host or host:port of the account
	DisplayName string
	Route       *outbound.Route // lines with the same proxies share one; its owner runs it
	Network     transport.Network
	Local       string // address to listen on; empty: any
	Roots       *x509.CertPool
	Expires     time.Duration  // of the registration, asked for; 0: an hour
	KeepAlive   time.Duration  // 0: 15 s
	KeepAliveBy string         // "options" (also ""), "crlf", "stun", "off"
	NoAnswer    time.Duration  // silence after which the next address is tried; 0: 4 s
	InstanceID  string         // "urn:uuid:...", RFC 5626; empty: none
	UserAgent   string         // empty: none is sent
	Random      func() float64 // from [0, 1), for jitter; nil: math/rand. Any goroutine calls it.
	Logger      *slog.Logger   // nil: slog.Default
}

// Defaults and limits of our own choice.
const (
	defaultExpires   = time.Hour
	defaultKeepAlive = 15 * time.Second
	defaultNoAnswer  = 4 * time.Second // four sendings of T1 = 0.5 s: RFC 3261 would wait for 32 s
	stopTime         = 2 * time.Second // what a clean stop may take
	openAgain        = 2 * time.Second // between attempts to open the socket
	maxCalls         = 8               // at once on one line; two phones with two calls each are four
)

// A Line is one account. Its methods may be called from any goroutine and do
// not wait.
type Line struct {
	cfg    Config
	domain sip.Uri // of the account, without user
	log    *slog.Logger
	route  *outbound.Route
	tell   func(Event)
	keys   *keys

	// user is the user part of our Contact, random for each boot: a request
	// from outside that does not carry it was not sent to us by the registrar.
	user   string
	callID string // of all REGISTERs

	// Owned by Run.
	seq   uint32          // CSeq of the latest REGISTER
	lost  bool            // a whole tour has failed
	found outbound.Target // since then, this one has given a sign of life

	layer   *txn.Layer // set by Run before anything else happens
	faults  chan transport.Fault
	ctx     context.Context // of calls: outlives Run's by the time of a clean stop
	work    sync.WaitGroup  // calls and what they wait for; see spawn
	leaving chan struct{}   // closed when Run begins to end

	mu          sync.Mutex
	running     bool
	home        outbound.Target // where the route pointed when status.Via took the registration
	status      Status
	calls       map[string]*Call // by our tag; not those that have ended
	active      map[*Call]bool   // all whose goroutine runs
	closed      bool             // no more work
	service     []sip.Uri        // Service-Route of the registration, RFC 3608
	seen        seen             // how the address in use sees us
	lives       outbound.Target  // the latest to answer a probe
	refused5626 bool             // the registrar refused RFC 5626
}

// New makes a line. It says what is wrong with the configuration and sends
// nothing yet. tell is called from the line's goroutines, one event at a time
// for each call, and may block briefly.
func New(cfg Config, tell func(Event)) (*Line, error) {
	if cfg.AuthUser == "" {
		cfg.AuthUser = cfg.User
	}
	if cfg.Expires == 0 {
		cfg.Expires = defaultExpires
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = defaultKeepAlive
	}
	if cfg.NoAnswer == 0 {
		cfg.NoAnswer = defaultNoAnswer
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	wrong := func(format string, args ...any) (*Line, error) {
		return nil, fmt.Errorf("line "+cfg.Name+": "+format, args...)
	}
	domain, err := parseDomain(cfg.Domain)
	if err != nil {
		return wrong("domain %q: %v", cfg.Domain, err)
	}
	if cfg.User == "" || !plainUser(cfg.User) {
		return wrong("user %q: letters, digits and -_.+ would be right", cfg.User)
	}
	for what, s := range map[string]string{"display name": cfg.DisplayName, "auth user": cfg.AuthUser, "instance id": cfg.InstanceID, "user agent": cfg.UserAgent} {
		if !printable(s) {
			return wrong("%s %q: a line break or control character may not stand in it", what, s)
		}
	}
	switch cfg.KeepAliveBy {
	case "":
		cfg.KeepAliveBy = "options"
	case "options", "crlf", "stun", "off":
	default:
		return wrong("keep-alive by %q: options, crlf, stun or off would be right", cfg.KeepAliveBy)
	}
	switch {
	case cfg.Route == nil || cfg.Network == nil || tell == nil:
		return wrong("needs a route, a network and somebody to tell")
	case cfg.Expires < minExpires:
		return wrong("expires %v: at least %v would be right", cfg.Expires, minExpires)
	case cfg.KeepAlive < time.Second, cfg.NoAnswer < 500*time.Millisecond:
		return wrong("keep-alive %v, no-answer %v: at least 1s and 500ms would be right", cfg.KeepAlive, cfg.NoAnswer)
	}
	return &Line{
		cfg:     cfg,
		domain:  domain,
		log:     cfg.Logger,
		route:   cfg.Route,
		tell:    tell,
		keys:    newKeys(digest.Credentials{User: cfg.AuthUser, Password: cfg.Password}, domain.Host),
		user:    strings.ToLower(crand.Text()),
		callID:  crand.Text(),
		faults:  make(chan transport.Fault, 16),
		calls:   map[string]*Call{},
		active:  map[*Call]bool{},
		leaving: make(chan struct{}),
		status:  Status{Name: cfg.Name, State: "registering", Since: time.Now()},
	}, nil
}

// Name is the configured name.
func (l *Line) Name() string { return l.cfg.Name }

// Run registers, keeps alive and fails over until ctx ends; then it ends all
// calls, unregisters, and returns nil within 2 s. It is called once.
func (l *Line) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if !l.open(ctx, work) {
		return nil
	}
	defer l.close(stop)

	var via, next outbound.Target
	for ctx.Err() == nil {
		if next.IsZero() {
			var err error
			if next, err = l.route.First(ctx); err != nil {
				break
			}
		}
		if next != via {
			l.leaveBehind()
		}
		via, next = next, outbound.Target{}
		home, _ := l.route.Current()
		granted, found, err := l.try(ctx, via)
		switch {
		case ctx.Err() != nil:
			continue
		case !found.IsZero():
			next = found
			continue
		case err != nil:
			next = l.failed(ctx, via, err)
			continue
		}
		l.registered(via, home, granted)
		if l.stay(ctx, via, home, granted) {
			next = via
		}
	}
	l.leave(via)
	return nil
}

// open gets the socket, however long that takes: at boot there may be no
// address yet. It returns false when ctx ends first.
func (l *Line) open(ctx, work context.Context) bool {
	for {
		layer, err := txn.New(ctx, txn.Config{
			Transport: transport.Config{
				Network: l.cfg.Network, Local: l.cfg.Local, Trusts: l.route.Trusts, Roots: l.cfg.Roots,
				OnFault: l.fault, Logger: l.log,
			},
			OnRequest: l.request,
			Retry:     l.retry,
		})
		if err == nil {
			l.mu.Lock()
			l.layer, l.ctx, l.running = layer, work, true
			l.mu.Unlock()
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		f := failureOf(sip.REGISTER, time.Now(), nil, err)
		l.set("failed", outbound.Target{}, f, NetworkProblem)
		l.tell(Failed{l, outbound.Target{}, f})
		if !sleep(ctx, openAgain) {
			return false
		}
	}
}

// close ends what is left.
func (l *Line) close(stop func()) {
	stop()
	l.layer.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.work.Wait()
}

// spawn does something that may wait, unless the line is closed.
func (l *Line) spawn(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.work.Go(do)
	}
}

// fault hears what the network says while nobody waits for an answer.
func (l *Line) fault(f transport.Fault) {
	select {
	case l.faults <- f:
	default: // as many as that say all there is to say
	}
}

// try registers at via. After a whole tour has failed it looks out meanwhile
// for an address that comes back: a tour through sixteen dead ones takes more
// than a minute, and nobody should wait for its end. Then that address is
// returned instead.
func (l *Line) try(ctx context.Context, via outbound.Target) (granted time.Duration, found outbound.Target, err error) {
	quiet := l.cfg.NoAnswer
	switch s := l.Status(); {
	case s.State == "registered" && s.Via == via:
		// A refresh where all was well until now: two lost datagrams more are
		// no reason to leave.
		quiet *= 2
	case via == l.found:
		// It lives. A registrar that all lines come back to takes its time.
		quiet *= 4
	}
	if !l.lost {
		granted, err = l.register(ctx, via, quiet)
		return granted, found, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	l.spawn(func() {
		granted, err = l.register(ctx, via, quiet)
		close(done)
	})
	look := l.lookout(ctx, probeFrom)
	for {
		select {
		case <-done:
			return granted, outbound.Target{}, err
		case t := <-look:
			if t != via && via != l.found {
				cancel()
				<-done
				l.found = t
				return 0, t, nil
			}
		}
	}
}

// failed reports that via did not take the registration, asks the route what
// is next and waits as long as the route says. It returns the address to try,
// or the zero Target: the route's.
func (l *Line) failed(ctx context.Context, via outbound.Target, err error) outbound.Target {
	f := asFailure(err)
	next, wait := l.route.Next(via, f)
	state, problem := "registering", ProxyProblem
	if wait > 0 || l.lost {
		state = "failed"
	}
	switch outbound.Judge(f) {
	case outbound.Account:
		problem = AccountProblem
	case outbound.Wait:
		problem = NetworkProblem
	}
	l.set(state, via, err, problem)
	l.log.Warn("registration failed", "line", l.cfg.Name, "via", via.Dest, "error", err, "wait", wait.Round(time.Millisecond))
	l.tell(Failed{l, via, err})
	if wait == 0 {
		return outbound.Target{}
	}
	l.lost = l.lost || problem == ProxyProblem
	found, moved := l.pause(ctx, wait, problem)
	switch {
	case !found.IsZero():
		l.found = found
		return found
	case problem == AccountProblem && !moved:
		return next // which need not be where the route points: another line may be well there
	}
	return outbound.Target{}
}

// registered tells the change, if it is one.
func (l *Line) registered(via, home outbound.Target, granted time.Duration) {
	l.lost, l.found = false, outbound.Target{}
	l.mu.Lock()
	changed := l.status.State != "registered" || l.status.Via != via
	l.home = home
	l.mu.Unlock()
	l.set("registered", via, nil, NoProblem)
	l.mu.Lock()
	l.status.Expires = granted
	l.mu.Unlock()
	if changed {
		l.log.Info("registered", "line", l.cfg.Name, "via", via.Dest, "proxy", via.Proxy, "for", granted)
		l.tell(Registered{l, via, granted})
	}
}

// set changes the status. Since moves only when something became different.
func (l *Line) set(state string, via outbound.Target, err error, problem Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.status
	if s.State != state || s.Via != via {
		s.Since = time.Now()
	}
	s.State, s.Via, s.Problem, s.Expires, s.Err = state, via, problem, 0, ""
	if err != nil {
		s.Err = err.Error()
	}
}

// trying notes where a registration is tried. What went wrong before stays said
// until one works, and a line that has failed has failed until then.
func (l *Line) trying(via outbound.Target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.status
	state := "registering"
	if s.State == "failed" {
		state = "failed"
	}
	if s.State != state || s.Via != via {
		s.Since = time.Now()
	}
	s.State, s.Via, s.Expires = state, via, 0
}

// leaveBehind forgets what only held for an address that is not used any more.
func (l *Line) leaveBehind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen, l.service = seen{}, nil
}

// leave ends calls and the registration, all at once and within stopTime.
func (l *Line) leave(via outbound.Target) {
	ctx, cancel := context.WithTimeout(l.ctx, stopTime)
	defer cancel()
	l.mu.Lock()
	l.running = false // no new calls
	registered := l.status.State == "registered"
	calls := slices.Collect(maps.Keys(l.active))
	l.mu.Unlock()
	close(l.leaving)
	for _, c := range calls {
		c.Hangup()
	}
	if registered {
		l.unregister(ctx, via)
	}
	for _, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
		}
	}
}

// Status returns what there is to know, as a value.
func (l *Line) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	s.Calls = len(l.calls)
	return s
}

// A Status is a snapshot of a line.
type Status struct {
	Name    string
	State   string          // "registering", "registered", "failed"
	Via     outbound.Target // the address in use, or being tried
	Since   time.Time       // when State or Via became what it is
	Expires time.Duration   // granted; 0 unless registered
	Err     string          // why not registered, a sentence; empty: nothing is wrong
	Problem Problem
	Calls   int // in progress, ringing ones too
}

// A Problem is the kind of what keeps a line from being registered.
type Problem string

// The kinds, in the order in which they come first.
const (
	NoProblem      Problem = ""
	NetworkProblem Problem = "network" // no link, no address, no route here
	ProxyProblem   Problem = "proxy"   // no configured proxy takes the line
	AccountProblem Problem = "account" // the proxies live, but refuse this account
)

// between draws a duration, so that lines which began together do not stay
// together.
func (l *Line) between(from, to time.Duration) time.Duration {
	return from + time.Duration(l.cfg.Random()*float64(to-from))
}

// part draws a part of d.
func (l *Line) part(d time.Duration, from, to float64) time.Duration {
	return l.between(time.Duration(float64(d)*from), time.Duration(float64(d)*to))
}

// sleep waits and reports whether it could wait to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
