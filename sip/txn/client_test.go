package txn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		done := make(chan int, 1)
		go func() {
			res, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.REGISTER, "Subject: x"), 4*time.Second)
			if err != nil {
				t.Error(err)
			}
			done <- res.StatusCode
		}()
		req := far.request(sip.REGISTER)
		via := req.Via()
		// RFC 3581 section 3: "the client [...] MUST insert an "rport" parameter into the top Via header field"
		if via.Host != us.String() || via.Port != int(here.Port()) || via.Transport != "UDP" || !via.Params.Has("rport") {
			t.Errorf("Via: %s", via.Value())
		}
		if branch, _ := via.Params.Get("branch"); !strings.HasPrefix(branch, "z9hG4bK") || len(branch) < 20 {
			t.Errorf("branch %q", branch)
		}
		if req.MaxForwards() == nil || req.ContentLength() == nil {
			t.Error("Max-Forwards or Content-Length is missing")
		}
		// It comes again, and is the same.
		again := far.request(sip.REGISTER)
		if again.String() != req.String() || far.at() != 500*time.Millisecond {
			t.Errorf("after %v again:\n%v", far.at(), again)
		}
		// The final response comes three times: it is delivered once, and the
		// others answer nothing and are counted. (sipgo drops the transaction
		// at once too, and logs each as unhandled.)
		for range 3 {
			far.answer(req, 200, "x")
		}
		if code := <-done; code != 200 {
			t.Errorf("got %d", code)
		}
		synctest.Wait()
		if c := l.Counters(); c.Stray > 2 {
			t.Errorf("%+v", c)
		}
		far.silence(time.Minute)
	})
}

// sipgo's timers are package variables read when a transaction starts: all
// wait 32 s, or all are set anew while others run.
func TestQuietIsOfEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		network.listen(proxy)
		l := openLine(t, network, nil)
		for _, tc := range []struct{ quiet, want time.Duration }{
			{time.Second, time.Second},
			{4 * time.Second, 4 * time.Second},
			{0, 32 * time.Second},
			{time.Hour, 32 * time.Second},
		} {
			start := time.Now()
			if _, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.OPTIONS), tc.quiet); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("quiet %v: %v", tc.quiet, err)
			}
			if got := time.Since(start); got != tc.want {
				t.Errorf("Do with quiet %v gave up after %v, want %v", tc.quiet, got, tc.want)
			}
			i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), tc.quiet)
			start = time.Now()
			if err := ended(t, i); !errors.Is(err, ErrNoAnswer) {
				t.Errorf("quiet %v: %v", tc.quiet, err)
			}
			if got := time.Since(start); got != tc.want {
				t.Errorf("INVITE with quiet %v gave up after %v, want %v", tc.quiet, got, tc.want)
			}
		}
		// A provisional response ends the quiet, not the patience.
		far := network.udp(t, other)
		done := make(chan error)
		go func() {
			_, err := l.Do(t.Context(), at(other, outbound.UDP), ours(sip.OPTIONS), time.Second)
			done <- err
		}()
		far.answer(far.request(sip.OPTIONS), 100, "")
		if err := <-done; !errors.Is(err, ErrNoAnswer) || far.at() != 32*time.Second {
			t.Errorf("after %v: %v", far.at(), err)
		}
	})
}

// A request may be sent at a pace of its own: quickly, slowly, or once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ms := func(n ...int) (d []time.Duration) {
			for _, n := range n {
				d = append(d, time.Duration(n)*time.Millisecond)
			}
			return d
		}
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		for _, tc := range []struct {
			name string
			pace outbound.Pace
			want []time.Duration
		}{
			{"RFC 3261", outbound.Pace{Quiet: 16 * time.Second}, ms(0, 500, 1500, 3500, 7500, 11500, 15500)},
			{"quick", outbound.Pace{T1: 200 * time.Millisecond, T2: 300 * time.Millisecond, Quiet: time.Second}, ms(0, 200, 500, 800)},
			{"slow", outbound.Pace{T1: 2 * time.Second, T2: 8 * time.Second, Quiet: 32 * time.Second}, ms(0, 2000, 6000, 14000, 22000, 30000)},
			{"once", outbound.Pace{T1: time.Second, Quiet: time.Second}, ms(0)},
		} {
			for _, method := range []sip.RequestMethod{sip.OPTIONS, sip.INVITE} {
				if method == sip.INVITE && tc.pace.T2 == 0 && tc.pace.T1 == 0 {
					continue // timer A has no bound: TestQuietIsOfEachRequest
				}
				start := time.Now()
				if method == sip.INVITE {
					l.InviteAt(t.Context(), at(proxy, outbound.UDP), ours(method), tc.pace)
				} else {
					go l.DoAt(t.Context(), at(proxy, outbound.UDP), ours(method), tc.pace)
				}
				var got []time.Duration
				for range tc.want {
					far.request(method)
					got = append(got, time.Since(start))
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("%s, %s: sent at %v, want %v", tc.name, method, got, tc.want)
				}
				far.silence(40 * time.Second)
			}
		}
	})
}

func TestDoEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		network.listen(proxy)
		l := openLine(t, network, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Do(ctx, at(proxy, outbound.UDP), ours(sip.OPTIONS), 4*time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.AfterFunc(time.Second, func() { l.Close() })
		if _, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.OPTIONS), 4*time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if _, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.OPTIONS), 4*time.Second); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := ended(t, l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 0)); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

// sipgo does not hear ICMP at all: timer B, 32 s.
func TestDeadAddressFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		l := openLine(t, network, nil)
		start := time.Now()
		var f transport.Fault
		if _, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.REGISTER), 4*time.Second); !errors.As(err, &f) || f.Addr != proxy {
			t.Errorf("Do: %v", err)
		}
		if err := ended(t, l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)); !errors.As(err, &f) || f.Kind != transport.Unreachable {
			t.Errorf("Invite: %v", err)
		}
		if _, err := l.Do(t.Context(), at(proxy, outbound.TCP), ours(sip.REGISTER), 4*time.Second); !errors.As(err, &f) || f.Kind != transport.Refused {
			t.Errorf("Do over TCP: %v", err)
		}
		if err := ended(t, l.Invite(t.Context(), at(proxy, outbound.TCP), ours(sip.INVITE), 4*time.Second)); !errors.As(err, &f) || f.Kind != transport.Refused {
			t.Errorf("Invite over TCP: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// sipgo waits for the end of the transaction's own timers when the peer has
// closed the connection (unless told otherwise), 32 s.
func TestLostConnectionFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		accept := network.serve(proxy)
		l := openLine(t, network, nil)
		results := make(chan error, 3)
		go func() {
			_, err := l.Do(t.Context(), at(proxy, outbound.TCP), ours(sip.REGISTER), 4*time.Second)
			results <- err
		}()
		c := <-accept
		far := tcpEnd(t, c, proxy)
		far.request(sip.REGISTER)
		i := l.Invite(t.Context(), at(proxy, outbound.TCP), ours(sip.INVITE), 4*time.Second)
		invite := far.request(sip.INVITE)
		if v := invite.Via(); v.Transport != "TCP" || v.Port != 50001 {
			t.Errorf("Via: %s", v.Value())
		}
		far.answer(invite, 180, "a")
		if got := codes(t, i, 1); got[0] != 180 {
			t.Errorf("got %v", got)
		}
		far.put([]byte(strings.Replace(theirs("INVITE", "z9hG4bK.in"), "UDP", "TCP", 1)))
		incoming := l.asked(t)
		start := time.Now()
		c.Close()
		var f transport.Fault
		if err := <-results; !errors.As(err, &f) || f.Kind != transport.Lost {
			t.Errorf("Do: %v", err)
		}
		if err := ended(t, i); !errors.As(err, &f) || f.Kind != transport.Lost {
			t.Errorf("Invite: %v", err)
		}
		<-incoming.Cancelled()
		if err := incoming.Respond(incoming.Response(200, "", nil)); !errors.Is(err, ErrAnswered) {
			t.Errorf("answer to a caller that is gone: %v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// A connection that nothing comes over any more is not used again.
func TestSilentConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		accept := network.serve(proxy)
		l := openLine(t, network, nil)
		go func() {
			for c := range accept {
				go func() { // reads, says nothing
					buf := make([]byte, 1000)
					for {
						if _, err := c.Read(buf); err != nil {
							return
						}
					}
				}()
			}
		}()
		defer close(accept)
		if _, err := l.Do(t.Context(), at(proxy, outbound.TCP), ours(sip.REGISTER), 4*time.Second); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("got %v", err)
		}
		if f := <-l.faults; f.Kind != transport.Lost {
			t.Errorf("got %v", f)
		}
		l.Close()
	})
}

// With plain sipgo on one processor only the last of a burst is delivered, in
// 100 of 100 runs: it starts a goroutine for each message.
func TestOrder(t *testing.T) {
	for _, procs := range []int{1, 2} {
		t.Run(fmt.Sprint("GOMAXPROCS=", procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			to := at(netip.MustParseAddrPort(c.LocalAddr().String()), outbound.UDP)
			l := openLine(t, &kernel{}, nil)
			want := []int{100, 183, 180, 200}
			for run := range 100 {
				i := l.Invite(t.Context(), to, ours(sip.INVITE), 20*time.Second)
				buf := make([]byte, 4096)
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					t.Fatal(err)
				}
				msg, err := sip.ParseMessage(buf[:n])
				if err != nil {
					t.Fatal(err)
				}
				for _, code := range want {
					c.WriteTo([]byte(sip.NewResponseFromRequest(msg.(*sip.Request), code, "x", nil).String()), from)
				}
				if got := codes(t, i, len(want)); !slices.Equal(got, want) {
					t.Fatalf("run %d: got %v, want %v", run, got, want)
				}
			}
		})
	}
}

type kernel struct {
	net.ListenConfig
	net.Dialer
}

// sipgo's WaitAnswer gives up after ten and leaves the INVITE alive.
func TestManyProvisionalResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		req := far.request(sip.INVITE)
		for range 40 { // 40 minutes: nothing limits how long a phone rings
			far.answer(req, 180, "a")
			if got := codes(t, i, 1); got[0] != 180 {
				t.Fatalf("got %v", got)
			}
			time.Sleep(time.Minute)
		}
		far.answer(req, 200, "a")
		if got := codes(t, i, 1); got[0] != 200 {
			t.Fatalf("got %v", got)
		}
		far.silence(time.Second)
	})
}

func TestInviteRetransmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 0)
		// RFC 3261 section 17.1.1.2: "When timer A fires, the client transaction MUST
		// retransmit the request [...] and MUST reset the timer with a value of 2*T1."
		for _, want := range []time.Duration{0, 500, 1500, 3500, 7500, 15500, 31500} {
			far.request(sip.INVITE)
			if far.at() != want*time.Millisecond {
				t.Errorf("at %v, want %v ms", far.at(), want)
			}
		}
		if err := ended(t, i); !errors.Is(err, ErrNoAnswer) || far.at() != 32*time.Second {
			t.Errorf("at %v: %v", far.at(), err)
		}
		far.silence(time.Minute)
	})
}

// sipgo's CANCEL ignores where the INVITE was sent and takes the Record-Route
// of a provisional response for its Route: it goes to a name in DNS, or nowhere.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE, "Route: <sip:edge.example.net;lr>"), 4*time.Second)
		invite := far.request(sip.INVITE)
		// RFC 3261 section 9.1: "If no provisional response has been received, the
		// CANCEL request MUST NOT be sent; rather, the client MUST wait for the
		// arrival of a provisional response before sending the request."
		i.Cancel()
		again := far.request(sip.INVITE)
		if again.String() != invite.String() {
			t.Error("a retransmission is another message")
		}
		far.answer(invite, 180, "a", "Record-Route: <sip:rr1.example.invalid;lr>")
		cancel := far.request(sip.CANCEL)
		if cancel.Recipient.String() != invite.Recipient.String() || cancel.CSeq().SeqNo != 7 || cancel.Via().Value() != invite.Via().Value() ||
			cancel.To().Value() != invite.To().Value() || cancel.From().Value() != invite.From().Value() || *cancel.CallID() != *invite.CallID() ||
			cancel.Route().Value() != "<sip:edge.example.net;lr>" || len(cancel.GetHeaders("route")) != 1 || len(cancel.GetHeaders("via")) != 1 || cancel.Contact() != nil {
			t.Errorf("CANCEL does not follow its INVITE:\n%v", cancel)
		}
		far.answer(cancel, 200, "a")
		far.answer(invite, 487, "a")
		ack := far.request(sip.ACK)
		if ack.Via().Value() != invite.Via().Value() || ack.CSeq().SeqNo != 7 || tag(ack.To()) != "a" || ack.Route() == nil {
			t.Errorf("ACK:\n%v", ack)
		}
		if got := codes(t, i, 9); !slices.Equal(got, []int{180, 487}) || i.Err() != nil {
			t.Errorf("got %v, %v", got, i.Err())
		}
		far.silence(time.Minute)
	})
}

func TestCancelBeforeAnyResponseThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		network.listen(proxy)
		l := openLine(t, network, nil)
		ctx, cancel := context.WithCancel(t.Context())
		i := l.Invite(ctx, at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := ended(t, i); !errors.Is(err, ErrCancelled) || time.Since(start) != 4*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// RFC 3261 section 9.1: a CANCEL that is not honoured ends the wait after 64*T1.
func TestCancelIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		invite := far.request(sip.INVITE)
		far.answer(invite, 180, "a")
		codes(t, i, 1)
		i.Cancel()
		far.answer(far.request(sip.CANCEL), 200, "a")
		start := time.Now()
		if err := ended(t, i); !errors.Is(err, ErrCancelled) || time.Since(start) != 32*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		// Answered all the same.
		far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>")
		far.request(sip.ACK)
		far.answer(far.request(sip.BYE), 200, "a")
		far.silence(time.Minute)
	})
}

// The CANCEL has crossed with the answer.
func TestCancelTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE, "Proxy-Authorization: Digest x"), 4*time.Second)
		invite := far.request(sip.INVITE)
		far.answer(invite, 180, "a")
		codes(t, i, 1)
		i.Cancel()
		far.answer(far.request(sip.CANCEL), 481, "a")
		far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>", "Record-Route: <sip:first.example.net;lr>", "Record-Route: <sip:second.example.net;lr>")
		checkAckBye(t, far, invite)
		if err := ended(t, i); !errors.Is(err, ErrCancelled) {
			t.Errorf("got %v", err)
		}
		// The 200 again: the ACK again, no second BYE.
		far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>")
		far.request(sip.ACK)
		far.silence(time.Minute)
	})
}

// checkAckBye takes the ACK and the BYE of a call that nobody wants.
func checkAckBye(t *testing.T, far *farEnd, invite *sip.Request) {
	t.Helper()
	ack := far.request(sip.ACK)
	// RFC 3261 section 12.1.2: "The route set MUST be set to the list of URIs in
	// the Record-Route header field from the response, taken in reverse order".
	// 13.2.2.4: "The ACK MUST contain the same credentials as the INVITE."
	if ack.Recipient.String() != "sip:bob@192.0.2.9:5070" || ack.CSeq().SeqNo != 7 || tag(ack.To()) != "a" ||
		ack.Via().Value() == invite.Via().Value() || ack.GetHeader("Proxy-Authorization") == nil {
		t.Errorf("ACK:\n%v", ack)
	}
	bye := far.request(sip.BYE)
	if bye.Recipient.String() != "sip:bob@192.0.2.9:5070" || bye.CSeq().SeqNo != 8 || tag(bye.To()) != "a" || tag(bye.From()) != "our-tag" {
		t.Errorf("BYE:\n%v", bye)
	}
	for _, req := range []*sip.Request{ack, bye} {
		routes := req.GetHeaders("route")
		if len(routes) != 2 || routes[0].Value() != "<sip:second.example.net;lr>" || routes[1].Value() != "<sip:first.example.net;lr>" {
			t.Errorf("%s by %v", req.Method, routes)
		}
	}
	far.answer(bye, 200, "a")
}

// sipgo shows a late 200 to an "unhandled response" function, or drops it: the
// callee's phone is off the hook to nobody, and the caller pays for two calls.
func TestLateAnswerAfterFailover(t *testing.T) {
	const rr = "Record-Route: <sip:first.example.net;lr>"
	for _, tc := range []struct {
		name string
		how  func(*testing.T, *line, *Invite)
		err  error
	}{
		{"no answer", func(t *testing.T, l *line, i *Invite) { time.Sleep(5 * time.Second) }, ErrNoAnswer},
		{"abandoned", func(t *testing.T, l *line, i *Invite) { i.Abandon() }, ErrAbandoned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newMemNet()
				far := network.udp(t, proxy)
				l := openLine(t, network, nil)
				i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE, "Proxy-Authorization: Digest x"), 4*time.Second)
				invite := far.request(sip.INVITE)
				tc.how(t, l, i)
				if err := ended(t, i); !errors.Is(err, tc.err) {
					t.Errorf("got %v, want %v", err, tc.err)
				}
				for far.t0 = time.Now(); ; { // what was sent meanwhile
					if _, err := far.get(time.Minute); err != nil {
						break
					}
				}
				if tc.name == "abandoned" && far.at() > time.Minute {
					t.Error("an abandoned INVITE is sent again")
				}
				// The proxy wakes up: the phone at the other end must not ring on.
				far.answer(invite, 180, "a")
				cancel := far.request(sip.CANCEL)
				far.answer(cancel, 200, "a")
				far.answer(invite, 180, "a")
				// And somebody was faster.
				far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>", rr, "Record-Route: <sip:second.example.net;lr>")
				checkAckBye(t, far, invite)
				// Another fork refuses.
				far.answer(invite, 486, "b")
				if ack := far.request(sip.ACK); tag(ack.To()) != "b" || ack.Via().Value() != invite.Via().Value() {
					t.Errorf("ACK:\n%v", ack)
				}
				// In the end it is forgotten.
				far.silence(lingering)
				far.answer(invite, 200, "c", "Contact: <sip:bob@192.0.2.9:5070>")
				far.silence(time.Minute)
			})
		})
	}
}

func TestAbandonWhileRinging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		far.answer(far.request(sip.INVITE), 180, "a")
		codes(t, i, 1)
		i.Abandon()
		far.answer(far.request(sip.CANCEL), 200, "a")
		if err := ended(t, i); !errors.Is(err, ErrAbandoned) {
			t.Errorf("got %v", err)
		}
	})
}

// The BYE of a call nobody wants may be challenged like any other.
func TestLateByeIsAuthenticated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, func(c *Config) {
			c.Retry = func(bye *sip.Request, challenge *sip.Response) *sip.Request {
				again := bye.Clone()
				again.CSeq().SeqNo++
				again.AppendHeader(sip.NewHeader("Proxy-Authorization", "Digest y"))
				return again
			}
		})
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		invite := far.request(sip.INVITE)
		i.Abandon()
		ended(t, i)
		far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>")
		far.request(sip.ACK)
		bye := far.request(sip.BYE)
		far.answer(bye, 407, "a")
		again := far.request(sip.BYE)
		if again.GetHeader("Proxy-Authorization") == nil || len(again.GetHeaders("via")) != 1 || again.Via().Value() == bye.Via().Value() {
			t.Errorf("BYE:\n%v", again)
		}
		far.answer(again, 200, "a")
	})
}

// sipgo's TransactionLayer answers a fork's 2xx with the ACK of the first.
func TestRetransmittedAndForkedAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		to := at(proxy, outbound.UDP)
		i := l.Invite(t.Context(), to, ours(sip.INVITE), 4*time.Second)
		invite := far.request(sip.INVITE)
		far.answer(invite, 200, "a", "Contact: <sip:a@192.0.2.9>")
		first := <-i.Responses()
		// Again before its owner has acknowledged it: nothing can be sent yet.
		far.answer(invite, 200, "a", "Contact: <sip:a@192.0.2.9>")
		far.silence(time.Second)
		l.Ack(to, successAck(invite, first))
		ack := far.request(sip.ACK)
		far.answer(invite, 200, "b", "Contact: <sip:b@192.0.2.10>")
		second := <-i.Responses()
		if tag(first.To()) != "a" || tag(second.To()) != "b" {
			t.Errorf("%v and %v", first.To(), second.To())
		}
		l.Ack(to, successAck(invite, second))
		if ack := far.request(sip.ACK); tag(ack.To()) != "b" || ack.Recipient.User != "b" {
			t.Errorf("ACK:\n%v", ack)
		}
		// RFC 3261 section 13.2.2.4: "The ACK is passed to the transport every time a
		// retransmission of the 2xx final response that triggered the ACK arrives."
		for range 3 {
			far.answer(invite, 200, "a", "Contact: <sip:a@192.0.2.9>")
			if again := far.request(sip.ACK); again.String() != ack.String() {
				t.Errorf("another ACK:\n%v\nwas\n%v", again, ack)
			}
		}
		start := time.Now()
		if err := ended(t, i); err != nil || time.Since(start) > 32*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		far.silence(time.Minute)
	})
}

// After the call its owner reads no more; a fork that answers is ended for him.
func TestForkAfterTheOwnerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		to := at(proxy, outbound.UDP)
		i := l.Invite(t.Context(), to, ours(sip.INVITE, "Proxy-Authorization: Digest x"), 4*time.Second)
		invite := far.request(sip.INVITE)
		far.answer(invite, 200, "first", "Contact: <sip:a@192.0.2.9>")
		l.Ack(to, successAck(invite, <-i.Responses()))
		far.request(sip.ACK)
		i.Abandon()
		if err := ended(t, i); err != nil {
			t.Errorf("got %v", err)
		}
		far.answer(invite, 200, "a", "Contact: <sip:bob@192.0.2.9:5070>", "Record-Route: <sip:first.example.net;lr>", "Record-Route: <sip:second.example.net;lr>")
		checkAckBye(t, far, invite)
	})
}

// sipgo sleeps four seconds with its lock held when a refusal comes again; an
// ordered reader would stand still for as long.
func TestRetransmittedRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 4*time.Second)
		invite := far.request(sip.INVITE)
		for range 5 {
			far.answer(invite, 486, "a")
			far.request(sip.ACK)
		}
		if far.at() != 0 {
			t.Errorf("five ACKs took %v", far.at())
		}
		if got := codes(t, i, 9); !slices.Equal(got, []int{486}) || i.Err() != nil {
			t.Errorf("got %v, %v", got, i.Err())
		}
	})
}

func TestInjectionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		to := at(proxy, outbound.UDP)
		if _, err := l.Do(t.Context(), to, ours(sip.MESSAGE, "Subject: x\r\nX-Evil: 1"), 0); !errors.Is(err, transport.ErrInjection) {
			t.Errorf("Do: %v", err)
		}
		if err := ended(t, l.Invite(t.Context(), to, ours(sip.INVITE, "Subject: x\nX-Evil: 1"), 0)); !errors.Is(err, transport.ErrInjection) {
			t.Errorf("Invite: %v", err)
		}
		far.put([]byte(theirs("OPTIONS", "z9hG4bK.1")))
		s := l.asked(t)
		if err := s.Respond(s.Response(200, "OK\r\nX-Evil: 1", nil)); !errors.Is(err, transport.ErrInjection) {
			t.Errorf("Respond: %v", err)
		}
		// It can still be answered well.
		if err := s.Respond(s.Response(200, "", nil)); err != nil {
			t.Error(err)
		}
		far.response(200)
		far.silence(time.Minute)
	})
}

func TestBadResponsesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		done := make(chan error, 1)
		go func() {
			_, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.OPTIONS), 4*time.Second)
			done <- err
		}()
		req := far.request(sip.OPTIONS)
		res := sip.NewResponseFromRequest(req, 200, "OK", nil).String()
		for name, bad := range map[string]string{
			"no Call-ID":     strings.Replace(res, "Call-ID", "X-ID", 1),
			"version":        strings.Replace(res, "SIP/2.0 200", "SIP/7.0 200", 1),
			"status":         strings.Replace(res, "SIP/2.0 200", "SIP/2.0 1200", 1),
			"two Vias":       strings.Replace(res, "From: ", "Via: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: ", 1),
			"another branch": strings.Replace(res, "z9hG4bK.", "z9hG4bK.x", 1),
			"another method": strings.Replace(res, "7 OPTIONS", "7 REGISTER", 1),
			"line end":       strings.Replace(res, "Call-ID: ", "Contact: <sip:a@b>;x=\"\nX-Evil: 1\"\r\nCall-ID: ", 1),
			"truncated":      strings.Replace(res, "Content-Length: 0", "Content-Length: 9", 1),
		} {
			far.put([]byte(bad))
			synctest.Wait()
			select {
			case err := <-done:
				t.Fatalf("%s: taken for a response (%v)", name, err)
			default:
			}
		}
		far.put([]byte(strings.NewReplacer("CSeq: 7 OPTIONS", "CSeq: 7  OPTIONS", ";tag=", " ; tag = ").Replace(res)))
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
