package outbound

import (
	"errors"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	status := func(method string, codes ...int) (list []Failure) {
		for _, c := range codes {
			list = append(list, Failure{Method: method, Code: c})
		}
		return list
	}
	cause := func(c Cause) (list []Failure) {
		for _, m := range []string{"REGISTER", "INVITE", "OPTIONS", "BYE", "SUBSCRIBE", ""} {
			list = append(list, Failure{Method: m, Cause: c})
		}
		return list
	}
	for _, c := range []struct {
		name     string
		failures []Failure
		want     Verdict
	}{
		// RFC 3263 section 4.3: "failure occurs if the transaction layer
		// reports a 503 error response or a transport failure of some sort
		// (generally, due to fatal ICMP errors in UDP or connection failures in
		// TCP). Failure also occurs if the transaction layer times out without
		// ever having received any response, provisional or final".
		{"no answer", cause(NoAnswer), Move},
		{"ICMP", cause(Unreachable), Move},
		{"connection refused", cause(Refused), Move},
		{"connection lost", cause(Lost), Move},
		{"503", status("", 503), Move},
		{"503 to REGISTER", status("REGISTER", 503), Move},
		{"503 to INVITE", status("INVITE", 503), Move},
		{"503 with Retry-After", []Failure{{Method: "REGISTER", Code: 503, RetryAfter: time.Minute}}, Move},

		{"TLS", cause(TLSFailed), Move},
		{"asked by the operator", cause(Asked), Move},
		{"no link", cause(Local), Wait},
		{"430", append(status("REGISTER", 430), status("INVITE", 430)...), Move},

		{"registrar behind the proxy", status("REGISTER", 408, 480, 500, 502, 504, 580), Move},
		{"registrar sends us elsewhere", status("REGISTER", 300, 301, 302, 305), Move},
		{"account", status("REGISTER", 400, 401, 402, 403, 404, 405, 407, 410, 420, 484, 499, 600, 603), Account},
		{"interval too brief", status("REGISTER", 423), Stay},

		{"the callee's answer", status("INVITE", 300, 302, 400, 401, 403, 404, 407, 408, 415, 423, 480, 481, 486, 487, 488, 491, 500, 501, 502, 504, 600, 603, 604, 606), Stay},
		{"in a dialog", append(status("BYE", 408, 481, 500), status("SUBSCRIBE", 403, 404, 489)...), Stay},
		{"any answer to a probe", status("OPTIONS", 302, 401, 403, 404, 405, 408, 481, 500, 501, 503, 603), Stay},

		{"on its way", status("INVITE", 100, 180, 183), Stay},
		{"success", append(status("REGISTER", 200), status("INVITE", 200, 202)...), Fine},
		{"no status of SIP", status("REGISTER", 99, 700, -1), Stay},
	} {
		for _, f := range c.failures {
			if got := Judge(f); got != c.want {
				t.Errorf("%s: %s %v: %v, want %v (%s)", c.name, f.Method, f, got, c.want, Reason(f))
			}
		}
	}
}

// Every row is complete, and none is hidden behind those above it.
func TestJudgeRows(t *testing.T) {
	for i, row := range verdicts {
		if row.reason == "" || row.source == "" {
			t.Errorf("row %d has no reason or no source", i)
		}
		seen := false
		for code := row.from; code <= row.to && !seen; code++ {
			for _, method := range []string{row.method, "INVITE"} {
				if _, got := judge(Failure{Cause: row.cause, Code: code, Method: method}); got == i {
					seen = true
				}
			}
		}
		if !seen {
			t.Errorf("row %d (%v %s %d-%d) is never reached", i, row.cause, row.method, row.from, row.to)
		}
	}
}

func TestFailureReads(t *testing.T) {
	for want, f := range map[string]Failure{
		"no answer":          {},
		"unreachable (ICMP)": {Cause: Unreachable},
		"answered 503, wants to be left alone for 15s":     {Code: 503, RetryAfter: 15 * time.Second},
		"503 Service Unavailable":                          {Code: 503, Err: errors.New("503 Service Unavailable")},
		"TLS failed: x509: certificate has expired":        {Cause: TLSFailed, Err: errors.New("x509: certificate has expired")},
		"cannot send: network is unreachable":              {Cause: Local, Err: errors.New("network is unreachable")},
		"asked to move: the operator is tired of this one": {Cause: Asked, Err: errors.New("the operator is tired of this one")},
	} {
		if f.Error() != want {
			t.Errorf("%q, want %q", f.Error(), want)
		}
	}
}
