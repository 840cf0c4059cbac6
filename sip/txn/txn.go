// Package txn is a line's transactions: what was asked and what was answered,
// in the order in which it came. Its one idea: a message is handled, to the
// end, by the goroutine that has read it, so that nothing can overtake.
//
// It stands on sipgo's messages and parser and on its two server state
// machines. The rest is ours, because sipgo's was measured to be unsound:
//
//   - Its TransactionLayer starts a goroutine for every message. On one
//     processor 100, 183, 180, 200 in a burst come out as the 200 alone.
//   - Its INVITE client sleeps four seconds with its lock held when a final
//     response comes twice, keeps one ACK for all forks, and cannot be given
//     a time limit of its own: the timers are package variables.
//   - It makes a CANCEL that does not follow its INVITE, and retransmits a 2xx
//     on a schedule of its own without ever giving up.
//   - It draws a new To tag for each response to one request, and its
//     transaction for a CANCEL never ends.
//
// So the clients here read like RFC 3261 section 17.1, each request with a pace
// of its own (a proxy that answers in 20 ms is asked more quickly than one that
// may be overwhelmed), and the answering side sends its 2xx again until the ACK.
package txn

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
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

// Timers, RFC 3261 section 17 and table 4. sipgo's own have the same values.
const (
	t1 = 500 * time.Millisecond // an estimate of the round trip
	t2 = 4 * time.Second        // the longest wait between retransmissions
	// patience is 64*T1: timers B, F, H and M, and how long forks, an ACK or
	// the end of a cancelled call are waited for.
	patience = 64 * t1
)

// Limits of our own.
const (
	// lingering is how long an INVITE that was left is remembered, to end
	// the call that may come of it all the same: longer than a proxy lets a
	// phone ring (timer C, more than three minutes, RFC 3261 section 16.6).
	lingering   = 5 * time.Minute
	maxLinger   = 8  // such INVITEs; the oldest is given up
	maxUnread   = 64 // responses that an Invite's owner has not read
	maxServers  = 16 // requests remembered, answered ones included
	maxUnanswer = 4  // INVITEs that wait for our answer: one for each phone, and two more
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
	l := &Layer{
		cfg:     cfg,
		clients: map[string]*client{},
		invites: map[string]*Invite{},
		servers: map[string]*Server{},
	}
	if cfg.OnRequest == nil {
		return nil, errors.New("txn: OnRequest is needed")
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	tc := cfg.Transport
	tc.OnMessage = l.receive
	tc.OnFault = l.fault
	l.ready = make(chan struct{})
	t, err := transport.Open(ctx, tc)
	if err != nil {
		l.cancel()
		return nil, err
	}
	l.transport = t
	close(l.ready)
	return l, nil
}

// A Layer is the transactions of one line. Its methods may be called from any
// goroutine.
type Layer struct {
	cfg       Config
	transport *transport.Transport
	ready     chan struct{}   // closed when transport is set
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	work      sync.WaitGroup
	count     counters

	mu      sync.Mutex // never held while sipgo is called: it calls back
	clients map[string]*client
	invites map[string]*Invite
	servers map[string]*Server
	lingers []*Invite // oldest first
}

// Counters say what was not passed on, since New.
type Counters struct {
	Stray      uint64 // responses that nobody has asked for, or nobody any more
	Malformed  uint64 // messages dropped because they cannot even be answered
	Refused    uint64 // requests answered here: 400, 416, 481, 482, 505
	Overloaded uint64 // requests dropped or answered 503 because too many are open
}

type counters struct{ stray, malformed, refused, overloaded atomic.Uint64 }

// Counters returns what was counted so far. The transport has its own.
func (l *Layer) Counters() Counters {
	c := &l.count
	return Counters{c.stray.Load(), c.malformed.Load(), c.refused.Load(), c.overloaded.Load()}
}

// Transport returns what the layer sends on, for Connect, Ping and Counters.
func (l *Layer) Transport() *transport.Transport { return l.transport }

// Close ends all transactions and the transport. Nothing is called and nothing
// runs after it.
func (l *Layer) Close() error {
	l.cancel()
	l.mu.Lock()
	var servers []*Server
	for _, s := range l.servers {
		servers = append(servers, s)
	}
	l.mu.Unlock()
	err := l.transport.Close()
	for _, s := range servers {
		s.lost()
	}
	l.work.Wait()
	return err
}

// receive is where every message comes in, on the goroutine that has read it.
func (l *Layer) receive(msg sip.Message) {
	<-l.ready
	if l.ctx.Err() != nil {
		return
	}
	tidy(msg)
	switch m := msg.(type) {
	case *sip.Response:
		l.response(m)
	case *sip.Request:
		l.request(m)
	}
}

// response gives a response to the request it belongs to (RFC 3261 section
// 17.1.3): the one with the same branch and method. sipgo's state machine may
// hold the reader for as long as Do takes to reach its select, no longer.
func (l *Layer) response(res *sip.Response) {
	if !sound(res) {
		l.count.malformed.Add(1)
		return
	}
	branch, _ := res.Via().Params.Get("branch")
	method := res.CSeq().MethodName
	l.mu.Lock()
	c, i := l.clients[clientKey(branch, method)], (*Invite)(nil)
	if method == sip.INVITE {
		i = l.invites[branch]
	}
	l.mu.Unlock()
	switch {
	case i != nil:
		select {
		case i.in <- res:
		default:
			l.count.stray.Add(1)
		}
	case c != nil:
		select {
		case c.in <- res:
		default:
			l.count.stray.Add(1)
		}
	default:
		l.count.stray.Add(1)
	}
}

// fault ends the transactions that wait for a dead address.
func (l *Layer) fault(f transport.Fault) {
	<-l.ready
	l.mu.Lock()
	if f.Addr.IsValid() {
		for _, c := range l.clients {
			if c.to.Addr == f.Addr && c.to.Transport == f.Transport {
				select {
				case c.fault <- f:
				default:
				}
			}
		}
		for _, i := range l.invites {
			if i.to.Addr == f.Addr && i.to.Transport == f.Transport {
				select {
				case i.fault <- f:
				default:
				}
			}
		}
	}
	var lost []*Server
	for _, s := range l.servers {
		if f.Kind == transport.Lost && s.to.Addr == f.Addr && s.to.Transport == f.Transport {
			lost = append(lost, s)
		}
	}
	l.mu.Unlock()
	for _, s := range lost {
		s.lost()
	}
	if l.cfg.Transport.OnFault != nil {
		l.cfg.Transport.OnFault(f)
	}
}

// A wire is where a transaction sends: sipgo's Connection on our transport.
type wire struct {
	l  *Layer
	to outbound.Target
}

func (w wire) WriteMsg(msg sip.Message) error { return w.l.transport.Send(w.to, msg) }
func (w wire) LocalAddr() net.Addr            { return net.UDPAddrFromAddrPort(netip.AddrPort{}) }
func (w wire) Ref(int) int                    { return 1 }
func (w wire) TryClose() (int, error)         { return 1, nil }
func (w wire) Close() error                   { return nil }

// quietLog is what sipgo's state machines log to: everything they have to say
// is returned as an error or counted.
var quietLog = slog.New(slog.DiscardHandler)
