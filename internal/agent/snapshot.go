package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
)

// publish looks at everything, replaces the snapshot, and shows what changed:
// lamps, and the first thing wrong.
func (a *Agent) publish(now time.Time) {
	s := &status.Snapshot{
		Version:  a.cfg.Version,
		Started:  a.started,
		At:       now,
		Lines:    make([]status.Line, 0, len(a.lines)),
		Ports:    make([]status.Port, 0, len(a.exts)),
		Lamps:    make([]status.Lamp, 0, len(a.lamps)),
		Counters: a.count,
	}
	s.Counters.Dropped = a.dropped()

	var fatal, mild []status.Trouble
	for _, c := range a.setup.config.Lines {
		l := a.lineOf(c.Name)
		if l == nil {
			continue // gone between the operator's goodbye and its own
		}
		shown, trouble, names := a.lookAt(now, l)
		s.Lines = append(s.Lines, shown)
		if trouble.Kind != status.None {
			fatal = append(fatal, trouble)
			fatal = append(fatal, names)
		} else {
			mild = append(mild, names)
		}
	}
	for _, e := range a.exts {
		s.Ports = append(s.Ports, e.look())
		if e.fault != "" {
			fatal = append(fatal, status.Trouble{Kind: status.Hardware, Who: "port " + e.port.Name(), What: e.fault})
		}
	}

	// What keeps a line from working comes before what only may do so later.
	first := status.First(fatal)
	if first.Kind == status.None {
		first = status.First(mild)
	}
	first = a.wayOut(first)
	s.Kind, s.Problem, s.Hint = first.Kind, first.Sentence(), first.Hint()
	if first.Kind != a.trouble.Kind || first.Who != a.trouble.Who {
		unregistered := func(l status.Line) bool { return l.State != status.Registered }
		if first.Kind != status.None || !slices.ContainsFunc(s.Lines, unregistered) {
			a.sayTrouble(first)
		} // else it may be the next trouble already
	}

	for i, l := range a.lamps {
		lamp := a.setup.table.Show(s, l.Name(), l.Role)
		s.Lamps = append(s.Lamps, lamp)
		if lamp.Steps != a.shown[i].Steps {
			if err := l.Show(hal.Pattern(lamp.Steps)); err != nil {
				a.log.Error(fmt.Sprintf("lamp %s: %v", l.Name(), err))
			}
		}
		a.shown[i] = lamp
	}
	a.snap.Store(s)
	a.looked = now
}

// dropped counts what was not let in, on all lines.
func (a *Agent) dropped() map[string]uint64 {
	all := make(map[string]uint64, 4)
	for _, l := range a.lines {
		c := l.sip.Counters()
		all["stranger"] += c.Stranger
		all["too big"] += c.TooBig
		all["too fast"] += c.TooFast
		all["unparsable"] += c.Unparsable
	}
	return all
}

// sayTrouble logs a change of the first thing wrong.
func (a *Agent) sayTrouble(t status.Trouble) {
	switch {
	case a.stopping: // what ends is not news
	case t.Kind == status.None:
		a.log.Info("all is well again")
	default:
		a.log.Warn(t.Sentence(), "hint", t.Hint())
	}
	a.trouble = t
}

// look is the port as status shows it.
func (e *extension) look() status.Port {
	p := status.Port{
		Name:  e.port.Name(),
		Kind:  e.port.Kind(),
		Hook:  "on",
		State: e.phone.State(),
		Line:  e.line,
		Fault: e.fault,
	}
	if e.off {
		p.Hook = "off"
	}
	p.Sound = e.sound
	if c := e.a.callOf(e, e.phone.Leg()); c != nil {
		p.Peer = c.peer
		if s := c.sound(time.Now()); s != nil {
			p.Sound = s
		}
	}
	if c := e.a.callOf(e, e.phone.Second()); c != nil {
		p.Second = c.who()
	}
	return p
}

// lookAt is the line as status shows it, what keeps it from working, and what
// is wrong with the names of its proxies, which need not keep it from working.
func (a *Agent) lookAt(now time.Time, l *line) (shown status.Line, trouble, names status.Trouble) {
	s, r := l.sip.Status(), l.route.Status()
	who := "line " + l.cfg.Name
	shown = status.Line{
		Name:      l.cfg.Name,
		State:     status.State(s.State),
		Since:     s.Since,
		Proxy:     s.Via.Dest,
		ProxyName: l.route.called(s.Via),
		Why:       s.Err,
		Ring:      make([]status.Place, 0, len(r.Ring)),
		Messages:  l.messages,
	}
	if s.Via.IsZero() {
		if t, ok := l.route.Current(); ok {
			shown.Proxy, shown.ProxyName = t.Dest, l.route.called(t)
		}
	}
	for i, p := range r.Ring {
		shown.Ring = append(shown.Ring, status.Place{
			Address:     p.Dest,
			Name:        l.route.called(p.Target),
			State:       p.State,
			RTT:         status.Millis(p.RTT),
			LastFailure: p.LastFailure,

			LastFailureAt: p.LastFailureAt,
			LastGood:      p.LastGood,
			Failures:      p.Failures,
			Loss:          p.Loss,
			Quarantine:    p.Quarantine,
		})
		if i == 0 && s.State == string(status.Registered) && p.Target != s.Via {
			shown.Backup = true
			shown.Why = a.whyBackup(p, r.LastSwitch, s.Via)
		}
	}
	if l.route.last != r.LastSwitch {
		l.route.last, l.route.history = r.LastSwitch, told(l.route.History())
	}
	shown.History = l.route.history
	if sw := r.LastSwitch; !sw.To.IsZero() {
		last := switched(sw)
		shown.LastSwitch = &last
	}
	switch {
	case r.DNS == "":
		l.nameless = time.Time{}
	case l.nameless.IsZero():
		l.nameless = now
	}
	if r.DNS != "" {
		names = status.Trouble{Kind: status.DNS, Who: who, What: r.DNS}
	}

	if l.fault != "" {
		shown.State, shown.Why = status.Failed, l.fault
		return shown, status.Trouble{Kind: status.Address, Who: who, What: l.fault}, names
	}
	if shown.State == status.Registered && !l.cut() {
		if now.Sub(l.nameless) < lookTime {
			names = status.Trouble{} // it may be over before it matters
		}
		return shown, trouble, names
	}
	if names.Kind != status.None && l.wrong.Kind == status.None && len(r.Ring) == 0 {
		l.blame(now, names)
	}
	switch l.wrong.Kind {
	case status.None, status.DNS: // it still hopes to register
	case status.Account: // a proxy was found and has answered: its name is no reason
		names = status.Trouble{}
		fallthrough
	default: // failed until it is registered again, however often it tries
		shown.State, shown.Since, shown.Why = status.Failed, l.since, l.wrong.What
	}
	return shown, l.wrong, names
}

// whyBackup says why a line is not at its first address.
func (a *Agent) whyBackup(first outbound.PlaceStatus, last outbound.SwitchRecord, via outbound.Target) string {
	switch {
	case last.To == via && last.Cause == asked:
		return "that was ordered; ata-agent failback ends it"
	case first.LastFailure == "":
		return first.Dest + " has not been tried"
	case first.State == "good":
		return fmt.Sprintf("%s failed (%s); it is well again", first.Dest, first.LastFailure)
	}
	return first.Dest + ": " + first.LastFailure
}

// asked is the cause of a switch that a person ordered.
var asked = outbound.Failure{Cause: outbound.Asked}.Error()

func told(all []outbound.SwitchRecord) []status.Switch {
	list := make([]status.Switch, len(all))
	for i, sw := range all {
		list[i] = switched(sw)
	}
	return list
}

func switched(sw outbound.SwitchRecord) status.Switch {
	return status.Switch{
		From: sw.From.Dest, To: sw.To.Dest, Cause: sw.Cause, Detail: sw.Detail,
		At: sw.At, Took: status.Millis(sw.Took), Tries: sw.Tries, Noticed: sw.Noticed,
	}
}

// wayOut looks at our own side when something farther away seems wrong.
func (a *Agent) wayOut(t status.Trouble) status.Trouble {
	switch t.Kind {
	case status.Address, status.DNS, status.Proxy:
		if cut := a.cutOff(); cut.Kind != status.None {
			return cut
		}
	}
	return t
}

// cutOff is what on our own side keeps every line from working: no link, or no
// address. A proxy or name server on this machine needs neither.
func (a *Agent) cutOff() status.Trouble {
	for _, s := range a.setup.config.DNS.Servers {
		if s.Addr().IsLoopback() {
			return status.Trouble{}
		}
	}
	for _, r := range a.routes {
		if via, ok := r.Current(); ok && via.Addr.Addr().IsLoopback() {
			return status.Trouble{}
		}
	}
	switch up, addressed := a.cfg.Links(); {
	case !up:
		return status.Trouble{Kind: status.Link}
	case !addressed:
		return status.Trouble{Kind: status.Address, What: "no interface has an address"}
	}
	return status.Trouble{}
}
