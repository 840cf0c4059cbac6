package transport

import (
	"net/netip"
	"time"
)

// rates is what each trusted address may still send: two token buckets for
// each. The table is of fixed size; the address that has been silent longest
// makes room. The zero value is ready. One goroutine.
type rates struct {
	sources [32]source // a route's addresses, present and past
	last    int        // where the last one was found
}

type source struct {
	addr                netip.Addr
	at                  time.Time // when the buckets were filled up
	requests, responses int32     // tokens left, in thousandths
}

// admit takes a token of an address.
func (r *rates) admit(addr netip.Addr, response bool, now time.Time) bool {
	s := r.find(addr, now)
	// Thousandths: a token a millisecond for each thousand a second.
	ms := int32(min(now.Sub(s.at)/time.Millisecond, 60_000))
	if ms > 0 {
		s.at = s.at.Add(time.Duration(ms) * time.Millisecond)
		s.requests = min(s.requests+ms*requestRate, requestBurst*1000)
		s.responses = min(s.responses+ms*responseRate, responseBurst*1000)
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
	r.sources[oldest] = source{addr, now, requestBurst * 1000, responseBurst * 1000}
	return &r.sources[oldest]
}
