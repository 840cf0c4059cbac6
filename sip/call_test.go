package sip

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"github.com/ata-agent/ata-agent/sip/sdp"
)

// on is a handler for one method.
func on(method sip.RequestMethod, do func(p *proxy, req *sip.Request)) func(*proxy, *sip.Request) bool {
	return func(p *proxy, req *sip.Request) bool {
		if req.Method != method {
			return false
		}
		do(p, req)
		return true
	}
}

func registered(w *world, proxies ...string) {
	w.t.Helper()
	w.startLine(nil, proxies...)
	await[Registered](w, time.Second)
}

func TestCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			if !p.authorized(req, 407, "INVITE") {
				return
			}
			p.answer(req, 100)
			p.answer(req, 183, "Contact", "<sip:far@10.0.0.11>", "body", farSession("10.0.0.9:6000", "sendonly"))
			p.answer(req, 180, "Contact", "<sip:far@10.0.0.11>")
			p.ok(req, "far", "Record-Route", "<sip:10.0.0.11;lr>")
		})
		registered(w, p1)
		c := w.line.Call("555*01#", local)

		// 183, 180 and 200 in one burst come in order: sipgo's transaction
		// layer delivered the 200 alone.
		pr, _ := await[Progress](w, time.Second)
		if pr.Code != 183 || pr.Media == nil || pr.Media.Addr.String() != "10.0.0.9:6000" || pr.Media.Direction != sdp.RecvOnly {
			t.Errorf("%+v %+v", pr, pr.Media)
		}
		if pr, _ = await[Progress](w, time.Second); pr.Code != 180 {
			t.Errorf("%+v", pr)
		}
		a, _ := await[Answered](w, time.Second)
		if a.Call != c || a.Media.Addr.String() != "10.0.0.9:7000" || a.Media.Codecs[0] != sdp.PCMU || a.Media.Events != 101 || a.Media.Direction != sdp.SendRecv {
			t.Errorf("%+v", a)
		}
		inv := w.said("INVITE", p1)
		if len(inv) != 2 {
			t.Fatalf("%d INVITEs\n%s", len(inv), w.ladder())
		}
		if got := inv[1].first(); got != "INVITE sip:555*01%23@example.net SIP/2.0" {
			t.Errorf("%s", got)
		}
		// RFC 3608: the Service-Route of the registration is the route of requests.
		if got := inv[1].header("Route"); got != "<sip:edge.example.net;lr>" {
			t.Errorf("Route %s", got)
		}
		if !strings.Contains(inv[1].text, "c=IN IP4 10.0.0.2\r\n") || !strings.Contains(inv[1].text, "m=audio 4000 ") {
			t.Errorf("our address is not in the offer:\n%s", inv[1].text)
		}
		synctest.Wait()
		ack := w.said("ACK", p1)
		last := ack[len(ack)-1]
		// RFC 3261 13.2.2.4: same CSeq number and credentials as the INVITE.
		if last.header("CSeq") != "2 ACK" || last.header("Proxy-Authorization") != inv[1].header("Proxy-Authorization") || last.header("Route") != "<sip:10.0.0.11;lr>" {
			t.Errorf("ACK:\n%s", last.text)
		}

		c.Hangup()
		e, _ := await[Ended](w, time.Second)
		if e.Code != 0 || e.Reason != "hung up" {
			t.Errorf("%+v", e)
		}
		synctest.Wait()
		bye := w.said("BYE", p1)
		if len(bye) != 1 || bye[0].header("CSeq") != "3 BYE" || bye[0].first() != "BYE sip:far@10.0.0.11:5060 SIP/2.0" {
			t.Errorf("BYE: %+v", bye)
		}
		if n := w.line.Status().Calls; n != 0 {
			t.Errorf("%d calls left", n)
		}
	})
}

// A second call is signed ahead with the nonce of the first.
func TestNonceOfCallsIsUsedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = func(p *proxy, req *sip.Request) bool {
			switch req.Method {
			case sip.INVITE, sip.BYE:
				return !p.authorized(req, 407, string(req.Method))
			}
			return false
		}
		registered(w, p1)
		for i := range 3 {
			c := w.line.Call("1", local)
			await[Answered](w, time.Second)
			c.Hangup()
			await[Ended](w, time.Second)
			synctest.Wait()
			if n := len(w.said("INVITE", p1)); n != 2+i {
				t.Errorf("call %d: %d INVITEs", i, n)
			}
		}
		if n := len(w.said("BYE", p1)); n != 3 {
			t.Errorf("%d BYEs for 3 calls", n)
		}
	})
}

// The bars: how long from dialling to a 180 of another proxy.
func TestCallFailsOver(t *testing.T) {
	cases := []struct {
		name  string
		fault func(p *proxy)
		limit time.Duration
	}{
		{"killed", func(p *proxy) { p.kill() }, 150 * time.Millisecond},
		{"silent", func(p *proxy) { p.set(func() { p.silent = true }) }, 1500 * time.Millisecond},
		{"503", func(p *proxy) { p.set(func() { p.code = 503 }) }, 150 * time.Millisecond},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.delay = 10 * time.Millisecond
				a, b := w.proxy(p1), w.proxy(p2)
				b.handle = func(p *proxy, req *sip.Request) bool {
					return req.Method == sip.INVITE && !p.authorized(req, 407, "INVITE")
				}
				registered(w, p1, p2)
				time.Sleep(time.Second)
				c.fault(a)
				time.Sleep(time.Second)
				began := time.Now()
				call := w.line.Call("1", local)
				m, _ := await[Moved](w, 5*time.Second)
				if m.From.Dest != p1 || m.To.Dest != p2 || m.Why == nil {
					t.Errorf("%+v", m)
				}
				await[Progress](w, 5*time.Second)
				if took := time.Since(began); took > c.limit {
					t.Errorf("180 after %v, limit %v\n%s", took, c.limit, w.ladder())
				}
				await[Answered](w, time.Second)
				inv := w.said("INVITE", "")
				seen := map[string]bool{}
				for _, h := range inv {
					if h.header("Call-ID") != inv[0].header("Call-ID") || h.header("From") != inv[0].header("From") {
						t.Errorf("another call:\n%s", h.text)
					}
					// Each is a new transaction (a retransmission is the same one).
					seen[h.header("CSeq")+h.header("Via")] = true
				}
				if len(seen) != 3 { // to p1, to p2, to p2 signed
					t.Errorf("%d transactions\n%s", len(seen), w.ladder())
				}
				// The registration has followed the call, and a later INVITE
				// goes there at once.
				time.Sleep(time.Second)
				if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p2 {
					t.Errorf("%+v", s)
				}
				call.Hangup()
				await[Ended](w, time.Second)
				began = time.Now()
				w.line.Call("2", local)
				await[Progress](w, time.Second)
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("the second call: 180 after %v", took)
				}
			})
		})
	}
}

// Of three proxies two are silent: the call goes to the one that speaks, and
// the registration with it.
func TestCallGoesWhereSomebodySpeaks(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.delay = 10 * time.Millisecond
		a, b := w.proxy(p1), w.proxy(p2)
		w.proxy(p3)
		registered(w, p1, p2, p3)
		time.Sleep(20 * time.Second)
		a.set(func() { a.silent = true })
		b.set(func() { b.silent = true })
		began := time.Now()
		w.line.Call("1", local)
		await[Progress](w, time.Minute)
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("180 after %v\n%s", took, w.ladder())
		}
		if inv := w.said("INVITE", p2); len(inv) != 0 {
			t.Errorf("%d INVITEs to a silent address", len(inv))
		}
		time.Sleep(time.Second)
		if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p3 {
			t.Errorf("%+v", s)
		}
		if h := w.route.History(); len(h) != 1 || h[0].To.Dest != p3 || !strings.Contains(h[0].Noticed, "a call took 1.") {
			t.Errorf("history %+v", h)
		}
	})
}

// A proxy that is slow and speaks keeps the call; one whose others do not
// answer OPTIONS keeps it for the old four seconds.
func TestSlowIsNotDead(t *testing.T) {
	for _, c := range []struct {
		name     string
		deaf     bool // nobody answers OPTIONS
		after    time.Duration
		moves    bool
		at, most time.Duration
	}{
		{"answers OPTIONS, and INVITE after 3 s", false, 3 * time.Second, false, 3 * time.Second, 3100 * time.Millisecond},
		{"answers OPTIONS, never INVITE", false, time.Hour, true, 4 * time.Second, 4200 * time.Millisecond},
		{"nobody answers OPTIONS", true, time.Hour, true, 4 * time.Second, 4200 * time.Millisecond},
		{"nobody answers OPTIONS, INVITE after 3 s", true, 3 * time.Second, false, 3 * time.Second, 3100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.delay = 10 * time.Millisecond
				a, b := w.proxy(p1), w.proxy(p2)
				registered(w, p1, p2)
				time.Sleep(20 * time.Second) // the way is measured
				deaf := func(req *sip.Request) bool { return c.deaf && req.Method == sip.OPTIONS }
				b.set(func() { b.handle = func(p *proxy, req *sip.Request) bool { return deaf(req) } })
				a.set(func() {
					a.handle = func(p *proxy, req *sip.Request) bool {
						if req.Method == sip.INVITE {
							time.AfterFunc(c.after, func() { p.answer(req, 180) })
							return true
						}
						return deaf(req)
					}
				})
				began := time.Now()
				w.line.Call("1", local)
				await[Progress](w, time.Minute)
				took := time.Since(began)
				moved := len(w.said("INVITE", p2)) > 0
				if moved != c.moves || took < c.at || took > c.most {
					t.Errorf("moved %v, 180 after %v\n%s", moved, took, w.ladder())
				}
			})
		})
	}
}

// Where 30 in a hundred are lost each way, a call may take its way through
// another proxy, and the line stays where it is.
func TestLossyCallsDoNotMoveTheLine(t *testing.T) {
	for seed := range uint64(2) {
		bubble(t, func(t *testing.T, w *world) {
			for _, addr := range []string{p1, p2} {
				// RFC 3261 section 13.3.1.4: the 2xx is repeated until its ACK.
				p, acked := w.proxy(addr), map[string]bool{}
				p.handle = func(p *proxy, req *sip.Request) bool {
					id := req.CallID().Value()
					switch req.Method {
					case sip.ACK:
						p.set(func() { acked[id] = true })
					case sip.INVITE:
						p.answer(req, 100)
						p.answer(req, 180)
						go func() {
							for n := 0; n < 20; n++ {
								p.mu.Lock()
								over := acked[id]
								p.mu.Unlock()
								if over {
									return
								}
								p.ok(req, "far")
								time.Sleep(500 * time.Millisecond)
							}
						}()
					default:
						return false
					}
					return true
				}
			}
			registered(w, p1, p2)
			w.lossy(seed, 0.3)
			time.Sleep(5 * time.Minute)
			moved := 0
			for range 50 {
				c := w.line.Call("1", local)
				began := time.Now()
				for heard := false; !heard && time.Since(began) < time.Minute; { // one of the two may be lost
					switch (<-w.events).(type) {
					case Progress, Answered:
						heard = true
					}
				}
				if took := time.Since(began); took > 12*time.Second {
					t.Errorf("seed %d: heard after %v", seed, took)
				}
				c.Hangup()
				await[Ended](w, time.Minute)
				time.Sleep(10 * time.Second)
			}
			seen := map[string]bool{}
			for _, h := range w.said("INVITE", p2) {
				if id := h.header("Call-ID"); h.to == p2 && !seen[id] {
					seen[id] = true
					moved++
				}
			}
			if at, _ := w.route.Current(); at.Dest != p1 || len(w.route.History()) > 0 {
				t.Errorf("seed %d: the line is at %s: %+v", seed, at.Dest, w.route.History())
			}
			if moved > 1 {
				t.Errorf("seed %d: %d of 50 calls took another way", seed, moved)
			}
		})
	}
}

// What is an answer stays one, and the registration stays where it is.
func TestAnswersDoNotMove(t *testing.T) {
	for _, code := range []int{302, 404, 408, 480, 486, 488, 500, 504, 600, 603} {
		bubble(t, func(t *testing.T, w *world) {
			a := w.proxy(p1)
			w.proxy(p2)
			a.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) { p.answer(req, 100); p.answer(req, code) })
			registered(w, p1, p2)
			w.line.Call("1", local)
			e, _ := await[Ended](w, time.Second)
			if e.Code != code {
				t.Errorf("%d: %+v", code, e)
			}
			none[Registered](w, time.Minute)
			if n := len(w.said("INVITE", p2)); n != 0 {
				t.Errorf("%d: moved", code)
			}
		})
	}
}

// The last address after all others is given 32 s.
func TestLastAddressGetsPatience(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		registered(w, p1, p2)
		a.set(func() { a.silent = true })
		b.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			time.AfterFunc(10*time.Second, func() { p.answer(req, 180) })
		})
		w.line.Call("1", local)
		_, took := await[Progress](w, time.Minute)
		if took < 11*time.Second || took > 13*time.Second {
			t.Errorf("180 after %v", took)
		}
	})
}

// A proxy that says 100 and dies does not keep the caller: when the keep-alive
// finds out, the call goes along.
func TestDeadAfterTrying(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.proxy(p1)
		w.proxy(p2)
		a.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			p.answer(req, 100)
			p.set(func() { p.silent = true })
		})
		registered(w, p1, p2)
		w.line.Call("1", local)
		m, took := await[Moved](w, time.Minute)
		if m.To.Dest != p2 || took > mute+7*time.Second { // of a proxy whose answers have taken no time yet
			t.Errorf("%+v after %v", m, took)
		}
		await[Answered](w, time.Second)
	})
}

func TestNobodyThere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		registered(w, p1, p2)
		a.kill()
		b.kill()
		w.line.Call("1", local)
		e, took := await[Ended](w, time.Minute)
		if e.Code != 0 || !strings.Contains(e.Reason, "unreachable") || took > time.Second {
			t.Errorf("%+v after %v", e, took)
		}
	})
}

func TestHangUpWhileRinging(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		var invite *sip.Request
		p.handle = func(p *proxy, req *sip.Request) bool {
			switch req.Method {
			case sip.INVITE:
				invite = req
				p.answer(req, 180, "Record-Route", "<sip:rr.example.invalid;lr>")
				return true
			case sip.CANCEL:
				p.answer(req, 200)
				p.answer(invite, 487)
				return true
			}
			return false
		}
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Progress](w, time.Second)
		c.Hangup()
		e, _ := await[Ended](w, time.Second)
		if e.Reason != "hung up" {
			t.Errorf("%+v", e)
		}
		synctest.Wait()
		cancel := w.said("CANCEL", p1)
		inv := w.said("INVITE", p1)[0]
		if len(cancel) != 1 || cancel[0].header("Via") != inv.header("Via") || cancel[0].header("Route") != inv.header("Route") || cancel[0].header("CSeq") != "1 CANCEL" {
			t.Errorf("CANCEL\n%s", w.ladder())
		}
		if len(w.said("ACK", p1)) != 1 {
			t.Errorf("the 487 is not acknowledged\n%s", w.ladder())
		}
	})
}

// Long ringing with many provisional responses is no error, but has an end.
func TestLongRinging(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			go func() {
				for range 40 {
					p.answer(req, 180)
					time.Sleep(5 * time.Second)
				}
			}()
		})
		registered(w, p1)
		w.line.Call("1", local)
		e, took := await[Ended](w, 4*time.Minute)
		if e.Code != 408 || took < ringLong || took > ringLong+time.Second {
			t.Errorf("%+v after %v", e, took)
		}
		time.Sleep(time.Minute)
		if p.cancels.Load() == 0 {
			t.Error("not cancelled")
		}
	})
}

func TestFarEndHangsUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		w.line.Call("1", local)
		await[Answered](w, time.Second)
		p.inDialog(w, "BYE", 1, "Reason", `Q.850;cause=16;text="Normal clearing"`)
		e, _ := await[Ended](w, time.Second)
		if e.Reason != "the far end hung up: Normal clearing" {
			t.Errorf("%+v", e)
		}
		if code := p.code200(); code != 200 {
			t.Errorf("BYE answered %d", code)
		}
		// RFC 3261 12.2.2: afterwards the dialog is unknown.
		p.inDialog(w, "INFO", 2)
		if code := p.code200(); code != 481 {
			t.Errorf("after the end: %d", code)
		}
	})
}

// inDialog sends a request in the dialog of the latest call that was placed:
// built from what the INVITE said.
func (p *proxy) inDialog(w *world, method string, seq int, more ...string) {
	w.t.Helper()
	var last heard
	for _, h := range w.said("INVITE", p.addr.String()) {
		if strings.HasPrefix(h.from, "10.0.0.2:") {
			last = h
		}
	}
	contact, _, _ := strings.Cut(strings.TrimPrefix(last.header("Contact"), "<"), ">")
	body := ""
	var hs strings.Builder
	for i := 0; i+1 < len(more); i += 2 {
		if more[i] == "body" {
			body = more[i+1]
			if !slices.Contains(more, "Content-Type") {
				hs.WriteString("Content-Type: application/sdp\r\n")
			}
			continue
		}
		fmt.Fprintf(&hs, "%s: %s\r\n", more[i], more[i+1])
	}
	text := fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d;rport\r\nMax-Forwards: 70\r\nFrom: %s;tag=far\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n%sContent-Length: %d\r\n\r\n%s",
		method, contact, p.addr, method, seq, last.header("To"), last.header("From"), last.header("Call-ID"), seq, method, hs.String(), len(body), body)
	p.send(text, last.from)
}

// response is the next final response to a request of the proxy's.
func (p *proxy) response() *sip.Response {
	p.w.t.Helper()
	for {
		select {
		case res := <-p.answers:
			if res.StatusCode >= 200 {
				return res
			}
		case <-time.After(5 * time.Second):
			p.w.t.Fatalf("no response\n%s", p.w.ladder())
		}
	}
}

func (p *proxy) code200() int { return p.response().StatusCode }

func TestHoldAndResume(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		w.line.Call("1", local)
		await[Answered](w, time.Second)
		seq := 0
		for _, c := range []struct {
			method, session string
			want            sdp.Direction
			answer          string
		}{
			{"INVITE", farSession("10.0.0.9:7000", "sendonly"), sdp.RecvOnly, "a=recvonly"},
			{"INVITE", farSession("10.0.0.9:7000", "sendrecv"), sdp.SendRecv, "a=sendrecv"},
			{"UPDATE", farSession("10.0.0.9:7000", "inactive"), sdp.Inactive, "a=inactive"},
			{"UPDATE", farSession("10.0.0.9:7100", "sendrecv"), sdp.SendRecv, "a=sendrecv"},
			{"INVITE", farSession("0.0.0.0:7100", "sendrecv"), sdp.RecvOnly, "a=recvonly"}, // RFC 2543's hold
			{"INVITE", farSession("10.0.0.9:7100", "sendrecv"), sdp.SendRecv, "a=sendrecv"},
		} {
			seq++
			p.inDialog(w, c.method, seq, "Contact", "<sip:far@10.0.0.11:5060>", "body", c.session)
			res := p.response()
			if res.StatusCode != 200 || !strings.Contains(string(res.Body()), c.answer) || res.Contact() == nil {
				t.Errorf("%s: %s", c.method, res.String())
			}
			ch, _ := await[Changed](w, time.Second)
			if ch.Media.Direction != c.want {
				t.Errorf("%s: %+v", c.session, ch.Media)
			}
			if c.method == "INVITE" {
				p.inDialog(w, "ACK", seq)
			}
		}
		// The same once more changes nothing, and its answer has the same version.
		p.inDialog(w, "UPDATE", 7, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7100", "sendrecv"))
		p.response()
		none[Changed](w, time.Second)
		// Nothing in common: 488, and the call goes on.
		p.inDialog(w, "INVITE", 8, "Contact", "<sip:far@10.0.0.11:5060>", "body", strings.Replace(farSession("10.0.0.9:7100", "sendrecv"), "RTP/AVP 0 101", "RTP/AVP 18", 1))
		if code := p.code200(); code != 488 {
			t.Errorf("%d, want 488", code)
		}
		none[Ended](w, time.Minute)
	})
}

func TestOfferlessReinvite(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		w.line.Call("1", local)
		await[Answered](w, time.Second)
		p.inDialog(w, "INVITE", 1, "Contact", "<sip:far@10.0.0.11:5060>")
		if res := p.response(); res.StatusCode != 200 || !strings.Contains(string(res.Body()), "m=audio 4000 RTP/AVP 0 8 101") {
			t.Errorf("%s", res.String())
		}
		// RFC 3311 5.2 and RFC 3261 14.2: our offer is not answered yet.
		p.inDialog(w, "UPDATE", 2, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:7000", "sendonly"))
		if code := p.code200(); code != 491 {
			t.Errorf("%d, want 491", code)
		}
		p.inDialog(w, "ACK", 1, "body", farSession("10.0.0.9:7200", "sendrecv"))
		ch, _ := await[Changed](w, time.Second)
		if ch.Media.Addr.String() != "10.0.0.9:7200" {
			t.Errorf("%+v", ch.Media)
		}
	})
}

func TestRequestsInDialog(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		w.line.Call("1", local)
		await[Answered](w, time.Second)
		for i, c := range []struct {
			method string
			more   []string
			want   int
		}{
			{"OPTIONS", nil, 200},
			{"INFO", nil, 200},
			{"INFO", []string{"Info-Package", "foo"}, 469},
			{"NOTIFY", []string{"Event", "refer"}, 481},
			{"MESSAGE", nil, 405},
			{"REFER", []string{"Refer-To", "<sip:premium@example.org>"}, 405},
			{"FROB", nil, 501},
			{"OPTIONS", []string{"Require", "teleport, 100rel"}, 420},
			{"PRACK", []string{"RAck", "1 1 INVITE"}, 481},
			{"INVITE", []string{"Contact", "<sip:far@10.0.0.11>", "body", "rubbish"}, 488},
		} {
			p.inDialog(w, c.method, 10+i, c.more...)
			res := p.response()
			if res.StatusCode != c.want {
				t.Errorf("%s %v: %d, want %d", c.method, c.more, res.StatusCode, c.want)
			}
			if h := res.GetHeader("Unsupported"); c.want == 420 && (h == nil || h.Value() != "teleport") {
				t.Errorf("Unsupported: %v", h)
			}
		}
		// RFC 3261 12.2.2: lower CSeq "MUST be rejected with a 500".
		p.inDialog(w, "INFO", 3)
		if code := p.code200(); code != 500 {
			t.Errorf("old CSeq: %d", code)
		}
		none[Ended](w, time.Second)
	})
}

func TestForks(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			p.answer(req, 180, "tag", "a", "Contact", "<sip:a@10.0.0.11:5060>")
			p.answer(req, 180, "tag", "b", "Contact", "<sip:b@10.0.0.11:5060>")
			p.ok(req, "b")
			p.ok(req, "a")
			p.ok(req, "b") // again: only its ACK comes again
		})
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		none[Answered](w, 5*time.Second)
		bye := w.said("BYE", p1)
		if len(bye) != 1 || !strings.Contains(bye[0].header("To"), "tag=a") {
			t.Errorf("the second fork is not ended\n%s", w.ladder())
		}
		acks := map[string]int{}
		for _, h := range w.said("ACK", p1) {
			acks[h.header("To")]++
		}
		if len(acks) != 2 {
			t.Errorf("ACKs: %v", acks)
		}
		c.Hangup()
		await[Ended](w, time.Second)
		synctest.Wait()
		if bye = w.said("BYE", p1); len(bye) != 2 || !strings.Contains(bye[1].header("To"), "tag=b") {
			t.Errorf("our BYE\n%s", w.ladder())
		}
	})
}

func TestReliableProvisional(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = func(p *proxy, req *sip.Request) bool {
			switch req.Method {
			case sip.INVITE:
				p.answer(req, 183, "Contact", "<sip:far@10.0.0.11:5060>", "Require", "100rel", "RSeq", "7", "body", farSession("10.0.0.9:6000", "sendrecv"))
				p.answer(req, 180, "Contact", "<sip:far@10.0.0.11:5060>", "Require", "100rel", "RSeq", "9") // out of order
				p.answer(req, 180, "Contact", "<sip:far@10.0.0.11:5060>", "Require", "100rel", "RSeq", "8")
				go func() {
					time.Sleep(time.Second)
					p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>") // the session was in the 183
				}()
				return true
			case sip.PRACK:
				return !p.authorized(req, 407, "PRACK")
			}
			return false
		}
		registered(w, p1)
		c := w.line.Call("1", local)
		a, _ := await[Answered](w, 2*time.Second)
		if a.Media.Addr.String() != "10.0.0.9:6000" {
			t.Errorf("%+v", a.Media)
		}
		var racks []string
		for _, h := range w.said("PRACK", p1) {
			if r := h.header("RAck"); !slices.Contains(racks, r) {
				racks = append(racks, r)
			}
		}
		// RFC 3262 7.2: RAck is RSeq, CSeq number and method of the response.
		if fmt.Sprint(racks) != "[7 1 INVITE 8 1 INVITE]" {
			t.Errorf("RAck %v", racks)
		}
		acks := w.said("ACK", p1)
		if got := acks[len(acks)-1].header("CSeq"); got != "1 ACK" {
			t.Errorf("ACK with CSeq %s after PRACK", got)
		}
		c.Hangup()
		await[Ended](w, time.Second)
	})
}

func TestEarlyUpdate(t *testing.T) {
	for _, reliably := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
				more := []string{"Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:6000", "sendrecv")}
				if reliably {
					more = append(more, "Require", "100rel", "RSeq", "1")
				}
				p.answer(req, 183, more...)
			})
			registered(w, p1)
			w.line.Call("1", local)
			await[Progress](w, time.Second)
			p.inDialog(w, "UPDATE", 1, "Contact", "<sip:far@10.0.0.11:5060>", "body", farSession("10.0.0.9:6100", "sendrecv"))
			res := p.response()
			// RFC 3311 5.2: "If an UPDATE is received that contains an offer, and
			// the UAS has generated an offer (in an UPDATE, PRACK or INVITE) to
			// which it has not yet received an answer, the UAS MUST reject the
			// UPDATE with a 491 response." A session in an unreliable 183 is no
			// answer yet.
			if !reliably {
				if res.StatusCode != 491 {
					t.Errorf("%s", res.String())
				}
				return
			}
			if res.StatusCode != 200 || !strings.Contains(string(res.Body()), "m=audio 4000") {
				t.Errorf("%s", res.String())
			}
			if pr, _ := await[Progress](w, time.Second); pr.Media == nil || pr.Media.Addr.String() != "10.0.0.9:6100" {
				t.Errorf("%+v", pr)
			}
		})
	}
}

// A call in progress outlives its proxy, and its BYE goes around it.
func TestByeGoesThroughTheRing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.proxy(p1), w.proxy(p2)
		a.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
			p.ok(req, "far", "Record-Route", "<sip:10.0.0.11:5060;lr>")
		})
		b.handle = func(p *proxy, req *sip.Request) bool {
			return req.Method == sip.BYE && !p.authorized(req, 407, "BYE")
		}
		registered(w, p1, p2)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		a.set(func() { a.silent = true })
		await[Registered](w, time.Minute)
		time.Sleep(time.Minute)
		if n := w.line.Status().Calls; n != 1 {
			t.Fatalf("%d calls", n)
		}
		began := time.Now()
		c.Hangup()
		await[Ended](w, time.Second)
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("hanging up took %v", took)
		}
		time.Sleep(10 * time.Second)
		bye := w.said("BYE", p2)
		if len(bye) != 2 || b.byes.Load() != 2 {
			t.Fatalf("%d BYEs through the other proxy\n%s", len(bye), w.ladder())
		}
		// The route through the dead proxy is left out.
		if bye[1].header("Route") != "" || !strings.Contains(bye[1].header("Proxy-Authorization"), "response=") {
			t.Errorf("%s", bye[1].text)
		}
	})
}

func TestSessionTimer(t *testing.T) {
	for _, c := range []struct {
		name, header, allow string
		method              string
	}{
		{"we refresh by UPDATE", "120;refresher=uac", "INVITE, UPDATE", "UPDATE"},
		{"we refresh by re-INVITE", "120;refresher=uac", "INVITE", "INVITE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.proxy(p1)
				p.handle = func(p *proxy, req *sip.Request) bool {
					if req.Method != sip.INVITE && req.Method != sip.UPDATE {
						return false
					}
					if req.Method == sip.INVITE {
						p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>", "Allow", c.allow, "Session-Expires", c.header, "body", farSession("10.0.0.9:7000", "sendrecv"))
					} else {
						p.answer(req, 200, "Contact", "<sip:far@10.0.0.11:5060>", "Session-Expires", c.header)
					}
					return true
				}
				registered(w, p1)
				call := w.line.Call("1", local)
				await[Answered](w, time.Second)
				none[Event](w, 10*time.Minute)
				// RFC 4028 10: "the refresher [...] send the refresh
				// request once half the session interval has elapsed".
				n := len(w.said(c.method, p1))
				if c.method == "INVITE" {
					n--
				}
				if n < 9 || n > 10 {
					t.Errorf("%d refreshes in ten minutes", n)
				}
				call.Hangup()
				await[Ended](w, time.Second)
			})
		})
	}
	t.Run("they should, and do not", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) {
				p.ok(req, "far", "Session-Expires", "120;refresher=uas")
			})
			registered(w, p1)
			w.line.Call("1", local)
			await[Answered](w, time.Second)
			p.inDialog(w, "UPDATE", 1, "Contact", "<sip:far@10.0.0.11:5060>", "Session-Expires", "120;refresher=uac", "Supported", "timer")
			if res := p.response(); res.StatusCode != 200 || res.GetHeader("Session-Expires").Value() != "120;refresher=uac" || res.GetHeader("Require") == nil {
				t.Errorf("%s", res.String())
			}
			e, took := await[Ended](w, 3*time.Minute)
			// "BYE [...] before the session expiration [...] minimum of 32
			// seconds and one third of the session interval".
			if e.Reason != "the far end gave no sign of life" || took < 85*time.Second || took > 95*time.Second {
				t.Errorf("%+v after %v", e, took)
			}
			synctest.Wait()
			if p.byes.Load() != 1 {
				t.Error("no BYE")
			}
		})
	})
	t.Run("too often", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			registered(w, p1)
			w.line.Call("1", local)
			await[Answered](w, time.Second)
			p.inDialog(w, "UPDATE", 1, "Contact", "<sip:far@10.0.0.11:5060>", "Session-Expires", "30", "Supported", "timer")
			if res := p.response(); res.StatusCode != 422 || res.GetHeader("Min-SE").Value() != "90" {
				t.Errorf("%s", res.String())
			}
		})
	})
	t.Run("422 to our INVITE", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			p.handle = func(p *proxy, req *sip.Request) bool {
				if req.Method == sip.INVITE && req.GetHeader("Session-Expires") == nil {
					p.answer(req, 422, "Min-SE", "600")
					return true
				}
				return false
			}
			registered(w, p1)
			w.line.Call("1", local)
			await[Answered](w, time.Second)
		})
	})
}

func TestHostileNumbers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.proxy(p1)
		registered(w, p1)
		for _, n := range []string{"", "1\r\nX: y", "1@evil.example", "1;x=y", "1 2", "<sip:a>", "1?Route=x", strings.Repeat("1", 65), "ü"} {
			w.line.Call(n, local)
			if e, _ := await[Ended](w, time.Second); e.Code != 484 {
				t.Errorf("%q: %+v", n, e)
			}
		}
		if n := len(w.said("INVITE", "")); n != 0 {
			t.Errorf("%d INVITEs", n)
		}
	})
}

func TestForeignRealmInCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = func(p *proxy, req *sip.Request) bool {
			if req.Method == sip.BYE {
				p.answer(req, 407, "Proxy-Authenticate", `Digest realm="evil", nonce="n"`)
				return true
			}
			return false
		}
		registered(w, p1)
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		c.Hangup()
		await[Ended](w, time.Second)
		time.Sleep(time.Minute)
		for _, h := range w.said("BYE", p1) {
			if h.header("Proxy-Authorization") != "" {
				t.Errorf("leaked:\n%s", h.text)
			}
		}
	})
}

func TestLineNotRunning(t *testing.T) {
	w := newWorld(t)
	w.proxy(p1)
	w.startLine(nil, p1)
	w.end()
	c := w.line.Call("1", local)
	e, _ := await[Ended](w, time.Second)
	if e.Call != c {
		t.Errorf("%+v", e)
	}
	c.Hangup()
	c.Answer(local)
}

// A hundred calls in a row, in both directions, leave nothing behind.
func TestHundredCalls(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t)
	p := w.proxy(p1)
	w.startLine(nil, p1)
	await[Registered](w, 5*time.Second)
	for i := range 100 {
		if i%2 == 0 {
			c := w.line.Call("1", local)
			await[Answered](w, 5*time.Second)
			c.Hangup()
		} else {
			in := p.call(w, i, nil)
			inc, _ := await[Incoming](w, 5*time.Second)
			inc.Call.Ring()
			inc.Call.Answer(local)
			await[Answered](w, 5*time.Second)
			in.ack(in.response())
			inc.Call.Hangup()
		}
		await[Ended](w, 5*time.Second)
	}
	if n := w.line.Status().Calls; n != 0 {
		t.Errorf("%d calls left", n)
	}
	w.end()
}

// Keys come in the order in which they were pressed, each answered before the
// next, also where the way loses some.
func TestKeysByInfo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		heard, seen := "", map[string]int{}
		p.handle = on(sip.INVITE, func(p *proxy, req *sip.Request) { p.ok(req, "far") })
		usual := p.handle
		p.handle = func(p *proxy, req *sip.Request) bool {
			if req.Method != sip.INFO {
				return usual(p, req)
			}
			seq := req.CSeq().Value()
			if seen[seq]++; seen[seq] == 1 && heard != "1" {
				return true // lost
			}
			if seen[seq] <= 2 {
				heard += strings.TrimPrefix(strings.Split(string(req.Body()), "\r\n")[0], "Signal=")
			}
			if ct := req.GetHeader("Content-Type"); ct == nil || ct.Value() != "application/dtmf-relay" {
				t.Errorf("Content-Type %v", ct)
			}
			p.answer(req, 200)
			return true
		}
		registered(w, p1)
		c := w.line.Call("1", local)
		c.Digit('9') // nobody has answered yet
		await[Answered](w, time.Second)
		time.Sleep(time.Second)
		for _, k := range "12*#" {
			c.Digit(byte(k))
		}
		time.Sleep(10 * time.Second)
		p.set(func() {
			if heard != "12*#" {
				t.Errorf("heard %q", heard)
			}
		})
		c.Hangup()
		await[Ended](w, time.Second)
	})
}
