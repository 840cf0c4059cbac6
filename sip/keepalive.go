package sip

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// Numbers of our own choice.
const (
	// The keep-alive's interval is drawn from this part of what is configured,
	// so that from fault to registration elsewhere there are never more than
	// the interval, the proof and the spread of a first failover.
	keepAliveFrom, keepAliveTo = 0.75, 0.92

	// A proxy that answers a keep-alive by 503 is asked to refresh the
	// registration within this time; the answer to that counts. Of a fleet, not
	// all at once.
	busySoon = 2500 * time.Millisecond

	calm = 2 * time.Second // between two registrations, when the first one's connection was lost
)

// stay keeps a registration alive until it is time for another. It returns
// where: via, for a refresh; an address that is preferred and has taken the
// line already, for as long as granted says; or nowhere, when via is silent or
// the route has moved. Then the route knows.
//
// home is where the route pointed when via was chosen; mostly it is via.
func (l *Line) stay(ctx context.Context, via, home outbound.Target, lasts time.Duration) (where outbound.Target, granted time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.watch(ctx, via)
	began := time.Now()
	due := began.Add(l.part(lasts, refreshFrom, refreshTo))
	refresh := time.NewTimer(time.Until(due))
	defer refresh.Stop()
	next := func() time.Duration { return l.part(l.cfg.KeepAlive, keepAliveFrom, keepAliveTo) }
	ask := time.NewTimer(next())
	defer ask.Stop()
	// sound asks now, as one does who asks so often.
	sound := func(every time.Duration, moved <-chan struct{}) sign {
		defer func() { ask.Reset(next()) }()
		if l.cfg.KeepAliveBy == "off" {
			return lives
		}
		found := l.proof(ctx, via, every, moved)
		if l.grumbles.hear(via, found) {
			refresh.Reset(min(time.Until(due), l.between(0, min(busySoon, l.cfg.KeepAlive/6))))
		}
		return found
	}
	for {
		moved := l.route.Moved()
		if at, ok := l.route.Current(); ok && at != via && at != home {
			return outbound.Target{}, 0
		}
		found, refreshing := lives, false
		select {
		case <-ctx.Done():
			return outbound.Target{}, 0
		case <-refresh.C:
			refreshing = true
		case <-moved: // whereto is seen above
		case <-l.news: // a standby was heard, or a call has ended
		case <-l.changed:
			if l.elsewhere(ctx, via) {
				return via, 0
			}
		case f := <-l.faults:
			switch {
			case f.Addr != via.Addr || f.Kind == transport.OwnSide:
			case f.Kind == transport.Lost || f.Kind == transport.TLSFailed:
				// The flow is the registration (RFC 5626): a new one, here if
				// possible, but not in a circle with a proxy that always hangs up.
				sleep(ctx, calm-time.Since(began))
				return via, 0
			default:
				// An ICMP error can be forged: the address gets to speak for
				// itself, and if it is true, the answer to that is another one.
				found = l.proof(ctx, via, l.cfg.KeepAlive, moved)
				ask.Reset(next())
			}
		case <-l.suspect:
			found = sound(min(mute, l.cfg.KeepAlive), moved)
		case <-ask.C:
			found = sound(l.cfg.KeepAlive, moved)
		}
		if found == dead {
			return outbound.Target{}, 0
		}
		if t, granted := l.back(ctx, via, refreshing); granted > 0 {
			return t, granted
		}
		if refreshing {
			return via, 0
		}
	}
}

// A sign is what an address that was asked for a sign of life has shown.
type sign uint8

const (
	lives sign = iota
	busy       // it lives and answers 503
	dead
)

// Grumbles count the keep-alives in a row that one address has answered by 503.
// There are proxies that answer OPTIONS so and take every registration: those
// are believed less and less.
type grumbles struct {
	via       outbound.Target
	said, due int
}

// hear reports whether it is time to ask for a registration ahead of time.
func (g *grumbles) hear(via outbound.Target, s sign) bool {
	if s != busy || g.via != via {
		*g = grumbles{via: via, due: 1}
	}
	if s != busy {
		return false
	}
	if g.said++; g.said < g.due {
		return false
	}
	g.due *= 2
	return true
}

// proof asks via for a sign of life, again and again, and gives it the time
// that the route knows to be fair to one that is asked so often. If there is
// none it moves the route and returns dead. It returns early when the route moves
// meanwhile.
func (l *Line) proof(ctx context.Context, via outbound.Target, every time.Duration, moved <-chan struct{}) sign {
	step, limit := l.route.Proof(via, every)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began, q := time.Now(), l.question(ctx, via, limit)
	again := time.NewTicker(step)
	defer again.Stop()
	q.ask()
	var err error
	for {
		select {
		case a := <-q.answers:
			if err = a.err; err == nil {
				q.heard(a)
				l.route.Good(via, a.rtt)
				if a.code == 503 {
					return busy
				}
				return lives
			}
			var fault transport.Fault
			if q.waiting--; !errors.As(err, &fault) && (q.waiting > 0 || time.Since(began) < limit) {
				continue
			}
		case <-again.C:
			// What was sent over a connection arrives, or the connection ends.
			if left := limit - time.Since(began); via.Transport == outbound.UDP && left >= step {
				q.ask()
			}
			continue
		case <-moved:
			return lives
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return lives
			}
			err = txn.ErrNoAnswer
		}
		break
	}
	f := failureOf(sip.OPTIONS, began, nil, err)
	f.Tries, f.Urgent = unanswered(f, via, len(q.asked)), l.Status().Calls > 0
	verdict := outbound.Judge(f)
	next, wait := l.route.Next(via, f)
	l.log.Debug("keep-alive failed", "line", l.cfg.Name, "via", via.Dest, "error", f, "tries", f.Tries, "next", next.Dest)
	if verdict == outbound.Wait || next == via && wait == 0 {
		// A pulled cable is not the proxy's fault, and asked again soon enough;
		// and the route may know better what a lossy way proves.
		return lives
	}
	l.missed++
	l.lost = l.missed >= len(l.route.Targets())
	l.set("registering", via, f, ProxyProblem)
	l.tell(Failed{l, via, f})
	return dead
}

// A question is one address asked for a sign of life, as often as it takes.
type question struct {
	l       *Line
	ctx     context.Context
	via     outbound.Target
	until   time.Time
	answers chan answer
	asked   []time.Time
	waiting int // asked and not answered
}

type answer struct {
	n    int // which question
	rtt  time.Duration
	code int // of an OPTIONS, else 0
	err  error
}

func (l *Line) question(ctx context.Context, via outbound.Target, limit time.Duration) *question {
	return &question{l: l, ctx: ctx, via: via, until: time.Now().Add(limit), answers: make(chan answer, 128)}
}

// ask sends one datagram, or over a connection one request, and does not wait.
func (q *question) ask() {
	n := len(q.asked)
	if n == cap(q.answers) {
		return
	}
	q.asked = append(q.asked, time.Now())
	q.waiting++
	q.l.spawn(func() {
		a := answer{n: n}
		a.rtt, a.code, a.err = q.l.ping(q.ctx, q.via, time.Until(q.until))
		q.answers <- a
	})
}

// heard tells the route of the questions before this answer that have had as
// much time and brought none: that is how lossy the way is.
func (q *question) heard(a answer) {
	for _, at := range q.asked[:a.n] {
		if time.Since(at) > 2*a.rtt {
			q.l.route.Missed(q.via)
		}
	}
}

// ping asks once, in the way that is configured. Any answer is life; code is
// that of an OPTIONS, else 0.
func (l *Line) ping(ctx context.Context, via outbound.Target, limit time.Duration) (rtt time.Duration, code int, err error) {
	how, began := transport.CRLF, time.Now()
	switch l.cfg.KeepAliveBy {
	case "crlf":
	case "stun":
		how = transport.STUN
	default:
		return l.options(ctx, via, limit)
	}
	if err = l.layer.Transport().Ping(ctx, via, how); err == nil && (how == transport.STUN || via.Transport != outbound.UDP) {
		rtt = time.Since(began)
	}
	return rtt, 0, err
}

// options asks the proxy itself by OPTIONS, once. It returns how long the answer
// took and its status.
func (l *Line) options(ctx context.Context, via outbound.Target, limit time.Duration) (time.Duration, int, error) {
	return l.optionsAt(ctx, via, outbound.Pace{T1: limit, Quiet: limit})
}

func (l *Line) optionsAt(ctx context.Context, via outbound.Target, pace outbound.Pace) (time.Duration, int, error) {
	if pace.Quiet <= 0 {
		return 0, 0, txn.ErrNoAnswer
	}
	local, err := l.reach(ctx, via, pace.Quiet)
	if err != nil {
		return 0, 0, err
	}
	req := sip.NewRequest(sip.OPTIONS, l.domain)
	l.head(req, sip.FromHeader{Address: l.me(), Params: params("tag", dialog.Tag())}, sip.ToHeader{Address: l.domain}, dialog.Tag(), dialog.FirstCSeq)
	req.AppendHeader(l.contact(via, local))
	req.AppendHeader(sip.NewHeader("Accept", sdpType))
	began := time.Now()
	res, err := l.layer.DoAt(ctx, via, req, pace)
	if err != nil {
		return 0, 0, err
	}
	return took(began, pace), res.StatusCode, nil
}
