package transport

import (
	"net/netip"
	"time"
)

// rates is what each trusted address may still send: two token buckets for
// each, that hold what may come in two seconds. Responses have a purse of their
// own, twice as large, so that a flood of requests in a proxy's name does not
// drown the answers to our own calls. The table is of fixed size; the address
// that has been silent longest makes room. One goroutine.
type rates struct {
	perSecond int32      // requests
	sources   [32]source // a route's addresses, present and past
	last      int        // where the last one was found
}

type source struct {
	addr                netip.Addr
	at                  time.Time // when the buckets were filled up
	requests, responses int64     // tokens left, in thousandths
}

// admit takes a token of an address.
func (r *rates) admit(addr netip.Addr, response bool, now time.Time) bool {
	s := r.find(addr, now)
	rate := int64(r.perSecond)
	if ms := int64(now.Sub(s.at) / time.Millisecond); ms > 0 {
		s.at = s.at.Add(time.Duration(ms) * time.Millisecond)
		ms = min(ms, 2000) // a thousandth of a token for each message a second
		s.requests = min(s.requests+ms*rate, 2000*rate)
		s.responses = min(s.responses+2*ms*rate, 4000*rate)
	}
	left := &s.requests
	if response {
		left = &s.responses
	}
	if *left < 1000 {
		return false
	}
	*left -= 1000
	return true
}

func (r *rates) find(addr netip.Addr, now time.Time) *source {
	if s := &r.sources[r.last]; s.addr == addr {
		return s
	}
	oldest := 0
	for i := range r.sources {
		s := &r.sources[i]
		if s.addr == addr {
			r.last = i
			return s
		}
		if s.at.Before(r.sources[oldest].at) {
			oldest = i
		}
	}
	r.last = oldest
	r.sources[oldest] = source{addr, now, 2000 * int64(r.perSecond), 4000 * int64(r.perSecond)}
	return &r.sources[oldest]
}
