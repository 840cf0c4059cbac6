package fleet

import "time"

// A kind of event, and what its line number means.
type kind uint8

const (
	boot    kind = iota // the line has power
	keep                // the line sends a keep-alive
	refresh             // the line refreshes its registration
	strike              // the fault
	revive              // its end
	dead                // the line's proxy has not proved that it lives
	try                 // the line registers
	again               // the line repeats what it sent
	answer              // the line gets a response
	quiet               // the line has waited long enough for one
	look                // the line asks all for a sign of life
	sign                // the line gets one
	stand               // the line asks those addresses that it may go to next, or back to
)

// An event is something that will happen. turn is the line's when it was
// planned: an event of an earlier turn has become void.
type event struct {
	at    time.Duration
	order uint32 // of what happens at one instant
	line  uint32
	turn  uint32
	kind  kind
	proxy uint8
	step  uint8
}

// A heap holds events, the next one first.
type heap struct {
	list  []event
	count uint32
}

func (h *heap) len() int { return len(h.list) }

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

func (h *heap) push(e event) {
	h.count++
	e.order = h.count
	h.list = append(h.list, e)
	i := len(h.list) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !h.list[i].before(&h.list[up]) {
			break
		}
		h.list[i], h.list[up] = h.list[up], h.list[i]
		i = up
	}
}

func (h *heap) pop() event {
	first := h.list[0]
	last := len(h.list) - 1
	h.list[0] = h.list[last]
	h.list = h.list[:last]
	for i := 0; ; {
		least := i
		for k := 4*i + 1; k <= 4*i+4 && k < last; k++ {
			if h.list[k].before(&h.list[least]) {
				least = k
			}
		}
		if least == i {
			return first
		}
		h.list[i], h.list[least] = h.list[least], h.list[i]
		i = least
	}
}
