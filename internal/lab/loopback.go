package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// A Loopback is a place on this computer's own loopback interface, with the
// kernel's sockets. The zero Loopback is 127.0.0.1.
type Loopback struct {
	IP netip.Addr // in 127.0.0.0/8, or ::1
}

// Addr is the address of the place.
func (l Loopback) Addr() netip.Addr {
	if !l.IP.IsValid() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return l.IP
}

// own puts our address where the listen address has none.
func (l Loopback) own(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "" {
		return address
	}
	return net.JoinHostPort(l.Addr().String(), port)
}

// ListenPacket opens a datagram socket.
func (l Loopback) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var lc net.ListenConfig
	return lc.ListenPacket(ctx, network, l.own(address))
}

// Listen opens a listening TCP socket.
func (l Loopback) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, network, l.own(address))
}

// DialContext connects.
func (l Loopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// isClosed tells whether a socket is gone for good.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
