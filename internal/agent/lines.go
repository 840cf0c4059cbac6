package agent

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip"
)

// A line is an account with the messenger that keeps it registered. Owned by
// the operator.
type line struct {
	cfg    config.Line
	sip    *sip.Line
	route  *route
	urgent []string // emergency numbers

	cancel  func() // nil until started
	leaving bool   // the configuration has it no more, or not like this
	quit    bool   // told to say goodbye

	messages bool                       // a message waits
	via      outbound.Target            // that took the last registration
	failed   map[outbound.Target]string // what was said of each address since then
	wrong    status.Trouble             // what keeps it from working, until it is registered
	since    time.Time                  // of wrong
	nameless time.Time                  // since when names are not resolved; zero: they are
	fault    string                     // why it does not run, if it does not
}

// A route is shared by the lines with the same proxies.
type route struct {
	*outbound.Route
	key    string
	names  map[string]string // what the file calls each proxy
	lines  int               // that use it
	cancel func()            // nil until started

	// What status shows of its switches, made anew when there is another.
	last    outbound.SwitchRecord
	history []status.Switch
}

// called is what the file calls the proxy that an address belongs to.
func (r *route) called(t outbound.Target) string { return cmp.Or(r.names[t.Proxy], t.Proxy) }

// freshTime is for how long a machine counts as just switched on. Our choice:
// a router takes minutes to start and to find its network.
const freshTime = 10 * time.Minute

// lineOf returns the line that serves a name: one that runs rather than the one
// that waits to take its place. nil for none.
func (a *Agent) lineOf(name string) (serves *line) {
	for _, l := range a.lines {
		if l.cfg.Name == name && (serves == nil || l.cancel != nil && !l.quit) {
			serves = l
		}
	}
	return serves
}

// newLine makes a line and takes part in its route.
func (a *Agent) newLine(c config.Line, s *setup) (l *line, err error) {
	r, err := a.routeTo(c, s)
	if err != nil {
		return nil, err
	}
	r.lines++
	defer func() {
		if err != nil {
			a.leaveRoute(r)
		}
	}()
	l = &line{cfg: c, route: r, urgent: s.emergency(c), failed: make(map[outbound.Target]string)}
	l.sip, err = sip.New(sip.Config{
		Name:        c.Name,
		User:        c.User,
		AuthUser:    c.AuthUser,
		Password:    c.Password.Reveal(),
		Domain:      c.Domain,
		DisplayName: c.DisplayName,
		Route:       r.Route,
		Network:     watched{a.cfg.Network, &a.trace, c.Name},
		Local:       c.Listen,
		Roots:       a.cfg.Roots,
		Expires:     c.Expires,
		KeepAlive:   c.KeepAlive,
		KeepAliveBy: c.KeepAliveBy,
		NoAnswer:    c.NoAnswer,
		Standby:     c.Standby,
		Emergency:   l.urgent,
		InstanceID:  a.identity,
		UserAgent:   "ata-agent/" + a.cfg.Version,
		MediaFlows:  a.flows,
		Random:      a.cfg.Random,
		Logger:      slog.New(softly{a.log.Handler()}),
	}, func(ev sip.Event) { a.tell(lineNews{l, ev}) })
	if err != nil {
		return nil, err
	}
	return l, nil
}

// routeTo finds the route of a line, or makes one.
func (a *Agent) routeTo(c config.Line, s *setup) (*route, error) {
	key := s.routeKey(c)
	for _, r := range a.routes {
		if r.key == key {
			return r, nil
		}
	}
	order, err := outbound.ParseOrder(c.Order)
	if err != nil {
		return nil, err
	}
	failback, err := outbound.ParseFailback(c.Failback)
	if err != nil {
		return nil, err
	}
	rc := outbound.RouteConfig{
		Proxies:       c.Proxies(),
		Resolver:      s.names,
		Keep:          s.longest(key),
		Order:         order,
		Device:        a.identity,
		Spread:        spread(c),
		Failback:      failback,
		FailbackAfter: c.FailbackAfter,
		Random:        a.cfg.Random,
		Logger:        slog.New(softly{a.log.Handler()}),
	}
	if a.cfg.Uptime+time.Since(a.started) < freshTime {
		rc.BootSpread = c.BootSpread
	}
	names := make(map[string]string, len(c.OutboundProxy))
	for i, p := range rc.Proxies {
		names[p.String()] = c.OutboundProxy[i]
	}
	if dir := s.config.StateDir; dir != "" {
		h := fnv.New32a()
		h.Write([]byte(key))
		rc.StateFile = filepath.Join(dir, fmt.Sprintf("route-%08x", h.Sum32()))
	}
	r := &route{Route: outbound.NewRoute(rc), key: key, names: names}
	a.routes = append(a.routes, r)
	return r, nil
}

// leaveRoute is called once for each line that has used r and is gone.
func (a *Agent) leaveRoute(r *route) {
	if r.lines--; r.lines > 0 {
		return
	}
	if r.cancel != nil {
		r.cancel()
	}
	a.routes = slices.DeleteFunc(a.routes, func(o *route) bool { return o == r })
}

// startLines sends out the messengers that are not yet on their way. A line
// that takes the place of another of the same name waits until that has said
// goodbye: the registrar must not hear it after the new one's greeting.
func (a *Agent) startLines() {
	for _, r := range a.routes {
		if r.cancel == nil {
			ctx, cancel := context.WithCancel(a.ctx)
			r.cancel = cancel
			a.work.Go(func() { r.Run(ctx) })
		}
	}
	for _, l := range a.lines {
		waits := slices.ContainsFunc(a.lines, func(o *line) bool { return o != l && o.cancel != nil && o.cfg.Name == l.cfg.Name })
		if l.cancel != nil || waits {
			continue
		}
		ctx, cancel := context.WithCancel(a.ctx)
		l.cancel = cancel
		a.work.Go(func() { a.tell(lineStopped{l, l.sip.Run(ctx)}) })
	}
}

// bye tells a line to go: its calls end, it unregisters, and lineStopped
// follows.
func (a *Agent) bye(l *line) {
	l.quit = true
	if l.cancel == nil || l.fault != "" { // it does not run
		a.lineStopped(l, nil)
		return
	}
	l.cancel()
}

// settle lets a line go that is leaving, once its last call has ended.
func (a *Agent) settle(l *line) {
	busy := slices.ContainsFunc(a.calls, func(c *call) bool { return c.line == l })
	if l.leaving && !l.quit && !busy {
		a.bye(l)
	}
}

// lineStopped: a line has gone, as it was told or because it had to.
func (a *Agent) lineStopped(l *line, err error) {
	if !l.quit {
		l.fault = fmt.Sprintf("stopped: %v", err)
		a.log.Error(fmt.Sprintf("line %s %s", l.cfg.Name, l.fault))
		return
	}
	a.lines = slices.DeleteFunc(a.lines, func(o *line) bool { return o == l })
	a.leaveRoute(l.route)
	if !a.stopping {
		a.startLines()
	}
}

// news: something happened on a line.
func (a *Agent) news(now time.Time, l *line, news sip.Event) {
	switch ev := news.(type) {
	case sip.Registering:
		a.log.Debug(fmt.Sprintf("line %s: registers via %s", l.cfg.Name, ev.Via))
	case sip.Registered:
		how := fmt.Sprintf("line %s registered via %s", l.cfg.Name, ev.Via)
		if !l.via.IsZero() && l.via != ev.Via {
			a.count.Switches++
			how += fmt.Sprintf(" instead of %s", l.via)
			if sw := l.route.Status().LastSwitch; sw.To == ev.Via && sw.Took > 0 {
				how += fmt.Sprintf(" after %v: %s", max(sw.Took.Round(time.Millisecond), time.Millisecond), cmp.Or(sw.Detail, sw.Cause))
			}
		}
		l.via = ev.Via
		if l.cut() {
			l.joined(now)
		}
		l.wrong = status.Trouble{}
		clear(l.failed)
		a.log.Info(how)
	case sip.Failed:
		a.lineFailed(now, l, ev)
	case sip.MessageWaiting:
		if l.messages != ev.Waiting {
			l.messages = ev.Waiting
			a.log.Info(fmt.Sprintf("line %s: %s", l.cfg.Name, map[bool]string{true: "a message waits", false: "no message waits"}[ev.Waiting]))
		}
		for _, e := range a.exts {
			if e.line == l.cfg.Name {
				e.phone.Messages(ev.Waiting)
			}
		}
	case sip.Incoming:
		a.incoming(now, l, ev)
	case sip.Progress:
		if c := a.callOn(ev.Call); c != nil {
			c.progress(now, ev)
		}
	case sip.Answered:
		if c := a.callOn(ev.Call); c != nil {
			c.answered(now, ev)
		}
	case sip.Changed:
		if c := a.callOn(ev.Call); c != nil {
			c.connect(ev.Media)
		}
	case sip.Unchanged:
		if c := a.callOn(ev.Call); c != nil {
			c.unchanged(ev)
		}
	case sip.Pressed:
		if c := a.callOn(ev.Call); c != nil && c.stream != nil {
			c.stream.Pressed(ev.Key, ev.For)
		}
	case sip.Moved:
		a.log.Info(fmt.Sprintf("line %s: call moves from %s to %s: %v", l.cfg.Name, ev.From, ev.To, ev.Why))
	case sip.Ended:
		if c := a.callOn(ev.Call); c != nil {
			c.ended(now, ev)
		}
	default:
		panic(fmt.Sprintf("agent: line %s tells %T", l.cfg.Name, news))
	}
}

// cut reports whether it is our own side that keeps the line from working.
func (l *line) cut() bool { return l.wrong.Kind == status.Link || l.wrong.Kind == status.Address }

// joined: our own side is well again. Names could not be asked for either, and
// have a fresh chance.
func (l *line) joined(now time.Time) {
	l.wrong = status.Trouble{}
	l.route.Refresh()
	l.nameless = now
}

// rewired looks at our own side, and lets every line see where that leaves it.
func (a *Agent) rewired(now time.Time) {
	cut := a.cutOff()
	for _, l := range a.lines {
		switch {
		case cut.Kind != status.None:
			l.blame(now, cut)
		case l.cut() && l.sip.Status().State == string(status.Registered):
			l.joined(now) // so soon that the line has missed nothing
		}
		l.sip.NetworkChanged()
	}
}

// lineFailed says what is new: the same words about the same address are said
// once until the line is registered again.
func (a *Agent) lineFailed(now time.Time, l *line, ev sip.Failed) {
	if t := outOfService(l); t.Kind != status.None {
		l.blame(now, a.wayOut(t))
	}
	what := ev.Err.Error()
	if l.failed[ev.Via] == what {
		return
	}
	l.failed[ev.Via] = what
	if ev.Via.IsZero() {
		a.log.Warn(fmt.Sprintf("line %s: register: %s", l.cfg.Name, what))
		return
	}
	a.log.Warn(fmt.Sprintf("line %s: register via %s: %s", l.cfg.Name, ev.Via, what))
}

// outOfService says what keeps a line from working that has just failed at an
// address. While there is another to try nothing is wrong yet.
func outOfService(l *line) status.Trouble {
	s := l.sip.Status()
	t := status.Trouble{Who: "line " + l.cfg.Name, What: s.Err}
	switch {
	case s.Problem == sip.NetworkProblem:
		t.Kind = status.Address
	case s.State != string(status.Failed):
		return status.Trouble{}
	case s.Problem == sip.AccountProblem:
		t.Kind = status.Account
	default:
		t.Kind = status.Proxy
	}
	return t
}

// blame remembers what is wrong and since when something was.
func (l *line) blame(now time.Time, t status.Trouble) {
	if l.wrong.Kind == status.None {
		l.since = now
	}
	l.wrong = t
}

// softly passes on as debugging what lines and routes log themselves: what
// matters of it is told or looked up, and said here in one voice.
type softly struct{ slog.Handler }

func (h softly) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h softly) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h softly) WithAttrs(as []slog.Attr) slog.Handler { return softly{h.Handler.WithAttrs(as)} }
func (h softly) WithGroup(name string) slog.Handler    { return softly{h.Handler.WithGroup(name)} }

// spread is what a line's first failover is spread over. A device on its own
// (2 s or less) that looks after its proxy more often than every 15 s wants to
// be back sooner too.
func spread(c config.Line) time.Duration {
	if c.FailoverSpread > 2*time.Second {
		return c.FailoverSpread
	}
	return min(c.FailoverSpread, c.KeepAlive*2/15)
}
