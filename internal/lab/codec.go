package lab

import (
	"github.com/ata-agent/ata-agent/internal/media/g722"
	"github.com/ata-agent/ata-agent/internal/media/g726"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

// others are the codecs that a far end speaks beside G.711, by their names in
// SDP. It has them from the agent, where they are tried on the ITU's vectors.
var others = []string{"G722", "G726-32", "AAL2-G726-32"}

// rate is how many samples a second the sound has.
func (m media) rate() int {
	if m.name == "G722" {
		return 16000
	}
	return 8000
}

// A farCodec is both ways of a far end's sound, each at the rate of its media.
type farCodec struct {
	up   resample.Converter // of what is not coded as was agreed
	g722 struct {
		g722.Encoder
		g722.Decoder
	}
	g726 struct {
		g726.Encoder
		g726.Decoder
	}
}

func newFarCodec() *farCodec {
	c := new(farCodec)
	c.up.Set(8000, 16000)
	return c
}

// write appends samples as m has them.
func (c *farCodec) write(p []byte, m media, s []int16) []byte {
	switch m.name {
	case "":
		for _, x := range s {
			p = append(p, encode(m.codec, x))
		}
		return p
	case "G722":
		out := make([]byte, len(s)/2)
		c.g722.Encode(out, s)
		return append(p, out...)
	}
	c.g726.Encoder.Packing = packing(m.name)
	out := make([]byte, len(s)/2)
	c.g726.Encode(out, s)
	return append(p, out...)
}

// read is the samples of a payload.
func (c *farCodec) read(m media, pt uint8, b []byte) []int16 {
	switch {
	case m.name == "" || pt != m.codec:
		s := make([]int16, len(b))
		for i := range b {
			s[i] = decode(pt, b[i])
		}
		if m.rate() == 8000 {
			return s
		}
		wide := make([]int16, 2*len(b))
		c.up.Convert(wide, s)
		return wide
	case m.name == "G722":
		s := make([]int16, 2*len(b))
		c.g722.Decode(s, b)
		return s
	}
	c.g726.Decoder.Packing = packing(m.name)
	s := make([]int16, 2*len(b))
	c.g726.Decode(s, b)
	return s
}

func packing(name string) g726.Packing {
	if name == "AAL2-G726-32" {
		return g726.AAL2
	}
	return g726.RFC3551
}
