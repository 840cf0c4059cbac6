package outbound

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The laws of a route, under whatever proxies, DNS and callers may do:
//
//   - the finger is always on a member, and an answer never empties the ring;
//   - a reload never moves a healthy line;
//   - two failures of one address turn the ring once;
//   - Next never waits;
//   - while one configured proxy answers, the line comes back, within as many
//     tries as the ring has places, and within a bounded time.
func TestRouteLaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) { // hides t.Deadline, which a bubble has not
			server := &fakeDNS{delay: time.Millisecond} // no answer comes at the moment of its question
			names := []string{"p.example.net:5060", "q.example.net:5060", "203.0.113.1", "203.0.113.2"}
			names = names[:rapid.IntRange(1, len(names)).Draw(t, "proxies")]
			var list []Proxy
			for _, n := range names {
				p, err := ParseProxy(n, UDP)
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, p)
			}
			zone := func(t *rapid.T) {
				var records []string
				for _, n := range []string{"p.example.net", "q.example.net"} {
					for _, k := range rapid.SliceOfN(rapid.IntRange(1, 30), 0, 10).Draw(t, n) {
						records = append(records, fmt.Sprintf("%s. %d IN A 192.0.2.%d", n, 1+k*7%90, k))
					}
				}
				silent := rapid.IntRange(0, 4).Draw(t, "silent") == 0
				server.set(func(s *fakeDNS) { s.zone, s.silent = records, silent })
			}
			server.zone = zoneA("p.example.net", "192.0.2.1", "192.0.2.2")
			random := rand.New(rand.NewPCG(1, 2))
			r := NewRoute(RouteConfig{Proxies: list, Resolver: newNet(server).resolver(), Random: random.Float64})
			ctx, cancel := contextWithCancel()
			done := make(chan struct{})
			go func() { r.Run(ctx); close(done) }()
			defer func() { cancel(); <-done; time.Sleep(time.Minute) }()
			at, err := r.First(ctx)
			if err != nil {
				t.Fatal(err)
			}
			good := false // the line is well at at

			t.Repeat(map[string]func(*rapid.T){
				"dns":  zone,
				"time": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 200).Draw(t, "s")) * time.Second) },
				"fail": func(t *rapid.T) {
					f := Failure{Method: rapid.SampledFrom([]string{"REGISTER", "INVITE", "OPTIONS"}).Draw(t, "method"), Cause: NoAnswer}
					if f.Method != "OPTIONS" && rapid.Bool().Draw(t, "503") {
						f.Code = 503
						f.RetryAfter = time.Duration(rapid.IntRange(0, 90).Draw(t, "retry after")) * time.Second
					}
					began := time.Now()
					at = current(t, r)
					turned := entered(r)
					f.Began = began
					time.Sleep(time.Second)
					synctest.Wait()                     // the answers of this moment are in
					undisturbed := entered(r) == turned // no answer has moved the finger meanwhile
					next, _ := r.Next(at, f)
					moved := entered(r)
					again, _ := r.Next(at, f)
					if time.Since(began) != time.Second {
						t.Fatal("Next waits")
					}
					if next != again || entered(r) != moved || undisturbed && moved == turned {
						t.Fatalf("two failures of %v: first %v, then %v", at, next, again)
					}
					good = false
				},
				"good": func(t *rapid.T) { at, good = current(t, r), true; r.Good(at, time.Millisecond) },
				"": func(t *rapid.T) {
					synctest.Wait()
					c, ok := r.Current()
					if !ok || !slices.Contains(r.Targets(), c) || !r.Trusts(c.Addr.Addr()) {
						t.Fatalf("the finger is on %v, not in %s", c, dests(r.Targets()))
					}
					if good && c != at {
						t.Fatalf("a reload moved the line from %v, where it is well, to %v", at, c)
					}
				},
			})

			// Now one of the addresses answers, and DNS is dead.
			server.set(func(s *fakeDNS) { s.silent = true })
			time.Sleep(2 * time.Minute) // longer than any Retry-After above
			all := r.Targets()
			alive := all[rapid.IntRange(0, len(all)-1).Draw(t, "alive")]
			at = current(t, r)
			tries, began := 0, time.Now()
			for at != alive {
				var wait time.Duration
				if at, wait = r.Next(at, silence); wait > 5*time.Minute {
					t.Fatalf("wait %v", wait)
				}
				time.Sleep(wait + time.Millisecond)
				if tries++; tries > 3*len(all) {
					t.Fatalf("%v answers and was not tried in %d tries of %d addresses", alive, tries, len(all))
				}
			}
			if took := time.Since(began); took > 15*time.Minute {
				t.Fatalf("the line was back after %v", took)
			}
		})
	})
}

// Many goroutines that fail, succeed, look and reload at once: for the race
// detector, and the finger stays on a member.
func TestRouteTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := trio()
		r, _ := start(t, RouteConfig{Proxies: proxies(t, "p.example.net:5060", "203.0.113.1"), Resolver: newNet(server).resolver()})
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				for n := range 200 {
					c, ok := r.Current()
					if !ok {
						t.Error("the ring is empty")
					}
					switch (i + n) % 5 {
					case 0:
						r.Next(c, silence)
					case 1:
						r.Good(c, time.Millisecond)
					case 2:
						r.Alive(r.Targets()[0], 0)
						r.Trusts(c.Addr.Addr())
					case 3:
						r.Refresh()
						r.Status()
					case 4:
						<-r.Moved()
					}
					time.Sleep(time.Duration(i+1) * time.Second)
				}
			}()
		}
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for left := 8; left > 0; {
			select {
			case <-done:
				left--
			case <-tick.C: // so that nobody waits for ever for a move
				c, _ := r.Current()
				r.Next(c, Failure{Cause: Asked})
			}
		}
	})
}

func entered(r *Route) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policy.entered
}
