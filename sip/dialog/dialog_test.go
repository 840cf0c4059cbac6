package dialog

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func parse(t testing.TB, lines ...string) sip.Message {
	t.Helper()
	m, err := sip.ParseMessage([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func invite(t testing.TB, more ...string) *sip.Request {
	return parse(t, append([]string{"INVITE sip:200@example.net SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1",
		`From: "A" <sip:100@example.net>;tag=ours`, "To: <sip:200@example.net>",
		"Call-ID: c1", "CSeq: 7 INVITE", "Contact: <sip:tok@192.0.2.1:5062>"}, more...)...).(*sip.Request)
}

func response(t testing.TB, code, tag string, more ...string) *sip.Response {
	return parse(t, append([]string{"SIP/2.0 " + code + " X",
		"Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1",
		`From: "A" <sip:100@example.net>;tag=ours`, "To: <sip:200@example.net>;tag=" + tag,
		"Call-ID: c1", "CSeq: 7 INVITE"}, more...)...).(*sip.Response)
}

func routes(req *sip.Request) string {
	var out []string
	for _, h := range req.GetHeaders("Route") {
		out = append(out, h.Value())
	}
	return strings.Join(out, " ")
}

func TestCaller(t *testing.T) {
	req := invite(t)
	d, err := FromResponse(req, response(t, "180", "t1", "Contact: <sip:200@198.51.100.1:5070;transport=udp>",
		"Record-Route: <sip:p2.example.net;lr;x=2>", "Record-Route: <sip:10.0.0.1:5060;lr>"))
	if err != nil {
		t.Fatal(err)
	}
	if !d.Early || d.ID != (ID{"c1", "ours", "t1"}) {
		t.Errorf("%+v", d)
	}
	r := d.Request(sip.PRACK)
	// RFC 3261 12.1.2: the route set is "taken in reverse order and preserving
	// all URI parameters".
	if got := routes(r); got != "<sip:10.0.0.1:5060;lr> <sip:p2.example.net;lr;x=2>" {
		t.Errorf("route set %s", got)
	}
	// 12.2.1.1: "the UAC MUST place the remote target URI into the Request-URI".
	if got := r.Recipient.String(); got != "sip:200@198.51.100.1:5070;transport=udp" {
		t.Errorf("Request-URI %s", got)
	}
	// "the CSeq [...] MUST contain strictly monotonically increasing and
	// contiguous [...] CSeq sequence numbers".
	if r.CSeq().SeqNo != 8 || r.CSeq().MethodName != sip.PRACK {
		t.Errorf("CSeq %v", r.CSeq())
	}
	if r.From().Value() != `"A" <sip:100@example.net>;tag=ours` || r.To().Value() != "<sip:200@example.net>;tag=t1" {
		t.Errorf("From %s To %s", r.From().Value(), r.To().Value())
	}

	// 13.2.2.4: "the route set for the dialog MUST be recomputed based on the
	// 2xx response".
	if err := d.Confirm(req, response(t, "200", "t1", "Contact: <sip:200@198.51.100.2>", "Record-Route: <sip:10.0.0.3;lr>")); err != nil {
		t.Fatal(err)
	}
	ack := d.Ack(7)
	if d.Early || routes(ack) != "<sip:10.0.0.3;lr>" || ack.Recipient.Host != "198.51.100.2" {
		t.Errorf("after the 2xx: %v %s %s", d.Early, routes(ack), ack.Recipient.String())
	}
	// sipgo took the dialog's counter here, and every call with PRACK failed.
	if ack.CSeq().SeqNo != 7 || ack.CSeq().MethodName != sip.ACK {
		t.Errorf("ACK has CSeq %v", ack.CSeq())
	}
	if bye := d.Request(sip.BYE); bye.CSeq().SeqNo != 9 {
		t.Errorf("BYE has CSeq %v", bye.CSeq())
	}
}

func TestStrictRouter(t *testing.T) {
	d, err := FromResponse(invite(t), response(t, "200", "t", "Contact: <sip:200@198.51.100.1>",
		"Record-Route: <sip:b.example.net;lr>", "Record-Route: <sip:a.example.net?x=y>"))
	if err != nil {
		t.Fatal(err)
	}
	bye := d.Request(sip.BYE)
	if bye.Recipient.String() != "sip:a.example.net" || routes(bye) != "<sip:b.example.net;lr> <sip:200@198.51.100.1>" {
		t.Errorf("%s Route %s", bye.Recipient.String(), routes(bye))
	}
}

func TestCallee(t *testing.T) {
	in := invite(t, "Record-Route: <sip:10.0.0.1;lr>", "Record-Route: <sip:p2.example.net;lr>")
	d, err := FromRequest(in, "mine")
	if err != nil {
		t.Fatal(err)
	}
	// RFC 3261 12.1.1: the route set is taken "in order".
	bye := d.Request(sip.BYE)
	if routes(bye) != "<sip:10.0.0.1;lr> <sip:p2.example.net;lr>" || bye.Recipient.String() != "sip:tok@192.0.2.1:5062" {
		t.Errorf("%s Route %s", bye.Recipient.String(), routes(bye))
	}
	if bye.From().Value() != "<sip:200@example.net>;tag=mine" || bye.To().Value() != `"A" <sip:100@example.net>;tag=ours` {
		t.Errorf("From %s To %s", bye.From().Value(), bye.To().Value())
	}
	if bye.CSeq().SeqNo != FirstCSeq {
		t.Errorf("CSeq %v", bye.CSeq())
	}
	again := invite(t)
	if err := d.Accept(again); !errors.Is(err, ErrOldCSeq) {
		t.Errorf("the same number again: %v", err)
	}
	again.CSeq().SeqNo = 12
	again.Contact().Address.Host = "192.0.2.77"
	if err := d.Accept(again); err != nil {
		t.Error(err)
	}
	d.Refresh(again)
	if got := d.Request(sip.BYE).Recipient.Host; got != "192.0.2.77" {
		t.Errorf("target after the refresh: %s", got)
	}
	if id, ok := Of(invite(t)); ok {
		t.Errorf("an INVITE without To tag is in dialog %v", id)
	}
}

func TestDetour(t *testing.T) {
	for rr, left := range map[string]string{
		"<sip:10.0.0.1:5060;lr>":     "",
		"<sip:10.0.0.1;lr>":          "",
		"<sip:10.0.0.1:5080;lr>":     "<sip:10.0.0.1:5080;lr>",
		"<sip:proxy.example.net;lr>": "<sip:proxy.example.net;lr>",
	} {
		d, err := FromResponse(invite(t), response(t, "200", "t", "Contact: <sip:200@198.51.100.1>", "Record-Route: "+rr))
		if err != nil {
			t.Fatal(err)
		}
		d.Detour(netip.MustParseAddrPort("10.0.0.1:5060"))
		if got := routes(d.Request(sip.BYE)); got != left {
			t.Errorf("%s: left %q, want %q", rr, got, left)
		}
	}
}

func TestHostileContacts(t *testing.T) {
	for _, c := range []string{"", "Contact: *", "Contact: <tel:+1555>", "Contact: <mailto:a@b>", "Contact: <sip:a b@h>"} {
		if _, err := FromResponse(invite(t), response(t, "200", "t", c)); err == nil {
			t.Errorf("%q makes a dialog", c)
		}
	}
	d, err := FromResponse(invite(t), response(t, "200", "t", "Contact: <sip:a@h;method=REGISTER?Route=%3Csip:evil%3E>"))
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Request(sip.BYE).Recipient.String(); got != "sip:a@h" {
		t.Errorf("Request-URI %s", got)
	}
	if _, err := FromResponse(invite(t), response(t, "200", "", "Contact: <sip:a@h>")); !errors.Is(err, ErrNoTag) {
		t.Errorf("no tag: %v", err)
	}
}
