package outbound

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// From standards.
const (
	// RFC 5626 section 4.5 waits between half and all of min(max, base·2^n).
	// Its base is 30 s, its max 1800 s; ours are shorter, for a telephone.
	tourBase = 4 * time.Second   // a first tour may have met a restart; the same bound as "no answer"
	tourCap  = 300 * time.Second // simulated with 10^6 lines: higher gains nothing, lower overloads who returns
	maxHold  = 30 * time.Minute  // RFC 5626's max: a Retry-After of a week must not silence a line for a week
)

// Of our own choosing.
const (
	stable        = time.Minute      // a registration that held this long was a good one
	accountBase   = time.Minute      // so the first wait is 30 s at least: an account is mended by people
	accountCap    = 20 * time.Minute // what the field uses for 403
	localWait     = time.Second      // a link comes back any moment, and asking costs no packet
	backSpread    = 20               // going back is spread over so many Spreads: nobody is in a hurry
	failbackAfter = time.Hour        // the trade's usual timer
	standbys      = 3                // addresses that are probed while the line is well
)

// Rules are what a [Policy] goes by. The zero value is good for one device on
// its own; many devices share one Rules.
type Rules struct {
	Spread        time.Duration  // an idle line's first failover waits U(0, Spread); 0: it goes at once
	Cap           time.Duration  // longest wait after whole tours; 0: 300 s
	Failback      Failback       // when to go back to a preferred address
	FailbackAfter time.Duration  // for OnTimer: how long after the line came; 0: an hour
	Random        func() float64 // from [0, 1), for jitter; nil: math/rand
}

// A Policy decides which address is next and how long to wait for it. It is a
// value that is told what happened and when; it asks no clock, no network and
// no name server, so a million of them can be watched on a virtual day. A
// [Route] is a Policy with those around it.
//
// The zero Policy has no addresses. A Policy is not safe for concurrent use.
type Policy struct {
	rules *Rules
	ring  Ring

	begun   bool          // an address has been given out: from now on the finger moves for a reason only
	since   time.Time     // the current address has been good since then; zero: it is not
	entered time.Time     // when the finger last moved
	tours   int           // whole tours that failed since the last stable registration
	fails   int           // moves since then, but for the first
	vain    int           // signs of life since then that a registration did not confirm
	ready   time.Time     // when a registration may be tried again
	spread  bool          // and that only serves to spread a fleet
	sign    bool          // a sign of life has set ready
	refused int           // account failures in a row
	pardon  time.Time     // when the last one counts no more
	leaving SwitchRecord  // from the first failure until an address is good; zero: all is well
	back    Target        // a preferred address is being tried; zero: none
	renewed bool          // DNS has answered since the finger last moved
	term    time.Duration // how long the line stays here before OnTimer takes it back
	ordered bool          // an operator has put the finger where it is
}

// A SwitchRecord tells one move of a line from an address that worked to another.
type SwitchRecord struct {
	From, To Target
	Cause    string        // what From failed by, a sentence
	Detail   string        // the same and all that the network said of it
	At       time.Time     // when that was reported
	Took     time.Duration // until To was good; 0: it is not yet
	Tries    int           // addresses tried until then, To included
	Noticed  string        // what the user noticed; "": nothing is known of that
}

// A Step is what a Policy makes of a failure.
type Step struct {
	To    Target        // where to go now
	Wait  time.Duration // how long a registration should wait before that
	Ask   bool          // DNS should be asked again: the finger came round, or there is nothing to point at
	Moved bool          // the finger has left the address that failed
}

// NewPolicy makes a Policy that goes by rules, which must not change any more.
func NewPolicy(rules *Rules) Policy {
	if rules.Cap <= 0 {
		rules.Cap = tourCap
	}
	if rules.FailbackAfter <= 0 {
		rules.FailbackAfter = failbackAfter
	}
	if rules.Random == nil {
		rules.Random = rand.Float64
	}
	return Policy{rules: rules}
}

// Load replaces the addresses, best first, and reports whether anything
// changed. A line stays where it is well if that address is still among them.
func (p *Policy) Load(now time.Time, list []Target) bool {
	was, old := p.ring.Current(), p.ring
	if !p.ring.Load(list) {
		return false
	}
	if !p.begun {
		p.ring.Point(0)
		p.ring.Restart()
	}
	for i := range p.ring.Len() {
		if place := p.ring.Place(i); p.begun && old.find(&place.Target) < 0 {
			p.aside(place, now, 0) // a whole fleet hears of it at once
		}
	}
	if p.ring.Current() != was {
		p.since, p.entered = time.Time{}, now
	}
	return true
}

// Begin gives out the first address. The first registration waits U(0, spread):
// where the power returns, it returns to everybody.
func (p *Policy) Begin(now time.Time, spread time.Duration) {
	if p.begun {
		return
	}
	p.begun, p.entered = true, now
	if spread > 0 {
		p.ready, p.spread = now.Add(p.chance(spread)), true
	}
}

// Current returns the address in use; the zero Target if there is none.
func (p *Policy) Current() Target { return p.ring.Current() }

// Wait returns how long a registration should still wait before it uses
// Current; 0: not at all. It does not count waits for an account.
func (p *Policy) Wait(now time.Time) time.Duration { return max(0, p.ready.Sub(now)) }

// Next is told that failed did not work out. The finger moves only if the
// failure is one that moves it (see [Judge]), enough went unanswered to prove
// it (see [Failure.Tries]), failed is still current, and f did not begin before
// the finger last moved. See [Route.Next] for the waits.
func (p *Policy) Next(now time.Time, failed Target, f Failure) Step {
	if f.Method == "" {
		f.Method = "REGISTER"
	}
	if p.ring.Len() == 0 {
		return Step{Wait: localWait, Ask: true}
	}
	verdict, at := Judge(f), p.ring.find(&failed)
	current := at == p.ring.Finger() && (f.Began.IsZero() || !f.Began.Before(p.entered))
	if at >= 0 && (verdict == Move || verdict == Account) {
		place := p.ring.Place(at)
		if !place.proven(f) {
			return Step{To: p.meanwhile(f, now), Wait: p.Wait(now)}
		}
		place.fail(now, f)
		if failed.same(&p.back) {
			p.turnedAway(place, now)
		}
	}
	switch {
	case verdict == Wait:
		return Step{To: p.ring.Current(), Wait: localWait}
	case verdict == Account:
		step := p.refuse(at, current, f, now)
		step.Wait = p.accountWait(now)
		return step
	case verdict == Stay && f.Method == "REGISTER":
		return Step{To: p.ring.Current(), Wait: p.accountWait(now)} // or it would be sent again at once, for ever
	case verdict == Move && current:
		return p.turn(f, now)
	}
	p.hurry(f)
	return Step{To: p.ring.Current(), Wait: p.Wait(now)}
}

// meanwhile is where to go while an address is doubted and nothing is proven: a
// call goes on to the next, all else tries here again.
func (p *Policy) meanwhile(f Failure, now time.Time) Target {
	if f.Method != "INVITE" {
		return p.ring.Current()
	}
	ahead := p.ring
	ahead.rotate(p.late(now))
	return ahead.Current()
}

// turn moves the finger off the current address.
func (p *Policy) turn(f Failure, now time.Time) Step {
	first := !p.since.IsZero()
	if first {
		p.leave(f.Error(), f, now)
	}
	p.leaving.Tries++
	if p.sign {
		p.vain++
	}
	p.since, p.sign, p.back, p.renewed, p.ordered = time.Time{}, false, Target{}, false, false

	for i := range p.ring.Len() {
		if p.ring.Place(i).Held.After(now) {
			p.ring.Skip(i)
		}
	}
	past, over := p.ring.rotate(p.late(now))
	wait, from := time.Duration(0), now
	if first {
		if f.Code == 0 || p.fleet() { // an answer is heard when this device asks, not when all do
			from = now.Add(p.chance(p.rules.Spread))
		}
		p.ready, p.spread = from, true
	} else if f.Method != "INVITE" { // a person who dials again and again must not slow down the registration
		wait = p.jitter(min(p.rules.Spread, tourBase), p.longest(), p.fails)
		p.fails++
	}
	if over && f.Method != "INVITE" {
		wait = p.jitter(tourBase, p.rules.Cap, p.tours)
		p.tours++
	}
	if wait > 0 {
		p.ready, p.spread = from.Add(wait), false
	}
	if over {
		p.leastHeld(now)
		if held := p.ring.Place(p.ring.Finger()).Held; held.After(p.ready) {
			p.ready, p.spread = held, false
		}
	}
	p.hurry(f)
	p.entered = now // a ring of one has moved too
	return Step{To: p.ring.Current(), Wait: p.Wait(now), Ask: past || over, Moved: true}
}

// longest is how long a wait inside a tour may become. A device on its own
// should be round before the cap has passed.
func (p *Policy) longest() time.Duration {
	if p.fleet() {
		return p.rules.Cap / 2
	}
	return p.rules.Cap / time.Duration(p.ring.Len())
}

// hurry ends a wait that only serves to spread a fleet when somebody waits.
func (p *Policy) hurry(f Failure) {
	if f.Urgent || f.Method == "INVITE" {
		p.Urge()
	}
}

// Urge ends a wait that only serves to spread a fleet, and reports whether
// there was one: somebody has lifted the receiver.
func (p *Policy) Urge() bool {
	if !p.spread {
		return false
	}
	p.ready, p.spread = time.Time{}, false
	return true
}

// leave begins a switch record, and remembers how long the address held.
func (p *Policy) leave(cause string, f Failure, now time.Time) {
	here := p.ring.Place(p.ring.Finger())
	stayed := now.Sub(p.since)
	if stayed >= stable {
		p.tours, p.fails, p.vain = 0, 0, 0
	}
	if stayed >= steady {
		here.Flaps = 0
	} else {
		here.Flaps = min(here.Flaps+1, maxFlaps)
	}
	p.aside(here, now, minDwell<<here.Flaps)
	p.leaving = SwitchRecord{From: here.Target, Cause: cause, Detail: f.detail(), At: now}
}

// aside keeps the line from going back to a place for some time, and each
// device of a fleet until its own moment after that.
func (p *Policy) aside(place *Place, now time.Time, d time.Duration) {
	if until := now.Add(d + p.chance(backSpread*p.rules.Spread)); until.After(place.Aside) {
		place.Aside = until
	}
}

// late has one bit for each place in quarantine.
func (p *Policy) late(now time.Time) (late uint16) {
	for i := range p.ring.Len() {
		if place := p.ring.Place(i); place.Bad && place.Out.After(now) {
			late |= 1 << i
		}
	}
	return late
}

// leastHeld moves the finger on to the next address that does not want to be
// left alone, or else to the one that wants it the shortest.
func (p *Policy) leastHeld(now time.Time) {
	best, from := p.ring.Finger(), p.ring.Finger()
	for k := range p.ring.Len() {
		i := (from + k) % p.ring.Len()
		held := p.ring.Place(i).Held
		if held.Before(p.ring.Place(best).Held) {
			best = i
		}
		if !held.After(now) {
			best = i
			break
		}
	}
	p.ring.Point(best)
}

// refuse deals with an address that is well but does not want the account, and
// says where a line with that account may try next. Where a line is at home
// the finger stays for now: if that line has another account, it will say Good
// again; if it is this one, the next refusal moves.
func (p *Policy) refuse(at int, current bool, f Failure, now time.Time) Step {
	switch {
	case at < 0:
		return Step{To: p.ring.Current()}
	case current && p.since.IsZero():
		past, over := p.ring.Rotate()
		p.leaving.Tries++
		p.entered = now
		return Step{To: p.ring.Current(), Ask: past || over, Moved: true}
	case current:
		p.leave(f.Error(), f, now)
		p.since = time.Time{}
	}
	return Step{To: p.ring.Place((at + 1) % p.ring.Len()).Target}
}

// accountWait grows from one refusal to the next. It is forgotten when there
// has been none for as long again as the last wait.
func (p *Policy) accountWait(now time.Time) time.Duration {
	if now.After(p.pardon) {
		p.refused = 0
	}
	wait := p.jitter(accountBase, accountCap, p.refused)
	p.refused++
	p.pardon = now.Add(2*wait + time.Minute)
	return wait
}

// jitter is the pace of RFC 5626 section 4.5.
func (p *Policy) jitter(base, most time.Duration, n int) time.Duration {
	wait := min(base<<min(n, 16), most)
	return wait/2 + p.chance(wait/2)
}

// chance is U(0, d).
func (p *Policy) chance(d time.Duration) time.Duration {
	return time.Duration(p.rules.Random() * float64(d))
}

// Good is told that t took a registration or a call, or answered a keep-alive
// of a line that is registered there. rtt is how long that took; 0: not
// measured. The tour ends. If the current address is not good, or t is the
// preferred address that Back has named, t becomes current: that is where the
// line is. done is the switch that this completes, if it does.
func (p *Policy) Good(now time.Time, t Target, rtt time.Duration) (done SwitchRecord, ok bool) {
	at := p.ring.find(&t)
	if at < 0 {
		return done, false
	}
	p.ring.Place(at).answer(now, rtt)
	switch {
	case !p.since.IsZero() && t.same(&p.back):
		p.leaving = SwitchRecord{From: p.ring.Current(), Cause: Failure{Cause: Preferred}.Error(), At: now}
		p.leaving.Detail = p.leaving.Cause
	case !p.since.IsZero():
		return done, false
	}
	if at != p.ring.Finger() {
		p.entered, p.ordered = now, false
	}
	p.begun, p.back, p.sign = true, Target{}, false
	p.ring.Point(at)
	p.ring.Restart()
	p.since, p.ready, p.spread = now, time.Time{}, false
	p.term = p.rules.FailbackAfter + p.chance(backSpread*p.rules.Spread)
	done, p.leaving = p.leaving, SwitchRecord{}
	if done.From.IsZero() || done.From.same(&t) {
		return done, false
	}
	done.To, done.Took = t, now.Sub(done.At)
	done.Tries = max(done.Tries, 1)
	return done, true
}

// Alive is told that t answered a probe while the line has no good address.
// It reports whether that is a reason to register at Current when Wait is
// over: t was silent until now or has not been tried, and has become current.
//
// A proxy that refused, or an account that is refused, gains nothing by this:
// an answer refutes silence, it does not refute a refusal. Nor does an answer
// end a wait that spreads a fleet. Where signs of life were not followed by a
// registration, each further one counts less: an overwhelmed proxy answers
// probes and nothing else.
func (p *Policy) Alive(now time.Time, t Target, rtt time.Duration) bool {
	at := p.ring.find(&t)
	if at < 0 {
		return false
	}
	place := p.ring.Place(at)
	here := p.ring.Place(p.ring.Finger())
	switch {
	case place.Bad && place.Failure.refused(), place.Held.After(now):
		place.measure(rtt)
		return false
	case here.Bad && Judge(here.Failure) == Account:
		place.measure(rtt)
		return false
	}
	if !p.since.IsZero() {
		p.Heard(now, t, rtt)
		return false
	}
	place.answer(now, rtt)
	if p.sign || p.Wait(now) > 0 && p.spread || p.queueing(now) {
		return false
	}
	p.begun, p.sign = true, true
	if at != p.ring.Finger() {
		p.entered = now
	}
	p.ring.Point(at)
	p.ring.Restart()
	soon := p.chance(p.rules.Spread)
	if !p.fleet() {
		soon /= 2 // the questions of many are spread already: they are lookouts apart
	}
	if p.vain > 0 {
		soon = p.jitter(max(tourBase, p.rules.Spread), p.rules.Cap, p.vain-1)
	}
	if at := now.Add(soon); at.Before(p.ready) {
		p.ready = at
	}
	return true
}

// queueing reports whether a line of a fleet is in the queue of an address just
// now: there are others that would answer a probe, but their queues are no shorter.
func (p *Policy) queueing(now time.Time) bool {
	began := p.entered
	if p.ready.After(began) {
		began = p.ready
	}
	return p.fleet() && !began.After(now) && now.Sub(began) < p.crowd()
}

// Heard is told that t answered a probe while the line is well elsewhere.
func (p *Policy) Heard(now time.Time, t Target, rtt time.Duration) {
	at := p.ring.find(&t)
	if at < 0 {
		return
	}
	place := p.ring.Place(at)
	if place.Held.After(now) {
		return
	}
	if place.run == 0 {
		p.aside(place, now, 0) // a whole fleet hears it within a minute
	}
	place.answer(now, rtt)
	place.heard(now)
}

// Unheard is told that t did not answer a probe while the line is well elsewhere.
func (p *Policy) Unheard(now time.Time, t Target, f Failure) {
	at := p.ring.find(&t)
	if at < 0 || at == p.ring.Finger() || Judge(f) != Move {
		return
	}
	place := p.ring.Place(at)
	place.probed = true
	if place.proven(f) {
		place.fail(now, f)
	}
	place.run = 0
}

// Missed is told that one question to t got no answer in time.
func (p *Policy) Missed(t Target) {
	if at := p.ring.find(&t); at >= 0 {
		p.ring.Place(at).missed++
	}
}

// Standby returns which addresses are worth a slow probe while the line is
// well: those it may go back to, and the one it would go to next.
func (p *Policy) Standby(now time.Time) []Target {
	if p.since.IsZero() {
		return nil
	}
	var list []Target
	for i := range min(p.ring.Finger(), standbys-1) {
		list = append(list, p.ring.Place(i).Target)
	}
	ahead := p.ring
	if ahead.rotate(p.late(now)); ahead.Finger() >= len(list) && ahead.Finger() != p.ring.Finger() {
		list = append(list, ahead.Current())
	}
	return list
}

// Renewed is told that DNS has answered.
func (p *Policy) Renewed() { p.renewed = true }

// Back says whether it is time to go back to a preferred address; see [Route.Back].
func (p *Policy) Back(now time.Time, idle, refreshing bool) (Target, bool) {
	stayed := now.Sub(p.entered)
	if p.since.IsZero() || !idle || p.ordered || stayed < minDwell {
		return Target{}, false
	}
	due := false
	switch p.rules.Failback {
	case OnRefresh:
		due = refreshing
	case OnTTL:
		due = p.renewed
	case OnTimer:
		due = stayed >= p.term
	case ImmediateIdle:
		due = true
	}
	for i := 0; due && i < p.ring.Finger(); i++ {
		if place := p.ring.Place(i); place.welcome(now) {
			p.back = place.Target
			return p.back, true
		}
	}
	return Target{}, false
}

// turnedAway notes that a line wanted to go back to a place and could not.
func (p *Policy) turnedAway(place *Place, now time.Time) {
	p.back = Target{}
	place.Flaps = min(place.Flaps+1, maxFlaps)
	p.aside(place, now, minDwell<<place.Flaps)
}

// Failover is an operator's order to leave the current address: for the one
// with address to, or, where that is not valid, for the next.
func (p *Policy) Failover(now time.Time, to netip.AddrPort) (Target, error) {
	at := -1
	for i := range p.ring.Len() {
		if a := p.ring.Place(i).Addr; a == to || to.Port() == 0 && a.Addr() == to.Addr() {
			at = i
			break
		}
	}
	switch {
	case p.ring.Len() == 0:
		return Target{}, errors.New("no address of a proxy is known")
	case p.ring.Len() == 1 && !to.Addr().IsValid():
		return Target{}, fmt.Errorf("%v is the only address there is", p.ring.Current())
	case to.Addr().IsValid() && at < 0:
		return Target{}, fmt.Errorf("%v is no address of a configured proxy", to)
	case at == p.ring.Finger():
		return Target{}, fmt.Errorf("the line is there already: %v", p.ring.Current())
	case at < 0:
		ahead := p.ring
		ahead.rotate(p.late(now))
		at = ahead.Finger()
	}
	p.goTo(at, now)
	p.ordered = true
	return p.ring.Current(), nil
}

// Recall is an operator's order to go back to the most preferred address that
// is not known to be dead.
func (p *Policy) Recall(now time.Time) (Target, error) {
	for i := range p.ring.Finger() {
		if place := p.ring.Place(i); !place.Bad && !place.Held.After(now) {
			p.goTo(i, now)
			return place.Target, nil
		}
	}
	p.ordered = false
	if p.ring.Finger() == 0 {
		return Target{}, fmt.Errorf("the line is at the most preferred address already: %v", p.ring.Current())
	}
	return Target{}, errors.New("every address that is preferred to this one failed when it was last asked")
}

// goTo puts the finger on a place because somebody wants it there.
func (p *Policy) goTo(at int, now time.Time) {
	if p.leaving.From.IsZero() {
		f := Failure{Cause: Asked}
		p.leaving = SwitchRecord{From: p.ring.Current(), Cause: f.Error(), Detail: f.Error(), At: now}
	}
	p.leaving.Tries++
	p.ring.Point(at)
	p.ring.Restart()
	p.begun, p.ordered, p.renewed, p.back = true, false, false, Target{}
	p.since, p.entered, p.ready, p.spread = time.Time{}, now, time.Time{}, false
}

// Pace returns how a request of this method should be sent to t; see [Route.Pace].
func (p *Policy) Pace(now time.Time, t Target, method string) Pace {
	at := p.ring.find(&t)
	if at < 0 {
		return Pace{t1, t2, 8 * t1}
	}
	h := &p.ring.Place(at).Health
	home := at == p.ring.Finger() && !p.since.IsZero()
	switch {
	case method == "INVITE" && home:
		// Three transmissions, and for the third as long again: 0, T1, 3·T1.
		return Pace{h.t1(), t2, 4 * h.t1()}
	case method != "REGISTER":
		return Pace{h.t1(), t2, max(8*h.t1(), 8*t1)}
	}
	quiet := p.crowd()
	switch {
	case home:
		quiet = max(quiet, 16*t1) // the registration holds meanwhile
	case !h.Bad && !h.Good.IsZero() && now.Sub(h.Good) < lately:
		quiet = timerF // it lives: silence is work
	}
	return Pace{max(quiet/6, t1), 2 * t2, quiet}
}

// crowd is the patience of a registration with an address that the line comes
// to. The longer the spread, the more lines come: one that repeats before its
// place in the queue is due doubles the work, one that leaves has wasted it.
func (p *Policy) crowd() time.Duration { return min(max(p.rules.Spread, 8*t1), timerF) }

// fleet reports whether so many share the proxies that a registration may well
// have to wait its turn.
func (p *Policy) fleet() bool { return p.rules.Spread > 8*t1 }

// Proof says how an address that has missed a keep-alive may prove that it
// lives; see [Route.Proof].
func (p *Policy) Proof(t Target, every time.Duration) (again, limit time.Duration) {
	h := new(Health)
	if at := p.ring.find(&t); at >= 0 {
		h = &p.ring.Place(at).Health
	}
	again = min(h.t1(), 2*t1)
	if often := max(every/30, 4*h.RTT, oftenest); h.RTT > 0 && often < again {
		again = often // who asks every few seconds wants to know within one
	}
	if p.fleet() {
		// It may be slow because others come to it, and drop what it cannot
		// take. No more questions than it can bear, and time for all of them.
		return 2 * t1, crowded
	}
	tries := fewest // what is sent over a connection is not lost
	if t.Transport == UDP {
		tries = h.enough(certain)
	}
	limit = time.Duration(tries) * again
	return again, min(max(limit, min(every/4, hurried)), longest)
}

// Lookout returns how long it should be until all addresses are asked again for
// a sign of life while the line waits for one: 1.75 to 3.5 s for a device on its
// own, so that with half the spread after it no 5 s pass; the spread to twice
// the spread in a fleet; and longer as time goes on.
func (p *Policy) Lookout(now time.Time) time.Duration {
	gap := probeGap
	if p.fleet() {
		gap = p.rules.Spread
	}
	if over := now.Sub(p.leaving.At) - probeLong; !p.leaving.At.IsZero() && over > 0 {
		gap = max(gap, min(gap+over/8, probeSlow))
	}
	return gap + p.chance(gap)
}

// Of our own choosing: see Lookout.
const (
	probeGap  = 1750 * time.Millisecond
	probeLong = 3 * time.Minute
	probeSlow = 20 * time.Second
)
