// Package fleet watches what a million telephones do to their proxies. Its one
// idea: the policy is the agent's own, [outbound.Policy], one for each line;
// everything around it is arithmetic on virtual time.
//
//	line ── REGISTER, 401, REGISTER ──▶ proxy: a queue in front of a server
//	  └ Policy: next address, waits, patience      ├ silent, refusing, or 503
//
// A line here does what package sip does: it keeps alive, gives a silent proxy
// time to prove itself, registers where its policy says, and looks out for signs
// of life while all fail. A proxy answers in the order in which it is asked and
// drops what would wait too long. There is no goroutine per line, and no clock.
//
// How many lines there are for what a proxy can take decides what happens; how
// many there are does not. So 10^5 lines on proxies of 200 messages a second
// tell what 10^7 do on proxies of 20 000.
package fleet

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

// A Fault is what happens to the fleet at the beginning.
type Fault uint8

const (
	Silent   Fault = iota // the first proxy falls silent: each line notices at its next keep-alive
	Reset                 // the first proxy's connections break: all its lines notice at once
	Power                 // the power returns, to all lines within 20 s
	AllFell               // all proxies are silent for ten minutes, and return together
	Returned              // the first proxy was dead for ten minutes and is well again: who goes back, and when
)

func (f Fault) String() string {
	return [...]string{"silent", "reset", "power restored", "all silent 600 s", "back after 600 s"}[f]
}

// From the model of facts that this package measures against.
const (
	queueTime  = 4 * time.Second       // what waits longer in front of a proxy is dropped
	shedTime   = queueTime / 2         // from here on a proxy that sheds answers 503
	shedCost   = 0.1                   // of what a REGISTER costs
	roundTrip  = 50 * time.Millisecond // to any proxy and back
	powerTime  = 20 * time.Second      // within which everybody has power again
	downTime   = 10 * time.Minute
	keepFrom   = 0.75             // of package sip: part of the keep-alive's interval, at least
	keepTo     = 0.92             // and at most
	refreshes  = 3                // of package sip: refreshes that nobody answers, of a proxy that answers all else
	standEvery = 4                // of package sip: keep-alives for each question to a standby
	lookFirst  = 2 * time.Second  // of package sip: how long after a whole tour a registration may be silent before all are asked
	refresh0   = 0.75             // of package sip: part of the expiry at which a refresh happens at the earliest
	refresh1   = 0.9              // and at the latest
	wrapFloor  = 30 * time.Second // of package outbound: DNS is not asked more often when the ring came round
	probeTime  = 2 * time.Second  // for an answer to a probe
	resolution = time.Second      // of what is counted
)

// A World is a fleet, its proxies and what befalls them. Devices, Proxies and
// Load are needed.
type World struct {
	Devices    int
	Proxies    int
	Load       time.Duration // N/C: lines for each message a second that one proxy can take
	Fault      Fault
	Order      outbound.Order
	Turning    bool // OrderDNS: the name server turns its answer round, so that each address is first for some
	Rules      outbound.Rules
	BootSpread time.Duration // for Power
	KeepAlive  time.Duration // 0: 30 s
	Expires    time.Duration // of registrations; 0: an hour
	AskCost    float64       // what a keep-alive or probe costs a proxy, in REGISTERs; 0: its edge answers, even when it is overwhelmed
	RetryAfter time.Duration // 0: what is too much is dropped; else 503 with this, from a half-full queue on
	Length     time.Duration // 0: an hour
	Seed       uint64
}

// A Result is what was seen.
type Result struct {
	World
	Hit      int              // lines that lost their service
	Back     [4]time.Duration // when a half, 90 %, 99 % and all of them had it again; -1: not within Length
	Peak     float64          // REGISTERs in the worst second at the worst proxy, as a multiple of what it can take
	Messages float64          // REGISTERs sent, for each line hit
	Probes   float64          // keep-alives and probes sent to prove or find a proxy, for each line hit
	Queries  float64          // questions to DNS because the ring came round, for each line hit
	Without  []int            // lines without service, by the second
	Worst    []int            // REGISTERs at the worst proxy, by the second
	Returned int              // of the lines hit, those that went back to where they were
}

// share of lines in Back.
var shares = [4]float64{0.5, 0.9, 0.99, 1}

// epoch is when every run begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A sim is a World while it goes by.
type sim struct {
	World
	rules    outbound.Rules
	random   *rand.Rand
	now      time.Duration
	fault    time.Duration // when it happens
	events   heap
	targets  []outbound.Target
	number   map[outbound.Target]int
	proxies  []proxy
	lines    []line
	without  int // lines without service
	hit      int
	backAt   []time.Duration
	messages int
	probes   int
	queries  int
	returned int
	result   Result
}

// Run lets it happen.
func Run(w World) Result {
	if w.KeepAlive == 0 {
		w.KeepAlive = 30 * time.Second
	}
	if w.Expires == 0 {
		w.Expires = time.Hour
	}
	if w.Length == 0 {
		w.Length = time.Hour
	}
	s := &sim{World: w, random: rand.New(rand.NewPCG(w.Seed, 0x666c656574)), number: map[outbound.Target]int{}}
	s.rules = w.Rules
	s.rules.Random = s.random.Float64
	for i := range w.Proxies {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 5060)
		t := outbound.Target{Addr: addr, Dest: addr.String(), Proxy: "proxy.example.net"}
		s.number[t] = i
		s.targets = append(s.targets, t)
		s.proxies = append(s.proxies, proxy{second: s.Load.Seconds() / float64(s.Devices), shed: w.RetryAfter, chance: s.random.Float64})
	}
	s.begin()
	for s.events.len() > 0 {
		e := s.events.pop()
		if e.at > s.fault+w.Length {
			break
		}
		s.count(e.at)
		s.now = e.at
		s.happen(e)
		if s.over() {
			break
		}
	}
	return s.finish()
}

// begin sets the stage: everybody is registered and well, or has no power yet.
func (s *sim) begin() {
	s.fault = s.KeepAlive
	if s.Fault == Power {
		s.fault = 0
	}
	s.lines = make([]line, s.Devices)
	order := make([]outbound.Target, s.Proxies)
	for i := range s.lines {
		l := &s.lines[i]
		l.policy = outbound.NewPolicy(&s.rules)
		copy(order, s.targets)
		switch {
		case s.Order == outbound.OrderSpread:
			outbound.Spread(fmt.Sprint("device ", i), order, nil)
		case s.Turning:
			for k := range order {
				order[k] = s.targets[(i+k)%s.Proxies]
			}
		}
		l.policy.Load(epoch, order)
		if s.Fault == Power {
			s.lost(l)
			s.at(s.within(0, powerTime), boot, i)
			continue
		}
		// Registered long since, at any point between two refreshes.
		l.at, l.home = s.number[order[0]], true
		l.from = l.at
		l.policy.Begin(epoch, 0)
		l.policy.Good(epoch.Add(-time.Hour), order[0], roundTrip)
		l.policy.Good(epoch, order[0], roundTrip)
		s.at(s.within(0, time.Duration(keepTo*float64(s.KeepAlive))), keep, i)
		s.at(s.within(0, standEvery*s.KeepAlive), stand, i)
		s.at(time.Duration(s.random.Float64()*refresh0*float64(s.Expires)), refresh, i)
	}
	if s.Fault != Power {
		s.at(s.fault, strike, 0)
	}
}

// over reports whether nothing more is to be seen.
func (s *sim) over() bool {
	switch s.Fault {
	case Power:
		return s.without == 0
	case Returned:
		return false
	case AllFell:
		return s.now > s.fault+downTime && s.without == 0
	}
	return s.now > s.fault+resolution && s.without == 0
}

// count notes what is so at the end of each second that has passed.
func (s *sim) count(until time.Duration) {
	for at := s.fault + time.Duration(len(s.result.Without))*resolution; at <= until; at += resolution {
		s.result.Without = append(s.result.Without, s.without)
		worst := 0
		for i := range s.proxies {
			worst = max(worst, s.proxies[i].asked)
			s.proxies[i].asked = 0
		}
		s.result.Worst = append(s.result.Worst, worst)
		s.result.Peak = max(s.result.Peak, float64(worst)*s.proxies[0].second/resolution.Seconds())
	}
}

func (s *sim) finish() Result {
	r := s.result
	r.World, r.Hit, r.Returned = s.World, s.hit, s.returned
	for i, share := range shares {
		r.Back[i] = -1
		if n := int(share * float64(s.hit)); n <= len(s.backAt) && s.hit > 0 {
			r.Back[i] = s.backAt[max(n-1, 0)] - s.fault
		}
	}
	each := 1 / float64(max(s.hit, 1))
	r.Messages, r.Probes, r.Queries = float64(s.messages)*each, float64(s.probes)*each, float64(s.queries)*each
	return r
}

// within draws a moment that lies from a to b from now.
func (s *sim) within(a, b time.Duration) time.Duration {
	return s.now + a + time.Duration(s.random.Float64()*float64(b-a))
}

// clock is the time as a policy is told it.
func (s *sim) clock() time.Time { return epoch.Add(s.now) }
