package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ata-agent/ata-agent/internal/control"
	"github.com/ata-agent/ata-agent/internal/status"
)

var statusCommand = command{
	name: "status", args: "[--config FILE] [--json]", short: "what the running agent is doing, the first problem first",
	long: `
Tells of each line its state, since when, the proxy in use and why that one, the
ring of all proxy addresses with the health of each (* is in use), and the last
switch with its cause; of each port the hook, the state of its telephone and how its
call sounds or the last one did; of each lamp what it shows and means. What merely
follows from the first problem is not called one.

  --json   the same for programs; names once there are never renamed

Exit 0 when an agent answers, even one with a problem; 1 when none does.`,
	flags: func(c *call) { c.set.BoolVar(&c.json, "json", false, "") },
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		r, err := c.ask(control.Request{Do: control.Status}, nil)
		if err != nil {
			return err
		}
		if c.json {
			return c.print(r.Status)
		}
		show(c.out, r.Status, time.Now())
		return nil
	},
}

// show writes a snapshot for a person.
func show(out io.Writer, s *status.Snapshot, now time.Time) {
	fmt.Fprintf(out, "ata-agent %s, running for %s\n", s.Version, ago(s.Started, now))
	registered := 0
	for _, l := range s.Lines {
		if l.State == status.Registered {
			registered++
		}
	}
	switch {
	case s.Problem != "":
		fmt.Fprintf(out, "PROBLEM  %s\n", s.Problem)
		if s.Hint != "" {
			fmt.Fprintf(out, "hint     %s\n", s.Hint)
		}
	case registered < len(s.Lines):
		fmt.Fprintf(out, "no problem yet; %d of %s registered\n", registered, count(len(s.Lines), "line"))
	default:
		fmt.Fprintln(out, "all is well")
	}
	for i := range s.Lines {
		showLine(out, &s.Lines[i], now)
	}

	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PORT\tKIND\tHOOK\tTELEPHONE\tLINE")
	for _, p := range s.Ports {
		doing := p.State
		if p.Peer != "" {
			doing += " with " + p.Peer
		}
		switch {
		case p.Second == "":
		case p.State == "holding":
			doing += ", on hold " + p.Second
		default:
			doing += ", called by " + p.Second
		}
		if p.Fault != "" {
			doing = p.Fault
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Name, p.Kind, p.Hook, doing, dash(p.Line))
	}
	t.Flush()
	for i := range s.Ports {
		showSound(out, &s.Ports[i], now)
	}
	if len(s.Lamps) == 0 {
		return
	}
	fmt.Fprintln(out)
	fmt.Fprintln(t, "LAMP\tSHOWS\tMEANS")
	for _, l := range s.Lamps {
		fmt.Fprintf(t, "%s\t%s\t%s\n", l.Name, l.Pattern, l.Meaning)
	}
	t.Flush()
}

// showSound tells how the call of a port sounds, or how its last one did.
func showSound(out io.Writer, p *status.Port, now time.Time) {
	s := p.Sound
	if s == nil {
		return
	}
	fmt.Fprintf(out, "port %s: %s", p.Name, when(p, now))
	for _, how := range []string{s.Complaint(), s.Quality()} {
		if how != "" {
			fmt.Fprintf(out, ", %s", how)
		}
	}
	if s.FarMOS > 0 {
		fmt.Fprintf(out, "; what we send has MOS %.1f", s.FarMOS)
	}
	if s.Strangers+s.Garbage > 0 {
		fmt.Fprintf(out, "; %d packets from elsewhere and %d of garbage were dropped", s.Strangers, s.Garbage)
	}
	fmt.Fprintln(out)
}

// when says which call a port's sound is of.
func when(p *status.Port, now time.Time) string {
	s := p.Sound
	if p.Peer != "" {
		return "this call, since " + ago(s.Answered, now)
	}
	return "the last call, " + ago(s.Answered.Add(time.Duration(s.Lasted)), now) + " ago"
}

func showLine(out io.Writer, l *status.Line, now time.Time) {
	fmt.Fprintf(out, "\nline %s: %s for %s", l.Name, l.State, ago(l.Since, now))
	if l.Proxy != "" {
		word := "through"
		if l.State != status.Registered {
			word = "trying"
		}
		fmt.Fprintf(out, ", %s %s", word, place(l.Proxy, l.ProxyName))
	}
	if l.Backup {
		fmt.Fprint(out, ", a backup")
	}
	fmt.Fprintln(out)
	if l.Why != "" {
		fmt.Fprintf(out, "  because %s\n", l.Why)
	}
	if l.Messages {
		fmt.Fprintln(out, "  a message waits")
	}
	switch sw := l.LastSwitch; {
	case sw == nil:
	case sw.Took == 0:
		fmt.Fprintf(out, "  on its way from %s to %s since %s: %s\n", sw.From, sw.To, ago(sw.At, now), sw.Why())
	default:
		fmt.Fprintf(out, "  switched %s ago, from %s to %s in %s: %s\n", ago(sw.At, now), sw.From, sw.To, took(time.Duration(sw.Took)), sw.Why())
		if sw.Noticed != "" {
			fmt.Fprintf(out, "  noticed: %s\n", sw.Noticed)
		}
	}
	if len(l.Ring) == 0 {
		fmt.Fprintln(out, "  no proxy address is known")
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "    ADDRESS\tFROM\tSTATE\tTAKES\tLAST FAILURE")
	for _, p := range l.Ring {
		mark := ' '
		if p.Address == l.Proxy {
			mark = '*'
		}
		rtt, state, failure := "-", p.State, dash(p.LastFailure)
		if p.RTT > 0 {
			rtt = took(time.Duration(p.RTT))
		}
		if p.Loss >= muchLoss {
			rtt += fmt.Sprintf(", %.0f %% lost", 100*p.Loss)
		}
		if p.Quarantine.After(now) {
			state += ", avoided for " + ago(now, p.Quarantine)
		}
		if !p.LastFailureAt.IsZero() {
			failure = ago(p.LastFailureAt, now) + " ago: " + failure
		}
		fmt.Fprintf(t, "  %c %s\t%s\t%s\t%s\t%s\n", mark, p.Address, p.Name, state, rtt, failure)
	}
	t.Flush()
}

// muchLoss is when the loss on the way to a proxy is worth telling. What is
// known of it after few questions is a guess that falls with each answer.
const muchLoss = 0.3

// place names an address, and the entry it came from where that says more.
func place(address, name string) string {
	if name == "" || strings.HasPrefix(address, name) {
		return address
	}
	return address + " (" + name + ")"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// ago is a length of time with as much detail as a person wants: 41s, 12m,
// 3h12m, 9d4h.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "an unknown time"
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d/time.Second)))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d/time.Minute), int(d/time.Second)%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d/time.Hour), int(d/time.Minute)%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d/(24*time.Hour)), int(d/time.Hour)%24)
}

// took is a short time: 0.4 ms, 402 ms, 4.2 s.
func took(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
