package rtp

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// A wire is a network for tests: whole datagrams, an order, a delay, and what
// a test does to them on the way. It waits durably.
type wire struct {
	mu    sync.Mutex
	ports map[netip.AddrPort]*plug
	next  uint16
	delay time.Duration
	// pass, if set, sees every datagram and decides whether it arrives.
	pass func(from, to netip.AddrPort, b []byte) bool
}

// A plug is a socket of a wire.
type plug struct {
	w    *wire
	at   netip.AddrPort
	in   chan parcel
	once sync.Once
	gone chan struct{}
}

type parcel struct {
	from netip.AddrPort
	b    []byte
	err  error
}

// A host is an address on a wire.
type host struct {
	w    *wire
	addr string
}

func (h host) ListenPacket(_ context.Context, _, address string) (net.PacketConn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	at := netip.MustParseAddrPort(net.JoinHostPort(h.addr, port))
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	if h.w.ports == nil {
		h.w.ports = map[netip.AddrPort]*plug{}
	}
	if at.Port() == 0 {
		h.w.next += 3
		at = netip.AddrPortFrom(at.Addr(), 20000+h.w.next)
	}
	if h.w.ports[at] != nil {
		return nil, syscall.EADDRINUSE
	}
	p := &plug{w: h.w, at: at, in: make(chan parcel, 500), gone: make(chan struct{})}
	h.w.ports[at] = p
	return p, nil
}

// do does something that must not happen while a datagram passes.
func (w *wire) do(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (p *plug) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case <-p.gone:
		return 0, netip.AddrPort{}, net.ErrClosed
	case x := <-p.in:
		if x.err != nil {
			return 0, netip.AddrPort{}, &net.OpError{Op: "read", Net: "udp", Addr: net.UDPAddrFromAddrPort(x.from), Err: x.err}
		}
		return copy(b, x.b), x.from, nil
	}
}

func (p *plug) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pass != nil && !w.pass(p.at, to, b) {
		return len(b), nil
	}
	q := w.ports[to]
	if q == nil {
		select {
		case p.in <- parcel{from: to, err: syscall.ECONNREFUSED}:
		default:
		}
		return len(b), nil
	}
	x := parcel{from: p.at, b: append([]byte(nil), b...)}
	deliver := func() {
		select {
		case q.in <- x:
		default:
		}
	}
	if w.delay == 0 {
		deliver()
	} else {
		time.AfterFunc(w.delay, deliver)
	}
	return len(b), nil
}

func (p *plug) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.ReadFromUDPAddrPort(b)
	return n, net.UDPAddrFromAddrPort(from), err
}

func (p *plug) WriteTo(b []byte, to net.Addr) (int, error) {
	return p.WriteToUDPAddrPort(b, to.(*net.UDPAddr).AddrPort())
}

func (p *plug) Close() error {
	p.once.Do(func() {
		close(p.gone)
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		delete(p.w.ports, p.at)
	})
	return nil
}

func (p *plug) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.at) }
func (p *plug) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (p *plug) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (p *plug) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
