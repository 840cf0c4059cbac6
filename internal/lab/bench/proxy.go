package bench

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A Mode is how a proxy behaves.
type Mode string

// The modes of a proxy.
const (
	Answer    Mode = "answer"
	Silent    Mode = "silent"    // takes connections and reads, says nothing
	Killed    Mode = "killed"    // the sockets are closed: the kernel answers with ICMP and RST
	Busy      Mode = "503"       // 503 to every request
	BusyBook  Mode = "503 book"  // 503 to REGISTER, well otherwise
	Challenge Mode = "challenge" // wants a password for REGISTER and INVITE and accepts none
)

// A Proxy is registrar, proxy and callee in one, over UDP and TCP: a call to
// any number rings at once and is answered 200 ms later.
type Proxy struct {
	bench *Bench
	index int
	addr  string

	mu       sync.Mutex
	mode     Mode
	expires  int           // seconds it grants
	delay    time.Duration // until a request is looked at
	loss     float64       // share of datagrams lost, each way
	onBye    func(m message, from netip.AddrPort, say sayer) bool
	conn     *net.UDPConn
	listener net.Listener
	streams  map[net.Conn]bool
	sound    net.PacketConn // where callees are spoken to: it only reads, so that nothing is refused there
	binding  peer           // who registered last
	contact  string         // and how it wants to be called
	calling  message        // the INVITE of ours that waits for an answer
}

// A peer is who was heard, and how to speak to it.
type peer struct {
	addr  netip.AddrPort
	write func(string)
}

// A sayer answers the request at hand.
type sayer func(status string, extra ...string)

// Set changes the mode.
func (p *Proxy) Set(m Mode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	if m == Killed {
		if p.conn != nil {
			p.conn.Close()
			p.listener.Close()
			for c := range p.streams {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
			p.conn = nil
		}
		return nil
	}
	if p.conn == nil {
		ua, err := net.ResolveUDPAddr("udp", p.addr)
		if err != nil {
			return err
		}
		if p.listener, err = net.Listen("tcp", p.addr); err != nil {
			return err
		}
		if p.conn, err = net.ListenUDP("udp", ua); err != nil {
			p.listener.Close()
			return err
		}
		if p.sound == nil {
			host, _, _ := net.SplitHostPort(p.addr)
			if p.sound, err = net.ListenPacket("udp", host+":39998"); err != nil {
				return err
			}
			go swallow(p.sound)
		}
		p.streams = map[net.Conn]bool{}
		go p.serve(p.conn)
		go p.accept(p.listener, p.streams)
	}
	return nil
}

// Grant sets for how many seconds it registers.
func (p *Proxy) Grant(seconds int) { p.mu.Lock(); p.expires = seconds; p.mu.Unlock() }

// Hinder sets how much later requests are looked at, and what share of the
// datagrams is lost, each way.
func (p *Proxy) Hinder(delay time.Duration, loss float64) {
	p.mu.Lock()
	p.delay, p.loss = delay, loss
	p.mu.Unlock()
}

// OnBye has f look at every BYE first; true: it has dealt with it.
func (p *Proxy) OnBye(f func(m message, from netip.AddrPort, say sayer) bool) {
	p.mu.Lock()
	p.onBye = f
	p.mu.Unlock()
}

func (p *Proxy) lost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loss > 0 && rand.Float64() < p.loss
}

func (p *Proxy) serve(conn *net.UDPConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || p.lost() {
			continue
		}
		p.hear(string(buf[:n]), peer{from, func(text string) { p.send(text, from) }})
	}
}

// swallow reads what a telephone says. Were the port closed, the kernel would
// answer each packet of sound with ICMP, of which it has a thousand a second for
// all, and those that matter here would come late.
func swallow(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		if _, _, err := c.ReadFrom(buf); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// send writes a datagram from whatever socket there is now.
func (p *Proxy) send(text string, to netip.AddrPort) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil && !p.lost() {
		conn.WriteToUDPAddrPort([]byte(text), to)
	}
}

func (p *Proxy) accept(l net.Listener, streams map[net.Conn]bool) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		streams[c] = true
		p.mu.Unlock()
		go func() {
			r := bufio.NewReader(c)
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
			for {
				text, err := readMessage(r)
				if err != nil {
					break
				}
				p.hear(text, peer{from, func(text string) { c.Write([]byte(text)) }})
			}
			p.mu.Lock()
			delete(streams, c)
			p.mu.Unlock()
			c.Close()
		}()
	}
}

// hear deals with a message, later if the proxy is slow.
func (p *Proxy) hear(text string, from peer) {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if delay > 0 {
		time.AfterFunc(delay, func() { p.deal(text, from) })
		return
	}
	p.deal(text, from)
}

func (p *Proxy) deal(text string, from peer) {
	p.mu.Lock()
	mode := p.mode
	p.mu.Unlock()
	if mode == Silent || mode == Killed {
		return
	}
	m := parse(text)
	tell := func(kind, detail string) {
		p.bench.tell(Event{Proxy: p.index, Kind: kind, CallID: m.header("call-id"), From: from.addr, Detail: detail})
	}
	switch {
	case m.status != 0:
		p.answered(m, from, tell)
	case m.method == "":
		if text == "" { // RFC 5626 section 3.5.1: a ping over a stream wants a pong
			from.write("\r\n")
		}
	case mode == Busy || mode == BusyBook && m.method == "REGISTER":
		if m.method != "ACK" {
			tell(Refused, m.method)
			from.write(m.response("503 Service Unavailable", from.addr))
		}
	default:
		p.handle(m, mode, from, tell)
	}
}

func (p *Proxy) handle(m message, mode Mode, from peer, tell func(kind, detail string)) {
	say := func(status string, extra ...string) { from.write(m.response(status, from.addr, extra...)) }
	switch m.method {
	case "REGISTER":
		if mode == Challenge || !p.authorised(m, "authorization") {
			say("401 Unauthorized", "WWW-Authenticate: "+p.challenge())
			return
		}
		contact := m.header("contact")
		p.mu.Lock()
		expires := p.expires
		p.binding, p.contact = from, uri(contact)
		p.mu.Unlock()
		if m.header("expires") == "0" || strings.Contains(contact, "expires=0") {
			say("200 OK") // a farewell
			return
		}
		tell(Registered, "")
		contact, _, _ = strings.Cut(contact, ">")
		say("200 OK", "Contact: "+contact+fmt.Sprintf(">;expires=%d", expires))
	case "INVITE":
		if mode == Challenge || !p.authorised(m, "proxy-authorization") {
			say("407 Proxy Authentication Required", "Proxy-Authenticate: "+p.challenge())
			return
		}
		tell(Invited, "")
		contact := "Contact: <sip:callee@" + p.addr + transport(m) + ">"
		say("100 Trying")
		tell(Rang, "")
		say("180 Ringing", contact)
		time.AfterFunc(200*time.Millisecond, func() {
			tell(Answered, "")
			say("200 OK", contact, "Content-Type: application/sdp", p.sdp())
		})
	case "ACK":
		tell(Acked, "")
	case "BYE":
		p.mu.Lock()
		first := p.onBye
		p.mu.Unlock()
		tell(Ended, m.header("proxy-authorization")+m.header("authorization"))
		if first != nil && first(m, from.addr, say) {
			return
		}
		say("200 OK")
	case "OPTIONS", "CANCEL":
		say("200 OK")
	default:
		say("501 Not Implemented")
	}
}

// transport is the parameter that keeps a dialog on the stream it began on.
func transport(m message) string {
	if strings.HasPrefix(m.header("via"), "SIP/2.0/TCP") {
		return ";transport=tcp"
	}
	return ""
}

func (p *Proxy) sdp() string {
	host, _, _ := net.SplitHostPort(p.addr)
	return "\r\nv=0\r\no=- 1 1 IN IP4 " + host + "\r\ns=-\r\nc=IN IP4 " + host + "\r\nt=0 0\r\n" +
		"m=audio 39998 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
}

// Ring calls who registered here last, once; what becomes of it are events.
func (p *Proxy) Ring() (callID string, err error) {
	p.mu.Lock()
	to, contact := p.binding, p.contact
	p.mu.Unlock()
	if to.write == nil {
		return "", errors.New("nobody has registered here")
	}
	callID = hash(fmt.Sprint(time.Now().UnixNano(), p.index))
	sdp := p.sdp()[2:]
	text := "INVITE " + contact + " SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP " + p.addr + ";branch=z9hG4bK" + callID[:12] + "\r\n" +
		"Max-Forwards: 69\r\n" +
		"From: \"Kate\" <sip:5550001@" + Domain + ">;tag=" + callID[:8] + "\r\n" +
		"To: <sip:" + User + "@" + Domain + ">\r\n" +
		"Call-ID: " + callID + "\r\n" +
		"CSeq: 1 INVITE\r\n" +
		"Contact: <sip:5550001@" + p.addr + ">\r\n" +
		fmt.Sprintf("Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", len(sdp), sdp)
	p.mu.Lock()
	p.calling = parse(text)
	p.mu.Unlock()
	to.write(text)
	return callID, nil
}

// answered takes a response to a call of ours.
func (p *Proxy) answered(m message, from peer, tell func(kind, detail string)) {
	p.mu.Lock()
	ours, contact := p.calling, p.contact
	p.mu.Unlock()
	if m.header("call-id") != ours.header("call-id") || !strings.HasSuffix(m.header("cseq"), "INVITE") {
		return
	}
	switch {
	case m.status == 180:
		tell(Rings, "")
	case m.status == 200:
		tell(Talks, "")
		from.write("ACK " + uri(m.header("contact")) + " SIP/2.0\r\n" +
			"Via: SIP/2.0/UDP " + p.addr + ";branch=z9hG4bK" + hash("ack" + m.header("call-id"))[:12] + "\r\n" +
			"Max-Forwards: 69\r\n" +
			"From: " + m.header("from") + "\r\nTo: " + m.header("to") + "\r\n" +
			"Call-ID: " + m.header("call-id") + "\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n")
	case m.status >= 300:
		from.write("ACK " + contact + " SIP/2.0\r\nVia: " + m.header("via") + "\r\nMax-Forwards: 69\r\n" +
			"From: " + m.header("from") + "\r\nTo: " + m.header("to") + "\r\n" +
			"Call-ID: " + m.header("call-id") + "\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n")
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
