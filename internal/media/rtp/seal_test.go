package rtp

import (
	"bytes"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/srtp/v3"

	ours "github.com/ata-agent/ata-agent/internal/media/srtp"
)

var (
	keyA = ours.Key([]byte("0123456789abcdefsalty and 14 b"))
	keyB = ours.Key([]byte("fedcba9876543210salty and 14 b"))
)

// Sound, keys and reports go sealed both ways; what is not sealed, or was sealed
// by somebody else, is not heard.
func TestSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		atA, atB := addrPort(a.rtp.pc.LocalAddr()), addrPort(b.rtp.pc.LocalAddr())
		reader, err := srtp.CreateContext(keyA[:16], keyA[16:], srtp.ProtectionProfileAes128CmHmacSha1_80)
		if err != nil {
			t.Fatal(err)
		}
		packets, reports := 0, 0
		w.pass = func(from, to netip.AddrPort, p []byte) bool {
			switch {
			case to == atB:
				if _, err := reader.DecryptRTP(nil, bytes.Clone(p), nil); err != nil {
					t.Errorf("pion does not open packet %d: %v", packets, err)
				}
				packets++
			case to.Addr() == atB.Addr():
				if _, err := reader.DecryptRTCP(nil, bytes.Clone(p), nil); err != nil {
					t.Errorf("pion does not open report %d: %v", reports, err)
				}
				reports++
			}
			return true
		}
		r := Remote{Codec: PCMA, PT: typePCMA, Events: 101, Send: true, Receive: true}
		start := func() {
			r.Addr, r.Seal = atB, &Seal{Out: keyA, In: keyB}
			a.Start(r)
			r.Addr, r.Seal = atA, &Seal{Out: keyB, In: keyA}
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
		if a.Press('7') {
			talk(6*time.Second, a, b, nil)
		}
		if st := b.Stats(); st.EventsHeard != 1 || st.Forged != 0 || st.Lost != 0 || a.Stats().RTT == 0 {
			t.Errorf("%+v", st)
		}
		if packets < 300 || reports < 1 {
			t.Errorf("%d packets, %d reports", packets, reports)
		}
		// In the clear, and a report of another's.
		r.Addr, r.Seal = atB, nil
		w.pass = nil
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
