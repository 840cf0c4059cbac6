package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/ata-agent/ata-agent/outbound"
)

// settle fills in what follows from other keys and blames what contradicts
// another.
func (r *reader) settle() {
	c := r.c
	if len(c.Lines) == 0 && len(r.mistakes) == 0 {
		r.wrong(place{1, 1}, "line", "there is none", "want [[line]] and below it user, password and domain")
	}
	for i := range c.Lines {
		r.line(i)
	}
	for i := range c.Ports {
		r.port(i)
	}
}

func (r *reader) given(key string) (place, bool) {
	at, ok := r.c.places[key]
	return at, ok
}

func (r *reader) line(i int) {
	l, me := &r.c.Lines[i], fmt.Sprintf("line[%d]", i)
	if l.Name == "" {
		l.Name = strconv.Itoa(i + 1)
	}
	if n := slices.IndexFunc(r.c.Lines[:i], func(o Line) bool { return o.Name == l.Name }); n >= 0 {
		at, ok := r.given(me + ".name")
		if !ok {
			at, _ = r.given(me)
		}
		r.wrong(at, "line.name", fmt.Sprintf("%q is the name of line %d too", l.Name, n+1), "want a name of its own")
	}
	if at, ok := r.given(me + ".auth_user"); ok {
		if _, ok := r.given(me + ".password"); !ok {
			r.wrong(at, "line.auth_user", "there is no password for it", "want password = \"...\" as well, or this line taken away")
		}
	} else {
		l.AuthUser = l.User
	}
	if _, ok := r.given(me + ".outbound_proxy"); !ok && l.Domain != "" {
		l.OutboundProxy = []string{l.Domain}
	}
	if at, ok := r.given(me + ".keepalive"); ok && l.KeepAliveBy == "off" {
		r.wrong(at, "line.keepalive", `keepalive_by = "off" says there is none`, "want only one of the two")
	}
	if at, ok := r.given(me + ".srtp"); ok && l.SRTP == "required" && len(r.mistakes) == 0 {
		for _, p := range l.Proxies() {
			if p.Transport != outbound.TLS {
				r.wrong(at, "line.srtp", fmt.Sprintf("its keys would go to %s for all to read", p.Host), `want transport = "tls" as well`)
				break
			}
		}
	}
	if at, ok := r.given(me + ".listen"); ok && l.Listen != "" {
		mine := addr(l.Listen)
		for n, o := range r.c.Lines[:i] {
			if o.Listen != "" && mine.Port() != 0 && clash(mine, addr(o.Listen)) {
				r.wrong(at, "line.listen", fmt.Sprintf("line %d listens there already", n+1), "want another port")
			}
		}
	}
}

// addr reads what the check of "listen" has let through.
func addr(s string) netip.AddrPort {
	if s[0] == ':' {
		s = "0.0.0.0" + s
	}
	return netip.MustParseAddrPort(s)
}

func clash(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

func (r *reader) port(i int) {
	p, me := &r.c.Ports[i], fmt.Sprintf("port[%d]", i)
	if p.Name == "" {
		p.Name = strconv.Itoa(i + 1)
	}
	if n := slices.IndexFunc(r.c.Ports[:i], func(o Port) bool { return o.Name == p.Name }); n >= 0 {
		at, ok := r.given(me + ".name")
		if !ok {
			at, _ = r.given(me)
		}
		r.wrong(at, "port.name", fmt.Sprintf("%q is the name of an earlier [[port]] too", p.Name), "want each once")
	}
	if p.Country == "" {
		p.Country = r.c.Country
	}
	if p.FlashMin > p.FlashMax && p.FlashMax > 0 {
		at, ok := r.given(me + ".flash_min")
		if !ok {
			at, _ = r.given(me + ".flash_max")
		}
		r.wrong(at, "port.flash_min", fmt.Sprintf("%q is longer than flash_max = %q", short(p.FlashMin), short(p.FlashMax)), "want it shorter")
	}
	if len(r.c.Lines) == 0 {
		return
	}
	at, ok := r.given(me + ".line")
	if !ok {
		p.Line = r.c.Lines[0].Name
		return
	}
	if p.Line == "" { // blamed already
		return
	}
	var names []string
	for _, l := range r.c.Lines {
		names = append(names, l.Name)
	}
	if !slices.Contains(names, p.Line) {
		want := "the lines are " + quoted(names)
		if near := Nearest(p.Line, names); near != "" {
			want = fmt.Sprintf("did you mean %q?", near)
		}
		r.wrong(at, "port.line", fmt.Sprintf("there is no line %q", p.Line), want)
	}
}
