package sip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// Numbers of our own choice.
const (
	minExpires = 10 * time.Second // a registrar that grants less would be asked all the time
	maxExpires = 24 * time.Hour   // what a registrar may make us believe

	// A refresh falls into this part of what was granted: late enough to halve
	// the load of fixed 50 %, early enough for two addresses to fail before
	// the registration ends, and spread, so that lines that began together
	// do not stay together.
	refreshFrom, refreshTo = 0.75, 0.9

	maxSteps = 6 // REGISTERs in one registration: challenge, stale nonce, 423, Contact, outbound refused
)

// A flow is one registration: RFC 5626 has a line hold several, by way of
// different proxies. It is owned by the goroutine that keeps it.
type flow struct {
	id     string // reg-id
	callID string // of its REGISTERs
	seq    uint32 // CSeq of the latest
	local  transport.Local
	silent bool // the line is registered all the while: that another address is tried is no news
}

// register takes one address through the whole of a registration: REGISTER,
// the challenge, a longer expiry where one is asked for, and the Contact as
// the far end sees it. It returns what was granted, or an [outbound.Failure].
func (l *Line) register(ctx context.Context, f *flow, via outbound.Target, pace outbound.Pace) (time.Duration, error) {
	if s := l.Status(); !f.silent && (s.State != "registered" || s.Via != via) {
		l.trying(via)
		l.tell(Registering{l, via})
	}
	began := time.Now()
	local, err := l.reach(ctx, via, l.cfg.NoAnswer)
	if err != nil {
		return 0, failureOf(sip.REGISTER, began, nil, err)
	}
	expires, tries, said := l.cfg.Expires, 0, netip.AddrPort{}
	for range maxSteps {
		contact := l.contactAddr(via, local)
		req := l.registerRequest(f, local, contact, expires, said)
		l.keys.sign(via, req)
		began = time.Now()
		res, err := l.layer.DoAt(ctx, via, req, pace)
		if err != nil {
			fail := failureOf(sip.REGISTER, began, nil, err)
			fail.Tries = unanswered(fail, via, sent(pace))
			return 0, fail
		}
		l.learn(via, local, res)
		for range unanswered(outbound.Failure{}, via, sent(outbound.Pace{T1: pace.T1, T2: pace.T2, Quiet: time.Since(began)})-1) {
			l.route.Missed(via)
		}
		switch code := res.StatusCode; {
		case code == 401 || code == 407:
			if tries++; tries > maxTries {
				return 0, failureOf(sip.REGISTER, began, res, errors.New("asks again and again for the password"))
			}
			if err := l.keys.challenged(via, req, res); err != nil {
				return 0, failureOf(sip.REGISTER, began, res, err)
			}

		case code >= 200 && code < 300:
			l.keys.accepted(via, req, res)
			l.route.Good(via, took(began, pace))
			granted := l.granted(res, expires)
			if l.contactAddr(via, local) == contact || said.IsValid() {
				l.note(via, res)
				f.local = local
				return granted, nil
			}
			said = contact // wrong: the registrar sees us elsewhere. Once more, and take this one back.

		case code == 423:
			// RFC 3261 10.2.8: the UA "MAY retry the registration after making
			// the expiration interval of all contact addresses in the REGISTER
			// request equal to or greater than the expiration interval within
			// the Min-Expires header field".
			least, ok := seconds(res.GetHeader("Min-Expires"))
			if !ok || least <= expires || least > maxExpires {
				return 0, failureOf(sip.REGISTER, began, res, nil)
			}
			expires = least

		case (code == 439 || code == 420) && !l.noOutbound(true):
			// RFC 5626 11.6, First Hop Lacks Outbound Support: without it, then.

		default:
			return 0, failureOf(sip.REGISTER, began, res, nil)
		}
	}
	return 0, failureOf(sip.REGISTER, began, nil, errors.New("no end of questions"))
}

// registerRequest builds a REGISTER, RFC 3261 section 10.2. wrong is a binding
// to take back, or the zero address.
func (l *Line) registerRequest(f *flow, local transport.Local, contact netip.AddrPort, expires time.Duration, wrong netip.AddrPort) *sip.Request {
	f.seq++
	req := sip.NewRequest(sip.REGISTER, l.domain)
	me := l.me()
	l.head(req, sip.FromHeader{DisplayName: quotable(l.cfg.DisplayName), Address: me, Params: params("tag", l.user[:16])},
		sip.ToHeader{Address: me}, f.callID, f.seq)
	c := &sip.ContactHeader{Address: l.contactURI(local, contact)}
	if expires > 0 && l.cfg.InstanceID != "" && !l.noOutbound(false) {
		c.Params = params("+sip.instance", `"<`+l.cfg.InstanceID+`>"`, "reg-id", f.id)
	}
	c.Params.Add("expires", strconv.Itoa(int(expires/time.Second)))
	req.AppendHeader(c)
	if wrong.IsValid() {
		req.AppendHeader(&sip.ContactHeader{Address: l.contactURI(local, wrong), Params: params("expires", "0")})
	}
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(expires/time.Second))))
	if l.cfg.InstanceID != "" && !l.noOutbound(false) {
		req.AppendHeader(sip.NewHeader("Supported", "path, outbound"))
	} else {
		req.AppendHeader(sip.NewHeader("Supported", "path"))
	}
	req.AppendHeader(sip.NewHeader("Allow", allow))
	return req
}

// unregister takes the binding back. What comes of it no longer matters.
func (l *Line) unregister(ctx context.Context, f *flow, via outbound.Target) {
	local, err := l.reach(ctx, via, stopTime)
	if err != nil {
		return
	}
	for range maxTries + 1 {
		req := l.registerRequest(f, local, l.contactAddr(via, local), 0, netip.AddrPort{})
		l.keys.sign(via, req)
		res, err := l.layer.Do(ctx, via, req, stopTime)
		if err != nil || l.keys.challenged(via, req, res) != nil {
			return
		}
	}
}

// granted is what the registrar allows for our Contact.
//
// RFC 3261 10.2.4: the UA "[compares] each contact address to see if it
// created the contact address [...] If so, it updates the expiration time
// interval according to the expires parameter or, if absent, the Expires field
// value."
func (l *Line) granted(res *sip.Response, asked time.Duration) time.Duration {
	d := asked
	if e, ok := seconds(res.GetHeader("Expires")); ok && e > 0 {
		d = e
	}
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.User != l.user {
			continue
		}
		if v, ok := param(c.Params, "expires"); ok {
			if n, err := strconv.Atoi(strings.Trim(v, `"`)); err == nil && n > 0 {
				d = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(d, minExpires), maxExpires)
}

// note keeps what else a 200 to REGISTER says: the Service-Route, RFC 3608.
func (l *Line) note(via outbound.Target, res *sip.Response) {
	var routes []sip.Uri
	for _, h := range res.GetHeaders("Service-Route") {
		for _, v := range splitList(h.Value()) {
			var u sip.Uri
			if _, err := sip.ParseAddressValue(v, &u, nil); err == nil && len(routes) < 8 {
				routes = append(routes, u)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.views[via]
	v.service = routes
	l.views[via] = v
}

// noOutbound reports whether the registrar has refused RFC 5626; refuse notes
// that it does, and then returns what was known before.
func (l *Line) noOutbound(refuse bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.refused5626 || l.cfg.InstanceID == ""
	l.refused5626 = l.refused5626 || refuse
	return was
}

// A view is what an address has told of us.
type view struct {
	from, as netip.AddrPort // our address there, and as it is seen: behind a NAT not the same
	service  []sip.Uri      // Service-Route of a registration, RFC 3608
}

// maxViews bounds what is remembered: two whole rings.
const maxViews = 2 * outbound.Capacity

// learn reads received and rport from our own Via in a response, RFC 3581
// section 4.
func (l *Line) learn(via outbound.Target, local transport.Local, res *sip.Response) {
	v := res.Via()
	if v == nil {
		return
	}
	as := local.Addr
	if r, ok := v.Params.Get("received"); ok {
		if ip, err := netip.ParseAddr(strings.Trim(r, "[]")); err == nil && !ip.IsUnspecified() && !ip.IsMulticast() {
			as = netip.AddrPortFrom(ip.Unmap(), as.Port())
		}
	}
	if p, ok := v.Params.Get("rport"); ok {
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n != 0 {
			as = netip.AddrPortFrom(as.Addr(), uint16(n))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.views) >= maxViews {
		clear(l.views)
	}
	known := l.views[via]
	known.from, known.as = local.Addr, as
	l.views[via] = known
}

// contactAddr is the address in our Contact: as via sees it, where that is
// known.
func (l *Line) contactAddr(via outbound.Target, local transport.Local) netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.views[via]; v.from == local.Addr {
		return v.as
	}
	return local.Addr
}

// contact is our Contact in requests and responses that go by way of via.
func (l *Line) contact(via outbound.Target, local transport.Local) *sip.ContactHeader {
	return &sip.ContactHeader{Address: l.contactURI(local, l.contactAddr(via, local))}
}

func (l *Line) contactURI(local transport.Local, addr netip.AddrPort) sip.Uri {
	u := sip.Uri{Scheme: "sip", User: l.user, Host: addr.Addr().String(), Port: int(addr.Port())}
	if local.Transport != "UDP" {
		u.UriParams = params("transport", strings.ToLower(local.Transport))
	}
	return u
}

// took is how long an answer took; 0 where it is not known which of several
// datagrams it answers (Karn's rule, RFC 6298 section 3).
func took(began time.Time, p outbound.Pace) time.Duration {
	rtt, again := time.Since(began), p.T1
	if again == 0 {
		again = t1
	}
	if rtt >= again {
		return 0
	}
	return rtt
}

// unanswered is how many questions in vain there were, where their number says
// something. Over a connection nothing is lost: there one says it all.
func unanswered(f outbound.Failure, via outbound.Target, n int) int {
	if f.Cause != outbound.NoAnswer || via.Transport != outbound.UDP {
		return 0
	}
	return n
}

// sent is how many datagrams a pace makes of a request that nobody answers.
func sent(p outbound.Pace) int {
	n := 1
	for at, wait := p.T1, p.T1; at > 0 && at < min(p.Quiet, timerB); at += wait {
		n++
		wait = max(min(2*wait, p.T2), p.T1)
	}
	return n
}

// failureOf says what a request met: a response that is none of the good ones,
// or an error of the transport or transaction.
func failureOf(method sip.RequestMethod, began time.Time, res *sip.Response, err error) outbound.Failure {
	f := outbound.Failure{Method: string(method), Began: began, Err: err}
	if res != nil {
		f.Cause, f.Code = outbound.Status, res.StatusCode
		if after, ok := seconds(res.GetHeader("Retry-After")); ok {
			f.RetryAfter = min(after, time.Hour)
		}
		text := fmt.Sprintf("%d %s", res.StatusCode, reason(res))
		if err != nil {
			text += ": " + err.Error()
		}
		f.Err = errors.New(text)
		return f
	}
	if errors.As(err, &f) {
		return f
	}
	f.Cause, f.Err = causeOf(err)
	return f
}

// asFailure is the Failure in an error.
func asFailure(err error) outbound.Failure {
	var f outbound.Failure
	if !errors.As(err, &f) {
		f.Cause, f.Err = causeOf(err)
	}
	return f
}

// me is the address of record.
func (l *Line) me() sip.Uri {
	u := l.domain
	u.User = l.cfg.User
	return u
}

// head writes what every request outside a dialog begins with.
func (l *Line) head(req *sip.Request, from sip.FromHeader, to sip.ToHeader, callID string, seq uint32) {
	hops := sip.MaxForwardsHeader(70)
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&hops)
	req.AppendHeader(&from)
	req.AppendHeader(&to)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: req.Method})
	if l.cfg.UserAgent != "" {
		req.AppendHeader(sip.NewHeader("User-Agent", l.cfg.UserAgent))
	}
	req.SetBody(nil)
}
