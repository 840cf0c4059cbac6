package sip

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

func TestRegisters(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		w.startLine(nil, p1)
		r, took := await[Registered](w, time.Second)
		if r.Via.Dest != p1 || r.Expires != time.Minute || took > 100*time.Millisecond {
			t.Errorf("%+v after %v", r, took)
		}
		s := w.line.Status()
		if s.State != "registered" || s.Via.Dest != p1 || s.Err != "" || s.Expires != time.Minute {
			t.Errorf("status %+v", s)
		}
		regs := w.said("REGISTER", p1)
		if len(regs) != 2 {
			t.Fatalf("%d REGISTERs, want 2\n%s", len(regs), w.ladder())
		}
		first, second := regs[0], regs[1]
		// RFC 3261 10.2: the Request-URI "names the domain of the location
		// service [...] The "userinfo" and "@" components of the SIP URI MUST
		// NOT be present".
		if first.first() != "REGISTER sip:example.net SIP/2.0" {
			t.Errorf("request line %q", first.first())
		}
		// 10.2.4: "all registrations [...] SHOULD use the same Call-ID" and
		// "increment the CSeq value by one for each REGISTER".
		if first.header("Call-ID") != second.header("Call-ID") || first.header("CSeq") != "1 REGISTER" || second.header("CSeq") != "2 REGISTER" {
			t.Errorf("Call-ID or CSeq: %q %q", first.header("CSeq"), second.header("CSeq"))
		}
		// RFC 5626 4.2: "+sip.instance" and "reg-id" in the Contact, "outbound" in Supported.
		if c := second.header("Contact"); !strings.Contains(c, `+sip.instance="<urn:uuid:00000000-0000-1000-8000-000A95A0E128>";reg-id=1`) || !strings.Contains(second.header("Supported"), "outbound") {
			t.Errorf("Contact %s", c)
		}

		// Refreshed within the jittered part of what was granted, with the
		// nonce used again: one REGISTER, no challenge. Nothing is told.
		none[Event](w, 61*time.Second)
		regs = w.said("REGISTER", p1)
		if len(regs) != 3 {
			t.Fatalf("%d REGISTERs, want 3\n%s", len(regs), w.ladder())
		}
		if at := regs[2].at; at < 45*time.Second || at > 54*time.Second+100*time.Millisecond {
			t.Errorf("refreshed at %v", at)
		}
		if auth := regs[2].header("Authorization"); !strings.Contains(auth, "nc=00000002") {
			t.Errorf("refresh is not signed ahead: %q", auth)
		}

		w.stop()
		<-w.done
		if p.binding() != "" {
			t.Error("not unregistered on a clean stop")
		}
	})
}

func TestSHA256IsPreferred(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.alg = "SHA-256"
		w.startLine(nil, p1)
		await[Registered](w, time.Second)
	})
}

func TestMinExpires(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.minimum, p.granted = 600, 3600
		w.startLine(nil, p1)
		r, _ := await[Registered](w, time.Second)
		if r.Expires != 10*time.Minute {
			t.Errorf("granted %v", r.Expires)
		}
	})
}

func TestContactIsLearnt(t *testing.T) {
	for _, challenge := range []bool{true, false} {
		bubble(t, func(t *testing.T, w *world) {
			w.nat[addr("10.0.0.2")] = addr("198.51.100.7")
			p := w.proxy(p1)
			if !challenge {
				p.handle = func(p *proxy, req *sip.Request) bool {
					if req.Method != sip.REGISTER {
						return false
					}
					c := req.GetHeaders("Contact")[0].(*sip.ContactHeader)
					p.set(func() { p.contact = c.Address.String() })
					p.answer(req, 200, "Contact", "<"+c.Address.String()+">;expires=60")
					return true
				}
			}
			w.startLine(nil, p1)
			await[Registered](w, time.Second)
			if !strings.Contains(p.binding(), "@198.51.100.7:") {
				t.Errorf("challenge %v: bound to %s", challenge, p.binding())
			}
			regs := w.said("REGISTER", p1)
			if len(regs) != 2 {
				t.Errorf("challenge %v: %d REGISTERs, want 2", challenge, len(regs))
			}
			if last := regs[len(regs)-1]; !challenge && strings.Count(last.text, "Contact:") != 2 {
				t.Errorf("the wrong binding is not taken back:\n%s", last.text)
			}
			// It is learnt, so it is not learnt again.
			time.Sleep(2 * time.Minute)
			if n := len(w.said("REGISTER", p1)); n > 5 {
				t.Errorf("%d REGISTERs in two minutes", n)
			}
		})
	}
}

func TestOutboundIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		p.handle = func(p *proxy, req *sip.Request) bool {
			if req.Method == sip.REGISTER && strings.Contains(req.Contact().Value(), "reg-id") {
				p.answer(req, 439)
				return true
			}
			return false
		}
		w.startLine(nil, p1)
		await[Registered](w, time.Second)
	})
}

// What moves a registration, and how soon.
func TestRegistrationFailsOver(t *testing.T) {
	cases := []struct {
		name    string
		fault   func(p *proxy)
		refresh bool // noticed at the refresh, else by the keep-alive
		limit   time.Duration
	}{
		{"killed", func(p *proxy) { p.kill() }, false, 15*time.Second + 500*time.Millisecond},
		{"silent", func(p *proxy) { p.set(func() { p.silent = true }) }, false, 19*time.Second + 500*time.Millisecond},
		{"503", func(p *proxy) { p.set(func() { p.code = 503 }) }, true, 17 * time.Second},
		{"500", func(p *proxy) { p.set(func() { p.code = 500 }) }, true, 54 * time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a := w.proxy(p1)
				w.proxy(p2)
				w.startLine(nil, p1, p2)
				await[Registered](w, time.Second)
				time.Sleep(3 * time.Second)
				c.fault(a)
				r, took := await[Registered](w, 2*time.Minute)
				if r.Via.Dest != p2 || took > c.limit {
					t.Errorf("registered via %s after %v, limit %v", r.Via.Dest, took, c.limit)
				}
				if c.refresh {
					// From the refusal at the refresh to the other proxy: at once.
					regs := w.said("REGISTER", "")
					var refused, moved time.Duration
					for _, h := range regs[2:] {
						if h.to == p1 && refused == 0 {
							refused = h.at
						}
						if h.to == p2 && moved == 0 {
							moved = h.at
						}
					}
					if moved-refused > 500*time.Millisecond {
						t.Errorf("%v from refusal to the next proxy", moved-refused)
					}
				}
				// It stays there: nothing is told and nothing goes to the first.
				before := len(w.said("REGISTER", p1))
				none[Registered](w, 3*time.Minute)
				if after := len(w.said("REGISTER", p1)); after != before {
					t.Errorf("%d more REGISTERs to the address that failed", after-before)
				}
			})
		})
	}
}

func TestAnyAnswerIsLife(t *testing.T) {
	for _, code := range []int{401, 404, 405, 481, 486, 501} {
		bubble(t, func(t *testing.T, w *world) {
			a := w.proxy(p1)
			w.proxy(p2)
			a.handle = func(p *proxy, req *sip.Request) bool {
				if req.Method == sip.OPTIONS {
					p.answer(req, code)
					return true
				}
				return false
			}
			w.startLine(nil, p1, p2)
			await[Registered](w, time.Second)
			none[Registered](w, time.Minute)
			if n := len(w.said("OPTIONS", p1)); n < 3 {
				t.Errorf("%d: %d OPTIONS in a minute", code, n)
			}
		})
	}
}

// A proxy that answers OPTIONS by 503 and takes registrations all the same is
// believed less and less: no REGISTER for each keep-alive.
func TestGrumblingProxyKeepsTheLine(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.proxy(p1)
		w.proxy(p2)
		a.granted = 3600
		a.handle = on(sip.OPTIONS, func(p *proxy, req *sip.Request) { p.answer(req, 503) })
		w.startLine(func(c *Config) { c.Expires = time.Hour }, p1, p2)
		await[Registered](w, time.Second)
		none[Registered](w, 40*time.Minute)
		asked, regs := len(w.said("OPTIONS", p1)), w.said("REGISTER", p1)
		// The first, its challenge, and after 1, 2, 4, 8 ... 128 keep-alives one more.
		if n := len(regs); asked < 150 || n != 2+8 {
			t.Errorf("%d REGISTERs for %d keep-alives\n%s", n, asked, w.ladder())
		}
		// What is said otherwise in between is forgotten.
		a.set(func() { a.handle = nil })
		time.Sleep(time.Minute)
		a.set(func() { a.code = 503 })
		if r, took := await[Registered](w, time.Minute); r.Via.Dest != p2 || took > 17*time.Second {
			t.Errorf("via %s after %v", r.Via.Dest, took)
		}
	})
}

// Thirty in a hundred datagrams are lost each way for an hour: no reason to
// move. A death is found all the same.
func TestLossIsNotDeath(t *testing.T) {
	for seed := range uint64(8) {
		bubble(t, func(t *testing.T, w *world) {
			a := w.proxy(p1)
			w.proxy(p2)
			w.startLine(nil, p1, p2)
			await[Registered](w, time.Minute)
			w.lossy(seed, 0.3)
			none[Registered](w, time.Hour)
			a.set(func() { a.silent = true })
			if f, took := await[Failed](w, time.Minute); f.Via.Dest != p1 || took > 30*time.Second {
				t.Errorf("seed %d: the death of %s found after %v\n%s", seed, f.Via.Dest, took, w.ladder())
			}
			// What is lost on the new way costs time too.
			if r, took := await[Registered](w, time.Minute); r.Via.Dest != p2 || took > 30*time.Second {
				t.Errorf("seed %d: via %s after %v\n%s", seed, r.Via.Dest, took, w.ladder())
			}
		})
	}
}

func TestAllDeadThenOneReturns(t *testing.T) {
	for _, how := range []string{"killed", "silent", "503"} {
		for _, dead := range []time.Duration{time.Minute, 10 * time.Minute} {
			t.Run(how+" for "+dead.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					all := []*proxy{w.proxy(p1), w.proxy(p2), w.proxy(p3)}
					w.startLine(nil, p1, p2, p3)
					await[Registered](w, time.Second)
					for _, p := range all {
						switch how {
						case "killed":
							p.kill()
						case "silent":
							p.set(func() { p.silent = true })
						case "503":
							p.set(func() { p.code = 503 })
						}
					}
					time.Sleep(dead)
					if s := w.line.Status(); s.State != "failed" || s.Err == "" || s.Problem != ProxyProblem {
						t.Errorf("while all are dead: %+v", s)
					}
					for len(w.events) > 0 {
						<-w.events
					}
					switch how {
					case "killed":
						all[1].up()
					default:
						all[1].set(func() { all[1].silent, all[1].code = false, 0 })
					}
					limit := 5 * time.Second
					if dead > 3*time.Minute {
						limit = 42 * time.Second // probes are far apart by then, see outbound.Route.Lookout
					}
					r, took := await[Registered](w, 3*time.Minute)
					if r.Via.Dest != p2 || took > limit {
						t.Errorf("registered via %s after %v, limit %v\n%s", r.Via.Dest, took, limit, w.ladder())
					}
				})
			})
		}
	}
}

func TestAccountProblem(t *testing.T) {
	for _, code := range []int{403, 404} {
		bubble(t, func(t *testing.T, w *world) {
			a, b := w.proxy(p1), w.proxy(p2)
			refuse := func(p *proxy, req *sip.Request) bool {
				if req.Method == sip.REGISTER {
					p.answer(req, code)
					return true
				}
				return false
			}
			a.handle, b.handle = refuse, refuse
			w.startLine(nil, p1, p2)
			f, _ := await[Failed](w, time.Second)
			if !strings.Contains(f.Err.Error(), map[int]string{403: "403", 404: "404"}[code]) {
				t.Errorf("%v", f.Err)
			}
			synctest.Wait()
			if s := w.line.Status(); s.State != "failed" || s.Problem != AccountProblem {
				t.Errorf("%+v", s)
			}
			time.Sleep(10 * time.Minute)
			if n := len(w.said("REGISTER", "")); n > 20 {
				t.Errorf("%d REGISTERs in ten minutes with a refused account", n)
			}
		})
	}
}

func TestWrongPassword(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.proxy(p1)
		w.startLine(func(c *Config) { c.Password = "wrong" }, p1)
		f, _ := await[Failed](w, time.Second)
		if !strings.Contains(f.Err.Error(), "password refused") {
			t.Errorf("%v", f.Err)
		}
		synctest.Wait()
		if s := w.line.Status(); s.Problem != AccountProblem {
			t.Errorf("%+v", s)
		}
		if n := len(w.said("REGISTER", p1)); n != 2 {
			t.Errorf("%d REGISTERs, want 2", n)
		}
	})
}

// A pulled cable is not the proxy's fault.
func TestNoLink(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.proxy(p1)
		w.proxy(p2)
		w.startLine(nil, p1, p2)
		await[Registered](w, time.Second)
		w.mu.Lock()
		w.down = true
		w.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if at, _ := w.route.Current(); at.Dest != p1 {
			t.Errorf("the ring moved to %s", at.Dest)
		}
		if s := w.line.Status(); s.State == "registered" || s.Problem != NetworkProblem {
			t.Errorf("%+v", s)
		}
		for len(w.events) > 0 {
			<-w.events
		}
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		r, took := await[Registered](w, time.Minute)
		if r.Via.Dest != p1 || took > 5*time.Second {
			t.Errorf("registered via %s after %v", r.Via.Dest, took)
		}
	})
}

func TestOperatorMoves(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.proxy(p1)
		w.proxy(p2)
		w.startLine(nil, p1, p2)
		r, _ := await[Registered](w, time.Second)
		time.Sleep(time.Second)
		w.route.Next(r.Via, outbound.Failure{Cause: outbound.Asked})
		r, took := await[Registered](w, time.Second)
		if r.Via.Dest != p2 || took > 100*time.Millisecond {
			t.Errorf("via %s after %v", r.Via.Dest, took)
		}
	})
}

// A challenge from elsewhere, or of a foreign realm, learns nothing.
func TestDigestIsNotLeaked(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		w.startLine(nil, p1)
		await[Registered](w, time.Second)
		for i, method := range []sip.RequestMethod{sip.INVITE, sip.BYE, sip.OPTIONS} {
			req := sip.NewRequest(method, sip.Uri{Scheme: "sip", User: "x", Host: "example.net"})
			via, _ := w.route.Current()
			challenge := func(code int, header, realm, source string) error {
				res := sip.NewResponse(code, "X")
				res.AppendHeader(sip.NewHeader(header, `Digest realm="`+realm+`", nonce="n`+string(rune('0'+i))+`"`))
				res.SetSource(source)
				return w.line.keys.challenged(via, req, res)
			}
			if err := challenge(407, "Proxy-Authenticate", "evil", p1); err != errForeignRealm {
				t.Errorf("%s, foreign realm: %v", method, err)
			}
			if err := challenge(407, "Proxy-Authenticate", "example.net", p2); err != errOtherSource {
				t.Errorf("%s, other source: %v", method, err)
			}
			if err := challenge(407, "Proxy-Authenticate", "example.net", "10.0.0.11:5061"); err != errOtherSource {
				t.Errorf("%s, other port: %v", method, err)
			}
			if err := challenge(407, "Proxy-Authenticate", "example.net", p1); err != nil {
				t.Errorf("%s, ours: %v", method, err)
			}
		}
		_ = p
	})
}

// What failed is said once and without the kernel's account of it.
func TestFailuresReadWell(t *testing.T) {
	udp, tls := outbound.UDP, outbound.TLS
	at := netip.MustParseAddrPort(p1)
	for _, c := range []struct {
		fault transport.Fault
		want  string
	}{
		{transport.Fault{Addr: at, Transport: udp, Kind: transport.Unreachable, Err: os.NewSyscallError("recvmsg", syscall.ECONNREFUSED)}, "unreachable (ICMP): port unreachable"},
		{transport.Fault{Addr: at, Transport: udp, Kind: transport.OwnSide, Err: &net.OpError{Op: "dial", Net: "udp", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}}, "cannot send: network is unreachable"},
		{transport.Fault{Addr: at, Transport: tls, Kind: transport.Refused, Err: &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}}, "connection refused"},
		{transport.Fault{Addr: at, Transport: tls, Kind: transport.Lost, Err: io.EOF}, "connection lost: the proxy closed it"},
	} {
		if got := failureOf(sip.REGISTER, time.Now(), nil, c.fault).Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestCRLFAndSTUN(t *testing.T) {
	for _, by := range []string{"crlf", "stun", "off"} {
		bubble(t, func(t *testing.T, w *world) {
			w.proxy(p1)
			w.startLine(func(c *Config) { c.KeepAliveBy = by }, p1)
			await[Registered](w, time.Second)
			time.Sleep(14 * time.Second)
			n := len(w.said("OPTIONS", p1))
			if n != 0 {
				t.Errorf("%s: %d OPTIONS", by, n)
			}
			if by == "crlf" {
				time.Sleep(2 * time.Second)
				if len(w.said("\r\n\r\n", p1)) == 0 {
					t.Error("no CRLF was sent")
				}
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	good := Config{Name: "1", User: "100", Domain: "example.net", Network: w,
		Route: outbound.NewRoute(outbound.RouteConfig{Resolver: outbound.NewResolver(outbound.ResolverConfig{Network: w})})}
	tell := func(Event) {}
	if _, err := New(good, tell); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"user with CRLF":         func(c *Config) { c.User = "100\r\nX: y" },
		"user with @":            func(c *Config) { c.User = "a@b" },
		"no user":                func(c *Config) { c.User = "" },
		"domain with CRLF":       func(c *Config) { c.Domain = "a\r\nb" },
		"domain with user":       func(c *Config) { c.Domain = "a@b" },
		"domain port":            func(c *Config) { c.Domain = "a:x" },
		"display name with CRLF": func(c *Config) { c.DisplayName = "A\r\nX: y" },
		"agent with CRLF":        func(c *Config) { c.UserAgent = "A\r\nX: y" },
		"keep-alive":             func(c *Config) { c.KeepAliveBy = "prayer" },
		"expires":                func(c *Config) { c.Expires = time.Second },
		"no route":               func(c *Config) { c.Route = nil },
	} {
		c := good
		change(&c)
		if _, err := New(c, tell); err == nil || !strings.HasPrefix(err.Error(), "line 1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
