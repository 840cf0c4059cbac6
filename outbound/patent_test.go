package outbound

import (
	"testing"
	"testing/synctest"
	"time"
)

// The method this package is built for, step by step. Each step is quoted from
// ARCHITECTURE.md, "The outbound route", above what checks it.
func TestPatent(t *testing.T) {
	// "1. The outbound proxy is configured once, as a name that resolves to
	// several addresses. A list of proxies may be configured; each entry is an
	// IP or a name."
	list := proxies(t, "p.example.net", "198.51.100.9:5070", "q.example.net")

	// "2. Decide whether an entry is a name or an IP."
	for i, isIP := range []bool{false, true, false} {
		if list[i].Addr.IsValid() != isIP {
			t.Errorf("%s: an IP: %v", list[i], !isIP)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: append(zoneA("p.example.net", "192.0.2.3", "192.0.2.1", "192.0.2.2"), zoneA("q.example.net", "203.0.113.5")...)}
		r, first := start(t, RouteConfig{Proxies: list, Resolver: newNet(server).resolver()})

		// "3. A name is resolved; all its addresses are kept in the order of
		// priority in which they came; the first is the address used to register."
		synctest.Wait()
		if got := dests(r.Targets()); got != "192.0.2.3:5060 192.0.2.1:5060 192.0.2.2:5060 198.51.100.9:5070 203.0.113.5:5060" {
			t.Errorf("kept: %s", got)
		}
		if first.Dest != "192.0.2.3:5060" {
			t.Errorf("the first is %s", first)
		}

		// "5. When a registration fails, or a call that was started gets no
		// response, move to the next kept address."
		r.Good(first, 0)
		second, _ := r.Next(first, Failure{Method: "REGISTER", Cause: NoAnswer})
		if second.Dest != "192.0.2.1:5060" {
			t.Errorf("after the first: %s", second)
		}
		r.Good(second, 0)
		third, _ := r.Next(second, Failure{Method: "INVITE", Cause: NoAnswer})
		if third.Dest != "192.0.2.2:5060" {
			t.Errorf("after the second: %s", third)
		}

		// "If the one in use was the last, resolve again."
		r.Good(third, 0)
		at, _ := r.Next(third, silence)
		r.Good(at, 0)
		last, _ := r.Next(at, silence)
		r.Good(last, 0)
		time.Sleep(2*time.Minute + wrapFloor)
		asked := server.count("A p.example.net.")
		server.set(func(s *fakeDNS) { s.zone[0] = "p.example.net. 60 IN A 192.0.2.77" })
		if last.Dest != "203.0.113.5:5060" {
			t.Fatalf("the last is %s", last)
		}
		r.Next(last, silence)
		time.Sleep(wrapFloor)
		if server.count("A p.example.net.") == asked || dests(r.Targets()[:1]) != "192.0.2.77:5060" {
			t.Errorf("after the last one failed the name was not resolved again: %s", dests(r.Targets()))
		}
	})

	// "4. An IP is used as it is, without DNS. When registered, calls go the same way."
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{}
		r, first := start(t, RouteConfig{Proxies: proxies(t, "198.51.100.9:5070"), Resolver: newNet(server).resolver()})
		if first.Dest != "198.51.100.9:5070" {
			t.Errorf("used: %s", first)
		}
		r.Good(first, 0)
		if call, ok := r.Current(); !ok || call != first {
			t.Errorf("a call goes to %s, the registration to %s", call, first)
		}
		time.Sleep(time.Hour)
		if n := server.count(""); n != 0 {
			t.Errorf("%d questions to DNS", n)
		}
	})

	// "6. When a name cannot be resolved and several proxies are kept, move to
	// the next; after the last, the first."
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: zoneA("q.example.net", "203.0.113.5")}
		r, at := start(t, RouteConfig{Proxies: list, Resolver: newNet(server).resolver()})
		synctest.Wait()
		if at.Dest != "198.51.100.9:5070" {
			t.Errorf("p.example.net cannot be resolved, used: %s", at)
		}
		if at, _ = r.Next(at, silence); at.Dest != "203.0.113.5:5060" {
			t.Errorf("the next is %s", at)
		}
		if at, _ = r.Next(at, silence); at.Dest != "198.51.100.9:5070" {
			t.Errorf("after the last: %s", at)
		}
		server.set(func(s *fakeDNS) { s.zone = append(s.zone, zoneA("p.example.net", "192.0.2.1")...) })
		r.Next(at, silence)
		at, _ = r.Next(current(t, r), silence)
		time.Sleep(time.Minute)
		if got := dests(r.Targets()); got != "192.0.2.1:5060 198.51.100.9:5070 203.0.113.5:5060" {
			t.Errorf("when it resolves again: %s", got)
		}
	})
}
