package sip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Another address, of a new lease or a new link: the registration has a new
// Contact at once, and a call tells the far end where it is. The same address
// again costs nothing.
func TestNetworkChanged(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.wild = true
		p := w.proxy(p1)
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		time.Sleep(time.Second)
		before := len(w.seen)
		w.line.NetworkChanged()
		time.Sleep(time.Second)
		if n := len(w.seen); n != before {
			t.Errorf("%d messages for nothing", n-before)
		}

		w.renumber(addr("10.0.0.77"))
		w.line.NetworkChanged()
		time.Sleep(2 * time.Second)
		if !strings.Contains(p.binding(), "@10.0.0.77:") {
			t.Errorf("bound to %s", p.binding())
		}
		inv := w.said("INVITE", p1)
		if last := inv[len(inv)-1]; len(inv) != 2 || !strings.Contains(last.text, "c=IN IP4 10.0.0.77\r\n") || !strings.Contains(last.header("Contact"), "@10.0.0.77:") {
			t.Errorf("%d INVITEs, the last:\n%s", len(inv), last.text)
		}
		// The version grows, RFC 3264 section 8, and it is the same session.
		if !strings.Contains(inv[1].text, " 2 IN IP4 ") {
			t.Errorf("the version of the session is the same:\n%s", inv[1].text)
		}
		none[Ended](w, time.Minute)
		c.Hangup()
		await[Ended](w, time.Second)
		synctest.Wait()
		if n := p.byes.Load(); n != 1 {
			t.Errorf("%d BYEs", n)
		}
	})
}

// A line that waits for a link waits no longer than until it is there.
func TestNetworkReturns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.wild = true
		p := w.proxy(p1)
		registered(w, p1)
		w.mu.Lock()
		w.down = true
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		w.renumber(addr("10.0.0.77"))
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		for len(w.events) > 0 {
			<-w.events
		}
		w.line.NetworkChanged()
		if _, took := await[Registered](w, time.Minute); took > 100*time.Millisecond {
			t.Errorf("registered after %v", took)
		}
		if !strings.Contains(p.binding(), "@10.0.0.77:") {
			t.Errorf("bound to %s", p.binding())
		}
	})
}

// sessions answers calls with a session timer that we are to refresh.
func sessions(p *proxy, req *sip.Request) {
	p.answer(req, 100)
	p.ok(req, "far", "Session-Expires", "90;refresher=uac", "Record-Route", "<sip:"+p.addr.String()+";lr>, <sip:core.example.net;lr>")
}

// The proxy of a call dies: its refresh goes by another one, and the route set
// stays but for the dead proxy's own entry.
func TestCallGoesOnThroughAnother(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		a.handle = on(sip.INVITE, sessions)
		registered(w, p1, p2)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		a.set(func() { a.silent = true })
		none[Ended](w, 10*time.Minute)
		up := w.said("UPDATE", p2)
		if len(up) == 0 || up[0].header("Route") != "<sip:core.example.net;lr>" {
			t.Fatalf("%d UPDATEs through the other: %+v", len(up), up)
		}
		began := time.Now()
		c.Hangup()
		await[Ended](w, time.Second)
		for b.byes.Load() == 0 && time.Since(began) < time.Minute {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("BYE after %v", took) // not through the dead one first
		}
	})
}

// While people talk, signalling that is dead ends nothing.
func TestTalkOutlivesItsSignalling(t *testing.T) {
	for name, dies := range map[string]func(p *proxy){
		"silent": func(p *proxy) { p.set(func() { p.silent = true }) },
		"481": func(p *proxy) {
			p.set(func() { p.handle = func(p *proxy, req *sip.Request) bool { p.answer(req, 481); return true } })
		},
	} {
		for _, talks := range []bool{true, false} {
			bubble(t, func(t *testing.T, w *world) {
				a := w.proxy(p1)
				a.handle = on(sip.INVITE, sessions)
				flows := talks // owned by this goroutine; the bubble is quiet when it changes
				w.startLine(func(c *Config) { c.MediaFlows = func(string) bool { w.mu.Lock(); defer w.mu.Unlock(); return flows } }, p1)
				await[Registered](w, time.Second)
				w.line.Call("1", local)
				await[Answered](w, time.Second)
				dies(a)
				if !talks {
					await[Ended](w, 2*time.Minute)
					return
				}
				none[Ended](w, 10*time.Minute)
				w.mu.Lock()
				flows = false
				w.mu.Unlock()
				if _, took := await[Ended](w, time.Minute); took > 40*time.Second {
					t.Errorf("%s: ended %v after the sound", name, took)
				}
			})
		}
	}
}
