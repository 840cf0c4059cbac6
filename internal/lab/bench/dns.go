package bench

import (
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
)

// A NameServer knows proxy.lab.test with the addresses of all proxies, and
// srv.lab.test with SRV records (UDP and TCP) at priorities 10, 20, 30. TTL 10 s.
type NameServer struct {
	Addr    string
	Queries atomic.Int64 // questions read

	fault atomic.Int32 // a Fault
	conn  *net.UDPConn
	ips   []net.IP
}

// A Fault is what is wrong with a name server.
type Fault int32

// The faults of a name server.
const (
	Well     Fault = iota
	Dumb           // reads questions, answers none
	ServFail       // answers that it cannot tell
	NXDomain       // knows no such name
	Empty          // knows the name and no address
	WrongID        // answers as somebody would who guesses
)

// Set changes what is wrong.
func (s *NameServer) Set(f Fault) { s.fault.Store(int32(f)) }

const (
	ttl     = 10
	typeA   = 1
	typeSRV = 33
)

func serveDNS(addr string, ips []net.IP) (*NameServer, error) {
	ua, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", ua)
	if err != nil {
		return nil, err
	}
	s := &NameServer{Addr: conn.LocalAddr().String(), conn: conn, ips: ips}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			s.Queries.Add(1)
			if a := s.answer(buf[:n], Fault(s.fault.Load())); a != nil {
				conn.WriteToUDP(a, from)
			}
		}
	}()
	return s, nil
}

// answer writes RFC 1035 by hand: header, the question as it came, answers.
func (s *NameServer) answer(q []byte, fault Fault) []byte {
	if len(q) < 17 || fault == Dumb {
		return nil
	}
	end := 12
	var labels []string
	for end < len(q) && q[end] != 0 {
		n := int(q[end])
		if n > 63 || end+1+n > len(q) {
			return nil
		}
		labels = append(labels, strings.ToLower(string(q[end+1:end+1+n])))
		end += 1 + n
	}
	end += 5 // the root label, type and class
	if end > len(q) {
		return nil
	}
	name, kind := strings.Join(labels, "."), binary.BigEndian.Uint16(q[end-4:])

	a := append([]byte{}, q[:end]...)
	copy(a[2:12], []byte{0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}) // a response, authoritative, one question
	count := 0
	record := func(kind uint16, data []byte) {
		if fault != Well && fault != WrongID {
			return
		}
		a = append(a, 0xC0, 12) // a pointer to the question's name
		a = binary.BigEndian.AppendUint16(a, kind)
		a = append(a, 0, 1, 0, 0, 0, ttl)
		a = binary.BigEndian.AppendUint16(a, uint16(len(data)))
		a = append(a, data...)
		count++
	}
	known := true
	switch {
	case name == "proxy.lab.test":
		if kind == typeA {
			for _, ip := range s.ips {
				record(typeA, ip)
			}
		}
	case name == "_sip._udp.srv.lab.test" || name == "_sip._tcp.srv.lab.test":
		if kind == typeSRV {
			for i := range s.ips {
				data := []byte{0, byte(10 * (i + 1)), 0, 1, 0x13, 0xC4} // priority, weight 1, port 5060
				record(typeSRV, append(data, wire(host(i))...))
			}
		}
	case name == "srv.lab.test":
	case len(labels) == 3 && len(labels[0]) == 2 && labels[0][0] == 'p' && strings.HasSuffix(name, ".lab.test"):
		if i := int(labels[0][1] - '1'); i >= 0 && i < len(s.ips) && kind == typeA {
			record(typeA, s.ips[i])
		}
	default:
		known = false
	}
	switch {
	case fault == ServFail:
		a[3] = 0x82
	case !known || fault == NXDomain:
		a[3] = 0x83
	}
	if fault == WrongID {
		a[0] ^= 0x5A
	}
	binary.BigEndian.PutUint16(a[6:], uint16(count))
	return a
}

func host(i int) string { return "p" + string(rune('1'+i)) + ".lab.test" }

// wire writes a name uncompressed.
func wire(name string) []byte {
	var w []byte
	for l := range strings.SplitSeq(name, ".") {
		w = append(append(w, byte(len(l))), l...)
	}
	return append(w, 0)
}
