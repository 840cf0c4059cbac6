package status

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// A Pattern is how a lamp shines: lit, dark, lit, dark, ... and again from the
// start; a single step is a steady light, and none is dark. It has the shape of
// hal.Pattern, so that one converts into the other.
type Pattern struct {
	Name  string
	Steps [8]time.Duration
}

const ms = time.Millisecond

// The patterns. What a lamp means is carried by its rhythm alone, because
// lamps differ in colour and people in how they see it.
var (
	Off       = Pattern{"off", [8]time.Duration{}}
	Solid     = Pattern{"solid", [8]time.Duration{1000 * ms}}
	Slow      = Pattern{"slow", [8]time.Duration{500 * ms, 500 * ms}}
	Fast      = Pattern{"fast", [8]time.Duration{100 * ms, 100 * ms}}
	Heartbeat = Pattern{"heartbeat", [8]time.Duration{100 * ms, 1900 * ms}}
	Triple    = Pattern{"triple", [8]time.Duration{100 * ms, 100 * ms, 100 * ms, 100 * ms, 100 * ms, 900 * ms}}
	Double    = Pattern{"double", [8]time.Duration{100 * ms, 100 * ms, 100 * ms, 700 * ms}}
)

var patterns = [...]Pattern{Off, Solid, Slow, Fast, Heartbeat, Triple, Double}

// ParsePattern reads a pattern's name, or its steps in milliseconds as
// "100/100/100/700", lit first.
func ParsePattern(s string) (Pattern, error) {
	var names []string
	for _, p := range patterns {
		if p.Name == s {
			return p, nil
		}
		names = append(names, p.Name)
	}
	p := Pattern{Name: s}
	steps := strings.Split(s, "/")
	if len(steps) > len(p.Steps) {
		return Pattern{}, fmt.Errorf("lamp pattern %q has %d steps: at most %d", s, len(steps), len(p.Steps))
	}
	for i, step := range steps {
		n, err := strconv.Atoi(step)
		if err != nil || n < 1 || n > 60000 {
			return Pattern{}, fmt.Errorf("lamp pattern %q: want one of %s, or steps of 1 to 60000 ms as 100/900",
				s, strings.Join(names, ", "))
		}
		p.Steps[i] = time.Duration(n) * ms
	}
	return p, nil
}

// A Row is one thing a lamp can show.
type Row struct {
	Key     string // "voip.backup": the role, a dot, the condition
	Pattern Pattern
	Meaning string
	holds   func(view) bool
}

// A Table is what all lamps show: for each role its rows, most urgent first. A
// lamp shows the first row of its role that holds.
type Table []Row

// view is what a row looks at: the snapshot and, for a phone's lamp, its port
// and that port's line.
type view struct {
	*Snapshot
	port *Port
	line *Line // nil when the port has none
}

// Default is the table of lamps. A phone's lamp follows the order ring, call
// waiting, off hook, fault, unregistered, message, idle.
var Default = Table{
	{"power.fault", Triple, "a port does not work", func(v view) bool { return v.Kind == Hardware }},
	{"power.ready", Solid, "ready", always},

	{"voip.nolink", Off, "no network link", func(v view) bool { return v.Kind == Link }},
	{"voip.unused", Off, "no line is configured", func(v view) bool { return len(v.Lines) == 0 }},
	{"voip.failed", Triple, "a line cannot register", func(v view) bool { return v.any(failed) }},
	{"voip.registering", Slow, "registering", func(v view) bool { return v.any(registering) }},
	{"voip.backup", Heartbeat, "registered through a backup proxy", func(v view) bool { return v.any(backup) }},
	{"voip.registered", Solid, "registered through the first proxy", always},

	{"phone.disabled", Off, "not in use", func(v view) bool { return v.port == nil || v.line == nil }},
	{"phone.ringing", Fast, "ringing", func(v view) bool { return v.port.State == "ringing" }},
	{"phone.callwaiting", Fast, "somebody calls during a call", func(v view) bool { return v.port.State == "callwaiting" }},
	{"phone.offhook", Slow, "off hook", func(v view) bool { return v.port.Hook == "off" }},
	{"phone.fault", Double, "the port does not work", func(v view) bool { return v.port.Fault != "" }},
	{"phone.failed", Triple, "its line cannot register", func(v view) bool { return failed(v.line) }},
	{"phone.registering", Off, "its line is registering", func(v view) bool { return registering(v.line) }},
	{"phone.message", Heartbeat, "a message waits", func(v view) bool { return v.line.Messages }},
	{"phone.idle", Solid, "idle, registered", always},
}

func always(view) bool         { return true }
func failed(l *Line) bool      { return l.State == Failed }
func registering(l *Line) bool { return l.State == Registering }
func backup(l *Line) bool      { return l.State == Registered && l.Backup }

func (v view) any(is func(*Line) bool) bool {
	for i := range v.Lines {
		if is(&v.Lines[i]) {
			return true
		}
	}
	return false
}

// With returns the table with the patterns of some rows replaced: keys are
// those of the rows, values what ParsePattern reads. t is not changed.
func (t Table) With(patterns map[string]string) (Table, error) {
	out := append(Table(nil), t...)
	keys := make([]string, 0, len(patterns))
	for key := range patterns {
		keys = append(keys, key)
	}
	sort.Strings(keys)
next:
	for _, key := range keys {
		p, err := ParsePattern(patterns[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		for i := range out {
			if out[i].Key == key {
				out[i].Pattern = p
				continue next
			}
		}
		known := make([]string, len(t))
		for i, row := range t {
			known[i] = row.Key
		}
		return nil, fmt.Errorf("no lamp shows %q: want one of %s", key, strings.Join(known, ", "))
	}
	return out, nil
}

// Show returns what the lamp name of a role shows in s. Roles are "power",
// "voip" (or "internet", the same) and "phone1", "phone2", ... for the first,
// second, ... port of s. A lamp of another role stays dark.
func (t Table) Show(s *Snapshot, name, role string) Lamp {
	v := view{Snapshot: s}
	switch {
	case role == "internet":
		role = "voip"
	case strings.HasPrefix(role, "phone"):
		n, err := strconv.Atoi(role[len("phone"):])
		if err == nil && n >= 1 && n <= len(s.Ports) {
			v.port = &s.Ports[n-1]
			v.line = s.line(v.port.Line)
		}
		role = "phone"
	}
	for _, row := range t {
		if strings.HasPrefix(row.Key, role+".") && row.holds(v) {
			return Lamp{name, row.Pattern.Name, row.Meaning, row.Pattern}
		}
	}
	return Lamp{name, Off.Name, "not in use", Off}
}

// line returns the line of a name, nil for none.
func (s *Snapshot) line(name string) *Line {
	for i := range s.Lines {
		if s.Lines[i].Name == name {
			return &s.Lines[i]
		}
	}
	return nil
}
