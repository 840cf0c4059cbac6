package sip

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestTCP(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.tcp(p1), w.tcp(p2)
		_ = b
		w.startLine(nil, p1+";transport=tcp", p2+";transport=tcp")
		r, _ := await[Registered](w, time.Second)
		if r.Via.Dest != p1 || !strings.Contains(a.binding(), ";transport=tcp") {
			t.Errorf("%s bound to %s", r.Via.Dest, a.binding())
		}
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		c.Hangup()
		await[Ended](w, time.Second)

		in := a.call(w, 1, func(s string) string { return strings.Replace(s, "SIP/2.0/UDP", "SIP/2.0/TCP", 1) })
		inc, _ := await[Incoming](w, time.Second)
		inc.Call.Answer(local)
		await[Answered](w, time.Second)
		in.ack(a.response())
		time.Sleep(time.Second)
		inc.Call.Hangup()
		await[Ended](w, time.Second)
		time.Sleep(time.Second)
		if n := len(w.said("BYE", p1)); n != 2 {
			t.Errorf("%d BYEs\n%s", n, w.ladder())
		}

		// The connection is the registration: when it goes, the line does.
		time.Sleep(5 * time.Second)
		a.cut()
		r, took := await[Registered](w, time.Minute)
		if r.Via.Dest != p2 || took > 500*time.Millisecond {
			t.Errorf("registered via %s after %v", r.Via.Dest, took)
		}
	})
}

// A proxy that closes idle connections gets a new one, and stays in use.
func TestTCPIdleClose(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.tcp(p1)
		w.tcp(p2)
		w.startLine(nil, p1+";transport=tcp", p2+";transport=tcp")
		await[Registered](w, time.Second)
		time.Sleep(5 * time.Second)
		a.set(func() {
			for _, c := range a.conns {
				c.Close()
			}
		})
		none[Registered](w, time.Minute)
		if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p1 {
			t.Errorf("%+v", s)
		}
		if n := len(w.said("REGISTER", p1)); n < 3 {
			t.Errorf("%d REGISTERs: the flow was not renewed", n)
		}
	})
}

// A call that finds the connection dead goes on at once.
func TestTCPCallFailsOver(t *testing.T) {
	for _, how := range []string{"cut", "silent"} {
		bubble(t, func(t *testing.T, w *world) {
			a, b := w.tcp(p1), w.tcp(p2)
			b.handle = func(p *proxy, req *sip.Request) bool {
				return req.Method == sip.INVITE && !p.authorized(req, 407, "INVITE")
			}
			w.startLine(func(c *Config) { c.KeepAliveBy = "off" }, p1+";transport=tcp", p2+";transport=tcp")
			await[Registered](w, time.Second)
			limit := 500 * time.Millisecond
			if how == "cut" {
				a.cut()
			} else {
				a.set(func() { a.silent = true })
				limit = 4500 * time.Millisecond
			}
			w.line.Call("1", local)
			if _, took := await[Answered](w, time.Minute); took > limit {
				t.Errorf("%s: %v", how, took)
			}
		})
	}
}
