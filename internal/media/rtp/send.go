package rtp

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A sender is the half of a Stream that speaks. Guarded by Stream.cord.
type sender struct {
	remote *Remote // as last seen
	per    int     // samples in a packet

	seq    uint16 // of the next packet
	time   uint32 // RTP timestamp of the next sample
	marker bool   // the next packet of sound begins a talk spurt
	last   time.Time

	coder coder
	buf   [headerSize + maxSamples + sealed]byte
	n     int // samples in buf
	size  int // bytes that they are

	key    keySent
	voice  tone.Player // of a key that goes in the sound
	sung   hal.Frame
	events uint64

	packets, octets uint32
	failing         bool
}

// MaxPacket is the most sound that a packet may hold, either way.
const MaxPacket = 60 * time.Millisecond

const (
	maxSamples     = hal.FrameSamples * int(MaxPacket/hal.FrameTime)
	defaultSamples = 2 * hal.FrameSamples // RFC 3551 section 4.5: "The default packetization interval SHOULD have a duration of 20 ms"

	// away is the longest time between two frames that is only a late one.
	// After more, nobody carried this Stream's sound for a while; its clock
	// went on meanwhile.
	away = 200 * time.Millisecond
)

// Write gives the far end its next 10 ms, 80 samples. After Widen they may be
// 160. It does not wait.
func (s *Stream) Write(f []int16) {
	s.cord.Lock()
	defer s.cord.Unlock()
	o := &s.out
	r := s.remote.Load()
	if r == nil || s.closed.Load() {
		return
	}
	if r != o.remote {
		o.change(r)
	}
	now := time.Now()
	if gap := now.Sub(o.last); gap > away && !o.last.IsZero() {
		o.time += uint32((gap - hal.FrameTime) / (time.Second / hal.SampleRate))
		o.n, o.size, o.marker = 0, 0, true
	}
	o.last = now

	if !r.Send || r.holds() {
		o.time += hal.FrameSamples
		o.n, o.size, o.marker, o.key = 0, 0, true, keySent{}
		return
	}
	if s.sendKey(r) {
		// "the sender SHOULD NOT send audio", RFC 4733 section 2.5.1.2: the
		// event stands for it.
		o.time += hal.FrameSamples
		o.n, o.size = 0, 0
		return
	}
	if len(f) == WideSamples && r.Codec != G722 {
		w := s.wide
		if w == nil {
			return
		}
		w.down.Convert(w.narrow[:], f)
		f = w.narrow[:]
	}
	if r.Events == 0 {
		f = o.sing(f)
	}
	o.size += o.coder.encode(r.Codec, o.buf[headerSize+o.size:], f)
	o.n += hal.FrameSamples
	o.time += hal.FrameSamples
	if o.n >= o.per {
		s.send(r.PT, o.marker, o.time-uint32(o.n), o.buf[:headerSize+o.size])
		o.n, o.size, o.marker = 0, 0, false
	}
}

// change goes on with another far end, or another agreement with it.
func (o *sender) change(r *Remote) {
	if o.remote == nil || o.remote.Addr != r.Addr || o.remote.Codec != r.Codec || o.remote.PT != r.PT {
		o.marker = true
		o.coder.begin(r.Codec)
	}
	if o.remote != nil && (o.remote.Events == 0) != (r.Events == 0) {
		o.key = keySent{}
	}
	o.remote, o.n, o.size = r, 0, 0
	o.per = int(r.Ptime/hal.FrameTime) * hal.FrameSamples
	if o.per == 0 {
		o.per = defaultSamples
	}
	o.per = min(o.per, maxSamples)
}

// send writes a header in front of a payload and sends it.
func (s *Stream) send(pt uint8, marker bool, time uint32, packet []byte) {
	o := &s.out
	header{marker: marker, pt: pt, seq: o.seq, time: time, ssrc: s.ssrc}.put(packet)
	o.seq++
	o.packets++
	o.octets += uint32(len(packet) - headerSize)
	to := *s.to.Load()
	packet, err := o.remote.ways.out.seal(packet)
	if err == nil {
		err = s.rtp.write(packet, to)
	}
	if err != nil && !o.failing && !errors.Is(err, net.ErrClosed) {
		s.log.Warn(fmt.Sprintf("sound to %v: %v", to, err))
	}
	o.failing = err != nil
}
