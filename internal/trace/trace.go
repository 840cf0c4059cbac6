// Package trace keeps the last SIP messages, so that what went wrong at three
// in the morning can be read at nine.
//
// Its one idea: what is kept was cleaned before it was kept. A message enters a
// Ring without what would prove a password, and the ring's size is fixed, so it
// may stay on for years and be shown to anybody who may ask the agent.
package trace

import (
	"strings"
	"sync"
	"time"
)

// A Message is one SIP message as it went over the wire, or what the network
// said instead of one.
type Message struct {
	At        time.Time `json:"at"`
	Line      string    `json:"line"`
	Sent      bool      `json:"sent"`      // by us; with Fault: it was not to be sent
	Transport string    `json:"transport"` // "udp", "tcp", "tls"
	Local     string    `json:"local"`     // our address and port; the address may be unspecified
	Remote    string    `json:"remote"`
	Text      string    `json:"text"`            // secrets are xxx; empty with Fault
	Cut       int       `json:"cut,omitempty"`   // bytes left out at its end
	Fault     string    `json:"fault,omitempty"` // an error of the network: "unreachable: ..."

	quiet    bool // a keep-alive
	answered bool // one that was answered, or its answer
}

// First is the message's first line, or its fault.
func (m *Message) First() string {
	if m.Fault != "" {
		return m.Fault
	}
	first, _, _ := strings.Cut(m.Text, "\r\n")
	return first
}

// Header returns the value of the first header of a name, "" for none. Names
// are as in the message; short forms are not looked for.
func (m *Message) Header(name string) string {
	head, _, _ := strings.Cut(m.Text, "\r\n\r\n")
	for l := range strings.SplitSeq(head, "\r\n") {
		if n, v, ok := strings.Cut(l, ":"); ok && strings.EqualFold(strings.TrimSpace(n), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Our own choice. A registration's messages have 500 to 900 bytes, an INVITE's
// up to 1500.
const (
	maxText = 4 << 10   // of one message; what is longer is cut
	maxAll  = 128 << 10 // of all; then the oldest go, however few they are

	// What comes every few seconds must not push out what happened: this many
	// of the messages kept may be keep-alives, and of those the ones that were
	// answered go first.
	idle = 16
)

// A Ring keeps the latest messages, 128 KiB of them at most. The zero Ring keeps
// none until it is told how many. Its methods may be called from any goroutine.
type Ring struct {
	mu    sync.Mutex
	most  int
	all   []Message // oldest first
	bytes int       // of their texts
}

// Add keeps a message. It does not keep text, which may change afterwards.
func (r *Ring) Add(m Message, text []byte) {
	if len(text) > maxText {
		m.Cut = len(text) - maxText
		text = text[:maxText]
	}
	m.Text = Redact(string(text))

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most == 0 {
		return
	}
	if m.quiet = keepAlive(&m); m.quiet {
		r.makeRoom(&m)
	}
	r.all = append(r.all, m)
	r.bytes += len(m.Text)
	r.fit()
}

// Keep changes how many messages are kept.
func (r *Ring) Keep(messages int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.most = messages
	r.fit()
}

func (r *Ring) fit() {
	for len(r.all) > r.most || r.bytes > maxAll && len(r.all) > 1 {
		r.remove(0)
	}
}

// makeRoom lets a keep-alive go if there are too many for another.
func (r *Ring) makeRoom(m *Message) {
	answer := strings.HasPrefix(m.Text, "SIP/")
	m.answered = answer
	n, oldest := 0, -1
	for i := range r.all {
		o := &r.all[i]
		if !o.quiet {
			continue
		}
		if answer && o.Header("Call-ID") == m.Header("Call-ID") {
			o.answered = true
		}
		n++
		if oldest < 0 || o.answered && !r.all[oldest].answered {
			oldest = i
		}
	}
	if n >= min(idle, r.most) {
		r.remove(oldest)
	}
}

func (r *Ring) remove(i int) {
	r.bytes -= len(r.all[i].Text)
	copy(r.all[i:], r.all[i+1:])
	r.all[len(r.all)-1] = Message{}
	r.all = r.all[:len(r.all)-1]
}

// keepAlive reports whether a message is one: OPTIONS, or its answer.
func keepAlive(m *Message) bool {
	return m.Fault == "" && strings.HasSuffix(m.Header("CSeq"), " OPTIONS")
}

// Messages returns what is kept, oldest first.
func (r *Ring) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Message(nil), r.all...)
}

// Redact returns a message with an x for each letter of what would prove a
// password or open a call's sound: the response of digest credentials (RFC 7616
// section 3.4), all of any other scheme's, and the keys of SDP (RFC 4568). Its
// length stays what it was, so that Content-Length does too.
func Redact(text string) string {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	credentials := strings.Contains(lower(head), "authorization")
	if !credentials && !strings.Contains(body, "inline:") && !strings.Contains(body, "k=") {
		return text
	}
	b := []byte(text)
	at, inside := 0, false // a header may go on in the next line, RFC 3261 section 7.3.1
	for l := range strings.SplitAfterSeq(text, "\n") {
		line := strings.TrimRight(l, "\r\n")
		name, _, named := strings.Cut(line, ":")
		switch {
		case at > len(head): // the body
			hideKeys(b[at:at+len(line)], line)
		case named && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t"):
			name = strings.ToLower(strings.TrimSpace(name))
			inside = name == "authorization" || name == "proxy-authorization"
			if inside {
				hideCredentials(b[at:at+len(line)], line, len(line)-len(strings.TrimLeft(line[strings.IndexByte(line, ':')+1:], " \t")))
			}
		case inside:
			hideParameter(b[at:at+len(line)], line, 0)
		}
		at += len(l)
	}
	return string(b)
}

// hideCredentials hides the value of an Authorization header that begins at an
// offset of its line.
func hideCredentials(b []byte, line string, from int) {
	scheme, _, _ := strings.Cut(line[from:], " ")
	if strings.EqualFold(scheme, "Digest") {
		hideParameter(b, line, from)
		return
	}
	cross(b[min(from+len(scheme), len(b)):])
}

// hideParameter hides the response of digest credentials.
func hideParameter(b []byte, line string, from int) {
	low := lower(line)
	for from < len(low) {
		i := strings.Index(low[from:], "response")
		if i < 0 {
			return
		}
		from += i + len("response")
		value := strings.TrimLeft(low[from:], " \t")
		if !strings.HasPrefix(value, "=") {
			continue
		}
		start := len(low) - len(value) + 1
		end := len(low)
		if n := strings.IndexByte(low[start:], ','); n >= 0 {
			end = start + n
		}
		cross(b[start:end])
		from = end
	}
}

// hideKeys hides the keys in a line of SDP: a=crypto:1 SUITE inline:KEY and
// k=base64:KEY.
func hideKeys(b []byte, line string) {
	if strings.HasPrefix(line, "k=") {
		cross(b[2:])
	}
	if _, keys, ok := strings.Cut(line, "inline:"); ok {
		cross(b[len(line)-len(keys):])
	}
}

// lower makes small letters of the capitals of ASCII; strings.ToLower may change
// the length of what is no text.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// cross overwrites letters and digits.
func cross(b []byte) {
	for i, c := range b {
		if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '=' {
			b[i] = 'x'
		}
	}
}
