// Package agent is the operator of the switchboard: the only place where
// phones, lines and sound meet.
//
// Its one idea: one goroutine decides everything, one event at a time. Hooks,
// digits, calls and registrations come to it as events through one bounded
// inbox; it tells phones, cords, lines and lamps what to do by calls that do
// not wait. A messenger may wait for the operator, the operator waits for
// nobody. What it knows is published as a snapshot, replaced whole.
//
//	hook, digit ─▶ ┐                ┌─▶ phone ─▶ cord, bell
//	key heard   ─▶ ├ inbox ─ handle ┼─▶ call  ─▶ line, stream
//	line, call  ─▶ ┘                └─▶ snapshot ─▶ lamps, status
package agent

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/board"
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/link"
	"github.com/ata-agent/ata-agent/internal/media"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
	"github.com/ata-agent/ata-agent/sip"
)

// A Network opens sockets: all that signalling, names and sound ask of one.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A Config says what an agent is made of. Config and Ports are needed, the
// zero values of all others are good.
type Config struct {
	Config  *config.Config
	Ports   []hal.Port   // of the board, in its order. Run closes them.
	Lamps   []board.Lamp // of the board. Run leaves them dark; their owner closes them.
	Country string       // of the board, where the file names none; "": us

	// Patterns are what this board's lamps show where the file does not
	// say, by the keys of status.Table.
	Patterns map[string]string

	Network Network                     // nil: the host's
	Links   func() (up, addressed bool) // whether any link is up and has an address; nil: the host's, or with another Network: yes

	// Changes calls changed whenever a link, an address or a route of the host
	// has come or gone, until ctx ends. nil: the host's, or with another
	// Network: nothing changes.
	Changes func(ctx context.Context, changed func()) error

	Roots    *x509.CertPool // nil: the system's
	Identity string         // "urn:uuid:...", RFC 5626; "": kept in the state directory
	Random   func() float64 // for jitter and weights, as outbound has it; nil: math/rand
	Uptime   time.Duration  // of the machine when the agent begins; 0: the host's, or with another Network: it was just switched on

	Version string
	Logger  *slog.Logger // nil: slog.Default
}

// An Agent is the whole telephone adapter. Its methods may be called from any
// goroutine.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	identity string

	inbox   chan any
	running chan struct{} // closed when Run has begun
	gone    chan struct{} // closed when nobody reads the inbox any more
	snap    atomic.Pointer[status.Snapshot]
	work    sync.WaitGroup // every goroutine of ours
	trace   trace.Ring
	streams sync.Map // *rtp.Stream of each call that has sound, by its Call-ID

	// Owned by the operator, which until Run is whoever called New.
	setup    *setup
	exts     []*extension // one for each port, in the board's order
	lines    []*line      // in the order of the file
	routes   []*route
	calls    []*call
	lamps    []board.Lamp
	shown    []status.Lamp // by lamp, what it shows
	count    status.Counters
	trouble  status.Trouble // the first thing wrong when last looked
	looked   time.Time      // when last looked
	started  time.Time
	ctx      context.Context // of all we start; ends last
	stopping bool            // no line begins any more
}

var errStopping = errors.New("the agent is stopping")

// Our own choice.
const (
	inboxSize = 64 // events of a busy moment; beyond it messengers wait

	// slow is how long a step of the operator may take before it is logged:
	// a person notices half a second between the hook and the tone.
	slow = 500 * time.Millisecond

	// lookTime is how often we look around unasked: for what nobody tells,
	// as that a name server has gone.
	lookTime = 10 * time.Second

	// stopTime is how long lines have to say goodbye.
	stopTime = 2 * time.Second
)

// New makes an agent. All that is wrong with the configuration on this board
// comes back at once, as config.Mistakes. It sends nothing yet.
func New(c Config) (*Agent, error) {
	if c.Network == nil {
		c.Network = host{}
		if c.Links == nil {
			c.Links = hostLinks
		}
		if c.Changes == nil {
			c.Changes = link.Watch
		}
		if c.Uptime == 0 {
			c.Uptime = hostUptime()
		}
	}
	if c.Links == nil {
		c.Links = func() (up, addressed bool) { return true, true }
	}
	c.Country = cmp.Or(c.Country, "us")
	c.Logger = cmp.Or(c.Logger, slog.Default())
	a := &Agent{
		cfg:     c,
		log:     c.Logger,
		inbox:   make(chan any, inboxSize),
		running: make(chan struct{}),
		gone:    make(chan struct{}),
		lamps:   c.Lamps,
		shown:   make([]status.Lamp, len(c.Lamps)),
		started: time.Now(),
	}
	s, err := a.prepare(c.Config)
	if err != nil {
		return nil, err
	}
	a.identity = c.Identity
	if a.identity == "" {
		a.identity = identity(c.Config.StateDir, a.log)
	}
	for _, port := range c.Ports {
		a.exts = append(a.exts, newExtension(a, port))
	}
	if err := a.apply(s); err != nil {
		return nil, err
	}
	a.publish(a.started)
	return a, nil
}

// What comes to the inbox beside sip.Event, which comes as lineNews.
type (
	// hooked: a person did something with a telephone.
	hooked struct {
		ext *extension
		hal.Event
	}
	// heard: a key was heard from the mouth, or the bell has news.
	heard struct {
		ext *extension
		media.Event
	}
	// broken: a port cannot be used any more.
	broken struct {
		ext *extension
		err error
	}
	// lineNews: something happened on a line.
	lineNews struct {
		line *line
		sip.Event
	}
	// lineStopped: a line's Run has returned.
	lineStopped struct {
		line *line
		err  error
	}
	// rewired: a link, an address or a route of the host has come or gone.
	rewired struct{}
	// reload: the owner wants another configuration.
	reload struct {
		config *config.Config
		reply  chan<- error
	}
	// look: somebody wants to see how things are.
	look struct {
		reply chan<- struct{}
	}
)

// tell brings news to the operator, and waits until there is room for it.
func (a *Agent) tell(news any) {
	select {
	case a.inbox <- news:
	case <-a.gone:
	}
}

// Run serves until ctx ends. Then it hangs up, unregisters, and returns within
// two seconds, with the ports closed. It is called once.
func (a *Agent) Run(ctx context.Context) error {
	all, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	a.ctx = all
	close(a.running)
	for _, e := range a.exts {
		e.start(all)
	}
	a.startLines()
	if a.cfg.Changes != nil {
		a.work.Go(func() {
			if err := a.cfg.Changes(all, func() { a.tell(rewired{}) }); err != nil {
				a.log.Warn(fmt.Sprintf("changes of the network are noticed late, by their consequences: %v", err))
			}
		})
	}
	a.publish(time.Now())

	a.operate(ctx)

	a.stopping = true
	for _, e := range a.exts {
		e.leave(time.Now())
	}
	for _, l := range slices.Clone(a.lines) {
		a.bye(l)
	}
	a.drain()
	for _, c := range a.calls {
		c.hush()
	}
	close(a.gone)
	cancel()
	var errs []error
	for _, e := range a.exts {
		errs = append(errs, e.port.Close())
	}
	for _, l := range a.lamps {
		errs = append(errs, l.Show(hal.Pattern{}))
	}
	a.work.Wait()
	return errors.Join(errs...)
}

// operate is the operator's day.
func (a *Agent) operate(ctx context.Context) {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		alarm.Reset(time.Until(a.next()))
		select {
		case <-ctx.Done():
			return
		case news := <-a.inbox:
			a.step(news)
		case <-alarm.C:
			a.step(nil)
		}
	}
}

// drain hears the lines out while they say goodbye.
func (a *Agent) drain() {
	late := time.NewTimer(stopTime)
	defer late.Stop()
	for len(a.lines) > 0 {
		select {
		case news := <-a.inbox:
			a.step(news)
		case <-late.C:
			a.log.Warn("the lines did not stop in time")
			return
		}
	}
}

// step lets one thing happen, and everything that is due.
func (a *Agent) step(news any) {
	began := time.Now()
	if news != nil {
		a.handle(began, news)
	}
	a.due(began)
	a.publish(began)
	if l, ok := news.(look); ok {
		l.reply <- struct{}{}
	}
	if took := time.Since(began); took > slow {
		a.log.Warn(fmt.Sprintf("the operator took %v for %T", took.Round(time.Millisecond), news))
	}
}

// handle decides what follows from an event.
func (a *Agent) handle(now time.Time, news any) {
	switch ev := news.(type) {
	case hooked:
		ev.ext.hook(now, ev.Event)
	case heard:
		ev.ext.heard(now, ev.Event)
	case broken:
		ev.ext.broken(now, ev.err)
	case lineNews:
		a.news(now, ev.line, ev.Event)
	case lineStopped:
		a.lineStopped(ev.line, ev.err)
	case rewired:
		a.rewired(now)
	case reload:
		ev.reply <- a.reload(ev.config)
	case look: // publish does it
	case find:
		ev.reply <- a.found(ev.name)
	default:
		panic(fmt.Sprintf("agent: %T in the inbox", news))
	}
}

// next is when something becomes due if nothing happens.
func (a *Agent) next() (next time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, e := range a.exts {
		sooner(e.phone.Deadline())
	}
	for _, c := range a.calls {
		sooner(c.listen)
	}
	sooner(a.looked.Add(lookTime))
	return next
}

// due does what has become due.
func (a *Agent) due(now time.Time) {
	for _, e := range a.exts {
		if d := e.phone.Deadline(); !d.IsZero() && !now.Before(d) {
			e.step(now, tick)
		}
	}
	for _, c := range a.calls {
		if !c.listen.IsZero() && !now.Before(c.listen) {
			c.early(now)
		}
	}
}

// Reload takes another configuration. Lines and ports that did not change go
// on untouched; a line that changed or is gone finishes its calls first. An
// error says why nothing was changed.
func (a *Agent) Reload(c *config.Config) error {
	reply := make(chan error, 1)
	select {
	case <-a.running:
	default:
		return errors.New("the agent does not run yet")
	}
	a.tell(reload{c, reply})
	select {
	case err := <-reply:
		return err
	case <-a.gone:
		return errStopping
	}
}

// Snapshot returns how things are now. Before and after Run it returns how
// they were last.
func (a *Agent) Snapshot() status.Snapshot {
	select {
	case <-a.running:
		a.ask()
	default:
	}
	return *a.snap.Load()
}

// ask waits until the operator has looked around, but not for one who is
// stuck: that, too, is something to see.
func (a *Agent) ask() {
	late := time.NewTimer(time.Second)
	defer late.Stop()
	reply := make(chan struct{}, 1)
	select {
	case a.inbox <- look{reply}:
	case <-a.gone:
		return
	case <-late.C:
		return
	}
	select {
	case <-reply:
	case <-a.gone:
	case <-late.C:
	}
}
