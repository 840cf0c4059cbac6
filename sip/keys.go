package sip

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/digest"
)

// maxTries is how often one request is answered with credentials: once, and
// once more for a nonce that was stale.
const maxTries = 2

// maxAsked bounds how many nonces are kept: sixteen addresses ask for a
// registration and for calls.
const maxAsked = 48

// Reasons for keeping the password to ourselves.
var (
	errNotAsked     = errors.New("not a challenge")
	errOtherSource  = errors.New("the challenge came from another address than the request went to")
	errForeignRealm = errors.New("the challenge is of a realm that this account is not in")
)

// keys are a line's credentials and who has asked for them. An answer goes
// only to the address that asked, for the request it asked about. A realm is
// ours when a registrar of that name took our registration or when it is the
// account's domain; anybody else who asks, be it through our own proxy, is
// after the hash of the password.
type keys struct {
	who    digest.Credentials
	domain string

	mu     sync.Mutex
	realms []string // of registrars that took us
	asked  map[asker]*digest.Session
}

// An asker is who wants to know, and about what.
type asker struct {
	dest     string
	realm    string
	proxy    bool // 407 and Proxy-Authorization
	register bool // the registrar's nonce is no use to who handles calls
}

func newKeys(who digest.Credentials, domain string) *keys {
	return &keys{who: who, domain: domain, asked: map[asker]*digest.Session{}}
}

// sign adds the credentials that via will ask for, as far as it has asked
// before.
func (k *keys) sign(via outbound.Target, req *sip.Request) {
	if req.Method == sip.ACK || req.Method == sip.CANCEL {
		return // RFC 3261 section 22.1: neither can be challenged
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for a, s := range k.asked {
		if s.Asked() && a.dest == via.Dest && a.register == (req.Method == sip.REGISTER) {
			req.AppendHeader(sip.NewHeader(field(a.proxy), s.Answer(k.who, string(req.Method), req.Recipient.String())))
		}
	}
}

// challenged takes a 401 or 407 to a request that went to via. nil says that
// the request may be sent again, signed.
func (k *keys) challenged(via outbound.Target, req *sip.Request, res *sip.Response) error {
	var name string
	switch res.StatusCode {
	case 401:
		name = "WWW-Authenticate"
	case 407:
		name = "Proxy-Authenticate"
	default:
		return errNotAsked
	}
	if from, err := netip.ParseAddrPort(res.Source()); err == nil &&
		(from.Port() != via.Addr.Port() || from.Addr().Unmap().WithZone("") != via.Addr.Addr().Unmap().WithZone("")) {
		return errOtherSource
	}
	var values []string
	for _, h := range res.GetHeaders(name) {
		values = append(values, h.Value())
	}
	best, err := digest.Strongest(values)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	a := asker{via.Dest, best.Realm, res.StatusCode == 407, req.Method == sip.REGISTER}
	if !a.register && !k.ours(best.Realm) {
		return errForeignRealm
	}
	if len(k.asked) >= maxAsked {
		clear(k.asked)
	}
	s := k.asked[a]
	if s == nil {
		s = new(digest.Session)
	}
	if err := s.Challenge(values, signed(req, a)); err != nil {
		return err
	}
	// One answer for each header field and kind of request: a server that
	// has changed its realm does not get both.
	for b := range k.asked {
		if b != a && b.dest == a.dest && b.proxy == a.proxy && b.register == a.register {
			delete(k.asked, b)
		}
	}
	k.asked[a] = s
	return nil
}

// ours: see keys. Before any registrar has asked for a password there is no
// realm to compare with, and the first proxy to ask a call is taken at its word.
func (k *keys) ours(realm string) bool {
	return len(k.realms) == 0 || slices.Contains(k.realms, realm) || strings.EqualFold(realm, k.domain)
}

// accepted tells that via answered a request with something else than a
// challenge.
func (k *keys) accepted(via outbound.Target, req *sip.Request, res *sip.Response) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for a, s := range k.asked {
		if a.dest != via.Dest || a.register != (req.Method == sip.REGISTER) || !signed(req, a) {
			continue
		}
		info := "Authentication-Info"
		if a.proxy {
			info = "Proxy-Authentication-Info"
		}
		value := ""
		if h := res.GetHeader(info); h != nil {
			value = h.Value()
		}
		s.Accepted(value)
		if a.register && res.IsSuccess() && !slices.Contains(k.realms, a.realm) && len(k.realms) < maxAsked {
			k.realms = append(k.realms, a.realm)
		}
	}
}

// signed reports whether a request carries an answer for this asker.
func signed(req *sip.Request, a asker) bool {
	return req.GetHeader(field(a.proxy)) != nil
}

func field(proxy bool) string {
	if proxy {
		return "Proxy-Authorization"
	}
	return "Authorization"
}
