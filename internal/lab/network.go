package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Place is where a machine stands: it opens sockets at one address. Host
// (virtual) and Loopback (real) are places. *net.ListenConfig and *net.Dialer
// have the same method shapes.
type Place interface {
	// Addr is the address of the machine.
	Addr() netip.Addr
	// ListenPacket opens a datagram socket. The host in address may be
	// empty: any.
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	// Listen opens a listening TCP socket.
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	// DialContext connects. A "udp" connection sends nothing; its LocalAddr
	// is our address toward the other end.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A Network is a network of channels. Everything that waits in it waits
// durably, so it may be used inside testing/synctest, and outside too.
//
// Every flow (from one address to another, with the ports of services but not
// those drawn by chance) has a constant delay: Delay of the network, what its
// two hosts add, and up to four microseconds of its own. A flow keeps its
// order, and no two things in it arrive at one instant.
type Network struct {
	// Delay is how long every datagram travels. Set before use.
	Delay time.Duration

	seed uint64 // decides what is lost

	mu    sync.Mutex
	hosts map[netip.Addr]*Host
	flows map[flowKey]*flow
}

// NewNetwork makes an empty network. The seed decides which datagrams are lost
// on hosts that lose some.
func NewNetwork(seed uint64) *Network {
	return &Network{
		Delay: 10 * time.Millisecond,
		hosts: make(map[netip.Addr]*Host),
		flows: make(map[flowKey]*flow),
		seed:  seed,
	}
}

// A Host is a computer on the network, with one address.
type Host struct {
	net  *Network
	addr netip.Addr

	// guarded by net.mu
	off      bool
	linkDown bool
	rewired  func() // told of linkDown; nil: nobody listens
	delay    time.Duration
	loss     float64
	sockets  map[uint16]*packetConn
	ports    map[uint16]*listener
	streams  map[*stream]struct{}
	nextPort uint16
}

// Host adds a computer with that address.
func (n *Network) Host(addr string) *Host {
	h := &Host{
		net:      n,
		addr:     netip.MustParseAddr(addr),
		sockets:  make(map[uint16]*packetConn),
		ports:    make(map[uint16]*listener),
		streams:  make(map[*stream]struct{}),
		nextPort: firstFree,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts[h.addr] != nil {
		panic("lab: two hosts with the address " + addr)
	}
	n.hosts[h.addr] = h
	return h
}

// Addr is the address of the host.
func (h *Host) Addr() netip.Addr { return h.addr }

// Off takes the host off the network, or brings it back: what is sent to it is
// lost, and a connection attempt gets no answer. Connections that exist stay,
// and wait as TCP does.
func (h *Host) Off(off bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.off = off
}

// LinkDown pulls the host's own cable: it sees "network is unreachable" when
// it sends, and nothing reaches it.
func (h *Host) LinkDown(down bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.linkDown = down
	if h.rewired != nil {
		time.AfterFunc(noticed, h.rewired)
	}
}

// noticed is how long it takes until a host tells of its cable, as package link does.
const noticed = 200*time.Millisecond + 7*time.Microsecond

// Changes calls changed soon after the cable was pulled or plugged in, until ctx
// ends.
func (h *Host) Changes(ctx context.Context, changed func()) error {
	listen := func(f func()) {
		h.net.mu.Lock()
		defer h.net.mu.Unlock()
		h.rewired = f
	}
	listen(changed)
	<-ctx.Done()
	listen(nil)
	return nil
}

// up tells whether the host's cable is plugged in.
func (h *Host) up() bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return !h.linkDown
}

// Slow adds a delay to everything to and from the host.
func (h *Host) Slow(d time.Duration) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.delay = d
}

// Lose makes the host lose that part (0 to 1) of the datagrams to and from it.
func (h *Host) Lose(part float64) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.loss = part
}

// A flowKey names one direction between two hosts and their services.
type flowKey struct {
	tcp      bool
	from, to netip.AddrPort
}

// firstFree is the first of the ports that are given to whoever asks for any.
// Which one it is depends on who asked first, so no delay may depend on it.
const firstFree = 40000

func service(a netip.AddrPort) netip.AddrPort {
	if a.Port() >= firstFree {
		return netip.AddrPortFrom(a.Addr(), 0)
	}
	return a
}

// A flow delivers in order, each thing at its own instant.
type flow struct {
	own  time.Duration // up to 4 µs, constant
	last time.Time     // when the latest was or will be delivered
}

// delayOf is when something sent now on the flow arrives. Called with mu held.
func (n *Network) delayOf(k flowKey) time.Duration {
	k.from, k.to = service(k.from), service(k.to)
	f := n.flows[k]
	if f == nil {
		f = &flow{own: time.Duration(hashFlow(k) % 4093)}
		n.flows[k] = f
	}
	d := n.Delay + f.own
	for _, a := range []netip.Addr{k.from.Addr(), k.to.Addr()} {
		if h := n.hosts[a]; h != nil {
			d += h.delay
		}
	}
	now := time.Now()
	at := now.Add(d)
	if !at.After(f.last) {
		at = f.last.Add(100 * time.Nanosecond)
	}
	f.last = at
	return at.Sub(now)
}

func hashFlow(k flowKey) uint32 {
	h := fnv.New32a()
	b, _ := k.from.MarshalBinary()
	h.Write(b)
	b, _ = k.to.MarshalBinary()
	h.Write(b)
	if k.tcp {
		h.Write([]byte{1})
	}
	return h.Sum32()
}

// lost draws whether something from one host to the other is lost. Called with
// mu held.
func (n *Network) lost(from, to *Host) bool {
	for _, h := range []*Host{from, to} {
		if h.off || h.linkDown || h.loss > 0 && draw(n.seed, from.addr.String()+to.addr.String()) < h.loss {
			return true
		}
	}
	return false
}

// draw is a number from [0, 1) that depends on the seed, on what it is for, and
// on the microsecond: never on who asked before, which goroutines may dispute.
func draw(seed uint64, what string) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, seed, what, time.Now().UnixMilli())
	return rand.New(rand.NewPCG(seed, h.Sum64())).Float64()
}

// freePort finds an unused port. Called with mu held.
func (h *Host) freePort() uint16 {
	for {
		p := h.nextPort
		h.nextPort++
		if h.nextPort < firstFree {
			h.nextPort = firstFree
		}
		if h.sockets[p] == nil && h.ports[p] == nil {
			return p
		}
	}
}

// bindTo reads a listen address: ":0", "0.0.0.0:5060", "10.0.0.1:5060". The
// result's Addr is unspecified when any address is meant.
func (h *Host) bindTo(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a := netip.IPv4Unspecified()
	if host != "" {
		if a, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	if a.Unmap() != h.addr && !a.IsUnspecified() {
		return netip.AddrPort{}, os.NewSyscallError("bind", syscall.EADDRNOTAVAIL)
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

// ListenPacket opens a datagram socket.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	at, err := h.bindTo(address)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	c, err := h.openPacket(at)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: net.UDPAddrFromAddrPort(at), Err: err}
	}
	return c, nil
}

// openPacket binds a socket. Called with mu held.
func (h *Host) openPacket(at netip.AddrPort) (*packetConn, error) {
	port := at.Port()
	if port == 0 {
		port = h.freePort()
	}
	if h.sockets[port] != nil {
		return nil, os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	c := &packetConn{host: h, local: netip.AddrPortFrom(at.Addr(), port)}
	c.ready = sync.NewCond(&h.net.mu)
	h.sockets[port] = c
	return c, nil
}

// DialContext connects.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	switch network {
	case "udp", "udp4", "udp6":
		c, err := h.dialPacket(to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Addr: net.UDPAddrFromAddrPort(to), Err: err}
		}
		return c, nil
	case "tcp", "tcp4", "tcp6":
		c, err := h.dialStream(ctx, to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: network, Addr: net.TCPAddrFromAddrPort(to), Err: err}
		}
		return c, nil
	}
	return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
}

func (h *Host) dialPacket(to netip.AddrPort) (*packetConn, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.linkDown {
		return nil, os.NewSyscallError("connect", syscall.ENETUNREACH)
	}
	c, err := h.openPacket(netip.AddrPortFrom(h.addr, 0))
	if err != nil {
		return nil, err
	}
	c.peer = to
	return c, nil
}

// A packetConn is a datagram socket; connected when peer is valid.
type packetConn struct {
	host  *Host
	local netip.AddrPort
	peer  netip.AddrPort

	// guarded by host.net.mu
	ready    *sync.Cond // something to read, a deadline, or the end
	queue    []datagram
	closed   bool
	deadline deadline
}

// A datagram is what waits in a socket: bytes, or the error an ICMP message
// about something we sent became.
type datagram struct {
	from netip.AddrPort
	data []byte
	err  error
}

// socketQueue is how many datagrams wait in a socket before more are lost.
const socketQueue = 1000

func (c *packetConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// ReadFromUDPAddrPort is ReadFrom without an allocated address, as
// *net.UDPConn has it.
func (c *packetConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	mu := &c.host.net.mu
	mu.Lock()
	defer mu.Unlock()
	for len(c.queue) == 0 && !c.closed && !c.deadline.passed() {
		c.ready.Wait()
	}
	switch {
	case c.closed:
		return 0, netip.AddrPort{}, c.fault("read", net.ErrClosed)
	case c.deadline.passed():
		return 0, netip.AddrPort{}, c.fault("read", os.ErrDeadlineExceeded)
	}
	d := c.queue[0]
	c.queue = c.queue[1:]
	if d.err != nil {
		return 0, netip.AddrPort{}, &net.OpError{Op: "read", Net: "udp", Addr: net.UDPAddrFromAddrPort(d.from), Err: d.err}
	}
	return copy(b, d.data), d.from, nil
}

func (c *packetConn) Read(b []byte) (int, error) {
	n, _, err := c.ReadFromUDPAddrPort(b)
	return n, err
}

func (c *packetConn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.fault("write", net.InvalidAddrError(fmt.Sprint(to)))
	}
	return c.WriteToUDPAddrPort(b, u.AddrPort())
}

// WriteToUDPAddrPort is WriteTo with a netip address, as *net.UDPConn has it.
func (c *packetConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case c.closed:
		return 0, c.fault("write", net.ErrClosed)
	case c.host.linkDown:
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: net.UDPAddrFromAddrPort(to),
			Err: os.NewSyscallError("sendto", syscall.ENETUNREACH)}
	}
	n.send(c, to, append([]byte(nil), b...))
	return len(b), nil
}

func (c *packetConn) Write(b []byte) (int, error) {
	if !c.peer.IsValid() {
		return 0, c.fault("write", errors.New("the socket is not connected"))
	}
	return c.WriteToUDPAddrPort(b, c.peer)
}

// send carries a datagram. Called with mu held.
func (n *Network) send(c *packetConn, to netip.AddrPort, data []byte) {
	from := netip.AddrPortFrom(c.host.addr, c.local.Port())
	target := n.hosts[to.Addr()]
	if target == nil || n.lost(c.host, target) {
		return
	}
	time.AfterFunc(n.delayOf(flowKey{from: from, to: to}), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if target.off || target.linkDown {
			return
		}
		s := target.sockets[to.Port()]
		if s == nil || s.peer.IsValid() && s.peer != from {
			n.unreachable(c, from, to)
			return
		}
		s.take(datagram{from: from, data: data})
	})
}

// unreachable sends the ICMP message "port unreachable" back. Called with mu
// held.
func (n *Network) unreachable(c *packetConn, from, to netip.AddrPort) {
	time.AfterFunc(n.delayOf(flowKey{from: to, to: from}), func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if !c.closed && !c.host.off && !c.host.linkDown {
			c.take(datagram{from: to, err: os.NewSyscallError("recvmsg", syscall.ECONNREFUSED)})
		}
	})
}

// take puts a datagram into the socket. Called with mu held.
func (c *packetConn) take(d datagram) {
	if len(c.queue) < socketQueue {
		c.queue = append(c.queue, d)
		c.ready.Broadcast()
	}
}

func (c *packetConn) Close() error {
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return c.fault("close", net.ErrClosed)
	}
	c.closed = true
	c.queue = nil
	c.deadline.stop()
	delete(c.host.sockets, c.local.Port())
	c.ready.Broadcast()
	return nil
}

func (c *packetConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

func (c *packetConn) RemoteAddr() net.Addr {
	if !c.peer.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(c.peer)
}

func (c *packetConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

func (c *packetConn) SetReadDeadline(t time.Time) error {
	c.host.net.mu.Lock()
	defer c.host.net.mu.Unlock()
	if c.closed {
		return c.fault("set", net.ErrClosed)
	}
	c.deadline.set(t, c.ready)
	return nil
}

// SetWriteDeadline does nothing: a write never waits.
func (c *packetConn) SetWriteDeadline(time.Time) error { return nil }

func (c *packetConn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: net.UDPAddrFromAddrPort(c.local), Err: err}
}

// A deadline wakes those who wait on a condition.
type deadline struct {
	at    time.Time // zero: none
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set is called with the lock of ready held.
func (d *deadline) set(t time.Time, ready *sync.Cond) {
	d.stop()
	d.at = t
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			ready.L.Lock()
			defer ready.L.Unlock()
			ready.Broadcast()
		})
	}
	ready.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = time.Time{}, nil
}
