package txn

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// Whatever a proxy sends: nothing panics, and nothing leaves that was not
// whole.
func FuzzReceive(f *testing.F) {
	for _, seed := range []string{
		theirs("INVITE", "z9hG4bK.1"),
		theirs("OPTIONS", "0", "Via: SIP/2.0/UDP [2001:db8::9:1];branch=0, SIP/2.0/TCP x"),
		theirs("CANCEL", "z9hG4bK.1"),
		theirs("ACK", "z9hG4bK.1", "To: <sip:a@b>;tag=x"),
		theirs("BYE", "z9hG4bK.2", "To: \"a\\\"\" <sip:a@b;x=\"y\">;tag=x"),
		theirs("REGISTER", "z9hG4bK.3", "From: a <tel:+1> ; tag = 1", "Content-Length: 99"),
		strings.Replace(theirs("INVITE", "z9hG4bK.4"), "INVITE sip:100@192.0.2.100 SIP/2.0", "SIP/2.0 200 OK", 1),
		strings.Replace(theirs("OPTIONS", "z9hG4bK.4"), "OPTIONS sip:100@192.0.2.100 SIP/2.0", "SIP/2.0 1", 1),
	} {
		f.Add(seed)
	}
	network := newMemNet()
	l, err := New(f.Context(), Config{
		Transport: transport.Config{Network: network, Trusts: func(netip.Addr) bool { return false }},
		OnRequest: func(s *Server) {
			res := s.Response(180, "", nil)
			if err := s.Respond(res); err != nil {
				panic(err) // what was let in can be answered
			}
			if tag(res.To()) == "" || strings.ContainsAny(s.Tag(), "\r\n") {
				panic(s.Tag())
			}
			s.Respond(s.Response(200, "", nil))
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	far := network.listen(proxy)
	invite := ours(sip.INVITE)
	if err := l.prepare(f.Context(), at(proxy, outbound.UDP), invite, patience); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		msg, err := sip.ParseMessage([]byte(raw))
		if err != nil {
			return
		}
		msg.SetTransport("UDP")
		msg.SetSource(proxy.String())
		l.receive(msg)
		if res, ok := msg.(*sip.Response); ok && sound(res) {
			// What we would send to end such a call can be sent.
			for _, req := range []*sip.Request{successAck(invite, res), refusalAck(invite, res), inDialog(invite, res, sip.BYE, 8)} {
				if err := transport.Intact(req); err != nil {
					t.Errorf("%v in\n%v", err, req)
				}
			}
		}
		for len(far.in) > 0 {
			d := <-far.in
			// A refusal shows what it refuses.
			if _, err := sip.ParseMessage(d.data); err != nil && !strings.HasPrefix(string(d.data), "SIP/2.0 4") && !strings.HasPrefix(string(d.data), "SIP/2.0 5") {
				t.Errorf("we sent what cannot be read: %v\n%s", err, d.data)
			}
		}
	})
}
