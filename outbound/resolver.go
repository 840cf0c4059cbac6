package outbound

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// A Network opens sockets. A nil Network in a config is the host's.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A ResolverConfig says whom to ask. The zero value asks the servers of /etc/resolv.conf.
type ResolverConfig struct {
	Network    Network          // nil: the host's
	Servers    []netip.AddrPort // the DNS servers; none: those of ResolvConf
	ResolvConf string           // read again whenever it changes; "": /etc/resolv.conf
	Timeout    time.Duration    // silence after which the next server is asked too; 0: 1 s
	Random     func() float64   // from [0, 1), for RFC 2782's weights; nil: math/rand. Any goroutine calls it.
	Logger     *slog.Logger     // nil: silent
}

// A Resolver finds the addresses of a proxy. It is safe for concurrent use.
type Resolver struct{ cfg ResolverConfig }

// NewResolver makes a resolver. It opens nothing yet.
func NewResolver(cfg ResolverConfig) *Resolver { return &Resolver{cfg: cfg} }
