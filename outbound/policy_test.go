package outbound

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// day is when the days of these tests begin. A policy asks no clock.
var day = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// policyOn makes a policy with the places 1 to n, at home on the first for two hours.
func policyOn(n int, rules Rules) Policy {
	if rules.Random == nil {
		rules.Random = half
	}
	p := NewPolicy(&rules)
	p.Load(day.Add(-2*time.Hour), placesTo(n))
	p.Begin(day.Add(-2*time.Hour), 0)
	p.Good(day.Add(-2*time.Hour), place(1), 20*time.Millisecond)
	for i := range 100 { // so much is known of the way
		p.Good(day.Add(time.Duration(i-100)*time.Second), place(1), 20*time.Millisecond)
	}
	return p
}

func placesTo(n int) (list []Target) {
	for i := range n {
		list = append(list, place(i+1))
	}
	return list
}

// "The first failover of an idle line waits U(0, failover_spread); an off-hook
// line goes now".
func TestSpread(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name string
		f    Failure
		want time.Duration
	}{
		{"an idle line", Failure{Method: "OPTIONS"}, 15 * s},
		{"its refresh", Failure{Method: "REGISTER"}, 15 * s},
		{"a call", Failure{Method: "INVITE"}, 0},
		{"with the receiver off its hook", Failure{Method: "REGISTER", Urgent: true}, 0},
	} {
		p := policyOn(4, Rules{Spread: 30 * s})
		step := p.Next(day, place(1), c.f)
		if step.To != place(2) || step.Wait != c.want || !step.Moved || step.Ask {
			t.Errorf("%s: %+v, want a wait of %v", c.name, step, c.want)
		}
	}

	p := policyOn(4, Rules{Spread: 30 * s})
	p.Next(day, place(1), Failure{Method: "OPTIONS"})
	if p.Alive(day.Add(s), place(3), 0) || p.Wait(day.Add(s)) != 14*s {
		t.Error("a sign of life shortens what spreads a fleet")
	}
	if !p.Urge() || p.Wait(day.Add(s)) != 0 || p.Urge() {
		t.Error("whoever lifts the receiver waits")
	}
	// Further moves wait too, and grow; whole tours as they always did.
	p = policyOn(2, Rules{Spread: 30 * s})
	var waits []time.Duration
	at, now := place(1), day
	for range 6 {
		step := p.Next(now, at, silence)
		waits, at, now = append(waits, step.Wait), step.To, now.Add(step.Wait)
	}
	for i, want := range []time.Duration{15 * s, 3 * s, 6 * s, 6 * s, 24 * s, 12 * s} {
		if waits[i] != want {
			t.Errorf("waits %v, the %dth should be %v", waits, i+1, want)
			break
		}
	}
}

// Where the power returns, it returns to everybody.
func TestBootSpread(t *testing.T) {
	p := NewPolicy(&Rules{Random: half})
	p.Load(day, placesTo(2))
	p.Begin(day, 300*time.Second)
	if p.Wait(day) != 150*time.Second {
		t.Errorf("wait %v", p.Wait(day))
	}
	p.Begin(day.Add(time.Minute), 300*time.Second)
	if p.Wait(day) != 150*time.Second {
		t.Error("a second beginning began again")
	}
	if p.Urge(); p.Wait(day) != 0 {
		t.Error("a receiver off its hook waits")
	}
}

// "An address that answers in 20 ms is doubted after a second, not four; a slow
// satellite path is not. Never less than three transmissions. Dead is not slow:
// the address moved to gets a patient, slowly retransmitting first request."
func TestPacePerAddress(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name   string
		rtt    time.Duration // of place 1, where the line is; 0: nothing is known
		spread time.Duration
		to     int
		method string
		heard  bool // place 2 has answered a probe lately
		want   Pace
	}{
		{"a call at home, 20 ms", 20 * ms, 0, 1, "INVITE", false, Pace{250 * ms, 4000 * ms, 1000 * ms}},
		{"a call at home, 600 ms", 600 * ms, 0, 1, "INVITE", false, Pace{600 * ms, 4000 * ms, 2400 * ms}},
		{"a call at home, nothing known", 0, 0, 1, "INVITE", false, Pace{500 * ms, 4000 * ms, 2000 * ms}},
		{"a call elsewhere", 20 * ms, 0, 2, "INVITE", false, Pace{500 * ms, 4000 * ms, 4000 * ms}},
		{"a refresh", 20 * ms, 0, 1, "REGISTER", false, Pace{8000 * ms / 6, 8000 * ms, 8000 * ms}},
		{"a registration elsewhere", 20 * ms, 2 * time.Second, 2, "REGISTER", false, Pace{4000 * ms / 6, 8000 * ms, 4000 * ms}},
		{"a registration of a fleet elsewhere", 20 * ms, 30 * time.Second, 2, "REGISTER", false, Pace{5000 * ms, 8000 * ms, 30000 * ms}},
		{"a registration where somebody lives", 20 * ms, 0, 2, "REGISTER", true, Pace{32000 * ms / 6, 8000 * ms, 32000 * ms}},
		{"a stranger", 20 * ms, 0, 9, "REGISTER", false, Pace{500 * ms, 4000 * ms, 4000 * ms}},
	} {
		p := NewPolicy(&Rules{Spread: c.spread, Random: half})
		p.Load(day, placesTo(3))
		for range 100 {
			p.Good(day, place(1), c.rtt)
		}
		if c.heard {
			p.Heard(day, place(2), 20*ms)
		}
		got := p.Pace(day, place(c.to), c.method)
		if got.T1.Round(ms) != c.want.T1.Round(ms) || got.T2 != c.want.T2 || got.Quiet.Round(ms) != c.want.Quiet {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Whatever round-trip times and losses there were, three datagrams at least are
// sent before anybody is doubted, and nobody waits longer than RFC 3261.
func TestPaceLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := NewPolicy(&Rules{Spread: time.Duration(rapid.IntRange(0, 600).Draw(t, "spread")) * time.Second, Random: half})
		p.Load(day, placesTo(3))
		for range rapid.IntRange(0, 50).Draw(t, "answers") {
			p.Missed(place(1))
			p.Good(day, place(1), time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms"))*time.Millisecond)
		}
		to := place(rapid.IntRange(1, 3).Draw(t, "to"))
		pace := p.Pace(day, to, rapid.SampledFrom([]string{"INVITE", "REGISTER", "OPTIONS", "BYE"}).Draw(t, "method"))
		sent := 1
		for at, wait := pace.T1, pace.T1; at < pace.Quiet; at, wait = at+min(2*wait, pace.T2), min(2*wait, pace.T2) {
			sent++
		}
		if sent < 3 || pace.Quiet > timerF || pace.T1 < shortT1 || pace.T2 < t2 {
			t.Fatalf("%v sends %d times", pace, sent)
		}
		again, limit := p.Proof(to, time.Duration(rapid.IntRange(1, 60).Draw(t, "every"))*time.Second)
		if limit < fewest*again || limit > max(longest, crowded) || again < oftenest {
			t.Fatalf("a proof of %v, asked every %v", limit, again)
		}
	})
}

// "30 % packet loss each way: no false switch in an hour of virtual time, and a
// real death still found within 30 s", here with the policy's own proof in a
// thousand hours.
func TestLoss(t *testing.T) {
	const every = 15 * time.Second
	random := rand.New(rand.NewPCG(1, 2))
	there, back := random.Float64, random.Float64
	lost := func(each float64) bool { return there() < each || back() < each }
	p := policyOn(2, Rules{})
	now, wrong := day, 0
	for range 240 { // an hour in which the route gets to know the way; it may be surprised by what comes over a clean one
		prove(&p, now, every, func() bool { return lost(0.3) })
		now = now.Add(every)
	}
	hours := 1000
	if testing.Short() {
		hours = 100
	}
	for range hours * 240 {
		if !prove(&p, now, every, func() bool { return lost(0.3) }) {
			wrong++
		}
		now = now.Add(every)
	}
	if wrong > hours/100 {
		t.Errorf("%d false deaths in %d hours", wrong, hours)
	}
	if _, limit := p.Proof(place(1), every); every+limit > 30*time.Second {
		t.Errorf("with loss a death is known after %v", every+limit)
	}
	if _, limit := policyOnLimit(every); limit > 4*time.Second {
		t.Errorf("without loss a death is known only %v after the keep-alive", limit)
	}
}

func policyOnLimit(every time.Duration) (time.Duration, time.Duration) {
	p := policyOn(2, Rules{})
	return p.Proof(place(1), every)
}

// prove asks as a line does and reports whether there was an answer.
func prove(p *Policy, now time.Time, every time.Duration, lost func() bool) bool {
	again, limit := p.Proof(place(1), every)
	for at := time.Duration(0); at < limit; at += again {
		if !lost() {
			p.Good(now, place(1), 0)
			return true
		}
		p.Missed(place(1))
	}
	p.Good(now, place(1), 0) // what was missed counts all the same
	return false
}

// Few unanswered datagrams prove nothing where many are lost, but they add up.
func TestProven(t *testing.T) {
	call := Failure{Method: "INVITE", Tries: 3}
	p := policyOn(3, Rules{})
	if step := p.Next(day, place(1), call); !step.Moved {
		t.Error("three datagrams on a clean way prove nothing")
	}
	p = policyOn(3, Rules{})
	for range 60 {
		p.Missed(place(1))
		p.Good(day, place(1), 0)
	}
	refresh := Failure{Method: "REGISTER", Tries: 3}
	if step := p.Next(day, place(1), call); step.Moved || step.To != place(2) || p.Current() != place(1) {
		t.Errorf("where half is lost, three datagrams moved the line; the call goes to %v", step.To)
	}
	if step := p.Next(day, place(1), refresh); step.Moved || step.To != place(1) || step.Wait != 0 {
		t.Errorf("the registration should be tried again: %+v", step)
	}
	for n := 0; ; n++ {
		if p.Next(day, place(1), refresh).Moved {
			break
		}
		if n > 10 {
			t.Fatal("silence never proves anything")
		}
	}
}

// Nobody goes to an address that is known to be dead while there is another.
func TestQuarantine(t *testing.T) {
	p := policyOn(4, Rules{})
	dead := Failure{Method: "OPTIONS", Cause: NoAnswer}
	p.Unheard(day, place(2), dead)
	if step := p.Next(day, place(1), silence); step.To != place(3) || step.Ask {
		t.Errorf("next is %+v, and 2 is known to be dead", step)
	}
	p.Next(day, place(3), silence)
	if step := p.Next(day, place(4), silence); step.To != place(2) || step.Wait != 0 {
		t.Errorf("%+v: the dead one is the last of the tour", step)
	}
	p = policyOn(4, Rules{})
	p.Unheard(day, place(2), dead)
	p.Heard(day, place(2), 0)
	if step := p.Next(day, place(1), silence); step.To != place(2) {
		t.Errorf("next is %v, and 2 has answered since", step.To)
	}
	p = policyOn(4, Rules{})
	p.Unheard(day, place(2), dead)
	if step := p.Next(day.Add(quarantine), place(1), silence); step.To != place(2) {
		t.Errorf("next is %v, and the quarantine of 2 is over", step.To)
	}
}

// An overwhelmed proxy answers probes and nothing else: each sign of life that
// a registration did not confirm makes the next one count less.
func TestVainSigns(t *testing.T) {
	p := policyOn(1, Rules{Random: half})
	now, last := day, time.Duration(0)
	for i := range 12 {
		p.Next(now, place(1), silence)
		if !p.Alive(now, place(1), 0) {
			t.Fatal("a sign of life is no news")
		}
		wait := p.Wait(now)
		if i == 0 && wait != 0 || i > 1 && wait < last {
			t.Errorf("the %dth sign of life leaves a wait of %v after %v", i+1, wait, last)
		}
		now, last = now.Add(wait), wait
	}
	if last < time.Minute || last > tourCap {
		t.Errorf("in the end it waits %v", last)
	}
	p.Good(now, place(1), 0)
	now = now.Add(stable)
	p.Next(now, place(1), silence)
	if p.Alive(now, place(1), 0); p.Wait(now) != 0 {
		t.Errorf("a stable registration is not rewarded: %v", p.Wait(now))
	}
}

// The modes of failback, each at its time and not before.
func TestBack(t *testing.T) {
	const min = time.Minute
	for _, c := range []struct {
		mode       Failback
		after      time.Duration // since the line left
		idle       bool
		refreshing bool
		want       bool
	}{
		{OnRefresh, 10 * min, true, true, true},
		{OnRefresh, 10 * min, true, false, false},
		{OnRefresh, 10 * min, false, true, false},
		{OnRefresh, min / 2, true, true, false}, // the least that a line stays
		{Never, 100 * min, true, true, false},
		{ImmediateIdle, 10 * min, true, false, true},
		{ImmediateIdle, 10 * min, false, false, false}, // never during a call
		{ImmediateIdle, 2 * min, true, false, false},   // two good probes are not three
		{OnTimer, 10 * min, true, true, false},
		{OnTimer, 61 * min, true, false, true},
		{OnTTL, 10 * min, true, true, false},
	} {
		p := away(Rules{Failback: c.mode}, c.after, true)
		to, ok := p.Back(day.Add(c.after), c.idle, c.refreshing)
		if ok != c.want || ok && to != place(1) {
			t.Errorf("%v after %v, idle %v, refreshing %v: %v %v", c.mode, c.after, c.idle, c.refreshing, to, ok)
		}
	}
	p := away(Rules{Failback: OnTTL}, 10*min, true)
	p.Renewed()
	if _, ok := p.Back(day.Add(10*min), true, false); !ok {
		t.Error("DNS has answered, and the line does not go back")
	}
	p = away(Rules{Failback: ImmediateIdle}, 10*min, false)
	if to, ok := p.Back(day.Add(10*min), true, false); ok {
		t.Errorf("it goes back to %v, which answers every other probe", to)
	}

	// Going back leaves no gap: Good moves the route, Next leaves it where it is.
	now := day.Add(10 * min)
	p = away(Rules{}, 10*min, true)
	p.Back(now, true, true)
	if p.Current() != place(2) {
		t.Error("it has left before it has arrived")
	}
	lost := p
	if done, ok := p.Good(now, place(1), 0); !ok || p.Current() != place(1) || done.From != place(2) || done.To != place(1) || done.Cause != "a preferred proxy is well again" {
		t.Errorf("it went back: %v, %+v", p.Current(), done)
	}
	if step := lost.Next(now, place(1), silence); step.Moved || step.To != place(2) || lost.Current() != place(2) {
		t.Errorf("it could not go back: %+v", step)
	}
	if _, ok := lost.Back(now.Add(min), true, true); ok {
		t.Error("it tries again at once")
	}
}

// away is a line that left place 1 on day for place 2, after whose time has
// passed: place 1 has answered all probes since, one a minute, or every other.
func away(rules Rules, after time.Duration, all bool) Policy {
	p := policyOn(2, rules)
	p.Next(day, place(1), silence)
	p.Good(day, place(2), 0)
	for i := 1; time.Duration(i)*time.Minute <= after; i++ {
		if now := day.Add(time.Duration(i) * time.Minute); all || i%2 == 0 {
			p.Heard(now, place(1), 0)
		} else {
			p.Unheard(now, place(1), silence)
		}
	}
	return p
}

// "flapping proxy (10 s up, 10 s down): at most one switch per minimum dwell",
// for whatever rhythm, in six hours, with the failback that is in the greatest
// hurry.
func TestFlapping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		up := time.Duration(rapid.IntRange(1, 600).Draw(t, "up")) * time.Second
		down := time.Duration(rapid.IntRange(1, 600).Draw(t, "down")) * time.Second
		seed := rapid.Uint64().Draw(t, "seed")
		random := rand.New(rand.NewPCG(seed, 1))
		p := policyOn(2, Rules{Failback: ImmediateIdle, Random: random.Float64})
		came, left, hold, switches := day.Add(-2*time.Hour), day, minDwell, 0
		for now := day; now.Before(day.Add(6 * time.Hour)); now = now.Add(time.Duration(8+7*random.Float64()) * time.Second) {
			answers := now.Sub(day)%(up+down) < up
			at := p.Current()
			switch {
			case at == place(2):
				p.Good(now, at, 0)
			case answers:
				p.Good(now, at, 0)
			default:
				p.Next(now, at, silence)
				p.Good(now, place(2), 0)
				if hold = min(2*hold, minDwell<<maxFlaps); now.Sub(came) >= steady {
					hold = minDwell
				}
				left = now
				switches++
			}
			for _, s := range p.Standby(now) {
				if s == place(2) || answers {
					p.Heard(now, s, 0)
				} else {
					p.Unheard(now, s, silence)
				}
			}
			if to, ok := p.Back(now, true, false); ok && answers {
				if now.Sub(left) < hold {
					t.Fatalf("up %v, down %v: it left at %v and went back %v later; %v is the least", up, down, left.Sub(day), now.Sub(left), hold)
				}
				p.Good(now, to, 0)
				came = now
				switches++
			}
		}
		if most := int(6*time.Hour/minDwell) + 1; switches > most {
			t.Fatalf("%d switches in six hours", switches)
		}
		if up == down && up <= 30*time.Second && switches > 20 {
			t.Fatalf("up and down every %v: %d switches", up, switches)
		}
	})
}

// What an operator orders happens, and is left alone.
func TestOrders(t *testing.T) {
	p := policyOn(3, Rules{Failback: ImmediateIdle})
	to, err := p.Failover(day, netip.AddrPort{})
	if err != nil || to != place(2) || p.Current() != place(2) {
		t.Fatalf("to %v, %v", to, err)
	}
	done, ok := p.Good(day.Add(time.Second), place(2), 0)
	if !ok || done.Cause != "asked to move" || done.From != place(1) || done.Took != time.Second || done.Tries != 1 {
		t.Errorf("record %+v", done)
	}
	for i := range 10 {
		p.Heard(day.Add(time.Duration(i)*time.Minute), place(1), 0)
	}
	if _, ok := p.Back(day.Add(time.Hour), true, true); ok {
		t.Error("the operator's order was undone")
	}
	if to, err := p.Recall(day.Add(time.Hour)); err != nil || to != place(1) {
		t.Errorf("back to %v, %v", to, err)
	}
	if to, err := p.Failover(day, netip.MustParseAddrPort("192.0.2.3:0")); err != nil || to != place(3) {
		t.Errorf("to %v, %v", to, err)
	}
	for want, do := range map[string]func() error{
		"the line is there already: 192.0.2.3:5060": func() error {
			_, err := p.Failover(day, place(3).Addr)
			return err
		},
		"198.51.100.1:5060 is no address of a configured proxy": func() error {
			_, err := p.Failover(day, netip.MustParseAddrPort("198.51.100.1:5060"))
			return err
		},
		"192.0.2.1:5060 is the only address there is": func() error {
			alone := policyOn(1, Rules{})
			_, err := alone.Failover(day, netip.AddrPort{})
			return err
		},
		"the line is at the most preferred address already: 192.0.2.1:5060": func() error {
			home := policyOn(2, Rules{})
			_, err := home.Recall(day)
			return err
		},
		"no address of a proxy is known": func() error {
			none := NewPolicy(new(Rules))
			_, err := none.Failover(day, netip.AddrPort{})
			return err
		},
		"every address that is preferred to this one failed when it was last asked": func() error {
			left := policyOn(2, Rules{})
			left.Next(day, place(1), silence)
			_, err := left.Recall(day)
			return err
		},
	} {
		if err := do(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// One record for each switch, with what the network said.
func TestRecord(t *testing.T) {
	p := policyOn(3, Rules{})
	p.Next(day, place(1), Failure{Method: "OPTIONS", Tries: 9})
	p.Next(day.Add(4*time.Second), place(2), Failure{Method: "REGISTER", Cause: Unreachable})
	done, ok := p.Good(day.Add(5*time.Second), place(3), 0)
	want := SwitchRecord{From: place(1), To: place(3), Cause: "no answer", Detail: "OPTIONS, asked 9 times: no answer", At: day, Took: 5 * time.Second, Tries: 2}
	if !ok || done != want {
		t.Errorf("%+v\nwant %+v", done, want)
	}
	// Back where it was: nothing to tell.
	p.Next(day, place(3), silence)
	p.Next(day, place(1), silence)
	if done, ok := p.Good(day, place(3), 0); ok {
		t.Errorf("%+v", done)
	}
}

// RFC 6298 section 2: RTTVAR <- R/2 at first, then 3/4·RTTVAR + 1/4·|SRTT - R'|, and
// SRTT <- 7/8·SRTT + 1/8·R'.
func TestMeasure(t *testing.T) {
	var h Health
	h.measure(80 * time.Millisecond)
	if h.RTT != 80*time.Millisecond || h.Dev != 40*time.Millisecond {
		t.Errorf("first: %v ± %v", h.RTT, h.Dev)
	}
	h.measure(160 * time.Millisecond)
	if h.RTT != 90*time.Millisecond || h.Dev != 50*time.Millisecond {
		t.Errorf("then: %v ± %v", h.RTT, h.Dev)
	}
}

// Whatever happens to it, at whatever times: the finger is on a member, a wait
// never ends later than the cap and the spread, and nothing moves a line that is
// well but a proven failure, an order, or going back.
func TestPolicyLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		spread := time.Duration(rapid.IntRange(0, 60).Draw(t, "spread")) * time.Second
		p := NewPolicy(&Rules{Spread: spread, Failback: ImmediateIdle, Random: random.Float64})
		p.Load(day, placesTo(rapid.IntRange(1, 6).Draw(t, "places")))
		p.Begin(day, 0)
		now := day
		any := func(t *rapid.T) Target { return place(rapid.IntRange(1, 7).Draw(t, "place")) }
		well := func() bool { return !p.since.IsZero() }
		var was Target
		stays := func(what string) {
			if p.Current() != was {
				t.Fatalf("%s moved a line that was well from %v to %v", what, was, p.Current())
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { now = now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "s")) * time.Second) },
			"good": func(t *rapid.T) {
				at, back := any(t), p.back
				home := well()
				p.Good(now, at, time.Millisecond)
				if home && at != back {
					stays("Good elsewhere")
				}
			},
			"fail": func(t *rapid.T) {
				at := any(t)
				f := Failure{Method: rapid.SampledFrom([]string{"REGISTER", "INVITE", "OPTIONS"}).Draw(t, "method"), Tries: rapid.IntRange(0, 3).Draw(t, "tries")}
				home := well()
				step := p.Next(now, at, f)
				if home && at != was {
					stays("a failure elsewhere")
				}
				if step.Moved && p.since != (time.Time{}) {
					t.Fatal("it has moved and is well")
				}
			},
			"alive": func(t *rapid.T) {
				home := well()
				p.Alive(now, any(t), 0)
				if home {
					stays("a sign of life")
				}
			},
			"heard":   func(t *rapid.T) { home := well(); p.Heard(now, any(t), 0); _ = home },
			"unheard": func(t *rapid.T) { p.Unheard(now, any(t), silence) },
			"urge":    func(t *rapid.T) { p.Urge() },
			"back": func(t *rapid.T) {
				to, ok := p.Back(now, true, true)
				stays("being asked")
				if ok && p.ring.Find(to) >= p.ring.Finger() {
					t.Fatalf("back to %v from %v", to, p.Current())
				}
			},
			"load": func(t *rapid.T) {
				list := rapid.SliceOfN(rapid.Custom(any), 1, 8).Draw(t, "list")
				home := well()
				p.Load(now, list)
				if home && p.ring.Find(was) >= 0 {
					stays("a reload")
				}
			},
			"": func(t *rapid.T) {
				if p.Current().IsZero() || p.ring.Finger() >= p.ring.Len() {
					t.Fatal("the finger is off the ring")
				}
				if w := p.Wait(now); w > tourCap+spread {
					t.Fatalf("a wait of %v", w)
				}
				if well() && p.Wait(now) > 0 {
					t.Fatal("a line that is well waits")
				}
				was = p.Current()
			},
		})
	})
}

// Everything a policy does for a line that is well allocates nothing.
func TestPolicyAllocates(t *testing.T) {
	p := policyOn(4, Rules{Spread: time.Second})
	at := place(1)
	if n := testing.AllocsPerRun(100, func() {
		p.Good(day, at, time.Millisecond)
		p.Missed(at)
		p.Pace(day, at, "INVITE")
		p.Proof(at, time.Minute)
		p.Back(day, true, true)
		p.Heard(day, place2, 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var place2 = place(2)

func TestParseChoices(t *testing.T) {
	for _, f := range []Failback{Never, OnTTL, OnRefresh, OnTimer, ImmediateIdle} {
		if got, err := ParseFailback(f.String()); got != f || err != nil {
			t.Errorf("%v: %v, %v", f, got, err)
		}
	}
	for _, o := range []Order{OrderDNS, OrderSpread} {
		if got, err := ParseOrder(o.String()); got != o || err != nil {
			t.Errorf("%v: %v, %v", o, got, err)
		}
	}
	if _, err := ParseFailback("sometimes"); err == nil || !strings.Contains(err.Error(), "immediate-idle") {
		t.Errorf("%v", err)
	}
	if _, err := ParseOrder("random"); err == nil {
		t.Error("random is an order")
	}
}
