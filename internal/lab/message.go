package lab

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	sipmsg "github.com/emiago/sipgo/sip"
)

// Timers of RFC 3261 section 17, table 4.
const (
	t1       = 500 * time.Millisecond
	t2       = 4 * time.Second
	timerB   = 64 * t1 // also F, H and J
	keepDone = timerB  // how long a finished transaction is remembered
)

// A hop is the way back to whoever sent a message: an address on our socket,
// or a connection.
type hop struct {
	pc   net.PacketConn // for datagrams
	to   net.Addr
	conn net.Conn // for streams
	name string   // "udp", "tcp", "tls"
}

func (h hop) send(b []byte) {
	if h.conn != nil {
		h.conn.Write(b) // an error is the connection's reader's to see
		return
	}
	h.pc.WriteTo(b, h.to)
}

func (h hop) reliable() bool { return h.conn != nil }

func (h hop) host() (string, string) {
	a := h.to
	if h.conn != nil {
		a = h.conn.RemoteAddr()
	}
	host, port, _ := net.SplitHostPort(a.String())
	return host, port
}

// readStream cuts a byte stream into SIP messages, RFC 3261 section 18.3, and
// answers the double CRLF of RFC 5626 section 3.5.1 with a single one.
func readStream(conn net.Conn, quiet func() bool, take func([]byte)) {
	r := bufio.NewReader(conn)
	var head bytes.Buffer
	blank := 0
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		if head.Len() == 0 && len(bytes.TrimSpace(line)) == 0 {
			if blank++; blank == 2 {
				blank = 0
				if !quiet() {
					conn.Write([]byte("\r\n"))
				}
			}
			continue
		}
		blank = 0
		head.Write(line)
		if len(bytes.TrimSpace(line)) > 0 {
			continue
		}
		body := make([]byte, contentLength(head.String()))
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		take(append(bytes.Clone(head.Bytes()), body...))
		head.Reset()
	}
}

func contentLength(head string) int {
	for line := range strings.Lines(head) {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-length", "l":
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return max(0, n)
		}
	}
	return 0
}

// reply makes a response: what RFC 3261 section 8.2.6 copies from the request,
// with the tag for To.
func reply(req *sipmsg.Request, h hop, code int, tag string) *sipmsg.Response {
	res := sipmsg.NewResponse(code, reason(code))
	if code > 100 && code < 300 && (req.Method == sipmsg.INVITE || req.Method == sipmsg.UPDATE) {
		sipmsg.CopyHeaders("Record-Route", req, res)
	}
	sipmsg.CopyHeaders("Via", req, res)
	sipmsg.CopyHeaders("From", req, res)
	sipmsg.CopyHeaders("To", req, res)
	sipmsg.CopyHeaders("Call-ID", req, res)
	sipmsg.CopyHeaders("CSeq", req, res)
	if v := res.Via(); v != nil && v.Params.Has("rport") { // RFC 3581 section 4
		host, port := h.host()
		v.Params.Remove("rport")
		v.Params.Add("rport", port)
		v.Params.Add("received", host)
	}
	if to := res.To(); to != nil && code > 100 && !to.Params.Has("tag") {
		to.Params.Add("tag", tag)
	}
	res.SetBody(nil)
	return res
}

func setBody(m sipmsg.Message, sdp string) {
	m.AppendHeader(sipmsg.NewHeader("Content-Type", "application/sdp"))
	m.SetBody([]byte(sdp))
}

// reason is the phrase of a status, RFC 3261 section 21.
func reason(code int) string {
	switch code {
	case 100:
		return "Trying"
	case 180:
		return "Ringing"
	case 183:
		return "Session Progress"
	case 200:
		return "OK"
	case 302:
		return "Moved Temporarily"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 407:
		return "Proxy Authentication Required"
	case 408:
		return "Request Timeout"
	case 423:
		return "Interval Too Brief"
	case 480:
		return "Temporarily Unavailable"
	case 481:
		return "Call/Transaction Does Not Exist"
	case 486:
		return "Busy Here"
	case 487:
		return "Request Terminated"
	case 488:
		return "Not Acceptable Here"
	case 489:
		return "Bad Event"
	case 500:
		return "Server Internal Error"
	case 503:
		return "Service Unavailable"
	case 603:
		return "Decline"
	}
	return "Status " + strconv.Itoa(code)
}

// randomName makes a tag, a branch or a Call-ID.
func randomName() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// authParams reads the parameters of a Digest credential, RFC 7616 section 3.4.
func authParams(header string) map[string]string {
	out := make(map[string]string)
	rest, ok := strings.CutPrefix(strings.TrimSpace(header), "Digest")
	if !ok {
		return out
	}
	for rest != "" {
		name, tail, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		name = strings.ToLower(strings.Trim(name, " ,\t"))
		tail = strings.TrimLeft(tail, " \t")
		var value string
		if quoted, isQuoted := strings.CutPrefix(tail, `"`); isQuoted {
			value, rest, _ = strings.Cut(quoted, `"`)
		} else {
			value, rest, _ = strings.Cut(tail, ",")
			value = strings.TrimSpace(value)
		}
		out[name] = value
	}
	return out
}

// digestResponse is what the credential must say, RFC 7616 section 3.4.1 with
// MD5, with and without qop.
func digestResponse(p map[string]string, user, password, method string) string {
	h := func(parts ...string) string {
		return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":"))))
	}
	ha1 := h(user, p["realm"], password)
	ha2 := h(method, p["uri"])
	if p["qop"] == "" {
		return h(ha1, p["nonce"], ha2)
	}
	return h(ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], ha2)
}
