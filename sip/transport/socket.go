package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// How a socket that fails is treated.
const (
	troubleMax  = 8                      // failures in a row, with nothing in the error queue to explain them, before it is replaced
	reopenFirst = 100 * time.Millisecond // first wait before a new one, doubled up to
	reopenMax   = 5 * time.Second
)

// A socket is the UDP socket of a line as sipgo sees it: one that never fails
// and on which only proxies talk. Under it, the real socket may be replaced.
//
// All datagrams seem to come from one address, because sipgo keeps an entry
// for every source it has seen, for ever; the true one is put into the message
// by parsed.
type socket struct {
	t      *Transport
	inner  atomic.Pointer[packetConn]
	closed atomic.Bool
	rates  rates // owned by the reading goroutine

	// What is being parsed. Owned by the reading goroutine, which runs
	// ReadFrom, the parser and Transport.hear in turn.
	from    netip.AddrPort
	text    string // from, printed
	pending []byte // the datagram given to sipgo and not yet heard of again

	trouble int // failures in a row
}

// A packetConn is a socket of the Network with what it can do beyond
// net.PacketConn, asked once.
type packetConn struct {
	net.PacketConn
	fast fastConn        // nil when it has no such methods
	raw  syscall.RawConn // for the error queue; nil when the kernel has no part in it
}

// A fastConn reads and writes without allocating. *net.UDPConn is one.
type fastConn interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
}

func openSocket(ctx context.Context, t *Transport) (*socket, error) {
	s := &socket{t: t, rates: rates{perSecond: int32(t.cfg.Rate)}}
	local := t.cfg.Local
	if local == "" {
		local = ":0"
	}
	if err := s.open(ctx, local); err != nil {
		return nil, Fault{Kind: OwnSide, Err: err}
	}
	return s, nil
}

func (s *socket) open(ctx context.Context, local string) error {
	pc, err := s.t.cfg.Network.ListenPacket(ctx, "udp", local)
	if err != nil {
		return err
	}
	in := &packetConn{PacketConn: pc}
	in.fast, _ = pc.(fastConn)
	if c, ok := pc.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil && askForErrors(raw) {
			in.raw = raw
		}
	}
	s.inner.Store(in)
	return nil
}

// ReadFrom waits for a datagram that is to be parsed. It fails only when the
// socket was closed. One goroutine.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	s.unheard()
	for !s.closed.Load() {
		in := s.inner.Load()
		n, from, err := in.read(b)
		if err != nil {
			s.failed(in, err)
			continue
		}
		s.trouble = 0
		if s.admit(b[:n], from) {
			if from != s.from {
				s.from, s.text = from, from.String()
			}
			s.pending = b[:n]
			if w := s.t.witness; w != nil {
				local, _ := addrPort(in.LocalAddr())
				w.Witness(Sight{Transport: outbound.UDP, Local: local, Remote: from, Text: b[:n]})
			}
			return n, everyone{}, nil
		}
	}
	return 0, nil, net.ErrClosed
}

// everyone is the address sipgo is shown.
type everyone struct{}

func (everyone) Network() string { return "udp" }
func (everyone) String() string  { return "udp" }

// admit says whether a datagram is parsed. It runs for everything that anyone
// on the net sends to us, so it does little and allocates nothing.
func (s *socket) admit(b []byte, from netip.AddrPort) bool {
	count := &s.t.count
	if !s.t.cfg.Trusts(from.Addr()) {
		count.stranger.Add(1)
		return false
	}
	s.t.alive(hop{outbound.UDP, from})
	switch {
	case len(b) > maxMessage:
		count.tooBig.Add(1)
	case len(b) == 0 || b[0] < 4 || isCRLF(b):
		// RFC 5389 section 6: "The most significant 2 bits of every
		// STUN message MUST be zeroes." No SIP message begins like that.
		count.keepAlive.Add(1)
	case !s.rates.admit(from.Addr(), b[0] == 'S' && len(b) > 3 && string(b[:4]) == "SIP/", time.Now()):
		count.tooFast.Add(1)
	default:
		count.received.Add(1)
		return true
	}
	return false
}

// isCRLF reports whether a datagram is a keep-alive: line ends and zeros only.
func isCRLF(b []byte) bool {
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}

// parsed puts the true source into the message sipgo has made of the last
// datagram.
func (s *socket) parsed(msg sip.Message) {
	s.pending = nil
	msg.SetSource(s.text)
}

// unheard looks at a datagram that sipgo has not made a message of. Where only
// the body is shorter than its Content-Length says, the request is delivered
// without a body, because it has to be answered:
//
// RFC 3261 section 18.3: "If the transport packet ends before the end of the
// message body, this is considered an error. If the message is a response, it
// MUST be discarded. If the message is a request, the element SHOULD generate
// a 400 (Bad Request) response."
func (s *socket) unheard() {
	b := s.pending
	if b == nil {
		return
	}
	s.pending = nil
	s.t.count.unparsable.Add(1)
	msg, _, err := s.t.parser.ParseHeaders(b, false)
	if req, ok := msg.(*sip.Request); ok && err == nil {
		req.SetTransport("UDP")
		req.SetSource(s.text)
		s.t.cfg.OnMessage(req)
	}
}

// failed deals with an error of the real socket: what an ICMP message tells is
// passed on, what nothing explains leads to a new socket after a while.
func (s *socket) failed(in *packetConn, err error) {
	if s.closed.Load() {
		return
	}
	if s.explain(in, err) {
		s.trouble = 0
		return
	}
	s.t.count.readErrors.Add(1)
	s.trouble++
	if s.trouble < troubleMax && !errors.Is(err, net.ErrClosed) {
		pause(s.t.ctx, time.Millisecond<<s.trouble)
		return
	}
	s.reopen(in, err)
}

// explain reports whether an error was the echo of something we sent, and
// tells OnFault of it.
func (s *socket) explain(in *packetConn, err error) bool {
	explained := false
	tell := func(f Fault) {
		explained = true
		s.t.count.icmp.Add(1)
		if f.Kind != 0 {
			s.t.fault(f)
		}
	}
	if in.raw != nil {
		drain(in.raw, tell)
		return explained || isEcho(err) // the writer may have emptied the queue before us
	}
	// Not the kernel's socket: it names the address in the error.
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil && !isOwnSide(err) {
		if addr, ok := addrPort(op.Addr); ok {
			tell(Fault{addr, outbound.UDP, Unreachable, op.Err})
		}
	}
	return explained
}

// reopen replaces the real socket, on the same port where that is possible:
// the proxy knows us by it.
func (s *socket) reopen(old *packetConn, why error) {
	same := old.LocalAddr().String()
	old.Close()
	s.t.fault(Fault{Kind: OwnSide, Err: why})
	for wait := reopenFirst; ; wait = min(2*wait, reopenMax) {
		pause(s.t.ctx, wait)
		if s.closed.Load() {
			return
		}
		err := s.open(s.t.ctx, same)
		if err != nil && s.t.cfg.Local == "" {
			err = s.open(s.t.ctx, ":0")
		}
		if err == nil {
			break
		}
	}
	s.trouble = 0
	s.t.count.reopened.Add(1)
	s.t.cfg.Logger.Warn("sip: the UDP socket failed and was replaced", "error", why, "was", same, "is", s.LocalAddr().String())
	if s.closed.Load() {
		s.inner.Load().Close()
	}
}

// leftovers is how many errors of earlier datagrams one write may meet: others
// ask all addresses at once, and the dead ones answer while it is tried again.
const leftovers = 16

// write sends one datagram. An error that an earlier datagram has left behind
// is passed on to whom it concerns and the write tried again.
func (s *socket) write(b []byte, to netip.AddrPort) error {
	in := s.inner.Load()
	err := in.write(b, to)
	for range leftovers {
		if err == nil || !s.explain(in, err) {
			break
		}
		err = in.write(b, to)
	}
	if err == nil {
		return nil
	}
	if s.closed.Load() {
		return net.ErrClosed
	}
	kind := OwnSide
	if errors.Is(err, syscall.ECONNREFUSED) {
		kind = Unreachable
	}
	return Fault{to, outbound.UDP, kind, err}
}

// WriteTo is sipgo's way to write. It has nothing to say here: see [Transport.Send].
func (s *socket) WriteTo([]byte, net.Addr) (int, error) {
	return 0, errors.New("transport: sipgo must not write")
}

func (s *socket) LocalAddr() net.Addr { return s.inner.Load().LocalAddr() }

func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.inner.Load().Close()
}

func (s *socket) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (s *socket) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (s *socket) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

func (p *packetConn) read(b []byte) (int, netip.AddrPort, error) {
	if p.fast != nil {
		n, from, err := p.fast.ReadFromUDPAddrPort(b)
		return n, unmap(from), err
	}
	n, from, err := p.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	addr, _ := addrPort(from)
	return n, addr, nil
}

func (p *packetConn) write(b []byte, to netip.AddrPort) error {
	var err error
	if p.fast != nil {
		_, err = p.fast.WriteToUDPAddrPort(b, to)
	} else {
		_, err = p.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return err
}

// addrPort reads a net.Addr.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	if u, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		p := unmap(u.AddrPort())
		return p, p.IsValid()
	}
	p, err := netip.ParseAddrPort(a.String())
	return unmap(p), err == nil
}

// unmap makes 192.0.2.1 of ::ffff:192.0.2.1, which is how a socket for both
// families shows it.
func unmap(p netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()) }

// pause waits, or until the context ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
