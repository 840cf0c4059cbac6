package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A fakeNet is a network of pipes with DNS servers on it, for use inside
// testing/synctest. Real DNS messages travel on it.
type fakeNet struct {
	mu      sync.Mutex
	servers map[string]*fakeDNS // by address
	noRoute func(netip.AddrPort) bool
}

func newNet(servers ...*fakeDNS) *fakeNet {
	n := &fakeNet{servers: make(map[string]*fakeDNS)}
	for i, s := range servers {
		n.servers[fmt.Sprintf("127.0.0.%d:53", 53+i)] = s
	}
	return n
}

// resolver asks all servers of the network, the first first.
func (n *fakeNet) resolver() *Resolver {
	return NewResolver(ResolverConfig{Network: n, Servers: n.addrs(), Random: half})
}

func (n *fakeNet) addrs() (list []netip.AddrPort) {
	for i := range len(n.servers) {
		list = append(list, netip.MustParseAddrPort(fmt.Sprintf("127.0.0.%d:53", 53+i)))
	}
	return list
}

func (n *fakeNet) ListenPacket(context.Context, string, string) (net.PacketConn, error) {
	return nil, errors.New("not used")
}

func (n *fakeNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.noRoute != nil && n.noRoute(netip.MustParseAddrPort(address)) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
	}
	s := n.servers[address]
	if network == "tcp" && (s == nil || s.noTCP) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	if s == nil {
		s = &fakeDNS{silent: true}
	}
	go s.serve(theirs, network)
	return ours, nil
}

// A fakeDNS answers from its zone, in the ways its fields say. Fields may be
// changed with set.
type fakeDNS struct {
	mu      sync.Mutex
	zone    []string // records in zone file form
	delay   time.Duration
	silent  bool
	refused bool                              // ICMP
	noTCP   bool                              //
	vanish  map[uint16]bool                   // questions of these types get no answer
	bend    func(query, reply *dns.Msg)       // changes each reply
	raw     func(query []byte) (first []byte) // sent before each reply
	asked   []string                          // "A proxy.example.net." and so on
}

func (s *fakeDNS) set(f func(*fakeDNS)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *fakeDNS) count(question string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.asked {
		if strings.HasPrefix(q, question) {
			n++
		}
	}
	return n
}

func (s *fakeDNS) serve(conn net.Conn, network string) {
	defer func() { // a pipe that nobody reads must not keep a bubble from ending
		if network == "tcp" {
			conn.Close()
		}
	}()
	buf := make([]byte, 4096)
	for {
		var n int
		var err error
		if network == "tcp" {
			var in []byte
			in, err = readFrame(conn)
			n = copy(buf, in)
		} else {
			n, err = conn.Read(buf)
		}
		if err != nil {
			conn.Close()
			return
		}
		query := new(dns.Msg)
		if err := query.Unpack(buf[:n]); err != nil {
			panic(err)
		}
		s.mu.Lock()
		q := query.Question[0]
		s.asked = append(s.asked, dns.TypeToString[q.Qtype]+" "+strings.ToLower(q.Name))
		silent, refused, delay, raw, bend := s.silent || s.vanish[q.Qtype], s.refused, s.delay, s.raw, s.bend
		reply := s.answer(query)
		s.mu.Unlock()
		if refused {
			conn.Close()
			return
		}
		if silent {
			continue
		}
		time.Sleep(delay)
		if raw != nil {
			if first := raw(buf[:n]); first != nil {
				conn.Write(first)
			}
		}
		if network == "udp" {
			reply.Truncate(udpSize)
		}
		out, err := reply.Pack()
		if err != nil {
			panic(err)
		}
		if network == "tcp" {
			out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
		}
		if bend != nil && network == "udp" {
			bend(query, reply)
			if out, err = reply.Pack(); err != nil {
				panic(err)
			}
		}
		if _, err := conn.Write(out); err != nil && err != io.ErrClosedPipe {
			conn.Close()
			return
		}
	}
}

// answer is what an authoritative server would say: records of that name and
// type; a CNAME and what it leads to; else a SOA.
func (s *fakeDNS) answer(query *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	name, exists := q.Name, false
	for range 10 {
		next := ""
		for _, line := range s.zone {
			rr, err := dns.NewRR(line)
			if err != nil {
				panic(err)
			}
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			exists = true
			if rr.Header().Rrtype == q.Qtype {
				reply.Answer = append(reply.Answer, rr)
			} else if c, ok := rr.(*dns.CNAME); ok {
				reply.Answer = append(reply.Answer, rr)
				next = c.Target
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	if len(reply.Answer) == 0 {
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		soa, _ := dns.NewRR("example.net. 600 IN SOA ns.example.net. root.example.net. 1 2 3 4 120")
		reply.Ns = append(reply.Ns, soa)
	}
	return reply
}

// zoneA is a zone of one name with A records, TTL 60.
func zoneA(name string, addrs ...string) (zone []string) {
	for _, a := range addrs {
		zone = append(zone, fmt.Sprintf("%s. 60 IN A %s", name, a))
	}
	return zone
}

func half() float64 { return 0.5 }

// proxies parses entries, UDP by default.
func proxies(t testing.TB, entries ...string) (list []Proxy) {
	t.Helper()
	for _, e := range entries {
		p, err := ParseProxy(e, UDP)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// start makes a route, runs it until the test ends, and waits for its first address.
func start(t *testing.T, cfg RouteConfig) (*Route, Target) {
	t.Helper()
	if cfg.Random == nil {
		cfg.Random = half
	}
	r := NewRoute(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done; time.Sleep(10 * time.Second) }) // so that slow servers end too
	first, err := r.First(t.Context())
	if err != nil {
		t.Fatalf("First: %v", err)
	}
	return r, first
}

// dests lists the printed addresses.
func dests(list []Target) string {
	var s []string
	for _, t := range list {
		s = append(s, t.Dest)
	}
	return strings.Join(s, " ")
}

func current(t interface {
	Helper()
	Fatal(...any)
}, r *Route) Target {
	t.Helper()
	c, ok := r.Current()
	if !ok {
		t.Fatal("the ring is empty")
	}
	return c
}

var silence = Failure{Method: "REGISTER", Cause: NoAnswer}

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func contextWithCancel() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
