package fleet

import (
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

// A line is one telephone, as package sip would have it behave.
type line struct {
	policy outbound.Policy
	turn   uint32        // events planned in an earlier one are void
	at     int           // the proxy in use, or being tried
	home   bool          // it is registered at that proxy
	from   int           // the one before, where it is still registered while it tries to go back; else at
	out    bool          // it has lost its service and is not back
	asking bool          // a keep-alive went unanswered
	vain   int           // refreshes in a row that nobody answered
	missed int           // addresses in a row that failed: all of them, and it looks out for signs of life
	asked  time.Duration // when DNS was last asked because the ring came round
	pace   outbound.Pace
	began  time.Duration // of the request on its way
	sent   int           // how often it was sent
	step   uint8         // 0: before the challenge, 1: after it
}

// at plans an event for a line.
func (s *sim) at(when time.Duration, k kind, i int) {
	s.events.push(event{at: when, kind: k, line: uint32(i), turn: s.lines[i].turn})
}

// happen is everything that can.
func (s *sim) happen(e event) {
	i := int(e.line)
	l := &s.lines[i]
	if e.kind == strike || e.kind == revive {
		s.strike(e.kind)
		return
	}
	if e.turn != l.turn {
		return
	}
	switch e.kind {
	case boot:
		l.policy.Begin(s.clock(), s.BootSpread)
		s.at(s.now+l.policy.Wait(s.clock()), try, i)
	case keep:
		s.keep(i, l)
	case dead:
		s.failed(i, l, outbound.Failure{Method: "OPTIONS", Cause: outbound.NoAnswer, Began: epoch.Add(l.began)})
	case refresh, try:
		s.register(i, l)
	case again:
		s.send(i, l)
		s.repeat(i, l)
	case answer:
		s.answer(i, l, e)
	case quiet:
		s.quiet(i, l)
	case look:
		s.look(i, l)
	case stand:
		s.stand(i, l)
	case sign:
		t := s.targets[e.proxy]
		if l.policy.Alive(s.clock(), t, roundTrip) {
			l.turn++
			l.missed = 0
			s.at(s.now+l.policy.Wait(s.clock()), try, i)
		}
	}
}

// strike is the fault, or its end.
func (s *sim) strike(k kind) {
	for p := range s.proxies {
		if p > 0 && s.Fault != AllFell {
			break
		}
		s.proxies[p].down = k == strike
		s.proxies[p].closed = k == strike && s.Fault == Reset
	}
	if k == revive {
		return
	}
	for i := range s.lines {
		l := &s.lines[i]
		if !s.proxies[l.at].down {
			continue
		}
		s.lost(l)
		if s.Fault == Reset {
			l.turn++
			s.failed(i, l, outbound.Failure{Method: "OPTIONS", Cause: outbound.Lost, Began: s.clock()})
		}
	}
	if s.Fault == AllFell || s.Fault == Returned {
		s.events.push(event{at: s.now + downTime, kind: revive})
	}
}

// keep sends the keep-alive. A proxy that does not answer gets the time that
// the policy gives it.
func (s *sim) keep(i int, l *line) {
	t := s.targets[l.at]
	what, when := s.proxies[l.at].ask(s.now, s.AskCost)
	every, limit := l.policy.Proof(t, s.KeepAlive)
	if !l.asking {
		l.began = s.now
	}
	if what == served && when <= l.began+limit {
		l.asking = false
		s.well(l)
		l.policy.Good(s.clock(), t, when-s.now)
		if back, ok := l.policy.Back(s.clock(), true, false); ok {
			s.move(i, l, back)
			return
		}
		s.at(s.within(time.Duration(keepFrom*float64(s.KeepAlive)), time.Duration(keepTo*float64(s.KeepAlive))), keep, i)
		return
	}
	l.asking = true
	s.probes++
	if left := l.began + limit - s.now; left > every {
		s.at(s.now+every, keep, i)
	} else {
		s.at(l.began+limit, dead, i)
	}
}

// move registers at an address that is preferred. What the line has it keeps
// until that has worked.
func (s *sim) move(i int, l *line, to outbound.Target) {
	l.turn++
	l.from, l.at = l.at, s.number[to]
	s.begun(i, l)
}

// stand asks the standbys for a sign of life.
func (s *sim) stand(i int, l *line) {
	for _, t := range l.policy.Standby(s.clock()) {
		what, when := s.proxies[s.number[t]].ask(s.now, s.AskCost)
		if what == served && when <= s.now+probeTime {
			l.policy.Heard(s.clock(), t, when-s.now)
		} else {
			l.policy.Unheard(s.clock(), t, outbound.Failure{Method: "OPTIONS", Cause: outbound.NoAnswer})
		}
	}
	s.at(s.within(standEvery*3/4*s.KeepAlive, standEvery*5/4*s.KeepAlive), stand, i)
}

// register tries the current address.
func (s *sim) register(i int, l *line) {
	l.turn++
	if back, ok := l.policy.Back(s.clock(), true, true); l.home && ok {
		s.move(i, l, back)
		return
	}
	l.at = s.number[l.policy.Current()]
	l.from = l.at
	s.begun(i, l)
}

// begun sends the first REGISTER of an attempt.
func (s *sim) begun(i int, l *line) {
	l.step = 0
	s.request(i, l)
	if l.missed >= s.Proxies {
		s.at(s.now+lookFirst, look, i)
	}
}

// request sends a new REGISTER.
func (s *sim) request(i int, l *line) {
	l.pace = l.policy.Pace(s.clock(), s.targets[l.at], "REGISTER")
	l.began, l.sent = s.now, 0
	s.at(s.now+l.pace.Quiet, quiet, i)
	s.send(i, l)
	if l.began == s.now {
		s.repeat(i, l)
	}
}

// repeat plans the next sending, as RFC 3261 section 17.1.2.2 does.
func (s *sim) repeat(i int, l *line) {
	wait := min(l.pace.T1<<min(l.sent-1, 16), l.pace.T2)
	if s.now+wait < l.began+l.pace.Quiet {
		s.at(s.now+wait, again, i)
	}
}

// send is one REGISTER on the wire.
func (s *sim) send(i int, l *line) {
	l.sent++
	p := &s.proxies[l.at]
	if s.now >= s.fault {
		p.asked++
		s.messages++
	}
	if what, when := p.ask(s.now, 1); what != lost {
		s.events.push(event{at: when, kind: answer, line: uint32(i), turn: l.turn, proxy: uint8(what), step: l.step})
	}
}

// quiet: nobody has answered. A proxy where the line is at home is asked whether
// it lives before it is left.
func (s *sim) quiet(i int, l *line) {
	f := outbound.Failure{Method: "REGISTER", Cause: outbound.NoAnswer, Began: epoch.Add(l.began)}
	if l.vain++; l.home && l.from == l.at {
		s.probes++
		_, limit := l.policy.Proof(s.targets[l.at], s.KeepAlive)
		what, when := s.proxies[l.at].ask(s.now, s.AskCost)
		switch lives := what == served && when <= s.now+limit; {
		case lives && l.vain < refreshes:
			l.policy.Good(s.clock(), s.targets[l.at], when-s.now)
			s.register(i, l)
			return
		case !lives:
			l.turn++
			l.began = s.now
			s.at(s.now+limit, dead, i)
			return
		}
	}
	s.failed(i, l, f)
}

// answer is a response to it.
func (s *sim) answer(i int, l *line, e event) {
	if e.step != l.step {
		return // to a repetition of what was answered before
	}
	switch fate(e.proxy) {
	case refused:
		s.failed(i, l, outbound.Failure{Method: "REGISTER", Cause: outbound.Unreachable, Began: epoch.Add(l.began)})
	case shedded:
		s.failed(i, l, outbound.Failure{Method: "REGISTER", Code: 503, RetryAfter: s.RetryAfter, Began: epoch.Add(l.began)})
	case served:
		l.turn++
		if l.step == 0 {
			l.step = 1
			s.request(i, l)
			return
		}
		s.registered(i, l)
	}
}

// registered: it took the line.
func (s *sim) registered(i int, l *line) {
	l.policy.Good(s.clock(), s.targets[l.at], s.now-l.began)
	l.home, l.asking, l.vain, l.missed = true, false, 0, 0
	s.well(l)
	if l.from != l.at {
		s.returned++
	}
	l.from = l.at
	s.at(s.within(0, standEvery*s.KeepAlive), stand, i)
	s.at(s.within(time.Duration(keepFrom*float64(s.KeepAlive)), time.Duration(keepTo*float64(s.KeepAlive))), keep, i)
	s.at(s.within(time.Duration(refresh0*float64(s.Expires)), time.Duration(refresh1*float64(s.Expires))), refresh, i)
}

// lost: the line has no service any more.
func (s *sim) lost(l *line) {
	if !l.out {
		l.out = true
		s.hit++
		s.without++
	}
}

// well: it has it again.
func (s *sim) well(l *line) {
	if l.out {
		l.out = false
		s.without--
		s.backAt = append(s.backAt, s.now)
	}
}

// failed asks the policy what follows from a failure, waits, and meanwhile
// looks out for signs of life.
func (s *sim) failed(i int, l *line, f outbound.Failure) {
	l.turn++
	if l.from != l.at { // it was not taken back, and is well where it is
		l.policy.Next(s.clock(), s.targets[l.at], f)
		l.at = l.from
		s.register(i, l)
		return
	}
	if l.home && s.now >= s.fault {
		s.lost(l)
	}
	l.home, l.asking, l.vain = false, false, 0
	step := l.policy.Next(s.clock(), s.targets[l.at], f)
	if step.Ask && (l.asked == 0 || s.now-l.asked >= wrapFloor) {
		l.asked = s.now
		s.queries++
	}
	s.at(s.now+step.Wait, try, i)
	if l.missed++; step.Wait > 0 && l.missed >= s.Proxies {
		s.at(s.now, look, i)
	}
}

// look asks all proxies for a sign of life.
func (s *sim) look(i int, l *line) {
	for p := range s.proxies {
		s.probes++
		if what, when := s.proxies[p].ask(s.now, s.AskCost); what == served && when <= s.now+probeTime {
			s.events.push(event{at: when, kind: sign, line: uint32(i), turn: l.turn, proxy: uint8(p)})
		}
	}
	s.at(s.now+max(l.policy.Lookout(s.clock()), lookFirst), look, i)
}
