// Package bench measures an agent from outside: proxies and a name server that
// can be made to fail, on real sockets, with a SIP and a DNS parser of their
// own, so that a mistake shared with the agent cannot hide.
//
// Its one idea: what counts is what a proxy sees. A line has moved when another
// proxy has accepted its registration; a call is saved when another proxy has
// sent the 180.
package bench

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// A Mode is how a proxy behaves.
type Mode string

// The modes of a proxy.
const (
	Answer Mode = "answer"
	Silent Mode = "silent" // reads, says nothing
	Killed Mode = "killed" // the socket is closed: the kernel answers with ICMP
	Busy   Mode = "503"    // 503 to every request
)

// The one account every proxy knows.
const (
	User     = "100"
	Password = "secret-of-100"
	Domain   = "lab.test"
)

// An Event is something a proxy did, in the order in which it happened.
type Event struct {
	At     time.Time
	Proxy  int
	Kind   string // "registered", "180", "200", "bye", "ack", "invite", "503 REGISTER"
	CallID string
}

// A Bench is three proxies and a name server.
type Bench struct {
	Proxies []*Proxy
	DNS     *NameServer

	mu     sync.Mutex
	events []Event
	grew   chan struct{} // closed and replaced at each event
}

// New starts the proxies at addrs, all answering, and a name server at dns.
func New(dns string, addrs ...string) (*Bench, error) {
	b := &Bench{grew: make(chan struct{})}
	var ips []net.IP
	for i, a := range addrs {
		p := &Proxy{bench: b, index: i, addr: a, Expires: 60}
		if err := p.Set(Answer); err != nil {
			b.Close()
			return nil, err
		}
		b.Proxies = append(b.Proxies, p)
		host, _, _ := net.SplitHostPort(a)
		ips = append(ips, net.ParseIP(host).To4())
	}
	var err error
	if b.DNS, err = serveDNS(dns, ips); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Close stops everything.
func (b *Bench) Close() {
	for _, p := range b.Proxies {
		p.Set(Killed)
	}
	if b.DNS != nil {
		b.DNS.conn.Close()
	}
}

func (b *Bench) tell(e Event) {
	e.At = time.Now()
	b.mu.Lock()
	b.events = append(b.events, e)
	close(b.grew)
	b.grew = make(chan struct{})
	b.mu.Unlock()
}

// Wait returns the first event after since that ok accepts.
func (b *Bench) Wait(since time.Time, limit time.Duration, ok func(Event) bool) (Event, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		b.mu.Lock()
		grew := b.grew
		for _, e := range b.events {
			if e.At.After(since) && ok(e) {
				b.mu.Unlock()
				return e, nil
			}
		}
		b.mu.Unlock()
		select {
		case <-grew:
		case <-deadline.C:
			return Event{}, fmt.Errorf("nothing within %v", limit)
		}
	}
}

// Count returns how many events after since ok accepts.
func (b *Bench) Count(since time.Time, ok func(Event) bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.events {
		if e.At.After(since) && ok(e) {
			n++
		}
	}
	return n
}

// A Proxy is registrar, proxy and callee in one: a call to any number rings at
// once and is answered 200 ms later.
type Proxy struct {
	Expires int // seconds it grants

	bench *Bench
	index int
	addr  string

	mu   sync.Mutex
	mode Mode
	conn *net.UDPConn
}

// Set changes the mode.
func (p *Proxy) Set(m Mode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m == Killed {
		if p.conn != nil {
			p.conn.Close()
			p.conn = nil
		}
		return nil
	}
	if p.conn == nil {
		ua, err := net.ResolveUDPAddr("udp", p.addr)
		if err != nil {
			return err
		}
		if p.conn, err = net.ListenUDP("udp", ua); err != nil {
			return err
		}
		go p.serve(p.conn)
	}
	return nil
}

func (p *Proxy) serve(conn *net.UDPConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		mode := p.mode
		p.mu.Unlock()
		if mode == Silent {
			continue
		}
		m := parse(string(buf[:n]))
		if m.method == "" {
			continue // keep-alives and responses
		}
		say := func(status string, extra ...string) {
			conn.WriteToUDP([]byte(m.response(status, from, extra...)), from)
		}
		if mode == Busy {
			if m.method != "ACK" {
				p.bench.tell(Event{Proxy: p.index, Kind: "503 " + m.method, CallID: m.header("call-id")})
				say("503 Service Unavailable")
			}
			continue
		}
		p.handle(m, say)
	}
}

func (p *Proxy) handle(m message, say func(status string, extra ...string)) {
	tell := func(kind string) {
		p.bench.tell(Event{Proxy: p.index, Kind: kind, CallID: m.header("call-id")})
	}
	switch m.method {
	case "REGISTER":
		if !p.authorised(m, "authorization") {
			say("401 Unauthorized", "WWW-Authenticate: "+p.challenge())
			return
		}
		tell("registered")
		contact := m.header("contact")
		say("200 OK", "Contact: "+contact+fmt.Sprintf(";expires=%d", p.Expires))
	case "INVITE":
		if !p.authorised(m, "proxy-authorization") {
			say("407 Proxy Authentication Required", "Proxy-Authenticate: "+p.challenge())
			return
		}
		tell("invite")
		contact := "Contact: <sip:callee@" + p.addr + ">"
		say("100 Trying")
		tell("180")
		say("180 Ringing", contact)
		time.AfterFunc(200*time.Millisecond, func() {
			host, _, _ := net.SplitHostPort(p.addr)
			tell("200")
			say("200 OK", contact, "Content-Type: application/sdp", "\r\n"+
				"v=0\r\no=- 1 1 IN IP4 "+host+"\r\ns=-\r\nc=IN IP4 "+host+"\r\nt=0 0\r\n"+
				"m=audio 39998 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n")
		})
	case "ACK":
		tell("ack")
	case "BYE":
		tell("bye")
		say("200 OK")
	case "OPTIONS", "CANCEL":
		say("200 OK")
	default:
		say("501 Not Implemented")
	}
}

// challenge and authorised: RFC 2617 without qop would be easier; the field
// asks for qop, so this does.
func (p *Proxy) challenge() string {
	return fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=MD5, qop="auth"`, Domain, p.nonce())
}

func (p *Proxy) nonce() string { return hash(fmt.Sprint("nonce of proxy ", p.index))[:16] }

func (p *Proxy) authorised(m message, header string) bool {
	a := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(m.header(header), "Digest "), ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		a[k] = strings.Trim(v, `"`)
	}
	if a["nonce"] != p.nonce() || a["username"] != User {
		return false
	}
	ha1 := hash(User + ":" + Domain + ":" + Password)
	ha2 := hash(m.method + ":" + a["uri"])
	return a["response"] == hash(ha1+":"+a["nonce"]+":"+a["nc"]+":"+a["cnonce"]+":"+a["qop"]+":"+ha2)
}

func hash(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// A message is a SIP request, read the simplest way that works.
type message struct {
	method  string
	headers [][2]string // lower-case name, value
}

func parse(text string) message {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	first, rest, _ := strings.Cut(head, "\r\n")
	words := strings.Fields(first)
	if len(words) != 3 || words[2] != "SIP/2.0" {
		return message{}
	}
	m := message{method: words[0]}
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if ok {
			m.headers = append(m.headers, [2]string{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
		}
	}
	return m
}

func (m message) header(name string) string {
	for _, h := range m.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// response answers m, with received and rport filled in (RFC 3581).
func (m message) response(status string, from *net.UDPAddr, extra ...string) string {
	var s strings.Builder
	s.WriteString("SIP/2.0 " + status + "\r\n")
	first := true
	for _, h := range m.headers {
		switch h[0] {
		case "via":
			v := h[1]
			if first {
				v = strings.Replace(v, ";rport", fmt.Sprintf(";received=%s;rport=%d", from.IP, from.Port), 1)
				first = false
			}
			s.WriteString("Via: " + v + "\r\n")
		case "from":
			s.WriteString("From: " + h[1] + "\r\n")
		case "to":
			to := h[1]
			if !strings.Contains(to, ";tag=") && !strings.HasPrefix(status, "100") {
				to += ";tag=" + hash(m.header("call-id"))[:8]
			}
			s.WriteString("To: " + to + "\r\n")
		case "call-id":
			s.WriteString("Call-ID: " + h[1] + "\r\n")
		case "cseq":
			s.WriteString("CSeq: " + h[1] + "\r\n")
		}
	}
	body := ""
	for _, e := range extra {
		if b, ok := strings.CutPrefix(e, "\r\n"); ok {
			body = b
			continue
		}
		s.WriteString(e + "\r\n")
	}
	fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return s.String()
}
