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
//
// # How it knows
//
// Any answer is life. Silence is doubted by questions, at the pace that the
// route has learnt for the way to that address, and only their number proves a
// death: on a way that loses a third of all datagrams it takes more of them. An
// ICMP error is a hint that is asked about once. A keep-alive answered by 503
// brings the refresh forward, and the answer to that counts. Other addresses
// are asked now and then (Standby "probe"), or hold a second registration
// ("register", RFC 5626), or are left alone ("off").
//
// # How it moves
//
// A registration goes where the route points, after the wait that spreads a
// fleet; a call goes at once. While its proxy is silent other addresses are
// asked, and the first to speak gets it: see [Config] and the type doubt. A
// call to an emergency number goes everywhere, one address a second. Going back
// to a preferred address begins with a registration there, so there is no gap.
//
// # What SIP makes impossible
//
// Sound never passes through a proxy's signalling, so a call goes on when its
// proxy dies, and the requests in it are tried by way of the others with the
// route set kept but for the dead proxy's own entry. Three things cannot be had:
//
//   - A proxy that keeps the state of a call (a back-to-back user agent, a
//     session border controller) takes that with it. Another one answers 481:
//     hold, transfer and the far end's hanging up are lost, and so is the sound
//     if it went through the same box. What is left is to notice, and to dial
//     again.
//   - A far end whose own route set names the dead proxy cannot reach us: its
//     BYE or hold goes there. We learn of it by its silence.
//   - An INVITE that a proxy took with 100 or 180 and died with cannot be asked
//     about. It may ring on; where it is taken elsewhere, the far end may ring
//     twice, and knows by Call-ID and tag that it is one call.
//
// While [Config.MediaFlows] says that sound is heard, a session timer that runs
// out, a 481 or a 408 ends nothing: people hang up when they have heard enough.
package sip

import (
	"context"
	crand "crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	Expires     time.Duration // of the registration, asked for; 0: an hour
	KeepAlive   time.Duration // 0: 15 s
	KeepAliveBy string        // "options" (also ""), "crlf", "stun", "off"
	NoAnswer    time.Duration // silence after which the next address is tried at the latest; 0: 4 s
	Standby     string        // "probe" (also ""), "register", "off": see the package's page
	Emergency   []string      // numbers whose calls do not wait for a proxy to be sure: 112, 911, ...
	InstanceID  string        // "urn:uuid:...", RFC 5626; empty: none
	UserAgent   string        // empty: none is sent

	// MediaFlows says whether sound of the call with this ID was heard lately.
	// While it is, a call is not ended because its signalling has died. It is
	// called by any goroutine and must not wait. nil: nothing is known of sound.
	MediaFlows func(callID string) bool

	Random func() float64 // from [0, 1), for jitter; nil: math/rand. Any goroutine calls it.
	Logger *slog.Logger   // nil: slog.Default. What events tell is logged as debugging only.
}

// Defaults and limits of our own choice.
const (
	defaultExpires   = time.Hour
	defaultKeepAlive = 15 * time.Second
	defaultNoAnswer  = 4 * time.Second // four sendings of T1 = 0.5 s: RFC 3261 would wait for 32 s
	stopTime         = 2 * time.Second // what a clean stop may take
	openAgain        = 2 * time.Second // between attempts to open the socket
	maxCalls         = 8               // at once on one line; two phones with two calls each are four
	refreshes        = 6               // that nobody answers, of an address that answers all else
	lossyFrom        = 14              // questions that prove a death: one in four gets no answer
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
	user string

	// Owned by Run.
	flow     flow            // the registration
	lost     bool            // a whole tour has failed
	missed   int             // addresses that failed since the line was registered
	found    outbound.Target // this one gave a sign of life while another was silent
	grumbles grumbles

	layer   *txn.Layer // set by Run before anything else happens
	faults  chan transport.Fault
	news    chan struct{}   // a standby was heard, a call was answered or has ended: see nudge
	changed chan struct{}   // the network has changed: see NetworkChanged
	suspect chan struct{}   // a call has heard 100 Trying and nothing since: does the proxy live?
	ctx     context.Context // of calls: outlives Run's by the time of a clean stop
	work    sync.WaitGroup  // calls and what they wait for; see spawn
	leaving chan struct{}   // closed when Run begins to end

	mu          sync.Mutex
	running     bool
	home        outbound.Target // where the route pointed when status.Via took the registration
	status      Status
	calls       map[string]*Call         // by our tag; not those that have ended
	active      map[*Call]bool           // all whose goroutine runs
	closed      bool                     // no more work
	views       map[outbound.Target]view // what addresses have told of us
	spare       outbound.Target          // holds the second registration
	lives       outbound.Target          // the latest to answer a probe
	eager       atomic.Bool              // what a lookout has found need not wait
	refused5626 bool                     // the registrar refused RFC 5626
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
	switch cfg.Standby {
	case "":
		cfg.Standby = "probe"
	case "probe", "register", "off":
	default:
		return wrong("standby %q: probe, register or off would be right", cfg.Standby)
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
		flow:    flow{id: "1", callID: crand.Text()},
		faults:  make(chan transport.Fault, 16),
		news:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		suspect: make(chan struct{}, 1),
		views:   map[outbound.Target]view{},
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
	var granted time.Duration // by next, already
	for ctx.Err() == nil {
		if next.IsZero() {
			var err error
			if next, err = l.route.First(ctx); err != nil {
				break
			}
		}
		if wait := l.route.Wait(); wait > 0 && granted == 0 && next != via && !l.eager.Swap(false) {
			// Of a fleet, not all at once.
			if found, moved := l.pause(ctx, wait, NoProblem); moved {
				next = found
				continue
			}
		}
		home, _ := l.route.Current()
		via, next = next, outbound.Target{}
		if granted == 0 {
			var found outbound.Target
			var err error
			granted, found, err = l.try(ctx, via)
			switch {
			case ctx.Err() != nil, err == errDead:
				continue
			case !found.IsZero():
				next = found
				continue
			case err != nil:
				next = l.failed(ctx, via, err)
				continue
			}
		}
		l.registered(via, home, granted)
		next, granted = l.stay(ctx, via, home, granted)
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

// errDead: the address was found dead, and the route knows.
var errDead = errors.New("dead")

// try registers at via. Where all was well until now, silence is only a doubt:
// the address gets to prove that it lives. One that the line comes to may take
// its time, since all lines may be coming; but if it stays silent, the line
// looks out for another that speaks, and returns that one instead. It goes once:
// the next may take its time.
func (l *Line) try(ctx context.Context, via outbound.Target) (granted time.Duration, found outbound.Target, err error) {
	pace := l.route.Pace(via, string(sip.REGISTER))
	if s := l.Status(); s.State == "registered" && s.Via == via {
		for range refreshes {
			granted, err = l.register(ctx, &l.flow, via, pace)
			f := asFailure(err)
			if err == nil || f.Cause != outbound.NoAnswer || f.Code != 0 || ctx.Err() != nil {
				break
			}
			for range f.Tries {
				l.route.Missed(via)
			}
			if l.proof(ctx, via, l.cfg.KeepAlive, nil) == dead {
				return 0, outbound.Target{}, errDead
			}
			pace.T1, pace.T2 = min(pace.T1, t1), min(pace.T2, 2*t1) // it lives, so this was lost
		}
		return granted, outbound.Target{}, err
	}
	looking, cancel := context.WithCancel(ctx)
	defer cancel()
	first := l.cfg.NoAnswer
	if l.lost {
		first = probeFirst
	}
	if l.lossy() {
		// Many are lost on our own way; patience is for proxies that are at work.
		pace.T1, pace.T2 = min(pace.T1, t1), min(pace.T2, 2*t1)
	}
	look := l.lookout(looking, via, first, first)
	for {
		var found outbound.Target
		if granted, found, err = l.registerOr(ctx, via, pace, look); found != via || found.IsZero() {
			return granted, found, err
		}
		// It answers at once what is asked meanwhile: it is not at work, the
		// request was lost. Again, and more often.
		pace.T1, pace.T2 = min(pace.T1, t1), min(pace.T2, 2*t1)
	}
}

// lossy reports whether more datagrams get lost on the way to the proxies than
// the route takes a way for that it knows nothing of.
func (l *Line) lossy() bool {
	for _, t := range l.route.Targets() {
		if again, limit := l.route.Proof(t, 0); limit/again > lossyFrom {
			return true
		}
	}
	return false
}

// registerOr registers at via, unless look finds something better to do: via
// itself or another address speaks. Then it returns that one.
func (l *Line) registerOr(ctx context.Context, via outbound.Target, pace outbound.Pace, look <-chan outbound.Target) (granted time.Duration, found outbound.Target, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, done := time.Now(), make(chan struct{})
	l.spawn(func() {
		granted, err = l.register(ctx, &l.flow, via, pace)
		close(done)
	})
	deaf := time.NewTimer(2 * l.cfg.NoAnswer)
	defer deaf.Stop()
	for {
		select {
		case <-done:
			return granted, found, err
		case <-deaf.C:
			// All have been asked, and nobody says a word.
			f := failureOf(sip.REGISTER, began, nil, txn.ErrNoAnswer)
			l.lost = true
			l.set("failed", via, f, ProxyProblem)
			l.tell(Failed{l, via, f})
		case t := <-look:
			if t != via && via == l.found {
				continue // from one to the other and back
			}
			cancel()
			if <-done; err == nil {
				return granted, found, nil
			}
			if t != via {
				l.found = t
				f := failureOf(sip.REGISTER, began, nil, txn.ErrNoAnswer)
				l.route.Next(via, f)
				l.tell(Failed{l, via, f})
			}
			return 0, t, nil
		}
	}
}

// failed reports that via did not take the registration, asks the route what
// is next and waits as long as the route says. It returns the address to try,
// or the zero Target: the route's.
func (l *Line) failed(ctx context.Context, via outbound.Target, err error) outbound.Target {
	f := asFailure(err)
	f.Urgent = l.Status().Calls > 0
	next, wait := l.route.Next(via, f)
	l.missed++
	l.lost = l.lost || l.missed >= len(l.route.Targets())
	state, problem := "registering", ProxyProblem
	switch outbound.Judge(f) {
	case outbound.Account:
		problem = AccountProblem
	case outbound.Wait:
		problem = NetworkProblem
	}
	if l.lost || wait > 0 && problem != ProxyProblem {
		state = "failed"
	}
	l.set(state, via, err, problem)
	l.log.Debug("registration failed", "line", l.cfg.Name, "via", via.Dest, "error", err, "wait", wait.Round(time.Millisecond))
	l.tell(Failed{l, via, err})
	if wait == 0 {
		return outbound.Target{}
	}
	pausing := problem
	if problem == ProxyProblem && !l.lost {
		pausing = NoProblem // only spread over time
	}
	found, moved := l.pause(ctx, wait, pausing)
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
	l.lost, l.missed, l.found = false, 0, outbound.Target{}
	l.eager.Store(false)
	l.mu.Lock()
	changed := l.status.State != "registered" || l.status.Via != via
	l.home = home
	l.mu.Unlock()
	l.set("registered", via, nil, NoProblem)
	l.mu.Lock()
	l.status.Expires = granted
	l.mu.Unlock()
	if changed {
		l.log.Debug("registered", "line", l.cfg.Name, "via", via.Dest, "proxy", via.Proxy, "for", granted)
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
		l.unregister(ctx, &l.flow, via)
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
	s.Calls, s.Spare = len(l.calls), l.spare
	return s
}

// Counters say what the line's socket has received and dropped since Run opened
// it; before that they are zero.
func (l *Line) Counters() transport.Counters {
	l.mu.Lock()
	layer := l.layer
	l.mu.Unlock()
	if layer == nil {
		return transport.Counters{}
	}
	return layer.Transport().Counters()
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
	Calls   int             // in progress, ringing ones too
	Spare   outbound.Target // where a second registration is held; zero: nowhere
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
