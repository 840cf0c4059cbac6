package transport

import (
	"net"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// sighted is a Network that looks.
type sighted struct {
	real
	sights chan Sight
}

func (s *sighted) Witness(w Sight) {
	w.Text = []byte(string(w.Text))
	s.sights <- w
}

// A Network that wants to see messages sees what was sent and let in, with both
// addresses, and what the network said; a stranger's it does not.
func TestWitness(t *testing.T) {
	look := &sighted{sights: make(chan Sight, 100)}
	l := openLine(t, func(c *Config) { c.Network = look })
	proxy := peer(t, "127.0.0.1:0")
	stranger := peer(t, "127.0.0.2:0")
	request := func() *sip.Request {
		req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: "example.net"})
		req.SetBody(nil)
		return req
	}

	stranger.WriteToUDPAddrPort([]byte(options()), l.addr())
	proxy.WriteToUDPAddrPort([]byte(options("X-In: 1")), l.addr())
	in := eventually(t, "what came in", look.sights)
	if in.Sent || in.Transport != outbound.UDP || in.Local != l.addr() || in.Remote != addrOf(proxy) || string(in.Text) != options("X-In: 1") || in.Fault != nil {
		t.Errorf("came in: %+v", in)
	}
	if err := l.Send(target(addrOf(proxy), outbound.UDP), request()); err != nil {
		t.Fatal(err)
	}
	out := eventually(t, "what was sent", look.sights)
	b := make([]byte, 2000)
	n, _, _ := proxy.ReadFrom(b)
	if !out.Sent || out.Local != l.addr() || out.Remote != addrOf(proxy) || string(out.Text) != string(b[:n]) {
		t.Errorf("sent: %+v, on the wire %q", out, b[:n])
	}

	dead := deadPort(t, "127.0.0.1")
	if err := l.Send(target(dead, outbound.UDP), request()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was sent to nobody", look.sights)
	if f := eventually(t, "what ICMP says", look.sights); f.Fault == nil || f.Remote != dead || len(f.Text) != 0 || !strings.Contains(f.Fault.Error(), "unreachable") {
		t.Errorf("of nobody: %+v", f)
	}

	// Over a connection.
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	at, _ := addrPort(server.Addr())
	if _, err := l.Connect(t.Context(), target(at, outbound.TCP)); err != nil {
		t.Fatal(err)
	}
	conn, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte(options("X-In: 2")[:40]))
	conn.Write([]byte(options("X-In: 2")[40:]))
	in = eventually(t, "what came over the connection", look.sights)
	local, _ := addrPort(conn.RemoteAddr())
	if in.Sent || in.Transport != outbound.TCP || in.Local != local || in.Remote != at || !strings.Contains(string(in.Text), "X-In: 2\r\n") {
		t.Errorf("came over a connection: %+v", in)
	}
	if err := l.Send(target(at, outbound.TCP), request()); err != nil {
		t.Fatal(err)
	}
	if out := eventually(t, "what was sent over it", look.sights); !out.Sent || out.Local != local || out.Remote != at {
		t.Errorf("sent over a connection: %+v", out)
	}
}
