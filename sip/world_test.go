package sip

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

// A world is a network without cables: datagrams arrive at once and in order,
// and a port where nobody listens answers as ICMP does. One telephone line is
// on it, at 10.0.0.2, and proxies that tests switch.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	socks   map[netip.AddrPort]*sock
	seen    []heard                    // every message, as it was sent
	nat     map[netip.Addr]netip.Addr  // how an address looks from outside
	lose    func(from, to string) bool // a datagram that gets lost
	down    bool                       // no link at the telephone's side
	delay   time.Duration              // of each datagram
	last    time.Time                  // when the latest delayed one arrives
	streams map[netip.AddrPort]chan net.Conn
	pipes   []*proxy
	start   time.Time
	events  chan Event
	line    *Line
	route   *outbound.Route
	stop    func()
	done    chan struct{}
	port    uint16
	own     netip.Addr // the telephone's
	wild    bool       // its socket is bound to any address
	name    string     // that certificates of proxies must show
}

type heard struct {
	at       time.Duration
	from, to string
	text     string
}

// first is the message's start line.
func (h heard) first() string { s, _, _ := strings.Cut(h.text, "\r\n"); return s }

// header is the value of the first header field of that name.
func (h heard) header(name string) string {
	for _, l := range strings.Split(h.text, "\r\n") {
		if k, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

type sock struct {
	w      *world
	addr   netip.AddrPort
	in     chan datagram
	closed chan struct{}
	once   sync.Once
	peer   netip.AddrPort // of a connected one
}

type datagram struct {
	from netip.AddrPort
	data []byte
	err  error
}

func newWorld(t *testing.T) *world {
	return &world{t: t, socks: map[netip.AddrPort]*sock{}, nat: map[netip.Addr]netip.Addr{}, streams: map[netip.AddrPort]chan net.Conn{},
		start: time.Now(), events: make(chan Event, 4096), done: make(chan struct{}), port: 40000, own: addr("10.0.0.2")}
}

func (w *world) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	host, port, _ := net.SplitHostPort(address)
	if host == "" {
		host = w.own.String()
	}
	if port == "0" {
		w.port++
		port = fmt.Sprint(w.port)
	}
	return w.listen(netip.MustParseAddrPort(net.JoinHostPort(host, port)))
}

func (w *world) listen(at netip.AddrPort) (*sock, error) {
	s := &sock{w: w, addr: at, in: make(chan datagram, 1024), closed: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.socks[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	w.socks[at] = s
	return s, nil
}

func (w *world) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to := netip.MustParseAddrPort(address)
	w.mu.Lock()
	down, accept, here := w.down, w.streams[to], w.own
	w.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	if network == "udp" {
		return &sock{w: w, addr: netip.AddrPortFrom(here, 1), peer: to, closed: make(chan struct{})}, nil
	}
	if accept == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	w.mu.Lock()
	w.port++
	own := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), w.port)
	w.mu.Unlock()
	a, b := net.Pipe()
	select {
	case accept <- stream{b, to, own}:
		return stream{a, own, to}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// lossy loses a part of all datagrams, each way.
func (w *world) lossy(seed uint64, part float64) {
	dice := rand.New(rand.NewPCG(seed, 0))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose, w.delay = func(string, string) bool { return dice.Float64() < part }, 10*time.Millisecond
}

type stream struct {
	net.Conn
	here, there netip.AddrPort
}

func (s stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.here) }
func (s stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.there) }

func (s *sock) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-s.in:
		if d.err != nil {
			return 0, nil, d.err
		}
		return copy(b, d.data), net.UDPAddrFromAddrPort(d.from), nil
	case <-s.closed:
		return 0, nil, net.ErrClosed
	}
}

func (s *sock) WriteTo(b []byte, to net.Addr) (int, error) {
	dst := to.(*net.UDPAddr).AddrPort()
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	phone := s.addr.Addr() == w.own
	if phone && w.down {
		return 0, &net.OpError{Op: "write", Err: syscall.ENETUNREACH}
	}
	w.seen = append(w.seen, heard{time.Since(w.start), s.addr.String(), dst.String(), string(b)})
	from := s.addr
	if pub, ok := w.nat[from.Addr()]; ok {
		from = netip.AddrPortFrom(pub, from.Port())
	}
	for in, pub := range w.nat {
		if dst.Addr() == pub {
			dst = netip.AddrPortFrom(in, dst.Port())
		}
	}
	if w.lose != nil && w.lose(s.addr.String(), dst.String()) {
		return len(b), nil
	}
	peer := w.socks[dst]
	if peer == nil {
		s.give(datagram{err: &net.OpError{Op: "read", Addr: net.UDPAddrFromAddrPort(dst), Err: os.NewSyscallError("recvmsg", syscall.ECONNREFUSED)}})
		return len(b), nil
	}
	d := datagram{from: from, data: slices.Clone(b)}
	if w.delay > 0 {
		// Never two at one instant: they come in the order in which they were sent.
		if w.last = w.last.Add(time.Microsecond); w.last.Before(time.Now().Add(w.delay)) {
			w.last = time.Now().Add(w.delay)
		}
		time.AfterFunc(time.Until(w.last), func() { peer.give(d) })
	} else {
		peer.give(d)
	}
	return len(b), nil
}

func (s *sock) give(d datagram) {
	select {
	case s.in <- d:
	default:
	}
}

func (s *sock) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.w.mu.Lock()
		if s.w.socks[s.addr] == s {
			delete(s.w.socks, s.addr)
		}
		s.w.mu.Unlock()
	})
	return nil
}

func (s *sock) LocalAddr() net.Addr {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.wild && s.addr.Addr() == s.w.own && !s.peer.IsValid() {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv4Unspecified(), s.addr.Port()))
	}
	return net.UDPAddrFromAddrPort(s.addr)
}

// renumber gives the telephone another address.
func (w *world) renumber(to netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, s := range w.socks {
		if at.Addr() == w.own {
			delete(w.socks, at)
			s.addr = netip.AddrPortFrom(to, at.Port())
			w.socks[s.addr] = s
		}
	}
	w.own = to
}

func (s *sock) RemoteAddr() net.Addr             { return net.UDPAddrFromAddrPort(s.peer) }
func (s *sock) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (s *sock) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (s *sock) SetDeadline(time.Time) error      { return nil }
func (s *sock) SetReadDeadline(time.Time) error  { return nil }
func (s *sock) SetWriteDeadline(time.Time) error { return nil }

// A proxy is registrar, proxy and far end at one address.
type proxy struct {
	w    *world
	addr netip.AddrPort
	sock net.PacketConn

	mu      sync.Mutex
	silent  bool // hears nothing
	code    int  // answers everything with it, when not 0
	realm   string
	alg     string
	nonces  int
	granted int // seconds
	minimum int // Min-Expires
	contact string
	used    map[string]bool   // nonce and nc
	said    map[string]string // the last response to each request, which its repetition gets again
	// handle takes a request before the usual ways do; true means it was dealt with.
	handle func(p *proxy, req *sip.Request) bool
	// answered takes a response to a request of the proxy's.
	answers chan *sip.Response
	conns   map[string]net.Conn // by the telephone's address
	secure  *tls.Config         // of its connections; nil: TCP
	byes    atomic.Int32
	cancels atomic.Int32
}

const password = "secret"

func (w *world) proxy(addr string) *proxy {
	p := &proxy{w: w, addr: netip.MustParseAddrPort(addr), realm: "example.net", granted: 60, used: map[string]bool{}, said: map[string]string{}, answers: make(chan *sip.Response, 4096)}
	p.up()
	return p
}

// up lets the proxy listen; kill closes its port.
func (p *proxy) up() {
	var s net.PacketConn
	var err error
	if p.addr.Addr().IsLoopback() {
		s, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(p.addr)) // the real network
	} else {
		s, err = p.w.listen(p.addr)
	}
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.addr = s.LocalAddr().(*net.UDPAddr).AddrPort()
	p.mu.Lock()
	p.sock = s
	p.mu.Unlock()
	go func() {
		b := make([]byte, 65536)
		for {
			n, from, err := s.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				p.hear(b[:n], from.(*net.UDPAddr).AddrPort())
			}
		}
	}()
}

func (p *proxy) kill() { p.sock.Close() }

// tcp lets the proxy listen for connections; cut closes them and refuses more.
func (w *world) tcp(addr string) *proxy {
	p := &proxy{w: w, addr: netip.MustParseAddrPort(addr), realm: "example.net", granted: 60, used: map[string]bool{}, said: map[string]string{}, answers: make(chan *sip.Response, 4096), conns: map[string]net.Conn{}}
	accept := make(chan net.Conn)
	w.mu.Lock()
	w.streams[p.addr] = accept
	w.mu.Unlock()
	w.pipes = append(w.pipes, p)
	go func() {
		for conn := range accept {
			from := conn.RemoteAddr().String()
			if p.secure != nil {
				conn = tls.Server(conn, p.secure)
			}
			p.set(func() { p.conns[from] = conn })
			go func() {
				parser := sip.NewParser().NewSIPStream()
				b := make([]byte, 65536)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					if strings.Trim(string(b[:n]), "\r\n") == "" {
						conn.Write([]byte("\r\n"))
						continue
					}
					parser.ParseSIPStream(slices.Clone(b[:n]), func(m sip.Message) {
						w.mu.Lock()
						w.seen = append(w.seen, heard{time.Since(w.start), from, p.addr.String(), m.String()})
						w.mu.Unlock()
						p.hear([]byte(m.String()), netip.MustParseAddrPort(from))
					})
				}
			}()
		}
	}()
	return p
}

func (p *proxy) cut() {
	p.w.mu.Lock()
	if a := p.w.streams[p.addr]; a != nil {
		close(a)
		delete(p.w.streams, p.addr)
	}
	p.w.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

func (p *proxy) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func (p *proxy) hear(b []byte, from netip.AddrPort) {
	p.mu.Lock()
	silent := p.silent
	p.mu.Unlock()
	if silent || len(b) < 20 {
		return
	}
	if b[0] < 4 { // STUN: a binding success
		p.send("\x01\x01"+string(b[2:20]), from.String())
		return
	}
	msg, err := sip.ParseMessage(slices.Clone(b))
	if err != nil {
		p.w.t.Errorf("unparsable: %v\n%s", err, b)
		return
	}
	switch m := msg.(type) {
	case *sip.Response:
		p.answers <- m
	case *sip.Request:
		m.SetSource(from.String())
		// RFC 3261 section 17.2.2: "the most recently sent provisional response"
		// or the final one "MUST be passed to the transport layer for
		// retransmission whenever a retransmission of the request is received".
		p.mu.Lock()
		again, known := p.said[transaction(m.Via(), m.CSeq())]
		p.mu.Unlock()
		if known && m.Method != sip.ACK {
			p.send(again, from.String())
			return
		}
		p.request(m)
	}
}

func transaction(via *sip.ViaHeader, seq *sip.CSeqHeader) string {
	branch, _ := via.Params.Get("branch")
	return branch + string(seq.MethodName)
}

func (p *proxy) request(req *sip.Request) {
	p.mu.Lock()
	code, handle := p.code, p.handle
	switch req.Method {
	case sip.BYE:
		p.byes.Add(1)
	case sip.CANCEL:
		p.cancels.Add(1)
	}
	p.mu.Unlock()
	if code != 0 && req.Method != sip.ACK {
		p.answer(req, code)
		return
	}
	if handle != nil && handle(p, req) {
		return
	}
	switch req.Method {
	case sip.REGISTER:
		p.register(req)
	case sip.INVITE:
		p.answer(req, 100)
		p.answer(req, 180)
		p.ok(req, "far")
	case sip.ACK:
	default:
		p.answer(req, 200)
	}
}

// answer sends a response; more is header names and values.
func (p *proxy) answer(req *sip.Request, code int, more ...string) *sip.Response {
	res := sip.NewResponseFromRequest(req, code, "X", nil)
	if code > 100 {
		res.To().Params.Add("tag", "far")
	}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i] == "tag" {
			res.To().Params.Add("tag", more[i+1])
			continue
		}
		if more[i] == "body" {
			res.SetBody([]byte(more[i+1]))
			ct := sip.ContentTypeHeader("application/sdp")
			res.AppendHeader(&ct)
			continue
		}
		res.AppendHeader(sip.NewHeader(more[i], more[i+1]))
	}
	p.set(func() { p.said[transaction(req.Via(), req.CSeq())] = res.String() })
	p.send(res.String(), req.Source())
	return res
}

// ok answers an INVITE with 200 and a session.
func (p *proxy) ok(req *sip.Request, tag string, more ...string) {
	p.answer(req, 200, append([]string{"tag", tag, "Contact", "<sip:" + tag + "@" + p.addr.String() + ">",
		"Allow", "INVITE, ACK, BYE, UPDATE", "body", farSession("10.0.0.9:7000", "sendrecv")}, more...)...)
}

func farSession(addr, direction string) string {
	a := netip.MustParseAddrPort(addr)
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %s\r\nt=0 0\r\nm=audio %d RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=%s\r\n", a.Addr(), a.Addr(), a.Port(), direction)
}

func (p *proxy) send(text, to string) {
	p.mu.Lock()
	s, conn := p.sock, p.conns[to]
	p.mu.Unlock()
	if conn != nil {
		p.w.mu.Lock()
		p.w.seen = append(p.w.seen, heard{time.Since(p.w.start), p.addr.String(), to, text})
		p.w.mu.Unlock()
		conn.Write([]byte(text))
		return
	}
	s.WriteTo([]byte(text), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
}

// authorized checks credentials as a server does, with its own arithmetic, and
// challenges where they are missing or wrong.
func (p *proxy) authorized(req *sip.Request, code int, method string) bool {
	names := map[int][2]string{401: {"WWW-Authenticate", "Authorization"}, 407: {"Proxy-Authenticate", "Proxy-Authorization"}}[code]
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := req.GetHeader(names[1]); h != nil {
		if p.right(h.Value(), method, req.Recipient.String()) {
			return true
		}
	}
	p.nonces++
	nonce := fmt.Sprintf("%s-%d", p.addr, p.nonces)
	p.used[nonce] = true
	value := fmt.Sprintf(`Digest realm="%s", nonce="%s", qop="auth"`, p.realm, nonce)
	if p.alg != "" {
		value += ", algorithm=" + p.alg
	}
	go p.answer(req, code, names[0], value)
	return false
}

func (p *proxy) right(value, method, uri string) bool {
	get := func(k string) string {
		_, v, ok := strings.Cut(value, k+"=")
		if !ok {
			return ""
		}
		if strings.HasPrefix(v, `"`) {
			v, _, _ = strings.Cut(v[1:], `"`)
			return v
		}
		v, _, _ = strings.Cut(v, ",")
		return v
	}
	nonce, nc := get(" nonce"), get("nc")
	if !p.used[nonce] || p.used[nonce+nc] || get("uri") != uri {
		return false
	}
	alg := p.alg
	if alg == "" {
		alg = "MD5"
	}
	p.used[nonce+nc] = true
	return checkDigest(alg, "100", p.realm, password, nonce, nc, get("cnonce"), method, uri) == get("response")
}

func (p *proxy) register(req *sip.Request) {
	if !p.authorized(req, 401, "REGISTER") {
		return
	}
	p.mu.Lock()
	granted, minimum := p.granted, p.minimum
	p.mu.Unlock()
	c := req.Contact()
	asked, _ := c.Params.Get("expires")
	var n int
	fmt.Sscan(asked, &n)
	if n > 0 && n < minimum {
		p.answer(req, 423, "Min-Expires", fmt.Sprint(minimum))
		return
	}
	if n > 0 && n > granted {
		n = granted
	}
	p.set(func() {
		p.contact = c.Address.String()
		if n == 0 {
			p.contact = ""
		}
	})
	p.answer(req, 200, "Contact", fmt.Sprintf("<%s>;expires=%d", c.Address.String(), n), "Service-Route", "<sip:edge.example.net;lr>")
}

// binding is where the proxy would send calls to.
func (p *proxy) binding() string { p.mu.Lock(); defer p.mu.Unlock(); return p.contact }

// start puts a line on the network, behind these proxies.
func (w *world) startLine(change func(*Config), proxies ...string) {
	w.t.Helper()
	var list []outbound.Proxy
	for _, p := range proxies {
		e, err := outbound.ParseProxy(p, outbound.UDP)
		if err != nil {
			w.t.Fatal(err)
		}
		e.TLSName = w.name
		list = append(list, e)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("SIP_TEST_LOG") != "" {
		log = slog.Default()
	}
	w.route = outbound.NewRoute(outbound.RouteConfig{Proxies: list, Keep: time.Minute, Logger: log,
		Resolver: outbound.NewResolver(outbound.ResolverConfig{Network: w})})
	cfg := Config{Name: "1", User: "100", Password: password, Domain: "example.net", Route: w.route, Network: w, Expires: time.Minute, Logger: log,
		InstanceID: "urn:uuid:00000000-0000-1000-8000-000A95A0E128"}
	if change != nil {
		change(&cfg)
	}
	line, err := New(cfg, func(e Event) { w.events <- e })
	if err != nil {
		w.t.Fatal(err)
	}
	w.line = line
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	ran := make(chan struct{})
	go func() { w.route.Run(ctx); close(ran) }()
	go func() {
		if err := line.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
		<-ran
		close(w.done)
	}()
}

// end stops the line and everything on the network.
func (w *world) end() {
	if w.stop != nil {
		began := time.Now()
		w.stop()
		<-w.done
		if took := time.Since(began); took > stopTime+100*time.Millisecond {
			w.t.Errorf("a clean stop took %v", took)
		}
	}
	w.mu.Lock()
	socks := []*sock{}
	for _, s := range w.socks {
		socks = append(socks, s)
	}
	w.mu.Unlock()
	for _, s := range socks {
		s.Close()
	}
	for _, p := range w.pipes {
		p.cut()
	}
}

// await returns the next event of a type, and how long it took; others are
// passed over.
func await[E Event](w *world, limit time.Duration) (E, time.Duration) {
	w.t.Helper()
	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var passed []string
	for {
		select {
		case e := <-w.events:
			if got, ok := e.(E); ok {
				return got, time.Since(began)
			}
			passed = append(passed, fmt.Sprintf("%T", e))
		case <-timer.C:
			var none E
			w.t.Fatalf("no %T within %v; only %v\n%s", none, limit, passed, w.ladder())
		}
	}
}

// none checks that an event does not come for a while.
func none[E Event](w *world, while time.Duration) {
	w.t.Helper()
	timer := time.NewTimer(while)
	defer timer.Stop()
	for {
		select {
		case e := <-w.events:
			if _, ok := e.(E); ok {
				w.t.Fatalf("unwanted %T %+v\n%s", e, e, w.ladder())
			}
		case <-timer.C:
			return
		}
	}
}

// ladder is the latest of what was said, for failures.
func (w *world) ladder() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var b strings.Builder
	for _, h := range w.seen[max(0, len(w.seen)-40):] {
		fmt.Fprintf(&b, "%9.3f %s > %s %s [%s]\n", h.at.Seconds(), h.from, h.to, h.first(), h.header("CSeq"))
	}
	return b.String()
}

// said lists the messages that begin so and went to (or came from) an address.
func (w *world) said(start, peer string) []heard {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []heard
	for _, h := range w.seen {
		if strings.HasPrefix(h.text, start) && (peer == "" || h.to == peer || h.from == peer) {
			out = append(out, h)
		}
	}
	return out
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		f(t, w)
	})
}

var local = sdp.Session{Addr: netip.MustParseAddrPort("0.0.0.0:4000"), Codecs: []sdp.Codec{sdp.PCMU, sdp.PCMA}, Events: 101, Ptime: 20 * time.Millisecond}

const (
	p1 = "10.0.0.11:5060"
	p2 = "10.0.0.12:5060"
	p3 = "10.0.0.13:5060"
)

// checkDigest is RFC 7616 section 3.4.1 once more, as a server would compute it.
func checkDigest(alg, user, realm, password, nonce, nc, cnonce, method, uri string) string {
	h := func(parts ...string) string {
		b := []byte(strings.Join(parts, ":"))
		if alg == "SHA-256" {
			return fmt.Sprintf("%x", sha256.Sum256(b))
		}
		return fmt.Sprintf("%x", md5.Sum(b))
	}
	return h(h(user, realm, password), nonce, nc, cnonce, "auth", h(method, uri))
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
