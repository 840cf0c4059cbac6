package peers

import (
	"testing"
	"time"
)

// Sound is sealed with baresip, whose SRTP and SDES are of another make (libre), over
// TLS and through Kamailio: it calls and is called, and reports go both ways.
func TestSealedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "proxy.peers.test", "tls", `srtp = "required"`)
	sealing := ";mediaenc=srtp-mand"
	callee := w.baresip(21, "701", sealing)
	time.Sleep(500 * time.Millisecond)

	w.call("701", 5*time.Second)
	w.wants(w.hear(1300), 440, "the ear, from baresip,")
	time.Sleep(8 * time.Second)
	t.Logf("%+v", w.status().Ports)
	w.hangUp()
	time.Sleep(500 * time.Millisecond)
	w.wants(callee.heard(), 1300, "baresip")
	t.Log(callee.log.String())

	caller := w.baresip(23, "702", sealing+`;outbound="sip:`+w.net+`.1:5061;transport=tls"`, "d sip:100@peers.test")
	w.phone("wait", "ringing", "--timeout", "5s")
	w.phone("lift")
	w.phone("wait", "talking", "--timeout", "5s")
	w.wants(w.hear(800), 440, "the ear, from baresip that called,")
	w.hangUp()
	time.Sleep(500 * time.Millisecond)
	w.wants(caller.heard(), 800, "baresip that called")
	t.Log(caller.log.String())
}

type sound struct {
	Sent, Received, Strangers uint64
	RTT_ms                    float64
}
