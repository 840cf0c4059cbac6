package sip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/dialog"
	"github.com/ata-agent/ata-agent/sip/transport"
	"github.com/ata-agent/ata-agent/sip/txn"
)

// What we speak. REFER and SUBSCRIBE are not among it.
const (
	allow     = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, INFO, NOTIFY"
	supported = "100rel, timer"
	sdpType   = "application/sdp"
)

// known are the methods that exist: those not in allow get a 405, all others a
// 501 (RFC 3261 section 8.2.1 and 21.5.2).
var known = []sip.RequestMethod{sip.REGISTER, sip.SUBSCRIBE, sip.REFER, sip.MESSAGE, sip.PUBLISH}

// reach makes sure that via can be sent to, and says from where. Opening a
// connection that nobody answers counts as no answer.
func (l *Line) reach(ctx context.Context, via outbound.Target, limit time.Duration) (transport.Local, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	local, err := l.layer.Transport().Connect(bounded, via)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = txn.ErrNoAnswer
	}
	return local, err
}

// send sends what build builds and answers a challenge to it. build is called
// for each try, since each is a request of its own with its own CSeq.
func (l *Line) send(ctx context.Context, via outbound.Target, quiet time.Duration, build func() *sip.Request) (*sip.Response, error) {
	if _, err := l.reach(ctx, via, quiet); err != nil {
		return nil, err
	}
	pace := l.inDialog(via, quiet)
	for try := 0; ; try++ {
		req := build()
		l.keys.sign(via, req)
		res, err := l.layer.DoAt(ctx, via, req, pace)
		if err != nil {
			return nil, err
		}
		if try < maxTries && (res.StatusCode == 401 || res.StatusCode == 407) {
			err := l.keys.challenged(via, req, res)
			if err == nil {
				continue
			}
			l.log.Info("challenge not answered", "line", l.cfg.Name, "via", via.Dest, "method", req.Method, "why", err)
			return res, nil
		}
		l.keys.accepted(via, req, res)
		return res, nil
	}
}

// inDialog is the pace of requests in a call. Somebody waits for what comes of
// them, and where many datagrams are lost four would be few.
func (l *Line) inDialog(via outbound.Target, quiet time.Duration) outbound.Pace {
	pace := l.route.Pace(via, string(sip.BYE))
	return outbound.Pace{T1: min(pace.T1, t1), T2: 2 * t1, Quiet: quiet}
}

// retry signs a BYE that the transactions send on their own, for a call that
// was answered after nobody wanted it any more.
func (l *Line) retry(bye *sip.Request, challenge *sip.Response) *sip.Request {
	for _, via := range l.route.Targets() {
		if via.Dest == challenge.Source() && l.keys.challenged(via, bye, challenge) == nil {
			bye = bye.Clone()
			bye.CSeq().SeqNo++
			for bye.RemoveHeader("Via") {
			}
			for _, proxy := range []bool{false, true} {
				bye.RemoveHeader(field(proxy))
			}
			l.keys.sign(via, bye)
			return bye
		}
	}
	return nil
}

// target is the way back to where a request came from.
func (l *Line) target(s *txn.Server) outbound.Target {
	from := s.From()
	kind := outbound.UDP
	switch strings.ToUpper(s.Request().Transport()) {
	case "TCP":
		kind = outbound.TCP
	case "TLS":
		kind = outbound.TLS
	}
	for _, t := range l.route.Targets() {
		if t.Addr == from && t.Transport == kind {
			return t
		}
	}
	// A proxy of the past, still trusted: its name is not known any more.
	return outbound.Target{Addr: from, Dest: from.String(), Transport: kind}
}

// reply answers a request without a body. more is header names and values.
func (l *Line) reply(s *txn.Server, code int, more ...string) {
	res := s.Response(code, "", nil)
	for i := 0; i+1 < len(more); i += 2 {
		res.AppendHeader(sip.NewHeader(more[i], more[i+1]))
	}
	if l.cfg.UserAgent != "" {
		res.AppendHeader(sip.NewHeader("Server", l.cfg.UserAgent))
	}
	if err := s.Respond(res); err != nil {
		l.log.Debug("response not sent", "line", l.cfg.Name, "code", code, "error", err)
	}
}

// request takes what comes from outside, in order. It does not wait.
func (l *Line) request(s *txn.Server) {
	req := s.Request()
	if id, ok := dialog.Of(req); ok {
		l.mu.Lock()
		c := l.calls[id.LocalTag]
		l.mu.Unlock()
		if c != nil && c.id == id.CallID {
			c.give(s)
			return
		}
		// RFC 3261 section 12.2.2: "If the UAS wishes to reject the request
		// because it does not wish to recreate the dialog, it MUST respond to
		// the request with a 481".
		l.reply(s, 481)
		return
	}
	if l.unfit(s) {
		return
	}
	switch req.Method {
	case sip.INVITE:
		l.incoming(s)
	case sip.OPTIONS:
		l.reply(s, 200, "Allow", allow, "Accept", sdpType, "Supported", supported)
	case sip.NOTIFY:
		l.notify(s)
	default: // BYE, PRACK, UPDATE, INFO of no dialog
		l.reply(s, 481)
	}
}

// unfit answers what no request may be, in the order of RFC 3261 section 8.2:
// the method, the scheme, extensions required that are not spoken here.
func (l *Line) unfit(s *txn.Server) bool {
	req := s.Request()
	if !slices.Contains(strings.Split(allow, ", "), string(req.Method)) {
		if slices.Contains(known, req.Method) {
			l.reply(s, 405, "Allow", allow)
		} else {
			l.reply(s, 501, "Allow", allow)
		}
		return true
	}
	if req.Recipient.Scheme != "sip" && req.Recipient.Scheme != "sips" {
		l.reply(s, 416)
		return true
	}
	var unknown []string
	for _, tag := range tokens(req, "Require") {
		if !slices.Contains(strings.Split(supported, ", "), strings.ToLower(tag)) {
			unknown = append(unknown, tag)
		}
	}
	if len(unknown) > 0 {
		l.reply(s, 420, "Unsupported", strings.Join(unknown, ", "))
		return true
	}
	return false
}

// unreadable answers a body that is no session.
func (l *Line) unreadable(s *txn.Server) bool {
	req := s.Request()
	if len(req.Body()) == 0 {
		return false
	}
	kind := ""
	if h := req.ContentType(); h != nil {
		kind, _, _ = strings.Cut(h.Value(), ";")
	}
	if !strings.EqualFold(strings.TrimSpace(kind), sdpType) {
		l.reply(s, 415, "Accept", sdpType)
		return true
	}
	if h := req.GetHeader("Content-Encoding"); h != nil && !strings.EqualFold(h.Value(), "identity") {
		l.reply(s, 415, "Accept-Encoding", "identity")
		return true
	}
	return false
}

// notify takes the news of the mailbox, RFC 3842, which providers send
// without having been asked.
func (l *Line) notify(s *txn.Server) {
	req := s.Request()
	event := ""
	if h := req.GetHeader("Event"); h != nil {
		event, _, _ = strings.Cut(h.Value(), ";")
	}
	if !strings.EqualFold(strings.TrimSpace(event), "message-summary") {
		l.reply(s, 489, "Allow-Events", "message-summary") // RFC 6665 section 4.1.3
		return
	}
	l.reply(s, 200)
	if m, ok := mailbox(req.Body()); ok {
		m.Line = l
		// This is the goroutine that reads the socket; whoever is told may take a while.
		l.spawn(func() { l.tell(m) })
	}
}

// mailbox reads a simple-message-summary, RFC 3842 section 5.2.
func mailbox(body []byte) (m MessageWaiting, ok bool) {
	for _, line := range strings.Split(string(body), "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "messages-waiting":
			m.Waiting, ok = strings.EqualFold(value, "yes"), true
		case "voice-message":
			counts, _, _ := strings.Cut(value, "(")
			fmt.Sscanf(strings.ReplaceAll(counts, "/", " "), "%d %d", &m.New, &m.Old)
			m.New, m.Old = max(m.New, 0), max(m.Old, 0)
		}
	}
	return m, ok
}

// causeOf puts an error of the transport or transaction into the words of
// package outbound, and what the system said beside them into as few more.
func causeOf(err error) (outbound.Cause, error) {
	var fault transport.Fault
	switch {
	case errors.Is(err, txn.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded):
		return outbound.NoAnswer, nil
	case errors.As(err, &fault):
		said := bare(fault.Err)
		switch fault.Kind {
		case transport.Unreachable:
			if said == syscall.ECONNREFUSED { // how a socket without an error queue says it
				said = errors.New("port unreachable")
			}
			return outbound.Unreachable, said
		case transport.Refused:
			if said == syscall.ECONNREFUSED {
				said = nil
			}
			return outbound.Refused, said
		case transport.Lost:
			if said == io.EOF {
				said = errors.New("the proxy closed it")
			}
			return outbound.Lost, said
		case transport.TLSFailed:
			return outbound.TLSFailed, said
		}
		return outbound.Local, said
	}
	return outbound.Local, bare(err)
}

// bare is the kernel's word without the account of the call that it came from:
// "network is unreachable" instead of "dial udp 192.0.2.7:5060: connect: network
// is unreachable". Who and where are said already.
func bare(err error) error {
	for {
		switch e := err.(type) {
		case *net.OpError:
			err = e.Err
		case *os.SyscallError:
			err = e.Err
		default:
			return err
		}
	}
}
