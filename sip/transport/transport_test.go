package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"github.com/ata-agent/ata-agent/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for machines twenty times slower than this one.
const patience = 20 * time.Second

// real is the kernel's network.
type real struct {
	net.ListenConfig
	net.Dialer
}

// A line is a transport under test and what it has told.
type line struct {
	*Transport
	messages chan sip.Message
	faults   chan Fault
	log      *bytes.Buffer
}

func openLine(t *testing.T, change func(*Config)) *line {
	t.Helper()
	l := &line{messages: make(chan sip.Message, 100), faults: make(chan Fault, 100), log: new(bytes.Buffer)}
	cfg := Config{
		Network:   &real{},
		Local:     "127.0.0.1:0",
		Trusts:    func(a netip.Addr) bool { return a == localhost || a == netip.IPv6Loopback() },
		OnMessage: func(m sip.Message) { l.messages <- m },
		OnFault:   func(f Fault) { l.faults <- f },
		Logger:    slog.New(slog.NewTextHandler(&locked{w: l.log}, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if l.Transport, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

var localhost = netip.MustParseAddr("127.0.0.1")

// locked is a writer for several goroutines.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (l *line) addr() netip.AddrPort { a, _ := addrPort(l.socket.LocalAddr()); return a }

// peer is a UDP socket on a loopback address.
func peer(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Skipf("no such address here: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UDPConn)
}

func target(a netip.AddrPort, tr outbound.Transport) outbound.Target {
	return outbound.Target{Addr: a, Dest: a.String(), Transport: tr}
}

func addrOf(c interface{ LocalAddr() net.Addr }) netip.AddrPort {
	a, _ := addrPort(c.LocalAddr())
	return a
}

// deadPort is an address where nobody listens.
func deadPort(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	c := peer(t, net.JoinHostPort(host, "0"))
	a := addrOf(c)
	c.Close()
	return a
}

func eventually[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing in %v", what, patience)
	}
	panic("unreachable")
}

// options is a request as it stands on the wire.
func options(headers ...string) string {
	lines := append([]string{
		"OPTIONS sip:100@127.0.0.1 SIP/2.0",
		"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK.1;rport",
		"From: <sip:proxy.example.net>;tag=1",
		"To: <sip:100@127.0.0.1>",
		"Call-ID: a@b",
		"CSeq: 1 OPTIONS",
	}, headers...)
	return strings.Join(lines, "\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

func parse(t testing.TB, raw string) sip.Message {
	t.Helper()
	msg, err := newParser().ParseSIP([]byte(raw))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, raw)
	}
	return msg
}

// sipgo 1.7.2 never hears ICMP on its unconnected sockets: a request to a
// closed port fails after timer B, 32 s. Measured with IP_RECVERR: 0.15 ms.
func TestClosedPortIsHeardAtOnce(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, local := range []string{net.JoinHostPort(host, "0"), ""} {
			t.Run(host+" from "+local, func(t *testing.T) {
				if runtime.GOOS != "linux" {
					t.Skip("only Linux has an error queue")
				}
				dead := deadPort(t, host)
				l := openLine(t, func(c *Config) { c.Local = local })
				start := time.Now()
				if err := l.Send(target(dead, outbound.UDP), parse(t, options())); err != nil {
					t.Fatal(err)
				}
				f := eventually(t, "ICMP", l.faults)
				t.Logf("heard after %v: %v", time.Since(start), f)
				if f.Addr != dead || f.Kind != Unreachable || f.Transport != outbound.UDP {
					t.Errorf("got %+v, want %v unreachable", f, dead)
				}

				// The listener lives on (sipgo's ends at the first such error), and a
				// write that meets an old error is tried again.
				good := peer(t, net.JoinHostPort(host, "0"))
				for range 20 {
					if err := l.Send(target(dead, outbound.UDP), parse(t, options())); err != nil {
						t.Fatalf("to the dead port: %v", err)
					}
					if err := l.Send(target(addrOf(good), outbound.UDP), parse(t, options())); err != nil {
						t.Fatalf("to the living port: %v", err)
					}
				}
				to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(addrOf(good).Addr(), l.addr().Port()))
				if _, err := good.WriteTo([]byte(options()), to); err != nil {
					t.Fatal(err)
				}
				eventually(t, "a message after ICMP errors", l.messages)
			})
		}
	}
}

// All addresses are asked at once and most are dead: their errors, which the
// kernel hands to whoever writes next, keep nothing from the living one.
func TestManyDeadOneAlive(t *testing.T) {
	if testing.Short() {
		t.Skip("the kernel is the same under emulation, and the emulator errs when so many threads are at work")
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has an error queue")
	}
	l := openLine(t, func(c *Config) { c.Local = "127.0.0.1:0" })
	good := peer(t, "127.0.0.1:0")
	stop, gone := make(chan struct{}), make(chan struct{})
	go func() {
		for {
			select {
			case <-l.faults:
			case <-gone:
				return
			}
		}
	}()
	defer close(gone)
	var others sync.WaitGroup
	for range 8 {
		dead, msg := deadPort(t, "127.0.0.1"), parse(t, options())
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.Send(target(dead, outbound.UDP), msg)
				}
			}
		})
	}
	msg, lost := parse(t, options()), 0
	for range 20000 {
		if l.Send(target(addrOf(good), outbound.UDP), msg) != nil {
			lost++
		}
	}
	close(stop)
	others.Wait()
	t.Logf("%d of 20000 writes failed for others' errors", lost)
	if lost > 0 {
		t.Error("too many")
	}
}

// fakeNet opens sockets made by a test.
type fakeNet struct {
	real
	mu    sync.Mutex
	conns []net.PacketConn
	asked []string
}

func (f *fakeNet) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, address)
	if len(f.conns) == 0 {
		return nil, errors.New("no more sockets")
	}
	c := f.conns[0]
	f.conns = f.conns[1:]
	return c, nil
}

// fakeConn is a socket without a kernel: what it reads is what a test puts in.
type fakeConn struct {
	in     chan any // an error, or a datagram from localhost
	closed chan struct{}
	once   sync.Once
	local  net.Addr
	sent   chan []byte
	fail   chan error // of the next write
}

func newFakeConn() *fakeConn {
	return &fakeConn{in: make(chan any, 100), closed: make(chan struct{}), local: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060}, sent: make(chan []byte, 100), fail: make(chan error, 10)}
}

func (c *fakeConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case v := <-c.in:
		if err, ok := v.(error); ok {
			return 0, nil, err
		}
		return copy(b, v.(string)), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5080}, nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *fakeConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case err := <-c.fail:
		return 0, err
	default:
	}
	c.sent <- bytes.Clone(b)
	return len(b), nil
}
func (c *fakeConn) Close() error                     { c.once.Do(func() { close(c.closed) }); return nil }
func (c *fakeConn) LocalAddr() net.Addr              { return c.local }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

// sipgo's ServeUDP returns nil at the first read error that is not ErrClosed,
// and the phone is deaf until it is restarted.
func TestReadErrorsDoNotEndListening(t *testing.T) {
	first, second := newFakeConn(), newFakeConn()
	network := &fakeNet{conns: []net.PacketConn{first, second}}
	l := openLine(t, func(c *Config) { c.Network = network })

	first.in <- syscall.EIO
	first.in <- options()
	eventually(t, "a message after one error", l.messages)

	// An error that names an address is ICMP, in a network that has no kernel.
	dead := netip.MustParseAddrPort("192.0.2.7:5060")
	first.in <- &net.OpError{Op: "read", Net: "udp", Addr: net.UDPAddrFromAddrPort(dead), Err: syscall.ECONNREFUSED}
	if f := eventually(t, "fault", l.faults); f.Addr != dead || f.Kind != Unreachable {
		t.Errorf("got %+v, want %v unreachable", f, dead)
	}

	// A socket that is broken for good is replaced, on the same port.
	for range troubleMax {
		first.in <- syscall.EIO
	}
	if f := eventually(t, "fault", l.faults); f.Kind != OwnSide || f.Addr.IsValid() {
		t.Errorf("got %+v, want one of our own side", f)
	}
	second.in <- options()
	eventually(t, "a message on the new socket", l.messages)
	network.mu.Lock()
	defer network.mu.Unlock()
	if got := network.asked[len(network.asked)-1]; got != "127.0.0.1:5060" {
		t.Errorf("the new socket is at %s, want the old address", got)
	}
	if n := l.Counters().Reopened; n != 1 {
		t.Errorf("%d sockets replaced, want 1", n)
	}
}

func TestWriteErrors(t *testing.T) {
	conn := newFakeConn()
	l := openLine(t, func(c *Config) { c.Network = &fakeNet{conns: []net.PacketConn{conn}} })
	dead, alive := netip.MustParseAddrPort("192.0.2.7:5060"), netip.MustParseAddrPort("192.0.2.8:5060")

	// What an earlier datagram to another address left behind is not this one's failure.
	conn.fail <- &net.OpError{Op: "write", Addr: net.UDPAddrFromAddrPort(dead), Err: syscall.ECONNREFUSED}
	if err := l.Send(target(alive, outbound.UDP), parse(t, options())); err != nil {
		t.Errorf("write after another's error: %v", err)
	}
	if f := eventually(t, "fault", l.faults); f.Addr != dead {
		t.Errorf("fault of %v, want %v", f.Addr, dead)
	}
	// Nor are those of several.
	for range 4 {
		conn.fail <- &net.OpError{Op: "write", Addr: net.UDPAddrFromAddrPort(dead), Err: syscall.ECONNREFUSED}
	}
	if err := l.Send(target(alive, outbound.UDP), parse(t, options())); err != nil {
		t.Errorf("write after four errors of another: %v", err)
	}
	for range 4 {
		if f := eventually(t, "fault", l.faults); f.Addr != dead {
			t.Errorf("fault of %v, want %v", f.Addr, dead)
		}
	}
	for _, tc := range []struct {
		err  error
		kind FaultKind
	}{
		{syscall.ENETUNREACH, OwnSide},
		{syscall.EADDRNOTAVAIL, OwnSide},
		{syscall.EPERM, OwnSide},
	} {
		conn.fail <- tc.err
		var f Fault
		if err := l.Send(target(alive, outbound.UDP), parse(t, options())); !errors.As(err, &f) || f.Kind != tc.kind {
			t.Errorf("%v: got %v, want %v", tc.err, err, tc.kind)
		}
	}
}

// sipgo 1.7.2 keeps 101 bytes for each source address it has seen, for ever:
// 3000 datagrams leave 3001 pool entries; a UAS on it grew to 466 MB in 15 s
// of 2,000 INVITEs a second, and answered them.
func TestStrangersCostNothing(t *testing.T) {
	l := openLine(t, nil)
	to := net.UDPAddrFromAddrPort(l.addr())
	invite := strings.ReplaceAll(options("Contact: <sip:x@127.0.0.9>"), "OPTIONS", "INVITE")
	var strangers []*net.UDPConn
	for n := range 50 {
		strangers = append(strangers, peer(t, fmt.Sprintf("127.0.0.%d:0", 9+n%20)))
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds, pace = 200, 2 * time.Millisecond // 50 every 2 ms is far above 2,000 a second
	for n := range rounds {
		for _, s := range strangers {
			s.WriteTo([]byte(strings.Replace(invite, "z9hG4bK.1", fmt.Sprintf("z9hG4bK.%d", n), 1)), to)
		}
		time.Sleep(pace)
	}

	// A trusted peer whose port changes with every datagram leaves nothing behind either.
	for range 50 {
		c := peer(t, "127.0.0.1:0")
		c.WriteTo([]byte(options()), to)
		eventually(t, "trusted message in the flood", l.messages)
		c.Close()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)

	if n := l.layer.Pool("udp").Size(); n > 2 {
		t.Errorf("sipgo remembers %d addresses, want its own socket and one", n)
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("heap grew by %d bytes", grown)
	}
	c := l.Counters()
	t.Logf("%+v", c)
	if c.Stranger < rounds*50/4 { // the kernel may drop some
		t.Errorf("%d strangers counted of %d", c.Stranger, rounds*50)
	}
	if c.Received != 50 {
		t.Errorf("%d given to the parser, want 50", c.Received)
	}
	buf := make([]byte, 2000)
	for _, s := range strangers {
		s.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, _, err := s.ReadFrom(buf); err == nil {
			t.Fatalf("a stranger was answered: %s", buf[:n])
		}
	}
	if l.log.Len() != 0 {
		t.Errorf("strangers were logged: %s", l.log)
	}
}

func TestDropPathAllocatesNothing(t *testing.T) {
	tr := &Transport{cfg: Config{Trusts: func(a netip.Addr) bool { return a == localhost }}}
	s := &socket{t: tr, rates: rates{perSecond: 100}}
	stranger, proxy := netip.MustParseAddrPort("192.0.2.66:5060"), netip.AddrPortFrom(localhost, 5060)
	msg, long := []byte(options()), make([]byte, maxMessage+1)
	for _, tc := range []struct {
		name string
		from netip.AddrPort
		msg  []byte
	}{
		{"stranger", stranger, msg},
		{"too big", proxy, long},
		{"keep-alive", proxy, []byte("\r\n\r\n")},
		{"too fast, and admitted", proxy, msg},
	} {
		if n := testing.AllocsPerRun(1000, func() { s.admit(tc.msg, tc.from) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", tc.name, n)
		}
	}

	// The same from the socket on.
	a, b := peer(t, "127.0.0.1:0"), peer(t, "127.0.0.1:0")
	in, to, buf := &packetConn{PacketConn: a, fast: a}, addrOf(a), make([]byte, maxMessage+1)
	tr.cfg.Trusts = func(netip.Addr) bool { return false }
	if n := testing.AllocsPerRun(1000, func() {
		b.WriteToUDPAddrPort(msg, to)
		n, from, err := in.read(buf)
		if err != nil || s.admit(buf[:n], from) {
			t.Fatal(err, "admitted")
		}
	}); n != 0 {
		t.Errorf("read and drop: %v allocations, want 0", n)
	}
}

func TestRates(t *testing.T) {
	r := rates{perSecond: 100}
	now := time.Now()
	took := func(n int, response bool) (ok int) {
		for range n {
			if r.admit(localhost, response, now) {
				ok++
			}
		}
		return ok
	}
	if got := took(1000, false); got != 200 {
		t.Errorf("%d requests at once, want %d", got, 200)
	}
	if got := took(1000, true); got != 400 {
		t.Errorf("%d responses at once after a flood of requests, want %d", got, 400)
	}
	now = now.Add(time.Second)
	if got := took(1000, false); got != 100 {
		t.Errorf("%d requests a second, want %d", got, 100)
	}
	// More addresses than the table has places: the silent ones make room.
	for n := range 100 {
		now = now.Add(time.Second)
		r.admit(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), false, now)
	}
	if !r.admit(localhost, false, now) {
		t.Error("an address that was pushed out has to start anew")
	}
}

func TestSizes(t *testing.T) {
	l := openLine(t, nil)
	p := peer(t, "127.0.0.1:0")
	to := net.UDPAddrFromAddrPort(l.addr())

	// sipgo refuses to write more than 1300 bytes: "size of packet larger than MTU".
	big := parse(t, options("X-Big: "+strings.Repeat("x", 7000)))
	if err := l.Send(target(addrOf(p), outbound.UDP), big); err != nil {
		t.Errorf("7 KB out: %v", err)
	}
	buf := make([]byte, 20000)
	p.SetReadDeadline(time.Now().Add(patience))
	n, _, err := p.ReadFrom(buf)
	if err != nil || n < 7000 {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	p.WriteTo(buf[:n], to)
	eventually(t, "7 KB in", l.messages)

	p.WriteTo([]byte(options("X-Big: "+strings.Repeat("x", 8200))), to)
	p.WriteTo([]byte(options()), to)
	eventually(t, "the message after it", l.messages)
	if c := l.Counters(); c.TooBig != 1 {
		t.Errorf("%+v, want one too big", c)
	}
}

func TestGarbage(t *testing.T) {
	l := openLine(t, nil)
	p := peer(t, "127.0.0.1:0")
	to := net.UDPAddrFromAddrPort(l.addr())
	for range 20 {
		p.WriteTo([]byte("INVITE "+strings.Repeat("\x1b[31m no SIP ", 300)), to)
	}
	p.WriteTo([]byte("\r\n\r\n"), to)
	p.WriteTo([]byte("\x01\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"), to)
	p.WriteTo([]byte(options()), to)
	eventually(t, "the message after it", l.messages)
	if c := l.Counters(); c.Unparsable != 20 || c.KeepAlive != 2 {
		t.Errorf("%+v, want 20 unparsable, 2 keep-alive", c)
	}
	// sipgo logs each whole, at level Error: 46 MB for 12,000 packets.
	if l.log.Len() == 0 || l.log.Len() > 800 || bytes.ContainsRune(l.log.Bytes(), 0x1b) {
		t.Errorf("log of %d bytes:\n%s", l.log.Len(), l.log)
	}

	// "If the transport packet ends before the end of the message body [...] If
	// the message is a request, the element SHOULD generate a 400": it has to
	// be delivered for that.
	p.WriteTo([]byte(strings.Replace(options(), "Content-Length: 0", "Content-Length: 10", 1)), to)
	m := eventually(t, "truncated request", l.messages)
	if m.Body() != nil || *m.ContentLength() != 10 || m.Source() != addrOf(p).String() {
		t.Errorf("got %v from %s", m, m.Source())
	}
}

func TestSourceIsTold(t *testing.T) {
	l := openLine(t, nil)
	for range 3 {
		p := peer(t, "127.0.0.1:0")
		p.WriteTo([]byte(options()), net.UDPAddrFromAddrPort(l.addr()))
		if m := eventually(t, "message", l.messages); m.Source() != addrOf(p).String() {
			t.Errorf("source %s, want %s", m.Source(), addrOf(p))
		}
	}
}

// sipgo maps only the compact forms of the headers it parses itself:
// GetHeader("Supported") does not find "k: 100rel".
func TestCompactForms(t *testing.T) {
	msg := parse(t, options("k: 100rel", "o: message-summary", "r: <sip:200@example.net>", "b: <sip:300@example.net>",
		"s: hello", "u: dialog", "x: 1800;refresher=uac", "e: gzip"))
	for name, want := range map[string]string{
		"Supported": "100rel", "Event": "message-summary", "Refer-To": "<sip:200@example.net>", "Referred-By": "<sip:300@example.net>",
		"Subject": "hello", "Allow-Events": "dialog", "Session-Expires": "1800;refresher=uac", "Content-Encoding": "gzip",
	} {
		h := msg.(*sip.Request).GetHeader(name)
		if h == nil || h.Value() != want {
			t.Errorf("%s: got %v, want %q", name, h, want)
		}
	}
	if msg.(*sip.Request).ReferTo() == nil {
		t.Error("r: is no ReferTo")
	}
}

// sipgo writes values as they are: a CRLF in a display name becomes a header.
func TestInjectionIsRefused(t *testing.T) {
	l := openLine(t, nil)
	p := peer(t, "127.0.0.1:0")
	to := target(addrOf(p), outbound.UDP)
	evil := []string{"a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX", "a\x00b", "\r\n", "\r\n\r\n", "\r\n\r\nbody", "\r\n X"}
	places := map[string]func(*sip.Request, string){
		"display name": func(r *sip.Request, v string) { r.From().DisplayName = v },
		"user":         func(r *sip.Request, v string) { r.Recipient.User = v },
		"host":         func(r *sip.Request, v string) { r.To().Address.Host = v },
		"uri param":    func(r *sip.Request, v string) { r.To().Address.UriParams.Add("user", v) },
		"uri header":   func(r *sip.Request, v string) { r.To().Address.Headers.Add("Replaces", v) },
		"param":        func(r *sip.Request, v string) { r.Via().Params.Add("x", v) },
		"value":        func(r *sip.Request, v string) { r.AppendHeader(sip.NewHeader("Subject", v)) },
		"name":         func(r *sip.Request, v string) { r.AppendHeader(sip.NewHeader(v, "x")) },
		"Call-ID": func(r *sip.Request, v string) {
			id := sip.CallIDHeader(v)
			r.RemoveHeader("Call-ID")
			r.AppendHeader(&id)
		},
		"method":  func(r *sip.Request, v string) { r.Method = sip.RequestMethod(v) },
		"version": func(r *sip.Request, v string) { r.SipVersion = v },
		"CSeq":    func(r *sip.Request, v string) { r.CSeq().MethodName = sip.RequestMethod(v) },
		"Contact": func(r *sip.Request, v string) {
			r.AppendHeader(&sip.ContactHeader{DisplayName: v, Address: r.Recipient})
		},
	}
	for place, put := range places {
		for _, v := range evil {
			req := parse(t, options()).(*sip.Request)
			req.SetBody([]byte("v=0\r\n\r\na=\x00\r\n"))
			if err := l.Send(to, req); err != nil {
				t.Fatalf("clean: %v", err)
			}
			put(req, v)
			if err := l.Send(to, req); !errors.Is(err, ErrInjection) {
				t.Errorf("%q in %s: %v, want ErrInjection", v, place, err)
			}
		}
	}
	res := sip.NewResponseFromRequest(parse(t, options()).(*sip.Request), 200, "OK\r\nX-Evil: 1", nil)
	if err := l.Send(to, res); !errors.Is(err, ErrInjection) {
		t.Errorf("in a reason: %v, want ErrInjection", err)
	}
}

// TLS.

type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{key, cert, pool}
}

func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"proxy.example.net"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// sipgo takes one ServerName for all, or the address it dials: with addresses
// from DNS there is no SNI, and the certificate never fits.
func TestTLSVerifiesTheName(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, tc := range []struct {
		name string
		cert tls.Certificate
		max  uint16
		want string // TLSName
		ok   bool
	}{
		{"right", ca.issue(t, nil), 0, "proxy.example.net", true},
		{"another name", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"other.example.net"} }), 0, "proxy.example.net", false},
		{"only the address", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = nil; c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), 0, "proxy.example.net", false},
		{"only a common name", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = "proxy.example.net" }), 0, "proxy.example.net", false},
		{"expired", ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), 0, "proxy.example.net", false},
		{"unknown authority", other.issue(t, nil), 0, "proxy.example.net", false},
		{"TLS 1.1", ca.issue(t, nil), tls.VersionTLS11, "proxy.example.net", false},
		{"no name configured", ca.issue(t, nil), 0, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sni := make(chan string, 1)
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tc.max, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				sni <- h.ServerName
				return &tc.cert, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			accepted := make(chan net.Conn, 1)
			go func() {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				if c.(*tls.Conn).Handshake() == nil {
					c.Write([]byte(strings.Replace(options(), "UDP", "TLS", 1)))
				}
				accepted <- c
			}()
			l := openLine(t, func(c *Config) { c.Roots = ca.pool })
			to := target(netip.MustParseAddrPort(ln.Addr().String()), outbound.TLS)
			to.TLSName = tc.want
			local, err := l.Connect(t.Context(), to)
			if !tc.ok {
				var f Fault
				if !errors.As(err, &f) || f.Kind != TLSFailed || f.Addr != to.Addr {
					t.Errorf("got %v, want TLS failed", err)
				}
				if tc.want != "" {
					(<-accepted).Close()
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c := <-accepted
			defer c.Close()
			if got := <-sni; got != tc.want {
				t.Errorf("SNI %q, want %q", got, tc.want)
			}
			if local.Transport != "TLS" || local.Addr.String() != c.RemoteAddr().String() {
				t.Errorf("local %+v, want %v", local, c.RemoteAddr())
			}
			m := eventually(t, "message over TLS", l.messages)
			if m.Transport() != "TLS" || m.Source() != to.Dest {
				t.Errorf("%s from %s", m.Transport(), m.Source())
			}
			// The same address under another name is another connection.
			to.TLSName = "other.example.net"
			ln.Close()
			if _, err := l.Connect(t.Context(), to); err == nil {
				t.Error("a connection verified as proxy.example.net was used for other.example.net")
			}
		})
	}
}

func TestStreamLife(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l := openLine(t, nil)
	to := target(netip.MustParseAddrPort(ln.Addr().String()), outbound.TCP)

	// Without Connect there is nothing to send on.
	var f Fault
	if err := l.Send(to, parse(t, options())); !errors.As(err, &f) || f.Kind != Lost {
		t.Errorf("send before connect: %v", err)
	}
	// Many who want it get one connection.
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := l.Connect(t.Context(), to); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Send(to, parse(t, options())); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(options()))
	if _, err := io.ReadFull(c, buf); err != nil || !strings.HasPrefix(string(buf), "OPTIONS") {
		t.Fatalf("%v: %s", err, buf)
	}
	// A message in pieces, with keep-alives around it.
	m := strings.Replace(options(), "UDP", "TCP", 1)
	for _, part := range []string{"\r\n", m[:100], m[100:150], m[150:] + "\r\n\r\n"} {
		c.Write([]byte(part))
		time.Sleep(5 * time.Millisecond)
	}
	if got := eventually(t, "message in pieces", l.messages); got.Source() != to.Dest || got.Transport() != "TCP" {
		t.Errorf("%s from %s", got.Transport(), got.Source())
	}
	// Ping: the pong, or anything else.
	go func() {
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err == nil && string(b) == "\r\n\r\n" {
			c.Write([]byte("\r\n"))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.Ping(ctx, to, CRLF); err != nil {
		t.Errorf("ping: %v", err)
	}
	// Nobody answers: the context ends.
	short, cancel2 := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel2()
	if err := l.Ping(short, to, CRLF); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping of a mute peer: %v", err)
	}

	// With plain sipgo a transaction on a closed connection waits 32 s.
	start := time.Now()
	c.Close()
	if f := eventually(t, "lost", l.faults); f.Kind != Lost || f.Addr != to.Addr || f.Transport != outbound.TCP {
		t.Errorf("got %+v", f)
	}
	t.Logf("loss told after %v", time.Since(start))
	// The next Connect opens another.
	if _, err := l.Connect(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	c, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	// Bytes that are no SIP end it: there is no telling where the next message begins.
	c.Write([]byte("no SIP at all\r\n\r\n"))
	eventually(t, "lost", l.faults)
	c.Close()
	// Nobody listens any more.
	ln.Close()
	// On MIPS qemu-user hands over the host's number for ECONNREFUSED, 111.
	_, err = l.Connect(t.Context(), to)
	if !errors.As(err, &f) || f.Kind != Refused && !strings.Contains(err.Error(), "errno 111") {
		t.Errorf("connect to a closed port: %v, want refused", err)
	}
}

// A peer that takes nothing holds nobody up: what is meant for it waits in a
// queue, and when that is full the connection is given up.
func TestStreamBacklog(t *testing.T) {
	l := openLine(t, func(c *Config) { c.Network = piped{&real{}} })
	to := target(netip.MustParseAddrPort("192.0.2.7:5060"), outbound.TCP)
	if _, err := l.Connect(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	big := parse(t, options("X-Big: "+strings.Repeat("x", 7000)))
	sent := 0
	for ; l.Send(to, big) == nil; sent += 7000 {
		if sent > 2*writeBacklog {
			t.Fatalf("%d bytes are kept for a peer that reads nothing", sent)
		}
	}
	if f := eventually(t, "lost", l.faults); f.Kind != Lost {
		t.Errorf("got %+v", f)
	}
	if sent < writeBacklog/2 {
		t.Errorf("given up after %d bytes", sent)
	}
}

// piped is a network where the peer of a TCP connection reads nothing.
type piped struct{ *real }

func (piped) DialContext(context.Context, string, string) (net.Conn, error) {
	a, _ := net.Pipe()
	return addressed{a}, nil
}

type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 100), Port: 50000} }
func (addressed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 5060} }

func TestDialGivesUpWithItsCaller(t *testing.T) {
	// 192.0.2.0/24 is for documentation: nobody answers there, if there is a way at all.
	l := openLine(t, func(c *Config) { c.Network = stuck{&real{}} })
	to := target(netip.MustParseAddrPort("192.0.2.7:5060"), outbound.TCP)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Connect(ctx, to); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	// Close ends one that is under way.
	done := make(chan error, 1)
	go func() { _, err := l.Connect(context.Background(), to); done <- err }()
	time.Sleep(10 * time.Millisecond)
	l.Close()
	if err := eventually(t, "connect", done); err == nil {
		t.Error("connected to nothing")
	}
}

// stuck is a network where TCP connects never.
type stuck struct{ *real }

func (stuck) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSTUN(t *testing.T) {
	l := openLine(t, nil)
	p := peer(t, "127.0.0.1:0")
	to := target(addrOf(p), outbound.UDP)
	go func() {
		b := make([]byte, 100)
		for n := range 2 {
			k, from, err := p.ReadFrom(b)
			// RFC 5389 section 6: "The magic cookie field MUST contain the fixed value 0x2112A442 in network byte order."
			if err != nil || k != 20 || !bytes.Equal(b[:8], []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}) {
				t.Errorf("%v: % x", err, b[:k])
				return
			}
			if n == 1 { // the first is lost
				b[0] = 1
				p.WriteTo(b[:20], from)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := l.Ping(ctx, to, STUN); err != nil {
		t.Errorf("ping: %v", err)
	}
	if len(l.messages) != 0 {
		t.Error("STUN was delivered as SIP")
	}
	if runtime.GOOS == "linux" {
		var f Fault
		if err := l.Ping(ctx, target(deadPort(t, "127.0.0.1"), outbound.UDP), STUN); !errors.As(err, &f) || f.Kind != Unreachable {
			t.Errorf("ping of a dead port: %v", err)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	l := openLine(t, func(c *Config) { c.Local = "" })
	p := peer(t, "127.0.0.1:0")
	local, err := l.Connect(t.Context(), target(addrOf(p), outbound.UDP))
	if err != nil {
		t.Fatal(err)
	}
	if local.Addr.Addr() != localhost || local.Addr.Port() != l.addr().Port() || local.Transport != "UDP" {
		t.Errorf("got %+v, want 127.0.0.1 and the port of the socket", local)
	}
}

func TestFaultReadsAsASentence(t *testing.T) {
	f := Fault{netip.MustParseAddrPort("192.0.2.7:5061"), outbound.TLS, Lost, io.EOF}
	if got, want := f.Error(), "tls 192.0.2.7:5061: connection lost: EOF"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(f, io.EOF) {
		t.Error("the cause is lost")
	}
}

func BenchmarkDropStranger(b *testing.B) {
	s := &socket{t: &Transport{cfg: Config{Trusts: func(a netip.Addr) bool { return a == localhost }}}}
	from, msg := netip.MustParseAddrPort("192.0.2.66:5060"), []byte(options())
	b.ReportAllocs()
	for b.Loop() {
		s.admit(msg, from)
	}
}

func BenchmarkSend(b *testing.B) {
	conn := newFakeConn()
	conn.sent = make(chan []byte)
	s := &Transport{cfg: Config{}}
	s.socket = &socket{t: s}
	s.socket.inner.Store(&packetConn{PacketConn: conn, fast: sink{}})
	to, msg := target(netip.MustParseAddrPort("192.0.2.7:5060"), outbound.UDP), parse(b, options())
	b.ReportAllocs()
	for b.Loop() {
		s.Send(to, msg)
	}
}

type sink struct{}

func (sink) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)    { return 0, netip.AddrPort{}, nil }
func (sink) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }
