package lab

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// A client is the least that can register and call: one socket, one message at
// a time.
type client struct {
	t    *testing.T
	pc   net.PacketConn
	at   string // our address with port
	seq  int
	call string
	tag  string

	patience time.Duration // with answers
}

func newClient(t *testing.T, place Place) *client {
	pc := listen(t, place, ":0")
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	return &client{t: t, pc: pc, at: net.JoinHostPort(place.Addr().String(), port), call: randomName(), tag: randomName(), patience: time.Minute}
}

// message makes a request.
func (c *client) message(method, uri, to string, headers ...string) string {
	if method != "ACK" && method != "CANCEL" {
		c.seq++
	}
	body := ""
	if n := len(headers); n > 0 && strings.HasPrefix(headers[n-1], "v=0") {
		body, headers = headers[n-1], append(headers[:n-1:n-1], "Content-Type: application/sdp")
	}
	head := []string{
		fmt.Sprintf("%s %s SIP/2.0", method, uri),
		fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport", c.at, randomName()),
		"Max-Forwards: 70",
		fmt.Sprintf("From: <sip:100@example.net>;tag=%s", c.tag),
		"To: " + to,
		"Call-ID: " + c.call,
		fmt.Sprintf("CSeq: %d %s", c.seq, method),
		fmt.Sprintf("Contact: <sip:100@%s>", c.at),
	}
	head = append(head, headers...)
	return strings.Join(append(head, fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n")
}

// ask sends a message and reads one answer; nil when none comes.
func (c *client) ask(p *Proxy, m string) *sipmsg.Response {
	c.t.Helper()
	c.send(p, m)
	return c.next()
}

func (c *client) send(p *Proxy, m string) {
	c.pc.WriteTo([]byte(m), net.UDPAddrFromAddrPort(p.Addr()))
}

func (c *client) next() *sipmsg.Response {
	c.t.Helper()
	c.pc.SetReadDeadline(time.Now().Add(c.patience))
	buf := make([]byte, 4096)
	n, _, err := c.pc.ReadFrom(buf)
	if err != nil {
		return nil
	}
	msg, err := sipmsg.ParseMessage(buf[:n])
	if err != nil {
		c.t.Fatal(err)
	}
	res, ok := msg.(*sipmsg.Response)
	if !ok {
		c.t.Fatalf("got a request: %s", buf[:n])
	}
	return res
}

// ackFor acknowledges a refusal of an INVITE, on its branch.
func ackFor(invite string, res *sipmsg.Response) string {
	var out []string
	for _, line := range strings.Split(invite, "\r\n") {
		name, _, _ := strings.Cut(line, " ")
		switch name {
		case "INVITE":
			line = strings.Replace(line, "INVITE", "ACK", 1)
		case "To:":
			line = "To: " + res.To().Value()
		case "CSeq:":
			line = strings.Replace(line, "INVITE", "ACK", 1)
		case "Via:", "From:", "Call-ID:", "Max-Forwards:":
		default:
			continue
		}
		out = append(out, line)
	}
	return strings.Join(append(out, "Content-Length: 0", "", ""), "\r\n")
}

// credential answers a challenge.
func credential(res *sipmsg.Response, ask, name, method, uri, password string) string {
	p := authParams(res.GetHeader(ask).Value())
	p["uri"], p["nc"], p["cnonce"], p["qop"] = uri, "00000001", "abc", "auth"
	return fmt.Sprintf(`%s: Digest username="100", realm="%s", nonce="%s", uri="%s", qop=auth, nc=%s, cnonce="abc", response="%s"`,
		name, p["realm"], p["nonce"], uri, p["nc"], digestResponse(p, "100", password, method))
}

// bothPlaces runs a test on virtual hosts and on loopback: twins keep fakes
// honest.
func bothPlaces(t *testing.T, body func(t *testing.T, place func(name string) Place, port uint16)) {
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := NewNetwork(1)
			body(t, func(name string) Place {
				return n.Host(map[string]string{"p1": "10.0.0.1", "p2": "10.0.0.2", "far": "10.0.0.100", "us": "10.0.1.1"}[name])
			}, 5060)
		})
	})
	t.Run("loopback", func(t *testing.T) {
		body(t, func(name string) Place {
			w := &World{o: Options{Real: true}}
			if name == "us" {
				return Loopback{}
			}
			return w.place(name)
		}, 25060)
	})
}

func TestRegistrarAndFarEnd(t *testing.T) {
	bothPlaces(t, func(t *testing.T, place func(string) Place, port uint16) {
		var mu sync.Mutex
		var story []string
		v := NewProvider("example.net", place("far"), 1, func(s string) {
			mu.Lock()
			defer mu.Unlock()
			story = append(story, s)
		})
		defer v.Close()
		v.Account("100", "secret")
		v.Granted = time.Minute
		p1, err := v.Proxy("p1", place("p1"), port, nil)
		if err != nil {
			t.Fatal(err)
		}
		p2, err := v.Proxy("p2", place("p2"), port, nil)
		if err != nil {
			t.Fatal(err)
		}
		us := place("us")
		c := newClient(t, us)
		const uri, me = "sip:example.net", "<sip:100@example.net>"
		want := func(res *sipmsg.Response, code int) *sipmsg.Response {
			t.Helper()
			if res == nil {
				t.Fatalf("no answer, want %d", code)
			}
			if res.StatusCode != code {
				t.Fatalf("got %d, want %d", res.StatusCode, code)
			}
			return res
		}

		challenge := want(c.ask(p1, c.message("REGISTER", uri, me)), 401)
		wrong := credential(challenge, "WWW-Authenticate", "Authorization", "REGISTER", uri, "guess")
		want(c.ask(p1, c.message("REGISTER", uri, me, wrong)), 403)
		right := credential(challenge, "WWW-Authenticate", "Authorization", "REGISTER", uri, "secret")
		res := want(c.ask(p1, c.message("REGISTER", uri, me, "Expires: 3600", right)), 200)
		if e, _ := res.Contact().Params.Get("expires"); e != "60" {
			t.Errorf("granted %s, want 60", e)
		}
		// Credentials for one proxy are none for another.
		other := want(c.ask(p2, c.message("REGISTER", uri, me, right)), 401)
		if authParams(other.GetHeader("WWW-Authenticate").Value())["stale"] != "true" {
			t.Error("p2 does not say that the nonce is stale")
		}
		v.Minimum(2 * time.Minute)
		want(c.ask(p1, c.message("REGISTER", uri, me, "Expires: 60", right)), 423)

		p1.Break(func(f *Faults) { f.Refuse = map[string]Refusal{"": {Code: 503, RetryAfter: 7 * time.Second}} })
		if r := want(c.ask(p1, c.message("OPTIONS", uri, me)), 503); r.GetHeader("Retry-After").Value() != "7" {
			t.Error("no Retry-After")
		}
		p1.Break(func(f *Faults) { *f = Faults{Silent: true} })
		c.patience = 300 * time.Millisecond
		if res := c.ask(p1, c.message("OPTIONS", uri, me)); res != nil {
			t.Error("a silent proxy answers")
		}
		p1.Kill()
		c.send(p1, c.message("OPTIONS", uri, me)) // ICMP, seen by the sockets that look
		c.next()
		if err := p1.Revive(); err != nil {
			t.Fatal(err)
		}
		c.patience = time.Minute
		want(c.ask(p1, c.message("OPTIONS", uri, me)), 200)

		// A call, with sound.
		c.call = randomName()
		rtp := listen(t, us, ":0")
		_, rtpPort, _ := net.SplitHostPort(rtp.LocalAddr().String())
		sdp := strings.ReplaceAll(fmt.Sprintf("v=0|o=- 1 1 IN IP4 %s|s=-|c=IN IP4 %s|t=0 0|m=audio %s RTP/AVP 8 101|a=rtpmap:101 telephone-event/8000|",
			us.Addr(), us.Addr(), rtpPort), "|", "\r\n")
		const number = "sip:5551234@example.net"
		invite := c.message("INVITE", number, "<"+number+">", sdp)
		res = want(c.ask(p1, invite), 407)
		c.send(p1, ackFor(invite, res))
		auth := credential(res, "Proxy-Authenticate", "Proxy-Authorization", "INVITE", number, "secret")
		want(c.ask(p1, c.message("INVITE", number, "<"+number+">", auth, sdp)), 100)
		want(c.next(), 180)
		ok := want(c.next(), 200)
		m := readSDP(string(ok.Body()))
		if m.codec != 8 || m.events != 101 || !m.to.IsValid() {
			t.Errorf("the answer says %+v", m)
		}
		c.send(p1, c.message("ACK", ok.Contact().Address.String(), ok.To().Value()))
		var heard []string
		ear := NewEar(8000, nil, func(s string) { heard = append(heard, s) })
		for range 30 {
			buf := make([]byte, 200)
			rtp.SetReadDeadline(time.Now().Add(2 * time.Second))
			n, _, err := rtp.ReadFrom(buf)
			if err != nil || n != 172 || buf[1] != 8 {
				t.Fatalf("RTP: %d octets, %v", n, err)
			}
			var pcm []int16
			for _, b := range buf[12:n] {
				pcm = append(pcm, decodeA(b))
			}
			ear.Hear(pcm)
		}
		if fmt.Sprint(heard) != "[1000 Hz]" {
			t.Errorf("heard %q", heard)
		}
		// Its BYE may come by any proxy.
		want(c.ask(p2, c.message("BYE", ok.Contact().Address.String(), ok.To().Value())), 200)
		want(c.ask(p2, c.message("BYE", ok.Contact().Address.String(), ok.To().Value())), 481)

		mu.Lock()
		defer mu.Unlock()
		wantStory := `p1 refuses REGISTER: wrong credentials
p1 registers 100 by udp for 1m0s
p1 refuses REGISTER: 423 shorter than 2m0s
p1 refuses OPTIONS: 503 Service Unavailable
p1 gets a call to 5551234
the far end rings
the far end answers
p2 ends the call (BYE)`
		if got := strings.Join(story, "\n"); got != wantStory {
			t.Errorf("the story is\n%s\nwant\n%s", got, wantStory)
		}
	})
}

func TestProxySpeaksTLSAndAnswersKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(1)
		v := NewProvider("example.net", n.Host("10.0.0.100"), 1, nil)
		defer v.Close()
		ca := NewAuthority()
		p, err := v.Proxy("p1", n.Host("10.0.0.1"), 5060, ca, "proxy.example.net")
		if err != nil {
			t.Fatal(err)
		}
		us := n.Host("10.0.1.1")
		for name, good := range map[string]bool{"proxy.example.net": true, "other.example.net": false} {
			raw, err := us.DialContext(t.Context(), "tcp", "10.0.0.1:5061")
			if err != nil {
				t.Fatal(err)
			}
			c := tls.Client(raw, &tls.Config{ServerName: name, RootCAs: ca.Roots()})
			if err := c.Handshake(); (err == nil) != good {
				t.Errorf("%s: %v", name, err)
			}
			if good {
				// RFC 5626 section 3.5.1: a double CRLF is answered by a single one.
				c.Write([]byte("\r\n\r\n"))
				buf := make([]byte, 10)
				if k, err := c.Read(buf); string(buf[:k]) != "\r\n" || err != nil {
					t.Errorf("keep-alive: %q, %v", buf[:k], err)
				}
				p.Break(func(f *Faults) { f.Silent = true })
				c.Write([]byte("\r\n\r\n"))
				c.SetReadDeadline(time.Now().Add(time.Minute))
				if k, err := c.Read(buf); err == nil {
					t.Errorf("a silent proxy answers %q", buf[:k])
				}
				p.Break(func(f *Faults) { *f = Faults{} })
			}
			raw.Close()
		}
	})
}
