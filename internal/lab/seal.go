package lab

import (
	"encoding/base64"

	"github.com/pion/srtp/v3"
)

// farKey is the key of every far end that seals its sound.
const farKey = "ZmFyIGVuZCdzIG93biBrZXlhbmQgc2FsdCBvZiAx"

// A farSeal is SRTP at the far end, by pion: another reader of RFC 3711 than the
// agent's.
type farSeal struct {
	sent, heard *srtp.Context
	key         string // of heard
}

func sealOf(key string) *srtp.Context {
	b, err := base64.StdEncoding.DecodeString(key)
	if err != nil || len(b) != 30 {
		return nil
	}
	c, err := srtp.CreateContext(b[:16], b[16:], srtp.ProtectionProfileAes128CmHmacSha1_80, srtp.SRTPReplayProtection(64))
	if err != nil {
		return nil
	}
	return c
}

// out seals a packet, if that was agreed.
func (f *farSeal) out(m media, p []byte) []byte {
	if m.seal == "" {
		return p
	}
	if f.sent == nil {
		f.sent = sealOf(farKey)
	}
	b, err := f.sent.EncryptRTP(nil, p, nil)
	if err != nil {
		return nil
	}
	return b
}

// in opens a packet; nothing is left of one that cannot be opened.
func (f *farSeal) in(m media, p []byte) []byte {
	if m.seal == "" {
		return p
	}
	if f.heard == nil || f.key != m.seal {
		f.heard, f.key = sealOf(m.seal), m.seal
	}
	if f.heard == nil {
		return nil
	}
	b, err := f.heard.DecryptRTP(nil, p, nil)
	if err != nil {
		return nil
	}
	return b
}
