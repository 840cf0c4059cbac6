package outbound

import (
	"cmp"
	"math"
	"slices"
)

// zeroWeight is what a weight of 0 counts for. RFC 2782: "In the presence of
// records containing weights greater than 0, records with weight 0 should have a
// very small chance of being selected."
const zeroWeight = 0.01

// Spread puts addresses that are equally preferred into the order that is this
// device's own. It is rendezvous hashing: each address draws a number that
// depends on the device and itself alone, the smallest is first. So a device
// finds the same order again after any restart; when an address dies its devices
// go to all others alike, in proportion to their weights; and an address that is
// added or taken away moves no line but its own. Without weights all weigh the same.
func Spread(device string, equals []Target, weights []float64) {
	type entry struct {
		Target
		weight, draw float64
	}
	list := make([]entry, len(equals))
	for i, t := range equals {
		e := entry{t, 1, drawn(device, t.Dest)}
		if weights != nil {
			e.weight = weights[i]
		}
		e.draw /= e.weight
		list[i] = e
	}
	slices.SortStableFunc(list, func(x, y entry) int { return cmp.Compare(x.draw, y.draw) })
	for i, e := range list {
		equals[i] = e.Target
		if weights != nil {
			weights[i] = e.weight
		}
	}
}

// spread does that to an answer. Priorities stay strict, and IPv4 stays before
// IPv6 within each.
func (a *Answer) spread(device string) {
	order := make([]int, len(a.Targets))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(a.rank[i], a.rank[j]), family(a.Targets[i])-family(a.Targets[j]))
	})
	sorted := Answer{TTL: a.TTL, Partial: a.Partial}
	for _, i := range order {
		sorted.Targets, sorted.rank, sorted.share = append(sorted.Targets, a.Targets[i]), append(sorted.rank, a.rank[i]), append(sorted.share, a.share[i])
	}
	*a = sorted
	for from, to := 0, 0; from < len(a.Targets); from = to {
		for to = from; to < len(a.Targets) && a.rank[to] == a.rank[from] && family(a.Targets[to]) == family(a.Targets[from]); to++ {
		}
		Spread(device, a.Targets[from:to], a.share[from:to])
	}
}

func family(t Target) int {
	if t.Addr.Addr().Is4() {
		return 4
	}
	return 6
}

// drawn is exponentially distributed over all devices: of such numbers, each
// divided by a weight, the chance to be the smallest is that weight's part.
func drawn(device, address string) float64 { return -math.Log(1 - unit(device+"\x00"+address)) }

// Phase is a number from [0, 1) that belongs to a device for good: what all
// devices do every so often, each does at its own time.
func Phase(device string) float64 { return unit(device) }

// unit is FNV-1a with the finish of SplitMix64, as a number from [0, 1).
func unit(s string) float64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h>>11) / (1 << 53)
}
