package callerid

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/fsk"
)

// A Receiver is a telephone's display: it hears what a Sender says. It is made
// by NewReceiver and belongs to one goroutine.
type Receiver struct {
	std  Standard
	now  func() time.Time
	fsk  fsk.Receiver
	keys dtmf.Detector
	msg  []byte
	rest int // samples since the last key

	// Faults are messages that were heard and could not be read.
	Faults int
}

// NewReceiver listens for messages of a standard. Now gives the year and the
// zone that are not told with the time; nil is time.Now.
func NewReceiver(std Standard, now func() time.Time) *Receiver {
	if now == nil {
		now = time.Now
	}
	r := &Receiver{std: std, now: now, msg: make([]byte, 0, 260)}
	if m := std.Modem(); m.Baud != 0 {
		r.fsk = fsk.NewReceiver(m)
	}
	return r
}

// A message begins behind so many ones. There are at least 55 (EN 300 659-1
// section 6.1); between bytes there are at most 10.
const restBefore = 25

// Hear listens to the next samples, of any number, until a message has ended
// or they have. It returns how many it has taken.
func (r *Receiver) Hear(sound []int16) (n int, m Message, ok bool) {
	if r.std.Modem().Baud == 0 {
		return r.hearKeys(sound)
	}
	for n < len(sound) {
		k, b, heard := r.fsk.Hear(sound[n:])
		n += k
		if heard {
			if m, ok = r.take(b); ok {
				return n, m, true
			}
		}
	}
	return n, m, false
}

// take adds a byte to the message.
func (r *Receiver) take(b fsk.Byte) (m Message, ok bool) {
	switch {
	case b.Rest >= restBefore:
		r.msg = r.msg[:0]
	case len(r.msg) == 0: // seizure, or noise
		return m, false
	}
	r.msg = append(r.msg, b.Value)
	if !r.whole() {
		return m, false
	}
	m, err := Parse(r.msg, r.std.Coding(), r.now())
	r.msg = r.msg[:0]
	if err != nil {
		r.Faults++
	}
	return m, err == nil
}

// whole reports whether the message has all the bytes that its length asks for.
func (r *Receiver) whole() bool {
	head, tail, mask := 2, 1, byte(0xFF) // type, length; check
	if r.std.Coding() == NTT {
		head, tail, mask = 7, 4, 0x7F // DLE SOH header DLE STX before them; DLE ETX CRC
	}
	return len(r.msg) >= head && len(r.msg) == head+int(r.msg[head-1]&mask)+tail
}

// keyWithin is how long the next key may keep one waiting: after it, what was
// heard was no message. In samples.
const keyWithin = 8000

func (r *Receiver) hearKeys(sound []int16) (n int, m Message, ok bool) {
	for n < len(sound) {
		k := min(80, len(sound)-n)
		h := r.keys.Hear(sound[n : n+k])
		n += k
		if r.rest += k; r.rest > keyWithin {
			r.msg = r.msg[:0]
		}
		if h.Pressed == 0 || len(r.msg) == cap(r.msg) {
			continue
		}
		r.rest = 0
		r.msg = append(r.msg, h.Pressed)
		if h.Pressed != 'C' && h.Pressed != '#' {
			continue
		}
		m, err := ParseKeys(string(r.msg))
		r.msg = r.msg[:0]
		if err == nil {
			return n, m, true
		}
		r.Faults++
	}
	return n, m, false
}
