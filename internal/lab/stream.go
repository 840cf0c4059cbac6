package lab

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// How long the virtual TCP tries, as Linux does by default.
const (
	synLimit  = 127 * time.Second // tcp_syn_retries 6
	dataLimit = 924 * time.Second // tcp_retries2 15
	tcpRetry  = time.Second       // between two attempts; Linux starts at 200 ms and doubles
)

// Listen opens a listening TCP socket.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	at, err := h.bindTo(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	port := at.Port()
	if port == 0 {
		port = h.freePort()
	}
	if h.ports[port] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: net.TCPAddrFromAddrPort(at),
			Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{host: h, local: netip.AddrPortFrom(at.Addr(), port)}
	l.ready = sync.NewCond(&h.net.mu)
	h.ports[port] = l
	return l, nil
}

// A listener hands out connections that were made to its port.
type listener struct {
	host  *Host
	local netip.AddrPort

	// guarded by host.net.mu
	ready  *sync.Cond
	queue  []*stream
	closed bool
}

func (l *listener) Accept() (net.Conn, error) {
	mu := &l.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.ready.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	s := l.queue[0]
	l.queue = l.queue[1:]
	return s, nil
}

func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	delete(l.host.ports, l.local.Port())
	for _, s := range l.queue {
		s.end(true)
	}
	l.ready.Broadcast()
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.local) }

// dialStream is the three-way handshake.
func (h *Host) dialStream(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	n := h.net
	ctx, cancel := context.WithTimeoutCause(ctx, synLimit, os.NewSyscallError("connect", syscall.ETIMEDOUT))
	defer cancel()

	n.mu.Lock()
	from := netip.AddrPortFrom(h.addr, h.freePort())
	n.mu.Unlock()
	for {
		n.mu.Lock()
		if h.linkDown {
			n.mu.Unlock()
			return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
		}
		target := n.hosts[to.Addr()]
		lost := target == nil || n.lost(h, target)
		there := n.delayOf(flowKey{tcp: true, from: from, to: to})
		back := n.delayOf(flowKey{tcp: true, from: to, to: from})
		n.mu.Unlock()
		if lost {
			if err := wait(ctx, tcpRetry); err != nil {
				return nil, err
			}
			continue
		}
		if err := wait(ctx, there); err != nil {
			return nil, err
		}
		n.mu.Lock()
		l := target.ports[to.Port()]
		var near *stream
		if l != nil {
			near = n.join(h, from, target, to)
			l.queue = append(l.queue, near.other)
			l.ready.Broadcast()
		}
		n.mu.Unlock()
		if err := wait(ctx, back); err != nil {
			if near != nil {
				near.Reset()
			}
			return nil, err
		}
		if near == nil {
			return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
		}
		return near, nil
	}
}

// wait sleeps, or returns why the context ended.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join makes the two ends of a connection. Called with mu held.
func (n *Network) join(a *Host, from netip.AddrPort, b *Host, to netip.AddrPort) *stream {
	near := &stream{host: a, local: from, remote: to}
	far := &stream{host: b, local: to, remote: from}
	near.ready, far.ready = sync.NewCond(&n.mu), sync.NewCond(&n.mu)
	near.other, far.other = far, near
	a.streams[near] = struct{}{}
	b.streams[far] = struct{}{}
	return near
}

// A stream is one end of a TCP connection. A write never waits.
type stream struct {
	host          *Host
	local, remote netip.AddrPort
	other         *stream

	// guarded by host.net.mu
	ready    *sync.Cond
	data     []byte // arrived, not read
	flying   []parcel
	eof      bool  // the other end closed
	err      error // the connection is dead
	closed   bool  // we closed
	deadline deadline
}

// A parcel is on its way to the other end.
type parcel struct {
	data []byte
	fin  bool
	rst  bool
	sent time.Time
}

func (s *stream) Read(b []byte) (int, error) {
	mu := &s.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for len(s.data) == 0 && !s.eof && s.err == nil && !s.closed && !s.deadline.passed() {
		s.ready.Wait()
	}
	switch {
	case s.closed:
		return 0, s.fault("read", net.ErrClosed)
	case s.deadline.passed():
		return 0, s.fault("read", os.ErrDeadlineExceeded)
	case len(s.data) > 0:
		n := copy(b, s.data)
		s.data = s.data[n:]
		return n, nil
	case s.err != nil:
		return 0, s.fault("read", s.err)
	}
	return 0, io.EOF
}

func (s *stream) Write(b []byte) (int, error) {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	switch {
	case s.closed:
		return 0, s.fault("write", net.ErrClosed)
	case s.err != nil:
		return 0, s.fault("write", s.err)
	}
	s.send(parcel{data: append([]byte(nil), b...)})
	return len(b), nil
}

// send puts a parcel on its way. Called with mu held.
func (s *stream) send(p parcel) {
	p.sent = time.Now()
	s.flying = append(s.flying, p)
	time.AfterFunc(s.host.net.delayOf(flowKey{tcp: true, from: s.local, to: s.remote}), s.deliver)
}

// deliver brings what is on its way to the other end, in order; while the path
// is broken it tries again, and gives the connection up after dataLimit.
func (s *stream) deliver() {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(s.flying) == 0 {
		return
	}
	if o := s.other.host; s.host.off || s.host.linkDown || o.off || o.linkDown {
		if time.Since(s.flying[0].sent) > dataLimit {
			s.die(os.NewSyscallError("read", syscall.ETIMEDOUT))
			return
		}
		time.AfterFunc(tcpRetry, s.deliver)
		return
	}
	p := s.flying[0]
	s.flying = s.flying[1:]
	s.other.arrive(p)
}

// arrive takes a parcel from the other end. Called with mu held.
func (s *stream) arrive(p parcel) {
	switch {
	case p.rst:
		s.die(os.NewSyscallError("read", syscall.ECONNRESET))
	case p.fin:
		s.eof = true
	case s.closed:
		s.send(parcel{rst: true}) // RFC 9293 section 3.10.7.1: data for a closed connection is answered by a reset
	default:
		s.data = append(s.data, p.data...)
	}
	s.ready.Broadcast()
}

// die ends the connection with an error. Called with mu held.
func (s *stream) die(err error) {
	if s.err == nil {
		s.err = err
	}
	s.flying = nil
	delete(s.host.streams, s)
	s.ready.Broadcast()
}

// Close ends the connection as a process does that closes its socket.
func (s *stream) Close() error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.closed {
		return s.fault("close", net.ErrClosed)
	}
	s.end(false)
	return nil
}

// Reset ends the connection as a process does that is killed.
func (s *stream) Reset() {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if !s.closed {
		s.end(true)
	}
}

// SetLinger is *net.TCPConn's: with 0, Close resets the connection. The lab
// calls it only right before Close, so the reset is sent at once.
func (s *stream) SetLinger(sec int) error {
	if sec == 0 {
		s.Reset()
	}
	return nil
}

// end closes our side. Called with mu held.
func (s *stream) end(reset bool) {
	s.closed = true
	s.deadline.stop()
	delete(s.host.streams, s)
	if s.err == nil {
		s.send(parcel{fin: !reset, rst: reset})
	}
	s.ready.Broadcast()
}

func (s *stream) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

func (s *stream) SetDeadline(t time.Time) error { return s.SetReadDeadline(t) }

func (s *stream) SetReadDeadline(t time.Time) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.closed {
		return s.fault("set", net.ErrClosed)
	}
	s.deadline.set(t, s.ready)
	return nil
}

// SetWriteDeadline does nothing: a write never waits.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

func (s *stream) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: err}
}
