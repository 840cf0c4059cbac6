// Package digest answers the question "who are you?" as SIP asks it: strict in
// what it writes, lenient in what it reads.
//
// Its one idea: a [Session] remembers what one server asked last, so that the
// next request carries its credentials from the start and is not sent twice.
// It follows RFC 7616 (and RFC 2617, RFC 2069 for servers that stayed there)
// with the choice among several challenges of RFC 8760.
package digest

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Algorithm is how the hash is made, RFC 7616 section 3.3. Greater is
// stronger. The zero Algorithm is MD5, which is also what a challenge without
// an algorithm means.
type Algorithm uint8

// The algorithms spoken here.
const (
	MD5 Algorithm = iota
	MD5Sess
	SHA256
	SHA256Sess
)

var algorithmName = [...]string{MD5: "MD5", MD5Sess: "MD5-sess", SHA256: "SHA-256", SHA256Sess: "SHA-256-sess"}

func (a Algorithm) String() string { return algorithmName[a] }

// hash is H() of RFC 7616 section 3.3: lower-case hex.
func (a Algorithm) hash(parts ...string) string {
	data := strings.Join(parts, ":")
	if a >= SHA256 {
		sum := sha256.Sum256([]byte(data))
		return hex.EncodeToString(sum[:])
	}
	sum := md5.Sum([]byte(data))
	return hex.EncodeToString(sum[:])
}

// family compares strength without regard to -sess.
func (a Algorithm) family() Algorithm { return a &^ 1 }

// A Challenge is one WWW-Authenticate or Proxy-Authenticate value.
type Challenge struct {
	Realm     string
	Nonce     string
	Opaque    string
	HasOpaque bool // opaque="" is echoed too
	Algorithm Algorithm
	Stale     bool // the answer was right, only the nonce was old
	QopAuth   bool // qop is present and auth is among its values; false means RFC 2069
}

// Reasons for not answering.
var (
	ErrUnsupported = errors.New("no challenge that can be answered (MD5 or SHA-256 with qop auth is needed)")
	ErrWeaker      = errors.New("a weaker hash is asked for than before, which is not answered")
	ErrRefused     = errors.New("user or password refused")
)

// Credentials are what a person was given by the provider.
type Credentials struct {
	User     string
	Password string
}

// A Session is the conversation about credentials with one server: its latest
// nonce and how often it was used. The zero Session has not been asked
// anything. A Session is not safe for concurrent use.
type Session struct {
	asked    bool
	with     Challenge
	count    uint32 // of uses of the nonce, nc
	taken    bool   // the server took an answer since it last asked
	cnonce   string // RFC 7616 section 3.4.2: -sess hashes use the first cnonce of the session
	strength Algorithm
	proven   bool // an answer of this strength was accepted
	newNonce func() string
}

// Asked reports whether the server has asked before, so that Answer works.
func (s *Session) Asked() bool { return s.asked }

// Realm is what the server last called itself.
func (s *Session) Realm() string { return s.with.Realm }

// Challenge takes the values of all WWW-Authenticate (or all
// Proxy-Authenticate) header fields of one response and remembers the
// strongest that can be answered. tried says that the request carried an
// answer already: then only a stale nonce or a new one is worth another try,
// which RFC 7616 section 3.3 tells by stale=true; otherwise ErrRefused.
func (s *Session) Challenge(values []string, tried bool) error {
	best, err := Strongest(values)
	if err != nil {
		return err
	}
	if s.proven && best.Algorithm.family() < s.strength.family() {
		return ErrWeaker
	}
	if tried && !best.Stale && s.asked && best.Realm == s.with.Realm && s.count == 1 && !s.taken {
		// The very first use of the nonce it gave us was refused: the password is wrong.
		s.asked = false // and not shown again unasked
		return ErrRefused
	}
	s.asked, s.with, s.count, s.taken = true, best, 0, false
	if s.newNonce == nil {
		s.newNonce = rand.Text
	}
	s.cnonce = s.newNonce()
	return nil
}

// Accepted tells that the server took the last answer. info is the value of
// its Authentication-Info header field, or empty; a nextnonce in it saves the
// next round trip (RFC 7616 section 3.5).
func (s *Session) Accepted(info string) {
	if !s.asked {
		return
	}
	s.taken = true
	if !s.proven || s.with.Algorithm > s.strength {
		s.strength, s.proven = s.with.Algorithm, true
	}
	if info == "" {
		return
	}
	for _, p := range scanParams(info) {
		if p.key == "nextnonce" && p.value != "" && clean(p.value) {
			s.with.Nonce, s.count = p.value, 0
			s.cnonce = s.newNonce()
		}
	}
}

// Answer returns the value of the Authorization (or Proxy-Authorization)
// header field for one request and counts the use of the nonce. uri is the
// Request-URI exactly as it stands in the request line. Before a challenge it
// returns "".
func (s *Session) Answer(c Credentials, method, uri string) string {
	if !s.asked {
		return ""
	}
	s.count++
	return answer(c, s.with, method, uri, s.count, s.cnonce)
}

// answer computes RFC 7616 section 3.4.1; without qop it is RFC 2069's.
func answer(c Credentials, ch Challenge, method, uri string, count uint32, cnonce string) string {
	h := ch.Algorithm
	ha1 := h.hash(c.User, ch.Realm, c.Password)
	if h == MD5Sess || h == SHA256Sess {
		ha1 = h.hash(ha1, ch.Nonce, cnonce)
	}
	ha2 := h.hash(method, uri)
	nc := fmt.Sprintf("%08x", count)
	var response string
	if ch.QopAuth {
		response = h.hash(ha1, ch.Nonce, nc, cnonce, "auth", ha2)
	} else {
		response = h.hash(ha1, ch.Nonce, ha2)
	}

	var b strings.Builder
	b.WriteString("Digest username=" + quote(c.User))
	b.WriteString(", realm=" + quote(ch.Realm))
	b.WriteString(", nonce=" + quote(ch.Nonce))
	b.WriteString(", uri=" + quote(uri))
	b.WriteString(`, response="` + response + `"`)
	b.WriteString(", algorithm=" + h.String())
	if ch.QopAuth || h == MD5Sess || h == SHA256Sess {
		b.WriteString(", cnonce=" + quote(cnonce))
	}
	if ch.HasOpaque {
		b.WriteString(", opaque=" + quote(ch.Opaque))
	}
	if ch.QopAuth {
		b.WriteString(", qop=auth, nc=" + nc) // unquoted, RFC 7616 section 3.4
	}
	return b.String()
}

// Strongest reads the values of all challenge header fields of one response
// and returns the one to answer: the strongest hash we speak, and the first
// among equals, as RFC 8760 section 2.4 asks. A value may hold several
// challenges.
func Strongest(values []string) (Challenge, error) {
	best, found := Challenge{}, false
	for _, v := range values {
		for _, ch := range Parse(v) {
			if !found || ch.Algorithm.family() > best.Algorithm.family() {
				best, found = ch, true
			}
		}
	}
	if !found {
		return best, ErrUnsupported
	}
	return best, nil
}
