package txn

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/ata-agent/ata-agent/sip/transport"
)

// check looks for what makes a request unfit to be handled and returns the
// status to refuse it with, or 0. sipgo's parser takes nearly everything; each
// row here stands for a message of RFC 4475 that it lets through.
//
// A Max-Forwards of 0 is none of them. RFC 4475 section 3.3.11: "An endpoint
// should process the request as if the Max-Forwards field value were still
// positive."
func check(req *sip.Request) int {
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return sip.StatusVersionNotSupported // 3.1.2.16 badvers
	}
	switch cseq := req.CSeq(); {
	case req.From() == nil || req.To() == nil || req.CallID() == nil || cseq == nil:
		// Section 8.1.1 of RFC 3261, without Via, which was looked for before
		// anything could be answered, and Max-Forwards, which old peers omit.
		return sip.StatusBadRequest // 3.3.1 insuf
	case doubled(req.Headers()):
		return sip.StatusBadRequest // 3.3.8 multi01, 3.3.9 mcl01
	case tag(req.From()) == "":
		// RFC 2543 had no tags; a dialog without one could be ended by anybody.
		return sip.StatusBadRequest
	case !strings.EqualFold(string(cseq.MethodName), string(req.Method)): // sipgo writes one of them in capitals
		return sip.StatusBadRequest // 3.1.2.17 mismatch01, 3.1.2.18 mismatch02
	case req.Via().Host == "":
		return sip.StatusBadRequest
	case badLength(req):
		return sip.StatusBadRequest // 3.1.2.2 clerr
	}
	switch req.Recipient.Scheme {
	case "sip", "sips", "tel":
	default:
		return 416 // 3.3.2 unkscm: Unsupported URI Scheme, RFC 3261 section 21.4.14
	}
	switch req.Method {
	case sip.BYE, sip.PRACK, sip.UPDATE:
		if tag(req.To()) == "" {
			// They exist only in dialogs, and one without a tag is none of
			// ours: section 12.2.2.
			return sip.StatusCallTransactionDoesNotExists
		}
	}
	return 0
}

// sound reports whether a response can be given to a transaction, and its
// headers be used in what follows from it. RFC 3261
// section 8.1.3.3: "If more than one Via header field value is present in a
// response, the UAC SHOULD discard the message."
func sound(res *sip.Response) bool {
	if res.Via() == nil || res.CSeq() == nil || res.From() == nil || res.To() == nil || res.CallID() == nil {
		return false
	}
	if res.StatusCode < 100 || res.StatusCode > 699 || !strings.EqualFold(res.SipVersion, "SIP/2.0") || badLength(res) {
		return false
	}
	return len(res.GetHeaders("via")) == 1 && transport.Intact(res) == nil
}

// badLength reports whether a body is shorter than its Content-Length says.
// One that is longer has been cut (RFC 3261 section 18.3).
func badLength(msg sip.Message) bool {
	h := msg.ContentLength()
	return h != nil && int64(*h) != int64(len(msg.Body()))
}

// doubled reports whether a header is there twice of which there may be one.
func doubled(headers []sip.Header) bool {
	var seen [7]bool
	for _, h := range headers {
		n := slices.Index(onlyOnce[:], sip.HeaderToLower(h.Name()))
		if n >= 0 && seen[n] {
			return true
		}
		if n >= 0 {
			seen[n] = true
		}
	}
	return false
}

var onlyOnce = [7]string{"from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type"}

// tidy takes out the white space that the grammar allows around ";", "=" and
// the method of a CSeq, and that sipgo leaves in: "; tag = 1" would be a
// parameter named " tag ". RFC 4475 section 3.1.1.1.
func tidy(msg sip.Message) {
	if h := msg.CSeq(); h != nil {
		h.MethodName = sip.RequestMethod(strings.TrimSpace(string(h.MethodName)))
	}
	if h := msg.From(); h != nil {
		trim(h.Params)
		h.Address.Host = strings.TrimSpace(h.Address.Host)
	}
	if h := msg.To(); h != nil {
		trim(h.Params)
		h.Address.Host = strings.TrimSpace(h.Address.Host)
	}
	for _, h := range msg.GetHeaders("via") { // a response shows them all
		if via, ok := h.(*sip.ViaHeader); ok {
			trim(via.Params)
			if words := strings.Fields(via.Host); via.Transport == "" && len(words) == 2 {
				via.Transport, via.Host = words[0], words[1] // of "SIP / 2.0 / UDP host"
			}
			via.Host = strings.TrimSpace(via.Host)
		}
	}
}

func trim(params sip.HeaderParams) {
	for n := range params {
		params[n].K = strings.ToLower(strings.TrimSpace(params[n].K))
		params[n].V = strings.TrimSpace(params[n].V)
	}
}

// respond builds a response with the usual reason.
func respond(req *sip.Request, code int, reason string, body []byte) *sip.Response {
	if reason == "" {
		reason = reasons[code]
	}
	if reason == "" {
		reason = "Status " + strconv.Itoa(code)
	}
	res := sip.NewResponseFromRequest(req, code, reason, body)
	res.SipVersion = "SIP/2.0"
	return res
}

// reasons are those of RFC 3261 section 21 that a telephone says.
var reasons = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
	200: "OK", 202: "Accepted",
	302: "Moved Temporarily",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	406: "Not Acceptable", 408: "Request Timeout", 413: "Request Entity Too Large", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
	486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending",
	500: "Server Internal Error", 501: "Not Implemented", 503: "Service Unavailable", 505: "Version Not Supported",
	600: "Busy Everywhere", 603: "Decline",
}

// newTag is our half of a dialog: 95 bits.
func newTag() string { return sip.GenerateTagN(16) }

// stableTag is the same for the same request.
func stableTag(req *sip.Request) string {
	h := fnv.New64a()
	h.Write([]byte(serverKey(req, req.Method)))
	return strconv.FormatUint(h.Sum64(), 36)
}
