package rtp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

var (
	keyA = Key([]byte("0123456789abcdefsalty and 14 b"))
	keyB = Key([]byte("fedcba9876543210salty and 14 b"))
	keyC = Key([]byte("0011223344556677salty and 14 b"))
)

// A packet of libsrtp's own tests, with the master key of RFC 3711 appendix B.3.
func TestSealedByLibsrtp(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := Key(unhex("e1f97a0d3e018be0d64fa32c06de4139" + "0ec675ad498afeebb6960b3aabe6"))
	plain := unhex("800f1234decafbadcafebabe" + "abababababababababababababababab")
	want := unhex("800f1234decafbadcafebabe" + "4e55dc4ce79978d88ca4d215949d2402" + "b78d6acc99ea179b8dbb")
	b := append(plain, make([]byte, sealed)...)[:len(plain)]
	if got, err := newWay(key).seal(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("sealed %x, %v\n  want %x", got, err, want)
	}
	if got, err := newWay(key).unseal(want); err != nil || !bytes.Equal(got[12:], bytes.Repeat([]byte{0xab}, 16)) {
		t.Errorf("opened %x, %v", got, err)
	}
}

// Sealed packets are lost, late, twice, forged, over three rollovers and from a
// second source: each is heard once, and whatever else comes is counted.
func TestSealedOnBadNetwork(t *testing.T) {
	s, far := deaf(0)
	s.Start(Remote{Addr: far, Codec: PCMU, Seal: &Seal{Out: keyA, In: keyB}, Receive: true})
	r := rand.New(rand.NewPCG(1, 2))
	theirs, now := newWay(keyB), time.Now()
	var flight, kept [][]byte
	var sent, bad uint64
	land := func() {
		r.Shuffle(len(flight), func(i, j int) { flight[i], flight[j] = flight[j], flight[i] })
		for _, p := range flight {
			s.take(bytes.Clone(p), far, now)
		}
		flight = flight[:0]
	}
	rollovers := 3
	if testing.Short() {
		rollovers = 1
	}
	for i := range rollovers<<16 + 2000 {
		p := append(packet(7, uint16(i+65000), 0x80), make([]byte, sealed)...)
		p, err := theirs.seal(p[:len(p)-sealed])
		if err != nil {
			t.Fatal(err)
		}
		if i%7 == 3 {
			continue // lost
		}
		sent++
		switch i % 11 {
		case 5: // twice
			bad++
			flight = append(flight, p)
		case 6: // and with a bit turned, in what is authenticated
			bad++
			q := bytes.Clone(p)
			q[r.IntN(len(q)-12)+12] ^= 1 << r.IntN(8)
			flight = append(flight, q)
		}
		flight = append(flight, p)
		if i < 50 {
			kept = append(kept, bytes.Clone(p))
		}
		if len(flight) > 16 {
			land()
		}
	}
	land()
	if st := s.Stats(); st.Received != sent || st.Forged != bad {
		t.Errorf("heard %d of %d, turned away %d of %d", st.Received, sent, st.Forged, bad)
	}
	// The far end goes on with another source; what somebody kept of the first is
	// not heard again.
	p := append(packet(8, 9, 0x80), make([]byte, sealed)...)
	p, err := theirs.seal(p[:len(p)-sealed])
	if err != nil {
		t.Fatal(err)
	}
	s.take(p, far, now)
	for _, p := range kept {
		s.take(p, far, now)
	}
	if st := s.Stats(); st.Received != sent+1 || st.Forged != bad+uint64(len(kept)) {
		t.Errorf("from another source %d, of old ones %d", st.Received-sent, uint64(len(kept))-(st.Forged-bad))
	}
}

// Sound, keys and reports go sealed both ways; what is not sealed, or was sealed
// by somebody else, is not heard.
func TestSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		atA, atB := addrPort(a.rtp.pc.LocalAddr()), addrPort(b.rtp.pc.LocalAddr())
		key, reader := keyA, newWay(keyA) // of what a sends
		packets, reports := 0, 0
		w.pass = func(from, to netip.AddrPort, p []byte) bool {
			switch {
			case to == atB:
				if _, err := reader.unseal(bytes.Clone(p)); err != nil {
					t.Errorf("packet %d is not sealed: %v", packets, err)
				}
				packets++
			case to.Addr() == atB.Addr():
				if _, err := reader.unsealReport(bytes.Clone(p)); err != nil {
					t.Errorf("report %d is not sealed: %v", reports, err)
				}
				reports++
			}
			return true
		}
		r := Remote{Codec: PCMA, PT: typePCMA, Events: 101, Send: true, Receive: true}
		start := func() {
			r.Addr, r.Seal = atB, &Seal{Out: key, In: keyB}
			a.Start(r)
			r.Addr, r.Seal = atA, &Seal{Out: keyB, In: key}
			b.Start(r)
		}
		start()
		hears := func(what string) {
			t.Helper()
			heardA, heardB := talk(3*time.Second, a, b, nil)
			for _, x := range []struct {
				at   []int16
				hz   float64
				peak float64
			}{{heardA[20000:], hzB, peakB}, {heardB[20000:], hzA, peakA}} {
				if peak, rest := peakOf(x.at, x.hz); math.Abs(peak/x.peak-1) > 0.02 || rest > x.peak/30 {
					t.Errorf("%s: heard a peak of %.0f and %.0f besides, want %.0f", what, peak, rest, x.peak)
				}
			}
		}
		hears("sealed")
		start() // the same agreement again, as after a session refresh
		hears("agreed again")
		w.do(func() { key, reader = keyC, newWay(keyC) })
		start()
		hears("with another key")
		if a.Press('7') {
			talk(6*time.Second, a, b, nil)
		}
		if st := b.Stats(); st.EventsHeard != 1 || st.Forged != 0 || st.Lost != 0 || a.Stats().RTT == 0 {
			t.Errorf("%+v", st)
		}
		w.do(func() {
			if packets < 300 || reports < 1 {
				t.Errorf("%d packets, %d reports", packets, reports)
			}
			w.pass = nil
		})
		// In the clear, and a report of another's.
		r.Addr, r.Seal = atB, nil
		a.Start(r)
		before := b.Stats().Received
		talk(6*time.Second, a, b, nil)
		if st := b.Stats(); st.Received != before || st.Forged < 300 {
			t.Errorf("in the clear: %+v", st)
		}
		a.Close()
		b.Close()
	})
}

// What 20 ms of a sealed call cost beside the sound, both ways.
func BenchmarkSealAndOpen20ms(b *testing.B) {
	out, in := newWay(keyA), newWay(keyA)
	p := append(packet(7, 0, 0x80), make([]byte, sealed)...)[:172]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		binary.BigEndian.PutUint16(p[2:], uint16(i))
		q, err := out.seal(p)
		if err == nil {
			_, err = in.unseal(q)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
