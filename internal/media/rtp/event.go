package rtp

import (
	"encoding/binary"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// Keys travel beside the sound as events of RFC 4733: a few packets that all
// say "this key, since then, for so long". Where the far end takes none, what
// the mouth dials goes in its sound, and what a dial dials is put there.

const (
	keySize   = 4    // bytes of an event, RFC 4733 section 2.3
	endBit    = 0x80 // "this packet contains the end of the event"
	keyVolume = 10   // -dBm0, as loud as tone.DigitLevel
	endCopies = 3    // section 2.5.1.4: "the final packet [...] SHOULD be sent a total of three times"
	maxKey    = 0xffff

	hookFlash = 16 // the event of a flash, RFC 2833 section 3.10; RFC 4733 kept it
)

// Our choices, in samples.
const (
	// A key is recognised late and may be up again at once; receivers that
	// make a sound of it need 40 ms of it, ITU-T Q.24.
	shortestKey = 400
	// pressTime is how long a key lasts that nobody holds down.
	pressTime = 800
	// forgotten is how long after its last packet a key is up: three
	// packets of 50 ms, section 2.6.3 of RFC 4733 speaks of three.
	forgotten = 1200
	// Between two keys the ear must hear a pause, ITU-T Q.24.
	pauseTime = 400
	// shortestHeard is how long a key is heard at least.
	shortestHeard = 560
	// longestTold is how long a key is heard at most that signalling tells of.
	longestTold = 2 * time.Second
)

// KeyDown begins to send a key, 0-9, *, #, A-D, until KeyUp. It does nothing
// and returns false when the far end takes no events.
func (s *Stream) KeyDown(key byte) bool { return s.queueKey(key, 0) }

// KeyUp ends what KeyDown began.
func (s *Stream) KeyUp() {
	s.cord.Lock()
	defer s.cord.Unlock()
	s.out.key.up()
}

// Press sends a key that is not in the sound, as if it had been held down for
// 100 ms, after those that are being sent: as an event, or in the sound where
// the far end takes none. It returns false when nothing is sent or too many keys
// wait. Any goroutine.
func (s *Stream) Press(key byte) bool {
	if s.takesEvents() {
		return s.queueKey(key, pressTime)
	}
	r, code := s.remote.Load(), tone.Key(key)
	if r == nil || !r.Send || r.holds() || code < 0 {
		return false
	}
	s.cord.Lock()
	defer s.cord.Unlock()
	return s.out.key.queue(uint8(code), pressTime)
}

// Flash tells the far end of a hook flash, after the keys that are being sent.
// It returns false when the far end takes no flashes. Any goroutine.
func (s *Stream) Flash() bool {
	r := s.remote.Load()
	if r == nil || !r.Flash || !s.takesEvents() {
		return false
	}
	s.cord.Lock()
	defer s.cord.Unlock()
	return s.out.key.queue(hookFlash, pressTime)
}

// KeysApart reports whether keys travel beside the sound, and should not be heard
// in it.
func (s *Stream) KeysApart() bool {
	r := s.remote.Load()
	return r != nil && (r.Apart || s.takesEvents())
}

func (s *Stream) takesEvents() bool {
	r := s.remote.Load()
	return r != nil && r.Events != 0 && r.Send && !r.holds()
}

func (s *Stream) queueKey(key byte, ticks uint32) bool {
	code := tone.Key(key)
	if code < 0 || !s.takesEvents() {
		return false
	}
	s.cord.Lock()
	defer s.cord.Unlock()
	return s.out.key.queue(uint8(code), ticks)
}

// A keySent is the keys that are being sent, and those that wait.
type keySent struct {
	wait [8]pressing
	n    int // of wait

	on    bool
	now   pressing
	begun uint32 // timestamp of the segment
	first bool   // nothing was sent of it yet
	ticks uint32 // it has lasted, in the segment
	total uint32 // it has lasted
	since uint32 // the last packet
	ends  int    // end packets sent
}

// A pressing is one key, held for ticks or, if 0, until it is let go.
type pressing struct {
	code  uint8
	ticks uint32
}

func (k *keySent) queue(code uint8, ticks uint32) bool {
	if k.n == len(k.wait) {
		return false
	}
	k.up()
	k.wait[k.n] = pressing{code, ticks}
	k.n++
	return true
}

// up lets go of the key that is held, if any.
func (k *keySent) up() {
	if k.n > 0 {
		if p := &k.wait[k.n-1]; p.ticks == 0 {
			p.ticks = shortestKey
		}
	} else if k.on && k.now.ticks == 0 {
		k.now.ticks = max(k.total, shortestKey)
	}
}

// next begins to send the key that has waited longest; false if none has.
func (k *keySent) next(now uint32) bool {
	if k.n == 0 {
		return false
	}
	k.now = k.wait[0]
	copy(k.wait[:], k.wait[1:k.n])
	k.n--
	k.on, k.first, k.begun = true, true, now
	k.ticks, k.total, k.since, k.ends = 0, 0, 0, 0
	return true
}

// sing returns what is said in this frame to a far end that takes no events: the
// key that is due, the pause behind it, or the mouth.
func (o *sender) sing(f []int16) []int16 {
	k := &o.key
	if !k.on {
		if !k.next(o.time) {
			return f
		}
		t, _ := tone.Digit(tone.Keys[k.now.code])
		o.voice.Play(t)
	}
	if k.total == k.now.ticks {
		o.voice.Stop()
	}
	k.total += hal.FrameSamples
	o.voice.Read(o.sung[:])
	k.on = k.total < k.now.ticks+pauseTime
	return o.sung[:]
}

// sendKey sends what is due of a key in this frame. It returns false when no
// key is being sent.
func (s *Stream) sendKey(r *Remote) bool {
	o := &s.out
	k := &o.key
	if r.Events == 0 {
		return false
	}
	if !k.on {
		if !k.next(o.time) {
			return false
		}
		o.events++
	}
	k.since += hal.FrameSamples
	if k.ends == 0 {
		k.ticks += hal.FrameSamples
		k.total += hal.FrameSamples
		if k.ticks > maxKey {
			// RFC 4733 section 2.5.1.3: a long event is cut into segments
			// of the greatest duration; none but the last has an end.
			s.sendKeyPacket(r, maxKey, false)
			k.begun += maxKey
			k.ticks -= maxKey
		}
	}
	end := k.now.ticks != 0 && k.total >= k.now.ticks
	switch {
	case end && k.ends == 0, k.first, k.since >= uint32(o.per):
		if end {
			k.ends++
		}
		s.sendKeyPacket(r, uint16(k.ticks), end)
	}
	if k.ends == endCopies {
		k.on = false
	}
	return true
}

func (s *Stream) sendKeyPacket(r *Remote, ticks uint16, end bool) {
	k := &s.out.key
	b := s.out.buf[:headerSize+keySize]
	b[headerSize], b[headerSize+1] = k.now.code, keyVolume
	if end {
		b[headerSize+1] |= endBit
	}
	binary.BigEndian.PutUint16(b[headerSize+2:], ticks)
	s.send(r.Events, k.first, k.begun, b)
	k.first, k.since = false, 0
}

// keysHeard is the keys that the far end presses: each is played once, from
// its first packet to its last or until the packets cease. Guarded by
// Stream.in.
type keysHeard struct {
	wait [4]hearing
	n    int // of wait; wait[0] is the one that is played
	sum  uint64

	on     bool
	ssrc   uint32
	newest uint32 // timestamp of the newest key, played or not
	code   uint8  // of it

	pause int
}

// A hearing is one key.
type hearing struct {
	code   byte
	time   uint32
	ticks  int  // as its packets say
	ended  bool // they also say
	played int
	silent int // ticks since the last of them
}

// take deals with a packet of an event. It returns false when it is none.
func (k *keysHeard) take(h header, payload []byte) bool {
	if len(payload) < keySize {
		return false
	}
	code, end := payload[0], payload[1]&endBit != 0
	ticks := int(binary.BigEndian.Uint16(payload[2:]))
	if int(code) >= len(tone.Keys) {
		return true // an event, but no key
	}
	if k.on && k.ssrc == h.ssrc {
		switch d := int32(h.time - k.newest); {
		case d < 0:
			return true // an older key, late
		case d == 0 || d == maxKey && code == k.code && k.n > 0 && !k.wait[k.n-1].ended:
			if k.n > 0 && k.wait[k.n-1].time == k.newest {
				p := &k.wait[k.n-1]
				if d != 0 {
					p.time, k.newest = h.time, h.time
					ticks += p.ticks
				}
				p.ticks, p.ended, p.silent = max(p.ticks, ticks), p.ended || end, 0
			}
			return true
		}
	}
	k.on, k.ssrc, k.newest, k.code = true, h.ssrc, h.time, code
	k.add(hearing{code: tone.Keys[code], time: h.time, ticks: ticks, ended: end})
	return true
}

// Pressed plays a key that the far end pressed and told of by signalling, after
// those it pressed before: for d, within what a person can hear and bear. A far
// end that has sent events tells everything twice; its events are played. Any
// goroutine.
func (s *Stream) Pressed(key byte, d time.Duration) {
	s.in.Lock()
	defer s.in.Unlock()
	if tone.Key(key) < 0 || s.keys.on {
		return
	}
	s.keys.add(hearing{code: key, ticks: int(min(d, longestTold) / (time.Second / hal.SampleRate)), ended: true})
}

// add plays one more key after the others. It returns false when too many wait.
func (k *keysHeard) add(p hearing) bool {
	if k.n == len(k.wait) {
		return false // faster than anyone can listen
	}
	if k.n > 0 {
		k.wait[k.n-1].ended = true
	}
	k.wait[k.n] = p
	k.n++
	k.sum++
	return true
}

// next is the key that is heard in the next 10 ms, 0 for none.
func (k *keysHeard) next() byte {
	if k.pause > 0 {
		k.pause -= hal.FrameSamples
		return 0
	}
	if k.n == 0 {
		return 0
	}
	p := &k.wait[0]
	p.silent += hal.FrameSamples
	over := p.ended && p.played >= max(p.ticks, shortestHeard) || !p.ended && p.silent > forgotten
	if over {
		copy(k.wait[:], k.wait[1:k.n])
		k.n--
		k.pause = pauseTime - hal.FrameSamples
		return 0
	}
	p.played += hal.FrameSamples
	return p.code
}
