package lab

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func TestNameServerAnswersAndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(1)
		s, err := NewNameServer(n.Host("10.0.0.53"), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Records("proxy.example.net", "10 A 10.0.0.1", "10 A 10.0.0.2"); err != nil {
			t.Fatal(err)
		}
		s.Records("www.example.net", "10 CNAME proxy.example.net.")
		s.Records("_sip._udp.example.net", "10 SRV 10 0 5060 proxy.example.net.")
		pc := listen(t, n.Host("10.0.1.1"), ":0")

		ask := func(name string, qtype uint16) (*dns.Msg, bool) {
			q := new(dns.Msg)
			q.SetQuestion(name, qtype)
			b, _ := q.Pack()
			pc.WriteTo(b, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 53), Port: 53})
			pc.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 16384)
			for {
				k, _, err := pc.ReadFrom(buf)
				if err != nil {
					return nil, false
				}
				m := new(dns.Msg)
				if m.Unpack(buf[:k]) == nil {
					return m, m.Id == q.Id
				}
			}
		}
		for _, tc := range []struct {
			name    string
			mode    DNSMode
			qname   string
			qtype   uint16
			rcode   int
			answers int
			none    bool // nothing usable comes
		}{
			{"A", DNSNormal, "Proxy.Example.net.", dns.TypeA, 0, 2, false},
			{"no AAAA", DNSNormal, "proxy.example.net.", dns.TypeAAAA, 0, 0, false},
			{"SRV", DNSNormal, "_sip._udp.example.net.", dns.TypeSRV, 0, 1, false},
			{"CNAME", DNSNormal, "www.example.net.", dns.TypeA, 0, 3, false},
			{"parent", DNSNormal, "example.net.", dns.TypeA, 0, 0, false},
			{"unknown", DNSNormal, "nobody.example.net.", dns.TypeA, dns.RcodeNameError, 0, false},
			{"silent", DNSSilent, "proxy.example.net.", dns.TypeA, 0, 0, true},
			{"servfail", DNSServfail, "proxy.example.net.", dns.TypeA, dns.RcodeServerFailure, 0, false},
			{"refused", DNSRefused, "proxy.example.net.", dns.TypeA, dns.RcodeRefused, 0, false},
			{"nxdomain", DNSNXDomain, "proxy.example.net.", dns.TypeA, dns.RcodeNameError, 0, false},
			{"empty", DNSEmpty, "proxy.example.net.", dns.TypeA, 0, 0, false},
			{"wrong id", DNSWrongID, "proxy.example.net.", dns.TypeA, 0, 0, true},
			{"garbage first", DNSGarbage, "proxy.example.net.", dns.TypeA, 0, 2, false},
			{"huge", DNSHuge, "proxy.example.net.", dns.TypeA, 0, 200, false},
			{"killed", DNSKilled, "proxy.example.net.", dns.TypeA, 0, 0, true},
			{"back", DNSNormal, "proxy.example.net.", dns.TypeA, 0, 2, false},
		} {
			if err := s.Set(tc.mode, 0); err != nil {
				t.Fatal(err)
			}
			m, ok := ask(tc.qname, tc.qtype)
			if ok == tc.none {
				t.Errorf("%s: usable answer: %v", tc.name, ok)
				continue
			}
			if tc.none {
				continue
			}
			if m.Rcode != tc.rcode || len(m.Answer) != tc.answers {
				t.Errorf("%s: rcode %d with %d answers", tc.name, m.Rcode, len(m.Answer))
			}
			if len(m.Answer) > 0 && m.Answer[0].Header().Name != tc.qname {
				t.Errorf("%s: answers for %s", tc.name, m.Answer[0].Header().Name)
			}
		}
		s.Set(DNSNormal, 3*time.Second)
		start := time.Now()
		if _, ok := ask("proxy.example.net.", dns.TypeA); !ok || time.Since(start) < 3*time.Second {
			t.Errorf("slow: %v after %v", ok, time.Since(start))
		}
	})
}
