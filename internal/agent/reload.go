package agent

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/phone"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
)

// A setup is a configuration as this board understands it, checked. Nobody
// changes it.
type setup struct {
	config *config.Config
	ports  []portSetup // one for each port of the board
	table  status.Table
	names  *outbound.Resolver
	urgent []string // the country's emergency numbers
}

// A portSetup says what becomes of a port. Without a line it is out of use.
type portSetup struct {
	line    string
	country *country.Country
	plan    *phone.Plan
	flash   bool // in a call it is for the far end
	single  bool // who calls during a call is told that it is busy
	timing  hook.Timing
	tuning  media.Tuning
	caller  callerid.Standard // in which it is told who calls
	lacks   string            // why not as its country's telephones are
}

// prepare checks c against the board. All mistakes come back at once.
func (a *Agent) prepare(c *config.Config) (*setup, error) {
	var wrong config.Mistakes
	s := &setup{config: c, ports: make([]portSetup, len(a.cfg.Ports))}

	usual, err := country.Get(cmp.Or(c.Country, a.cfg.Country))
	if err != nil {
		wrong = append(wrong, c.Mistake("country", err.Error(), ""))
	}
	if usual != nil {
		s.urgent = usual.Emergency
	}
	own := make([]bool, len(s.ports)) // what is chosen for the port, not for its country
	for i := range s.ports {
		s.ports[i].country = usual
		s.ports[i].flash, s.ports[i].timing, s.ports[i].tuning = true, hook.Wide, media.Tuning{Tail: config.UsualTail}
	}
	if len(c.Ports) == 0 && len(c.Lines) > 0 && len(s.ports) > 0 {
		s.ports[0].line = c.Lines[0].Name
	}
	for i, p := range c.Ports {
		key := func(name string) string { return fmt.Sprintf("port[%d].%s", i, name) }
		n := slices.IndexFunc(a.cfg.Ports, func(port hal.Port) bool { return port.Name() == p.Name })
		if n < 0 {
			wrong = append(wrong, c.Mistake(key("name"), fmt.Sprintf("this board has no port %q", p.Name), a.portNames()))
			continue
		}
		s.ports[n].line = p.Line
		if p.Country != "" {
			if s.ports[n].country, err = country.Get(p.Country); err != nil {
				wrong = append(wrong, c.Mistake(key("country"), err.Error(), ""))
			}
		}
		if s.ports[n].plan, err = phone.ParsePlan(p.DigitMap); err != nil {
			wrong = append(wrong, c.Mistake(key("digit_map"), err.Error(), ""))
		}
		s.ports[n].flash = p.Flash == "event"
		s.ports[n].single = p.CallWaiting == "off"
		s.ports[n].timing = timing(p.FlashMin, p.FlashMax)
		s.ports[n].tuning = media.Tuning{Tail: p.EchoTail, In: p.InputGain, Out: p.OutputGain, Sidetone: p.Sidetone}
		if _, ok := a.cfg.Ports[n].(hal.Handset); !ok && p.Sidetone > 0 {
			wrong = append(wrong, c.Mistake(key("sidetone"), fmt.Sprintf("port %q has a line, whose telephone makes its own", p.Name), "want 0"))
		}
		if p.CallerID != "country" {
			own[n] = true
			if s.ports[n].caller, err = callerid.ParseStandard(p.CallerID); err != nil {
				wrong = append(wrong, c.Mistake(key("caller_id"), fmt.Sprintf("%q is no standard", p.CallerID), standards(p.CallerID)))
			} else if err := media.Able(a.cfg.Ports[n], s.ports[n].caller); err != nil {
				wrong = append(wrong, c.Mistake(key("caller_id"), fmt.Sprintf("%q cannot be: %v", p.CallerID, err), `want "off"`))
			}
		}
	}
	for i := range s.ports {
		if c := s.ports[i].country; c != nil {
			s.ports[i].timing.Numbering = c.Pulses
			s.ports[i].tuning.Keys = keysOf[c.Code]
			if !own[i] {
				s.ports[i].caller, s.ports[i].lacks = usualCaller(c, a.cfg.Ports[i])
			}
		}
	}

	if s.table, err = status.Default.With(a.cfg.Patterns); err != nil {
		return nil, fmt.Errorf("lamps of the board: %w", err)
	}
	chosen := make(map[string]string)
	for _, row := range status.Default {
		if p, ok := c.Lamps[row.Key]; ok && p != row.Pattern.Name {
			chosen[row.Key] = p
		}
	}
	if s.table, err = s.table.With(chosen); err != nil {
		wrong = append(wrong, c.Mistake("lamps", err.Error(), ""))
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	s.names = outbound.NewResolver(outbound.ResolverConfig{
		Network:    a.cfg.Network,
		Servers:    c.DNS.Servers,
		ResolvConf: c.DNS.ResolvConf,
		Timeout:    c.DNS.Timeout,
		Random:     a.cfg.Random,
	})
	return s, nil
}

// keysOf has the countries with a column of their own in ITU-T Q.24, Table A-1. The
// others have AT&T's.
var keysOf = map[string]dtmf.Administration{
	"au": dtmf.Australia, "br": dtmf.Brazil, "dk": dtmf.Denmark, "jp": dtmf.NTT,
}

// usualCaller is how a country's telephones are told who calls, where that is
// known, or why the port is not able to. A handset is not told by its sound.
func usualCaller(c *country.Country, port hal.Port) (std callerid.Standard, lacks string) {
	if _, ok := port.(hal.Handset); ok || c.CallerID == "" {
		return callerid.Off, ""
	}
	std, err := callerid.ParseStandard(c.CallerID)
	if err == nil {
		err = media.Able(port, std)
	}
	if err != nil {
		return callerid.Off, err.Error()
	}
	return std, ""
}

// standards is what would have been right instead of a word.
func standards(word string) string {
	all := append([]string{"country"}, callerid.Names()...)
	if near := config.Nearest(word, all); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "want one of " + strings.Join(all, ", ")
}

// timing is how a hook is heard whose flashes last so long. A longer shortest
// flash leaves more room for slow dials: DAHDI_MAXPULSETIME is 200 ms.
func timing(shortest, longest time.Duration) hook.Timing {
	t := hook.Wide
	t.FlashMin, t.FlashMax = shortest, longest
	t.PulseMax = min(shortest, 200*time.Millisecond)
	return t
}

func (a *Agent) portNames() string {
	if len(a.cfg.Ports) == 0 {
		return "it has none"
	}
	names := make([]string, len(a.cfg.Ports))
	for i, p := range a.cfg.Ports {
		names[i] = fmt.Sprintf("%q", p.Name())
	}
	return "its ports are " + strings.Join(names, ", ")
}

// routeKey is the same for lines that can share a route: the same proxies,
// found in the same way.
func (s *setup) routeKey(l config.Line) string {
	return fmt.Sprint(l.Transport, l.OutboundProxy, l.Order, spread(l), l.BootSpread, l.Failback, l.FailbackAfter, s.config.DNS)
}

// emergency are the numbers of a line that do not wait.
func (s *setup) emergency(l config.Line) []string {
	if len(l.Emergency) > 0 {
		return l.Emergency
	}
	return s.urgent
}

// longest is the longest expiry of the lines on a route.
func (s *setup) longest(key string) (d time.Duration) {
	for _, l := range s.config.Lines {
		if s.routeKey(l) == key {
			d = max(d, l.Expires)
		}
	}
	return d
}

// apply makes the agent what s says. An error leaves it as it was.
func (a *Agent) apply(s *setup) error {
	var lines, fresh []*line
	for i, c := range s.config.Lines {
		l := a.unchanged(c, s)
		if l == nil {
			var err error
			if l, err = a.newLine(c, s); err != nil {
				for _, l := range fresh {
					a.leaveRoute(l.route)
				}
				return config.Mistakes{s.config.Mistake(fmt.Sprintf("line[%d]", i), err.Error(), "")}
			}
			fresh = append(fresh, l)
		}
		lines = append(lines, l)
	}

	old := a.lines
	a.lines, a.setup = lines, s
	a.trace.Keep(s.config.Log.Trace)
	for _, l := range old {
		if !slices.Contains(lines, l) {
			l.leaving = true
			a.lines = append(a.lines, l)
		}
	}
	for i, e := range a.exts {
		e.configure(s.ports[i])
	}
	return nil
}

// unchanged is the line that c describes and that is there already.
func (a *Agent) unchanged(c config.Line, s *setup) *line {
	for _, l := range a.lines {
		if !l.leaving && l.fault == "" && l.route.key == s.routeKey(c) && reflect.DeepEqual(l.cfg, c) && slices.Equal(l.urgent, s.emergency(c)) {
			return l
		}
	}
	return nil
}

// reload applies another configuration while the agent runs.
func (a *Agent) reload(c *config.Config) error {
	if a.stopping {
		return errStopping
	}
	s, err := a.prepare(c)
	if err != nil {
		return err
	}
	before := a.setup.config
	if err := a.apply(s); err != nil {
		return err
	}
	kept := 0
	for _, l := range slices.Clone(a.lines) {
		if l.leaving {
			a.settle(l)
		} else if l.cancel != nil {
			kept++
		}
	}
	for _, r := range a.routes {
		r.Refresh()
	}
	a.startLines()
	a.log.Info(fmt.Sprintf("configuration %s read again: %d of %d lines unchanged", c.File, kept, len(c.Lines)))
	for _, late := range []struct {
		key  string
		same bool
	}{
		{"board", before.Board == c.Board},
		{"state_dir", before.StateDir == c.StateDir},
		{"control", before.Control == c.Control},
		{"tls.roots", before.TLS == c.TLS},
	} {
		if !late.same {
			a.log.Warn(late.key + " has changed: that takes effect when the agent is started again")
		}
	}
	return nil
}
