// Package rtp carries the sound of one call to a far end and back: a Stream
// is a pair of UDP ports, RTP on the even one, RTCP on the odd one above.
//
// Its one idea: sound is pushed and pulled in frames of 10 ms by whoever owns
// the sound's clock; the network only ever fills a buffer.
//
//	Write ─▶ encode ─▶ packet ─▶ far end ─▶ receive ─▶ jitter.Buffer
//	   keys ─▶ RFC 4733 ──┘                               │
//	Read ◀─ keys heard ◀─ 80 samples ◀─ conceal ◀─ decode ◀┘
//
// It is symmetric: packets are sent from the port they are received on, to
// where the far end's come from. What comes from anywhere else is dropped.
package rtp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
)

// A Network opens UDP sockets; *net.ListenConfig is the real one.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// A Remote is the far end of a Stream as signalling agreed on it. Send and
// Receive are seen from our side; the zero Remote neither sends nor receives.
type Remote struct {
	Addr     netip.AddrPort // where RTP goes and is expected from; unspecified or port 0 is hold
	Codec    Codec          // of what is sent; unknown ones are sent as PCMU
	PT       uint8          // payload type of what is sent, the far end's choice
	Payloads []Payload      // what may come; the first of two with the same type counts. PCMU, PCMA, G722, Codec and Events may always
	Events   uint8          // payload type of telephone-event to send, the far end's choice; 0 is none
	Flash    bool           // the far end takes hook flashes as events
	Apart    bool           // keys go by signalling, and should not be heard in the sound
	Ptime    time.Duration  // sound per packet sent, 10 to 60 ms; 0 is 20 ms
	Seal     *Seal          // nil: RTP in the clear
	Send     bool
	Receive  bool

	ways ways // of Seal
}

// holds reports whether there is nowhere to send to.
func (r *Remote) holds() bool {
	return !r.Addr.IsValid() || r.Addr.Addr().IsUnspecified() || r.Addr.Port() == 0
}

// Stats is what has happened on a Stream since Open.
type Stats struct {
	Sent       uint64 // RTP packets
	Received   uint64 // RTP packets from the far end
	Lost       int64  // of those it sent, RFC 3550 section 6.4.1; duplicates count against
	Late       uint64 // received after their time, not heard
	Duplicates uint64
	Garbage    uint64 // datagrams that are no RTP, or of no use
	Forged     uint64 // packets that were not sealed with the far end's key, or came twice
	Strangers  uint64 // RTP packets from elsewhere
	Unwanted   uint64 // RTP packets of a payload type nobody agreed on, or on hold

	EventsSent  uint64 // keys, RFC 4733
	EventsHeard uint64

	Jitter    time.Duration  // of the packets received, RFC 3550 section 6.4.1
	Delay     time.Duration  // waiting in the jitter buffer now
	Concealed time.Duration  // sound that was made up
	Source    netip.AddrPort // where the far end's packets come from; zero while nothing came

	Data   bool // a fax or a modem is at work
	Sealed bool // as was agreed

	FarLost uint8         // of what we sent, lost at the far end lately, in 1/256; as it says
	RTT     time.Duration // to the far end and back, 0 while unknown
}

// A Stream is the sound of one call. Write, Read, KeyDown and KeyUp belong to
// the goroutine that carries the sound; the rest may be called from any.
// Handing a Stream from one such goroutine to another needs no care.
type Stream struct {
	rtp, rtcp socket
	log       *slog.Logger
	opened    time.Time
	ssrc      uint32
	cname     string

	remote atomic.Pointer[Remote] // nil before Start
	to     atomic.Pointer[netip.AddrPort]
	closed atomic.Bool
	clerk  sync.Mutex  // held while a report is made
	data   atomic.Bool // a fax or a modem is at work
	done   chan struct{}
	work   sync.WaitGroup

	cord sync.Mutex // held for a frame by whoever carries the sound
	out  sender     // guarded by cord
	ear  ear        // guarded by cord
	wide *wide      // guarded by cord; nil: it is carried at 8000 samples a second

	in     sync.Mutex // shared by the receivers and the cord, for a few instructions
	buffer jitter.Buffer
	asked  time.Time // when for sound, last
	shape  shape
	source source
	codes  [jitter.MaxData]byte // of a packet, one for each tick
	keys   keysHeard
	recv   reception
	losses losses
	codec  Codec     // of the latest sound
	per    int       // samples in its packet
	latest time.Time // when it was heard
	far    farReport
	count  Stats // what the receivers count
}

// Our choices.
const (
	// portTries is how many pairs of ports are tried for.
	portTries = 50

	// learnTime is how long after Start the far end's packets may come from
	// elsewhere than signalling said; a NAT is the usual reason.
	learnTime = 5 * time.Second
	// learnPackets in a row must come from there, before it is believed.
	learnPackets = 4

	// firstSeqs are what the first sequence number is taken from: whoever misses a
	// sealed stream's beginning still counts its rollovers as we do, RFC 3711
	// section 3.3.1.
	firstSeqs = 1 << 15

	// dataDelay is how long what a fax or a modem says waits in the jitter
	// buffer, ticks: 100 ms of jitter lose nothing, and a fax waits for an answer
	// for 3 s (T.30, timer T4).
	dataDelay = 800
)

// Open binds an even port and the one above it, chosen by the network. Local
// is an IP address, "" for any. The Stream sends and plays nothing until
// Start, and must be closed. A nil logger is slog.Default.
func Open(ctx context.Context, network Network, local string, logger *slog.Logger) (*Stream, error) {
	if logger == nil {
		logger = slog.Default()
	}
	a, b, err := openPair(ctx, network, local)
	if err != nil {
		return nil, fmt.Errorf("RTP ports: %w", err)
	}
	s := &Stream{
		rtp:    newSocket(a),
		rtcp:   newSocket(b),
		log:    logger,
		opened: time.Now(),
		ssrc:   rand.Uint32(),
		cname:  strconv.FormatUint(rand.Uint64(), 36),
		done:   make(chan struct{}),
	}
	s.out.seq = uint16(rand.Uint32N(firstSeqs))
	s.out.time = rand.Uint32()
	s.work.Go(s.receive)
	s.work.Go(s.receiveReports)
	s.work.Go(s.sendReports)
	return s, nil
}

// openPair binds two ports, RFC 3550 section 11: "RTP SHOULD use an even
// destination port number and the corresponding RTCP stream SHOULD use the
// next higher (odd) destination port number".
func openPair(ctx context.Context, network Network, local string) (even, odd net.PacketConn, err error) {
	listen := func(port uint16) (net.PacketConn, error) {
		return network.ListenPacket(ctx, "udp", net.JoinHostPort(local, strconv.Itoa(int(port))))
	}
	for range portTries {
		var first, second net.PacketConn
		if first, err = listen(0); err != nil {
			return nil, nil, err
		}
		port := addrPort(first.LocalAddr()).Port()
		if second, err = listen(port ^ 1); err != nil {
			first.Close()
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			continue
		}
		if port%2 == 1 {
			first, second = second, first
		}
		return first, second, nil
	}
	return nil, nil, fmt.Errorf("no two neighbours free in %d tries: %w", portTries, err)
}

// LocalPort is the port that RTP is received on, for SDP.
func (s *Stream) LocalPort() uint16 { return addrPort(s.rtp.pc.LocalAddr()).Port() }

// Start begins to send to and to play from a far end, or changes to another.
// What was learned of where its packets come from is kept as long as its
// address stays the same.
func (s *Stream) Start(r Remote) {
	r.Addr = netip.AddrPortFrom(r.Addr.Addr().Unmap(), r.Addr.Port())
	s.in.Lock()
	defer s.in.Unlock()
	old := s.remote.Load()
	r.open(old)
	if old == nil || old.Addr != r.Addr {
		s.source = source{at: r.Addr}
		s.to.Store(&r.Addr)
	}
	if !s.source.heard {
		s.source.until = time.Now().Add(learnTime)
	}
	s.remote.Store(&r)
}

// Stats may also be called after Close.
func (s *Stream) Stats() Stats {
	s.cord.Lock()
	sent, events, concealed := s.out.packets, s.out.events, s.ear.concealed
	s.cord.Unlock()

	s.in.Lock()
	defer s.in.Unlock()
	st := s.count
	st.Sent, st.EventsSent = uint64(sent), events
	st.EventsHeard, st.Concealed = s.keys.sum, ticks(concealed)
	b := s.buffer.Stats()
	st.Late, st.Duplicates = uint64(b.Late), uint64(b.Duplicates)
	st.Delay = ticks(uint64(b.Delay))
	st.Lost = s.recv.lost()
	st.Jitter = ticks(uint64(s.recv.jitter >> 4))
	if s.source.heard {
		st.Source = s.source.at
	}
	st.FarLost, st.RTT = s.far.lost, s.far.rtt
	st.Data = s.data.Load()
	if r := s.remote.Load(); r != nil {
		st.Sealed = r.Seal != nil
	}
	return st
}

// CarryData says that a fax or a modem was heard at one of the ends. For the rest
// of the call what comes is heard 100 ms after it could be, and nothing is left
// out or heard twice to be sooner or later.
func (s *Stream) CarryData() {
	if s.data.Swap(true) {
		return
	}
	s.in.Lock()
	defer s.in.Unlock()
	s.buffer.Fix(dataDelay)
}

// CarriesData reports whether CarryData was called.
func (s *Stream) CarriesData() bool { return s.data.Load() }

// Heard is when the latest packet of the far end came; zero: none has. It may be
// called from any goroutine, and after Close.
func (s *Stream) Heard() time.Time {
	s.in.Lock()
	defer s.in.Unlock()
	return s.latest
}

// Close says goodbye, closes both ports and waits for the Stream's
// goroutines. A closed Stream swallows what is written and reads silence.
func (s *Stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.done)
	s.report(true)
	err := errors.Join(s.rtp.pc.Close(), s.rtcp.pc.Close())
	s.work.Wait()
	return err
}

// ticks is a time counted in samples.
func ticks(n uint64) time.Duration { return time.Duration(n) * (time.Second / hal.SampleRate) }

// A socket reads and writes without allocation where the connection can.
type socket struct {
	pc   net.PacketConn
	fast interface { // *net.UDPConn is one; nil if pc is not
		ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
		WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	}
}

func newSocket(pc net.PacketConn) (s socket) {
	s.pc = pc
	s.fast, _ = pc.(interface {
		ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
		WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	})
	return s
}

func (s *socket) read(b []byte) (n int, from netip.AddrPort, err error) {
	if s.fast != nil {
		n, from, err = s.fast.ReadFromUDPAddrPort(b)
	} else {
		var a net.Addr
		if n, a, err = s.pc.ReadFrom(b); err == nil {
			from = addrPort(a)
		}
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

func (s *socket) write(b []byte, to netip.AddrPort) error {
	if s.fast != nil {
		_, err := s.fast.WriteToUDPAddrPort(b, to)
		return err
	}
	_, err := s.pc.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return err
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort()
	}
	p, _ := netip.ParseAddrPort(a.String())
	return p
}
