package lab

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A NameServer answers for the names it was given records of, and is
// authoritative for everything: what it does not know does not exist.
type NameServer struct {
	place Place
	port  uint16

	mu      sync.Mutex
	records []dns.RR
	mode    DNSMode
	delay   time.Duration
	queries int
	socket  net.PacketConn
	tcp     net.Listener
	conns   map[net.Conn]struct{}
	done    sync.WaitGroup
}

// A DNSMode is what is wrong with the name server.
type DNSMode string

// The faults of name servers, as they are met.
const (
	DNSNormal   DNSMode = "normal"
	DNSSilent   DNSMode = "silent"   // takes questions and says nothing
	DNSServfail DNSMode = "servfail" // RCODE 2
	DNSRefused  DNSMode = "refused"  // RCODE 5
	DNSNXDomain DNSMode = "nxdomain" // says that no name exists
	DNSEmpty    DNSMode = "empty"    // the name exists, without records
	DNSWrongID  DNSMode = "wrong-id" // somebody else's answer
	DNSGarbage  DNSMode = "garbage"  // bytes that are no DNS message, before the true answer
	DNSTruncate DNSMode = "truncate" // TC over UDP: ask again by TCP
	DNSHuge     DNSMode = "huge"     // 200 addresses
	DNSBogon    DNSMode = "bogon"    // addresses nobody can have: 0.0.0.0, 224.0.0.1
	DNSKilled   DNSMode = "killed"   // no process at the port
)

// NewNameServer starts a name server at the port (0: 53) of the place.
func NewNameServer(place Place, port uint16) (*NameServer, error) {
	if port == 0 {
		port = 53
	}
	s := &NameServer{place: place, port: port, mode: DNSNormal, conns: make(map[net.Conn]struct{})}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// open starts the process. Not called with mu held.
func (s *NameServer) open() error {
	ctx := context.Background()
	at := fmt.Sprintf(":%d", s.port)
	pc, err := s.place.ListenPacket(ctx, "udp", at)
	if err != nil {
		return err
	}
	l, err := s.place.Listen(ctx, "tcp", at)
	if err != nil {
		pc.Close()
		return err
	}
	s.mu.Lock()
	s.socket, s.tcp = pc, l
	s.mu.Unlock()
	s.done.Go(func() { s.serve(pc) })
	s.done.Go(func() { s.accept(l) })
	return nil
}

// shut kills the process.
func (s *NameServer) shut() {
	s.mu.Lock()
	if s.socket != nil {
		s.socket.Close()
		s.tcp.Close()
		s.socket = nil
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
}

// Close ends the name server and waits for its goroutines.
func (s *NameServer) Close() error {
	s.shut()
	s.done.Wait()
	return nil
}

// Set says what is wrong with the server from now on, and how much later than
// usual it answers.
func (s *NameServer) Set(mode DNSMode, delay time.Duration) error {
	s.mu.Lock()
	was := s.mode
	s.mode, s.delay = mode, delay
	s.mu.Unlock()
	switch {
	case mode == DNSKilled && was != DNSKilled:
		s.shut()
	case mode != DNSKilled && was == DNSKilled:
		return s.open()
	}
	return nil
}

// Records replaces all records of the name by those in zone file form, without
// the name: "10 A 10.0.0.1", "10 SRV 10 0 5060 p1.example.net.".
func (s *NameServer) Records(name string, records ...string) error {
	name = dns.CanonicalName(name)
	var fresh []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(name + " " + r)
		if err != nil {
			return fmt.Errorf("record of %s: %w", name, err)
		}
		fresh = append(fresh, rr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range s.records {
		if dns.CanonicalName(rr.Header().Name) != name {
			fresh = append(fresh, rr)
		}
	}
	s.records = fresh
	return nil
}

// Queries is how many questions came.
func (s *NameServer) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

func (s *NameServer) serve(pc net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			if isClosed(err) {
				return
			}
			continue
		}
		q := new(dns.Msg)
		if q.Unpack(buf[:n]) != nil || q.Response || len(q.Question) != 1 {
			continue
		}
		s.answer(q, false, func(b []byte) { pc.WriteTo(b, from) })
	}
}

func (s *NameServer) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.done.Go(func() {
			defer func() {
				c.Close()
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
			}()
			dc := &dns.Conn{Conn: c}
			for {
				q, err := dc.ReadMsg()
				if err != nil {
					return
				}
				s.answer(q, true, func(b []byte) { dc.Write(b) })
			}
		})
	}
}

// answer sends what the mode says, when the mode says.
func (s *NameServer) answer(q *dns.Msg, tcp bool, send func([]byte)) {
	s.mu.Lock()
	s.queries++
	mode, delay := s.mode, s.delay
	m := s.reply(q, mode, tcp)
	s.mu.Unlock()
	if mode == DNSSilent || mode == DNSKilled {
		return
	}
	b, err := m.Pack()
	if err != nil {
		panic("lab: an answer does not pack: " + err.Error())
	}
	out := [][]byte{b}
	if mode == DNSGarbage && !tcp {
		out = [][]byte{{0xff}, []byte("this is not a DNS message"), b}
	}
	deliver := func() {
		for _, b := range out {
			send(b)
		}
	}
	if delay == 0 {
		deliver()
		return
	}
	time.AfterFunc(delay, deliver)
}

// reply makes the answer. Called with mu held.
func (s *NameServer) reply(q *dns.Msg, mode DNSMode, tcp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	m.RecursionAvailable = true
	name := q.Question[0].Name
	soa, _ := dns.NewRR(". 5 IN SOA ns.example.net. hostmaster.example.net. 1 3600 600 86400 5")
	switch mode {
	case DNSServfail:
		m.Rcode = dns.RcodeServerFailure
		return m
	case DNSRefused:
		m.Rcode = dns.RcodeRefused
		return m
	case DNSNXDomain:
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{soa}
		return m
	case DNSEmpty:
		m.Ns = []dns.RR{soa}
		return m
	case DNSWrongID:
		m.Id++
		return m
	case DNSTruncate:
		if !tcp {
			m.Truncated = true
			return m
		}
	case DNSHuge, DNSBogon:
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = absurd(name, mode)
			return m
		}
	}
	known := s.find(m, name, q.Question[0].Qtype, 0)
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{soa}
		if !known {
			m.Rcode = dns.RcodeNameError
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(1232, false)
	}
	return m
}

// find adds the records of a name and follows a CNAME. It tells whether the
// name exists. Called with mu held.
func (s *NameServer) find(m *dns.Msg, name string, qtype uint16, depth int) bool {
	known := false
	for _, rr := range s.records {
		h := rr.Header()
		if dns.CanonicalName(h.Name) != dns.CanonicalName(name) {
			// RFC 8020: a name that has others below it exists.
			known = known || strings.HasSuffix(h.Name, "."+dns.CanonicalName(name))
			continue
		}
		known = true
		c, isCNAME := rr.(*dns.CNAME)
		if h.Rrtype != qtype && !isCNAME {
			continue
		}
		out := dns.Copy(rr)
		out.Header().Name = name // as asked, in the case it was asked
		m.Answer = append(m.Answer, out)
		if isCNAME && h.Rrtype != qtype && depth < 8 {
			s.find(m, c.Target, qtype, depth+1)
		}
	}
	return known
}

// absurd is an answer no honest server gives.
func absurd(name string, mode DNSMode) []dns.RR {
	var out []dns.RR
	add := func(ip string) {
		rr, _ := dns.NewRR(fmt.Sprintf("%s 10 A %s", name, ip))
		out = append(out, rr)
	}
	if mode == DNSBogon {
		add("0.0.0.0")
		add("224.0.0.1")
		return out
	}
	for i := range 200 {
		add(fmt.Sprintf("198.51.100.%d", i+1))
	}
	return out
}
