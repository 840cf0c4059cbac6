package agent

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

// A peer is a proxy, a registrar and a far end in one, on a loopback socket:
// just enough of SIP for one telephone. It answers in the words of RFC 3261.
type peer struct {
	t     *testing.T
	conn  net.PacketConn
	sound net.PacketConn // RTP of the far end

	mu       sync.Mutex
	contact  string   // what registered
	from     net.Addr // and from where
	methods  []string // of all requests, in order
	answer   int      // final status for an INVITE; 0 lets it ring
	early    int      // 180 or 183: with a session
	invite   message  // the last one
	register message  // likewise
	silent   bool     // nothing is answered
	events   []byte   // the ends of the telephone events that came, RFC 4733, by number
	arrived  chan message
}

// A message is a request or response taken apart.
type message struct {
	start string
	head  map[string][]string // by name in lower case
	body  string
}

func parseMessage(b []byte) message {
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m := message{start: lines[0], head: map[string][]string{}, body: body}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		m.head[name] = append(m.head[name], strings.TrimSpace(value))
	}
	return m
}

func (m message) get(name string) string { return strings.Join(m.head[name], ", ") }

func (m message) method() string {
	method, _, _ := strings.Cut(m.start, " ")
	return method
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, arrived: make(chan message, 100)}
	for _, c := range []*net.PacketConn{&p.conn, &p.sound} {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		*c = conn
	}
	go p.serve()
	go p.listen()
	return p
}

func (p *peer) addr() string { return p.conn.LocalAddr().String() }

func (p *peer) sdp() string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\n"+
		"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n", p.sound.LocalAddr().(*net.UDPAddr).Port)
}

// listen echoes RTP, which is a far end that talks, unless it whistles itself.
func (p *peer) listen() {
	b := make([]byte, 2000)
	for {
		n, from, err := p.sound.ReadFrom(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		echo := p.early == 0
		// RFC 4733 section 2.3: event, then E, R and volume, then duration.
		if n == 16 && b[1]&0x7f == 101 && b[13]&0x80 != 0 {
			p.events = append(p.events, b[12])
		}
		p.mu.Unlock()
		if echo {
			p.sound.WriteTo(b[:n], from)
		}
	}
}

func (p *peer) serve() {
	b := make([]byte, 65536)
	for {
		n, from, err := p.conn.ReadFrom(b)
		if err != nil {
			return
		}
		if n < 20 { // keep-alive
			continue
		}
		p.mu.Lock()
		if !p.silent {
			p.message(parseMessage(b[:n]), from)
		}
		p.mu.Unlock()
	}
}

// message answers one message. p.mu is held.
func (p *peer) message(m message, from net.Addr) {
	if strings.HasPrefix(m.start, "SIP/2.0") {
		p.arrived <- m
		return
	}
	method := m.method()
	p.methods = append(p.methods, method)
	switch method {
	case "REGISTER":
		p.register = m
		_, user, _ := strings.Cut(m.get("to"), "sip:")
		user, _, _ = strings.Cut(user, "@")
		p.methods = append(p.methods, "REGISTER "+user)
		_, after, _ := strings.Cut(m.get("contact"), "<")
		p.contact, _, _ = strings.Cut(after, ">")
		p.from = from
		p.reply(m, from, "200 OK", "Contact: "+m.get("contact")+"\r\nExpires: 60\r\n", "")
	case "INVITE":
		p.invite = m
		switch p.early {
		case 180:
			p.reply(m, from, "180 Ringing", p.me(), p.sdp())
		case 183:
			p.reply(m, from, "183 Session Progress", p.me(), p.sdp())
		default:
			p.reply(m, from, "180 Ringing", p.me(), "")
		}
		switch {
		case p.answer == 200:
			p.reply(m, from, "200 OK", p.me(), p.sdp())
		case p.answer != 0:
			p.reply(m, from, fmt.Sprintf("%d Sorry", p.answer), p.me(), "")
		}
	case "CANCEL":
		p.reply(m, from, "200 OK", "", "")
		p.reply(p.invite, from, "487 Request Terminated", "", "")
	case "ACK":
	default:
		p.reply(m, from, "200 OK", "", "")
	}
	p.arrived <- m
}

func (p *peer) me() string { return "Contact: <sip:far@" + p.addr() + ">\r\n" }

// reply answers a request, RFC 3261 section 8.2.6: Via, From, To, Call-ID and
// CSeq are those of the request, To with a tag.
func (p *peer) reply(m message, to net.Addr, status, more, body string) {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", status)
	for _, via := range m.head["via"] {
		fmt.Fprintf(&b, "Via: %s\r\n", via)
	}
	tag := m.get("to")
	if !strings.Contains(tag, "tag=") {
		tag += ";tag=far"
	}
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\n%s", m.get("from"), tag, m.get("call-id"), m.get("cseq"), more)
	p.send(b.String(), to, body)
}

func (p *peer) send(head string, to net.Addr, body string) {
	if body != "" {
		head += "Content-Type: application/sdp\r\n"
	}
	p.conn.WriteTo(fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body), to)
}

// request sends one of our own to the telephone; of a dialog when to is a To
// with a tag.
func (p *peer) request(method, callID string, seq int, to, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to == "" {
		to = "<" + p.contact + ">"
	}
	p.send(fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bK%s%s%d\r\nMax-Forwards: 70\r\n"+
		"From: \"Somebody\" <sip:555@example.net>;tag=caller\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n%s",
		method, p.contact, p.addr(), callID, map[string]string{"ACK": "ACK", "BYE": "BYE"}[method], seq, to, callID, seq, method, p.me()), p.from, body)
}

// whistle sends 1 kHz to whom the last INVITE says.
func (p *peer) whistle(d time.Duration) {
	p.mu.Lock()
	offer, err := sdp.Parse([]byte(p.invite.body))
	p.mu.Unlock()
	if err != nil {
		p.t.Error(err)
		return
	}
	to := net.UDPAddrFromAddrPort(offer.Addr)
	sound := whistle(d)
	for n := 0; len(sound) >= 160; n++ {
		// RFC 3550 section 5.1: version 2, payload type 0, sequence,
		// timestamp, source.
		packet := []byte{0x80, 0, byte(n >> 8), byte(n), 0, byte(n * 160 >> 16), byte(n * 160 >> 8), byte(n * 160), 1, 2, 3, 4}
		var code [160]byte
		g711.Mu.Encode(code[:], sound[:160])
		packet = append(packet, code[:]...)
		sound = sound[160:]
		p.sound.WriteTo(packet, to)
		time.Sleep(20 * time.Millisecond)
	}
}
