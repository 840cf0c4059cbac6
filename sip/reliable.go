package sip

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// t1 is RFC 3261's estimate of a round trip; a reliable provisional response
// is repeated from there on, doubling, for 64 times as long (RFC 3262 section 3).
const t1 = 500 * time.Millisecond

// reliable reports whether a provisional response wants a PRACK.
func reliable(res *sip.Response) bool {
	return requires(res, "100rel") && res.GetHeader("RSeq") != nil
}

func requires(msg sip.Message, tag string) bool {
	for _, t := range tokens(msg, "Require") {
		if strings.EqualFold(t, tag) {
			return true
		}
	}
	return false
}

// prack acknowledges a reliable provisional response. It returns false for one
// that is out of order, which RFC 3262 section 4 has ignored: "the response
// MUST NOT be acknowledged with a PRACK, and MUST NOT be processed further".
func (c *Call) prack(g *leg, res *sip.Response, via outbound.Target) bool {
	var rseq uint32
	if _, err := fmt.Sscan(res.GetHeader("RSeq").Value(), &rseq); err != nil || rseq == 0 {
		return false
	}
	if g.rseq != 0 && rseq != g.rseq+1 {
		return false
	}
	g.rseq = rseq
	rack := fmt.Sprintf("%d %d %s", rseq, res.CSeq().SeqNo, sip.INVITE)
	before, sent := g.pracked, make(chan struct{})
	g.pracked = sent
	c.line.spawn(func() {
		defer close(sent)
		if before != nil {
			<-before // one after the other, or their sequence numbers could overtake
		}
		c.line.send(c.ctx, via, timerB, func() *sip.Request {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.dress(g.dialog.Request(sip.PRACK), sip.NewHeader("RAck", rack))
		})
	})
	return true
}

// A provisional is a reliable 180 of ours, until the caller's PRACK.
type provisional struct {
	res   *sip.Response
	rack  string        // what the PRACK must say
	again time.Duration // until it is repeated
	next  time.Time
	until time.Time
}

// ring answers an incoming call with 180, reliably where the caller insists.
func (c *Call) ring(s *txn.Server) {
	req := s.Request()
	must := requires(req, "100rel")
	if c.reliable != nil || must && len(req.Body()) == 0 {
		// Without an offer the first reliable response has to bring one (RFC
		// 3262 section 5), which is the answer's to give.
		return
	}
	l := c.line
	via, local := c.place()
	res := s.Response(180, "", nil)
	res.AppendHeader(l.contact(via, local))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	if must {
		// RFC 3262 3: "The value of the RSeq [...] is chosen uniformly between
		// 1 and 2**31 - 1".
		rseq := 1 + rand.Uint32N(1<<31-1)
		res.AppendHeader(sip.NewHeader("Require", "100rel"))
		res.AppendHeader(sip.NewHeader("RSeq", fmt.Sprint(rseq)))
		now := time.Now()
		c.reliable = &provisional{res, fmt.Sprintf("%d %d INVITE", rseq, req.CSeq().SeqNo), t1, now.Add(t1), now.Add(64 * t1)}
	}
	if err := s.Respond(res); err != nil {
		l.log.Debug("180 not sent", "line", l.cfg.Name, "error", err)
	}
}

// pracked takes a PRACK. RFC 3262 section 3: one that matches no response that
// waits for it "MUST be rejected with a 481".
func (c *Call) pracked(s *txn.Server) {
	h := s.Request().GetHeader("RAck")
	if c.reliable == nil || h == nil || strings.Join(strings.Fields(h.Value()), " ") != c.reliable.rack {
		c.line.reply(s, 481)
		return
	}
	if len(s.Request().Body()) > 0 {
		c.line.reply(s, 488) // an offer before we know what we can hear
		return
	}
	c.reliable.next = time.Time{} // acknowledged
	c.line.reply(s, 200)
}
