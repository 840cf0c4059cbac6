package txn

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/transport"
)

// ErrAnswered is the refusal of a response that comes too late: the final one
// was sent, or the caller has given up.
var ErrAnswered = errors.New("already answered")

// A Server is a request that somebody has sent us. Its methods may be called
// from any goroutine.
type Server struct {
	l    *Layer
	req  *sip.Request
	from netip.AddrPort
	to   outbound.Target // where responses go
	key  string
	tag  string
	tx   *sip.ServerTx

	acked     chan *sip.Request
	cancelled chan struct{}

	mu       sync.Mutex
	final    int           // the status of our final response; 0 before
	over     bool          // acked is closed
	gone     bool          // cancelled is closed
	finished time.Time     // when it was settled: nothing more is expected
	success  *sip.Response // a 2xx to an INVITE that is not acknowledged yet
	wait     time.Duration // until it is sent again
	timer    *time.Timer
}

// Request returns what was asked. It must not be changed.
func (s *Server) Request() *sip.Request { return s.req }

// From returns the address it came from.
func (s *Server) From() netip.AddrPort { return s.from }

// Tag returns the To tag of all our responses: our half of the dialog. For a
// request inside a dialog it is that dialog's.
func (s *Server) Tag() string { return s.tag }

// Acked delivers the ACK of our 2xx to an INVITE, and is then closed. Closed
// without an ACK it says that none has come in 32 s, or that the connection
// was lost. RFC 3261 section 13.3.1.4: "the dialog is confirmed, but the
// session SHOULD be terminated. This is accomplished with a BYE". After any
// other final response it is closed without an ACK too.
func (s *Server) Acked() <-chan *sip.Request { return s.acked }

// Cancelled is closed when the caller has given up an INVITE that was not
// finally answered, or its connection was lost. A CANCEL has been answered and
// the 487 sent then.
func (s *Server) Cancelled() <-chan struct{} { return s.cancelled }

// Response builds a response with our tag; an empty reason means the usual
// one. It is sent by Respond.
func (s *Server) Response(code int, reason string, body []byte) *sip.Response {
	return s.marked(respond(s.req, code, reason, body))
}

// marked gives a response our To tag. RFC 3261 section 8.2.6.2: "The same tag
// MUST be used for all responses to that request, both final and provisional
// (again excepting the 100 (Trying))." sipgo draws a new one for each.
func (s *Server) marked(res *sip.Response) *sip.Response {
	if to := res.To(); to != nil && res.StatusCode > 100 {
		to.Params.Add("tag", s.tag)
	}
	return res
}

// Respond sends a response; its To tag becomes ours. The 2xx of an INVITE is
// sent again until its ACK comes. Errors: ErrAnswered,
// transport.ErrInjection, a transport.Fault.
func (s *Server) Respond(res *sip.Response) error {
	s.marked(res)
	if err := transport.Intact(res); err != nil {
		return err
	}
	success := s.req.IsInvite() && res.IsSuccess()
	s.mu.Lock()
	if s.final != 0 || s.gone {
		s.mu.Unlock()
		return ErrAnswered
	}
	if !res.IsProvisional() {
		s.final = res.StatusCode
		switch {
		case success:
			s.success, s.wait = res, t1
			s.timer = time.AfterFunc(t1, s.again(time.Now()))
		case !s.req.IsInvite():
			s.finished = time.Now()
			fallthrough
		default:
			s.settle(nil)
		}
	}
	s.mu.Unlock()
	if err := s.tx.Respond(res); err != nil {
		return sendError(err)
	}
	return nil
}

// again sends a 2xx once more. RFC 3261 section 13.3.1.4: "The 2xx response is
// passed to the transport with an interval that starts at T1 seconds and
// doubles for each retransmission until it reaches T2 seconds [...] Response
// retransmissions cease when an ACK request for the response is received. This
// is independent of whatever transport protocols are used to send the
// response." And: "If the server retransmits the 2xx response for 64*T1
// seconds without receiving an ACK", it is for the owner to send a BYE.
func (s *Server) again(start time.Time) func() {
	return func() {
		s.mu.Lock()
		res := s.success
		if res == nil {
			s.mu.Unlock()
			return
		}
		passed := time.Since(start)
		if passed >= patience {
			s.settle(nil)
			s.mu.Unlock()
			s.tx.Terminate()
			return
		}
		s.wait = min(2*s.wait, t2)
		s.timer.Reset(min(s.wait, patience-passed))
		s.mu.Unlock()
		s.l.transport.Send(s.to, res)
	}
}

// settle ends the wait for an ACK; mu is held. ack is nil when none has come.
func (s *Server) settle(ack *sip.Request) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.success = nil
	if s.over {
		return
	}
	s.over = true
	if ack != nil {
		s.acked <- ack
	}
	close(s.acked)
}

// acknowledge takes the ACK of our 2xx; those that come again are nothing new.
func (s *Server) acknowledge(ack *sip.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = time.Now()
	s.settle(ack)
}

// withdraw ends an INVITE that the caller has cancelled.
func (s *Server) withdraw() {
	s.mu.Lock()
	if s.final != 0 || s.gone {
		s.mu.Unlock()
		return
	}
	s.final = sip.StatusRequestTerminated
	s.gone = true
	s.settle(nil)
	s.mu.Unlock()
	s.tx.Respond(s.Response(sip.StatusRequestTerminated, "", nil))
	close(s.cancelled)
}

// lost ends a request whose connection has gone: it can be answered no more.
func (s *Server) lost() {
	s.mu.Lock()
	s.settle(nil)
	gone := s.gone || s.final != 0
	s.gone = true
	s.mu.Unlock()
	if !gone {
		close(s.cancelled)
	}
	s.tx.Terminate()
}

// request handles what somebody asks of us.
func (l *Layer) request(req *sip.Request) {
	from, err := netip.ParseAddrPort(req.Source())
	if err != nil || req.Via() == nil || transport.Intact(req) != nil {
		l.count.malformed.Add(1)
		return
	}
	to := answerTo(req, from)
	if req.IsAck() {
		l.ack(req)
		return
	}
	if code := check(req); code != 0 {
		l.refuse(to, req, code)
		return
	}
	key := serverKey(req, req.Method)
	l.mu.Lock()
	s := l.servers[key]
	invite := l.servers[serverKey(req, sip.INVITE)]
	l.mu.Unlock()
	switch {
	case s != nil:
		s.tx.Receive(req) // again: it is answered with what was answered before
	case req.IsCancel():
		l.cancelled(to, req, invite)
	case l.merged(req):
		// RFC 3261 section 8.2.2.2: "If the request has no tag in the To
		// header field, the UAS core MUST check the request against
		// ongoing transactions. If the From tag, Call-ID, and CSeq
		// exactly match those associated with an ongoing transaction, but
		// the request does not match that transaction [...], the UAS core
		// SHOULD generate a 482 (Loop Detected) response".
		l.refuse(to, req, sip.StatusLoopDetected)
	case !l.room(req.IsInvite()):
		l.count.overloaded.Add(1)
		if req.IsInvite() {
			l.answer(to, req, sip.StatusServiceUnavailable)
		} // else it comes again, and there may be room then
	default:
		l.cfg.OnRequest(l.admit(to, from, req, key))
	}
}

// admit makes a Server of a request.
func (l *Layer) admit(to outbound.Target, from netip.AddrPort, req *sip.Request, key string) *Server {
	mine := tag(req.To())
	if mine == "" {
		mine = newTag()
	}
	s := &Server{
		l: l, req: req, from: from, to: to, key: key, tag: mine,
		tx:        sip.NewServerTx(key, req, wire{l, to}, quietLog),
		acked:     make(chan *sip.Request, 1),
		cancelled: make(chan struct{}),
	}
	l.mu.Lock()
	l.servers[key] = s
	l.mu.Unlock()
	s.tx.OnTerminate(func(string, error) { l.remove(s) })
	s.tx.Init() // never fails
	return s
}

// remove forgets a request. It is called by sipgo with its lock held.
func (l *Layer) remove(s *Server) {
	l.mu.Lock()
	if l.servers[s.key] == s {
		delete(l.servers, s.key)
	}
	l.mu.Unlock()
}

// room reports whether another request can be taken, and makes it by forgetting
// the one that was settled longest ago: should that be repeated, it is only
// handled again.
func (l *Layer) room(invite bool) bool {
	l.mu.Lock()
	var oldest *Server
	var at time.Time
	unanswered := 0
	for _, s := range l.servers {
		s.mu.Lock()
		if s.final == 0 && s.req.IsInvite() {
			unanswered++
		}
		if !s.finished.IsZero() && (oldest == nil || s.finished.Before(at)) {
			oldest, at = s, s.finished
		}
		s.mu.Unlock()
	}
	full := len(l.servers) >= maxServers
	l.mu.Unlock()
	if invite && unanswered >= maxUnanswer {
		return false
	}
	if full && oldest != nil {
		oldest.tx.Terminate()
		return true
	}
	return !full
}

// merged reports whether a request has come on two ways.
func (l *Layer) merged(req *sip.Request) bool {
	if tag(req.To()) != "" {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.servers {
		s.mu.Lock()
		ongoing := s.finished.IsZero()
		s.mu.Unlock()
		if ongoing && s.req.Method == req.Method && s.req.CSeq().SeqNo == req.CSeq().SeqNo && *s.req.CallID() == *req.CallID() && tag(s.req.From()) == tag(req.From()) && tag(s.req.To()) == "" {
			return true
		}
	}
	return false
}

// ack handles an ACK, which is never answered: that of a refusal has the
// INVITE's branch, that of a 2xx only its Call-ID, CSeq number and tags.
func (l *Layer) ack(req *sip.Request) {
	if req.CallID() == nil || req.CSeq() == nil || req.From() == nil || req.To() == nil {
		l.count.malformed.Add(1)
		return
	}
	l.mu.Lock()
	s := l.servers[serverKey(req, sip.INVITE)]
	if s == nil {
		for _, other := range l.servers {
			if other.req.IsInvite() && other.req.CSeq().SeqNo == req.CSeq().SeqNo && *other.req.CallID() == *req.CallID() && tag(other.req.From()) == tag(req.From()) && other.tag == tag(req.To()) {
				s = other
			}
		}
	}
	l.mu.Unlock()
	if s == nil {
		l.count.stray.Add(1)
		return
	}
	s.mu.Lock()
	final := s.final
	if final >= 300 {
		s.finished = time.Now()
	}
	s.mu.Unlock()
	switch {
	case final >= 300:
		s.tx.Receive(req)
	case final >= 200:
		s.acknowledge(req)
	}
}

// cancelled handles a CANCEL: a request of its own, answered at once, whose
// meaning is the end of another (RFC 3261 section 9.2). One that comes again is
// answered the same without being remembered: sipgo's state machine for it never
// ends.
func (l *Layer) cancelled(to outbound.Target, req *sip.Request, invite *Server) {
	if invite == nil {
		l.refuse(to, req, sip.StatusCallTransactionDoesNotExists)
		return
	}
	l.transport.Send(to, invite.marked(respond(req, sip.StatusOK, "", nil)))
	invite.withdraw()
}

// refuse answers a request that is not worth a transaction.
func (l *Layer) refuse(to outbound.Target, req *sip.Request, code int) {
	l.count.refused.Add(1)
	l.answer(to, req, code)
}

// answer sends a response without remembering it. RFC 3261 section 8.2.7: "A
// stateless UAS [...] MUST send the same response for a retransmitted
// request", so the tag is made of the branch.
func (l *Layer) answer(to outbound.Target, req *sip.Request, code int) {
	res := respond(req, code, "", nil)
	if h := res.To(); h != nil && tag(req.To()) == "" {
		h.Params.Add("tag", stableTag(req))
	}
	if l.transport.Send(to, res) != nil {
		l.count.malformed.Add(1)
	}
}

// answerTo is where responses go. RFC 3261 section 18.2.2 and RFC 3581 section
// 4: over a connection, back on it; over UDP to the address the request came
// from, and to its port if rport asks for that, otherwise to that of the Via.
// It notes the address in the Via where that differs.
func answerTo(req *sip.Request, from netip.AddrPort) outbound.Target {
	to := outbound.Target{Addr: from, Dest: req.Source()}
	switch req.Transport() {
	case "TCP":
		to.Transport = outbound.TCP
		return to
	case "TLS":
		to.Transport = outbound.TLS
		return to
	}
	via := req.Via()
	if via.Params.Has("rport") {
		return to // the response gets rport and received from sipgo
	}
	if via.Host != from.Addr().String() {
		via.Params.Add("received", from.Addr().String())
	}
	port := via.Port
	if port <= 0 || port > 0xffff {
		port = sip.DefaultUdpPort
	}
	to.Addr = netip.AddrPortFrom(from.Addr(), uint16(port))
	to.Dest = to.Addr.String()
	return to
}

// serverKey tells requests apart (RFC 3261 section 17.2.3): by branch, sent-by
// and method, that of an ACK being the INVITE's. A branch without the magic
// cookie means little (Kamailio's nathelper pings all have "0"); then what RFC
// 2543 went by is added.
func serverKey(req *sip.Request, method sip.RequestMethod) string {
	via := req.Via()
	branch, _ := via.Params.Get("branch")
	key := fmt.Sprintf("%s %s:%d %s", branch, via.Host, via.Port, method)
	if !strings.HasPrefix(branch, sip.RFC3261BranchMagicCookie) && req.CallID() != nil && req.CSeq() != nil {
		key = fmt.Sprintf("%s %s %s %d", key, *req.CallID(), tag(req.From()), req.CSeq().SeqNo)
	}
	return key
}
