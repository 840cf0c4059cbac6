package bench

import (
	"encoding/binary"
	"net"
	"strings"
	"sync/atomic"
)

// A NameServer knows one name, proxy.lab.test, with the addresses of all
// proxies, and its SRV records at priorities 10, 20, 30. TTL 10 s.
type NameServer struct {
	Addr    string
	Silent  atomic.Bool  // reads questions, answers none
	Queries atomic.Int64 // questions read

	conn *net.UDPConn
	ips  []net.IP
}

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
			if a := s.answer(buf[:n]); a != nil && !s.Silent.Load() {
				conn.WriteToUDP(a, from)
			}
		}
	}()
	return s, nil
}

// answer writes RFC 1035 by hand: header, the question as it came, answers.
func (s *NameServer) answer(q []byte) []byte {
	if len(q) < 17 {
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
	record := func(owner []byte, kind uint16, data []byte) {
		a = append(a, owner...)
		a = binary.BigEndian.AppendUint16(a, kind)
		a = append(a, 0, 1, 0, 0, 0, ttl)
		a = binary.BigEndian.AppendUint16(a, uint16(len(data)))
		a = append(a, data...)
		count++
	}
	asked := []byte{0xC0, 12} // a pointer to the question's name
	known := true
	switch {
	case name == "proxy.lab.test":
		if kind == typeA {
			for _, ip := range s.ips {
				record(asked, typeA, ip)
			}
		}
	case name == "_sip._udp.srv.lab.test":
		if kind == typeSRV {
			for i := range s.ips {
				data := []byte{0, byte(10 * (i + 1)), 0, 1, 0x13, 0xC4} // priority, weight 1, port 5060
				record(asked, typeSRV, append(data, wire(host(i))...))
			}
		}
	case name == "srv.lab.test":
	case len(labels) == 3 && len(labels[0]) == 2 && labels[0][0] == 'p' && strings.HasSuffix(name, ".lab.test"):
		if i := int(labels[0][1] - '1'); i >= 0 && i < len(s.ips) && kind == typeA {
			record(asked, typeA, s.ips[i])
		}
	default:
		known = false
	}
	if !known {
		a[3] = 0x83 // NXDOMAIN
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
