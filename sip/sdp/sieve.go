package sdp

import (
	"errors"
	"strconv"
	"strings"
)

// sieved is a body that pion's parser takes, and what of the original it
// would have refused.
type sieved struct {
	text        string
	id, version uint64
}

// sieve keeps the lines a telephone reads (o, c, m, a) and puts them in an
// order and form that pion's parser accepts. Pion refuses a whole body for a
// media type, transport, bandwidth or network it does not know
// (m=image 9 udptl t38 is one), for a missing t= line and for a last line
// without an end; RFC 3264 wants unknown streams refused one by one.
func sieve(body string) (sieved, []mline, error) {
	var (
		out   sieved
		lines []mline
		conn  string // of the session
		attrs strings.Builder
		media strings.Builder
		seen  = map[byte]bool{}
	)
	for _, line := range strings.FieldsFunc(body, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if len(line) < 2 || line[1] != '=' {
			continue
		}
		key, value := line[0], strings.TrimSpace(line[2:])
		first := !seen[key]
		seen[key] = true
		switch key {
		case 'v':
			if value != "0" {
				return out, nil, errors.New("sdp: version " + strconv.Quote(value) + " is not 0")
			}
		case 'o':
			if f := strings.Fields(value); len(f) >= 3 {
				out.id, _ = strconv.ParseUint(f[1], 10, 64)
				out.version, _ = strconv.ParseUint(f[2], 10, 64)
			}
		case 'c':
			f := strings.Fields(value)
			if len(f) != 3 || f[0] != "IN" || f[1] != "IP4" && f[1] != "IP6" {
				continue // of a network we are not on
			}
			c := "c=" + f[0] + " " + f[1] + " " + f[2] + "\r\n"
			if len(lines) == 0 {
				conn = c
			} else {
				media.WriteString(c)
			}
		case 'm':
			f := strings.Fields(value)
			if len(f) < 4 {
				return out, nil, errors.New("sdp: m= line with fewer than four words")
			}
			if len(lines) == maxLines {
				return out, nil, errors.New("sdp: more than 16 m= lines")
			}
			port, _, _ := strings.Cut(f[1], "/")
			if n, err := strconv.ParseUint(port, 10, 16); err != nil {
				return out, nil, errors.New("sdp: m= line with port " + strconv.Quote(f[1]))
			} else {
				port = strconv.FormatUint(n, 10)
			}
			lines = append(lines, mline{media: f[0], proto: f[2], formats: strings.Join(f[3:], " ")})
			kind, proto := "application", "UDP"
			if f[0] == "audio" && (strings.EqualFold(f[2], "RTP/AVP") || strings.EqualFold(f[2], "RTP/SAVP")) {
				kind, proto = "audio", "RTP/AVP"
			}
			media.WriteString("m=" + kind + " " + port + " " + proto + " " + strings.Join(f[3:], " ") + "\r\n")
		case 'a':
			if len(lines) == 0 {
				attrs.WriteString("a=" + value + "\r\n")
			} else {
				media.WriteString("a=" + value + "\r\n")
			}
		}
		if first && key != 'v' && !seen['v'] {
			return out, nil, errors.New("sdp: does not begin with v=0")
		}
	}
	if !seen['v'] {
		return out, nil, errors.New("sdp: does not begin with v=0")
	}
	out.text = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\n" + conn + "t=0 0\r\n" + attrs.String() + media.String()
	return out, lines, nil
}
