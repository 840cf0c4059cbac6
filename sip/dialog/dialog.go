// Package dialog keeps what two ends of a call have said to each other so far:
// tags, sequence numbers, the route and the latest address of the far end.
//
// Its one idea: a [Dialog] is a value that builds the next request and judges
// the next one that comes in; it sends nothing, waits for nothing and knows no
// transactions. The rules are RFC 3261 section 12's.
package dialog

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// An ID names a dialog, RFC 3261 section 12: Call-ID and both tags.
type ID struct{ CallID, LocalTag, RemoteTag string }

// A Dialog is one conversation, early or confirmed. It is owned by the call it
// belongs to and not safe for concurrent use.
type Dialog struct {
	ID
	Local, Remote Party     // who we and they are, without tags
	LocalSeq      uint32    // of our latest request
	RemoteSeq     uint32    // of their latest request; 0 is none yet
	Routes        []sip.Uri // route set, nearest first
	Target        sip.Uri   // their Contact: the remote target
	Early         bool      // no 2xx yet
}

// A Party is one end's name and address, as in From and To.
type Party struct {
	Name string // display name as it stood between the quotes
	URI  sip.Uri
}

// Reasons why a message makes no dialog, or a request does not fit one.
var (
	ErrNoContact = errors.New("no usable Contact") // RFC 3261 section 12.1: a dialog needs one
	ErrNoTag     = errors.New("no To tag")
	ErrOldCSeq   = errors.New("CSeq is not higher than before") // answered with 500, section 12.2.2
)

// maxRoutes bounds what a hostile Record-Route can make us keep and repeat.
const maxRoutes = 16

// Tag returns a new random tag, 130 bits (RFC 3261 section 19.3 asks for 32).
func Tag() string { return rand.Text() }

// FirstCSeq is where our sequence numbers begin.
//
// RFC 3261 section 8.1.1.5: "The sequence number value MUST be expressible as
// a 32-bit unsigned integer and MUST be less than 2**31."
const FirstCSeq = 1

// FromResponse makes the dialog that a 1xx or 2xx to our request creates.
// RFC 3261 section 12.1.2.
func FromResponse(req *sip.Request, res *sip.Response) (*Dialog, error) {
	to, from, id, seq := res.To(), req.From(), req.CallID(), req.CSeq()
	if to == nil || from == nil || id == nil || seq == nil {
		return nil, ErrNoTag
	}
	remoteTag, _ := to.Params.Get("tag")
	if remoteTag == "" {
		return nil, ErrNoTag
	}
	localTag, _ := from.Params.Get("tag")
	target, ok := Contact(res)
	if !ok {
		return nil, ErrNoContact
	}
	d := &Dialog{
		ID:       ID{id.Value(), localTag, remoteTag},
		Local:    Party{from.DisplayName, from.Address},
		Remote:   Party{to.DisplayName, to.Address},
		LocalSeq: seq.SeqNo,
		Routes:   recorded(res),
		Target:   target,
		Early:    res.StatusCode < 200,
	}
	// "The route set MUST be set to the list of URIs in the Record-Route header
	// field from the response, taken in reverse order".
	slices.Reverse(d.Routes)
	return d, nil
}

// FromRequest makes the dialog that our answer with the given tag to their
// request creates. RFC 3261 section 12.1.1.
func FromRequest(req *sip.Request, tag string) (*Dialog, error) {
	to, from, id, seq := req.To(), req.From(), req.CallID(), req.CSeq()
	if to == nil || from == nil || id == nil || seq == nil {
		return nil, ErrNoTag
	}
	remoteTag, _ := from.Params.Get("tag") // may be missing: RFC 2543, section 12.1.1
	target, ok := Contact(req)
	if !ok {
		return nil, ErrNoContact
	}
	return &Dialog{
		ID:        ID{id.Value(), tag, remoteTag},
		Local:     Party{to.DisplayName, to.Address},
		Remote:    Party{from.DisplayName, from.Address},
		LocalSeq:  FirstCSeq - 1,
		RemoteSeq: seq.SeqNo,
		Routes:    recorded(req), // "taken in order and preserving all URI parameters"
		Target:    target,
		Early:     true,
	}, nil
}

// Confirm turns an early dialog into a confirmed one by its 2xx.
//
// RFC 3261 section 13.2.2.4: "If the dialog identifier in the 2xx response
// matches the dialog identifier of an existing dialog, the dialog MUST be
// transitioned to the "confirmed" state, and the route set for the dialog MUST
// be recomputed based on the 2xx response".
func (d *Dialog) Confirm(req *sip.Request, res *sip.Response) error {
	fresh, err := FromResponse(req, res)
	if err != nil {
		return err
	}
	d.Routes, d.Target, d.Early = fresh.Routes, fresh.Target, false
	return nil
}

// Request builds our next request in this dialog: everything but Via, Contact,
// credentials and what the method itself needs. RFC 3261 section 12.2.1.1. An
// ACK or CANCEL is not built here.
func (d *Dialog) Request(method sip.RequestMethod) *sip.Request {
	d.LocalSeq++
	return d.build(method, d.LocalSeq)
}

// Ack builds the ACK for the 2xx of our INVITE that had this sequence number.
//
// RFC 3261 section 13.2.2.4: "The sequence number of the CSeq header field
// MUST be the same as the INVITE being acknowledged, but the CSeq method MUST
// be ACK." Other requests may have passed in between.
func (d *Dialog) Ack(invite uint32) *sip.Request {
	return d.build(sip.ACK, invite)
}

func (d *Dialog) build(method sip.RequestMethod, seq uint32) *sip.Request {
	uri, routes := d.Target, d.Routes
	if len(routes) > 0 && !routes[0].UriParams.Has("lr") {
		// "If the route set is not empty, and its first URI does not contain
		// the lr parameter, the UAC MUST place the first URI from the route set
		// into the Request-URI [...] The UAC MUST then place the remote target
		// URI into the Route header field as the last value."
		uri, routes = routes[0], append(slices.Clone(routes[1:]), uri)
		uri.Headers = nil
	}
	req := sip.NewRequest(method, *uri.Clone())
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	hops := sip.MaxForwardsHeader(70) // RFC 3261 section 8.1.1.6
	req.AppendHeader(&hops)
	from := &sip.FromHeader{DisplayName: d.Local.Name, Address: *d.Local.URI.Clone(), Params: tagged(d.LocalTag)}
	to := &sip.ToHeader{DisplayName: d.Remote.Name, Address: *d.Remote.URI.Clone(), Params: tagged(d.RemoteTag)}
	req.AppendHeader(from)
	req.AppendHeader(to)
	id := sip.CallIDHeader(d.CallID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

// Accept judges a request that came in this dialog (not an ACK or CANCEL,
// which carry the number of their INVITE) and notes its sequence number.
//
// RFC 3261 section 12.2.2: "If the remote sequence number was not empty, but
// the sequence number of the request is lower than the remote sequence number,
// the request is out of order and MUST be rejected with a 500".
func (d *Dialog) Accept(req *sip.Request) error {
	seq := req.CSeq()
	if seq == nil || d.RemoteSeq != 0 && seq.SeqNo <= d.RemoteSeq {
		return ErrOldCSeq
	}
	d.RemoteSeq = seq.SeqNo
	return nil
}

// Refresh takes the Contact of a target refresh request (re-INVITE, UPDATE) or
// of a 2xx to ours as the new remote target, when it has a usable one.
func (d *Dialog) Refresh(msg sip.Message) {
	if target, ok := Contact(msg); ok {
		d.Target = target
	}
}

// Detour forgets the nearest routes that name an address which no longer
// answers, so that the next request can pass by another proxy: RFC 3261
// section 12.2.1.2 has no better advice than to end the dialog, which is what
// the BYE sent this way is for.
func (d *Dialog) Detour(dead netip.AddrPort) {
	for len(d.Routes) > 0 && names(d.Routes[0], dead) {
		d.Routes = d.Routes[1:]
	}
}

// names reports whether a URI holds just this address, with its port or with
// the default one.
func names(u sip.Uri, addr netip.AddrPort) bool {
	ip, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	if err != nil || ip.Unmap() != addr.Addr().Unmap() {
		return false
	}
	return u.Port == int(addr.Port()) || u.Port == 0
}

// Of returns the ID of the dialog that a request which came in belongs to; ok
// is false when it is outside of any.
func Of(req *sip.Request) (id ID, ok bool) {
	to, from, call := req.To(), req.From(), req.CallID()
	if to == nil || from == nil || call == nil {
		return ID{}, false
	}
	local, _ := to.Params.Get("tag")
	remote, _ := from.Params.Get("tag")
	return ID{call.Value(), local, remote}, local != ""
}

// Contact returns the address of a single Contact header field, which is what
// a dialog needs. It must be SIP, be a plain address, and have nothing in it
// that would not survive being a Request-URI.
func Contact(msg sip.Message) (sip.Uri, bool) {
	hs := msg.GetHeaders("Contact")
	if len(hs) == 0 {
		return sip.Uri{}, false
	}
	h, ok := hs[0].(*sip.ContactHeader)
	if !ok || h.Address.Wildcard || h.Address.Host == "" ||
		h.Address.Scheme != "sip" && h.Address.Scheme != "sips" {
		return sip.Uri{}, false
	}
	u := *h.Address.Clone()
	u.Headers = nil // not allowed in a Request-URI, RFC 3261 section 19.1.1
	u.UriParams.Remove("method")
	if s := u.String(); strings.ContainsAny(s, " \t\r\n<>\"") {
		return sip.Uri{}, false
	}
	return u, true
}

// recorded lists the Record-Route values of a message, in order.
func recorded(msg sip.Message) []sip.Uri {
	var out []sip.Uri
	for _, h := range msg.GetHeaders("Record-Route") {
		rr, ok := h.(*sip.RecordRouteHeader)
		if !ok || len(out) == maxRoutes {
			break
		}
		out = append(out, rr.Address)
	}
	return out
}

func tagged(tag string) sip.HeaderParams {
	p := sip.NewParams()
	if tag != "" {
		p.Add("tag", tag)
	}
	return p
}
