package outbound

import (
	"fmt"
	"time"
)

// A Cause says how an attempt to talk to a proxy ended.
type Cause uint8

const (
	NoAnswer    Cause = iota // no response at all in time, not even a 100
	Unreachable              // ICMP: port, host or network unreachable
	Refused                  // TCP: connection refused
	Lost                     // TCP, TLS: the connection broke while an answer was due
	TLSFailed                // handshake or certificate
	Local                    // our side: no link, no route, no address, no socket
	NoFamily                 // this host does not speak that version of IP, and another address can be reached
	Status                   // a final response; Failure.Code has it
	Asked                    // the operator asked for another proxy
	Preferred                // no failure: an address that is preferred is well again
)

// A Failure is how an attempt failed: what was sent, and what came of it.
// It is an error and reads as a sentence.
type Failure struct {
	Method     string        // REGISTER, INVITE, OPTIONS, ...; "" is taken for REGISTER
	Code       int           // the final SIP status; 0: none came, Cause says why
	Cause      Cause         // not looked at when Code is set
	RetryAfter time.Duration // from the response; 0: none
	Began      time.Time     // when the attempt was sent; zero: not known. A failure older than the last move is no news.
	Tries      int           // datagrams that went unanswered; 0: enough of them. Few prove nothing where many are lost.
	Urgent     bool          // somebody waits: an INVITE, or a registration with the receiver off its hook
	Err        error         // more about it, for people; may be nil
}

// Error says what happened, without saying to whom.
func (f Failure) Error() string {
	what := [...]string{
		NoAnswer:    "no answer",
		Unreachable: "unreachable (ICMP)",
		Refused:     "connection refused",
		Lost:        "connection lost",
		TLSFailed:   "TLS failed",
		Local:       "cannot send",
		NoFamily:    "cannot send there",
		Status:      "refused",
		Asked:       "asked to move",
		Preferred:   "a preferred proxy is well again",
	}[f.Cause]
	switch {
	case f.Code != 0 && f.Err != nil:
		what = f.Err.Error()
	case f.Code != 0:
		what = fmt.Sprintf("answered %d", f.Code)
	case f.Err != nil:
		what += ": " + f.Err.Error()
	}
	if f.RetryAfter > 0 {
		what += fmt.Sprintf(", wants to be left alone for %v", f.RetryAfter)
	}
	return what
}

// detail is Error with what was asked and how often.
func (f Failure) detail() string {
	switch {
	case f.Method == "":
		return f.Error()
	case f.Tries > 1:
		return fmt.Sprintf("%s, asked %d times: %s", f.Method, f.Tries, f.Error())
	}
	return f.Method + ": " + f.Error()
}

// Unwrap returns Err.
func (f Failure) Unwrap() error { return f.Err }

// A Verdict says what a failure means for the ring.
type Verdict uint8

const (
	Move    Verdict = iota // the proxy is no use now: the next address
	Stay                   // the proxy did its work: the address stays
	Account                // the proxy is well, it does not want this account: the address stays, others are tried slowly
	Wait                   // our own side is at fault: nothing moves, whoever is asked
	Fine                   // no failure at all
)

func (v Verdict) String() string {
	return [...]string{"move", "stay", "account", "wait", "fine"}[v]
}

// verdicts is the table of what moves the ring and what does not. The first
// row that fits is the verdict. An empty method is any; codes are a range.
var verdicts = [...]struct {
	cause    Cause
	method   string
	from, to int // final status; 0, 0: none came
	verdict  Verdict
	reason   string
	source   string
}{
	// No answer of any kind: the address cannot be worked with.
	{Local, "", 0, 0, Wait, "without a link, a route or an address every proxy looks dead", "own choice: a pulled cable must not turn the ring"},
	{NoFamily, "", 0, 0, Move, "a host with IPv6 only would wait for ever for an IPv4 link", "own choice: RFC 7984 asks that neither family starves the other"},
	{NoAnswer, "", 0, 0, Move, "nobody answers there", "RFC 3263 4.3: transaction failed without a response"},
	{Unreachable, "", 0, 0, Move, "its host or the way there says that nobody listens", "RFC 3261 8.1.3.1: fatal transport errors, as 503; RFC 3263 4.3"},
	{Refused, "", 0, 0, Move, "its host says that nobody listens", "RFC 3263 4.3: failure of the transport layer"},
	{Lost, "", 0, 0, Move, "it went away while it owed an answer", "RFC 3263 4.3; RFC 5626 4.4.1: the flow has failed"},
	{TLSFailed, "", 0, 0, Move, "whoever answers there is not the proxy, or cannot prove it", "RFC 5922 7.3: the connection must be closed"},
	{Asked, "", 0, 0, Move, "the operator wants it", "own choice"},
	{Preferred, "", 0, 0, Stay, "nothing has failed", "own choice"},

	// An answer to anything: mostly the proxy's word about somebody else.
	{Status, "", 100, 199, Stay, "the proxy is at work", "RFC 3261 21.1"},
	{Status, "", 200, 299, Fine, "success", "RFC 3261 21.2"},
	{Status, "OPTIONS", 300, 699, Stay, "any answer to a probe is life", "own choice: the proxy is there, REGISTER will hear the rest"},
	{Status, "", 430, 430, Move, "the flow through this proxy is gone", "RFC 5626 11.5"},
	{Status, "", 503, 503, Move, "overloaded or out of service, and says so; Retry-After is kept", "RFC 3263 4.3; RFC 3261 21.5.4"},

	// REGISTER: is it the proxy, or is it the account?
	{Status, "REGISTER", 423, 423, Stay, "it wants a longer expiry, which the line then asks for", "RFC 3261 10.3 step 7"},
	{Status, "REGISTER", 300, 399, Move, "it sends us elsewhere; only configured proxies are followed", "own choice: a redirect must not lead a line away"},
	{Status, "REGISTER", 408, 408, Move, "it lives, its registrar does not; another proxy may reach one", "own choice: RFC 4320 4.2 forbids it, so nobody knows better"},
	{Status, "REGISTER", 480, 480, Move, "no registrar behind it for now", "RFC 3261 21.4.18: temporarily unavailable"},
	{Status, "REGISTER", 401, 401, Account, "name or password is wrong (the line has tried twice)", "RFC 3261 22.1: do not retry with rejected credentials"},
	{Status, "REGISTER", 407, 407, Account, "name or password is wrong (the line has tried twice)", "RFC 3261 22.1"},
	{Status, "REGISTER", 403, 403, Account, "the account is locked or unknown", "RFC 3261 21.4.4: should not be repeated"},
	{Status, "REGISTER", 404, 404, Account, "the account does not exist in this domain", "RFC 3261 10.3 step 5"},
	{Status, "REGISTER", 400, 499, Account, "this registrar cannot take what this account asks for", "RFC 3261 21.4: not to be repeated unchanged at the same server"},
	{Status, "REGISTER", 500, 599, Move, "a server failed; another may do better", "RFC 3261 21.5: server failure"},
	{Status, "REGISTER", 600, 699, Account, "no server of this domain will take the account", "RFC 3261 21.6: global failure"},

	// INVITE and all others: "any other final answer is an answer".
	{Status, "", 300, 399, Stay, "the callee is elsewhere; the call decides", "RFC 3261 21.3"},
	{Status, "", 400, 499, Stay, "the callee's answer, a 408 or 404 too: the proxy did its work", "RFC 3263 4.3: only 503 is failure"},
	{Status, "", 500, 599, Stay, "a server behind the proxy failed this one request", "RFC 3263 4.3: only 503 is failure"},
	{Status, "", 600, 699, Stay, "the callee will not be reached, wherever asked", "RFC 3261 21.6"},
}

// Judge says what a failure means for the ring. A Code decides if there is
// one, otherwise the Cause does. Where RetryAfter comes with a verdict of
// Move, the address is left alone for that long.
func Judge(f Failure) Verdict {
	verdict, _ := judge(f)
	return verdict
}

// Reason says why Judge decides as it does, with the source of the rule.
func Reason(f Failure) string {
	_, i := judge(f)
	if i < 0 {
		return "not a status of SIP"
	}
	return verdicts[i].reason + " (" + verdicts[i].source + ")"
}

func judge(f Failure) (Verdict, int) {
	if f.Method == "" {
		f.Method = "REGISTER"
	}
	if f.Code != 0 {
		f.Cause = Status
	}
	for i := range verdicts {
		row := &verdicts[i]
		if row.cause == f.Cause && (row.method == "" || row.method == f.Method) && row.from <= f.Code && f.Code <= row.to {
			return row.verdict, i
		}
	}
	return Stay, -1
}

// refused reports whether somebody answered: an answer to a probe refutes
// silence, it does not refute a refusal.
func (f Failure) refused() bool { return f.Code != 0 }
