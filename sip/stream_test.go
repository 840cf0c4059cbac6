package sip

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func TestTCP(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.tcp(p1), w.tcp(p2)
		_ = b
		w.startLine(nil, p1+";transport=tcp", p2+";transport=tcp")
		r, _ := await[Registered](w, time.Second)
		if r.Via.Dest != p1 || !strings.Contains(a.binding(), ";transport=tcp") {
			t.Errorf("%s bound to %s", r.Via.Dest, a.binding())
		}
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		c.Hangup()
		await[Ended](w, time.Second)

		in := a.call(w, 1, func(s string) string { return strings.Replace(s, "SIP/2.0/UDP", "SIP/2.0/TCP", 1) })
		inc, _ := await[Incoming](w, time.Second)
		inc.Call.Answer(local)
		await[Answered](w, time.Second)
		in.ack(a.response())
		time.Sleep(time.Second)
		inc.Call.Hangup()
		await[Ended](w, time.Second)
		time.Sleep(time.Second)
		if n := len(w.said("BYE", p1)); n != 2 {
			t.Errorf("%d BYEs\n%s", n, w.ladder())
		}

		// The connection is the registration: when it goes, the line does.
		time.Sleep(5 * time.Second)
		a.cut()
		r, took := await[Registered](w, time.Minute)
		if r.Via.Dest != p2 || took > 500*time.Millisecond {
			t.Errorf("registered via %s after %v", r.Via.Dest, took)
		}
	})
}

// A proxy that closes idle connections gets a new one, and stays in use.
func TestTCPIdleClose(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.tcp(p1)
		w.tcp(p2)
		w.startLine(nil, p1+";transport=tcp", p2+";transport=tcp")
		await[Registered](w, time.Second)
		time.Sleep(5 * time.Second)
		a.set(func() {
			for _, c := range a.conns {
				c.Close()
			}
		})
		none[Registered](w, time.Minute)
		if s := w.line.Status(); s.State != "registered" || s.Via.Dest != p1 {
			t.Errorf("%+v", s)
		}
		if n := len(w.said("REGISTER", p1)); n < 3 {
			t.Errorf("%d REGISTERs: the flow was not renewed", n)
		}
	})
}

// A call that finds the connection dead goes on at once.
func TestTCPCallFailsOver(t *testing.T) {
	for _, how := range []string{"cut", "silent"} {
		bubble(t, func(t *testing.T, w *world) {
			a, b := w.tcp(p1), w.tcp(p2)
			b.handle = func(p *proxy, req *sip.Request) bool {
				return req.Method == sip.INVITE && !p.authorized(req, 407, "INVITE")
			}
			w.startLine(func(c *Config) { c.KeepAliveBy = "off" }, p1+";transport=tcp", p2+";transport=tcp")
			await[Registered](w, time.Second)
			limit := 500 * time.Millisecond
			if how == "cut" {
				a.cut()
			} else {
				a.set(func() { a.silent = true })
				limit = 4500 * time.Millisecond
			}
			w.line.Call("1", local)
			if _, took := await[Answered](w, time.Minute); took > limit {
				t.Errorf("%s: %v", how, took)
			}
		})
	}
}

// certificate vouches for itself under a name.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// A line over TLS to bare addresses: the name that the certificate must show is
// the configured one, and an impostor who has another is left for the next.
func TestTLS(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.name = "proxy.example.net"
		good, roots := certificate(t, w.name)
		other, _ := certificate(t, "impostor.example.net")
		a, b := w.tcp(p1), w.tcp(p2)
		names := make(chan string, 16)
		for p, cert := range map[*proxy]tls.Certificate{a: other, b: good} {
			p.secure = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				names <- h.ServerName
				return &cert, nil
			}}
		}
		w.startLine(func(c *Config) { c.Roots = roots }, p1+";transport=tls", p2+";transport=tls")
		f, _ := await[Failed](w, time.Second)
		if f.Via.Dest != p1 || !strings.HasPrefix(f.Err.Error(), "TLS failed: ") {
			t.Errorf("%v", f)
		}
		r, _ := await[Registered](w, time.Second)
		if r.Via.Dest != p2 || !strings.Contains(b.binding(), ";transport=tls") {
			t.Errorf("%s bound to %s", r.Via.Dest, b.binding())
		}
		for len(names) > 0 {
			if n := <-names; n != w.name {
				t.Errorf("asked for %q", n)
			}
		}
		if n := len(w.said("REGISTER", p1)); n != 0 {
			t.Errorf("%d REGISTERs to an impostor", n)
		}
		c := w.line.Call("1", local)
		await[Answered](w, time.Second)
		c.Hangup()
		await[Ended](w, time.Second)
	})
}

// An INVITE longer than RFC 3261 section 18.1.1 likes for UDP goes out whole:
// its credentials and routes are wanted, and the network fragments it.
func TestLongInvite(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.proxy(p1)
		w.startLine(func(c *Config) { c.DisplayName = strings.Repeat("x", 1500) }, p1)
		await[Registered](w, time.Second)
		w.line.Call("1", local)
		await[Answered](w, time.Second)
		inv := w.said("INVITE", p1)
		if len(inv) != 1 || len(inv[0].text) < 2000 || !strings.HasSuffix(inv[0].text, "\r\n") {
			t.Errorf("%d INVITEs", len(inv))
		}
		_ = p
	})
}
