package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long sent bytes may stay unacknowledged (RFC 5482,
// tcp(7) TCP_USER_TIMEOUT). Without it the kernel tries for a quarter of an hour.
func setUserTimeout(raw syscall.RawConn, d time.Duration) {
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
