package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// A client is a request other than INVITE that waits for its response.
type client struct {
	to    outbound.Target
	in    chan *sip.Response   // from the reader
	fault chan transport.Fault // what the network says about to
}

func clientKey(branch string, method sip.RequestMethod) string {
	return branch + sip.TxSeperator + string(method)
}

// Do sends a request that is not an INVITE and returns the final response to
// it. quiet is how long to wait for any response at all, the opening of a
// connection included; 0 means 32 s (RFC 3261 timer F), which also bounds the
// whole.
//
// The request belongs to the layer from here on. It gets a Via with our
// address, and a Max-Forwards and Content-Length if it has none; a Via that is
// there is taken out, so that a request may be sent again as it is when this
// has returned.
//
// Errors: ErrNoAnswer; a transport.Fault, at once, when the network says that
// the address is dead or the connection is lost; transport.ErrInjection; the
// context's.
func (l *Layer) Do(ctx context.Context, to outbound.Target, req *sip.Request, quiet time.Duration) (*sip.Response, error) {
	return l.DoAt(ctx, to, req, outbound.Pace{Quiet: quiet})
}

// DoAt is Do at a pace other than RFC 3261's: what is 0 in it is as there. With
// a T1 no shorter than Quiet a single datagram is sent.
func (l *Layer) DoAt(ctx context.Context, to outbound.Target, req *sip.Request, pace outbound.Pace) (*sip.Response, error) {
	if req.Method == sip.INVITE || req.Method == sip.ACK {
		return nil, fmt.Errorf("txn: %s is not sent by Do", req.Method)
	}
	pace = settled(pace)
	start := time.Now()
	err := l.prepare(ctx, to, req, pace.Quiet)
	var res *sip.Response
	if err == nil {
		pace.Quiet -= time.Since(start)
		res, err = l.exchange(ctx, to, req, pace)
	}
	return res, l.orClosed(err)
}

// settled fills in what a pace leaves open.
func settled(p outbound.Pace) outbound.Pace {
	if p.Quiet <= 0 || p.Quiet > patience {
		p.Quiet = patience
	}
	if p.T1 <= 0 {
		p.T1 = t1
	}
	if p.T2 <= 0 {
		p.T2 = max(t2, p.T1)
	}
	return p
}

// orClosed says that the layer was closed where that is why something failed.
func (l *Layer) orClosed(err error) error {
	if err != nil && l.ctx.Err() != nil {
		return ErrClosed
	}
	return err
}

// exchange sends a request that has its Via and waits for the final response:
// RFC 3261 section 17.1.2.
func (l *Layer) exchange(ctx context.Context, to outbound.Target, req *sip.Request, pace outbound.Pace) (*sip.Response, error) {
	branch, _ := req.Via().Params.Get("branch")
	key := clientKey(branch, req.Method)
	c := &client{to, make(chan *sip.Response, 4), make(chan transport.Fault, 1)}
	l.mu.Lock()
	l.clients[key] = c
	l.mu.Unlock()
	defer func() {
		// A final response that comes again finds nobody and is counted. It
		// asks for nothing.
		l.mu.Lock()
		delete(l.clients, key)
		l.mu.Unlock()
	}()

	start, wait := time.Now(), pace.T1
	limit := time.NewTimer(pace.Quiet)
	defer limit.Stop()
	resend := time.NewTimer(wait) // timer E
	defer resend.Stop()
	if to.Transport != outbound.UDP || wait >= pace.Quiet {
		resend.Stop()
	}
	if err := l.transport.Send(to, req); err != nil {
		return nil, sendError(err)
	}
	for {
		select {
		case res := <-c.in:
			if !res.IsProvisional() {
				return res, nil
			}
			// "If Timer E fires while in the "Proceeding" state, the request
			// MUST be passed to the transport layer for retransmission [...] and
			// Timer E MUST be reset with a value of T2 seconds."
			wait = pace.T2
			limit.Reset(patience - time.Since(start))
		case <-resend.C:
			wait = min(2*wait, pace.T2)
			resend.Reset(wait)
			if err := l.transport.Send(to, req); err != nil {
				return nil, sendError(err)
			}
		case <-limit.C:
			l.transport.DropSilent(to, start)
			return nil, ErrNoAnswer
		case f := <-c.fault:
			return nil, f
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-l.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// prepare finds the way to a target and writes it into the request: the Via
// with our address there, a new branch, and rport (RFC 3581).
func (l *Layer) prepare(ctx context.Context, to outbound.Target, req *sip.Request, quiet time.Duration) error {
	within, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	local, err := l.transport.Connect(within, to)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return ErrNoAnswer
	default:
		return err
	}
	for req.RemoveHeader("Via") {
	}
	via := &sip.ViaHeader{
		ProtocolName:    "SIP",
		ProtocolVersion: "2.0",
		Transport:       local.Transport,
		Host:            local.Addr.Addr().String(),
		Port:            int(local.Addr.Port()),
		Params:          sip.HeaderParams{{K: "branch", V: sip.GenerateBranch()}, {K: "rport"}},
	}
	req.PrependHeader(via)
	if req.MaxForwards() == nil {
		hops := sip.MaxForwardsHeader(70) // RFC 3261 section 8.1.1.6
		req.AppendHeader(&hops)
	}
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	req.SetTransport(local.Transport)
	req.SetDestination(to.Dest)
	return transport.Intact(req)
}

// sendError takes out of sipgo's error the one that says something.
func sendError(err error) error {
	var f transport.Fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, transport.ErrInjection):
		return transport.ErrInjection
	}
	return err
}

// Ack sends the ACK of a 2xx, now and again for each retransmission of that
// 2xx (RFC 3261 section 13.2.2.4). The request has no Via; its Call-ID, CSeq
// number and tags say what it acknowledges.
func (l *Layer) Ack(to outbound.Target, ack *sip.Request) {
	if err := l.prepare(l.ctx, to, ack, t2); err != nil {
		return // the 2xx will come again and find no ACK; the peer ends the call
	}
	if i := l.inviteOf(ack); i != nil {
		i.mu.Lock()
		i.acks[tag(ack.To())] = sent{to, ack}
		i.mu.Unlock()
	}
	l.transport.Send(to, ack)
}

// inviteOf returns the INVITE that an ACK belongs to.
func (l *Layer) inviteOf(ack *sip.Request) *Invite {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range l.invites {
		if i.req.CallID().Value() == ack.CallID().Value() && i.req.CSeq().SeqNo == ack.CSeq().SeqNo && tag(i.req.From()) == tag(ack.From()) {
			return i
		}
	}
	return nil
}

// A sent is a message and where it went.
type sent struct {
	to  outbound.Target
	msg *sip.Request
}
