package txn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wire net of channels, to be used inside testing/synctest: what is sent
// arrives at once, what is sent to nobody comes back as ICMP.
type memNet struct {
	mu    sync.Mutex
	conns map[netip.AddrPort]*memConn
	tcp   map[netip.AddrPort]chan net.Conn
}

var (
	us    = netip.MustParseAddr("192.0.2.100")
	proxy = netip.MustParseAddrPort("192.0.2.7:5060")
	other = netip.MustParseAddrPort("192.0.2.8:5060")
	here  = netip.AddrPortFrom(us, 40000)
)

func newMemNet() *memNet {
	return &memNet{conns: map[netip.AddrPort]*memConn{}, tcp: map[netip.AddrPort]chan net.Conn{}}
}

type datagram struct {
	from netip.AddrPort
	data []byte
	err  error
}

type memConn struct {
	net    *memNet
	at     netip.AddrPort
	in     chan datagram
	closed chan struct{}
	once   sync.Once
}

func (n *memNet) listen(at netip.AddrPort) *memConn {
	c := &memConn{net: n, at: at, in: make(chan datagram, 1000), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[at] = c
	return c
}

func (n *memNet) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return n.listen(here), nil
}

func (n *memNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to := netip.MustParseAddrPort(address)
	if network == "udp" {
		return &addressed{local: netip.AddrPortFrom(us, 50000), remote: to}, nil
	}
	n.mu.Lock()
	accept := n.tcp[to]
	n.mu.Unlock()
	if accept == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: syscall.ECONNREFUSED}
	}
	a, b := net.Pipe()
	accept <- b
	return &addressed{Conn: a, local: netip.AddrPortFrom(us, 50001), remote: to}, nil
}

// serve makes an address accept connections.
func (n *memNet) serve(at netip.AddrPort) chan net.Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tcp[at] = make(chan net.Conn, 10)
	return n.tcp[at]
}

// addressed is a pipe with addresses.
type addressed struct {
	net.Conn
	local, remote netip.AddrPort
}

func (c *addressed) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *addressed) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }
func (c *addressed) Close() error {
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-c.in:
		if d.err != nil {
			return 0, nil, d.err
		}
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	dest := to.(*net.UDPAddr).AddrPort()
	dest = netip.AddrPortFrom(dest.Addr().Unmap(), dest.Port())
	c.net.mu.Lock()
	peer := c.net.conns[dest]
	c.net.mu.Unlock()
	if peer == nil {
		c.in <- datagram{err: &net.OpError{Op: "read", Net: "udp", Addr: to, Err: syscall.ECONNREFUSED}}
		return len(b), nil
	}
	peer.in <- datagram{from: c.at, data: append([]byte(nil), b...)}
	return len(b), nil
}

func (c *memConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *memConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.at) }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// A far end speaks SIP as a test tells it to.
type farEnd struct {
	t    *testing.T
	get  func(limit time.Duration) ([]byte, error)
	put  func([]byte)
	t0   time.Time
	from netip.AddrPort
}

// udp is a far end at an address of the net.
func (n *memNet) udp(t *testing.T, at netip.AddrPort) *farEnd {
	c := n.listen(at)
	return &farEnd{t: t, t0: time.Now(), from: at,
		get: func(limit time.Duration) ([]byte, error) {
			select {
			case d := <-c.in:
				return d.data, d.err
			case <-time.After(limit):
				return nil, os.ErrDeadlineExceeded
			}
		},
		put: func(b []byte) { c.WriteTo(b, net.UDPAddrFromAddrPort(here)) },
	}
}

// next is the next message within 40 s.
func (f *farEnd) next() sip.Message {
	f.t.Helper()
	b, err := f.get(40 * time.Second)
	if err != nil {
		f.t.Fatalf("after %v: no message: %v", f.at(), err)
	}
	msg, err := sip.ParseMessage(b)
	if err != nil {
		f.t.Fatalf("%v in:\n%s", err, b)
	}
	return msg
}

// request is the next message, which must be a request of that method.
func (f *farEnd) request(method sip.RequestMethod) *sip.Request {
	f.t.Helper()
	req, ok := f.next().(*sip.Request)
	if !ok || req.Method != method {
		f.t.Fatalf("after %v: got\n%v\nwant %s", f.at(), req, method)
	}
	return req
}

// response is the next message, which must be a response with that status.
func (f *farEnd) response(code int) *sip.Response {
	f.t.Helper()
	msg := f.next()
	res, ok := msg.(*sip.Response)
	if !ok || res.StatusCode != code {
		f.t.Fatalf("after %v: got\n%v\nwant %d", f.at(), msg, code)
	}
	return res
}

// silence fails if anything comes within that time.
func (f *farEnd) silence(d time.Duration) {
	f.t.Helper()
	if b, err := f.get(d); err == nil {
		f.t.Fatalf("after %v: got\n%s\nwant silence", f.at(), b)
	}
}

// at is the time since the far end came up.
func (f *farEnd) at() time.Duration { return time.Since(f.t0) }

// answer sends a response with a To tag and headers.
func (f *farEnd) answer(req *sip.Request, code int, tag string, headers ...string) {
	res := sip.NewResponseFromRequest(req, code, fmt.Sprint("Status ", code), nil)
	if code > 100 {
		res.To().Params.Add("tag", tag)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.AppendHeader(sip.NewHeader(name, value))
	}
	f.put([]byte(res.String()))
}

// A line is a layer under test.
type line struct {
	*Layer
	requests chan *Server
	faults   chan transport.Fault
}

func openLine(t *testing.T, network transport.Network, change func(*Config)) *line {
	t.Helper()
	l := &line{requests: make(chan *Server, 100), faults: make(chan transport.Fault, 100)}
	cfg := Config{
		Transport: transport.Config{
			Network: network,
			Trusts:  func(netip.Addr) bool { return true },
			OnFault: func(f transport.Fault) { l.faults <- f },
			Logger:  slog.New(slog.DiscardHandler),
		},
		OnRequest: func(s *Server) { l.requests <- s },
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if l.Layer, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (l *line) asked(t *testing.T) *Server {
	t.Helper()
	select {
	case s := <-l.requests:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no request came")
	}
	return nil
}

func at(a netip.AddrPort, tr outbound.Transport) outbound.Target {
	return outbound.Target{Addr: a, Dest: a.String(), Transport: tr}
}

// ours is a request as the line above makes it.
func ours(method sip.RequestMethod, headers ...string) *sip.Request {
	var to sip.Uri
	sip.ParseUri("sip:200@example.net", &to)
	req := sip.NewRequest(method, to)
	req.AppendHeader(&sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "100", Host: "example.net"}, Params: sip.HeaderParams{{K: "tag", V: "our-tag"}}})
	req.AppendHeader(&sip.ToHeader{Address: to, Params: sip.HeaderParams{}})
	id := sip.CallIDHeader("call@192.0.2.100")
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: method})
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Route" {
			var u sip.Uri
			sip.ParseUri(strings.Trim(value, "<>"), &u)
			req.AppendHeader(&sip.RouteHeader{Address: u})
			continue
		}
		req.AppendHeader(sip.NewHeader(name, value))
	}
	return req
}

// theirs is a request as it stands on the wire; headers replace those of the
// same name, and an empty value takes one out.
func theirs(method, branch string, headers ...string) string {
	order := []string{"Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Contact", "Content-Length"}
	value := map[string]string{
		"Via":            "SIP/2.0/UDP 192.0.2.7:5060;branch=" + branch,
		"From":           "<sip:200@example.net>;tag=their-tag",
		"To":             "<sip:100@example.net>",
		"Call-ID":        "their-call",
		"CSeq":           "1 " + method,
		"Max-Forwards":   "70",
		"Contact":        "<sip:200@192.0.2.7>",
		"Content-Length": "0",
	}
	line := method + " sip:100@192.0.2.100 SIP/2.0"
	for _, h := range headers {
		name, v, _ := strings.Cut(h, ": ")
		if name == "line" {
			line = v
			continue
		}
		if _, ok := value[name]; !ok {
			order = append(order, name)
		}
		value[name] = v
	}
	var b strings.Builder
	b.WriteString(line + "\r\n")
	for _, name := range order {
		if v := value[name]; v != "" {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// codes reads what an Invite delivers until it is closed or n have come.
func codes(t *testing.T, i *Invite, n int) []int {
	t.Helper()
	var got []int
	for len(got) < n {
		select {
		case res, ok := <-i.Responses():
			if !ok {
				return got
			}
			got = append(got, res.StatusCode)
		case <-time.After(5 * time.Minute):
			t.Fatalf("only %v", got)
		}
	}
	return got
}

// ended waits for the end of an Invite and returns why.
func ended(t *testing.T, i *Invite) error {
	t.Helper()
	for {
		select {
		case _, ok := <-i.Responses():
			if !ok {
				return i.Err()
			}
		case <-time.After(5 * time.Minute):
			t.Fatal("the INVITE does not end")
		}
	}
}

// tcpEnd is a far end on a connection.
func tcpEnd(t *testing.T, c net.Conn, from netip.AddrPort) *farEnd {
	parser := sip.NewParser().NewSIPStream()
	return &farEnd{t: t, t0: time.Now(), from: from,
		get: func(limit time.Duration) ([]byte, error) {
			c.SetReadDeadline(time.Now().Add(limit))
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return nil, err
				}
				parser.Write(buf[:n])
				msg, _, err := parser.ParseNext()
				if err == nil {
					return []byte(msg.String()), nil
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					return nil, err
				}
			}
		},
		put: func(b []byte) { c.Write(b) },
	}
}
