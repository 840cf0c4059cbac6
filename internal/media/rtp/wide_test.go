package rtp

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/g722"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

// upset lets streams take the same packets of 20 ms, out of pace and with losses,
// for 20 s, and calls read every 10 ms.
func upset(codec Codec, pt uint8, payload func(b []byte), streams []*Stream, read func(frame int)) {
	from := netip.MustParseAddrPort("10.0.0.9:4000")
	for _, s := range streams {
		s.Start(Remote{Addr: from, Codec: codec, PT: pt, Send: true, Receive: true})
	}
	r := rand.New(rand.NewPCG(5, 6))
	var wait [][]byte
	for i := range 2000 {
		if i%2 == 0 {
			b := make([]byte, headerSize+160)
			header{pt: pt, seq: uint16(i / 2), time: uint32(i) * 80, ssrc: 7}.put(b)
			payload(b[headerSize:])
			if r.IntN(30) > 0 {
				wait = append(wait, b)
			}
		}
		if i/300%2 == 0 || r.IntN(4) == 0 { // 3 s in order, 3 s in bursts
			for _, b := range wait {
				for _, s := range streams {
					s.take(slices.Clone(b), from, time.Now())
				}
			}
			wait = nil
		}
		read(i)
		time.Sleep(hal.FrameTime)
	}
}

// A far end that speaks G.711 is heard wide as it is heard on a line, through the
// low-pass, whatever happens to its packets.
func TestNarrowSoundHeardWide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		narrow, wide := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer narrow.Close()
		defer wide.Close()
		wide.Widen(true)
		wide.Widen(true) // which it is
		m := sine(700, -12)
		var up resample.Converter
		up.Set(8000, 16000)
		var f hal.Frame
		got, want := make([]int16, WideSamples), make([]int16, WideSamples)
		upset(PCMU, typePCMU, func(b []byte) {
			pcm := make([]int16, len(b))
			m.Read(pcm)
			g711.Mu.Encode(b, pcm)
		}, []*Stream{narrow, wide}, func(i int) {
			narrow.Read(f[:])
			wide.Read(got)
			if up.Convert(want, f[:]); !slices.Equal(got, want) {
				t.Fatalf("frame %d is another", i)
			}
		})
		if st := narrow.buffer.Stats(); st.Cut < 200 || st.Repeated < 200 || narrow.ear.concealed < 4000 {
			t.Errorf("it was a quiet network: %+v, %d concealed", st, narrow.ear.concealed)
		}
	})
}

// Both halves of G.722 stay together, whatever happens to the packets: what was a
// voice of 200 Hz with all its harmonics still has them, and no others.
func TestHalvesStayTogether(t *testing.T) {
	if testing.Short() {
		t.Skip("measuring takes long where floating point is emulated")
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, host{&wire{}, "10.0.0.1"})
		defer s.Close()
		s.Widen(true)
		var e g722.Encoder
		var period [80]int16
		for i := range period {
			x := 0.0
			for h := 1; h*200 < 7000; h++ {
				x += math.Cos(2*math.Pi*float64(h*i)/80 + float64(h*h))
			}
			period[i] = int16(500 * x)
		}
		var heard []int16
		upset(G722, typeG722, func(b []byte) {
			pcm := make([]int16, 2*len(b))
			for i := range pcm {
				pcm[i] = period[i%len(period)]
			}
			e.Encode(b, pcm)
		}, []*Stream{s}, func(int) {
			f := make([]int16, WideSamples)
			s.Read(f)
			heard = append(heard, f...)
		})
		if st := s.buffer.Stats(); st.Cut < 200 || st.Repeated < 200 || s.ear.concealed < 4000 {
			t.Errorf("it was a quiet network: %+v, %d concealed", st, s.ear.concealed)
		}
		// In each 20 ms, four periods: how much is a harmonic, low and high.
		var in, out [2]float64
		var turn [320]complex128
		for i := range turn {
			turn[i] = cmplx.Rect(1, 2*math.Pi*float64(i)/320)
		}
		for at := 16000; at+320 <= len(heard); at += 320 {
			for k := 1; k < 140; k++ { // 50 Hz each
				var sum complex128
				for i, x := range heard[at : at+320] {
					sum += complex((1-real(turn[i]))*float64(x), 0) * turn[k*i%320]
				}
				power := real(sum)*real(sum) + imag(sum)*imag(sum)
				half := k / 80
				if k%4 == 2 {
					out[half] += power
				} else {
					in[half] += power
				}
			}
		}
		for half, name := range []string{"below 4 kHz", "above"} {
			db := 10 * math.Log10(in[half]/out[half])
			t.Logf("%s: harmonics %.1f dB above what lies between", name, db)
			if db < 15 {
				t.Errorf("%s: harmonics %.1f dB above what lies between, want 15", name, db)
			}
		}
		if d := 10 * math.Log10(in[0]/in[1]*15/20); math.Abs(d) > 2 {
			t.Errorf("the lower half is %.1f dB louder than it was", d)
		}
	})
}

// Who asks for a wide frame of a stream that was not widened gets silence, and
// what he says is not sent.
func TestNotWidened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		agree(a, b, PCMA, 0)
		talk(time.Second, a, b, nil)
		f := make([]int16, WideSamples)
		f[0] = 1
		a.Read(f)
		if f[0] != 0 {
			t.Error("something was heard")
		}
		sent := a.Stats().Sent
		for range 4 {
			a.Write(f)
		}
		if a.Stats().Sent != sent {
			t.Error("something was sent")
		}
	})
}
