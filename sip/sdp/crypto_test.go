package sdp

import (
	"net/netip"
	"strings"
	"testing"
)

const inline = "inline:MDEyMzQ1Njc4OWFiY2RlZnNhbHR5IGFuZCAxNCBi" // "0123456789abcdefsalty and 14 b"

func TestCryptoAttribute(t *testing.T) {
	for line, want := range map[string]bool{
		"1 AES_CM_128_HMAC_SHA1_80 " + inline:                       true,
		"7 aes_cm_128_hmac_sha1_80 " + inline + "|2^31":             true,
		"1 AES_CM_128_HMAC_SHA1_80 " + inline + " WSH=128":          true,
		"0 AES_CM_128_HMAC_SHA1_80 " + inline:                       false,
		"x AES_CM_128_HMAC_SHA1_80 " + inline:                       false,
		"1 AES_CM_128_HMAC_SHA1_32 " + inline:                       false,
		"1 AES_CM_128_HMAC_SHA1_80 " + inline + "|2^31|1:4":         false, // a master key identifier
		"1 AES_CM_128_HMAC_SHA1_80 " + inline + "|1:4":              false,
		"1 AES_CM_128_HMAC_SHA1_80 " + inline + " UNENCRYPTED_SRTP": false,
		"1 AES_CM_128_HMAC_SHA1_80 " + inline + " KDR=1":            false,
		"1 AES_CM_128_HMAC_SHA1_80 inline:MDEy":                     false,
		"1 AES_CM_128_HMAC_SHA1_80 uri:x":                           false,
		"1 AES_CM_128_HMAC_SHA1_80":                                 false,
		"":                                                          false,
	} {
		c, ok := crypto(line)
		if ok != want || ok && string(c.Key[:]) != "0123456789abcdefsalty and 14 b" {
			t.Errorf("%q: %v %q", line, ok, c.Key)
		}
		if ok {
			if again, ok := crypto(c.attribute()); !ok || again != c {
				t.Errorf("%q was written as %q", line, c.attribute())
			}
		}
	}
	if a, b := NewCrypto(), NewCrypto(); a == b {
		t.Error("the same key twice")
	}
}

// Both sides seal or neither: nobody who wants it is talked out of it.
func TestSealed(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:4000")
	plain := Session{Addr: at, Codecs: []Codec{PCMU, PCMA}}
	sealed := plain
	sealed.Crypto = NewCrypto()
	offers := map[string]string{
		"plain":  "m=audio 5000 RTP/AVP 8\r\n",
		"sealed": "m=audio 5002 RTP/SAVP 8\r\na=crypto:9 AES_256_CM_HMAC_SHA1_80 inline:x\r\na=crypto:4 AES_CM_128_HMAC_SHA1_80 " + inline + "\r\n",
		"wished": "m=audio 5000 RTP/AVP 8\r\na=crypto:4 AES_CM_128_HMAC_SHA1_80 " + inline + "\r\n",
		"other":  "m=audio 5002 RTP/SAVP 8\r\na=crypto:9 AES_256_CM_HMAC_SHA1_80 inline:x\r\n",
	}
	offers["both"] = offers["sealed"] + offers["plain"]
	offers["the other way round"] = offers["plain"] + offers["sealed"]
	for _, row := range []struct {
		us, them string
		port     uint16 // 0: refused
	}{
		{"plain", "plain", 5000}, {"plain", "wished", 5000}, {"plain", "both", 5000}, {"plain", "the other way round", 5000}, {"plain", "sealed", 0}, {"plain", "other", 0},
		{"sealed", "plain", 0}, {"sealed", "wished", 0}, {"sealed", "both", 5002}, {"sealed", "the other way round", 5002}, {"sealed", "sealed", 5002}, {"sealed", "other", 0},
	} {
		offer, err := Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" + offers[row.them]))
		if err != nil {
			t.Fatalf("%s: %v", row.them, err)
		}
		local := plain
		if row.us == "sealed" {
			local = sealed
		}
		if speaks := offer.Speaks(plain.Codecs); speaks != (row.them != "other") {
			t.Errorf("%s speaks: %v", row.them, speaks)
		}
		answer, err := Answer(local, offer)
		if (err != nil) != (row.port == 0) {
			t.Errorf("%s to %s: %v", row.us, row.them, err)
		}
		if err != nil {
			continue
		}
		m, err := Agree(local, offer)
		if err != nil || m.Addr.Port() != row.port || m.Crypto.On() != local.Crypto.On() {
			t.Errorf("%s to %s: agreed %+v, %v", row.us, row.them, m, err)
		}
		body := string(answer.Marshal())
		proto := "m=audio 4000 RTP/AVP 8\r\n"
		if local.Crypto.On() {
			proto = "m=audio 4000 RTP/SAVP 8\r\n"
			if m.Crypto.Tag != 4 || !strings.Contains(body, "a=crypto:4 "+suite+" inline:") {
				t.Errorf("%s to %s: answered\n%s", row.us, row.them, body)
			}
			// What we have written is read again.
			back, err := Parse([]byte(body))
			if err != nil || back.Crypto.Key != local.Crypto.Key {
				t.Errorf("%s to %s: %+v, %v", row.us, row.them, back, err)
			}
		}
		if !strings.Contains(body, proto) || strings.Count(body, "m=audio") != len(offer.lines) {
			t.Errorf("%s to %s: answered\n%s", row.us, row.them, body)
		}
	}
	if _, err := Agree(sealed, plain); err == nil {
		t.Error("an offer to seal was answered in the clear")
	}
}
