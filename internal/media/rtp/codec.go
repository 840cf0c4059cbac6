package rtp

import (
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/g722"
	"github.com/ata-agent/ata-agent/internal/media/g726"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

// A Codec is how samples are written in a packet, by its name in SDP. All of
// them have an RTP clock of 8000, G.722 too (RFC 3551 section 4.5.2).
type Codec string

// The codecs, and their payload types of RFC 3551 table 4.
const (
	PCMU     Codec = "PCMU"         // G.711 mu-law, payload type 0
	PCMA     Codec = "PCMA"         // G.711 A-law, payload type 8
	G722     Codec = "G722"         // at 64 kbit/s, payload type 9
	G726     Codec = "G726-32"      // dynamic; the first code in the low half, RFC 3551 section 4.5.4
	G726AAL2 Codec = "AAL2-G726-32" // dynamic; the first code in the high half, as ITU-T I.366.2 has it

	// Keys are not sound, but have a payload type as well: events of RFC 4733.
	Keys Codec = "telephone-event"

	typePCMU  = 0
	typePCMA  = 8
	typeG722  = 9
	typeNoise = 13 // RFC 3389
)

// A Payload is what a payload type stands for.
type Payload struct {
	PT    uint8
	Codec Codec
}

// Kinds of ticks in the jitter buffer. A tick of G.726 is a code of 4 bits in a
// byte of its own, however they were packed.
const (
	kindMu = jitter.First + iota
	kindA
	kindG722
	kindG726
	kindNoise // comfort noise begins
)

// kind is that of the ticks of a codec; ok is false for one that we do not know.
func (c Codec) kind() (k jitter.Kind, ok bool) {
	switch c {
	case PCMU:
		return kindMu, true
	case PCMA:
		return kindA, true
	case G722:
		return kindG722, true
	case G726, G726AAL2:
		return kindG726, true
	}
	return 0, false
}

// packing is how a codec of G.726 packs its codes.
func (c Codec) packing() g726.Packing {
	if c == G726AAL2 {
		return g726.AAL2
	}
	return g726.RFC3551
}

// codec is what a payload type stands for: as was said, as we send ourselves, or
// one of the static ones.
func (r *Remote) codec(pt uint8) Codec {
	for _, p := range r.Payloads {
		if p.PT == pt {
			return p.Codec
		}
	}
	switch {
	case pt == r.PT && r.Codec != "":
		return r.Codec
	case pt == r.Events && r.Events != 0:
		return Keys
	}
	switch pt {
	case typePCMU:
		return PCMU
	case typePCMA:
		return PCMA
	case typeG722:
		return G722
	}
	return ""
}

// A coder writes one sound. A frame has 8000 samples a second, G.722 has twice
// as many; of a wide frame nothing need be made up.
type coder struct {
	up   resample.Converter
	wide [WideSamples]int16
	g722 g722.Encoder
	g726 g726.Encoder
}

// begin forgets the sound before.
func (c *coder) begin(codec Codec) {
	*c = coder{g726: g726.Encoder{Packing: codec.packing()}}
	if codec == G722 {
		c.up.Set(8000, 16000)
	}
}

// encode writes 10 ms to dst and returns how many bytes they are.
func (c *coder) encode(codec Codec, dst []byte, f []int16) int {
	switch codec {
	case G722:
		if len(f) < len(c.wide) {
			c.up.Convert(c.wide[:], f)
			f = c.wide[:]
		}
		c.g722.Encode(dst, f)
		return hal.FrameSamples
	case G726, G726AAL2:
		c.g726.Encode(dst, f)
		return hal.FrameSamples / 2
	case PCMA:
		g711.A.Encode(dst, f)
	default:
		g711.Mu.Encode(dst, f)
	}
	return hal.FrameSamples
}

// A decoder reads one sound. Whichever codec comes goes on from where it was:
// G.722 and G.726 find their way back after a gap.
type decoder struct {
	begun bool // with G.722
	down  resample.Converter
	wide  [2 * jitter.MaxFrame]int16
	g722  g722.Decoder
	g726  g726.Decoder
}

// decode makes a sample of each tick, and one of the upper half where it is
// wanted and there is one.
func (d *decoder) decode(kind jitter.Kind, out, upper []int16, code []byte) {
	switch kind {
	case kindG722:
		if upper != nil {
			d.g722.Halves(out, upper, code)
			return
		}
		if !d.begun {
			d.begun = true
			d.down.Set(16000, 8000)
		}
		wide := d.wide[:2*len(code)]
		d.g722.Decode(wide, code)
		d.down.Convert(out, wide)
	case kindG726:
		d.g726.DecodeUnpacked(out, code)
	case kindA:
		g711.A.Decode(out, code)
	default:
		g711.Mu.Decode(out, code)
	}
}
