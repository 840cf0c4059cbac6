package rtp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/noise"
	"github.com/ata-agent/ata-agent/internal/media/plc"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// receive fills the buffer until the port is closed.
func (s *Stream) receive() {
	var b [2048]byte
	for errs := 0; ; {
		n, from, err := s.rtp.read(b[:])
		if err == nil {
			errs = 0
			s.take(b[:n], from, time.Now())
			continue
		}
		if s.over(err, &errs) {
			return
		}
	}
}

// over reports whether reading has come to its end. An error that is not the
// end says that something we sent was refused; sound goes on.
func (s *Stream) over(err error, errs *int) bool {
	if s.closed.Load() || errors.Is(err, net.ErrClosed) {
		return true
	}
	if *errs++; *errs > 10 {
		time.Sleep(hal.FrameTime)
	}
	return false
}

// take deals with one datagram. It allocates nothing.
func (s *Stream) take(b []byte, from netip.AddrPort, now time.Time) {
	s.in.Lock()
	defer s.in.Unlock()
	r := s.remote.Load()
	switch {
	case r == nil:
		s.count.Unwanted++
		return
	case s.source.heard && from != s.source.at && from != r.Addr: // whose seal is not worth a look
		s.count.Strangers++
		return
	}
	b, err := r.ways.in.unseal(b)
	if err != nil {
		s.count.Forged++
		return
	}
	h, payload, ok := parse(b)
	if !ok {
		s.count.Garbage++
		return
	}
	if !s.admit(from, h, now) {
		s.count.Strangers++
		return
	}
	heard := s.put(r, h, payload, now)
	if !heard && s.recv.on && h.ssrc != s.recv.ssrc {
		return // nothing that can be heard makes no new source
	}
	s.count.Received++
	s.latest = now
	s.recv.count(h, uint32(now.Sub(s.opened)/(time.Second/hal.SampleRate)))
	s.losses.arrived(h.ssrc, h.seq, heard)
}

// put lays a packet of the far end where it will be heard, and reports whether
// it will be. What is not sound is not missed in it. Called with in held.
func (s *Stream) put(r *Remote, h header, payload []byte, now time.Time) bool {
	if !r.Receive {
		s.count.Unwanted++
		return true
	}
	p := jitter.Packet{SSRC: h.ssrc, Seq: h.seq, Time: h.time, Data: payload}
	if !s.asked.IsZero() {
		p.After = uint8(min(max(now.Sub(s.asked)/(time.Second/hal.SampleRate), 0), jitter.Pull-1))
	}
	switch codec := r.codec(h.pt); {
	case codec == Keys:
		if !s.keys.take(h, payload) {
			s.count.Garbage++
		}
		return true
	case h.pt == typeNoise:
		// A tick says that noise begins; what it is like, the ear is told
		// beside.
		s.shape.n = copy(s.shape.b[:], payload)
		p.Kind, p.Data = kindNoise, payload[:min(1, len(payload))]
	default:
		var ok bool
		if p.Kind, ok = codec.kind(); !ok {
			s.count.Unwanted++
			return false
		}
		s.codec = codec
		if p.Kind == kindG726 && 2*len(payload) <= len(s.codes) {
			codec.packing().Unpack(s.codes[:], payload)
			p.Data = s.codes[:2*len(payload)]
		}
	}
	if len(p.Data) == 0 || len(p.Data) > jitter.MaxData {
		s.count.Garbage++
		return false
	}
	if p.Kind != kindNoise {
		s.per = len(p.Data)
	}
	return s.buffer.Put(p)
}

// A source is where the far end's packets come from.
type source struct {
	at    netip.AddrPort // as signalling said, or as learned
	heard bool           // packets came from there: it stays so
	until time.Time      // before, another place may be learned

	other netip.AddrPort // that sends too
	ssrc  uint32
	seq   uint16
	row   int // packets of it in sequence
}

// admit reports whether a packet is the far end's. Where signalling said it is, it
// is heard at once, and from then on nobody else; before that, who sends four
// packets in sequence within the first 5 s. Called with in held.
func (s *Stream) admit(from netip.AddrPort, h header, now time.Time) bool {
	src, said := &s.source, s.remote.Load()
	switch {
	case from == src.at:
		src.heard = true
		return true
	case from == said.Addr:
		s.move(from) // who came before was a stranger
		return true
	case src.heard || now.After(src.until) || said.holds():
		return false
	}
	if from == src.other && h.ssrc == src.ssrc && h.seq == src.seq+1 {
		src.row++
	} else {
		src.other, src.ssrc, src.row = from, h.ssrc, 1
	}
	src.seq = h.seq
	if src.row < learnPackets {
		return false
	}
	s.move(from)
	return true
}

// move goes on with another source. Called with in held.
func (s *Stream) move(to netip.AddrPort) {
	s.log.Info(fmt.Sprintf("sound of %v comes from %v", s.source.at, to))
	s.source.at, s.source.heard = to, true
	s.to.Store(&to)
}

// A reception counts packets as RFC 3550 appendices A.1, A.3 and A.8 do.
type reception struct {
	on       bool
	ssrc     uint32
	base     uint32 // extended sequence number of the first
	top      uint32 // and of the newest
	packets  uint32
	transit  int32
	time     uint32 // of the last
	jitter   uint32 // Q4, ticks
	wasLost  int64  // at the last report
	expected uint32 // at the last report
}

func (c *reception) count(h header, arrival uint32) {
	transit := int32(arrival - h.time)
	if !c.on || c.ssrc != h.ssrc {
		*c = reception{on: true, ssrc: h.ssrc, base: uint32(h.seq), top: uint32(h.seq), packets: 1, transit: transit, time: h.time}
		return
	}
	step := int16(h.seq - uint16(c.top))
	switch {
	case step > 0 && step < 3000:
		c.top += uint32(step)
	case step < -100 || step > 0:
		// The sequence began anew; what was lost before stays lost.
		c.base += uint32(h.seq) - 1 - c.top
		c.top = uint32(h.seq)
	}
	c.packets++
	if h.time == c.time {
		return // an event goes on: its packets do not say when they were sent
	}
	c.time = h.time
	d := transit - c.transit
	c.transit = transit
	if d = max(d, -d); d < hal.SampleRate { // more is a jump of the sender's clock
		c.jitter += uint32(d) - (c.jitter+8)>>4
	}
}

// lost is how many packets never came.
func (c *reception) lost() int64 {
	if !c.on {
		return 0
	}
	return int64(int32(c.top-c.base+1) - int32(c.packets))
}

// An ear is the half of a Stream that turns ticks into samples. Guarded by
// Stream.cord.
type ear struct {
	frame   jitter.Frame
	pcm     [jitter.MaxFrame]int16
	decoder decoder
	conceal plc.Concealer
	sound   [hal.FrameSamples + jitter.MaxFrame]int16 // stretched, to be heard
	n       int                                       // samples of it
	quiet   noise.Generator
	noisy   bool // the far end has said that it is silent
	shape   shape
	key     tone.Player // the key that is heard
	pressed byte

	concealed uint64 // samples
}

// Read takes the next 10 ms from the far end, 80 samples; silence if there are
// none. After Widen they may be 160. It does not wait.
func (s *Stream) Read(f []int16) {
	s.cord.Lock()
	defer s.cord.Unlock()
	r, w := s.remote.Load(), s.wide
	whole := len(f) == WideSamples
	if r == nil || !r.Receive || s.closed.Load() || whole && w == nil {
		clear(f)
		return
	}
	e := &s.ear
	s.in.Lock()
	if !s.asked.IsZero() && time.Since(s.asked) > away {
		s.buffer.Forget()
	}
	period := 0
	if most := s.buffer.Moves(); most > 0 {
		period = e.conceal.Period(most)
	}
	s.buffer.Get(&e.frame, max(0, hal.FrameSamples-e.n), period)
	s.asked = time.Now()
	e.shape = s.shape
	key := s.keys.next()
	s.in.Unlock()

	low := f
	if whole {
		low = w.low[:]
	}
	e.decode(w)
	e.conceal.Fit(e.sound[e.n:e.n+e.frame.Out], e.pcm[:e.frame.N])
	w.fit(e.n, e.frame.Out, e.frame.N)
	e.n += e.frame.Out
	copy(low, e.sound[:])
	w.next(e.n)
	e.n = copy(e.sound[:], e.sound[hal.FrameSamples:e.n])
	e.ring(key, low, w)
	if whole {
		w.whole(f, &e.decoder.g722)
	}
}

// A shape is what comfort noise is like, RFC 3389 section 3.
type shape struct {
	b [1 + noise.Order]byte
	n int
}

// decode turns the frame's ticks into as many samples, of each half.
func (e *ear) decode(w *wide) {
	n := e.frame.N
	for i := 0; i < n; {
		kind, j := e.frame.Kind[i], i+1
		for j < n && e.frame.Kind[j] == kind {
			j++
		}
		out, upper := e.pcm[i:j], w.half(i, j)
		clear(upper)
		switch kind {
		case kindMu, kindA, kindG722, kindG726:
			if w != nil {
				w.joins = kind == kindG722
			}
			e.decoder.decode(kind, out, upper, e.frame.Code[i:j])
			e.noisy = false
		case kindNoise:
			e.noisy = true
			e.quiet.Set(e.shape.b[:e.shape.n])
			e.quiet.Read(out)
		case jitter.Lost:
			if e.noisy {
				e.quiet.Read(out)
				break
			}
			e.conceal.Lost(out)
			if w != nil {
				w.conceal.Lost(upper)
			}
			e.concealed += uint64(len(out))
			i = j
			continue
		default:
			clear(out)
			if e.noisy {
				e.quiet.Read(out)
			}
		}
		e.conceal.Good(out)
		if w != nil {
			w.conceal.Good(upper)
		}
		i = j
	}
}

// ring plays the key that the far end presses, in place of its sound.
func (e *ear) ring(key byte, f []int16, w *wide) {
	if key != e.pressed {
		e.pressed = key
		if t, ok := tone.Digit(key); ok {
			e.key.Play(t)
		} else {
			e.key.Stop()
		}
	}
	if e.key.Playing() {
		e.key.Read(f)
		if w != nil {
			clear(w.high[:])
		}
	}
}
