package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// What a person may order of lines while the agent runs. These methods may wait
// and run on the goroutine of whoever asks; the operator only says which lines
// there are.

// Our own choice.
const (
	moveTime = 10 * time.Second      // for a line to arrive where it was sent
	seeTime  = 20 * time.Millisecond // between looks whether it has
)

// find: somebody wants to know the lines of a name, or with none all.
type find struct {
	name  string
	reply chan<- []*line
}

// linesNamed asks the operator. Of a line only what never changes may be used:
// sip, route and the name in cfg.
func (a *Agent) linesNamed(ctx context.Context, name string) ([]*line, error) {
	select {
	case <-a.running:
	default:
		return nil, fmt.Errorf("the agent does not run yet")
	}
	reply := make(chan []*line, 1)
	a.tell(find{name, reply})
	select {
	case found := <-reply:
		if len(found) == 0 {
			return nil, fmt.Errorf("there is no line %q", name)
		}
		return found, nil
	case <-a.gone:
		return nil, errStopping
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// found answers find.
func (a *Agent) found(name string) (all []*line) {
	for _, l := range a.lines {
		if l.cancel != nil && !l.quit && l.fault == "" && (name == "" || l.cfg.Name == name) {
			all = append(all, l)
		}
	}
	return all
}

// Failover orders lines to leave the address in use for another: the next one
// if to is not valid. An empty name is all lines, or all that know the address.
// It returns when they have arrived, or after 10 s.
func (a *Agent) Failover(ctx context.Context, name string, to netip.AddrPort) ([]status.Moved, error) {
	lines, err := a.linesNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	if to.IsValid() && name == "" {
		knows := func(l *line) bool {
			return slices.ContainsFunc(l.route.Targets(), func(t outbound.Target) bool { return t.Addr == to })
		}
		if slices.ContainsFunc(lines, knows) {
			lines = slices.DeleteFunc(lines, func(l *line) bool { return !knows(l) })
		}
	}
	return move(ctx, lines, func(l *line) (outbound.Target, error) { return l.sip.Failover(to) }), nil
}

// Failback orders lines to go back to the best address that is not known to be
// dead. An empty name is all lines. It returns when they have arrived, or after
// 10 s.
func (a *Agent) Failback(ctx context.Context, name string) ([]status.Moved, error) {
	lines, err := a.linesNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	return move(ctx, lines, func(l *line) (outbound.Target, error) { return l.sip.Failback() }), nil
}

// move gives the order once to each route and waits for all lines on it.
func move(ctx context.Context, lines []*line, order func(*line) (outbound.Target, error)) []status.Moved {
	type sent struct {
		to  outbound.Target
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	began := time.Now()
	moved := make([]status.Moved, len(lines))
	for i, l := range lines { // before any of them goes
		s := l.sip.Status()
		moved[i] = status.Moved{Line: l.cfg.Name, From: s.Via.Dest, State: status.State(s.State)}
	}
	orders := make(map[*route]sent)
	var all sync.WaitGroup
	for i, l := range lines {
		o, done := orders[l.route]
		if !done {
			o.to, o.err = order(l)
			orders[l.route] = o
		}
		if o.err != nil {
			moved[i].Error = o.err.Error()
			continue
		}
		all.Go(func() { arrive(ctx, l, o.to, &moved[i]); moved[i].Took = status.Millis(time.Since(began)) })
	}
	all.Wait()
	return moved
}

// arrive waits until a line is registered where it was sent, or elsewhere
// because that did not work.
func arrive(ctx context.Context, l *line, to outbound.Target, m *status.Moved) {
	look := time.NewTicker(seeTime)
	defer look.Stop()
	for {
		s := l.sip.Status()
		m.State = status.State(s.State)
		if m.State == status.Registered {
			m.To = s.Via.Dest
			if s.Via == to {
				return
			}
			if now, _ := l.route.Current(); now != to {
				m.Error = fmt.Sprintf("%s did not take the line: %s", to.Dest, l.route.complaint(to))
				return
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			m.To = ""
			m.Error = fmt.Sprintf("%s has not taken the line within %v", to.Dest, moveTime)
			if s.Err != "" {
				m.Error += ": " + s.Err
			}
			return
		}
	}
}

// complaint is what is known against an address.
func (r *route) complaint(t outbound.Target) string {
	for _, p := range r.Status().Ring {
		if p.Target == t && p.LastFailure != "" {
			return p.LastFailure
		}
	}
	return "it does not say why"
}

// Probe asks all proxy addresses of lines whether they live. An empty name is
// all lines. It takes some seconds if one of them is silent.
func (a *Agent) Probe(ctx context.Context, name string) (all []status.Probed, err error) {
	lines, err := a.linesNamed(ctx, name)
	if err != nil {
		return nil, err
	}
	each := make([][]status.Probed, len(lines))
	var asked sync.WaitGroup
	for i, l := range lines {
		asked.Go(func() {
			in := l.sip.Status().Via
			for _, p := range l.sip.Probe(ctx) {
				said := status.Probed{
					Line: l.cfg.Name, Address: p.Target.Dest, Name: l.route.called(p.Target),
					Use: p.Target == in, Code: p.Code, RTT: status.Millis(p.RTT),
				}
				if p.Err != nil {
					said.Error = strings.TrimPrefix(p.Err.Error(), "OPTIONS: ")
				}
				each[i] = append(each[i], said)
			}
		})
	}
	asked.Wait()
	return slices.Concat(each...), ctx.Err()
}

// Trace returns the last SIP messages of all lines, oldest first.
func (a *Agent) Trace() []trace.Message { return a.trace.Messages() }

// A watched is the Network of a line whose messages are kept for Trace.
type watched struct {
	Network
	ring *trace.Ring
	line string
}

// Witness keeps a message.
func (w watched) Witness(s transport.Sight) {
	m := trace.Message{At: time.Now(), Line: w.line, Sent: s.Sent, Transport: s.Transport.String()}
	if s.Local.IsValid() {
		m.Local = s.Local.String()
	}
	if s.Remote.IsValid() {
		m.Remote = s.Remote.String()
	}
	if s.Fault != nil {
		m.Fault = s.Fault.Error()
		if f := (transport.Fault{}); errors.As(s.Fault, &f) { // without the address, which is in Remote
			m.Fault = f.Kind.String()
			if f.Err != nil {
				m.Fault += ": " + f.Err.Error()
			}
		}
	}
	w.ring.Add(m, s.Text)
}
