package outbound

import (
	"strings"
	"testing"
)

func TestParseProxy(t *testing.T) {
	for _, c := range []struct {
		in        string
		def       Transport
		host      string
		port      uint16
		transport Transport
		set       bool
		tls       string
		out       string // printed; "" for the same as in
	}{
		{"proxy.example.net", UDP, "proxy.example.net", 0, UDP, false, "proxy.example.net", ""},
		{"proxy.example.net", TLS, "proxy.example.net", 0, TLS, false, "proxy.example.net", ""},
		{"Proxy.Example.NET.", UDP, "proxy.example.net", 0, UDP, false, "proxy.example.net", "proxy.example.net"},
		{" proxy ", UDP, "proxy", 0, UDP, false, "proxy", "proxy"},
		{"proxy.example.net:5080;transport=tcp", UDP, "proxy.example.net", 5080, TCP, true, "proxy.example.net", ""},
		{"192.0.2.7", UDP, "192.0.2.7", 0, UDP, false, "", ""},
		{"192.0.2.7:5060", UDP, "192.0.2.7", 5060, UDP, false, "", ""},
		{"127.0.0.2:5060", UDP, "127.0.0.2", 5060, UDP, false, "", ""},
		{"2001:db8::1", UDP, "2001:db8::1", 0, UDP, false, "", ""},
		{"[2001:db8::1]", UDP, "2001:db8::1", 0, UDP, false, "", "2001:db8::1"},
		{"[2001:DB8::1]:5061", UDP, "2001:db8::1", 5061, UDP, false, "", "[2001:db8::1]:5061"},
		{"[fe80::1%eth0]:5060", UDP, "fe80::1%eth0", 5060, UDP, false, "", ""},
		{"::ffff:192.0.2.7", UDP, "192.0.2.7", 0, UDP, false, "", "192.0.2.7"},
		{"sip:h:5060;transport=tls", UDP, "h", 5060, TLS, true, "h", "h:5060;transport=tls"},
		{"<sip:h;lr>", TCP, "h", 0, TCP, false, "h", "h"},
		{"sips:h", UDP, "h", 0, TLS, true, "h", "h;transport=tls"},
		{"sips:h;transport=tcp", UDP, "h", 0, TLS, true, "h", "h;transport=tls"},
		{"SIP:H;Transport=TCP", UDP, "h", 0, TCP, true, "h", "h;transport=tcp"},
		{"192.0.2.7;transport=tls;tlsname=proxy.example.net", UDP, "192.0.2.7", 0, TLS, true, "proxy.example.net", ""},
	} {
		p, err := ParseProxy(c.in, c.def)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if p.Host != c.host || p.Port != c.port || p.Transport != c.transport || p.TransportSet != c.set || p.TLSName != c.tls {
			t.Errorf("%q: %+v", c.in, p)
		}
		if want := c.out; p.String() != want && (want != "" || p.String() != c.in) {
			t.Errorf("%q prints %q", c.in, p.String())
		}
	}
}

// An error says what would be right.
func TestParseProxyErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "proxy.example.net",
		"sip:":                         "proxy.example.net",
		"sip:alice@example.net":        "has no user",
		"proxy.example.net:":           "port after the : is missing",
		"proxy.example.net:0":          "1 to 65535",
		"proxy.example.net:65536":      "1 to 65535",
		"proxy.example.net:sip":        "1 to 65535",
		"[2001:db8::1":                 "] is missing",
		"[2001:db8::1]5060":            "only a port",
		"[2001:db8::1]:":               "port after the : is missing",
		"[proxy.example.net]:5060":     "only an IPv6 address",
		"300.0.2.1":                    "0 to 255",
		"192.0.2":                      "0 to 255",
		"0.0.0.0":                      "cannot be the address",
		"224.0.0.1":                    "cannot be the address",
		"255.255.255.255":              "cannot be the address",
		"fe80::1":                      "cannot be the address",
		"ff02::1":                      "cannot be the address",
		"prox y.example.net":           "may not stand",
		"münchen.example.net":          "xn--",
		"-a.example.net":               "not a host name",
		"a..example.net":               "not a host name",
		strings.Repeat("a", 64):        "not a host name",
		strings.Repeat("abc.", 70):     "253",
		"h;transport=sctp":             "udp, tcp or tls",
		"sips:h;transport=udp":         "sips needs",
		"h;maddr=192.0.2.1":            "transport and tlsname",
		"h;transport=tls;tlsname=a b":  "tlsname",
		"h\r\nRoute: <sip:evil>":       "may not stand",
		"https://proxy.example.net:80": "may not stand",
	} {
		if p, err := ParseProxy(in, UDP); err == nil {
			t.Errorf("%q is taken for %+v", in, p)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v (does not say %q)", in, err, want)
		}
	}
}

// What was read prints so that it is read again as the same.
func FuzzParseProxy(f *testing.F) {
	for _, s := range []string{"proxy.example.net", "[2001:db8::1]:5061", "sips:h", "192.0.2.7;transport=tls;tlsname=x.y", "<sip:h:1;lr>", "fe80::1%eth0"} {
		f.Add(s, uint8(0))
	}
	f.Fuzz(func(t *testing.T, s string, def uint8) {
		p, err := ParseProxy(s, Transport(def%3))
		if err != nil {
			return
		}
		if p.Host == "" || p.Addr.IsValid() && !usable(p.Addr) {
			t.Fatalf("%q: %+v", s, p)
		}
		again, err := ParseProxy(p.String(), Transport(def%3))
		if err != nil || again != p {
			t.Fatalf("%q: %+v prints %q, which is %+v, %v", s, p, p.String(), again, err)
		}
	})
}
