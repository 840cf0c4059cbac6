package sip

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// second puts another account on the telephone's route. Its registrations are
// answered without a password, by code.
func (w *world) second(codes map[*proxy]int) (line *Line, events chan Event, stop func()) {
	for p, code := range codes {
		p.handle = func(p *proxy, req *sip.Request) bool {
			if req.Method != sip.REGISTER || req.From().Address.User != "200" {
				return false
			}
			p.answer(req, code, "Contact", req.Contact().Value())
			return true
		}
	}
	events = make(chan Event, 4096)
	cfg := w.line.cfg
	cfg.Name, cfg.User = "2", "200"
	line, err := New(cfg, func(e Event) { events <- e })
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { line.Run(ctx); close(done) }()
	return line, events, func() { cancel(); <-done }
}

// Two lines on one route: when one notices, both go.
func TestLinesGoTogether(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		registered(w, p1, p2)
		line, events, stop := w.second(map[*proxy]int{a: 200, b: 200})
		defer stop()
		time.Sleep(time.Second)
		if s := line.Status(); s.State != "registered" || s.Via.Dest != p1 {
			t.Fatalf("%+v", s)
		}
		a.kill()
		line.Call("1", local)
		time.Sleep(time.Second)
		for _, l := range []*Line{w.line, line} {
			if s := l.Status(); s.State != "registered" || s.Via.Dest != p2 {
				t.Errorf("line %s: %+v", s.Name, s)
			}
		}
		_ = events
	})
}

// A line whose account the common proxy does not want finds its own place and
// leaves the other line in peace.
func TestRefusedAccountFindsItsPlace(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		registered(w, p1, p2)
		line, _, stop := w.second(map[*proxy]int{a: 403, b: 200})
		defer stop()
		time.Sleep(3 * time.Minute)
		if s := line.Status(); s.State != "registered" || s.Via.Dest != p2 {
			t.Fatalf("%+v\n%s", s, w.ladder())
		}
		if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p1 {
			t.Errorf("%+v", s)
		}
		before := 0
		for _, h := range w.said("REGISTER", p1) {
			if strings.Contains(h.header("From"), "200@") {
				before++
			}
		}
		// Its calls go where it is registered.
		c := line.Call("1", local)
		time.Sleep(time.Second)
		if inv := w.said("INVITE", ""); len(inv) == 0 || inv[0].to != p2 {
			t.Errorf("INVITE\n%s", w.ladder())
		}
		c.Hangup()
		time.Sleep(10 * time.Minute)
		after := 0
		for _, h := range w.said("REGISTER", p1) {
			if strings.Contains(h.header("From"), "200@") {
				after++
			}
		}
		if after != before {
			t.Errorf("%d more REGISTERs where the account is refused", after-before)
		}
	})
}

func FuzzCaller(f *testing.F) {
	f.Add(`"Bob \"B\"" <sip:+4930@h;user=phone>, <tel:+1-2(3).4;x=y>`)
	f.Add(`<sip:%00%0d%0a@h>`)
	f.Fuzz(func(t *testing.T, value string) {
		req := sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", Host: "h"})
		req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "a", Host: "h"}})
		req.AppendHeader(sip.NewHeader("P-Asserted-Identity", value))
		number, name, _ := caller(req)
		for _, s := range []string{number, name} {
			if !printable(s) && !strings.ContainsRune(s, '\ufffd') || len(s) > 68 {
				t.Errorf("%q from %q", s, value)
			}
		}
	})
}
