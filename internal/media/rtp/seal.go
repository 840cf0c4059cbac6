package rtp

import (
	pion "github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// A Seal is the keys of a call whose sound nobody else may hear: SRTP, RFC 3711,
// with AES_CM_128_HMAC_SHA1_80, which everybody has (RFC 4568 section 6.2.1).
type Seal struct {
	Out, In Key // of what we send, of what comes
}

// A Key is a master key and its salt, RFC 4568 section 6.1: 16 bytes and 14.
type Key [masterSize + 14]byte

const masterSize = 16

// sealed is by how many bytes a packet grows: a tag of 80 bits.
const sealed = 10

// replayWindow is how many packets a late one may be behind the newest, RFC 3711
// section 3.3.2: at least 64.
const replayWindow = 64

// A way is one direction of SRTP or of SRTCP. A nil way leaves packets as they are.
type way struct {
	srtp *srtp.Context
	head pion.Header // parsed into: pion would else make one for each packet
}

func newWay(k Key) *way {
	c, err := srtp.CreateContext(k[:masterSize], k[masterSize:], srtp.ProtectionProfileAes128CmHmacSha1_80,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow))
	if err != nil {
		panic(err) // the sizes are right
	}
	return &way{srtp: c}
}

// ways are both directions of both: out belongs to the cord, in to whoever holds Stream.in,
// those of RTCP to report and to whoever holds Stream.in. The zero ways seal nothing.
type ways struct {
	out, in, reportsOut, reportsIn *way
}

// open makes the ways of a Remote, or goes on with those of the one before as
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
		r.ways.out, r.ways.reportsOut = newWay(r.Seal.Out), newWay(r.Seal.Out)
	}
	if r.ways.in == nil || was.In != r.Seal.In {
		r.ways.in, r.ways.reportsIn = newWay(r.Seal.In), newWay(r.Seal.In)
	}
}

// seal seals a packet in place, which needs room for the bytes called sealed.
func (w *way) seal(b []byte) ([]byte, error) {
	if w == nil {
		return b, nil
	}
	return w.srtp.EncryptRTP(b, b, &w.head)
}

// unseal opens a packet in place. An error: it is not the far end's, or comes twice.
func (w *way) unseal(b []byte) ([]byte, error) {
	if w == nil {
		return b, nil
	}
	return w.srtp.DecryptRTP(b, b, &w.head)
}

func (w *way) sealReport(b []byte) ([]byte, error) {
	if w == nil {
		return b, nil
	}
	return w.srtp.EncryptRTCP(b, b, nil)
}

func (w *way) unsealReport(b []byte) ([]byte, error) {
	if w == nil {
		return b, nil
	}
	return w.srtp.DecryptRTCP(b, b, nil)
}
