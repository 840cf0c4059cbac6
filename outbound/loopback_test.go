package outbound

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// The same on real sockets: UDP, an answer too long for it fetched by TCP, a
// server that is not there, cancellation.
func TestLoopback(t *testing.T) {
	var addrs []string
	for i := range 100 {
		addrs = append(addrs, place(i+1).Addr.Addr().String())
	}
	answers := &fakeDNS{zone: append(zoneA("big.example.net", addrs...), zoneA("p.example.net", "192.0.2.1", "192.0.2.2", "192.0.2.3")...)}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Skip("no loopback: ", err)
	}
	server := netip.MustParseAddrPort(pc.LocalAddr().String())
	listener, err := net.Listen("tcp", server.String())
	if err != nil {
		t.Skip("the same port is not free for TCP: ", err)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answers.mu.Lock()
		reply := answers.answer(q)
		answers.mu.Unlock()
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			reply.Truncate(udpSize)
		}
		w.WriteMsg(reply)
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: handler}, {Listener: listener, Handler: handler}} {
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := netip.MustParseAddrPort(gone.LocalAddr().String())
	gone.Close()

	resolver := NewResolver(ResolverConfig{Servers: []netip.AddrPort{nobody, server}, Timeout: 30 * time.Second})
	r := NewRoute(RouteConfig{Proxies: proxies(t, "p.example.net", "big.example.net", "none.example.net"), Resolver: resolver})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	first, err := r.First(ctx)
	if err != nil || first.Dest != one {
		t.Fatalf("%v, %v", first, err)
	}
	for len(r.Targets()) < Capacity {
		select {
		case <-ctx.Done():
			t.Fatalf("the ring stayed at %s", dests(r.Targets()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	began := time.Now()
	cancel()
	if err := <-done; err != context.Canceled || time.Since(began) > 10*time.Second {
		t.Errorf("Run returned %v after %v", err, time.Since(began))
	}

	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	_, err = NewResolver(ResolverConfig{Servers: []netip.AddrPort{netip.MustParseAddrPort(silent.LocalAddr().String())}}).Lookup(ctx, proxies(t, "p.example.net")[0])
	if took := time.Since(began); err == nil || took > 10*time.Second {
		t.Errorf("a lookup with 100 ms to live returned %v after %v", err, took)
	}
}
