package rtp

import "github.com/ata-agent/ata-agent/internal/media/srtp"

// A Seal is the keys of a call whose sound nobody else may hear: SRTP, RFC 3711.
type Seal struct {
	Out, In srtp.Key // of what we send, of what comes
}

// ways are the contexts of a Seal: out belongs to the cord, in to whoever holds
// Stream.in, those of RTCP to report and to whoever holds Stream.in. The zero ways
// seal nothing.
type ways struct {
	out, in, reportsOut, reportsIn *srtp.Context
}

// open makes the contexts of a Remote, or goes on with those of the one before as
// far as the keys are the same: a packet's number must not come twice.
func (r *Remote) open(old *Remote) {
	if r.Seal == nil {
		return
	}
	var was Seal
	if old != nil && old.Seal != nil {
		was, r.ways = *old.Seal, old.ways
	}
	if r.ways.out == nil || was.Out != r.Seal.Out {
		r.ways.out, r.ways.reportsOut = srtp.New(r.Seal.Out), srtp.New(r.Seal.Out)
	}
	if r.ways.in == nil || was.In != r.Seal.In {
		r.ways.in, r.ways.reportsIn = srtp.New(r.Seal.In), srtp.New(r.Seal.In)
	}
}

// unseal opens a packet; false: it is not the far end's, or comes twice.
func (w *ways) unseal(b []byte) ([]byte, bool) {
	if w.in == nil {
		return b, true
	}
	head, ok := headerEnd(b)
	if !ok {
		return nil, false
	}
	b, err := w.in.Open(b, head)
	return b, err == nil
}

func (w *ways) unsealReport(b []byte) ([]byte, bool) {
	if w.in == nil {
		return b, true
	}
	b, err := w.reportsIn.OpenRTCP(b)
	return b, err == nil
}
