package outbound

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Limits of our own choosing.
const (
	minTTL    = 5 * time.Second       // a TTL of 0 must not make every failure a question
	maxTTL    = 24 * time.Hour        // a TTL of years is a mistake somewhere
	otherWait = 50 * time.Millisecond // how long the slower of A and AAAA may hold up the faster (RFC 8305 section 8: Resolution Delay)
	nameWait  = 1500 * time.Millisecond
	// nameWait is for NAPTR and SRV: there are networks where such questions
	// vanish, and A and AAAA, asked meanwhile, are then what there is.

	maxChain   = 8 // CNAMEs after each other
	maxSRV     = 8 // SRV records whose targets are looked up; half a Ring
	maxSockets = 24
)

// A ResolverConfig says whom to ask. The zero value asks the servers of
// /etc/resolv.conf.
type ResolverConfig struct {
	Network    Network          // nil: the host's
	Servers    []netip.AddrPort // the DNS servers; none: those of ResolvConf
	ResolvConf string           // read again whenever it changes; "": /etc/resolv.conf
	Timeout    time.Duration    // silence after which the next server is asked too; 0: 1 s
	Random     func() float64   // from [0, 1), for RFC 2782's weights; nil: math/rand. Any goroutine calls it.
}

// A Resolver finds the addresses of a proxy by asking DNS servers itself, over
// sockets of its Network. It remembers no answers: that is the Route's work.
// It is safe for concurrent use.
type Resolver struct {
	cfg     ResolverConfig
	conf    resolvConf
	best    atomic.Uint32 // number of the server that answered last, asked first
	sockets chan struct{} // holds one for each open socket
}

// NewResolver makes a resolver. It opens nothing yet.
func NewResolver(cfg ResolverConfig) *Resolver {
	if cfg.Network == nil {
		cfg.Network = &host{}
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	return &Resolver{cfg: cfg, sockets: make(chan struct{}, maxSockets)}
}

// An Answer is what became known of a proxy.
type Answer struct {
	Targets []Target      // best first, at most Capacity, never none
	TTL     time.Duration // how long that holds, 5 s to 24 h; 0: for ever
	Partial bool          // a question went unanswered: there may be more
	rank    []uint16      // what DNS prefers, of each target; equals were drawn by lot
	share   []float64     // of each target, what part of the lines it should have among its equals; any unit
}

// A NotFoundError says that DNS has answered, and knows no usable address.
type NotFoundError struct {
	Name string
	TTL  time.Duration // how long that holds (RFC 2308); 0: not said
	Why  string
}

func (e *NotFoundError) Error() string { return e.Name + ": " + e.Why }

// Lookup finds the addresses of p in the order of RFC 3263:
//
//	an address               itself, no question is asked
//	a name with a port       A and AAAA
//	a name and a transport   SRV of it; without any, A and AAAA
//	a name alone             NAPTR; without any, SRV; without any, A and AAAA
//
// All that may be needed is asked at once, so what is missing costs no time.
// SRV records are ordered by priority; among equals lots are drawn by weight
// (RFC 2782), once for each answer. A line on TLS is never led to another
// transport. Nothing is believed that was not asked: not the additional
// section, nor addresses where no proxy can live.
//
// The error is a *NotFoundError when DNS knows no address; any other means
// that nothing was learnt. It ends early, with its error, when ctx does.
func (r *Resolver) Lookup(ctx context.Context, p Proxy) (Answer, error) {
	if p.Addr.IsValid() {
		addr := netip.AddrPortFrom(p.Addr, cmp.Or(p.Port, p.Transport.Port()))
		return Answer{Targets: []Target{p.target(addr, p.Transport)}, rank: []uint16{0}, share: []float64{1}}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := lookup{r: r, p: p}

	plain := later(func() addresses { return r.addresses(ctx, p.Host) })
	short, cancel := context.WithTimeout(ctx, nameWait)
	defer cancel()
	if p.Port == 0 && l.named(ctx, short) {
		return l.result()
	}
	own := plain()
	l.add(own, cmp.Or(p.Port, p.Transport.Port()), p.Transport, 0, 1)
	if p.Port == 0 && len(own.list) == 0 && own.err == nil && short.Err() != nil {
		l.named(ctx, ctx) // the servers are slow, and there is nothing but SRV
	}
	return l.result()
}

// named looks for the addresses behind SRV records, which have as long as short
// to be found. It reports whether that settles the matter.
func (l *lookup) named(ctx, short context.Context) bool {
	for _, s := range l.services(short) {
		if l.serve(ctx, s); len(l.answer.Targets) > 0 {
			return true
		}
	}
	if l.closed {
		l.err = &NotFoundError{l.p.Host, shorter(l.answer.TTL, l.absent), "offers no SIP (its SRV record says so)"}
	}
	return l.closed
}

// A lookup is one Lookup on its way.
type lookup struct {
	r      *Resolver
	p      Proxy
	answer Answer
	absent time.Duration // how long it holds that something is not there
	closed bool          // an SRV record with the target "."
	err    error         // of the last question without an answer
}

// A service is a transport and the name of its SRV records.
type service struct {
	transport Transport
	name      string
	srv       func() records // waits for them
}

// services lists in order of preference where SRV records may be.
func (l *lookup) services(ctx context.Context) []service {
	offer := func(t Transport, name string) service {
		return service{t, name, later(func() records { return l.r.ask(ctx, name, dns.TypeSRV) })}
	}
	own := offer(l.p.Transport, l.p.Transport.service(l.p.Host))
	if l.p.TransportSet {
		return []service{own}
	}

	// RFC 3263 section 4.1: NAPTR first. TLS stays TLS.
	naptr := l.r.ask(ctx, l.p.Host, dns.TypeNAPTR)
	l.heard(naptr)
	slices.SortStableFunc(naptr.rr, func(a, b dns.RR) int {
		x, y := a.(*dns.NAPTR), b.(*dns.NAPTR)
		return cmp.Or(cmp.Compare(x.Order, y.Order), cmp.Compare(x.Preference, y.Preference))
	})
	var list []service
	for _, rr := range naptr.rr[:min(len(naptr.rr), maxSRV)] {
		n := rr.(*dns.NAPTR)
		t, ok := map[string]Transport{"SIP+D2U": UDP, "SIP+D2T": TCP, "SIPS+D2T": TLS}[strings.ToUpper(n.Service)]
		if ok && strings.EqualFold(n.Flags, "s") && n.Replacement != "" && (t == TLS || l.p.Transport != TLS) {
			list = append(list, offer(t, n.Replacement))
		}
	}
	if len(list) > 0 {
		return list
	}

	// No NAPTR: the SRV records of each transport we speak, the line's own first.
	if s := own.srv(); len(s.rr) > 0 || l.p.Transport == TLS {
		return []service{own}
	}
	list = []service{own}
	for _, t := range []Transport{UDP, TCP, TLS} {
		if t != l.p.Transport {
			list = append(list, offer(t, t.service(l.p.Host)))
		}
	}
	return list
}

// serve adds the addresses of one service's SRV records.
func (l *lookup) serve(ctx context.Context, s service) {
	answer := s.srv()
	l.heard(answer)
	list := make([]*dns.SRV, 0, len(answer.rr))
	for _, rr := range answer.rr {
		srv := rr.(*dns.SRV)
		switch {
		case srv.Target == ".":
			l.closed = true
		case srv.Port != 0 && srv.Target != "":
			list = append(list, srv)
		}
	}
	draw(list, l.r.cfg.Random)
	list = list[:min(len(list), maxSRV)]
	found := make([]func() addresses, len(list))
	for i, srv := range list {
		found[i] = later(func() addresses { return l.r.addresses(ctx, srv.Target) })
	}
	for i, srv := range list {
		l.add(found[i](), srv.Port, s.transport, srv.Priority, srv.Weight)
	}
}

// heard takes note of how long an answer holds, and of questions without one.
func (l *lookup) heard(r records) {
	if r.err != nil {
		l.answer.Partial, l.err = true, r.err
		return
	}
	if len(r.rr) == 0 {
		l.absent = shorter(l.absent, r.ttl)
		return
	}
	l.answer.TTL = shorter(l.answer.TTL, r.ttl)
}

// add appends the targets that a host's addresses make. They divide its weight.
func (l *lookup) add(host addresses, port uint16, t Transport, rank, weight uint16) {
	if host.err != nil {
		l.err = host.err
	}
	l.answer.Partial = l.answer.Partial || host.partial
	if len(host.list) == 0 {
		l.absent = shorter(l.absent, host.ttl)
		return
	}
	l.answer.TTL = shorter(l.answer.TTL, host.ttl)
	for _, addr := range host.list {
		target := l.p.target(netip.AddrPortFrom(addr, port), t)
		if len(l.answer.Targets) < Capacity && !slices.Contains(l.answer.Targets, target) {
			l.answer.Targets = append(l.answer.Targets, target)
			l.answer.rank = append(l.answer.rank, rank)
			l.answer.share = append(l.answer.share, max(float64(weight), zeroWeight)/float64(len(host.list)))
		}
	}
}

// result is the answer, or the reason why there is none.
func (l *lookup) result() (Answer, error) {
	if len(l.answer.Targets) > 0 {
		l.answer.TTL = min(max(l.answer.TTL, minTTL), maxTTL)
		return l.answer, nil
	}
	if l.err == nil {
		l.err = &NotFoundError{l.p.Host, l.absent, "DNS knows no usable address for this name"}
	}
	return Answer{}, l.err
}

// Addresses of one host: A first, then AAAA, each in the order of the answer.
type addresses struct {
	list    []netip.Addr
	ttl     time.Duration
	partial bool // one kind went unanswered
	err     error
}

// addresses asks for A and AAAA at once (RFC 7984). As soon as one has brought
// something, the other has only otherWait more.
func (r *Resolver) addresses(ctx context.Context, name string) addresses {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v4, v6 := make(chan records, 1), make(chan records, 1)
	go func() { v4 <- r.ask(ctx, name, dns.TypeA) }()
	go func() { v6 <- r.ask(ctx, name, dns.TypeAAAA) }()

	unheard := records{err: fmt.Errorf("%s: no answer in time", name)}
	a, aaaa := unheard, unheard
	var late <-chan time.Time
	for heard := 0; heard < 2; heard++ {
		select {
		case a = <-v4:
		case aaaa = <-v6:
		case <-late:
			heard = 2
		}
		if late == nil && len(a.rr)+len(aaaa.rr) > 0 {
			late = time.After(otherWait)
		}
	}

	all := addresses{partial: a.err != nil || aaaa.err != nil}
	for _, rr := range append(a.rr, aaaa.rr...) {
		if addr := addrOf(rr); usable(addr) {
			all.list = append(all.list, addr.Unmap())
		}
	}
	for _, some := range []records{a, aaaa} {
		if some.err == nil && (len(some.rr) > 0 || len(all.list) == 0) {
			all.ttl = shorter(all.ttl, some.ttl)
		}
	}
	if len(all.list) == 0 {
		all.err = cmp.Or(a.err, aaaa.err)
	}
	return all
}

// addrOf is the address in an A or AAAA record; invalid if it holds none.
func addrOf(rr dns.RR) (addr netip.Addr) {
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ = netip.AddrFromSlice(rr.A)
	case *dns.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
	}
	return addr
}

// draw orders SRV records as RFC 2782 says: lower priorities first, and among
// equals by lot, where a record's chance is its weight.
func draw(list []*dns.SRV, random func() float64) {
	// "arrange all SRV RRs (that have not been ordered yet) in any order,
	// except that all those with weight 0 are placed at the beginning of the list."
	slices.SortStableFunc(list, func(a, b *dns.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
	})
	for len(list) > 0 {
		sum, equals := 0, 0
		for equals < len(list) && list[equals].Priority == list[0].Priority {
			sum += int(list[equals].Weight)
			equals++
		}
		// "choose a uniform random number between 0 and the sum computed (inclusive), and
		// select the RR whose running sum value is the first in the selected order which is
		// greater than or equal to the random number selected."
		number, chosen := int(random()*float64(sum+1)), 0
		for run := int(list[0].Weight); run < number; run += int(list[chosen].Weight) {
			chosen++
		}
		first := list[chosen]
		copy(list[1:chosen+1], list[:chosen])
		list[0] = first
		list = list[1:]
	}
}

// shorter returns the shorter of two times, where 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// later runs f beside the caller. The function it returns waits for the result.
func later[T any](f func() T) func() T {
	done := make(chan T, 1)
	go func() { done <- f() }()
	return sync.OnceValue(func() T { return <-done })
}
