package transport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

// A Ping is how an address is asked for a sign of life.
type Ping uint8

// The kinds of ping.
const (
	// CRLF is the double line end of RFC 5626 section 3.5.1, which a peer
	// answers on TCP and TLS. Over UDP it keeps a NAT's door open and
	// nobody answers.
	CRLF Ping = iota
	// STUN is the binding request of RFC 5626 section 3.5.2, over UDP; on
	// TCP and TLS it is CRLF.
	STUN
)

// stunAgain is the first wait before a binding request is repeated (RFC 5389
// section 7.2.1); it doubles.
const stunAgain = 500 * time.Millisecond

// Ping asks an address for a sign of life and waits for it until the context
// ends: anything it sends is one, be it a call. CRLF over UDP does not wait,
// since nobody answers it; a dead port is then told to OnFault. Over TCP and
// TLS the connection must be open. The error is the context's, or a [Fault].
func (t *Transport) Ping(ctx context.Context, to outbound.Target, kind Ping) error {
	b := []byte("\r\n\r\n")
	udp := to.Transport == outbound.UDP
	if udp && kind == CRLF {
		return t.write(to, b)
	}
	if udp {
		b = bindingRequest()
	}
	key := hop{to.Transport, to.Addr}
	sign := make(chan error, 1)
	t.await(key, sign)
	defer t.giveUp(key, sign)

	for again := stunAgain; ; again *= 2 {
		if err := t.write(to, b); err != nil {
			return err
		}
		var repeat <-chan time.Time
		if udp {
			timer := time.NewTimer(again)
			defer timer.Stop()
			repeat = timer.C
		}
		select {
		case err := <-sign:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-t.ctx.Done():
			return context.Canceled
		case <-repeat:
		}
	}
}

// bindingRequest is a STUN message without attributes (RFC 5389 section 6).
func bindingRequest() []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, 0x0001)
	binary.BigEndian.PutUint32(b[4:], 0x2112A442)
	rand.Read(b[8:])
	return b
}

func (t *Transport) await(key hop, sign chan error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pings[key] = append(t.pings[key], sign)
	t.pinging.Add(1)
}

func (t *Transport) giveUp(key hop, sign chan error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.pings[key], sign); i >= 0 {
		t.pings[key] = slices.Delete(t.pings[key], i, i+1)
	}
	if len(t.pings[key]) == 0 {
		delete(t.pings, key)
	}
	t.pinging.Add(-1)
}

// alive is called when something has come from an address.
func (t *Transport) alive(key hop) {
	if t.pinging.Load() != 0 {
		t.answer(key, nil)
	}
}

// answer tells all who wait for an address, once each.
func (t *Transport) answer(key hop, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, sign := range t.pings[key] {
		select {
		case sign <- err:
		default:
		}
	}
}

// fault passes on what the network says.
func (t *Transport) fault(f Fault) {
	if t.pinging.Load() != 0 {
		t.answer(hop{f.Transport, f.Addr}, f)
	}
	if t.witness != nil {
		t.witness.Witness(Sight{Transport: f.Transport, Remote: f.Addr, Fault: f})
	}
	t.cfg.OnFault(f)
}
