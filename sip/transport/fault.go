package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/ata-agent/ata-agent/outbound"
)

// A Fault is what the network says about an address: an error that names it.
type Fault struct {
	Addr      netip.AddrPort     // where we sent to; the zero AddrPort for our own socket
	Transport outbound.Transport // what carried it
	Kind      FaultKind
	Err       error // what the system or the handshake said
}

// FaultKind tells what is wrong.
type FaultKind uint8

// The kinds of fault.
const (
	Unreachable FaultKind = iota + 1 // ICMP says that nobody is there, or the kernel's own patience with a connection ran out
	Refused                          // a TCP connection was refused
	Lost                             // a TCP or TLS connection ended
	TLSFailed                        // the handshake failed, or the certificate does not show the proxy's name
	OwnSide                          // no route, no address, no socket: ours, not the proxy's
)

func (k FaultKind) String() string {
	switch k {
	case Unreachable:
		return "unreachable"
	case Refused:
		return "connection refused"
	case Lost:
		return "connection lost"
	case TLSFailed:
		return "TLS failed"
	case OwnSide:
		return "no way out"
	}
	return "no fault"
}

// Error is the fault as a sentence: "udp 192.0.2.7:5060: unreachable: port unreachable".
func (f Fault) Error() string {
	where := "own socket"
	if f.Addr.IsValid() {
		where = f.Transport.String() + " " + f.Addr.String()
	}
	if f.Err == nil {
		return fmt.Sprintf("%s: %s", where, f.Kind)
	}
	return fmt.Sprintf("%s: %s: %v", where, f.Kind, f.Err)
}

// Unwrap returns what the system said.
func (f Fault) Unwrap() error { return f.Err }

// Errors of package syscall that are our own side's: what a datagram or a
// connection attempt meets when the cable is out, the lease is gone or a
// firewall of ours forbids it.
var ownSide = []error{
	syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE,
	syscall.EPERM, syscall.EACCES, syscall.EINVAL, syscall.EMSGSIZE, syscall.EAFNOSUPPORT,
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
}

// isOwnSide reports whether an error of a socket call is about us.
func isOwnSide(err error) bool {
	for _, e := range ownSide {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isEcho reports whether an error of a UDP socket is one that ICMP messages
// cause, ip(7) and icmp_err_convert in Linux.
func isEcho(err error) bool {
	for _, e := range []error{
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENOPROTOOPT,
		syscall.EPROTO, syscall.EMSGSIZE, syscall.EACCES, syscall.EHOSTDOWN, syscall.EOPNOTSUPP,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// dialFault says what a failed connection attempt means. An error of the
// caller's own context is returned as it is: that is no news about the proxy.
func dialFault(ctx context.Context, to outbound.Target, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	kind := Unreachable
	switch {
	case isOwnSide(err):
		kind = OwnSide
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		kind = Refused
	}
	return Fault{to.Addr, to.Transport, kind, err}
}

// handshakeFault says what a failed handshake means: a connection that breaks
// off is lost, everything else is the peer's certificate or its TLS.
func handshakeFault(ctx context.Context, to outbound.Target, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	kind := TLSFailed
	var op *net.OpError
	var alert tls.AlertError
	switch {
	case errors.As(err, &alert):
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &op) && op.Op != "remote error" && op.Op != "local error":
		kind = Lost
	}
	return Fault{to.Addr, to.Transport, kind, err}
}
