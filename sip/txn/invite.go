package txn

import (
	"context"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// An Invite is an INVITE on its way. Its methods may be called from any
// goroutine.
type Invite struct {
	l    *Layer
	to   outbound.Target
	req  *sip.Request
	pace outbound.Pace

	in      chan *sip.Response   // from the reader
	fault   chan transport.Fault // from the network
	cancel  chan struct{}        // closed by Cancel
	abandon chan struct{}        // closed by Abandon
	evict   chan struct{}        // closed when it has lingered for long enough
	once    struct{ cancel, abandon sync.Once }

	out chan *sip.Response

	mu   sync.Mutex
	err  error           // why out was closed
	acks map[string]sent // of 2xx, by To tag

	// Owned by run.
	phase      phase
	closed     bool // out is closed
	cancelled  bool // the owner wants no call any more
	cancelSent bool
	seen       map[string]*sip.Response // 2xx, by To tag
	limit      *time.Timer              // ends the phase
	resend     *time.Timer              // in calling, over UDP
}

// The phases of an INVITE: RFC 3261 figure 5 with RFC 6026, and one more.
type phase uint8

const (
	calling    phase = iota // nothing was heard
	proceeding              // a provisional response has come
	completed               // a final response other than 2xx has come
	accepted                // a 2xx has come
	left                    // we have gone, and clear up what comes all the same
	over
)

// Invite sends an INVITE. It does not wait: what comes of it is read from the
// Invite's Responses. quiet is as in Do, and ends with the first response: a
// phone may ring for as long as it is let. The end of the context is a Cancel.
func (l *Layer) Invite(ctx context.Context, to outbound.Target, req *sip.Request, quiet time.Duration) *Invite {
	return l.InviteAt(ctx, to, req, outbound.Pace{Quiet: quiet, T2: patience})
}

// InviteAt is Invite at another pace, as in DoAt.
func (l *Layer) InviteAt(ctx context.Context, to outbound.Target, req *sip.Request, pace outbound.Pace) *Invite {
	i := &Invite{
		l: l, to: to, req: req, pace: settled(pace),
		in:      make(chan *sip.Response, maxUnread),
		out:     make(chan *sip.Response, maxUnread),
		fault:   make(chan transport.Fault, 1),
		cancel:  make(chan struct{}),
		abandon: make(chan struct{}),
		evict:   make(chan struct{}),
		acks:    map[string]sent{},
		seen:    map[string]*sip.Response{},
	}
	l.mu.Lock()
	closed := l.ctx.Err() != nil
	if !closed {
		l.work.Add(1)
	}
	l.mu.Unlock()
	if closed {
		i.close(ErrClosed)
		return i
	}
	go i.run(ctx)
	return i
}

// Responses delivers what comes, in order: provisional responses, the final
// one, and after a 2xx those of other forks (another To tag), each of which
// has to be acknowledged and ended. Retransmissions are not shown. The channel
// is closed after a final response other than 2xx, 32 s after the first 2xx
// (RFC 3261 section 13.2.2.4), or when the INVITE has failed: see Err.
func (i *Invite) Responses() <-chan *sip.Response { return i.out }

// Err says why Responses was closed: nil after a final response, ErrNoAnswer,
// ErrCancelled, ErrAbandoned, ErrClosed, or a transport.Fault. Before that it
// is nil.
func (i *Invite) Err() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.err
}

// Cancel ends a call that nobody has answered. The CANCEL goes where the
// INVITE went, and not before a provisional response has come: until then it
// is remembered (RFC 3261 section 9.1). Should the other side have answered
// meanwhile, its 2xx is acknowledged and ended here and Responses is closed
// with ErrCancelled; otherwise the 487 is delivered like any final response.
// After a 2xx has been delivered it does nothing.
func (i *Invite) Cancel() { i.once.cancel.Do(func() { close(i.cancel) }) }

// Abandon leaves the INVITE, because the call has gone on to another address
// or is over. Responses is closed. What still comes is cleared up: a
// provisional response is answered with CANCEL, a 2xx that was not
// acknowledged with ACK and BYE.
func (i *Invite) Abandon() { i.once.abandon.Do(func() { close(i.abandon) }) }

// run is the life of an INVITE.
func (i *Invite) run(ctx context.Context) {
	defer i.l.work.Done()
	start := time.Now()
	if err := i.send(ctx); err != nil {
		i.close(i.l.orClosed(err))
		return
	}
	defer i.l.forget(i)

	i.limit = time.NewTimer(max(i.pace.Quiet-time.Since(start), 0))
	defer i.limit.Stop()
	wait := i.pace.T1
	i.resend = time.NewTimer(wait)
	defer i.resend.Stop()
	if i.to.Transport != outbound.UDP || wait >= i.pace.Quiet {
		i.resend.Stop() // "the client transaction SHOULD NOT start timer A", 17.1.1.2
	}

	done, cancel, abandon := ctx.Done(), i.cancel, i.abandon
	for i.phase != over {
		select {
		case res := <-i.in:
			i.hear(res)
		case <-i.resend.C:
			if i.phase == calling {
				wait = min(2*wait, i.pace.T2)
				i.resend.Reset(wait)
				if err := i.l.transport.Send(i.to, i.req); err != nil {
					i.leave(sendError(err))
				}
			}
		case <-i.limit.C:
			i.expire(start)
		case f := <-i.fault:
			i.suffer(f)
		case <-cancel:
			cancel, done = nil, nil
			i.giveUp()
		case <-done:
			cancel, done = nil, nil
			i.giveUp()
		case <-abandon:
			abandon = nil
			i.abandoned()
		case <-i.evict:
			i.phase = over
		case <-i.l.ctx.Done():
			i.close(ErrClosed)
			return
		}
	}
	i.close(nil)
}

// send finds the way and sends the INVITE for the first time. While a
// connection is being opened a Cancel or Abandon ends the attempt.
func (i *Invite) send(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	waiting := make(chan struct{})
	defer close(waiting)
	defer context.AfterFunc(i.l.ctx, stop)()
	i.l.work.Go(func() {
		select {
		case <-i.cancel:
		case <-i.abandon:
		case <-waiting:
		}
		stop()
	})
	if err := i.l.prepare(ctx, i.to, i.req, i.pace.Quiet); err != nil {
		if ctx.Err() != nil {
			return ErrCancelled
		}
		return err
	}
	branch, _ := i.req.Via().Params.Get("branch")
	i.l.mu.Lock()
	i.l.invites[branch] = i
	i.l.mu.Unlock()
	if err := i.l.transport.Send(i.to, i.req); err != nil {
		i.l.forget(i)
		return sendError(err)
	}
	return nil
}

// hear handles a response.
func (i *Invite) hear(res *sip.Response) {
	switch {
	case res.IsProvisional():
		i.provisional(res)
	case res.IsSuccess():
		i.success(res)
	default:
		i.refusal(res)
	}
}

func (i *Invite) provisional(res *sip.Response) {
	switch i.phase {
	case calling, proceeding:
		if i.phase == calling {
			i.phase = proceeding
			i.resend.Stop()
			i.limit.Stop()
			if i.cancelled {
				i.sendCancel()
			}
		}
		i.deliver(res)
	case left:
		i.sendCancel()
	}
}

func (i *Invite) success(res *sip.Response) {
	to := tag(res.To())
	if i.seen[to] != nil {
		// RFC 3261 section 13.2.2.4: "The UAC core MUST generate an ACK
		// request for each 2xx received". Where there is none yet, its
		// owner is about to send it.
		i.mu.Lock()
		ack, ok := i.acks[to]
		i.mu.Unlock()
		if ok {
			i.l.transport.Send(ack.to, ack.msg)
		}
		return
	}
	i.seen[to] = res
	if i.phase == calling || i.phase == proceeding {
		i.phase = accepted
		i.resend.Stop()
		i.limit.Reset(patience) // timer M
		if i.cancelled {
			i.close(ErrCancelled)
		}
	}
	if i.phase == accepted && i.deliver(res) {
		return
	}
	i.end(res)
}

func (i *Invite) refusal(res *sip.Response) {
	switch i.phase {
	case calling, proceeding:
		i.phase = completed
		i.resend.Stop()
		i.limit.Reset(i.timerD())
		i.deliver(res)
		i.close(nil)
	case accepted:
		return
	}
	i.l.transport.Send(i.to, refusalAck(i.req, res))
}

// timerD is how long final responses may still be repeated. RFC 3261 section
// 17.1.1.2: "at least 32 seconds for unreliable transports, and a value of zero
// seconds for reliable transports".
func (i *Invite) timerD() time.Duration {
	if i.to.Transport == outbound.UDP {
		return patience
	}
	return 0
}

// expire is called when a phase has lasted for its time.
func (i *Invite) expire(start time.Time) {
	switch i.phase {
	case calling:
		i.leave(ErrNoAnswer)
	case proceeding:
		// RFC 3261 section 9.1: "If there is no final response for the
		// original request in 64*T1 seconds [...] the client SHOULD then
		// consider the original transaction cancelled".
		i.leave(ErrCancelled)
	default:
		i.phase = over
	}
}

// suffer is called with what the network says of the address.
func (i *Invite) suffer(f transport.Fault) {
	lost := f.Kind == transport.Lost
	switch {
	case i.phase == calling, i.phase == proceeding && lost, i.phase == proceeding && i.cancelled:
		i.leave(f)
	}
	// An ICMP message while a phone rings is about something else that was
	// sent; the call may well be answered.
	if lost {
		i.close(nil)
		i.phase = over
	}
}

// giveUp is called when the owner wants the call no more.
func (i *Invite) giveUp() {
	i.cancelled = true
	if i.phase == proceeding {
		i.sendCancel()
	}
}

// abandoned is called when the owner reads no more.
func (i *Invite) abandoned() {
	if i.phase == calling || i.phase == proceeding {
		ringing := i.phase == proceeding
		i.leave(ErrAbandoned)
		if ringing {
			i.sendCancel()
		}
		return
	}
	i.close(nil)
	for to, res := range i.seen {
		i.mu.Lock()
		_, acked := i.acks[to]
		i.mu.Unlock()
		if !acked {
			i.end(res)
		}
	}
}

// leave ends the INVITE for its owner and waits for what may still come of it.
func (i *Invite) leave(err error) {
	if i.cancelled && err != ErrAbandoned {
		err = ErrCancelled
	}
	i.close(err)
	i.phase = left
	i.resend.Stop()
	i.limit.Reset(lingering)
	i.l.linger(i)
}

// deliver gives a response to the owner, or reports that he reads no more.
func (i *Invite) deliver(res *sip.Response) bool {
	if i.closed {
		return false
	}
	select {
	case i.out <- res:
		return true
	default:
		return false
	}
}

// close ends what the owner sees. The first reason counts.
func (i *Invite) close(err error) {
	if i.closed {
		return
	}
	i.closed = true
	i.mu.Lock()
	i.err = err
	i.mu.Unlock()
	close(i.out)
}

// sendCancel sends the CANCEL, once. Its own response says nothing: the
// INVITE's does.
func (i *Invite) sendCancel() {
	if i.cancelSent {
		return
	}
	i.cancelSent = true
	if i.phase == proceeding {
		i.limit.Reset(patience)
	}
	req := cancelOf(i.req)
	i.l.work.Go(func() { i.l.exchange(i.l.ctx, i.to, req, settled(outbound.Pace{})) })
}

// end acknowledges a 2xx that nobody wants and hangs up.
func (i *Invite) end(res *sip.Response) {
	ack := successAck(i.req, res)
	bye := inDialog(i.req, res, sip.BYE, i.req.CSeq().SeqNo+1)
	i.l.work.Go(func() {
		i.l.Ack(i.to, ack)
		i.l.hangUp(i.to, bye)
	})
}

// hangUp sends a BYE of our own, with credentials if they are wanted.
func (l *Layer) hangUp(to outbound.Target, bye *sip.Request) {
	res, err := l.Do(l.ctx, to, bye, patience)
	if err != nil || l.cfg.Retry == nil || res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired {
		return
	}
	if again := l.cfg.Retry(bye, res); again != nil {
		l.Do(l.ctx, to, again, patience)
	}
}

// linger notes an INVITE that was left; too many push out the oldest.
func (l *Layer) linger(i *Invite) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lingers = append(l.lingers, i)
	if len(l.lingers) > maxLinger {
		close(l.lingers[0].evict)
		l.lingers = l.lingers[1:]
	}
}

// forget takes an INVITE out of all tables.
func (l *Layer) forget(i *Invite) {
	branch, _ := i.req.Via().Params.Get("branch")
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.invites, branch)
	for n, other := range l.lingers {
		if other == i {
			l.lingers = append(l.lingers[:n:n], l.lingers[n+1:]...)
			break
		}
	}
}
