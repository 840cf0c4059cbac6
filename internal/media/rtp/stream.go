// Package rtp carries the sound of one call to a far end and back: a Stream
// is a pair of UDP ports, RTP on the even one, RTCP on the odd one.
//
// Its one idea: sound is pulled and pushed in frames of 10 ms by whoever owns
// the sound's clock; the network only ever fills a buffer.
package rtp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A Network opens UDP sockets; *net.ListenConfig is the real one.
type Network interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// A Codec is how samples are written in a packet, by its name in SDP.
type Codec string

// The codecs of ITU-T G.711.
const (
	PCMU Codec = "PCMU" // mu-law, payload type 0
	PCMA Codec = "PCMA" // A-law, payload type 8
)

// A Remote is the far end of a Stream as signalling agreed on it. Send and
// Receive are seen from our side; the zero Remote neither sends nor receives.
type Remote struct {
	Addr    netip.AddrPort // where RTP goes and is expected from; unspecified or port 0: hold
	Codec   Codec          // of what is sent
	PT      uint8          // payload type of what is sent
	Events  uint8          // payload type of telephone-event, RFC 4733; 0 is none
	Ptime   time.Duration  // sound per packet sent, 10 to 60 ms; 0 is 20 ms
	Send    bool
	Receive bool
}

// Stats is what has happened on a Stream since Open.
type Stats struct {
	Sent, Received uint64 // RTP packets
	Lost           uint64 // received late or never
}

// A Stream is the sound of one call.
type Stream struct{}

// Open binds an even port and the one above it. Local is an IP address, ""
// for any. The Stream sends and plays nothing until Start.
func Open(ctx context.Context, network Network, local string, logger *slog.Logger) (*Stream, error) {
	return nil, errors.New("rtp: being built")
}

// LocalPort is the port that RTP is received on, for SDP.
func (s *Stream) LocalPort() uint16 { return 0 }

// Start begins to send to and to play from a far end, or changes to another.
// Any goroutine.
func (s *Stream) Start(r Remote) {}

// Write gives the far end its next 10 ms. It does not wait.
func (s *Stream) Write(f *hal.Frame) {}

// Read takes the next 10 ms from the far end; silence if there are none. It
// does not wait.
func (s *Stream) Read(f *hal.Frame) {}

// Stats may be called from any goroutine, also after Close.
func (s *Stream) Stats() Stats { return Stats{} }

// Close says goodbye, closes both ports and waits for the Stream's goroutines.
// A closed Stream swallows what is written and reads silence.
func (s *Stream) Close() error { return nil }
