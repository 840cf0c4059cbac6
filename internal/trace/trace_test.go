package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func message(method string, n int, more ...string) []byte {
	lines := append([]string{
		method + " sip:example.net SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport",
		fmt.Sprintf("CSeq: %d %s", n, method),
	}, more...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// The ring is bounded in messages and in bytes, and keep-alives push out only
// each other.
func TestRing(t *testing.T) {
	var r Ring
	r.Add(Message{}, message("INVITE", 1))
	if len(r.Messages()) != 0 {
		t.Error("a ring that keeps none has kept one")
	}
	r.Keep(64)
	for i := range 10 {
		r.Add(Message{}, message("REGISTER", i))
	}
	for i := range 3 {
		r.Add(Message{}, message("OPTIONS", 5000+i, "Call-ID: nobody answers"))
	}
	for i := range 1000 {
		id := fmt.Sprintf("Call-ID: %d", i)
		r.Add(Message{}, message("OPTIONS", i, id))
		r.Add(Message{}, []byte("SIP/2.0 200 OK\r\n"+id+fmt.Sprintf("\r\nCSeq: %d OPTIONS\r\n\r\n", i)))
	}
	all := r.Messages()
	if len(all) != 26 || all[0].Header("cseq") != "0 REGISTER" || all[25].Header("cseq") != "999 OPTIONS" || all[10].Header("cseq") != "5000 OPTIONS" || all[12].Header("cseq") != "5002 OPTIONS" {
		t.Errorf("%d kept, from %q to %q", len(all), all[0].Header("cseq"), all[len(all)-1].Header("cseq"))
	}
	for i := range 100 {
		r.Add(Message{}, message("INVITE", i))
	}
	if all = r.Messages(); len(all) != 64 || all[0].Header("cseq") != "36 INVITE" {
		t.Errorf("%d kept, from %q", len(all), all[0].Header("cseq"))
	}
	for i := range 100 {
		r.Add(Message{}, message("INVITE", i, "X: "+strings.Repeat("x", 10000)))
	}
	all = r.Messages()
	size := 0
	for _, m := range all {
		size += len(m.Text)
	}
	if size > maxAll || size < maxAll-maxText || all[0].Cut == 0 || len(all[0].Text) != maxText {
		t.Errorf("%d messages of %d bytes, the first without %d", len(all), size, all[0].Cut)
	}
	if r.Keep(3); len(r.Messages()) != 3 {
		t.Errorf("%d kept of 3", len(r.Messages()))
	}
}

func TestRedact(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	crossed := strings.Repeat("x", len(secret))
	for _, row := range []struct{ name, text, want string }{
		{
			"digest", `Authorization: Digest username="100", realm="r", nonce="n", uri="sip:x", response="` + secret + `", algorithm=MD5`,
			`Authorization: Digest username="100", realm="r", nonce="n", uri="sip:x", response="` + crossed + `", algorithm=MD5`,
		},
		{"last, other case", `PROXY-AUTHORIZATION : digest a=b,RESPONSE = "` + secret + `"`, `PROXY-AUTHORIZATION : digest a=b,RESPONSE = "` + crossed + `"`},
		{"no quotes", `Authorization: Digest response=` + secret + `,qop=auth`, `Authorization: Digest response=` + crossed + `,qop=auth`},
		{"folded", "Authorization: Digest username=\"100\",\r\n response=\"" + secret + "\"", "Authorization: Digest username=\"100\",\r\n response=\"" + crossed + "\""},
		{"basic", "Authorization: Basic MTAwOnNlY3JldA==", "Authorization: Basic xxxxxxxxxxxxxxxx"},
		{"bearer", "Authorization: Bearer abc", "Authorization: Bearer xxx"},
		{"a word like it", `Authorization: Digest username="response", response="a"`, `Authorization: Digest username="response", response="x"`},
		{"a challenge has no secret", `WWW-Authenticate: Digest realm="r", nonce="response=n"`, `WWW-Authenticate: Digest realm="r", nonce="response=n"`},
		{"after it", "Authorization: Digest response=\"a\"\r\nX: response=\"b\"", "Authorization: Digest response=\"x\"\r\nX: response=\"b\""},
	} {
		head := "REGISTER sip:example.net SIP/2.0\r\n"
		if got := Redact(head + row.text + "\r\n\r\n"); got != head+row.want+"\r\n\r\n" {
			t.Errorf("%s: %s\nwant %s", row.name, got, row.want)
		}
	}
	sdp := "INVITE sip:1@x SIP/2.0\r\nAuthorization: Digest response=\"ab\"\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32\r\nk=base64:abc=\r\na=x:inline\r\n"
	got := Redact(sdp)
	if len(got) != len(sdp) || strings.Contains(got, "d0Rm") || strings.Contains(got, "abc") || !strings.Contains(got, "inline:xxxx") || !strings.HasSuffix(got, "a=x:inline\r\n") {
		t.Errorf("%s", got)
	}
}

// A law: whatever comes, its length stays.
func FuzzRedact(f *testing.F) {
	f.Add("Authorization: Digest response=\"%\"")
	f.Add("X: y\r\n\r\ninline:%")
	f.Add("Authorization:")
	f.Fuzz(func(t *testing.T, text string) {
		if got := Redact(text); len(got) != len(text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// What is written is read back by the rules of pcap-savefile(5), RFC 791, RFC
// 8200 and RFC 768.
func TestPCAP(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 0, 0, 123456000, time.UTC)
	sent := string(message("REGISTER", 1))
	all := []Message{
		{At: at, Sent: true, Local: "0.0.0.0:5062", Remote: "192.0.2.7:5060", Text: sent},
		{At: at, Local: "0.0.0.0:5062", Remote: "192.0.2.7:5060", Text: "SIP/2.0 200 OK\r\n\r\n"},
		{At: at, Remote: "192.0.2.7:5060", Fault: "unreachable"},
		{At: at, Sent: true, Local: "[2001:db8::1]:5062", Remote: "[2001:db8::7]:5061", Text: sent, Cut: 5},
		{At: at, Sent: true, Local: "[::]:5062", Remote: "192.0.2.9:5060", Text: "SIP/2.0 200 OK\r\n\r\n"},
	}
	var out bytes.Buffer
	if err := WritePCAP(&out, all); err != nil {
		t.Fatal(err)
	}
	b := out.Bytes()
	le := binary.LittleEndian
	if le.Uint32(b) != 0xa1b2c3d4 || le.Uint16(b[4:]) != 2 || le.Uint16(b[6:]) != 4 || le.Uint32(b[20:]) != 101 {
		t.Fatalf("header % x", b[:24])
	}
	b = b[24:]
	for i, want := range []string{
		"192.0.2.1:5062 192.0.2.7:5060 " + sent,
		"192.0.2.7:5060 192.0.2.1:5062 SIP/2.0 200 OK\r\n\r\n",
		"[2001:db8::1]:5062 [2001:db8::7]:5061 " + sent,
		"0.0.0.0:5062 192.0.2.9:5060 SIP/2.0 200 OK\r\n\r\n",
	} {
		if sec, usec := le.Uint32(b), le.Uint32(b[4:]); int64(sec) != at.Unix() || usec != 123456 {
			t.Errorf("packet %d at %d.%06d", i, sec, usec)
		}
		n := le.Uint32(b[8:])
		if was := le.Uint32(b[12:]); was != n+uint32(map[bool]int{true: 5}[i == 2]) {
			t.Errorf("packet %d: %d of %d bytes", i, n, was)
		}
		p := b[16 : 16+n]
		b = b[16+n:]
		var src, dst netip.Addr
		var datagram []byte
		switch p[0] >> 4 {
		case 4:
			if checksum(p[:20]) != 0 || int(binary.BigEndian.Uint16(p[2:])) != len(p) || p[9] != 17 {
				t.Errorf("packet %d: IPv4 header % x", i, p[:20])
			}
			src, dst, datagram = netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:])), p[20:]
		case 6:
			if int(binary.BigEndian.Uint16(p[4:])) != len(p)-40 || p[6] != 17 {
				t.Errorf("packet %d: IPv6 header % x", i, p[:40])
			}
			src, dst, datagram = netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:])), p[40:]
		default:
			t.Fatalf("packet %d: version %d", i, p[0]>>4)
		}
		pseudo := append(src.AsSlice(), dst.AsSlice()...)
		pseudo = append(pseudo, 0, 0, datagram[4], datagram[5], 0, 0, 0, 17)
		if checksum(append(pseudo, datagram...)) != 0 || int(binary.BigEndian.Uint16(datagram[4:])) != len(datagram) {
			t.Errorf("packet %d: UDP header % x", i, datagram[:8])
		}
		got := fmt.Sprintf("%v %v %s", netip.AddrPortFrom(src, binary.BigEndian.Uint16(datagram)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(datagram[2:])), datagram[8:])
		if got != want {
			t.Errorf("packet %d: %s\nwant %s", i, got, want)
		}
	}
	if len(b) != 0 {
		t.Errorf("%d bytes more", len(b))
	}
}
