package outbound

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

const (
	one   = "192.0.2.1:5060"
	two   = "192.0.2.2:5060"
	three = "192.0.2.3:5060"
)

// three addresses behind one name, TTL 60.
func trio() *fakeDNS {
	return &fakeDNS{zone: zoneA("p.example.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")}
}

// First is fast when DNS is, and does not wait for names that do not resolve.
func TestFirst(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name    string
		server  *fakeDNS
		entries []string
		want    string
		took    time.Duration
		ring    string
	}{
		{"one name", trio(), []string{"p.example.net"}, one, 0, "192.0.2.1:5060 192.0.2.2:5060 192.0.2.3:5060"},
		{"an address", trio(), []string{"192.0.2.9"}, "192.0.2.9:5060", 0, "192.0.2.9:5060"},
		{"a name before an address", trio(), []string{"p.example.net", "192.0.2.9"}, one, 0,
			"192.0.2.1:5060 192.0.2.2:5060 192.0.2.3:5060 192.0.2.9:5060"},
		{"an address before a name", trio(), []string{"192.0.2.9", "p.example.net"}, "192.0.2.9:5060", 0, ""},
		{"a name that does not exist before one that does", trio(), []string{"gone.example.net", "p.example.net"}, one, 0, ""},
		{"a name before one that does not exist", trio(), []string{"p.example.net", "gone.example.net"}, one, 0, ""},
		{"slow DNS", &fakeDNS{delay: 400 * ms, zone: zoneA("p.example.net", "192.0.2.1")}, []string{"p.example.net:5060"}, one, 400 * ms, one},
		{"dead DNS and an address", &fakeDNS{silent: true}, []string{"p.example.net", "192.0.2.9"}, "192.0.2.9:5060", firstWait, "192.0.2.9:5060"},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			r, first := start(t, RouteConfig{Proxies: proxies(t, c.entries...), Resolver: newNet(c.server).resolver()})
			if took := time.Since(began); first.Dest != c.want || took != c.took {
				t.Errorf("%s: %v after %v, want %s after %v", c.name, first, took, c.want, c.took)
			}
			if got := dests(r.Targets()); c.ring != "" && got != c.ring {
				t.Errorf("%s: ring %s, want %s", c.name, got, c.ring)
			}
		})
	}
}

// With DNS dead and nothing known, First waits, and is there as soon as DNS is.
func TestFirstWaitsForDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		server.silent = true
		r := NewRoute(RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver(), Random: half})
		time.AfterFunc(5*time.Minute, func() { server.set(func(s *fakeDNS) { s.silent = false }) })
		began := time.Now()
		first, err := r.First(t.Context())
		if took := time.Since(began) - 5*time.Minute; err != nil || first.Dest != one || took > 20*time.Second {
			t.Errorf("%v, %v, %v after DNS was back", first, err, took)
		}
	})
}

func TestFirstSaysWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoute(RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(&fakeDNS{silent: true}).resolver()})
		ctx, cancel := contextWithTimeout(t, time.Minute)
		defer cancel()
		_, err := r.First(ctx)
		if want := "no address of a proxy is known: p.example.net A: DNS 127.0.0.53:53: no answer"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if s := r.Status(); !strings.Contains(s.DNS, "no answer") {
			t.Errorf("status: %q", s.DNS)
		}
		time.Sleep(askLong) // a last question may be on its way
	})
}

func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		r.Good(first, 20*time.Millisecond)
		moved := r.Moved()

		second, wait := r.Next(first, silence)
		if second.Dest != two || wait != 0 {
			t.Errorf("next %v after %v", second, wait)
		}
		select {
		case <-moved:
		default:
			t.Error("nobody is told of the move")
		}

		// "REGISTER and INVITE failing together turn the ring once."
		if again, wait := r.Next(first, Failure{Method: "INVITE"}); again != second || wait != 0 {
			t.Errorf("the second failure of %v: next %v after %v", first, again, wait)
		}
		if status := r.Status(); status.LastSwitch.From != first || status.LastSwitch.To != second || status.LastSwitch.Took != 0 {
			t.Errorf("switch %+v", status.LastSwitch)
		}
		time.Sleep(3 * time.Second)
		r.Good(second, 10*time.Millisecond)
		status := r.Status()
		if s := status.LastSwitch; s.From != first || s.To != second || s.Took != 3*time.Second || s.Cause != "no answer" {
			t.Errorf("switch %+v", s)
		}
		states := ""
		for _, p := range status.Ring {
			states += p.State + " "
		}
		if p := status.Ring[0]; states != "failed in use unknown " || p.LastFailure != "no answer" || p.RTT != 20*time.Millisecond {
			t.Errorf("states %s, %+v", states, p)
		}
	})
}

// What does not move the ring: an answer, our own fault, old news, and what
// happened to an address that is not the current one.
func TestNextStays(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Failure
		wait time.Duration
	}{
		{"404 to INVITE", Failure{Method: "INVITE", Code: 404}, 0},
		{"486 to INVITE", Failure{Method: "INVITE", Code: 486}, 0},
		{"603 to INVITE", Failure{Method: "INVITE", Code: 603}, 0},
		{"401 to OPTIONS", Failure{Method: "OPTIONS", Code: 401}, 0},
		{"no link", Failure{Method: "REGISTER", Cause: Local}, time.Second},
		{"423", Failure{Method: "REGISTER", Code: 423}, 45 * time.Second},
		{"403 where a line is at home", Failure{Method: "REGISTER", Code: 403}, 45 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
			r.Good(first, 0)
			_, wait := r.Next(first, c.f)
			if got := current(t, r); got != first || wait != c.wait {
				t.Errorf("%s: moved to %v, wait %v, want %v", c.name, got, wait, c.wait)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r, first := start(t, RouteConfig{Proxies: proxies(t, "192.0.2.1"), Resolver: newNet(trio()).resolver()})
		began := time.Now()
		time.Sleep(time.Second)
		_, wait := r.Next(first, Failure{Method: "REGISTER", Began: began})
		_, again := r.Next(first, Failure{Method: "OPTIONS", Began: began})
		if wait != 3*time.Second || again != wait || r.policy.tours != 1 {
			t.Errorf("a ring of one turned twice: %v, then %v, %d tours", wait, again, r.policy.tours)
		}
	})
}

// "whole tours that fail grow the wait (RFC 5626 4.5 shape), with a cap; ring
// wrap, DNS and Retry-After do not reset it; a stable registration does."
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		wait := time.Duration(0)
		tour := func(f Failure) time.Duration {
			for i := range 3 {
				if at, wait = r.Next(at, f); i < 2 && wait != 0 {
					t.Errorf("inside a tour: wait %v", wait)
				}
			}
			time.Sleep(wait)
			return wait
		}
		for n, want := range []int{3, 6, 12, 24, 48, 96, 192, 225, 225} { // ¾ of 4, 8, ... 300
			if got := tour(silence); got != time.Duration(want)*time.Second {
				t.Errorf("tour %d: %v, want %d s", n, got, want)
			}
		}
		r.Good(at, 0)
		time.Sleep(stable - time.Second)
		if got := tour(silence); got != 225*time.Second {
			t.Errorf("a registration that broke within a minute reset the pace to %v", got)
		}
		r.Good(at, 0)
		time.Sleep(stable)
		if got := tour(silence); got != 3*time.Second {
			t.Errorf("after a stable registration: %v", got)
		}
		// A person who dials in vain does not slow down the registration.
		r.Good(at, 0)
		time.Sleep(stable)
		for range 12 {
			at, _ = r.Next(at, Failure{Method: "INVITE"})
		}
		if w := r.Wait(); w != 0 {
			t.Errorf("calls in vain make a registration wait %v", w)
		}
	})
}

// The jitter is between a half and the whole.
func TestPaceJitter(t *testing.T) {
	for _, random := range []float64{0, 0.999} {
		r := NewRoute(RouteConfig{Random: func() float64 { return random }})
		if got := r.policy.jitter(4*time.Second, time.Minute, 1); got < 4*time.Second || got > 8*time.Second {
			t.Errorf("random %v: %v", random, got)
		}
		if got := r.policy.jitter(4*time.Second, time.Minute, 1000); got < 30*time.Second || got > time.Minute {
			t.Errorf("random %v: %v", random, got)
		}
	}
}

// RFC 3261 21.5.4: "If a Retry-After is given [...] the client MUST act as if it
// had received [503 and] SHOULD NOT forward any requests to that server".
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		busy := Failure{Method: "REGISTER", Code: 503, RetryAfter: 40 * time.Second}
		second, wait := r.Next(first, busy)
		if second.Dest != two || wait != 0 {
			t.Fatalf("next %v after %v", second, wait)
		}
		third, _ := r.Next(second, silence)
		again, wait := r.Next(third, silence)
		if again.Dest != two || wait != 3*time.Second {
			t.Errorf("%v after %v: the first asked to be left alone", again, wait)
		}
		if s := r.Status().Ring[0]; s.State != "held" {
			t.Errorf("state %s", s.State)
		}
		// Now all want to be left alone: the one that wants it the shortest is
		// next, its wish is a floor, and the growth goes on.
		third, _ = r.Next(again, Failure{Method: "REGISTER", Code: 503, RetryAfter: time.Hour * 24 * 7})
		next, wait := r.Next(third, Failure{Method: "REGISTER", Code: 503, RetryAfter: 20 * time.Second})
		if next != third || wait != 20*time.Second {
			t.Errorf("%v after %v", next, wait)
		}
		if r.policy.tours != 2 {
			t.Errorf("%d tours are remembered", r.policy.tours)
		}
		if held := time.Until(r.policy.ring.Place(1).Held); held != maxHold {
			t.Errorf("a Retry-After of a week holds for %v", held)
		}
	})
}

// The account is refused: the others are tried, slowly, slower and slower.
func TestAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver(), Random: func() float64 { return 0 }})
		tried := ""
		for _, want := range []int{30, 60, 120, 240, 480, 600, 600} {
			tried += at.Dest[8:9]
			next, wait := r.Next(at, Failure{Method: "REGISTER", Code: 403})
			if wait != time.Duration(want)*time.Second {
				t.Errorf("wait %v, want %d s", wait, want)
			}
			if c := current(t, r); c != next {
				t.Errorf("next is %v, current %v", next, c)
			}
			time.Sleep(wait)
			if r.Alive(at, 0) {
				t.Error("a proxy that refused the account gained by answering a probe")
			}
			at = next
		}
		if tried != "1231231" {
			t.Errorf("tried %s", tried)
		}
		if r.policy.tours != 0 || r.Wait() != 0 {
			t.Errorf("an account that is refused counts as %d dead tours", r.policy.tours)
		}
		r.Good(at, 0)
		time.Sleep(time.Hour)
		if _, wait := r.Next(at, Failure{Method: "REGISTER", Code: 403}); wait != 30*time.Second {
			t.Errorf("an hour later: %v", wait)
		}
	})
	// Two lines share a route, one has a wrong password.
	synctest.Test(t, func(t *testing.T) {
		r, home := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		for range 5 {
			r.Good(home, 0)
			other, wait := r.Next(home, Failure{Method: "REGISTER", Code: 401})
			if other == home {
				t.Error("no other address is offered")
			}
			time.Sleep(15 * time.Second)
			r.Good(home, 0) // the keep-alive of the line whose password is right
			time.Sleep(wait)
			r.Next(other, Failure{Method: "REGISTER", Code: 401})
		}
		if current(t, r) != home {
			t.Error("one line's password moved the other line")
		}
	})
}

// All dead, then one returns: a probe ends the wait.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		r.Good(at, 0)
		time.Sleep(stable)
		if r.Alive(place(2), 0) || current(t, r) != at {
			t.Error("a probe moved a healthy line")
		}
		for range 9 {
			at, _ = r.Next(at, silence)
		}
		if r.Wait() == 0 {
			t.Fatal("no wait after three tours")
		}
		moved := r.Moved()
		second := r.Targets()[1]
		if !r.Alive(second, time.Millisecond) || r.Wait() != 0 || current(t, r) != second {
			t.Errorf("current %v, wait %v after a sign of life of %v", current(t, r), r.Wait(), second)
		}
		select {
		case <-moved:
		default:
			t.Error("nobody is told")
		}
		// It refuses the registration: a second sign of life is no news.
		at, _ = r.Next(second, Failure{Method: "REGISTER", Code: 503})
		for range 2 {
			at, _ = r.Next(at, silence)
		}
		if r.Alive(second, 0) || r.Wait() < 12*time.Second {
			t.Errorf("a proxy that refuses cut the wait to %v", r.Wait())
		}
	})
}

// A line that found another address itself takes the ring along.
func TestGoodElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		third := r.Targets()[2]
		r.Good(third, 0)
		if current(t, r) != third {
			t.Error("a good answer elsewhere did not move a line that had none")
		}
		r.Good(first, 0)
		if current(t, r) != third {
			t.Error("a good answer elsewhere moved a healthy line")
		}
	})
}

// A host without IPv4 gets to the IPv6 address; one without any link stays.
func TestOtherFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: append(zoneA("p.example.net", "192.0.2.1", "192.0.2.2"), "p.example.net. 60 IN AAAA 2001:db8::1")}
		net := newNet(server)
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: net.resolver()})
		noLink := Failure{Method: "REGISTER", Cause: Local, Err: errors.New("network is unreachable")}

		net.noRoute = func(netip.AddrPort) bool { return true }
		if next, wait := r.Next(first, noLink); next != first || wait != localWait {
			t.Errorf("no link at all: next %v after %v", next, wait)
		}
		net.noRoute = func(a netip.AddrPort) bool { return a.Addr().Is4() }
		at := first
		for range 2 {
			at, _ = r.Next(at, noLink)
		}
		if at.Dest != "[2001:db8::1]:5060" {
			t.Errorf("no IPv4: next %v", at)
		}
	})
}

// "Each keeps at least one place in the ring", in configured order.
func TestDeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many, some []string
		for i := range 200 {
			many = append(many, place(i+1).Addr.Addr().String())
		}
		for i := range 5 {
			some = append(some, netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}).String())
		}
		server := &fakeDNS{zone: append(zoneA("many.example.net", many...), zoneA("some.example.net", some...)...)}
		r, first := start(t, RouteConfig{
			Proxies:  proxies(t, "many.example.net", "203.0.113.1", "some.example.net", "none.example.net", "203.0.113.2"),
			Resolver: newNet(server).resolver(),
		})
		synctest.Wait()
		all := r.Targets()
		if first.Dest != one || len(all) != Capacity || all[12].Proxy != "many.example.net" || all[13].Dest != "203.0.113.1:5060" ||
			all[14].Dest != "198.51.100.1:5060" || all[15].Dest != "203.0.113.2:5060" {
			t.Errorf("dealt %s", dests(all))
		}
	})
}

// Refresh ahead of the TTL; DNS that turns its answer round with every question
// is no news; a changed priority is.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: []string{
			"_sip._udp.p.example.net. 100 IN SRV 10 0 5060 a.example.net.", "_sip._udp.p.example.net. 100 IN SRV 20 0 5060 b.example.net.",
			"a.example.net. 100 IN A 192.0.2.1", "a.example.net. 100 IN A 192.0.2.2", "b.example.net. 100 IN A 192.0.2.3"}}
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net;transport=udp"), Resolver: newNet(server).resolver()})
		r.Good(first, 0)
		asked := server.count("SRV ")
		time.Sleep(71 * time.Second)
		if server.count("SRV ") != asked {
			t.Error("asked before 72 s of a TTL of 100 s")
		}
		server.set(func(s *fakeDNS) { s.zone[2], s.zone[3] = s.zone[3], s.zone[2] })
		time.Sleep(10 * time.Second)
		if server.count("SRV ") != asked+1 {
			t.Error("not asked by 80 s of a TTL of 100 s")
		}
		if got := dests(r.Targets()); got != "192.0.2.1:5060 192.0.2.2:5060 192.0.2.3:5060" {
			t.Errorf("equals changed places: %s", got)
		}
		server.set(func(s *fakeDNS) {
			s.zone[0] = "_sip._udp.p.example.net. 100 IN SRV 30 0 5060 a.example.net."
		})
		time.Sleep(80 * time.Second)
		if got := dests(r.Targets()); got != "192.0.2.3:5060 192.0.2.2:5060 192.0.2.1:5060" {
			t.Errorf("priorities changed, the ring is %s", got)
		}
		if current(t, r) != first {
			t.Error("a reload moved a healthy line")
		}
	})
}

// "DNS failure, NXDOMAIN, empty or absurd answers never empty the ring nor block."
func TestAnswersNeverEmptyTheRing(t *testing.T) {
	for name, harm := range map[string]func(*fakeDNS){
		"silent":   func(s *fakeDNS) { s.silent = true },
		"refused":  func(s *fakeDNS) { s.refused = true },
		"SERVFAIL": func(s *fakeDNS) { s.bend = rcode(dns.RcodeServerFailure) },
		"NXDOMAIN": func(s *fakeDNS) { s.zone = nil },
		"empty":    func(s *fakeDNS) { s.zone = []string{"p.example.net. 60 IN TXT gone"} },
		"0/8":      func(s *fakeDNS) { s.zone = zoneA("p.example.net", "0.0.0.0", "0.0.0.1") },
		"224/4":    func(s *fakeDNS) { s.zone = zoneA("p.example.net", "224.0.0.1", "239.1.1.1") },
		"unasked": func(s *fakeDNS) {
			s.bend = func(q, r *dns.Msg) {
				if len(r.Answer) > 0 {
					r.Answer[0].Header().Name = "q.example.net."
				}
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := trio()
			r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver()})
			server.set(harm)
			for range 30 {
				began := time.Now()
				next, wait := r.Next(at, silence)
				if time.Since(began) != 0 || next.IsZero() {
					t.Fatalf("%s: Next took %v and said %v", name, time.Since(began), next)
				}
				at = next
				time.Sleep(wait)
			}
			want := "192.0.2.1:5060 192.0.2.2:5060 192.0.2.3:5060"
			if name == "unasked" {
				want = "192.0.2.2:5060 192.0.2.3:5060"
			}
			if got := dests(r.Targets()); got != want {
				t.Errorf("%s: ring %s", name, got)
			}
			if name != "unasked" && r.Status().DNS == "" {
				t.Errorf("%s: status does not say what is wrong", name)
			}
		})
	}
}

// When the ring comes round, names are asked again: one question at a time,
// and not before a floor.
func TestAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver()})
		if n := server.count("A "); n != 1 {
			t.Fatalf("asked %d times at the start", n)
		}
		server.set(func(s *fakeDNS) { s.delay = 500 * time.Millisecond })
		time.Sleep(wrapFloor)
		for range 60 {
			at, _ = r.Next(at, silence)
		}
		synctest.Wait()
		if n := server.count("A "); n != 2 {
			t.Errorf("after 20 tours at once asked %d times, want 2", n)
		}
		time.Sleep(3 * time.Second)
		for range 60 {
			at, _ = r.Next(at, silence)
		}
		synctest.Wait()
		if n := server.count("A "); n != 2 {
			t.Errorf("asked again %v after the last time", 3*time.Second)
		}
		time.Sleep(wrapFloor)
		if n := server.count("A "); n != 3 {
			t.Errorf("asked %d times when the floor was over, want 3", n)
		}
	})
}

// An answer with a hole in it takes nothing away.
func TestPartialAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: append(zoneA("p.example.net", "192.0.2.1"), "p.example.net. 60 IN AAAA 2001:db8::1")}
		r, _ := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver()})
		server.set(func(s *fakeDNS) {
			s.vanish = map[uint16]bool{dns.TypeAAAA: true}
			s.zone[0] = "p.example.net. 60 IN A 192.0.2.2"
		})
		time.Sleep(2 * time.Minute)
		if got := dests(r.Targets()); got != "192.0.2.2:5060 192.0.2.1:5060 [2001:db8::1]:5060" {
			t.Errorf("ring %s", got)
		}
		server.set(func(s *fakeDNS) { s.vanish = nil })
		time.Sleep(2 * time.Minute)
		if got := dests(r.Targets()); got != "192.0.2.2:5060 [2001:db8::1]:5060" {
			t.Errorf("ring %s", got)
		}
		// Where AAAA never gets an answer, that is how things are.
		server.set(func(s *fakeDNS) { s.vanish = map[uint16]bool{dns.TypeAAAA: true} })
		time.Sleep(2 * time.Hour)
		if got := dests(r.Targets()); got != "192.0.2.2:5060" {
			t.Errorf("ring %s", got)
		}
	})
}

// DNS drops the address in use: the line stays as long as it is well there.
func TestDroppedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver(), Keep: 10 * time.Minute})
		r.Good(first, 0)
		server.set(func(s *fakeDNS) { s.zone = zoneA("p.example.net", "192.0.2.7", "192.0.2.8") })
		time.Sleep(2 * time.Minute)
		if got := dests(r.Targets()); current(t, r) != first || got != "192.0.2.7:5060 192.0.2.8:5060 192.0.2.1:5060" {
			t.Errorf("current %v, ring %s", current(t, r), got)
		}
		if next, _ := r.Next(first, silence); next.Dest != "192.0.2.7:5060" {
			t.Errorf("next %v", next)
		}
		r.Good(current(t, r), 0)
		server.set(func(s *fakeDNS) { s.zone = zoneA("p.example.net", "192.0.2.7", "192.0.2.9") })
		time.Sleep(2 * time.Minute)
		if got := dests(r.Targets()); got != "192.0.2.7:5060 192.0.2.9:5060" {
			t.Errorf("ring %s", got)
		}
	})
}

func TestTrusts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		r, first := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060"), Resolver: newNet(server).resolver(), Keep: 10 * time.Minute})
		trusts := func(when string, want bool, addrs ...string) {
			t.Helper()
			for _, a := range addrs {
				if got := r.Trusts(netip.MustParseAddr(a)); got != want {
					t.Errorf("%s: trusts %s: %v", when, a, got)
				}
			}
		}
		trusts("at first", true, "192.0.2.1", "192.0.2.2", "192.0.2.3", "::ffff:192.0.2.1")
		trusts("at first", false, "192.0.2.4", "127.0.0.1", "::1")
		server.set(func(s *fakeDNS) { s.zone = zoneA("p.example.net", "192.0.2.7") })
		time.Sleep(time.Minute)
		if c := current(t, r); c == first {
			t.Fatal("still there")
		}
		trusts("soon after", true, "192.0.2.7", "192.0.2.1", "192.0.2.3")
		time.Sleep(11 * time.Minute)
		trusts("when registrations have expired", true, "192.0.2.7")
		trusts("when registrations have expired", false, "192.0.2.1", "192.0.2.3")

		a := netip.MustParseAddr("::ffff:192.0.2.7")
		if n := testing.AllocsPerRun(100, func() { r.Trusts(a); r.Current() }); n != 0 {
			t.Errorf("Trusts and Current allocate %v times", n)
		}
	})
}

func BenchmarkTrusts(b *testing.B) {
	r := NewRoute(RouteConfig{Proxies: proxies(b, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")})
	stranger := netip.MustParseAddr("203.0.113.9")
	b.ReportAllocs()
	for b.Loop() {
		r.Trusts(stranger)
	}
}

func BenchmarkCurrent(b *testing.B) {
	r := NewRoute(RouteConfig{Proxies: proxies(b, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")})
	b.ReportAllocs()
	for b.Loop() {
		r.Current()
	}
}

func BenchmarkNext(b *testing.B) {
	r := NewRoute(RouteConfig{Proxies: proxies(b, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")})
	at, _ := r.Current()
	b.ReportAllocs()
	for b.Loop() {
		at, _ = r.Next(at, silence)
	}
}

// "One record per switch, in a ring of the last 64."
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		r.Good(at, 0)
		for i := range 70 {
			time.Sleep(10 * time.Minute)
			next, _ := r.Next(at, Failure{Method: "OPTIONS", Tries: 20 + i})
			if h := r.History(); h[0].To != next || h[0].Took != 0 {
				t.Fatalf("on its way: %+v", h[0])
			}
			time.Sleep(time.Second)
			if i == 69 {
				r.Noticed("a call connected 1.2s late")
			}
			r.Good(next, 0)
			at = next
		}
		h := r.History()
		if len(h) != 64 || h[0].Detail != "OPTIONS, asked 89 times: no answer" || h[63].Detail != "OPTIONS, asked 26 times: no answer" || h[0].Took != time.Second || h[0].To != at {
			t.Errorf("%d records, newest %+v, oldest %+v", len(h), h[0], h[len(h)-1])
		}
		if h[0].Noticed != "a call connected 1.2s late" || r.Status().LastSwitch != h[0] {
			t.Errorf("noticed %q, status %+v", h[0].Noticed, r.Status().LastSwitch)
		}
	})
}

// Whoever lifts the receiver ends the wait that spreads a fleet, and wakes
// whoever waits.
func TestUrge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver(), Spread: time.Minute, BootSpread: 2 * time.Minute})
		if r.Wait() != time.Minute {
			t.Errorf("after a power cut: wait %v", r.Wait())
		}
		r.Good(at, 0)
		if _, wait := r.Next(at, Failure{Method: "OPTIONS"}); wait != 30*time.Second {
			t.Errorf("wait %v", wait)
		}
		moved := r.Moved()
		r.Urge()
		select {
		case <-moved:
		default:
			t.Error("nobody is woken")
		}
		if r.Wait() != 0 {
			t.Errorf("still a wait of %v", r.Wait())
		}
	})
}

// What status shows of an address is what the policy goes by.
func TestStatusHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := start(t, RouteConfig{Proxies: proxies(t, "p.example.net"), Resolver: newNet(trio()).resolver()})
		r.Good(at, 20*time.Millisecond)
		r.Unheard(r.Standby()[0], silence)
		r.Missed(at)
		r.Heard(at, 28*time.Millisecond)
		now := time.Now()
		ring := r.Status().Ring
		if p := ring[0]; p.RTT != 21*time.Millisecond || p.Loss < 0.2 || p.Loss > 0.3 || !p.LastGood.Equal(now) || p.Failures != 0 {
			t.Errorf("%+v", p)
		}
		if p := ring[1]; p.State != "failed" || p.Failures != 1 || !p.Quarantine.Equal(now.Add(quarantine)) || p.LastFailure != "no answer" {
			t.Errorf("%+v", p)
		}
		if to, err := r.Failover(netip.AddrPort{}); err != nil || to.Dest != three || current(t, r) != to {
			t.Errorf("an order goes to %v, %v: the one between is dead", to, err)
		}
		r.Good(current(t, r), 0)
		if to, err := r.Failback(); err != nil || to != at {
			t.Errorf("back to %v, %v", to, err)
		}
	})
}
