package txn

import (
	"slices"

	"github.com/emiago/sipgo/sip"
)

// tag returns the tag of a From or To header, "" where there is none.
func tag(h sip.Header) string {
	var params sip.HeaderParams
	switch h := h.(type) {
	case *sip.FromHeader:
		if h != nil {
			params = h.Params
		}
	case *sip.ToHeader:
		if h != nil {
			params = h.Params
		}
	}
	t, _ := params.Get("tag")
	return t
}

// follow starts a request that follows an INVITE to where it went: the same
// Request-URI, Via, Route, From, Call-ID and CSeq number.
func follow(invite *sip.Request, method sip.RequestMethod, to *sip.ToHeader) *sip.Request {
	req := sip.NewRequest(method, *invite.Recipient.Clone())
	req.AppendHeader(invite.Via().Clone())
	sip.CopyHeaders("route", invite, req)
	finish(req, invite, to, invite.CSeq().SeqNo)
	return req
}

// finish adds the headers that every request of ours in a call has.
func finish(req, invite *sip.Request, to *sip.ToHeader, seq uint32) {
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(sip.HeaderClone(invite.From()))
	req.AppendHeader(sip.HeaderClone(to))
	req.AppendHeader(sip.HeaderClone(invite.CallID()))
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: req.Method})
	req.SetBody(nil)
	req.SetTransport(invite.Transport())
}

// cancelOf builds the CANCEL of an INVITE. RFC 3261 section 9.1: "The
// Request-URI, Call-ID, To, the numeric part of CSeq, and From header fields
// in the CANCEL request MUST be identical to those in the request being
// cancelled, including tags. A CANCEL constructed by a client MUST have only a
// single Via header field value matching the top Via value in the request
// being cancelled. [...] If the request being cancelled contains a Route
// header field, the CANCEL request MUST include that Route header field's
// values."
func cancelOf(invite *sip.Request) *sip.Request { return follow(invite, sip.CANCEL, invite.To()) }

// refusalAck builds the ACK of a final response other than 2xx. RFC 3261
// section 17.1.1.3: "The To header field in the ACK MUST equal the To header
// field in the response being acknowledged [...] The ACK MUST contain a single
// Via header field, and this MUST be equal to the top Via header field of the
// original request."
func refusalAck(invite *sip.Request, res *sip.Response) *sip.Request {
	return follow(invite, sip.ACK, res.To())
}

// inDialog builds a request in the dialog that a 2xx has made: to its Contact,
// by its Record-Route backwards (RFC 3261 section 12.1.2). It has no Via.
func inDialog(invite *sip.Request, res *sip.Response, method sip.RequestMethod, seq uint32) *sip.Request {
	target := invite.Recipient
	if contact := res.Contact(); contact != nil {
		target = contact.Address
	}
	req := sip.NewRequest(method, *target.Clone())
	routes := res.GetHeaders("record-route")
	slices.Reverse(routes)
	for _, h := range routes {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			req.AppendHeader(&sip.RouteHeader{Address: *rr.Address.Clone()})
		}
	}
	finish(req, invite, res.To(), seq)
	return req
}

// successAck builds the ACK of a 2xx. RFC 3261 section 13.2.2.4: "The ACK MUST
// contain the same credentials as the INVITE."
func successAck(invite *sip.Request, res *sip.Response) *sip.Request {
	ack := inDialog(invite, res, sip.ACK, invite.CSeq().SeqNo)
	sip.CopyHeaders("authorization", invite, ack)
	sip.CopyHeaders("proxy-authorization", invite, ack)
	return ack
}
