package bench

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// A message is a SIP request or response, read the simplest way that works.
type message struct {
	method  string // of a request; empty in a response
	status  int    // of a response; 0 in a request
	headers [][2]string
}

// parse reads a datagram; what it cannot read has neither method nor status.
func parse(text string) message {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	first, rest, _ := strings.Cut(head, "\r\n")
	words := strings.SplitN(first, " ", 3)
	if len(words) != 3 {
		return message{}
	}
	var m message
	switch {
	case words[2] == "SIP/2.0":
		m.method = words[0]
	case words[0] == "SIP/2.0":
		m.status, _ = strconv.Atoi(words[1])
	default:
		return message{}
	}
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if ok {
			m.headers = append(m.headers, [2]string{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
		}
	}
	return m
}

// readMessage takes the next message off a stream; a keep-alive of RFC 5626
// section 3.5.1 is an empty one.
func readMessage(r *bufio.Reader) (string, error) {
	var text strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			if text.Len() == 0 {
				if line, err = r.ReadString('\n'); err != nil {
					return "", err
				}
				if line == "\r\n" {
					return "", nil
				}
				text.WriteString(line)
				continue
			}
			break
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "content-length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > 65536 {
				return "", fmt.Errorf("a content of %q bytes", strings.TrimSpace(value))
			}
		}
		text.WriteString(line)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	return text.String() + "\r\n" + string(body), nil
}

func (m message) header(name string) string {
	for _, h := range m.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// response answers m, with received and rport filled in (RFC 3581). An extra
// that begins with an empty line is the body.
func (m message) response(status string, from netip.AddrPort, extra ...string) string {
	var s strings.Builder
	s.WriteString("SIP/2.0 " + status + "\r\n")
	first := true
	for _, h := range m.headers {
		switch h[0] {
		case "via":
			v := h[1]
			if first {
				v = strings.Replace(v, ";rport", fmt.Sprintf(";received=%s;rport=%d", from.Addr(), from.Port()), 1)
				first = false
			}
			s.WriteString("Via: " + v + "\r\n")
		case "from":
			s.WriteString("From: " + h[1] + "\r\n")
		case "to":
			to := h[1]
			if !strings.Contains(to, ";tag=") && !strings.HasPrefix(status, "100") {
				to += ";tag=" + hash(m.header("call-id"))[:8]
			}
			s.WriteString("To: " + to + "\r\n")
		case "call-id":
			s.WriteString("Call-ID: " + h[1] + "\r\n")
		case "cseq":
			s.WriteString("CSeq: " + h[1] + "\r\n")
		}
	}
	body := ""
	for _, e := range extra {
		if b, ok := strings.CutPrefix(e, "\r\n"); ok {
			body = b
			continue
		}
		s.WriteString(e + "\r\n")
	}
	fmt.Fprintf(&s, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return s.String()
}

// uri returns what stands between the first < and >.
func uri(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func hash(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
