package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

// Patience with connections.
const (
	dialPatience  = 10 * time.Second // to connect and shake hands, when the caller has more
	writePatience = 10 * time.Second // until the peer takes what was written
	writeBacklog  = 64 << 10         // bytes waiting to be written; eight of the largest messages

	// The kernel notices by itself that a peer has gone: after this long
	// without an acknowledgement, or after three probes of a silent
	// connection. A registration's own keep-alive is faster or as fast.
	userTimeout  = 15 * time.Second
	keepIdle     = 15 * time.Second
	keepInterval = 5 * time.Second
	keepProbes   = 3
)

// A stream is a connection that the line has opened. sipgo reads it; we write
// through a queue, so that nobody waits for a peer that does not take what it
// is sent.
type stream struct {
	net.Conn
	t     *Transport
	hop   hop
	name  string // the name that its certificate has shown
	local Local

	opened chan struct{} // closed when Conn is ready or the attempt has failed
	err    error         // why it failed; read after opened

	mu    sync.Mutex
	queue []byte
	spare []byte
	kick  chan struct{} // something is in the queue
	dead  chan struct{} // closed by end
	once  sync.Once

	heard  atomic.Int64 // when something was last read, after Transport.epoch
	unread sync.Once    // sipgo has stopped reading
}

// dial returns the connection to a target, opening it when there is none.
// Callers that come while it is being opened wait for the same attempt; should
// that one's caller give up, the next one tries.
func (t *Transport) dial(ctx context.Context, to outbound.Target) (*stream, error) {
	key := hop{to.Transport, to.Addr}
	for {
		t.mu.Lock()
		s := t.streams[key]
		if s == nil {
			if t.ctx.Err() != nil {
				t.mu.Unlock()
				return nil, net.ErrClosed
			}
			s = &stream{t: t, hop: key, opened: make(chan struct{}), kick: make(chan struct{}, 1), dead: make(chan struct{})}
			s.heard.Store(-1) // never
			t.streams[key] = s
			t.mu.Unlock()
			s.open(ctx, to)
			return s, s.err
		}
		t.mu.Unlock()
		select {
		case <-s.opened:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		switch {
		case s.err == nil && s.name != to.TLSName && to.Transport == outbound.TLS:
			// Verified as somebody else: one address may serve several names.
			s.end(errors.New("another name is wanted at this address"))
		case s.err == nil:
			return s, nil
		case errors.Is(s.err, context.Canceled), errors.Is(s.err, context.DeadlineExceeded):
			// Given up by the one who tried, not by the proxy.
		default:
			return nil, s.err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// open connects and hands the connection to sipgo, or sets err.
func (s *stream) open(ctx context.Context, to outbound.Target) {
	t := s.t
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	s.Conn, s.err = t.connect(ctx, to)
	if s.err == nil {
		addr, ok := addrPort(s.Conn.LocalAddr())
		if !ok {
			s.err = Fault{to.Addr, to.Transport, OwnSide, errors.New("the connection has no address of its own")}
			s.Conn.Close()
		}
		s.name = to.TLSName
		s.local = Local{addr, upper(to.Transport)}
	}
	if s.err == nil {
		t.readers.Add(1) // sipgo's reader; see stopped
		if t.handoffs[to.Transport].give(s) {
			t.readers.Go(s.write)
		} else {
			s.err = net.ErrClosed
			s.Conn.Close()
			s.stopped()
		}
	}
	if s.err != nil {
		t.forget(s)
	}
	close(s.opened)
	if s.err == nil && t.ctx.Err() != nil {
		s.end(net.ErrClosed) // Close came meanwhile and may not have seen it
	}
}

// connect dials and, for TLS, shakes hands.
func (t *Transport) connect(ctx context.Context, to outbound.Target) (net.Conn, error) {
	if to.Transport == outbound.TLS && to.TLSName == "" {
		return nil, Fault{to.Addr, to.Transport, TLSFailed, errors.New("no name is configured that the certificate could show")}
	}
	dest := to.Dest
	if dest == "" {
		dest = to.Addr.String()
	}
	conn, err := t.cfg.Network.DialContext(ctx, "tcp", dest)
	if err != nil {
		return nil, dialFault(ctx, to, err)
	}
	keepAlive(conn)
	if to.Transport == outbound.TCP {
		return conn, nil
	}
	// RFC 5922 section 7.1 has the client look for the proxy's configured
	// domain in the certificate. The address is whatever DNS said and proves
	// nothing.
	secure := tls.Client(conn, &tls.Config{
		ServerName: to.TLSName,
		RootCAs:    t.cfg.Roots,
		MinVersion: tls.VersionTLS12,
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, handshakeFault(ctx, to, err)
	}
	return secure, nil
}

// keepAlive has the kernel watch a connection, where it is the kernel's.
func keepAlive(conn net.Conn) {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepIdle, Interval: keepInterval, Count: keepProbes})
	if raw, err := c.SyscallConn(); err == nil {
		setUserTimeout(raw, userTimeout)
	}
}

// Read is called by sipgo.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.heard.Store(int64(time.Since(s.t.epoch)))
		s.t.alive(s.hop)
	}
	if err != nil {
		s.end(err)
		s.stopped()
		err = io.EOF // the one that sipgo does not log
	}
	return n, err
}

// stopped notes that sipgo's reader is at its end, once.
func (s *stream) stopped() { s.unread.Do(s.t.readers.Done) }

// Write puts bytes into the queue. It never waits; a peer that leaves its
// queue full has gone.
func (s *stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	if len(s.queue)+len(b) > writeBacklog {
		s.mu.Unlock()
		s.end(errors.New("the peer takes nothing any more"))
		return 0, net.ErrClosed
	}
	select {
	case <-s.dead:
		s.mu.Unlock()
		return 0, net.ErrClosed
	default:
	}
	s.queue = append(s.queue, b...)
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
	return len(b), nil
}

// write empties the queue, on a goroutine of its own.
func (s *stream) write() {
	for {
		select {
		case <-s.kick:
		case <-s.dead:
			return
		}
		s.mu.Lock()
		b := s.queue
		s.queue, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		if len(b) > 0 {
			s.Conn.SetWriteDeadline(time.Now().Add(writePatience))
			if _, err := s.Conn.Write(b); err != nil {
				s.end(err)
				return
			}
		}
		s.mu.Lock()
		if cap(b) <= 2*maxMessage {
			s.spare = b
		}
		s.mu.Unlock()
	}
}

// Close is called by sipgo when it has stopped reading, for whatever reason:
// the peer's end, or bytes that are no SIP.
func (s *stream) Close() error {
	s.end(errors.New("what the peer sent is no SIP"))
	s.stopped()
	return nil
}

// end closes the connection and tells why, once.
func (s *stream) end(why error) {
	s.once.Do(func() {
		close(s.dead)
		s.t.forget(s)
		s.Conn.Close()
		if s.t.ctx.Err() == nil {
			s.t.fault(Fault{s.hop.addr, s.hop.transport, Lost, why})
		}
	})
}

// forget takes a connection off the list, so that the next message opens
// another.
func (t *Transport) forget(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams[s.hop] == s {
		delete(t.streams, s.hop)
	}
}

// DropSilent closes the connection to a target if nothing at all has come over
// it since a request was sent: the peer may have forgotten the connection
// without our being told, and only a new one shows it. Over UDP there is
// nothing to drop.
func (t *Transport) DropSilent(to outbound.Target, since time.Time) {
	s := t.stream(hop{to.Transport, to.Addr})
	if s != nil && s.heard.Load() < int64(since.Sub(t.epoch)) {
		s.end(errors.New("nothing came over it for too long"))
	}
}

// stream returns the open connection to an address, or nil.
func (t *Transport) stream(key hop) *stream {
	t.mu.Lock()
	s := t.streams[key]
	t.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case <-s.opened:
		if s.err == nil {
			return s
		}
	default:
	}
	return nil
}

// A handoff is the listener that sipgo accepts our own connections from.
type handoff struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	addr  net.Addr
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{conns: make(chan net.Conn), done: make(chan struct{}), addr: addr}
}

func (h *handoff) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error   { h.once.Do(func() { close(h.done) }); return nil }
func (h *handoff) Addr() net.Addr { return h.addr }

// source is our side of the way to a target over UDP.
func (t *Transport) source(ctx context.Context, to outbound.Target) (Local, error) {
	own, ok := addrPort(t.socket.LocalAddr())
	if ok && !own.Addr().IsUnspecified() {
		return Local{own, "UDP"}, nil
	}
	addr, err := t.kernels(ctx, to)
	if err != nil {
		return Local{}, err
	}
	return Local{netip.AddrPortFrom(addr.Addr(), own.Port()), "UDP"}, nil
}

// kernels is the address that the kernel would send from: a connected socket
// gets it. No datagram is sent.
func (t *Transport) kernels(ctx context.Context, to outbound.Target) (netip.AddrPort, error) {
	dest := to.Dest
	if dest == "" {
		dest = to.Addr.String()
	}
	conn, err := t.cfg.Network.DialContext(ctx, "udp", dest)
	if err != nil {
		if ctx.Err() != nil {
			return netip.AddrPort{}, ctx.Err()
		}
		return netip.AddrPort{}, Fault{to.Addr, to.Transport, OwnSide, err}
	}
	defer conn.Close()
	addr, ok := addrPort(conn.LocalAddr())
	if !ok {
		return netip.AddrPort{}, Fault{to.Addr, to.Transport, OwnSide, errors.New("no address to send from")}
	}
	return netip.AddrPortFrom(addr.Addr().WithZone(""), addr.Port()), nil
}

func upper(t outbound.Transport) string { return [...]string{"UDP", "TCP", "TLS"}[t] }
