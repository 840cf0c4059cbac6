package outbound

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Transport is what carries SIP to a proxy. The zero value is UDP.
type Transport uint8

const (
	UDP Transport = iota
	TCP
	TLS
)

// String returns the transport as configuration and SIP URIs spell it: udp, tcp, tls.
func (t Transport) String() string { return [...]string{"udp", "tcp", "tls"}[t] }

// Port returns the port used where none is given: 5060, for TLS 5061
// (RFC 3261 section 19.1.2).
func (t Transport) Port() uint16 {
	if t == TLS {
		return 5061
	}
	return 5060
}

// service is the name to which the transport's SRV records belong (RFC 3263 section 4.1).
func (t Transport) service(host string) string {
	return [...]string{"_sip._udp.", "_sip._tcp.", "_sips._tcp."}[t] + host
}

// ParseTransport reads udp, tcp or tls, in any case.
func ParseTransport(s string) (Transport, error) {
	for t := UDP; t <= TLS; t++ {
		if strings.EqualFold(s, t.String()) {
			return t, nil
		}
	}
	return UDP, fmt.Errorf("transport %q: udp, tcp or tls would be right", s)
}

// MaxProxies is how many proxies one route may have: with a [Capacity] of 16
// each of them then has room for two addresses at least.
const MaxProxies = 8

// A Proxy is one configured entry: where SIP goes out, as a name or as an
// address. The zero Proxy is none. Proxies can be compared with ==.
type Proxy struct {
	Host         string     // as configured, lower case: a name, or the printed Addr
	Addr         netip.Addr // valid when the entry is an address; then DNS is never asked
	Port         uint16     // 0: none given
	Transport    Transport
	TransportSet bool   // the entry itself says which transport; otherwise DNS may choose another (RFC 3263)
	TLSName      string // the name the proxy's certificate must show; "" for an address without tlsname
}

// ParseProxy reads an entry as people write it:
//
//	proxy.example.net
//	proxy.example.net:5080;transport=tcp
//	192.0.2.7:5060
//	[2001:db8::1]:5061
//	sip:proxy.example.net;transport=tls
//	sips:proxy.example.net
//	192.0.2.7;transport=tls;tlsname=proxy.example.net
//
// An entry that names no transport gets def. An error says what would be right.
func ParseProxy(s string, def Transport) (Proxy, error) {
	wrong := func(format string, args ...any) (Proxy, error) {
		return Proxy{}, fmt.Errorf("outbound proxy %q: %s", s, fmt.Sprintf(format, args...))
	}
	rest := strings.TrimSpace(s)
	if strings.HasPrefix(rest, "<") && strings.HasSuffix(rest, ">") {
		rest = rest[1 : len(rest)-1]
	}
	p := Proxy{Transport: def}
	scheme, after, found := strings.Cut(rest, ":")
	switch {
	case found && strings.EqualFold(scheme, "sip"):
		rest = after
	case found && strings.EqualFold(scheme, "sips"):
		rest, p.Transport, p.TransportSet = after, TLS, true
	}
	rest, params, _ := strings.Cut(rest, ";")
	if strings.Contains(rest, "@") {
		return wrong("a proxy has no user; write only what follows the @")
	}

	host, port, err := splitPort(rest)
	if err != nil {
		return wrong("%v", err)
	}
	p.Port = port
	if addr, err := netip.ParseAddr(host); err == nil {
		if !usable(addr) {
			return wrong("%s cannot be the address of a proxy", addr)
		}
		p.Addr = addr.Unmap()
		p.Host = p.Addr.String()
	} else {
		name, err := checkName(host)
		if err != nil {
			return wrong("%v", err)
		}
		p.Host, p.TLSName = name, name
	}

	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		switch strings.ToLower(key) {
		case "", "lr": // every outbound proxy routes loosely
		case "transport":
			t, err := ParseTransport(value)
			if err != nil {
				return wrong("%v", err)
			}
			if p.TransportSet && t == UDP {
				return wrong("sips needs tcp or tls")
			}
			if !p.TransportSet { // sips over tcp is TLS
				p.Transport = t
			}
			p.TransportSet = true
		case "tlsname":
			name, err := checkName(value)
			if err != nil {
				return wrong("tlsname: %v", err)
			}
			p.TLSName = name
		default:
			return wrong("parameter %q is not known; transport and tlsname are", key)
		}
	}
	return p, nil
}

// String returns the entry in its shortest form, which ParseProxy reads again.
// It is what status, log and state file call the proxy.
func (p Proxy) String() string {
	s := p.Host
	if p.Port != 0 && p.Addr.Is6() {
		s = "[" + s + "]"
	}
	if p.Port != 0 {
		s += ":" + strconv.Itoa(int(p.Port))
	}
	if p.TransportSet {
		s += ";transport=" + p.Transport.String()
	}
	if p.TLSName != "" && p.TLSName != p.Host {
		s += ";tlsname=" + p.TLSName
	}
	return s
}

// target is the proxy at one of its addresses.
func (p Proxy) target(addr netip.AddrPort, t Transport) Target {
	return Target{Addr: addr, Dest: addr.String(), Transport: t, TLSName: p.TLSName, Proxy: p.String()}
}

// splitPort takes host:port, [v6]:port, a bare address or a bare name apart.
func splitPort(s string) (host string, port uint16, err error) {
	host, number := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		var ok bool
		if host, number, ok = strings.Cut(s[1:], "]"); !ok {
			return "", 0, fmt.Errorf("the ] is missing, as in [2001:db8::1]:5060")
		}
		if number != "" && number[0] != ':' {
			return "", 0, fmt.Errorf("after the ] only a port may follow, as in [2001:db8::1]:5060")
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return "", 0, fmt.Errorf("only an IPv6 address stands in [ ]")
		}
		number = strings.TrimPrefix(number, ":")
		if strings.HasSuffix(s, ":") {
			return "", 0, fmt.Errorf("the port after the : is missing")
		}
	case strings.Count(s, ":") == 1:
		host, number, _ = strings.Cut(s, ":")
		if number == "" {
			return "", 0, fmt.Errorf("the port after the : is missing")
		}
	}
	if number == "" {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("port %q: a number from 1 to 65535 would be right", number)
	}
	return host, uint16(n), nil
}

// checkName returns a host name in lower case, without its last dot, or says
// what is wrong with it (RFC 1123 section 2.1; an underscore is let pass, it is seen in the field).
func checkName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	switch {
	case name == "":
		return "", fmt.Errorf("a name like proxy.example.net or an address like 192.0.2.7 is missing")
	case len(name) > 253:
		return "", fmt.Errorf("a name has at most 253 letters, this has %d", len(name))
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", fmt.Errorf("%q is not a host name: each part has 1 to 63 letters, digits or inner hyphens", s)
		}
		for _, c := range label {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return "", fmt.Errorf("%q is not a host name: %q may not stand in one (international names are written xn--...)", s, c)
			}
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%q is not an address: four numbers from 0 to 255 would be right, as in 192.0.2.7", s)
	}
	return name, nil
}

// usable reports whether a proxy could live at an address. What a forged or
// broken answer would name is refused: 0/8, multicast, 240/4, an IPv6
// link-local address that does not say on which link. 127/8 and ::1 are a
// proxy on this host, which labs and tests have.
func usable(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case !a.IsValid(), a.IsUnspecified(), a.IsMulticast():
		return false
	case a.Is4():
		first := a.As4()[0]
		return first != 0 && first < 240
	}
	return !a.IsLinkLocalUnicast() || a.Zone() != ""
}
