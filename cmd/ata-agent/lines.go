package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ata-agent/ata-agent/internal/control"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
)

// The commands about the proxies of lines: where a line is, where it was, where
// it should be, and what was said on the way.

func lineFlags(c *call) {
	c.set.StringVar(&c.line, "line", "", "")
	c.set.BoolVar(&c.json, "json", false, "")
}

var failoverCommand = command{
	name: "failover", args: "[--config FILE] [--line NAME] [--json] [ADDRESS]", short: "leave the proxy in use for another",
	long: `
Orders the lines to register at ADDRESS, one of those that ata-agent status lists,
or without it at the next. They stay there until a failure, or until failback is
ordered: a better proxy that comes back does not call them back. Calls go on. It
returns when the lines have arrived, or after ten seconds. Exit 1 when one has not.

  --line NAME   only this line, and those that share its proxies
  --json        what became of each line, for programs`,
	flags: lineFlags,
	run: func(c *call) error {
		req := control.Request{Do: control.Failover, Line: c.line}
		switch len(c.args) {
		case 0:
		case 1:
			req.Address = c.args[0]
		default:
			return &wrongUse{fmt.Errorf("failover goes to one address, not also to %q", c.args[1]), "ata-agent help failover"}
		}
		return c.order(req)
	},
}

var failbackCommand = command{
	name: "failback", args: "[--config FILE] [--line NAME] [--json]", short: "go back to the best proxy that is well",
	long: `
Orders the lines to register at the first of their proxy addresses that is not known
to be dead, and ends what failover has ordered. Calls go on. It returns when the
lines have arrived, or after ten seconds. Exit 1 when one has not.

  --line NAME   only this line, and those that share its proxies
  --json        what became of each line, for programs`,
	flags: lineFlags,
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		return c.order(control.Request{Do: control.Failback, Line: c.line})
	},
}

// order sends lines somewhere and tells what became of each.
func (c *call) order(req control.Request) error {
	r, err := c.ask(req, nil)
	if err != nil {
		return err
	}
	failed := false
	for _, m := range r.Moved {
		failed = failed || m.Error != ""
	}
	if c.json {
		c.print(list(r.Moved))
	} else {
		for _, m := range r.Moved {
			fmt.Fprintf(c.out, "line %s: %s\n", m.Line, outcome(m))
		}
	}
	if failed {
		return &told{exitFailed}
	}
	return nil
}

func outcome(m status.Moved) string {
	switch {
	case m.Error == "" && m.From == m.To:
		return "registered through " + m.To + ", where it was"
	case m.Error == "" && m.From != "":
		return fmt.Sprintf("registered through %s instead of %s after %s", m.To, m.From, took(time.Duration(m.Took)))
	case m.Error == "":
		return fmt.Sprintf("registered through %s after %s", m.To, took(time.Duration(m.Took)))
	case m.To != "" && m.To != m.From:
		return m.Error + "; it is registered through " + m.To
	case m.State == status.Registered && m.From != "":
		return m.Error + "; it stays registered through " + m.From
	}
	return m.Error + "; the line is " + string(m.State)
}

var probeCommand = command{
	name: "probe", args: "[--config FILE] [--line NAME] [--json]", short: "ask all proxy addresses now whether they live",
	long: `
Has the running agent send an OPTIONS to each proxy address of its lines, over the
line's own socket, and tells what came back and how long it took. What is learned
counts: a dead standby is avoided, a better proxy that is well again may be gone back
to (see failback in the configuration). It takes some seconds when one is silent.
Exit 1 when one of them does not live.

  --line NAME   only the addresses of this line
  --json        the same for programs`,
	flags: lineFlags,
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		r, err := c.ask(control.Request{Do: control.Probe, Line: c.line}, nil)
		if err != nil {
			return err
		}
		dead := len(r.Probed) == 0
		for _, p := range r.Probed {
			dead = dead || p.Error != ""
		}
		if c.json {
			c.print(list(r.Probed))
		} else {
			showProbed(c.out, r.Probed)
		}
		if dead {
			return &told{exitFailed}
		}
		return nil
	},
}

func showProbed(out io.Writer, all []status.Probed) {
	if len(all) == 0 {
		fmt.Fprintln(out, "no proxy address is known")
		return
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "LINE\t  ADDRESS\tFROM\tTAKES\tANSWER")
	for _, p := range all {
		mark, rtt, said := ' ', "-", fmt.Sprint(p.Code)
		if p.Use {
			mark = '*'
		}
		if p.Error != "" {
			said = p.Error
		} else {
			rtt = took(time.Duration(p.RTT))
		}
		fmt.Fprintf(t, "%s\t%c %s\t%s\t%s\t%s\n", p.Line, mark, p.Address, p.Name, rtt, said)
	}
	t.Flush()
}

var historyCommand = command{
	name: "history", args: "[--config FILE] [--line NAME] [--json]", short: "every change of proxy, why, and how long it took",
	long: `
Lists the last 64 moves of each line from one proxy address to another, newest first:
when, from where to where, how long the line was without a proxy, how many addresses
were tried, what the cause was as the network told it, and what a person at the
telephone noticed. Only moves since the agent was started are known.

  --line NAME   only this line
  --json        the same for programs`,
	flags: lineFlags,
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		r, err := c.ask(control.Request{Do: control.Status}, nil)
		if err != nil {
			return err
		}
		lines, err := c.named(r.Status.Lines)
		if err != nil {
			return err
		}
		if c.json {
			type move struct {
				Line string `json:"line"`
				status.Switch
			}
			all := []move{}
			for _, l := range lines {
				for _, sw := range l.History {
					all = append(all, move{l.Name, sw})
				}
			}
			return c.print(all)
		}
		for i, l := range lines {
			if i > 0 {
				fmt.Fprintln(c.out)
			}
			showHistory(c.out, &l, r.Status)
		}
		return nil
	},
}

// named takes the line of --line, or all.
func (c *call) named(all []status.Line) ([]status.Line, error) {
	if c.line == "" {
		return all, nil
	}
	var names []string
	for i, l := range all {
		if l.Name == c.line {
			return all[i : i+1], nil
		}
		names = append(names, l.Name)
	}
	return nil, &wrongUse{fmt.Errorf("there is no line %q", c.line), "the lines are " + strings.Join(names, ", ")}
}

func showHistory(out io.Writer, l *status.Line, s *status.Snapshot) {
	if len(l.History) == 0 {
		fmt.Fprintf(out, "line %s: no change of proxy in %s\n", l.Name, ago(s.Started, s.At))
		return
	}
	fmt.Fprintf(out, "line %s: %s in %s\n", l.Name, count(len(l.History), "change")+" of proxy", ago(s.Started, s.At))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  WHEN\tFROM\tTO\tTOOK\tTRIES\tBECAUSE")
	for _, sw := range l.History {
		lasted, tries := took(time.Duration(sw.Took)), fmt.Sprint(sw.Tries)
		if sw.Took == 0 {
			lasted = "goes on"
		}
		if sw.Tries == 0 {
			tries = "-"
		}
		why := sw.Why()
		if sw.Noticed != "" {
			why += "; " + sw.Noticed
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", clock(sw.At, s.At), sw.From, sw.To, lasted, tries, why)
	}
	t.Flush()
}

// clock is an instant as a person near it says it: without the day on the same
// day.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if y, d := t.Year(), t.YearDay(); y == now.Year() && d == now.YearDay() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

var traceCommand = command{
	name: "trace", args: "[--config FILE] [--line NAME] [--short] [--pcap FILE] [--json]", short: "the last SIP messages, sent and received",
	long: `
Writes the SIP messages that the running agent has sent and let in lately, oldest
first, and what the network said instead: as many as [log] trace keeps, 128 KiB at
most, of which sixteen may be keep-alives. What would prove a password is xxx, and so
are the keys of encrypted sound, so that it may be sent to others; numbers and names
are not hidden.

  --line NAME   only this line
  --short       a line for each message
  --pcap FILE   write a capture for Wireshark instead; - is the standard output. What
                went over TCP or TLS is in it as UDP between the same addresses
  --json        for programs`,
	flags: func(c *call) {
		lineFlags(c)
		c.set.BoolVar(&c.short, "short", false, "")
		c.set.StringVar(&c.pcap, "pcap", "", "")
	},
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		r, err := c.ask(control.Request{Do: control.Trace}, nil)
		if err != nil {
			return err
		}
		var all []trace.Message
		for _, m := range r.Trace {
			if c.line == "" || m.Line == c.line {
				all = append(all, m)
			}
		}
		switch {
		case c.json:
			return c.print(list(all))
		case c.pcap == "-":
			return trace.WritePCAP(c.out, all)
		case c.pcap != "":
			// What was said is nobody else's business.
			f, err := os.OpenFile(c.pcap, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			if err := trace.WritePCAP(f, all); err != nil {
				f.Close()
				return err
			}
			return f.Close()
		case len(all) == 0:
			fmt.Fprintln(c.err, "there is no message; [log] trace says how many are kept")
		}
		now := time.Now()
		for i := range all {
			showMessage(c.out, &all[i], now, c.short)
		}
		return nil
	},
}

// showMessage writes when, whose, which way and where, then the message.
func showMessage(out io.Writer, m *trace.Message, now time.Time, short bool) {
	way := "from"
	switch {
	case m.Fault != "":
		way = "fault at"
	case m.Sent:
		way = "to"
	}
	at := m.At.Local().Format("15:04:05.000")
	if day := clock(m.At, now); len(day) > len("15:04:05") {
		at = m.At.Local().Format("2006-01-02 15:04:05.000")
	}
	remote := m.Remote
	if remote == "" {
		remote = "our own socket"
	}
	fmt.Fprintf(out, "%s line %s %s %s %s", at, m.Line, way, m.Transport, remote)
	if short || m.Fault != "" {
		said := oneLine(m.First())
		if m.Fault == "" {
			said += "  " + oneLine(m.Header("CSeq"))
		}
		fmt.Fprintf(out, "  %s\n", said)
		if !short {
			fmt.Fprintln(out)
		}
		return
	}
	fmt.Fprintln(out)
	for l := range strings.SplitSeq(strings.TrimRight(m.Text, "\r\n"), "\n") {
		fmt.Fprintf(out, "  %s\n", oneLine(strings.TrimRight(l, "\r")))
	}
	if m.Cut > 0 {
		fmt.Fprintf(out, "  ... and %d bytes more\n", m.Cut)
	}
	fmt.Fprintln(out)
}

// print writes what --json asks for.
func (c *call) print(v any) error {
	out := json.NewEncoder(c.out)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// list is never null in JSON.
func list[T any](all []T) []T {
	if all == nil {
		return []T{}
	}
	return all
}
