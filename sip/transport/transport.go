// Package transport is a line's one way in and out: a UDP socket of its own
// and the TCP and TLS connections the line has opened. Its one idea: a message
// is admitted before it is parsed, and whatever the network says about a dead
// address is heard.
//
// sipgo's transport layer reads and frames the messages; the sockets under it
// are ours. That is what lets a stranger's datagram be dropped for the price
// of a table lookup, an ICMP error name the proxy that is gone, a TLS
// connection to a bare address be verified against the proxy's name, and a
// socket that fails be replaced while sipgo goes on reading. sipgo never
// dials, never resolves and never sees a read error.
//
//	socket ─▶ trusted? size? rate? ─▶ sipgo parses ─▶ OnMessage
//	              └▶ STUN, CRLF: signs of life
//	errors ─▶ error queue ─▶ OnFault
package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// A Network opens sockets. What it returns need not be of package net's own
// types: features that only the kernel's sockets have are found by asking.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A Witness is a Network that wants to see each message that was sent or let
// in, and what the network said instead of one. Witness is called by many
// goroutines. It must not wait, and not keep Text.
type Witness interface{ Witness(Sight) }

// A Sight is one message as it goes over the wire, a fault, or both: what could
// not be sent.
type Sight struct {
	Sent          bool // by us
	Transport     outbound.Transport
	Local, Remote netip.AddrPort // Local's address may be unspecified
	Text          []byte         // nil for a fault that no message had
	Fault         error          // nil: none
}

// A Config says whom to trust and where to send what arrives.
type Config struct {
	Network Network

	// Local is the address to listen on, "192.0.2.1:5060"; empty means any
	// address and a port of the kernel's choice.
	Local string

	// Trusts says whether datagrams from an address are read at all. It is
	// called for every datagram, from one goroutine, and should allocate
	// nothing.
	Trusts func(netip.Addr) bool

	// Roots are the authorities that may vouch for a proxy; nil means the
	// system's.
	Roots *x509.CertPool

	// Rate is how many requests a second one trusted address may send, and
	// twice as many responses; two seconds' worth at once. More is dropped. 0 means 100.
	Rate int

	// OnMessage is given each message in the order of its arrival on its
	// socket or connection. It must not block: nothing else is read from
	// there meanwhile. Messages of different connections may come at once.
	OnMessage func(sip.Message)

	// OnFault is told what the network says about an address that nobody
	// waits for at the moment. It must not block. nil is allowed.
	OnFault func(Fault)

	Logger *slog.Logger // nil means slog.Default
}

// A Local is our side of the way to a target, as a Via header shows it.
type Local struct {
	Addr      netip.AddrPort
	Transport string // "UDP", "TCP", "TLS"
}

// Open opens the socket and starts to read. The context bounds the opening.
func Open(ctx context.Context, cfg Config) (*Transport, error) {
	if cfg.Network == nil || cfg.Trusts == nil || cfg.OnMessage == nil {
		return nil, errors.New("transport: Network, Trusts and OnMessage are needed")
	}
	if cfg.OnFault == nil {
		cfg.OnFault = func(Fault) {}
	}
	if cfg.Rate <= 0 {
		cfg.Rate = requestRate
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	t := &Transport{cfg: cfg, epoch: time.Now(), handoffs: map[outbound.Transport]*handoff{}, streams: map[hop]*stream{}, pings: map[hop][]chan error{}}
	t.witness, _ = cfg.Network.(Witness)
	t.ctx, t.cancel = context.WithCancel(context.Background())
	var err error
	if t.socket, err = openSocket(ctx, t); err != nil {
		return nil, err
	}
	calm := slog.New(newCalm(cfg.Logger.Handler()))
	t.parser = newParser()
	t.layer = sip.NewTransportLayer(noResolver, t.parser, nil, sip.WithTransportLayerLogger(calm))
	t.layer.OnMessage(t.hear)
	for _, kind := range []outbound.Transport{outbound.TCP, outbound.TLS} {
		t.handoffs[kind] = newHandoff(t.socket.LocalAddr())
	}
	t.serve(func() error { return t.layer.ServeUDP(t.socket) })
	t.serve(func() error { return t.layer.ServeTCP(t.handoffs[outbound.TCP]) })
	t.serve(func() error { return t.layer.ServeTLS(t.handoffs[outbound.TLS]) })
	return t, nil
}

// A Transport is one line's socket and connections. Its methods may be called
// from any goroutine.
type Transport struct {
	cfg      Config
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	epoch    time.Time // when it was opened: what times are counted from where they have to fit an atomic
	witness  Witness   // nil: nobody looks
	socket   *socket
	parser   *sip.Parser
	layer    *sip.TransportLayer
	handoffs map[outbound.Transport]*handoff
	readers  sync.WaitGroup
	count    counters

	mu      sync.Mutex
	streams map[hop]*stream      // connections we have opened, and those being opened
	pings   map[hop][]chan error // who waits for a sign of life
	pinging atomic.Int32         // how many wait, so that nobody else pays for them
}

// A hop is a transport and an address: what a connection is kept under.
type hop struct {
	transport outbound.Transport
	addr      netip.AddrPort
}

// serve runs one of sipgo's serving loops until Close. sipgo leaves such a
// loop at the first read error it does not know; ours shows it none, and
// should it leave all the same, it is called again.
func (t *Transport) serve(loop func() error) {
	t.readers.Go(func() {
		for t.ctx.Err() == nil {
			if err := loop(); t.ctx.Err() == nil {
				t.cfg.Logger.Warn("sip: a serving loop ended and is started again", "error", err)
				pause(t.ctx, reopenFirst)
			}
		}
	})
}

// hear is where sipgo delivers. For UDP it runs on the goroutine that has
// just read the datagram.
func (t *Transport) hear(msg sip.Message) {
	if msg.Transport() == "UDP" {
		t.socket.parsed(msg)
	} else if t.witness != nil {
		t.seen(msg)
	}
	t.cfg.OnMessage(msg)
}

// seen shows a message that came over a connection.
func (t *Transport) seen(msg sip.Message) {
	from, _ := netip.ParseAddrPort(msg.Source())
	to := hop{outbound.TCP, unmap(from)}
	if msg.Transport() == "TLS" {
		to.transport = outbound.TLS
	}
	sight := Sight{Transport: to.transport, Remote: to.addr, Text: []byte(msg.String())}
	if s := t.stream(to); s != nil {
		sight.Local = s.local.Addr
	}
	t.witness.Witness(sight)
}

// Connect makes sure that messages can go to the target and says what our
// side of the way is called. Over UDP it asks the kernel which of our
// addresses it would send from; over TCP and TLS it opens a connection unless
// there is one. A TLS connection shows and demands the target's TLSName,
// whatever its address. The error is the context's, or a [Fault].
func (t *Transport) Connect(ctx context.Context, to outbound.Target) (Local, error) {
	if to.Transport == outbound.UDP {
		return t.source(ctx, to)
	}
	s, err := t.dial(ctx, to)
	if err != nil {
		return Local{}, err
	}
	return s.local, nil
}

// Renew ends the connection to a target if it comes from another address than
// the kernel would use now: an interface has gone and taken it along, and only
// silence would tell. Over UDP there is nothing to end.
func (t *Transport) Renew(ctx context.Context, to outbound.Target) {
	s := t.stream(hop{to.Transport, to.Addr})
	if s == nil {
		return
	}
	now, err := t.kernels(ctx, to)
	if err == nil && now.Addr() != s.local.Addr.Addr() {
		s.end(errors.New("the address it came from is gone"))
	}
}

// Close ends everything: the socket, the connections, the goroutines that
// read them. Nothing is delivered after it has returned.
func (t *Transport) Close() error {
	t.cancel()
	for _, h := range t.handoffs {
		h.Close()
	}
	t.mu.Lock()
	streams := slices.Collect(maps.Values(t.streams))
	t.mu.Unlock()
	for _, s := range streams {
		select {
		case <-s.opened:
			if s.err == nil {
				s.end(net.ErrClosed)
			}
		default: // open ends it
		}
	}
	err := t.socket.Close()
	t.readers.Wait()
	return err
}
