package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// This file puts one question to the DNS servers. miekg/dns gives the
// messages; the exchange is our own, because an answer must be one to our
// question, garbage must not end it, and a cancelled context must.

const (
	// udpSize is the largest answer we ask for: it passes every path
	// unfragmented (RFC 6891 section 6.2.5, DNS flag day 2020).
	udpSize = 1232
	// maxTries is how often a question is sent at most: two rounds over three servers.
	maxTries = 6
	minTries = 3 // also to a single server: datagrams get lost
	// lastWait is what the last try gets, in Timeouts: three tries a second apart
	// then wait as long as the C library's, 5 s.
	lastWait = 3
)

// A Network opens sockets.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// host is the network of the host.
type host struct {
	net.ListenConfig
	net.Dialer
}

// records is what DNS says to one question: all records of the type that was
// asked for, at the end of the name's CNAME chain. None and no error means
// that there are none.
type records struct {
	rr  []dns.RR
	ttl time.Duration // of the whole chain; of the absence, if there are none (RFC 2308)
	err error         // nothing was learnt
}

// ask puts a question and follows the CNAMEs it meets.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) records {
	name = dns.Fqdn(name)
	var all records
	for range maxChain {
		msg, err := r.exchange(ctx, name, kind)
		if err != nil {
			return records{err: fmt.Errorf("%s %s: %w", strings.TrimSuffix(name, "."), dns.TypeToString[kind], err)}
		}
		part, end := follow(msg, name, kind)
		all.rr, all.ttl = part.rr, shorter(all.ttl, part.ttl)
		if len(all.rr) > 0 || end == name || msg.Rcode == dns.RcodeNameError {
			return all
		}
		name = end // the server left the rest of the chain to us
	}
	return records{err: fmt.Errorf("%s: CNAMEs without end", name)}
}

// follow walks the CNAME chain in a message from name to its end and returns
// the records of the kind that stand there. Records of any other name are not
// believed.
func follow(msg *dns.Msg, name string, kind uint16) (found records, end string) {
	end = name
	for range maxChain {
		next := ""
		for _, rr := range msg.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, end) {
				continue
			}
			switch {
			case h.Rrtype == kind && msg.Rcode == dns.RcodeSuccess:
				found.rr = append(found.rr, rr)
				found.ttl = shorter(found.ttl, ttl(h.Ttl))
			case h.Rrtype == dns.TypeCNAME && next == "":
				next = rr.(*dns.CNAME).Target
				found.ttl = shorter(found.ttl, ttl(h.Ttl))
			}
		}
		if len(found.rr) > 0 || next == "" {
			break
		}
		end = next
	}
	if len(found.rr) == 0 {
		for _, rr := range msg.Ns {
			// RFC 2308 section 5: "the minimum of the MINIMUM field of the
			// SOA record and the TTL of the SOA itself".
			if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(soa.Hdr.Name, end) {
				found.ttl = shorter(found.ttl, ttl(min(soa.Minttl, soa.Hdr.Ttl)))
			}
		}
	}
	return found, end
}

// ttl is a TTL as a duration, at least a second, so that 0 can mean none.
// RFC 2181 section 8: one with the top bit set counts as zero.
func ttl(seconds uint32) time.Duration {
	if seconds > 1<<31-1 {
		seconds = 0
	}
	return time.Duration(max(seconds, 1)) * time.Second
}

// exchange sends a question to one server after the other until one gives an
// answer worth having: records, or the word that there are none. A server that
// is silent for Timeout gets company but may still answer; one that fails or
// refuses is left for the next at once. When exchange returns, nothing of it
// is left running.
func (r *Resolver) exchange(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	servers, err := r.servers()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	type reply struct {
		server int
		msg    *dns.Msg
		err    error
	}
	replies := make(chan reply, maxTries)
	tries := min(max(minTries, 2*len(servers)), maxTries)
	best := int(r.best.Load())
	clock := time.NewTimer(r.cfg.Timeout)
	defer clock.Stop()
	silent := errors.New("no answer")
	failed := error(nil)
	for sent, open, due := 0, 0, true; ; {
		if due {
			if sent == tries {
				if failed == nil {
					failed = fmt.Errorf("DNS %s: %w", servers[best%len(servers)], silent)
				}
				return nil, failed
			}
			server := (best + sent) % len(servers)
			running.Go(func() {
				msg, err := r.try(ctx, servers[server], dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET})
				replies <- reply{server, msg, err}
			})
			sent++
			open++
			due = false
			wait := r.cfg.Timeout
			if sent == tries {
				wait *= lastWait
			}
			clock.Reset(wait)
		}
		select {
		case <-clock.C:
			due = true
		case got := <-replies:
			open--
			if got.err == nil {
				r.best.Store(uint32(got.server))
				return got.msg, nil
			}
			failed = fmt.Errorf("DNS %s: %w", servers[got.server], got.err)
			due = sent < len(servers) || open == 0 && sent == tries
		case <-ctx.Done():
			if failed == nil {
				failed = fmt.Errorf("DNS %s: %w", servers[best%len(servers)], silent)
			}
			return nil, failed
		}
	}
}

// What makes a server worth another try in plainer clothes.
var (
	errFormat    = errors.New("it does not understand the question")
	errCase      = errors.New("it does not repeat the question as it was asked")
	errTruncated = errors.New("its answer was cut short")
)

// try puts a question to one server, as well guarded as it can bear: with
// EDNS (RFC 6891), the letters of the name in random case ("0x20"), by UDP;
// and an answer that was cut short is fetched by TCP.
func (r *Resolver) try(ctx context.Context, server netip.AddrPort, q dns.Question) (*dns.Msg, error) {
	edns, mixed, network := true, true, "udp"
	for {
		msg, err := r.once(ctx, network, server, q, edns, mixed)
		switch {
		case errors.Is(err, errFormat) && edns:
			edns = false
		case errors.Is(err, errCase) && mixed:
			mixed = false
		case errors.Is(err, errTruncated) && network == "udp":
			network = "tcp"
		default:
			return msg, err
		}
	}
}

// once sends one query on a socket of its own, so from a random port and with
// a random number, and returns the first message that answers it.
func (r *Resolver) once(ctx context.Context, network string, server netip.AddrPort, q dns.Question, edns, mixed bool) (*dns.Msg, error) {
	select {
	case r.sockets <- struct{}{}:
		defer func() { <-r.sockets }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	query := dns.Msg{Question: []dns.Question{q}}
	query.Id = uint16(rand.Uint32()) // math/rand/v2's own source is ChaCha8: not to be guessed
	query.RecursionDesired = true
	if mixed {
		query.Question[0].Name = mixCase(q.Name)
	}
	if edns {
		query.SetEdns0(udpSize, false)
	}
	out, err := query.Pack()
	if err != nil {
		return nil, err
	}

	conn, err := r.cfg.Network.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if network == "tcp" {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	in := make([]byte, 2048) // more than we ask for: who sends more is cut and not believed
	for {
		n, err := 0, error(nil)
		if network == "tcp" {
			in, err = readFrame(conn)
			n = len(in)
		} else {
			n, err = conn.Read(in)
		}
		if err != nil {
			return nil, err
		}
		msg, err := accept(&query, in[:n])
		if msg != nil || err != nil {
			return msg, err
		}
		if network == "tcp" {
			return nil, errors.New("its answer by TCP makes no sense")
		}
	}
}

// accept reads what came in. It returns the message if it answers the query
// and is of use, an error if it answers and is not; neither, if it is not an
// answer to this query at all.
func accept(query *dns.Msg, in []byte) (*dns.Msg, error) {
	msg := new(dns.Msg)
	if err := msg.Unpack(in); err != nil && !msg.Truncated {
		return nil, nil
	}
	if msg.Id != query.Id || !msg.Response || msg.Opcode != dns.OpcodeQuery {
		return nil, nil
	}
	if len(msg.Question) == 0 && msg.Rcode == dns.RcodeFormatError {
		return nil, errFormat // RFC 6891 section 7: it may return the header alone
	}
	if len(msg.Question) != 1 {
		return nil, nil
	}
	asked, echo := query.Question[0], msg.Question[0]
	if echo.Qtype != asked.Qtype || echo.Qclass != asked.Qclass || !strings.EqualFold(echo.Name, asked.Name) {
		return nil, nil
	}
	switch {
	case echo.Name != asked.Name:
		return nil, errCase
	case msg.Rcode == dns.RcodeFormatError, msg.Rcode == dns.RcodeNotImplemented, msg.Rcode == dns.RcodeBadVers:
		return nil, errFormat
	case msg.Truncated:
		return nil, errTruncated
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return nil, errors.New(dns.RcodeToString[msg.Rcode])
	}
	return msg, nil
}

// readFrame reads one message from a stream: two octets of length before it (RFC 1035 section 4.2.2).
func readFrame(conn io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	in := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, in)
	return in, err
}

// mixCase gives each letter of a name a case by chance. Servers return the
// question as it came, so whoever guesses at an answer must guess that too
// (draft-vixie-dnsext-dns0x20).
func mixCase(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c |= 0x20; 'a' <= c && c <= 'z' && rand.Uint32()&1 == 0 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// A resolvConf is the list of servers in a file, and the file as it was.
type resolvConf struct {
	mu      sync.Mutex
	seen    os.FileInfo // nil: never
	version int         // counts the changes
	servers []netip.AddrPort
	err     error
}

// servers returns whom to ask. The file is read again when it has changed.
func (r *Resolver) servers() ([]netip.AddrPort, error) {
	if len(r.cfg.Servers) > 0 {
		return r.cfg.Servers, nil
	}
	c := &r.conf
	c.mu.Lock()
	defer c.mu.Unlock()
	now, err := os.Stat(r.cfg.ResolvConf)
	if err != nil {
		if c.seen != nil || c.err == nil {
			c.version++
		}
		c.seen, c.servers, c.err = nil, nil, fmt.Errorf("no DNS server is known: %w", err)
		return nil, c.err
	}
	if c.seen != nil && os.SameFile(now, c.seen) && now.ModTime().Equal(c.seen.ModTime()) && now.Size() == c.seen.Size() {
		return c.servers, c.err
	}
	c.seen, c.servers, c.err = now, nil, nil
	c.version++
	conf, err := dns.ClientConfigFromFile(r.cfg.ResolvConf)
	if err != nil {
		c.err = fmt.Errorf("no DNS server is known: %w", err)
		return nil, c.err
	}
	for _, s := range conf.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			c.servers = append(c.servers, netip.AddrPortFrom(addr, 53))
		}
	}
	if len(c.servers) == 0 {
		c.err = fmt.Errorf("no DNS server is known: %s names none", r.cfg.ResolvConf)
	}
	return c.servers, c.err
}

// watched reports whether the servers come from a file, which may change.
func (r *Resolver) watched() bool { return len(r.cfg.Servers) == 0 }

// version changes when the servers have.
func (r *Resolver) version() int {
	r.servers()
	r.conf.mu.Lock()
	defer r.conf.mu.Unlock()
	return r.conf.version
}
