package srtp

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pion/srtp/v3"
)

func packet(ssrc uint32, seq uint16, size int) []byte {
	b := make([]byte, 12+size, 12+size+Overhead)
	b[0] = 0x80
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	for i := range b[12:] {
		b[12+i] = byte(int(seq) + i)
	}
	return b
}

var key = Key([]byte("0123456789abcdefsalty and 14 b"))

func theirs(t *testing.T) *srtp.Context {
	t.Helper()
	c, err := srtp.CreateContext(key[:16], key[16:], srtp.ProtectionProfileAes128CmHmacSha1_80,
		srtp.SRTPReplayProtection(64), srtp.SRTCPReplayProtection(64))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pion is another reader of RFC 3711: what one seals the other opens, to the
// byte, over more than one rollover.
func TestAgainstPion(t *testing.T) {
	count := 140000
	if testing.Short() {
		count = 2000
	}
	out, in, pion, back := New(key), New(key), theirs(t), theirs(t)
	for i := range count {
		p := packet(7, uint16(65000+i), i%200)
		want, err := pion.EncryptRTP(nil, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := out.Seal(bytes.Clone(p), 12)
		if !bytes.Equal(got, want) {
			t.Fatalf("packet %d\ngot  %x\nwant %x", i, got, want)
		}
		if open, err := in.Open(bytes.Clone(want), 12); err != nil || !bytes.Equal(open, p) {
			t.Fatalf("packet %d: %v", i, err)
		}
		if i%100 == 0 {
			r := []byte{0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 202, 0, 1, 1, 2, 3, byte(i)}
			sealed := out.SealRTCP(bytes.Clone(r))
			if open, err := back.DecryptRTCP(nil, sealed, nil); err != nil || !bytes.Equal(open, r) {
				t.Fatalf("report %d: pion says %v", i, err)
			}
			sealed, err := pion.EncryptRTCP(nil, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if open, err := in.OpenRTCP(sealed); err != nil || !bytes.Equal(open, r) {
				t.Fatalf("report %d of pion's: %v", i, err)
			}
		}
	}
}

// RFC 3711 appendix B.3 has a master key and what is derived of it; the session
// key shows in the key stream over zeros, the salt in its first block.
func TestKeyDerivation(t *testing.T) {
	var k Key
	copy(k[:], []byte{0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41, 0x39,
		0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6})
	c := New(k)
	salt := []byte{0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1}
	if !bytes.Equal(c.rtp.salt[:14], salt) {
		t.Errorf("salt %x, want %x", c.rtp.salt[:14], salt)
	}
	// "cipher key: C61E7A93744F39EE10734AFE3FF7A087".
	want, _ := aes.NewCipher([]byte{0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87})
	var a, b [16]byte
	c.rtp.block.Encrypt(a[:], a[:])
	want.Encrypt(b[:], b[:])
	if a != b {
		t.Error("another cipher key")
	}
}

// Packets are lost, late, twice, forged and from a second sender.
func TestHostileNetwork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	out, in := New(key), New(key)
	var flight [][]byte
	opened := map[uint16]int{}
	for i := range 3000 {
		p := out.Seal(packet(7, uint16(i), 20), 12)
		switch {
		case i%7 == 3:
			continue // lost
		case i%11 == 5:
			flight = append(flight, bytes.Clone(p)) // twice
		case i%13 == 6:
			q := bytes.Clone(p)
			q[r.IntN(len(q))] ^= 1 << r.IntN(8)
			if _, err := in.Open(q, 12); err == nil {
				t.Fatalf("packet %d was forged and opened", i)
			}
		}
		flight = append(flight, p)
		for len(flight) > 8 {
			n := r.IntN(len(flight))
			if b, err := in.Open(flight[n], 12); err == nil {
				opened[binary.BigEndian.Uint16(b[2:])]++
			}
			flight = append(flight[:n], flight[n+1:]...)
		}
	}
	for seq, n := range opened {
		if n > 1 {
			t.Errorf("packet %d was opened %d times", seq, n)
		}
	}
	if len(opened) < 2500 {
		t.Errorf("only %d packets were opened", len(opened))
	}
	// The far end begins anew with another source: its numbers too.
	if _, err := in.Open(New(key).Seal(packet(8, 9, 20), 12), 12); err != nil {
		t.Errorf("another source: %v", err)
	}
	for n := range 30 {
		if _, err := in.Open(make([]byte, n), 12); err == nil {
			t.Errorf("%d zeros were opened", n)
		}
		if _, err := in.OpenRTCP(make([]byte, n)); err == nil {
			t.Errorf("%d zeros were opened as a report", n)
		}
	}
	report := out.SealRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 7})
	if _, err := in.OpenRTCP(bytes.Clone(report)); err != nil {
		t.Errorf("a report: %v", err)
	}
	if _, err := in.OpenRTCP(report); err == nil {
		t.Error("a report was opened twice")
	}
}

func TestNoAllocation(t *testing.T) {
	out, in := New(key), New(key)
	b := packet(7, 0, 160)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		binary.BigEndian.PutUint16(b[2:], uint16(i))
		i++
		if p, err := in.Open(out.Seal(b, 12), 12); err != nil || len(p) != len(b) {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkSealAndOpen20ms(b *testing.B) {
	out, in := New(key), New(key)
	p := packet(7, 0, 160)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint16(p[2:], uint16(i))
		in.Open(out.Seal(p, 12), 12)
	}
}
