package outbound

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// lookup resolves an entry and says what came of it in one line.
func lookupLine(t *testing.T, r *Resolver, entry string) string {
	t.Helper()
	a, err := r.Lookup(t.Context(), proxies(t, entry)[0])
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, target := range a.Targets {
		s = append(s, target.String())
	}
	line := fmt.Sprintf("%s for %v", strings.Join(s, ", "), a.TTL)
	if a.Partial {
		line += ", partial"
	}
	return line
}

// The order of RFC 3263 section 4, and what DNS may hold.
func TestLookup(t *testing.T) {
	for _, c := range []struct {
		name, entry string
		zone        []string
		want        string
	}{
		{"an address", "192.0.2.7", nil, "192.0.2.7:5060 for 0s"},
		{"an address for TLS", "192.0.2.7;transport=tls", nil, "192.0.2.7:5061 tls for 0s"},

		// "If the TARGET was not a numeric IP address, but a port is present in
		// the URI, the client performs an A or AAAA record lookup of the domain name."
		{"a port", "p.example.net:5070", append(zoneA("p.example.net", "192.0.2.1", "192.0.2.2"),
			"_sip._udp.p.example.net. 60 IN SRV 1 1 5099 other.example.net."),
			"192.0.2.1:5070, 192.0.2.2:5070 for 1m0s"},
		// "... no SRV records were found, the client performs an A or AAAA record lookup of the domain name."
		{"A alone", "p.example.net", zoneA("p.example.net", "192.0.2.2", "192.0.2.1"), "192.0.2.2:5060, 192.0.2.1:5060 for 1m0s"},
		{"AAAA alone", "p.example.net", []string{"p.example.net. 90 IN AAAA 2001:db8::1"}, "[2001:db8::1]:5060 for 1m30s"},
		{"A before AAAA", "p.example.net", []string{"p.example.net. 90 IN AAAA 2001:db8::1", "p.example.net. 30 IN A 192.0.2.1"},
			"192.0.2.1:5060, [2001:db8::1]:5060 for 30s"},
		{"SRV by priority", "p.example.net", append(append(zoneA("b.example.net", "192.0.2.2"), zoneA("a.example.net", "192.0.2.1", "192.0.2.3")...),
			"_sip._udp.p.example.net. 20 IN SRV 20 0 5062 b.example.net.",
			"_sip._udp.p.example.net. 20 IN SRV 10 0 5061 a.example.net."),
			"192.0.2.1:5061, 192.0.2.3:5061, 192.0.2.2:5062 for 20s"},
		{"SRV of the other transport", "p.example.net", append(zoneA("a.example.net", "192.0.2.1"),
			"_sip._tcp.p.example.net. 20 IN SRV 10 0 5061 a.example.net."),
			"192.0.2.1:5061 tcp for 20s"},
		{"SRV of another transport than asked for", "p.example.net;transport=udp", append(zoneA("p.example.net", "192.0.2.9"),
			"_sip._tcp.p.example.net. 20 IN SRV 10 0 5061 a.example.net."),
			"192.0.2.9:5060 for 1m0s"},
		// RFC 2782: "A Target of '.' means that the service is decidedly not available at this domain."
		{"SRV with a dot", "p.example.net;transport=udp", append(zoneA("p.example.net", "192.0.2.9"),
			"_sip._udp.p.example.net. 20 IN SRV 0 0 0 ."),
			"p.example.net: offers no SIP (its SRV record says so)"},
		{"NAPTR prefers TCP", "p.example.net", append(zoneA("a.example.net", "192.0.2.1"),
			`p.example.net. 60 IN NAPTR 20 50 "s" "SIP+D2U" "" _sip._udp.p.example.net.`,
			`p.example.net. 60 IN NAPTR 10 50 "s" "SIP+D2T" "" _sip._tcp.q.example.net.`,
			`p.example.net. 60 IN NAPTR 5 50 "s" "SIP+D2S" "" _sip._sctp.q.example.net.`,
			"_sip._tcp.q.example.net. 60 IN SRV 10 0 5064 a.example.net.",
			"_sip._udp.p.example.net. 60 IN SRV 10 0 5065 a.example.net."),
			"192.0.2.1:5064 tcp for 1m0s"},
		{"TLS is not led away", "p.example.net;transport=tls", append(zoneA("p.example.net", "192.0.2.1"),
			`p.example.net. 60 IN NAPTR 10 50 "s" "SIP+D2T" "" _sip._tcp.p.example.net.`,
			"_sip._tcp.p.example.net. 60 IN SRV 10 0 5064 p.example.net."),
			"192.0.2.1:5061 tls for 1m0s"},
		{"CNAMEs", "p.example.net:5060", append(zoneA("c.example.net", "192.0.2.1"),
			"p.example.net. 7 IN CNAME b.example.net.", "b.example.net. 300 IN CNAME c.example.net."),
			"192.0.2.1:5060 for 7s"},
		{"CNAMEs in a circle", "p.example.net:5060", []string{"p.example.net. 7 IN CNAME b.example.net.", "b.example.net. 300 IN CNAME p.example.net."},
			"p.example.net: DNS knows no usable address for this name"},
		{"a TTL of 0", "p.example.net:5060", []string{"p.example.net. 0 IN A 192.0.2.1"}, "192.0.2.1:5060 for 5s"},
		{"a TTL of 10 years", "p.example.net:5060", []string{"p.example.net. 315360000 IN A 192.0.2.1"}, "192.0.2.1:5060 for 24h0m0s"},
		{"no such name", "p.example.net", nil, "p.example.net: DNS knows no usable address for this name"},
		{"absurd addresses", "p.example.net:5060", append(zoneA("p.example.net", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255", "127.0.0.2"),
			"p.example.net. 60 IN AAAA ::", "p.example.net. 60 IN AAAA ff02::1", "p.example.net. 60 IN AAAA fe80::1"),
			"127.0.0.2:5060 for 1m0s"},
		{"absurd addresses only", "p.example.net:5060", zoneA("p.example.net", "0.0.0.0"), "p.example.net: DNS knows no usable address for this name"},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &fakeDNS{zone: c.zone}
			began := time.Now()
			if got := lookupLine(t, newNet(server).resolver(), c.entry); got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("%s: took %v although every question was answered at once", c.name, took)
			}
			synctest.Wait()
		})
	}
}

// What is wrong on the way to an answer, and how long that may take.
func TestExchange(t *testing.T) {
	const entry, good = "p.example.net:5060", "192.0.2.1:5060 for 1m0s"
	zone := zoneA("p.example.net", "192.0.2.1")
	for _, c := range []struct {
		name    string
		servers []*fakeDNS
		want    string
		took    time.Duration
	}{
		{"the first server is silent", []*fakeDNS{{silent: true}, {zone: zone}}, good, time.Second},
		{"the first server is not there", []*fakeDNS{{refused: true}, {zone: zone}}, good, 0},
		{"the first server is slow", []*fakeDNS{{zone: zone, delay: 1500 * time.Millisecond}, {silent: true}}, good, 1500 * time.Millisecond},
		{"SERVFAIL", []*fakeDNS{{bend: rcode(dns.RcodeServerFailure)}, {zone: zone}}, good, 0},
		{"REFUSED", []*fakeDNS{{bend: rcode(dns.RcodeRefused)}, {zone: zone}}, good, 0},
		{"FORMERR for EDNS", []*fakeDNS{{zone: zone, bend: func(q, r *dns.Msg) {
			if q.IsEdns0() != nil {
				*r = dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
			}
		}}}, good, 0},
		{"TC", []*fakeDNS{{zone: zone, bend: func(_, r *dns.Msg) { r.Truncated, r.Answer = true, nil }}}, good, 0},
		{"TC and no TCP", []*fakeDNS{{noTCP: true, bend: func(_, r *dns.Msg) { r.Truncated, r.Answer = true, nil }}, {zone: zone}}, good, 0},
		{"lower case", []*fakeDNS{{zone: zone, bend: func(_, r *dns.Msg) {
			r.Question[0].Name = strings.ToLower(r.Question[0].Name)
		}}}, good, 0},
		{"an answer to another question", []*fakeDNS{{zone: zone, bend: func(_, r *dns.Msg) { r.Question[0].Name = "evil.example.net." }}, {zone: zone}}, good, time.Second},
		{"an answer with another number", []*fakeDNS{{zone: zone, bend: func(_, r *dns.Msg) { r.Id++ }}, {zone: zone}}, good, time.Second},
		{"the question comes back", []*fakeDNS{{zone: zone, bend: func(_, r *dns.Msg) { r.Response = false }}, {zone: zone}}, good, time.Second},
		{"records of names not asked for", []*fakeDNS{{zone: zone, bend: func(q, r *dns.Msg) {
			rr, _ := dns.NewRR("evil.example.net. 60 IN A 198.51.100.66")
			r.Answer, r.Extra = append(r.Answer, rr), append(r.Extra, rr)
		}}}, good, 0},
		{"garbage before the answer", []*fakeDNS{{zone: zone, raw: func([]byte) []byte { return []byte("garbage") }}}, good, 0},
		{"another's answer before ours", []*fakeDNS{{zone: zone, raw: func(q []byte) []byte {
			forged := slices.Clone(q)
			forged[0]++
			forged[2] |= 0x80
			return forged
		}}}, good, 0},
		{"AAAA vanishes", []*fakeDNS{{zone: zone, vanish: map[uint16]bool{dns.TypeAAAA: true}}}, good + ", partial", 50 * time.Millisecond},
		{"A vanishes", []*fakeDNS{{zone: []string{"p.example.net. 60 IN AAAA 2001:db8::1"}, vanish: map[uint16]bool{dns.TypeA: true}}},
			"[2001:db8::1]:5060 for 1m0s, partial", 50 * time.Millisecond},
		{"all silent", []*fakeDNS{{silent: true}}, "p.example.net A: DNS 127.0.0.53:53: no answer", 5 * time.Second},
		{"all fail", []*fakeDNS{{bend: rcode(dns.RcodeServerFailure)}, {bend: rcode(dns.RcodeServerFailure)}},
			"p.example.net A: DNS 127.0.0.54:53: SERVFAIL", 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			got := lookupLine(t, newNet(c.servers...).resolver(), entry)
			if got != c.want {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
			}
			if took := time.Since(began); took != c.took {
				t.Errorf("%s: took %v, want %v", c.name, took, c.took)
			}
		})
	}
}

func rcode(code int) func(q, r *dns.Msg) {
	return func(_, r *dns.Msg) { r.Rcode, r.Answer, r.Ns = code, nil, nil }
}

// There are networks in which questions for NAPTR and SRV vanish.
func TestLookupServiceVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeDNS{zone: zoneA("p.example.net", "192.0.2.1"), vanish: map[uint16]bool{dns.TypeNAPTR: true, dns.TypeSRV: true}}
		began := time.Now()
		if got, want := lookupLine(t, newNet(server).resolver(), "p.example.net"), "192.0.2.1:5060 for 1m0s, partial"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if took := time.Since(began); took > nameWait {
			t.Errorf("took %v", took)
		}
	})
}

// What is an answer to our question, letter by letter.
func TestAccept(t *testing.T) {
	query := new(dns.Msg)
	query.SetQuestion("pRoXy.eXample.net.", dns.TypeA)
	for _, c := range []struct {
		name string
		bend func(*dns.Msg)
		err  error
		ok   bool
	}{
		{"an answer", func(*dns.Msg) {}, nil, true},
		{"no such name", func(r *dns.Msg) { r.Rcode = dns.RcodeNameError }, nil, true},
		{"another case", func(r *dns.Msg) { r.Question[0].Name = "proxy.example.net." }, errCase, false},
		{"another name", func(r *dns.Msg) { r.Question[0].Name = "pRoXy.example.org." }, nil, false},
		{"another type", func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeAAAA }, nil, false},
		{"another class", func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS }, nil, false},
		{"another number", func(r *dns.Msg) { r.Id ^= 1 }, nil, false},
		{"a question", func(r *dns.Msg) { r.Response = false }, nil, false},
		{"a notification", func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify }, nil, false},
		{"no question", func(r *dns.Msg) { r.Question = nil }, nil, false},
		{"two questions", func(r *dns.Msg) { r.Question = append(r.Question, r.Question[0]) }, nil, false},
		{"FORMERR", func(r *dns.Msg) { r.Rcode = dns.RcodeFormatError }, errFormat, false},
		{"FORMERR alone", func(r *dns.Msg) { r.Rcode, r.Question = dns.RcodeFormatError, nil }, errFormat, false},
		{"cut short", func(r *dns.Msg) { r.Truncated = true }, errTruncated, false},
	} {
		reply := (&fakeDNS{zone: zoneA("proxy.example.net", "192.0.2.1")}).answer(query)
		reply.Question = slices.Clone(reply.Question)
		c.bend(reply)
		in, err := reply.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if msg, err := accept(query, in); err != c.err || (msg != nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, msg, err)
		}
		for n := range in { // whatever is lost of it on the way
			if msg, _ := accept(query, in[:n]); msg != nil && len(msg.Answer) == len(reply.Answer) && len(reply.Answer) > 0 {
				t.Errorf("%s: accepted with %d of %d octets", c.name, n, len(in))
			}
		}
	}
}

// A server that answers is asked first the next time.
func TestExchangeStaysWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, well := &fakeDNS{silent: true}, &fakeDNS{zone: zoneA("p.example.net", "192.0.2.1")}
		r := newNet(dead, well).resolver()
		lookupLine(t, r, "p.example.net:5060")
		asked := dead.count("A ")
		lookupLine(t, r, "p.example.net:5060")
		if dead.count("A ") != asked {
			t.Error("the dead server was asked first again")
		}
	})
}

// Each question has a number, a case and a socket of its own.
func TestQuestionsDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids, names := map[uint16]bool{}, map[string]bool{}
		server := &fakeDNS{zone: zoneA("proxy.example.net", "192.0.2.1")}
		server.bend = func(q, r *dns.Msg) {
			server.set(func(*fakeDNS) { ids[q.Id], names[q.Question[0].Name] = true, true })
			if o := q.IsEdns0(); o == nil || o.UDPSize() != udpSize || !q.RecursionDesired {
				t.Errorf("query: %v", q)
			}
		}
		r := newNet(server).resolver()
		for range 20 {
			lookupLine(t, r, "proxy.example.net:5060")
		}
		if len(ids) < 35 || len(names) < 35 {
			t.Errorf("40 questions had %d numbers and %d spellings", len(ids), len(names))
		}
	})
}

func TestLookupEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newNet(&fakeDNS{silent: true}).resolver()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		began := time.Now()
		if _, err := r.Lookup(ctx, proxies(t, "p.example.net")[0]); err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("returned %v after the start, cancelled after 100ms", took)
		}
	})
}

// RFC 2308 section 5: how long it holds that there is none.
func TestNegativeTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := newNet(&fakeDNS{}).resolver().Lookup(t.Context(), proxies(t, "p.example.net")[0])
		absent := new(NotFoundError)
		if !errors.As(err, &absent) || absent.TTL != 120*time.Second {
			t.Errorf("%v, %+v", err, absent) // SOA: TTL 600, MINIMUM 120
		}
	})
}

// RFC 2782: a record's share of the first places is its share of the weights.
func TestDraw(t *testing.T) {
	seed := uint32(1)
	random := func() float64 { seed = seed*1664525 + 1013904223; return float64(seed>>8) / (1 << 24) }
	const draws = 100_000
	first := map[string]int{}
	for range draws {
		list := []*dns.SRV{
			{Priority: 20, Weight: 100, Target: "backup"},
			{Priority: 10, Weight: 60, Target: "60"}, {Priority: 10, Weight: 20, Target: "20a"},
			{Priority: 10, Weight: 20, Target: "20b"}, {Priority: 10, Weight: 0, Target: "0"},
		}
		draw(list, random)
		first[list[0].Target]++
		if list[4].Target != "backup" {
			t.Fatal("a lower priority was passed over")
		}
	}
	for target, want := range map[string]float64{"60": 59.4, "20a": 19.8, "20b": 19.8, "0": 1.0, "backup": 0} {
		if share := float64(first[target]) * 100 / draws; share < want-0.7 || share > want+0.7 {
			t.Errorf("%s was first in %.1f %% of draws, want %.1f", target, share, want)
		}
	}
	list := []*dns.SRV{{Weight: 3}, {Weight: 1}, {Weight: 2}}
	if n := testing.AllocsPerRun(100, func() { draw(list, half) }); n != 0 {
		t.Errorf("draw allocates %v times", n)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	r := NewResolver(ResolverConfig{ResolvConf: path})
	write := func(text string) {
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.servers(); err == nil {
		t.Error("a file that is not there has servers")
	}
	for i, c := range []struct{ text, want string }{
		{"nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver nonsense\n", "[192.0.2.53:53 [2001:db8::53]:53]"},
		{"# none\n", "[]"},
		{"nameserver 127.0.0.1\n", "[127.0.0.1:53]"},
	} {
		write(c.text)
		before := r.conf.version
		servers, err := r.servers()
		if fmt.Sprint(servers) != c.want || (err == nil) != (len(servers) > 0) {
			t.Errorf("%d: %v, %v", i, servers, err)
		}
		if r.version() != before+1 {
			t.Errorf("%d: version %d after %d", i, r.version(), before)
		}
	}
}

// Whatever comes in instead of an answer: no panic, no hang, nothing that is
// not usable, never more than a ring holds.
func FuzzAnswer(f *testing.F) {
	query := new(dns.Msg)
	query.SetQuestion("p.example.net.", dns.TypeSRV)
	query.Id = 7
	for _, zone := range [][]string{
		zoneA("p.example.net", "192.0.2.1"),
		{"p.example.net. 1 IN SRV 1 2 3 q.example.net."}, {"p.example.net. 1 IN CNAME p.example.net."},
		{`p.example.net. 1 IN NAPTR 1 1 "s" "SIP+D2U" "" .`}, {"p.example.net. 1 IN AAAA ::1"}, nil,
	} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeNAPTR} {
			q := query.Copy()
			q.Question[0].Qtype = kind
			out, err := (&fakeDNS{zone: zone}).answer(q).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(out, kind)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, kind uint16) {
		q := query.Copy()
		q.Question[0].Qtype = kind
		msg, err := accept(q, in)
		if msg == nil {
			return
		}
		if err != nil || msg.Id != q.Id || len(msg.Question) != 1 || msg.Question[0] != q.Question[0] {
			t.Fatalf("accepted %v, %v", msg, err)
		}
		found, end := follow(msg, "p.example.net.", kind)
		for _, rr := range found.rr {
			if rr.Header().Rrtype != kind || !strings.EqualFold(rr.Header().Name, end) {
				t.Fatalf("%v was not asked for", rr)
			}
			if a := addrOf(rr); usable(a) && (a.IsMulticast() || a.IsUnspecified()) {
				t.Fatalf("%v is usable", a)
			}
		}
		if found.ttl < 0 {
			t.Fatal(found.ttl)
		}
	})
}

// And servers that take three seconds and more for everything.
func TestLookupSlow(t *testing.T) {
	for want, zone := range map[string][]string{
		"192.0.2.1:5060 for 1m0s, partial": zoneA("p.example.net", "192.0.2.1"),
		"192.0.2.1:5070 for 1m0s, partial": append(zoneA("a.example.net", "192.0.2.1"), "_sip._udp.p.example.net. 60 IN SRV 10 0 5070 a.example.net."),
	} {
		synctest.Test(t, func(t *testing.T) {
			server := &fakeDNS{zone: zone, delay: 3200 * time.Millisecond}
			if got := lookupLine(t, newNet(server).resolver(), "p.example.net"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			time.Sleep(server.delay) // it wakes for the last of the questions
		})
	}
}
