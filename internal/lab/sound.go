package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A media is what one side says about sound in SDP (RFC 8866): as much of it
// as the lab needs, read by its own eyes.
type media struct {
	to        netip.AddrPort
	codec     uint8  // 0 PCMU, 8 PCMA, or what others is called; 255 none of them
	name      string // of others
	seal      string // base64 of its SRTP key, RFC 4568; "" is in the clear
	events    uint8  // payload type of telephone-event, 0 none
	ptime     int    // how much sound it wants in a packet, ms
	direction string
}

// readSDP reads the first audio stream.
func readSDP(sdp string) media {
	m := media{codec: 255, ptime: 20, direction: "sendrecv"}
	var addr netip.Addr
	var port int
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "c=IN IP"):
			f := strings.Fields(line)
			addr, _ = netip.ParseAddr(f[len(f)-1])
		case strings.HasPrefix(line, "m=audio "):
			f := strings.Fields(line)
			port, _ = strconv.Atoi(f[1])
			for _, format := range f[3:] {
				pt, _ := strconv.ParseUint(format, 10, 7)
				name := ""
				for _, o := range others {
					if strings.Contains(sdp, fmt.Sprintf("a=rtpmap:%d %s/8000\r\n", pt, o)) {
						name = o
					}
				}
				if m.codec == 255 && (pt == 0 || pt == 8 || name != "") {
					m.codec, m.name = uint8(pt), name
				}
			}
		case strings.HasPrefix(line, "a=rtpmap:") && strings.Contains(line, "telephone-event/8000"):
			pt, _, _ := strings.Cut(strings.TrimPrefix(line, "a=rtpmap:"), " ")
			n, _ := strconv.Atoi(pt)
			m.events = uint8(n)
		case strings.HasPrefix(line, "a=ptime:"):
			n, _ := strconv.Atoi(strings.TrimPrefix(line, "a=ptime:"))
			m.ptime = max(10, n)
		case strings.HasPrefix(line, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"):
			m.seal = strings.TrimPrefix(line, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
		case line == "a=sendrecv", line == "a=sendonly", line == "a=recvonly", line == "a=inactive":
			m.direction = line[2:]
		}
	}
	if addr.IsValid() {
		m.to = netip.AddrPortFrom(addr, uint16(port))
	}
	return m
}

// codecName is the name of the codec in SDP.
func (m media) codecName() string {
	switch m.codec {
	case 0:
		return "PCMU"
	case 8:
		return "PCMA"
	}
	return m.name
}

// writeSDP is our side: one codec as an answer, both as an offer (codec 255).
// ptime is what we want.
func writeSDP(at netip.AddrPort, m media, version, ptime int) string {
	family := "IP4"
	if at.Addr().Is6() {
		family = "IP6"
	}
	formats, maps := "0 8", "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
	switch m.codec {
	case 0:
		formats, maps = "0", "a=rtpmap:0 PCMU/8000\r\n"
	case 8:
		formats, maps = "8", "a=rtpmap:8 PCMA/8000\r\n"
	}
	if m.name != "" {
		formats, maps = fmt.Sprint(m.codec), fmt.Sprintf("a=rtpmap:%d %s/8000\r\n", m.codec, m.name)
	}
	if m.events != 0 {
		formats += fmt.Sprintf(" %d", m.events)
		maps += fmt.Sprintf("a=rtpmap:%d telephone-event/8000\r\na=fmtp:%d 0-16\r\n", m.events, m.events)
	}
	proto := "RTP/AVP"
	if m.seal != "" {
		proto, maps = "RTP/SAVP", maps+"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"+farKey+"\r\n"
	}
	return fmt.Sprintf("v=0\r\no=far 1 %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=audio %d %s %s\r\n%sa=ptime:%d\r\na=%s\r\n",
		version, family, at.Addr(), family, at.Addr(), at.Port(), proto, formats, maps, ptime, m.direction)
}

// A Voice is what a far end says.
type Voice uint8

// What far ends say.
const (
	Whistle Voice = iota // 1000 Hz
	High                 // 1477 Hz
	Echo                 // what it hears
	Mute                 // packets of silence
)

// A mouthAndEar is a far end's sound, wide where G.722 is spoken: it speaks and
// listens every 20 ms, with its own G.711 and RTP (RFC 3550).
type mouthAndEar struct {
	pc    net.PacketConn
	at    netip.AddrPort
	tell  func(string)
	code  *farCodec // one way belongs to send, the other to receive
	seals farSeal   // likewise

	mu       sync.Mutex
	m        media
	voice    Voice
	talking  bool
	queue    []int16 // received, to be heard
	packet   int     // ms in the latest packet
	events   map[uint32]bool
	lastSeq  uint16
	heardAny bool
	spy      func([]int16)    // hears what the ear does; nil: nobody
	saying   []int16          // in place of the voice
	said     chan<- time.Time // told when saying begins
	stop     chan struct{}
	done     sync.WaitGroup
}

// openSound opens the far end's socket at the place.
func openSound(place Place, voice Voice, tell func(string)) (*mouthAndEar, error) {
	pc, err := place.ListenPacket(context.Background(), "udp", ":0")
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
	p, _ := strconv.Atoi(port)
	s := &mouthAndEar{pc: pc, at: netip.AddrPortFrom(place.Addr(), uint16(p)), voice: voice, tell: tell, code: newFarCodec(),
		packet: 20, events: make(map[uint32]bool), stop: make(chan struct{})}
	s.done.Go(s.receive)
	return s, nil
}

// tickSamples are 20 ms of a line's sound, and of RTP's clock whatever the codec
// (RFC 3551 section 4.5.2).
const tickSamples = 160

// talk starts to speak and to listen; called again, it takes the new media.
func (s *mouthAndEar) talk(m media) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, _ = between(s.m.rate(), m.rate(), s.queue)
	s.saying, _ = between(s.m.rate(), m.rate(), s.saying)
	s.m = m
	if !s.talking {
		s.talking = true
		s.done.Go(s.send)
	}
}

func (s *mouthAndEar) close() {
	close(s.stop)
	s.pc.Close()
	s.done.Wait()
}

// listen has somebody hear what the ear hears; nil is nobody.
func (s *mouthAndEar) listen(f func([]int16)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spy = f
}

// rate is that of its sound.
func (s *mouthAndEar) rate() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m.rate()
}

// say speaks samples in place of the voice. At, with room for one, is told when.
func (s *mouthAndEar) say(samples []int16, at chan<- time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saying, s.said = samples, at
}

// send speaks every 20 ms, and hears what came meanwhile at the same tick.
func (s *mouthAndEar) send() {
	var ear *Ear
	rate := 0 // of what it hears
	ssrc := rand.Uint32()
	seq := uint16(rand.Uint32())
	stamp := rand.Uint32()
	var said int
	var unsent []int16
	var hearing bool
	next := time.Now()
	for {
		s.mu.Lock()
		m := s.m
		tick := m.rate() / 50
		var heard []int16
		if !hearing && len(s.queue) >= 3*tick { // 60 ms of buffer against jitter
			hearing = true
		}
		if hearing && len(s.queue) >= tick {
			heard = s.queue[:tick:tick]
			s.queue = s.queue[tick:]
		}
		voice, spy := s.voice, s.spy
		var saying []int16
		if len(s.saying) > 0 {
			saying = s.saying[:min(tick, len(s.saying))]
			s.saying = s.saying[len(saying):]
			select {
			case s.said <- time.Now(): // the first of them
			default:
			}
		}
		s.mu.Unlock()
		if heard == nil {
			hearing = false
			heard = make([]int16, tick)
		}
		if m.rate() != rate {
			fresh := NewEar(m.rate(), nil, s.tell)
			if ear != nil {
				fresh.now = ear.now
			}
			rate, unsent, ear = m.rate(), nil, fresh
		}
		ear.Hear(heard)
		if spy != nil {
			spy(heard)
		}

		out := make([]int16, tick)
		switch {
		case saying != nil:
			copy(out, saying)
		case voice == Whistle:
			sine(out, rate, 1000, said)
		case voice == High:
			sine(out, rate, 1477, said)
		case voice == Echo:
			copy(out, heard)
		}
		said += len(out)
		speaks := m.to.IsValid() && m.to.Port() != 0 && !m.to.Addr().IsUnspecified() && m.codec != 255 &&
			(m.direction == "sendrecv" || m.direction == "sendonly")
		unsent = append(unsent, out...)
		for n := rate / 1000 * m.ptime; len(unsent) >= n; unsent, stamp = unsent[n:], stamp+tickSamples/20*uint32(m.ptime) {
			if !speaks {
				continue
			}
			p := rtpHeader(m.codec, seq, stamp, ssrc)
			p = s.seals.out(m, s.code.write(p, m, unsent[:n]))
			s.pc.WriteTo(p, net.UDPAddrFromAddrPort(m.to))
			seq++
		}
		next = next.Add(20 * time.Millisecond)
		select {
		case <-s.stop:
			return
		case <-time.After(time.Until(next)):
		}
	}
}

// rtpHeader begins a packet.
func rtpHeader(pt byte, seq uint16, stamp, ssrc uint32) []byte {
	p := make([]byte, 12, 12+6*tickSamples)
	p[0], p[1] = 0x80, pt
	binary.BigEndian.PutUint16(p[2:], seq)
	binary.BigEndian.PutUint32(p[4:], stamp)
	binary.BigEndian.PutUint32(p[8:], ssrc)
	return p
}

// receive takes RTP, and tells digits that come as RFC 4733 events.
func (s *mouthAndEar) receive() {
	buf := make([]byte, 2048)
	for {
		n, _, err := s.pc.ReadFrom(buf)
		if err != nil {
			if isClosed(err) {
				return
			}
			continue // somebody's ICMP
		}
		s.mu.Lock()
		p := s.seals.in(s.m, buf[:n])
		s.mu.Unlock()
		n = len(p)
		if n < 12 || p[0]>>6 != 2 {
			continue
		}
		head := 12 + 4*int(p[0]&0x0f)
		if n < head {
			continue
		}
		pt, seq := p[1]&0x7f, binary.BigEndian.Uint16(p[2:])
		news := ""
		s.mu.Lock()
		switch {
		case s.m.events != 0 && pt == s.m.events && n >= head+4:
			stamp := binary.BigEndian.Uint32(p[4:])
			if !s.events[stamp] { // RFC 4733 section 2.5.1.2: the same timestamp is the same event
				s.events[stamp] = true
				news = keyName(p[head])
			}
		case pt == 0 || pt == 8 || pt == s.m.codec:
			if s.heardAny && int16(seq-s.lastSeq) <= 0 {
				break // late or twice
			}
			s.lastSeq, s.heardAny = seq, true
			pcm := s.code.read(s.m, pt, p[head:])
			if len(s.queue) < s.m.rate()/5 {
				s.queue = append(s.queue, pcm...)
			}
			if ms := len(pcm) * 1000 / s.m.rate(); ms != s.packet {
				s.packet = ms
				news = fmt.Sprintf("packets of %d ms", ms)
			}
		}
		s.mu.Unlock()
		if news != "" {
			s.tell(news)
		}
	}
}

// keyName says what an event code is, RFC 4733 section 3.2 table 3; a flash is
// RFC 2833's.
func keyName(code byte) string {
	switch {
	case int(code) < len("0123456789*#ABCD"):
		return "digit " + "0123456789*#ABCD"[code:code+1]
	case code == 16:
		return "a flash"
	}
	return fmt.Sprint("event ", code)
}

func encode(codec uint8, x int16) byte {
	if codec == 8 {
		return encodeA(x)
	}
	return encodeMu(x)
}

func decode(codec uint8, b byte) int16 {
	if codec == 8 {
		return decodeA(b)
	}
	return decodeMu(b)
}

// encodeMu is the µ-law of ITU-T G.711 table 2a: sign, segment, step.
func encodeMu(x int16) byte {
	v, sign := int(x), byte(0x80)
	if v < 0 {
		v, sign = -v, 0
	}
	v = min(v, 32635) + 132
	segment := 0
	for v>>(segment+8) != 0 {
		segment++
	}
	step := v >> (segment + 3) & 0x0f
	return sign | ^(byte(segment)<<4|byte(step))&0x7f
}

func decodeMu(b byte) int16 {
	c := ^b
	v := (int(c&0x0f)<<3+132)<<(c>>4&7) - 132
	if c&0x80 != 0 {
		return int16(-v)
	}
	return int16(v)
}

// encodeA is the A-law of ITU-T G.711 table 1a, with its even bits inverted.
func encodeA(x int16) byte {
	v, sign := int(x), byte(0x80)
	if v < 0 {
		v, sign = -v-1, 0
	}
	v >>= 3
	if v < 32 {
		return (sign | byte(v>>1)) ^ 0x55
	}
	segment := 1
	for v >= 64 {
		v >>= 1
		segment++
	}
	return (sign | byte(segment)<<4 | byte(v>>1)&0x0f) ^ 0x55
}

func decodeA(b byte) int16 {
	b ^= 0x55
	v := int(b&0x0f)<<4 + 8
	if segment := int(b >> 4 & 7); segment > 0 {
		v = (v + 256) << (segment - 1)
	}
	if b&0x80 == 0 {
		return int16(-v)
	}
	return int16(v)
}
