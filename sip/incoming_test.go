package sip

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/sip/sdp"
)

// A dialling is a call of the proxy's to the telephone.
type dialling struct {
	p      *proxy
	n      int
	uri    string
	to     string // address
	toTag  string
	invite string
}

// call sends an INVITE to the binding. change sees the text before it goes.
func (p *proxy) call(w *world, n int, change func(string) string) *dialling {
	w.t.Helper()
	uri := p.binding()
	if uri == "" {
		w.t.Fatal("nobody is registered")
	}
	_, to, _ := strings.Cut(uri, "@")
	to, _, _ = strings.Cut(to, ";")
	d := &dialling{p: p, n: n, uri: uri, to: to}
	body := farSession("10.0.0.9:7000", "sendrecv")
	d.invite = fmt.Sprintf("INVITE %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKin%d;rport\r\nRecord-Route: <sip:%s;lr>\r\nMax-Forwards: 70\r\nFrom: \"Ann \\\"A\\\"\" <sip:+1555%%23@example.org>;tag=f%d\r\nTo: <sip:100@example.net>\r\nCall-ID: in%d\r\nCSeq: 1 INVITE\r\nContact: <sip:ann@%s>\r\nAllow: INVITE, ACK, BYE, UPDATE\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
		uri, p.addr, n, p.addr, n, n, p.addr, len(body), body)
	if change != nil {
		d.invite = change(d.invite)
	}
	p.send(d.invite, to)
	return d
}

// also sends another request of the dialling's.
func (d *dialling) also(method string, seq int, branch string, more ...string) {
	to := "<sip:100@example.net>"
	if d.toTag != "" {
		to += ";tag=" + d.toTag
	}
	body := ""
	var hs strings.Builder
	for i := 0; i+1 < len(more); i += 2 {
		if more[i] == "body" {
			body = more[i+1]
			hs.WriteString("Content-Type: application/sdp\r\n")
			continue
		}
		fmt.Fprintf(&hs, "%s: %s\r\n", more[i], more[i+1])
	}
	d.p.send(fmt.Sprintf("%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 70\r\nFrom: <sip:+1555@example.org>;tag=f%d\r\nTo: %s\r\nCall-ID: in%d\r\nCSeq: %d %s\r\n%sContent-Length: %d\r\n\r\n%s",
		method, d.uri, d.p.addr, branch, d.n, to, d.n, seq, method, hs.String(), len(body), body), d.to)
}

// response is the final response to the INVITE.
func (d *dialling) response() *sip.Response {
	for {
		res := d.p.response()
		if res.CallID().Value() == fmt.Sprintf("in%d", d.n) && res.CSeq().MethodName == sip.INVITE {
			return res
		}
	}
}

func (d *dialling) ack(res *sip.Response, more ...string) {
	d.toTag, _ = res.To().Params.Get("tag")
	d.also("ACK", 1, fmt.Sprintf("ack%d", d.n), more...)
}

func TestIncomingCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		d := p.call(w, 1, nil)
		in, _ := await[Incoming](w, time.Second)
		if in.From != "+1555#" || in.Name != `Ann "A"` || in.Offer == nil || in.Offer.Addr.String() != "10.0.0.9:7000" {
			t.Errorf("%+v", in)
		}
		in.Call.Ring()
		synctest.Wait()
		ringing := w.said("SIP/2.0 180", p1)
		if len(ringing) != 1 || ringing[0].header("Record-Route") == "" || ringing[0].header("Contact") == "" {
			t.Errorf("180:\n%v", ringing)
		}
		in.Call.Answer(local)
		a, _ := await[Answered](w, time.Second)
		if a.Media.Addr.String() != "10.0.0.9:7000" || a.Media.Codecs[0] != sdp.PCMU {
			t.Errorf("%+v", a)
		}
		res := p.response()
		if res.StatusCode != 200 || !strings.Contains(string(res.Body()), "c=IN IP4 10.0.0.2") {
			t.Errorf("%s", res.String())
		}
		d.ack(res)
		synctest.Wait()
		in.Call.Hangup()
		await[Ended](w, time.Second)
		synctest.Wait()
		bye := w.said("BYE", p1)
		if len(bye) != 1 || bye[0].first() != "BYE sip:ann@10.0.0.11:5060 SIP/2.0" || bye[0].header("Route") != "<sip:10.0.0.11:5060;lr>" || !strings.Contains(bye[0].header("To"), "tag=f1") {
			t.Errorf("BYE\n%v", bye)
		}
	})
}

func TestCallerIdentity(t *testing.T) {
	const from = `From: "Ann \"A\"" <sip:+1555%23@example.org>`
	for _, c := range []struct {
		from, header, number, name string
		withheld                   bool
	}{
		{from, `P-Asserted-Identity: "Bob" <sip:+4930123@example.net;user=phone>`, "+4930123", "Bob", false},
		{from, `P-Asserted-Identity: <tel:+49-30-123;phone-context=x>`, "+4930123", "", false},
		{from, `P-Asserted-Identity: "Bob, the 2nd" <sip:+1@h>, <tel:+2>`, "+1", "Bob, the 2nd", false},
		{from, `X: y`, "+1555#", `Ann "A"`, false},
		{from, `Privacy: none`, "+1555#", `Ann "A"`, false},
		{from, `Privacy: id`, "", "", true},
		{from, "P-Asserted-Identity: <sip:+1@h>\r\nPrivacy: user;critical", "", "", true},
		{from, "P-Asserted-Identity: <sip:+1@h>\r\nPrivacy: session", "+1", "", false},
		{`From: "Anonymous" <sip:anonymous@anonymous.invalid>`, `X: y`, "", "", true},
		{`From: "Anonymous" <sip:anonymous@example.net>`, `X: y`, "", "", true},
		{`From: "Anonymous" <sip:thisis@anonymous.invalid>`, `P-Asserted-Identity: "Bob" <sip:+4@h>`, "+4", "Bob", false},
		{`From: "Unavailable" <sip:unavailable@unknown.invalid>`, `X: y`, "", "", false},
	} {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			registered(w, p1)
			p.call(w, 1, func(s string) string {
				s = strings.Replace(s, from, c.from, 1)
				return strings.Replace(s, "Contact:", c.header+"\r\nContact:", 1)
			})
			in, _ := await[Incoming](w, time.Second)
			if in.From != c.number || in.Name != c.name || in.Withheld != c.withheld {
				t.Errorf("%s, %s: %q %q, withheld %v", c.from, c.header, in.From, in.Name, in.Withheld)
			}
		})
	}
}

func TestIncomingEnds(t *testing.T) {
	cases := []struct {
		name   string
		do     func(d *dialling, c *Call)
		code   int // of the response to the INVITE
		reason string
	}{
		{"busy", func(d *dialling, c *Call) { c.Reject(486) }, 486, "rejected"},
		{"nonsense", func(d *dialling, c *Call) { c.Reject(7) }, 480, "rejected"},
		{"hung up", func(d *dialling, c *Call) { c.Ring(); c.Hangup() }, 480, "hung up"},
		// RFC 3261 9.2: "it SHOULD respond to the original request with a 487".
		{"cancelled", func(d *dialling, c *Call) { c.Ring(); synctest.Wait(); d.also("CANCEL", 1, "in1") }, 487, "the caller gave up"},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.proxy(p1)
				registered(w, p1)
				d := p.call(w, 1, nil)
				in, _ := await[Incoming](w, time.Second)
				k.do(d, in.Call)
				e, _ := await[Ended](w, time.Second)
				if e.Reason != k.reason {
					t.Errorf("%+v", e)
				}
				for {
					res := p.response()
					if res.CSeq().MethodName == sip.CANCEL {
						continue
					}
					if res.StatusCode != k.code {
						t.Errorf("%d, want %d", res.StatusCode, k.code)
					}
					break
				}
			})
		})
	}
}

// Who does not know our Contact was not sent by the registrar: it never rings.
func TestIncomingFiltered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		stranger := w.proxy("10.0.0.99:5060")
		registered(w, p1)
		p.call(w, 1, func(s string) string {
			user, _, _ := strings.Cut(strings.TrimPrefix(p.binding(), "sip:"), "@")
			return strings.Replace(s, "INVITE sip:"+user, "INVITE sip:100", 1)
		})
		if code := p.code200(); code != 404 {
			t.Errorf("%d", code)
		}
		stranger.set(func() { stranger.contact = p.binding() })
		stranger.call(w, 2, nil)
		none[Incoming](w, 5*time.Second)
		if len(stranger.answers) != 0 {
			t.Error("a stranger was answered")
		}
	})
}

func TestOfferlessInvite(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		d := p.call(w, 1, func(s string) string {
			head, _, _ := strings.Cut(s, "Content-Type")
			return head + "Content-Length: 0\r\n\r\n"
		})
		in, _ := await[Incoming](w, time.Second)
		if in.Offer != nil {
			t.Errorf("%+v", in.Offer)
		}
		in.Call.Ring()
		in.Call.Answer(local)
		res := p.response()
		if !strings.Contains(string(res.Body()), "m=audio 4000 RTP/AVP 0 8 101") {
			t.Errorf("no offer of ours:\n%s", res.String())
		}
		none[Answered](w, 100*time.Millisecond)
		d.ack(res, "body", farSession("10.0.0.9:7300", "sendrecv"))
		a, _ := await[Answered](w, time.Second)
		if a.Media.Addr.String() != "10.0.0.9:7300" {
			t.Errorf("%+v", a.Media)
		}
	})
}

func TestNoAck(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		p.call(w, 1, nil)
		in, _ := await[Incoming](w, time.Second)
		in.Call.Answer(local)
		e, took := await[Ended](w, time.Minute)
		// RFC 3261 13.3.1.4: 64*T1 without an ACK, then BYE.
		if e.Reason != "the far end did not confirm the answer" || took < 31*time.Second || took > 33*time.Second {
			t.Errorf("%+v after %v", e, took)
		}
		synctest.Wait()
		if p.byes.Load() != 1 || len(w.said("SIP/2.0 200", p1)) < 5 {
			t.Errorf("%d BYEs\n%s", p.byes.Load(), w.ladder())
		}
	})
}

func TestReliableRinging(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		d := p.call(w, 1, func(s string) string { return strings.Replace(s, "Contact:", "Require: 100rel\r\nContact:", 1) })
		in, _ := await[Incoming](w, time.Second)
		in.Call.Ring()
		time.Sleep(2 * time.Second)
		ringing := w.said("SIP/2.0 180", p1)
		// RFC 3262 3: repeated "with an interval that starts at T1 seconds and doubles".
		if len(ringing) != 3 || ringing[0].header("Require") != "100rel" || ringing[0].header("RSeq") != ringing[2].header("RSeq") {
			t.Fatalf("%d times 180\n%s", len(ringing), w.ladder())
		}
		_, tag, _ := strings.Cut(ringing[0].header("To"), "tag=")
		d.toTag = tag
		d.also("PRACK", 2, "wrong", "RAck", "1 1 INVITE")
		if code := p.code200(); code != 481 {
			t.Errorf("a wrong RAck: %d", code)
		}
		d.also("PRACK", 3, "right", "RAck", ringing[0].header("RSeq")+" 1 INVITE")
		if code := p.code200(); code != 200 {
			t.Errorf("PRACK: %d", code)
		}
		time.Sleep(5 * time.Second)
		if n := len(w.said("SIP/2.0 180", p1)); n != 3 {
			t.Errorf("%d times 180 after the PRACK", n)
		}
		in.Call.Answer(local)
		d.ack(p.response())
		await[Answered](w, time.Second)
	})
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		p.call(w, 1, func(s string) string { return strings.Replace(s, "Contact:", "Require: 100rel\r\nContact:", 1) })
		in, _ := await[Incoming](w, time.Second)
		in.Call.Ring()
		e, took := await[Ended](w, time.Minute)
		if e.Code != 504 || took < 32*time.Second {
			t.Errorf("%+v after %v", e, took)
		}
	})
}

func TestIncomingRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(string) string
		want   int
	}{
		{"unknown extension", func(s string) string { return strings.Replace(s, "Contact:", "Require: teleport\r\nContact:", 1) }, 420},
		{"no codec in common", func(s string) string {
			return strings.Replace(s, "RTP/AVP 0 101\r\n", "RTP/AVP 18 101\r\n", 1)
		}, 488},
		{"not a session", func(s string) string {
			return strings.Replace(s, "application/sdp", "text/plain", 1)
		}, 415},
		{"unreadable session", func(s string) string { return strings.Replace(s, "v=0", "v=9", 1) }, 400},
		{"no contact", func(s string) string { return strings.Replace(s, "Contact:", "X-Contact:", 1) }, 400},
		{"session too short", func(s string) string {
			return strings.Replace(s, "Contact:", "Supported: timer\r\nSession-Expires: 30\r\nContact:", 1)
		}, 422},
		{"fax only", func(s string) string {
			return strings.Replace(s, "m=audio 7000 RTP/AVP 0 101", "m=image 7000 udptl t38 0 0 0", 1)
		}, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.proxy(p1)
				registered(w, p1)
				p.call(w, 1, c.change)
				if code := p.code200(); code != c.want && !(c.name == "fax only" && code >= 400) {
					t.Errorf("%d, want %d", code, c.want)
				}
				none[Incoming](w, time.Second)
				if n := w.line.Status().Calls; n != 0 {
					t.Errorf("%d calls", n)
				}
			})
		})
	}
}

// Whether a phone has a codec beyond G.711 is for whoever rings it to know: the
// call is told of, and refused only by its answer.
func TestIncomingInG722(t *testing.T) {
	for code, codecs := range map[int][]sdp.Codec{200: {sdp.PCMU, sdp.G722}, 488: {sdp.PCMU}} {
		bubble(t, func(t *testing.T, w *world) {
			p := w.proxy(p1)
			registered(w, p1)
			p.call(w, 1, func(s string) string { return strings.Replace(s, "RTP/AVP 0 101\r\n", "RTP/AVP 9 101\r\n", 1) })
			in, _ := await[Incoming](w, time.Second)
			if in.Offer.Codecs[0] != sdp.G722 {
				t.Errorf("%+v", in.Offer)
			}
			in.Call.Ring()
			synctest.Wait()
			mine := local
			mine.Codecs = codecs
			in.Call.Answer(mine)
			synctest.Wait()
			if n := len(w.said(fmt.Sprintf("SIP/2.0 %d", code), p1)); n == 0 {
				t.Errorf("with %v: no %d\n%s", codecs, code, w.ladder())
			}
		})
	}
}

func TestOutsideOfCalls(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		d := &dialling{p: p, n: 9, uri: p.binding()}
		_, d.to, _ = strings.Cut(d.uri, "@")
		for i, c := range []struct {
			method string
			more   []string
			want   int
		}{
			{"OPTIONS", nil, 200},
			{"MESSAGE", nil, 405},
			{"SUBSCRIBE", []string{"Event", "presence"}, 405},
			{"REGISTER", nil, 405},
			{"FROB", nil, 501},
			{"BYE", nil, 481},
			{"INFO", nil, 481},
			{"NOTIFY", []string{"Event", "check-sync"}, 489},
			{"NOTIFY", []string{"Event", "message-summary"}, 200},
		} {
			d.also(c.method, i+1, fmt.Sprintf("out%d", i), c.more...)
			if code := p.code200(); code != c.want {
				t.Errorf("%s: %d, want %d", c.method, code, c.want)
			}
		}
	})
}

func TestMailbox(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		registered(w, p1)
		_, to, _ := strings.Cut(p.binding(), "@")
		body := "Messages-Waiting: yes\r\nMessage-Account: sip:vm@example.net\r\nVoice-Message: 2/8 (0/2)\r\n"
		p.send(fmt.Sprintf("NOTIFY %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKn;rport\r\nFrom: <sip:vm@example.net>;tag=1\r\nTo: <sip:100@example.net>\r\nCall-ID: n\r\nCSeq: 1 NOTIFY\r\nEvent: message-summary\r\nContent-Type: application/simple-message-summary\r\nContent-Length: %d\r\n\r\n%s",
			p.binding(), p1, len(body), body), to)
		m, _ := await[MessageWaiting](w, time.Second)
		if !m.Waiting || m.New != 2 || m.Old != 8 || m.Line != w.line {
			t.Errorf("%+v", m)
		}
	})
	if m, ok := mailbox([]byte("Messages-Waiting: no")); !ok || m.Waiting {
		t.Errorf("%+v %v", m, ok)
	}
	if _, ok := mailbox([]byte("hello")); ok {
		t.Error("rubbish is news")
	}
}
