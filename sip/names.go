package sip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"
)

// dialled makes the user part of a URI from what was dialled, and refuses what
// could become anything else. Digits, * and # are what a telephone has; a plus
// and letters come from address books.
func dialled(number string) (string, error) {
	switch {
	case number == "":
		return "", errors.New("no number was dialled")
	case len(number) > 64:
		return "", errors.New("the number is longer than 64 digits")
	}
	// RFC 3261 section 25.1: user = 1*( unreserved / escaped / user-unreserved ),
	// in which # is neither and is escaped.
	for _, c := range []byte(number) {
		if c != '#' && !plainUser(string(c)) && c != '*' {
			return "", fmt.Errorf("%q cannot be dialled: digits, letters and + * # - . _ would be right", number)
		}
	}
	return strings.ReplaceAll(number, "#", "%23"), nil
}

// plainUser reports whether s can stand in a URI's user part as it is.
func plainUser(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("-_.+!~'", c) >= 0) {
			return false
		}
	}
	return true
}

// parseDomain reads host or host:port of an account.
func parseDomain(s string) (sip.Uri, error) {
	host, port := s, 0
	if strings.Count(s, ":") == 1 || strings.HasPrefix(s, "[") && !strings.HasSuffix(s, "]") {
		i := strings.LastIndexByte(s, ':')
		n, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || n == 0 {
			return sip.Uri{}, errors.New("the port is not a number from 1 to 65535")
		}
		host, port = s[:i], int(n)
	}
	bare := strings.Trim(host, "[]")
	if ip, err := netip.ParseAddr(bare); err == nil {
		return sip.Uri{Scheme: "sip", Host: ip.String(), Port: port}, nil
	}
	if host == "" || len(host) > 253 {
		return sip.Uri{}, errors.New("a name like example.net would be right")
	}
	for _, c := range []byte(host) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '.' || c == '_') {
			return sip.Uri{}, errors.New("a name like example.net would be right")
		}
	}
	return sip.Uri{Scheme: "sip", Host: host, Port: port}, nil
}

// printable reports whether s may stand in a header field.
func printable(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// quotable is s as sipgo writes a display name: between quotes, unescaped.
func quotable(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
}

// caller reads who calls: P-Asserted-Identity, which only a trusted proxy can
// have put there (nobody else is heard), else From. RFC 3325. Who wants to be
// withheld is; a caller of whom nothing is known has neither number nor name.
func caller(req *sip.Request) (number, name string, withheld bool) {
	if private(req) {
		return "", "", true
	}
	for _, h := range req.GetHeaders("P-Asserted-Identity") {
		for _, v := range splitList(h.Value()) {
			var u sip.Uri
			display, err := sip.ParseAddressValue(v, &u, nil)
			if err != nil {
				continue
			}
			if n := userOf(u); number == "" && n != "" {
				number = n
			}
			if display != "" && name == "" {
				name = shown(display)
			}
		}
	}
	if number != "" {
		return number, name, false
	}
	from := req.From()
	number, name = userOf(from.Address), shown(from.DisplayName)
	host := strings.ToLower(from.Address.Host)
	switch user := strings.ToLower(number); {
	// RFC 3261 section 8.1.1.3: "a syntactically correct, but otherwise
	// meaningless URI (like sip:thisis@anonymous.invalid)"; RFC 3323 section 4.1.
	case user == "anonymous", strings.HasSuffix(host, "anonymous.invalid"):
		return "", "", true
	// 3GPP TS 23.003 section 13.7: sip:unavailable@unknown.invalid.
	case user == "unavailable", user == "unknown", strings.HasSuffix(host, "unknown.invalid"):
		return "", "", false
	}
	return number, name, false
}

// private reports whether the caller has asked for privacy: RFC 3323 section
// 4.2, "header" and "user", and RFC 3325 section 9.3, "id". It has come this far
// because the proxies trust us to keep it.
func private(req *sip.Request) bool {
	for _, h := range req.GetHeaders("Privacy") {
		for v := range strings.FieldsFuncSeq(h.Value(), func(r rune) bool { return r == ';' || r == ',' || r == ' ' }) {
			switch strings.ToLower(v) {
			case "header", "user", "id":
				return true
			}
		}
	}
	return false
}

// userOf is the number or name in a URI: sip:+1555@h, tel:+1-555-0100;x=y.
func userOf(u sip.Uri) string {
	s := u.User
	if u.Scheme == "tel" {
		s = strings.NewReplacer("-", "", "(", "", ")", "", ".", "").Replace(u.Raw())
	}
	s, _, _ = strings.Cut(s, ";") // sip:+1555;phone-context=...@h
	return shown(unescape(s))
}

// shown makes something a display can show of what somebody else wrote: no
// control characters, no quotes around it, not endless.
func shown(s string) string {
	s = strings.TrimSpace(s)
	if strings.Contains(s, `\`) {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			if s[i] == '\\' && i+1 < len(s) {
				i++
			}
			b.WriteByte(s[i])
		}
		s = b.String()
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	const longest = 64
	for i := range s {
		if i >= longest {
			return s[:i]
		}
	}
	return s
}

func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// splitList takes a comma-separated header field apart, minding quotes and
// angle brackets.
func splitList(s string) []string {
	var out []string
	start, quoted, angle := 0, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == ',' && !angle:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return append(out, strings.TrimSpace(s[start:]))
}

// tokens lists the option tags or methods of all header fields of a name.
func tokens(msg sip.Message, name string) []string {
	var out []string
	for _, h := range msg.GetHeaders(name) {
		for _, t := range strings.Split(h.Value(), ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// seconds reads delta-seconds, with whatever follows them left out:
// "120 (soon);duration=60".
func seconds(h sip.Header) (time.Duration, bool) {
	if h == nil {
		return 0, false
	}
	v := strings.TrimSpace(h.Value())
	end := 0
	for end < len(v) && v[end] >= '0' && v[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(v[:end], 10, 31)
	if err != nil {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

// params builds header parameters from keys and values.
func params(kv ...string) sip.HeaderParams {
	p := sip.NewParams()
	for i := 0; i+1 < len(kv); i += 2 {
		p.Add(kv[i], kv[i+1])
	}
	return p
}

// param looks a parameter up as RFC 3261 section 7.3.1 has it: in any case.
func param(p sip.HeaderParams, key string) (string, bool) {
	for _, kv := range p {
		if strings.EqualFold(strings.TrimSpace(kv.K), key) {
			return strings.TrimSpace(kv.V), true
		}
	}
	return "", false
}

// reason is a response's own phrase, made fit to be shown.
func reason(res *sip.Response) string { return shown(res.Reason) }
