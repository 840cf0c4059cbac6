package sip

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// An emergency call waits for nobody.
func TestEmergency(t *testing.T) {
	ring := func(after time.Duration) func(*proxy, *sip.Request) bool {
		return on(sip.INVITE, func(p *proxy, req *sip.Request) {
			time.AfterFunc(after, func() { p.answer(req, 180); p.ok(req, "far") })
		})
	}
	code := func(n int) func(*proxy, *sip.Request) bool {
		return on(sip.INVITE, func(p *proxy, req *sip.Request) { p.answer(req, n) })
	}
	dead := func(*proxy, *sip.Request) bool { return true }
	challenge := func(p *proxy, req *sip.Request) bool {
		return req.Method == sip.INVITE && !p.authorized(req, 407, "INVITE")
	}
	for _, c := range []struct {
		name string
		do   [3]func(*proxy, *sip.Request) bool // nil: answers at once
		by   string                             // "": nobody answers
		at   time.Duration
		code int
	}{
		{"the first answers", [3]func(*proxy, *sip.Request) bool{}, p1, 0, 0},
		{"the first is silent", [3]func(*proxy, *sip.Request) bool{dead}, p2, time.Second, 0},
		{"two are silent", [3]func(*proxy, *sip.Request) bool{dead, dead}, p3, 2 * time.Second, 0},
		{"the second wants a password", [3]func(*proxy, *sip.Request) bool{dead, challenge}, p2, time.Second, 0},
		{"the first refuses", [3]func(*proxy, *sip.Request) bool{code(486)}, p2, 0, 0},
		{"the first is slow, the second slower", [3]func(*proxy, *sip.Request) bool{ring(1500 * time.Millisecond), ring(time.Second), dead}, p1, 1500 * time.Millisecond, 0},
		{"the second has it by another way", [3]func(*proxy, *sip.Request) bool{ring(3 * time.Second), code(482), code(482)}, p1, 3 * time.Second, 0},
		{"all refuse", [3]func(*proxy, *sip.Request) bool{code(404), code(603), code(503)}, "", 0, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				all := []*proxy{w.proxy(p1), w.proxy(p2), w.proxy(p3)}
				w.startLine(func(c *Config) { c.Emergency = []string{"112", "911"} }, p1, p2, p3)
				await[Registered](w, time.Second)
				time.Sleep(time.Second)
				for i, p := range all {
					p.set(func() { p.handle = c.do[i] })
				}
				began := time.Now()
				call := w.line.Call("112", local)
				if c.by == "" {
					if e, _ := await[Ended](w, time.Minute); e.Code != c.code {
						t.Errorf("%+v\n%s", e, w.ladder())
					}
					return
				}
				await[Answered](w, time.Minute)
				if took := time.Since(began); took < c.at || took > c.at+100*time.Millisecond {
					t.Errorf("answered after %v, want %v\n%s", took, c.at, w.ladder())
				}
				ids := map[string]bool{}
				for _, h := range w.said("INVITE", "") {
					ids[h.header("Call-ID")+h.header("From")] = true
				}
				if len(ids) != 1 {
					t.Errorf("%d calls", len(ids))
				}
				time.Sleep(time.Minute) // whoever answers late is told that it is too late
				call.Hangup()
				await[Ended](w, time.Second)
				synctest.Wait()
				byes := w.said("BYE", c.by)
				if len(byes) == 0 {
					t.Errorf("no BYE to %s\n%s", c.by, w.ladder())
				}
				for i, p := range all {
					if p.addr.String() != c.by && c.name == "the first is slow, the second slower" && i == 1 && p.cancels.Load()+p.byes.Load() == 0 {
						t.Errorf("%s rings on\n%s", p.addr, w.ladder())
					}
				}
			})
		})
	}
}

// Other numbers do wait.
func TestOthersAreNotHedged(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.proxy(p1)
		w.proxy(p2)
		a.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			time.AfterFunc(3*time.Second, func() { p.answer(req, 180) })
		})
		w.startLine(func(c *Config) { c.Emergency = []string{"112"} }, p1, p2)
		await[Registered](w, time.Second)
		w.line.Call("1121", local)
		await[Progress](w, time.Minute)
		if n := len(w.said("INVITE", p2)); n != 0 {
			t.Errorf("%d INVITEs elsewhere", n)
		}
	})
}
