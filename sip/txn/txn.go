// Package txn is a line's transactions: what was asked and what was answered,
// in the order in which it came. Its one idea: a message is handled, to the
// end, by the goroutine that has read it, so that nothing can overtake.
//
// It stands on sipgo's messages and parser and on two of its state machines:
// the non-INVITE client and both servers. Three things are ours, because
// sipgo's were measured to be unsound:
//
//   - Its TransactionLayer starts a goroutine for every message. On one
//     processor 100, 183, 180, 200 in a burst come out as the 200 alone.
//   - Its INVITE client sleeps four seconds with its lock held when a final
//     response comes twice, keeps one ACK for all forks, and cannot be given
//     a time limit of its own: the timers are package variables.
//   - It makes a CANCEL that does not follow its INVITE, and retransmits a 2xx
//     on a schedule of its own without ever giving up.
//
// So the INVITE client here is one goroutine that reads like RFC 3261 section
// 17.1.1, and the answering side sends its 2xx again until the ACK.
package txn

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// Errors of requests. Beside them there are [transport.Fault] and the
// context's own.
var (
	// ErrNoAnswer: nothing was heard within the limit, or, after a
	// provisional response, no final one within 32 s.
	ErrNoAnswer = errors.New("no answer")
	// ErrCancelled: an INVITE was cancelled and its final response, should
	// one still come, is dealt with here.
	ErrCancelled = errors.New("cancelled")
	// ErrAbandoned: an INVITE was left for another address.
	ErrAbandoned = errors.New("abandoned")
	// ErrClosed: the layer was closed.
	ErrClosed = errors.New("closed")
)

// A Config is what a Layer is made of.
type Config struct {
	// Transport is opened by New. Its OnMessage is the layer's own; OnFault,
	// if there is one, is called after the transactions concerned have failed.
	Transport transport.Config

	// OnRequest is given each new request that is neither ACK nor CANCEL nor
	// a repetition, checked, in the order of arrival. It must not block.
	OnRequest func(*Server)

	// Retry is asked when a BYE that the layer sends by itself, to end a call
	// nobody wants any more, is challenged: it returns the request to send
	// instead (with credentials and without Via), or nil. It may be nil.
	Retry func(bye *sip.Request, challenge *sip.Response) *sip.Request
}

// New opens a transport and the transactions on it. The context bounds the opening.
func New(ctx context.Context, cfg Config) (*Layer, error) {
	l := &Layer{cfg: cfg}
	tc := cfg.Transport
	tc.OnMessage = func(sip.Message) {}
	t, err := transport.Open(ctx, tc)
	if err != nil {
		return nil, err
	}
	l.transport = t
	return l, nil
}

// A Layer is the transactions of one line. Its methods may be called from any
// goroutine.
type Layer struct {
	cfg       Config
	transport *transport.Transport
}

// Transport returns what the layer sends on, for Connect, Ping and Counters.
func (l *Layer) Transport() *transport.Transport { return l.transport }

// Do sends a request that is not an INVITE and returns the final response to
// it. quiet is how long to wait for any response at all, a connection
// included; 0 means 32 s (RFC 3261 timer F), which also bounds the whole.
//
// The request belongs to the layer from here on: it gets a Via, a destination,
// and a Content-Length and Max-Forwards where it has none. To send it again,
// clone it before and remove nothing: the Via is put in here.
//
// Errors: ErrNoAnswer, a transport.Fault at once when the network says that
// the address is dead or the connection is lost, transport.ErrInjection, the
// context's.
func (l *Layer) Do(ctx context.Context, to outbound.Target, req *sip.Request, quiet time.Duration) (*sip.Response, error) {
	return nil, ErrClosed
}

// Invite sends an INVITE. It does not wait: what comes of it is read from the
// Invite's Responses. quiet is as in Do, and ends with the first response: a
// phone may ring for as long as it is let. The end of the context is a Cancel.
func (l *Layer) Invite(ctx context.Context, to outbound.Target, req *sip.Request, quiet time.Duration) *Invite {
	return &Invite{}
}

// Ack sends the ACK of a 2xx, now and again for each retransmission of that
// 2xx (RFC 3261 section 13.2.2.4). The request has no Via; its Call-ID, CSeq
// number and tags say what it acknowledges.
func (l *Layer) Ack(to outbound.Target, ack *sip.Request) {}

// Close ends all transactions and the transport. Nothing runs after it.
func (l *Layer) Close() error { return l.transport.Close() }

// An Invite is an INVITE on its way. Its methods may be called from any goroutine.
type Invite struct{}

// Responses delivers what comes, in order: provisional responses, the final
// one, and after a 2xx those of other forks (another To tag), each of which
// has to be acknowledged and ended. Retransmissions are not shown. The channel
// is closed after a final response other than 2xx, 32 s after the first 2xx
// (RFC 3261 section 13.2.2.4), or when it has failed: see Err.
func (i *Invite) Responses() <-chan *sip.Response { return nil }

// Err says why Responses was closed: nil after a final response, ErrNoAnswer,
// ErrCancelled, ErrAbandoned, ErrClosed, or a transport.Fault. Before that it
// is nil.
func (i *Invite) Err() error { return nil }

// Request returns the INVITE as it was sent. It must not be changed.
func (i *Invite) Request() *sip.Request { return nil }

// Cancel ends a call that nobody has answered. The CANCEL goes where the
// INVITE went, and not before a provisional response has come (RFC 3261
// section 9.1). Should the other side have answered meanwhile, its 2xx is
// acknowledged and ended here and Responses closes with ErrCancelled;
// otherwise the 487 is delivered like any final response.
func (i *Invite) Cancel() {}

// Abandon leaves the INVITE, because the call has gone on to another address.
// Responses is closed. What still comes from the old address is cleared up: a
// provisional response is answered with CANCEL, a 2xx with ACK and BYE.
func (i *Invite) Abandon() {}
