package sip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// While the line is well the next address is asked slowly, so that it is known;
// with standby "off" it is left alone.
func TestStandbyIsProbed(t *testing.T) {
	for standby, want := range map[string]bool{"probe": true, "off": false} {
		bubble(t, func(t *testing.T, w *world) {
			w.proxy(p1)
			w.proxy(p2)
			w.startLine(func(c *Config) { c.Standby = standby }, p1, p2)
			await[Registered](w, time.Second)
			time.Sleep(10 * time.Minute)
			n := 0
			for _, h := range w.said("OPTIONS", p2) {
				if h.to == p2 {
					n++
				}
			}
			if want && (n < 7 || n > 16) || !want && n > 0 {
				t.Errorf("standby %q: asked %d times in ten minutes", standby, n)
			}
		})
	}
}

// The line goes back to the preferred address when that is well again, by a
// registration there while the other still stands: it can be called all the
// time, and is told as one move.
func TestGoesBackWithoutGap(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		registered(w, p1, p2)
		a.kill()
		await[Registered](w, time.Minute)
		a.up()
		began := time.Now()
		r, took := await[Registered](w, 20*time.Minute)
		if r.Via.Dest != p1 {
			t.Fatalf("via %s", r.Via.Dest)
		}
		// Three good answers in a row, a minute and more, and then a refresh.
		if took < time.Minute {
			t.Errorf("back after %v", took)
		}
		t.Logf("back %v after its return", time.Since(began).Round(time.Second))
		if b.binding() == "" {
			t.Error("the registration at the backup was taken back")
		}
		none[Failed](w, 5*time.Minute)
		if h := w.route.History(); len(h) != 2 || h[0].To.Dest != p1 {
			t.Errorf("%+v", h)
		}
	})
}

// Not during a call.
func TestDoesNotGoBackInACall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.proxy(p1)
		w.proxy(p2)
		registered(w, p1, p2)
		a.kill()
		await[Registered](w, time.Minute)
		a.up()
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		none[Registered](w, 20*time.Minute)
		c.Hangup()
		if r, _ := await[Registered](w, 2*time.Minute); r.Via.Dest != p1 {
			t.Errorf("via %s", r.Via.Dest)
		}
	})
}

// A preferred address that answers OPTIONS and refuses the registration leaves
// the line where it is.
func TestGoesBackInVain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.proxy(p1)
		w.proxy(p2)
		registered(w, p1, p2)
		a.kill()
		await[Registered](w, time.Minute)
		a.handle = on(sip.REGISTER, func(p *proxy, req *sip.Request) { p.answer(req, 500) })
		a.up()
		none[Registered](w, 30*time.Minute)
		if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p2 {
			t.Errorf("%+v", s)
		}
		n := 0
		for _, h := range w.said("REGISTER", p1) {
			if h.to == p1 && h.at > time.Minute {
				n++
			}
		}
		if n == 0 || n > 8 {
			t.Errorf("tried %d times in half an hour", n)
		}
	})
}

// An operator orders the line about, and hears why not.
func TestOrders(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.proxy(p1)
		w.proxy(p2)
		w.proxy(p3)
		registered(w, p1, p2, p3)
		time.Sleep(time.Second)
		move := func(want string, order func() (outbound.Target, error)) {
			t.Helper()
			to, err := order()
			if err != nil || to.Dest != want {
				t.Fatalf("%v %v, want %s", to, err, want)
			}
			if r, took := await[Registered](w, time.Second); r.Via.Dest != want || took > 100*time.Millisecond {
				t.Errorf("via %s after %v, want %s", r.Via.Dest, took, want)
			}
		}
		move(p2, func() (outbound.Target, error) { return w.line.Failover(netip.AddrPort{}) })
		move(p3, func() (outbound.Target, error) { return w.line.Failover(netip.MustParseAddrPort(p3)) })
		none[Registered](w, 10*time.Minute) // it stays
		move(p1, w.line.Failback)
		if _, err := w.line.Failback(); err == nil || !strings.Contains(err.Error(), p1) {
			t.Errorf("%v", err)
		}
		all := w.line.Probe(t.Context())
		if len(all) != 3 || all[0].Target.Dest != p1 || all[2].Code != 200 || all[1].Err != nil {
			t.Errorf("%+v", all)
		}
	})
}

// A second registration is held through another address, RFC 5626: the same
// instance, another reg-id and Call-ID. Calls come in through either.
func TestSecondRegistration(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b, c := w.proxy(p1), w.proxy(p2), w.proxy(p3)
		w.startLine(func(c *Config) { c.Standby = "register" }, p1, p2, p3)
		await[Registered](w, time.Second)
		time.Sleep(10 * time.Second)
		if b.binding() == "" || c.binding() != "" || w.line.Status().Spare.Dest != p2 {
			t.Fatalf("bound to %q and %q, spare %v", b.binding(), c.binding(), w.line.Status().Spare)
		}
		first, second := w.said("REGISTER", p1)[0], w.said("REGISTER", p2)[0]
		if !strings.Contains(second.header("Contact"), ";reg-id=2") || second.header("Call-ID") == first.header("Call-ID") {
			t.Errorf("%s", second.text)
		}
		none[Registering](w, 5*time.Minute) // nothing is told of it, and it is refreshed
		if n := len(w.said("REGISTER", p2)); n < 5 {
			t.Errorf("%d REGISTERs in five minutes", n)
		}
		for _, p := range []*proxy{a, b} {
			in := p.call(w, 1, nil)
			inc, _ := await[Incoming](w, time.Second)
			inc.Call.Answer(local)
			await[Answered](w, time.Second)
			in.ack(p.response())
			inc.Call.Hangup()
			await[Ended](w, time.Second)
			time.Sleep(time.Second)
		}
		// The second dies: a third takes its place. The first dies: the line
		// moves, and holds another.
		b.kill()
		time.Sleep(time.Minute)
		if s := w.line.Status(); s.Spare.Dest != p3 || s.State != "registered" || s.Via.Dest != p1 {
			t.Errorf("%+v", s)
		}
		b.up()
		a.kill()
		if r, _ := await[Registered](w, time.Minute); r.Via.Dest == p1 {
			t.Errorf("via %s", r.Via.Dest)
		}
	})
}
