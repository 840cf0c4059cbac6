package sip

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"
)

// kernel is the real network.
type kernel struct {
	net.ListenConfig
	net.Dialer
}

func (k *kernel) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return k.ListenConfig.ListenPacket(ctx, network, address)
}

// On the kernel's sockets a killed proxy is told by ICMP, through the error
// queue: the call goes on at once, and the registration with it.
func TestLoopback(t *testing.T) {
	defer goleak.VerifyNone(t)
	w := newWorld(t)
	a, b := w.proxy("127.0.0.1:0"), w.proxy("127.0.0.1:0")
	b.set(func() {
		b.handle = func(p *proxy, req *sip.Request) bool {
			return req.Method == sip.INVITE && !p.authorized(req, 407, "INVITE")
		}
	})
	w.startLine(func(c *Config) { c.Network, c.Local = &kernel{}, "127.0.0.1:0" }, a.addr.String(), b.addr.String())
	await[Registered](w, 10*time.Second)
	a.kill()
	w.line.Call("1", local)
	await[Moved](w, 10*time.Second)
	_, took := await[Progress](w, 10*time.Second)
	t.Logf("180 from the other proxy %v after the move", took)
	an, _ := await[Answered](w, 10*time.Second)
	for began := time.Now(); w.line.Status().Via.Addr != b.addr; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%+v", w.line.Status())
		}
	}
	an.Call.Hangup()
	await[Ended](w, 10*time.Second)
	b.kill()
	w.end()
}
