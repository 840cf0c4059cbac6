package outbound

import (
	"net/netip"
	"slices"
	"time"
)

// maxPast is how many past addresses stay trusted: four whole rings.
const maxPast = 4 * Capacity

// trusted lists the addresses whose datagrams are read at all. It is never
// changed, only replaced, so Trusts needs no lock.
type trusted struct {
	now  []netip.Addr // members of the ring
	past []past       // those that were, oldest first
}

type past struct {
	addr  netip.Addr
	until time.Time
}

// Trusts reports whether a is an address of a configured proxy, or was one
// until lately: a call may still come in by way of a registration made there.
// It takes no lock and allocates nothing: it is asked for every datagram.
func (r *Route) Trusts(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	t := r.trusted.Load()
	if slices.Contains(t.now, a) {
		return true
	}
	for i := range t.past {
		if t.past[i].addr == a {
			return time.Now().Before(t.past[i].until)
		}
	}
	return false
}

// trust follows the ring after it was loaded.
func (r *Route) trust(now time.Time) {
	old, t := r.trusted.Load(), new(trusted)
	for i := range r.policy.ring.Len() {
		if a := r.policy.ring.Place(i).Addr.Addr().WithZone(""); !slices.Contains(t.now, a) {
			t.now = append(t.now, a)
		}
	}
	for _, p := range old.past {
		if now.Before(p.until) && !slices.Contains(t.now, p.addr) {
			t.past = append(t.past, p)
		}
	}
	for _, a := range old.now {
		if !slices.Contains(t.now, a) {
			t.past = append(t.past, past{a, now.Add(r.cfg.Keep)})
		}
	}
	t.past = t.past[max(0, len(t.past)-maxPast):]
	r.trusted.Store(t)
}
