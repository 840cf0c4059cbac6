package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// host is the machine's own network.
type host struct{}

func (host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, network, address)
}

func (host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// hostLinks looks at the machine's interfaces other than loopback.
func hostLinks() (up, addressed bool) {
	all, err := net.Interfaces()
	if err != nil {
		return true, true // we cannot know
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagRunning == 0 {
			continue
		}
		up = true
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				addressed = true
			}
		}
	}
	return up, addressed
}

// hostUptime is for how long the machine has been on, 0 when it does not say
// (proc(5), /proc/uptime: seconds since boot first).
func hostUptime() time.Duration {
	b, _ := os.ReadFile("/proc/uptime")
	first, _, _ := strings.Cut(string(b), " ")
	d, _ := time.ParseDuration(first + "s")
	return d
}

// identity is the device's name for registrars, the same after every start:
// RFC 5626 section 4.1, "a URN that uniquely identifies this specific UA
// instance", kept in the state directory. Where nothing can be kept it is a new
// one each time, which only costs a registrar a binding that expires.
func identity(dir string, log *slog.Logger) string {
	if dir == "" {
		return newURN()
	}
	path := filepath.Join(dir, "identity")
	if b, err := os.ReadFile(path); err == nil {
		if id := strings.TrimSpace(string(b)); len(id) == len(newURN()) && strings.HasPrefix(id, "urn:uuid:") {
			return id
		}
	}
	id := newURN()
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(id+"\n"), 0o644)
	}
	if err != nil {
		log.Warn(fmt.Sprintf("the device's identity cannot be kept: %v", err))
	}
	return id
}

// newURN is a random UUID, RFC 9562 section 5.4.
func newURN() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
