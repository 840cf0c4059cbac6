// Package bench measures telephones from outside: proxies and a name server
// that can be made to fail, on real sockets, with a SIP and a DNS parser of
// their own, so that a mistake shared with the agent cannot hide.
//
// Its one idea: what counts is what a proxy sees. A line has moved when another
// proxy has accepted its registration; a call is saved when another proxy has
// sent the 180. So the same bench measures the agent and other telephones.
package bench

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// The one account every proxy knows.
const (
	User     = "100"
	Password = "secret-of-100"
	Domain   = "lab.test"
)

// An Event is something a proxy did or was told, in the order in which it happened.
type Event struct {
	At     time.Time
	Proxy  int
	Kind   string // of kinds
	CallID string
	From   netip.AddrPort // who was or had been heard
	Detail string         // "refused": the method; "bye": the credentials it brought
}

// The kinds of events.
const (
	Registered = "registered" // a REGISTER was accepted
	Refused    = "refused"    // a request was answered with 503
	Invited    = "invited"    // an INVITE was accepted
	Rang       = "180"        // and answered with 180
	Answered   = "200"        // and with 200
	Acked      = "ack"        // an ACK came
	Ended      = "bye"        // a BYE came
	Rings      = "rings"      // the telephone answered a call of ours with 180
	Talks      = "talks"      // and with 200
)

// A Bench is a few proxies and a name server.
type Bench struct {
	Proxies []*Proxy
	DNS     *NameServer

	mu     sync.Mutex
	events []Event
	grew   chan struct{} // closed and replaced at each event
}

// New starts the proxies at addrs, all answering, and a name server at dns.
func New(dns string, addrs ...string) (*Bench, error) {
	b := &Bench{grew: make(chan struct{})}
	var ips []net.IP
	for i, a := range addrs {
		p := &Proxy{bench: b, index: i, addr: a, expires: 60}
		b.Proxies = append(b.Proxies, p)
		if err := p.Set(Answer); err != nil {
			b.Close()
			return nil, err
		}
		host, _, _ := net.SplitHostPort(a)
		ips = append(ips, net.ParseIP(host).To4())
	}
	var err error
	if b.DNS, err = serveDNS(dns, ips); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close stops everything.
func (b *Bench) Close() {
	for _, p := range b.Proxies {
		p.Set(Killed)
		if p.sound != nil {
			p.sound.Close()
		}
	}
	if b.DNS != nil {
		b.DNS.conn.Close()
	}
}

func (b *Bench) tell(e Event) {
	e.At = time.Now()
	b.mu.Lock()
	b.events = append(b.events, e)
	close(b.grew)
	b.grew = make(chan struct{})
	b.mu.Unlock()
}

// Wait returns the first event after since that ok accepts.
func (b *Bench) Wait(since time.Time, limit time.Duration, ok func(Event) bool) (Event, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		grew := b.grew
		for _, e := range b.events {
			if e.At.After(since) && ok(e) {
				b.mu.Unlock()
				return e, nil
			}
		}
		b.mu.Unlock()
		select {
		case <-grew:
		case <-deadline.C:
			return Event{}, fmt.Errorf("nothing within %v", limit)
		}
	}
}

// Events returns those after since that ok accepts.
func (b *Bench) Events(since time.Time, ok func(Event) bool) (found []Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.At.After(since) && ok(e) {
			found = append(found, e)
		}
	}
	return found
}

// Is accepts events of a kind at any proxy but those named.
func Is(kind string, not ...int) func(Event) bool {
	return func(e Event) bool {
		for _, n := range not {
			if e.Proxy == n {
				return false
			}
		}
		return e.Kind == kind
	}
}
