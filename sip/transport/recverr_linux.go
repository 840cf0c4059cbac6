package transport

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ata-agent/ata-agent/outbound"
)

// askForErrors makes the kernel keep what ICMP says about datagrams sent from
// a socket that is not connected; without it nothing is ever said (ip(7),
// IP_RECVERR). A socket for both families needs both options.
func askForErrors(raw syscall.RawConn) bool {
	var e4, e6 error
	err := raw.Control(func(fd uintptr) {
		e4 = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_RECVERR, 1)
		e6 = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	})
	return err == nil && (e4 == nil || e6 == nil)
}

// drain empties the error queue of a socket and tells of each entry. A Fault
// of kind 0 is an entry that concerns nobody: a path MTU, say.
func drain(raw syscall.RawConn, tell func(Fault)) {
	raw.Control(func(fd uintptr) {
		var oob [512]byte
		for range 64 { // the queue is bounded by the socket's buffer; this bounds our patience
			_, n, _, from, err := unix.Recvmsg(int(fd), nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			tell(queued(oob[:n], from))
		}
	})
}

// Origins in struct sock_extended_err, linux/errqueue.h.
const (
	originLocal = 1
	originICMP  = 2
	originICMP6 = 3
)

// queued reads one entry of the error queue. It goes by origin, type and code
// and not by ee_errno, which is another number on MIPS and which qemu does not
// translate.
func queued(oob []byte, from unix.Sockaddr) Fault {
	f := Fault{Addr: sockaddr(from), Transport: outbound.UDP}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return f
	}
	for _, m := range msgs {
		v4 := m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.Data) < 16 {
			continue
		}
		errno := syscall.Errno(binary.NativeEndian.Uint32(m.Data))
		origin, typ, code := m.Data[4], m.Data[5], m.Data[6]
		f.Kind, f.Err = icmp(origin, typ, code, errno)
	}
	return f
}

// An icmpError is what an ICMP message says.
type icmpError string

func (e icmpError) Error() string { return string(e) }

// icmp says what an entry means for the address it is about.
func icmp(origin, typ, code byte, errno syscall.Errno) (FaultKind, error) {
	switch {
	case origin == originLocal:
		return OwnSide, errno
	case origin == originICMP && typ == 3: // RFC 792: destination unreachable
		switch code {
		case 0:
			return Unreachable, icmpError("net unreachable")
		case 1:
			return Unreachable, icmpError("host unreachable")
		case 2:
			return Unreachable, icmpError("protocol unreachable")
		case 3:
			return Unreachable, icmpError("port unreachable")
		case 4:
			return 0, nil // fragmentation needed: the kernel has noted the path MTU
		}
		return Unreachable, icmpError("destination unreachable") // RFC 1122 3.2.2.1, RFC 1812 5.2.7.1: prohibited, unknown, ...
	case origin == originICMP6 && typ == 1: // RFC 4443 section 3.1
		if code == 4 {
			return Unreachable, icmpError("port unreachable")
		}
		return Unreachable, icmpError("destination unreachable")
	}
	return 0, nil // packet too big, time exceeded (a loop may heal), parameter problem
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return unmap(netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)))
	}
	return netip.AddrPort{}
}
