package outbound

import (
	"math/bits"
	"net/netip"
)

// Capacity is how many addresses a Ring holds.
const Capacity = 16

// A Target is one address with all that is needed to talk to it. Its strings
// are made once, when the address becomes known. Targets can be compared with ==.
type Target struct {
	Addr      netip.AddrPort
	Dest      string // Addr, printed
	Transport Transport
	TLSName   string // the name its certificate must show; "" where none was configured
	Proxy     string // the configured entry it belongs to
}

// IsZero reports whether t is no target at all.
func (t Target) IsZero() bool { return !t.Addr.IsValid() }

// String returns the address and, unless it is UDP, the transport: "192.0.2.1:5061 tls".
func (t Target) String() string {
	if t.IsZero() {
		return "nowhere"
	}
	if t.Transport == UDP {
		return t.Dest
	}
	return t.Dest + " " + t.Transport.String()
}

// same reports whether both are one place on the network: the configured
// entry that led there does not matter.
func (t *Target) same(u *Target) bool {
	return t.Addr == u.Addr && t.Transport == u.Transport && t.TLSName == u.TLSName
}

// A Place is one address of a Ring and what is known of it.
type Place struct {
	Target
	Health
}

// A Ring holds the addresses of all proxies, best first, and a finger on the
// one in use. Going round without success is a tour: each address once.
// The zero Ring is empty. Its size is fixed and no method allocates.
// A Ring is not safe for concurrent use.
type Ring struct {
	place [Capacity]Place
	tried uint16 // one bit for each place that failed in this tour; never all of them
	n     uint8  // places held
	at    uint8  // the finger; < n unless n is 0
}

// Load replaces the addresses and reports whether anything changed. What is
// known of an address that stays, stays with it. The finger remains on its
// address; if that is gone it goes to the first one not yet tried.
// An empty list changes nothing: an answer never empties a ring. Doubles,
// invalid addresses and what exceeds the capacity are left out.
func (r *Ring) Load(list []Target) (changed bool) {
	var next Ring
	at := -1
	unchanged := true
	for i := range list {
		t := &list[i]
		if !t.Addr.IsValid() || t.Addr.Port() == 0 || next.find(t) >= 0 {
			continue
		}
		if next.n == Capacity {
			break
		}
		unchanged = unchanged && next.n < r.n && r.place[next.n].Target == *t
		p := &next.place[next.n]
		p.Target = *t
		if old := r.find(t); old >= 0 {
			p.Health = r.place[old].Health
			next.tried |= (r.tried >> old & 1) << next.n
			if old == int(r.at) {
				at = int(next.n)
			}
		}
		next.n++
	}
	if next.n == 0 || unchanged && next.n == r.n {
		return false
	}
	if next.tried == next.all() {
		next.tried = 0
	}
	if at < 0 {
		at = bits.TrailingZeros16(^next.tried)
	}
	next.at = uint8(at)
	*r = next
	return true
}

// Len returns how many addresses the ring holds.
func (r *Ring) Len() int { return int(r.n) }

// Current returns the address under the finger; the zero Target if the ring is empty.
func (r *Ring) Current() Target { return r.place[r.at].Target }

// Dest returns the printed address under the finger; "" if the ring is empty.
func (r *Ring) Dest() string { return r.place[r.at].Dest }

// Rotate moves the finger from an address that failed to the next one not yet
// tried in this tour, after the last to the first.
//
// past: the finger came round the end, so the names should be asked again.
// over: every address has failed once; the tour ends and the next one begins.
func (r *Ring) Rotate() (past, over bool) { return r.rotate(0) }

// rotate is Rotate that leaves the places in late, one bit each, for the end of
// the tour.
func (r *Ring) rotate(late uint16) (past, over bool) {
	if r.n == 0 {
		return true, true
	}
	r.tried |= 1 << r.at
	free := r.all() &^ r.tried
	if free == 0 {
		over, free, r.tried = true, r.all(), 0
	}
	if soon := free &^ late; soon != 0 {
		free = soon
	}
	ahead := free &^ (2<<r.at - 1)
	if past = ahead == 0; past {
		ahead = free
	}
	r.at = uint8(bits.TrailingZeros16(ahead))
	return past, over
}

// Skip takes place i out of this tour, as if it had failed already.
func (r *Ring) Skip(i int) { r.tried |= 1 << i }

// Restart begins a new tour: no address counts as tried.
func (r *Ring) Restart() { r.tried = 0 }

// Point puts the finger on place i.
func (r *Ring) Point(i int) {
	if i >= int(r.n) {
		panic(i)
	}
	r.at = uint8(i)
}

// Finger returns the number of the place under the finger.
func (r *Ring) Finger() int { return int(r.at) }

// Place returns place i, 0 ≤ i < Len, best first. The pointer is into the ring.
func (r *Ring) Place(i int) *Place { return &r.place[:r.n][i] }

// Find returns the number of the place that t has, or -1.
func (r *Ring) Find(t Target) int { return r.find(&t) }

func (r *Ring) find(t *Target) int {
	for i := range r.place[:r.n] {
		if r.place[i].same(t) {
			return i
		}
	}
	return -1
}

// all has one bit for each place held.
func (r *Ring) all() uint16 { return uint16(1<<r.n - 1) }
