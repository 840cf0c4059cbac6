package sip

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
)

// maxDoubted is how many other addresses are asked when one is doubted.
const maxDoubted = 4

// A doubt is what a call does while its proxy says nothing. At the first
// retransmission of its INVITE it asks other addresses, and this one too, for a
// sign of life; when the proxy's time is over, the first to have answered gets
// the call. A proxy that answers the question has more time: its INVITE was
// lost, or is being worked on.
//
//	0      T1          patience                NoAnswer
//	INVITE INVITE ...  INVITE ...              │
//	       └ OPTIONS to all  └ another lives:  └ whatever they say:
//	                           there, now        the next
//
// It is owned by the call's goroutine.
type doubt struct {
	l     *Line
	via   outbound.Target
	tried []outbound.Target
	pace  outbound.Pace // of the INVITE; Quiet is the patience

	asked     []outbound.Target    // the others
	better    []outbound.Target    // those that have answered, first one first
	spoke     chan outbound.Target // has answered; may be via
	questions atomic.Int32         // sent to via

	suspect *time.Timer // the first retransmission
	over    *time.Timer // the end of patience
	stop    context.CancelFunc
	late    bool // patience is over
	lives   bool // via has answered something
}

// doubts begins to count. Where there is nobody else to ask nothing is doubted.
func (l *Line) doubts(via outbound.Target, tried []outbound.Target, pace outbound.Pace) *doubt {
	d := &doubt{l: l, via: via, tried: tried, pace: pace, stop: func() {}}
	d.spoke = make(chan outbound.Target, maxDoubted+1)
	d.suspect, d.over = time.NewTimer(pace.T1), time.NewTimer(pace.Quiet)
	if _, more := l.untried(tried); !more {
		d.settle()
	}
	return d
}

// settle ends the doubt: via has said something.
func (d *doubt) settle() {
	d.lives = true
	d.stop()
	d.suspect.Stop()
	d.over.Stop()
}

// begin asks everybody.
func (d *doubt) begin(ctx context.Context) {
	l := d.l
	ctx, d.stop = context.WithCancel(ctx)
	for _, t := range l.route.Targets() {
		if slices.Contains(d.tried, t) || len(d.asked) == maxDoubted {
			continue
		}
		d.asked = append(d.asked, t)
		l.spawn(func() {
			pace := outbound.Pace{T1: d.pace.T1, T2: d.pace.T1, Quiet: l.cfg.NoAnswer}
			rtt, code, err := l.optionsAt(ctx, t, pace)
			if err == nil && (code < 500 || code > 599) {
				l.route.Heard(t, rtt)
				d.spoke <- t
			}
		})
	}
	// Questions to via itself: as many, in what is left of its time, as it
	// takes to prove a death on a way like this.
	again, limit := l.route.Proof(d.via, 0)
	questions := int(limit/again) + 1
	gap := max((d.pace.Quiet-d.pace.T1)/time.Duration(questions), 20*time.Millisecond)
	l.spawn(func() {
		q := l.question(ctx, d.via, l.cfg.NoAnswer)
		ask := func() { q.ask(); d.questions.Add(1) }
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for ask(); ; {
			select {
			case a := <-q.answers:
				if a.err == nil && a.code != 503 {
					d.spoke <- d.via
					return
				}
			case <-tick.C:
				if len(q.asked) < questions && d.via.Transport == outbound.UDP {
					ask()
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// heard takes an answer, and reports whether the call should leave via now.
func (d *doubt) heard(t outbound.Target) bool {
	if t == d.via {
		d.lives = true
	} else {
		d.better = append(d.better, t)
	}
	return d.leave()
}

// leave reports whether the call should leave via: its time is over, it has
// been silent throughout, and there is somewhere better.
func (d *doubt) leave() bool { return d.late && !d.lives && len(d.better) > 0 }

// failure is what speaks against via, and the route is told of those that were
// silent when another spoke.
func (d *doubt) failure(f outbound.Failure) outbound.Failure {
	f.Urgent = true
	if f.Cause != outbound.NoAnswer || f.Code != 0 || f.Began.IsZero() {
		return f
	}
	f.Tries = unanswered(f, d.via, sent(outbound.Pace{T1: d.pace.T1, T2: d.pace.T2, Quiet: time.Since(f.Began)})+int(d.questions.Load()))
	if len(d.better) > 0 {
		silent := outbound.Failure{Method: string(sip.OPTIONS), Cause: outbound.NoAnswer, Began: f.Began,
			Tries: int(time.Since(f.Began)/d.pace.T1) - 1}
		for _, t := range d.asked {
			if !slices.Contains(d.better, t) && silent.Tries > 0 {
				d.l.route.Unheard(t, silent)
			}
		}
	}
	return f
}
