package txn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// sipgo waits max(2*T1, T2) before it repeats a 2xx, starts its limit anew
// each time, and in the end does nothing.
func TestAnswerIsRepeatedUntilAcknowledged(t *testing.T) {
	for _, tr := range []outbound.Transport{outbound.UDP, outbound.TCP} {
		t.Run(tr.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newMemNet()
				l := openLine(t, network, nil)
				var far *farEnd
				via := "UDP"
				if tr == outbound.UDP {
					far = network.udp(t, proxy)
				} else {
					accept := network.serve(proxy)
					if _, err := l.Transport().Connect(t.Context(), at(proxy, tr)); err != nil {
						t.Fatal(err)
					}
					far, via = tcpEnd(t, <-accept, proxy), "TCP"
				}
				far.put([]byte(strings.Replace(theirs("INVITE", "z9hG4bK.1"), "UDP", via, 1)))
				s := l.asked(t)
				far.t0 = time.Now()
				if err := s.Respond(s.Response(200, "", []byte("v=0\r\n"))); err != nil {
					t.Fatal(err)
				}
				// RFC 3261 section 13.3.1.4: "an interval that starts at T1 seconds and doubles
				// for each retransmission until it reaches T2 seconds [...] This is independent
				// of whatever transport protocols are used to send the response."
				for _, want := range []int{0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500} {
					res := far.response(200)
					if far.at() != time.Duration(want)*time.Millisecond || tag(res.To()) != s.Tag() {
						t.Errorf("at %v, want %d ms", far.at(), want)
					}
				}
				// "If the server retransmits the 2xx response for 64*T1 seconds without
				// receiving an ACK, [...] the session SHOULD be terminated."
				if ack, ok := <-s.Acked(); ok || far.at() != 32*time.Second {
					t.Errorf("at %v: %v", far.at(), ack)
				}
				far.silence(time.Minute)

				// The next one is acknowledged.
				far.put([]byte(strings.Replace(theirs("INVITE", "z9hG4bK.2", "CSeq: 2 INVITE"), "UDP", via, 1)))
				s = l.asked(t)
				s.Respond(s.Response(200, "", nil))
				far.response(200)
				far.response(200)
				ack := strings.Replace(theirs("ACK", "z9hG4bK.3", "CSeq: 2 ACK", "To: <sip:100@example.net>;tag="+s.Tag()), "UDP", via, 1)
				far.put([]byte(ack))
				far.put([]byte(ack))
				if got, ok := <-s.Acked(); !ok || got.Method != sip.ACK {
					t.Errorf("got %v", got)
				}
				if _, ok := <-s.Acked(); ok {
					t.Error("the ACK is delivered twice")
				}
				// A caller who has missed our 200 asks again; nothing is rung twice.
				far.put([]byte(strings.Replace(theirs("INVITE", "z9hG4bK.2", "CSeq: 2 INVITE"), "UDP", via, 1)))
				far.silence(time.Minute)
				if len(l.requests) != 0 {
					t.Error("a repetition was delivered")
				}
				if err := s.Respond(s.Response(200, "", nil)); !errors.Is(err, ErrAnswered) {
					t.Errorf("second answer: %v", err)
				}
			})
		})
	}
}

func TestRequestIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		raw := theirs("OPTIONS", "z9hG4bK.1")
		far.put([]byte(raw))
		far.put([]byte(raw)) // before there is an answer
		s := l.asked(t)
		if s.From() != proxy || s.Request().Method != sip.OPTIONS {
			t.Errorf("%v from %v", s.Request(), s.From())
		}
		s.Respond(s.Response(200, "", nil))
		first := far.response(200)
		for range 3 {
			far.put([]byte(raw))
			// RFC 3261 section 17.2.2: "While in the Completed state, the server transaction
			// MUST pass the final response to the transport layer for retransmission whenever
			// a retransmission of the request is received."
			if again := far.response(200); again.String() != first.String() {
				t.Errorf("another answer:\n%v", again)
			}
		}
		if len(l.requests) != 0 {
			t.Error("a repetition was delivered")
		}
	})
}

// sipgo draws a new To tag for every response it builds, that of its own 487
// included.
func TestOneTagForAllResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		far.put([]byte(theirs("INVITE", "z9hG4bK.1")))
		s := l.asked(t)
		// RFC 3261 section 17.2.1: "If [...] the TU will [not] generate a provisional or
		// final response within 200 ms", 100 is sent.
		far.response(100)
		if far.at() != 200*time.Millisecond {
			t.Errorf("100 after %v", far.at())
		}
		s.Respond(s.Response(180, "", nil))
		s.Respond(sip.NewResponseFromRequest(s.Request(), 183, "Session Progress", nil))
		for _, code := range []int{180, 183} {
			if res := far.response(code); tag(res.To()) != s.Tag() {
				t.Errorf("%d has tag %q, want %q", code, tag(res.To()), s.Tag())
			}
		}
		far.put([]byte(theirs("CANCEL", "z9hG4bK.1", "CSeq: 1 CANCEL")))
		// RFC 3261 section 9.2: "the To tag of the response to the CANCEL and the To tag
		// in the response to the original request SHOULD be the same."
		for _, want := range []int{200, 487} {
			if res := far.response(want); tag(res.To()) != s.Tag() {
				t.Errorf("%d has tag %q, want %q", want, tag(res.To()), s.Tag())
			}
		}
		<-s.Cancelled()
		if _, ok := <-s.Acked(); ok {
			t.Error("an ACK from nowhere")
		}
		if err := s.Respond(s.Response(200, "", nil)); !errors.Is(err, ErrAnswered) {
			t.Errorf("answer after CANCEL: %v", err)
		}
		// The CANCEL again: its answer again. The 487 is repeated until its ACK comes.
		far.put([]byte(theirs("CANCEL", "z9hG4bK.1", "CSeq: 1 CANCEL")))
		far.response(200)
		far.response(487)
		far.put([]byte(theirs("ACK", "z9hG4bK.1", "CSeq: 1 ACK", "To: <sip:100@example.net>;tag="+s.Tag())))
		far.silence(time.Minute)
		// A CANCEL of nothing.
		far.put([]byte(theirs("CANCEL", "z9hG4bK.9", "CSeq: 9 CANCEL")))
		far.response(481)
	})
}

func TestCancelAfterTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		far.put([]byte(theirs("INVITE", "z9hG4bK.1")))
		s := l.asked(t)
		s.Respond(s.Response(200, "", nil))
		far.response(200)
		far.put([]byte(theirs("CANCEL", "z9hG4bK.1", "CSeq: 1 CANCEL")))
		// RFC 3261 section 9.2: "If it has already sent a final response for the original
		// request, no processing is performed on the original request" beside the 200.
		if res := far.response(200); res.CSeq().MethodName != sip.CANCEL {
			t.Errorf("got %v", res)
		}
		select {
		case <-s.Cancelled():
			t.Error("a call that was answered is cancelled")
		default:
		}
	})
}

func TestResponsesFollowTheVia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		fifth := network.udp(t, netip.AddrPortFrom(proxy.Addr(), 5090))
		l := openLine(t, network, nil)
		ask := func(via string) {
			far.put([]byte(theirs("OPTIONS", "", "Via: "+via)))
			s := l.asked(t)
			s.Respond(s.Response(200, "", nil))
		}
		// RFC 3581 section 4: "the server MUST populate the value of the parameter with
		// the source port of the request", and answer there.
		ask("SIP/2.0/UDP inside.example.net:5090;branch=z9hG4bK.1;rport")
		if v := far.response(200).Via().Value(); !strings.Contains(v, "rport=5060") || !strings.Contains(v, "received=192.0.2.7") {
			t.Errorf("Via: %s", v)
		}
		// RFC 3261 section 18.2.2: without it, to the source address and the Via's port.
		ask("SIP/2.0/UDP inside.example.net:5090;branch=z9hG4bK.2")
		if v := fifth.response(200).Via().Value(); !strings.Contains(v, "received=192.0.2.7") {
			t.Errorf("Via: %s", v)
		}
		ask("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK.3")
		if v := far.response(200).Via().Value(); strings.Contains(v, "received") {
			t.Errorf("Via: %s", v)
		}
		// A way of several hops is shown backwards as it came.
		ask("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK.4, SIP/2.0/TCP far.example.net;branch=z9hG4bK.5")
		if vias := far.response(200).GetHeaders("via"); len(vias) != 2 || !strings.Contains(vias[1].Value(), "far.example.net") {
			t.Errorf("Vias: %v", vias)
		}
	})
}

// sipgo takes all of these; see RFC 4475.
func TestMalformedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		const silent, delivered = -1, 0
		for n, tc := range []struct {
			name    string
			headers []string
			want    int
		}{
			{"as it should be", nil, delivered},
			{"no From", []string{"From: "}, 400},
			{"no To", []string{"To: "}, 400},
			{"no Call-ID", []string{"Call-ID: "}, 400},
			{"no CSeq", []string{"CSeq: "}, 400},
			{"no Via", []string{"Via: "}, silent},
			{"no From tag", []string{"From: <sip:200@example.net>"}, 400},
			{"no Max-Forwards", []string{"Max-Forwards: "}, delivered},
			// RFC 4475 section 3.3.11: "An endpoint should process the request as if the
			// Max-Forwards field value were still positive."
			{"Max-Forwards 0", []string{"Max-Forwards: 0"}, delivered},
			{"two From", []string{"From: <sip:a@b>;tag=1\r\nFrom: <sip:c@d>;tag=2"}, 400},
			{"two From, one compact", []string{"From: <sip:a@b>;tag=1\r\nf: <sip:c@d>;tag=2"}, 400},
			{"two To", []string{"To: <sip:a@b>\r\nt: <sip:c@d>"}, 400},
			{"two Call-ID", []string{"Call-ID: 1\r\ni: 2"}, 400},
			{"two CSeq", []string{"CSeq: 1 OPTIONS\r\nCSeq: 2 OPTIONS"}, 400},
			{"two Max-Forwards", []string{"Max-Forwards: 1\r\nMax-Forwards: 2"}, 400},
			{"two Content-Length", []string{"Content-Length: 0\r\nl: 0"}, 400},
			{"two Content-Type", []string{"Content-Type: a/b\r\nc: d/e"}, 400},
			{"CSeq of another method", []string{"CSeq: 1 INVITE"}, 400},
			{"Content-Length above the body", []string{"Content-Length: 9999"}, 400},
			{"another version", []string{"line: OPTIONS sip:100@192.0.2.100 SIP/7.0"}, 505},
			{"version in lower case", []string{"line: OPTIONS sip:100@192.0.2.100 sip/2.0"}, delivered},
			{"unknown scheme", []string{"line: OPTIONS nobody:100@192.0.2.100 SIP/2.0"}, 416},
			{"telephone number", []string{"line: OPTIONS tel:+15550100 SIP/2.0"}, delivered},
			{"white space", []string{"From: <sip:200@example.net> ; tag = 98asjd8", "CSeq: 1   OPTIONS"}, delivered},
			{"a line end in a value", []string{"From: \"a\nX-Evil: 1\" <sip:200@example.net>;tag=1"}, silent},
			{"a NUL in a value", []string{"Subject: a\x00b"}, silent},
			{"branch of RFC 2543", []string{"Via: SIP/2.0/UDP 192.0.2.7:5060;branch=0"}, delivered},
		} {
			raw := theirs("OPTIONS", fmt.Sprint("z9hG4bK.", n), append([]string{fmt.Sprint("Call-ID: call", n)}, tc.headers...)...)
			far.put([]byte(raw))
			far.put([]byte("\r\n")) // sipgo has done with the one before when this is read
			synctest.Wait()
			select {
			case s := <-l.requests:
				if tc.want != delivered {
					t.Errorf("%s: delivered, want %d", tc.name, tc.want)
				}
				if tc.name == "white space" && (tag(s.Request().From()) != "98asjd8" || s.Request().CSeq().MethodName != "OPTIONS") {
					t.Errorf("%s: tag %q, method %q", tc.name, tag(s.Request().From()), s.Request().CSeq().MethodName)
				}
				s.Respond(s.Response(200, "", nil))
				far.response(200)
				continue
			default:
			}
			b, err := far.get(time.Second)
			got := silent
			if err == nil {
				msg, _ := sip.ParseMessage(b)
				got = msg.(*sip.Response).StatusCode
			}
			if got != tc.want {
				t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
			}
		}
		// RFC 3261 section 8.2.7: stateless, the same again.
		raw := theirs("OPTIONS", "z9hG4bK.same", "CSeq: 1 INVITE")
		far.put([]byte(raw))
		far.put([]byte(raw))
		if a, b := far.response(400), far.response(400); a.String() != b.String() || tag(a.To()) == "" {
			t.Errorf("%v\nand\n%v", a, b)
		}
		// What has no dialog and needs one.
		for _, m := range []string{"BYE", "PRACK", "UPDATE"} {
			far.put([]byte(theirs(m, "z9hG4bK."+m)))
			far.response(481)
		}
		// An ACK is never answered.
		far.put([]byte(theirs("ACK", "z9hG4bK.ack", "From: ")))
		far.put([]byte(theirs("ACK", "z9hG4bK.ack2")))
		far.silence(time.Minute)
	})
}

func TestMergedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		far.put([]byte(theirs("INVITE", "z9hG4bK.1")))
		s := l.asked(t)
		s.Respond(s.Response(180, "", nil))
		far.response(180)
		far.put([]byte(theirs("INVITE", "z9hG4bK.2")))
		far.response(482)
		// In a dialog, and with another CSeq, it is another request.
		far.put([]byte(theirs("INVITE", "z9hG4bK.3", "CSeq: 2 INVITE")))
		l.asked(t)
		far.put([]byte(theirs("INVITE", "z9hG4bK.4", "To: <sip:100@example.net>;tag=x")))
		if s := l.asked(t); s.Tag() != "x" {
			t.Errorf("tag %q in dialog x", s.Tag())
		}
	})
}

// sipgo holds each request for 32 s, 3.5 KB, without a limit.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		l := openLine(t, network, nil)
		held := func() int {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.servers)
		}
		// A proxy that asks all the time gets all answers.
		for n := range 100 {
			far.put([]byte(theirs("OPTIONS", fmt.Sprint("z9hG4bK.o", n), fmt.Sprint("Call-ID: o", n))))
			s := l.asked(t)
			s.Respond(s.Response(200, "", nil))
			far.response(200)
		}
		if n := held(); n > maxServers {
			t.Errorf("%d requests held, want at most %d", n, maxServers)
		}
		// Calls, one after the other, all answered and acknowledged.
		for n := range 100 {
			time.Sleep(100 * time.Millisecond)
			id := fmt.Sprint("Call-ID: c", n)
			far.put([]byte(theirs("INVITE", fmt.Sprint("z9hG4bK.c", n), id)))
			s := l.asked(t)
			s.Respond(s.Response(200, "", nil))
			far.response(200)
			far.put([]byte(theirs("ACK", fmt.Sprint("z9hG4bK.a", n), id, "To: <sip:100@example.net>;tag="+s.Tag())))
			if _, ok := <-s.Acked(); !ok {
				t.Fatal("not acknowledged")
			}
		}
		if n := held(); n > maxServers {
			t.Errorf("%d requests held, want at most %d", n, maxServers)
		}
		time.Sleep(time.Minute)
		if n := held(); n != 0 {
			t.Errorf("%d requests held after a minute", n)
		}
		// More calls at once than anybody can take.
		for n := range maxUnanswer {
			far.put([]byte(theirs("INVITE", fmt.Sprint("z9hG4bK.d", n), fmt.Sprint("Call-ID: d", n))))
			s := l.asked(t)
			s.Respond(s.Response(180, "", nil))
			far.response(180)
		}
		for n := range 20 {
			far.put([]byte(theirs("INVITE", fmt.Sprint("z9hG4bK.e", n), fmt.Sprint("Call-ID: e", n))))
			far.response(503)
		}
		// Requests that nobody answers fill the table; the rest is dropped.
		for n := range 50 {
			far.put([]byte(theirs("OPTIONS", fmt.Sprint("z9hG4bK.f", n), fmt.Sprint("Call-ID: f", n))))
		}
		far.silence(time.Second)
		if n := held(); n != maxServers {
			t.Errorf("%d requests held, want %d", n, maxServers)
		}
		if c := l.Counters(); c.Overloaded != 20+50-(maxServers-maxUnanswer) {
			t.Errorf("%+v", c)
		}
	})
}

// Everything ends with Close, whatever was going on; goroutines left in the
// bubble would fail the test.
func TestCloseInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		far := network.udp(t, proxy)
		accept := network.serve(other)
		l := openLine(t, network, nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Do(t.Context(), at(proxy, outbound.UDP), ours(sip.OPTIONS), 0); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
		far.request(sip.OPTIONS)
		wg.Go(func() {
			if _, err := l.Do(t.Context(), at(other, outbound.TCP), ours(sip.OPTIONS), 0); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
		c := <-accept
		defer c.Close()
		i := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 0)
		far.answer(far.request(sip.INVITE), 180, "a")
		codes(t, i, 1)
		left := l.Invite(t.Context(), at(proxy, outbound.UDP), ours(sip.INVITE), 0)
		invite := far.request(sip.INVITE)
		left.Abandon()
		far.answer(invite, 200, "a")
		far.request(sip.ACK)
		far.request(sip.BYE)
		far.put([]byte(theirs("INVITE", "z9hG4bK.1")))
		ringing := l.asked(t)
		far.put([]byte(theirs("INVITE", "z9hG4bK.2", "Call-ID: 2")))
		answered := l.asked(t)
		answered.Respond(answered.Response(200, "", nil))
		l.Close()
		wg.Wait()
		if err := ended(t, i); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		<-ringing.Cancelled()
		if _, ok := <-answered.Acked(); ok {
			t.Error("an ACK from nowhere")
		}
	})
}

// Over real sockets: strangers who flood, and a trusted call among them.
func TestCallInAFlood(t *testing.T) {
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	stranger, err := net.ListenPacket("udp", "127.0.0.9:0")
	if err != nil {
		t.Skip(err)
	}
	defer stranger.Close()
	l := openLine(t, &kernel{}, func(c *Config) {
		c.Transport.Local = "127.0.0.1:0"
		c.Transport.Trusts = func(a netip.Addr) bool { return a == netip.MustParseAddr("127.0.0.1") }
	})
	to := at(netip.MustParseAddrPort(far.LocalAddr().String()), outbound.UDP)
	local, err := l.Transport().Connect(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			stranger.WriteTo([]byte(theirs("INVITE", fmt.Sprint("z9hG4bK.", n), fmt.Sprint("Call-ID: ", n))), net.UDPAddrFromAddrPort(local.Addr))
			if n%20 == 0 {
				time.Sleep(5 * time.Millisecond) // 4,000 a second
			}
		}
	})
	var took []time.Duration
	for range 20 {
		i := l.Invite(t.Context(), to, ours(sip.INVITE), 20*time.Second)
		start := time.Now()
		buf := make([]byte, 4096)
		n, from, err := far.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		msg, _ := sip.ParseMessage(buf[:n])
		far.WriteTo([]byte(sip.NewResponseFromRequest(msg.(*sip.Request), 486, "Busy", nil).String()), from)
		if got := codes(t, i, 9); !slices.Equal(got, []int{486}) {
			t.Errorf("got %v", got)
		}
		took = append(took, time.Since(start))
		far.ReadFrom(buf) // the ACK
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	t.Logf("call set-up in the flood: at most %v", slices.Max(took))
	if len(l.requests) != 0 {
		t.Error("a stranger's call was delivered")
	}
	stranger.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	buf := make([]byte, 4096)
	if n, _, err := stranger.ReadFrom(buf); err == nil {
		t.Errorf("a stranger was answered: %s", buf[:n])
	}
	if c := l.Transport().Counters(); c.Stranger == 0 {
		t.Errorf("%+v", c)
	}
}

func BenchmarkRegister(b *testing.B) {
	far, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	go func() { // answers with as little as possible
		buf, out := make([]byte, 4096), make([]byte, 0, 4096)
		for {
			n, from, err := far.ReadFrom(buf)
			if err != nil {
				return
			}
			_, rest, _ := strings.Cut(string(buf[:n]), "\r\n")
			out = append(append(out[:0], "SIP/2.0 200 OK\r\n"...), rest...)
			far.WriteTo(out, from)
		}
	}()
	l, err := New(b.Context(), Config{
		Transport: transport.Config{Network: &kernel{}, Trusts: func(netip.Addr) bool { return true }, Rate: 1e6},
		OnRequest: func(*Server) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	to := at(netip.MustParseAddrPort(far.LocalAddr().String()), outbound.UDP)
	req := ours(sip.REGISTER)
	b.ReportAllocs()
	for b.Loop() {
		// The same request again: only its Via is new.
		if _, err := l.Do(b.Context(), to, req, 4*time.Second); err != nil {
			b.Fatal(err)
		}
	}
}
