package rtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/tone"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t *testing.T, n Network) *Stream {
	t.Helper()
	s, err := Open(context.Background(), n, "", quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// agree makes a and b each other's far ends, with events.
func agree(a, b *Stream, codec Codec, ptime time.Duration) {
	pt := map[Codec]uint8{PCMU: typePCMU, PCMA: typePCMA, G722: typeG722, G726: 97, G726AAL2: 98}[codec]
	r := Remote{Codec: codec, PT: pt, Events: 101, Ptime: ptime, Send: true, Receive: true}
	r.Addr = addrPort(b.rtp.pc.LocalAddr())
	a.Start(r)
	r.Addr = addrPort(a.rtp.pc.LocalAddr())
	b.Start(r)
}

// Two mouths speak sines, at -9 and -15 dBm0.
const (
	hzA, hzB     = 1000, 700
	peakA, peakB = 8099, 4059
)

func sine(hz uint16, level tone.DBm0) (p tone.Player) {
	p.Play(tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{hz}}}, Level: level})
	return p
}

// peakOf is the peak of a sine in s; the rest is what is left of s without it.
func peakOf(s []int16, hz float64) (peak, rest float64) {
	var re, im, sum float64
	// By turning, which emulators of machines without floating point can bear.
	sin, cos := math.Sincos(2 * math.Pi * hz / 8000)
	x, y := 1.0, 0.0
	for _, v := range s {
		re += float64(v) * x
		im += float64(v) * y
		sum += float64(v) * float64(v)
		x, y = x*cos-y*sin, x*sin+y*cos
	}
	n := float64(len(s))
	peak = 2 * math.Hypot(re, im) / n
	return peak, math.Sqrt(max(0, sum/n-peak*peak/2))
}

// talk lets two streams carry sound for a time, 10 ms after 10 ms.
func talk(d time.Duration, a, b *Stream, each func(i int, toA, toB *hal.Frame)) (atA, atB []int16) {
	ma, mb := sine(hzA, -9), sine(hzB, -15)
	var f, g hal.Frame
	for i := range int(d / hal.FrameTime) {
		ma.Read(f[:])
		mb.Read(g[:])
		a.Write(f[:])
		b.Write(g[:])
		a.Read(f[:])
		b.Read(g[:])
		if each != nil {
			each(i, &f, &g)
		}
		atA, atB = append(atA, f[:]...), append(atB, g[:]...)
		time.Sleep(hal.FrameTime)
	}
	return atA, atB
}

func TestTwoStreamsHearEachOther(t *testing.T) {
	for _, codec := range []Codec{PCMU, PCMA, G722, G726, G726AAL2} {
		for _, ptime := range []time.Duration{0, 10, 20, 30, 40, 60} {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{delay: 7 * time.Millisecond}
				a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
				if a.LocalPort()%2 != 0 || b.LocalPort()%2 != 0 {
					t.Errorf("ports %d and %d, RTP wants even ones", a.LocalPort(), b.LocalPort())
				}
				agree(a, b, codec, ptime*time.Millisecond)
				// The buffer finds its delay first, which moves the sine.
				atA, atB := talk(3*time.Second, a, b, nil)
				for _, x := range []struct {
					at   []int16
					hz   float64
					peak float64
				}{{atA, hzB, peakB}, {atB, hzA, peakA}} {
					peak, rest := peakOf(x.at[20000:24000], x.hz)
					if math.Abs(peak/x.peak-1) > 0.02 || rest > x.peak/30 {
						t.Errorf("%s, %d ms: heard a peak of %.0f and %.0f besides, want %.0f", codec, ptime, peak, rest, x.peak)
					}
				}
				a.Close()
				b.Close()
				for _, s := range []Stats{a.Stats(), b.Stats()} {
					if s.Lost != 0 || s.Late != 0 || s.Garbage != 0 || s.Strangers != 0 || s.Unwanted != 0 || s.Concealed != 0 {
						t.Errorf("%s, %d ms: %+v", codec, ptime, s)
					}
				}
			})
		}
	}
}

// A far end may number what it wants otherwise than we do, and may change the
// codec in the middle without a word.
func TestPayloadTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		ours := []Payload{{110, G726}, {111, G726AAL2}}
		b.Start(Remote{Addr: addrPort(a.rtp.pc.LocalAddr()), Codec: PCMU, PT: typePCMU, Payloads: ours, Send: true, Receive: true})
		for _, p := range []Payload{{typePCMA, PCMA}, {110, G726}, {111, G726AAL2}, {typeG722, G722}, {typePCMU, PCMU}, {111, G726AAL2}} {
			a.Start(Remote{Addr: addrPort(b.rtp.pc.LocalAddr()), Codec: p.Codec, PT: p.PT, Send: true, Receive: true})
			_, atB := talk(3*time.Second, a, b, nil)
			if peak, rest := peakOf(atB[20000:], hzA); math.Abs(peak/peakA-1) > 0.02 || rest > peakA/30 {
				t.Errorf("%s as %d: heard a peak of %.0f and %.0f besides", p.Codec, p.PT, peak, rest)
			}
		}
		a.Start(Remote{Addr: addrPort(b.rtp.pc.LocalAddr()), Codec: G726, PT: 96, Send: true, Receive: true})
		talk(time.Second, a, b, nil)
		if st := b.Stats(); st.Unwanted != 50 || st.Garbage != 0 {
			t.Errorf("of a type nobody agreed on: %+v", st)
		}
		a.Close()
		b.Close()
	})
}

// Events have a payload type that the far end chose, or we did.
func TestPayloadTypesOfKeys(t *testing.T) {
	r := Remote{Codec: G726, PT: 101, Events: 96, Payloads: []Payload{{101, G726}, {96, Keys}, {97, G726}, {101, Keys}}}
	for pt, want := range map[uint8]Codec{101: G726, 96: Keys, 97: G726, 0: PCMU, 8: PCMA, 9: G722, 18: ""} {
		if got := r.codec(pt); got != want {
			t.Errorf("%d is %q, want %q", pt, got, want)
		}
	}
	if got := (&Remote{Events: 102}).codec(102); got != Keys {
		t.Errorf("what we send keys as is %q", got)
	}
}

func TestLossIsConcealedAndCounted(t *testing.T) {
	for codec, most := range map[Codec]float64{PCMA: 600, G722: 1500, G726: 1500} {
		testLoss(t, codec, most)
	}
}

// testLoss loses one packet in twenty; most is how much may be heard besides the
// sine. Codecs that foresee take a while to be right again.
func testLoss(t *testing.T, codec Codec, most float64) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 4))
		lost := 0
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		toB := addrPort(b.rtp.pc.LocalAddr())
		w.pass = func(from, to netip.AddrPort, _ []byte) bool {
			if to == toB && r.IntN(20) == 0 {
				lost++
				return false
			}
			return true
		}
		agree(a, b, codec, 0)
		_, atB := talk(10*time.Second, a, b, nil)
		// In stretches, since the buffer moves the sine in time.
		var peak, rest float64
		for i := 8000; i < len(atB); i += 400 {
			p, r := peakOf(atB[i:i+400], 1000)
			peak, rest = peak+p/180, rest+r/180
		}
		st := b.Stats()
		t.Logf("%s, %d packets lost: peak %.0f of %d, %.0f besides; %+v", codec, lost, peak, peakA, rest, st)
		if st.Lost < int64(lost)-1 || st.Lost > int64(lost) {
			t.Errorf("%d lost, counted %d", lost, st.Lost)
		}
		if peak < 7400 || rest > most {
			t.Errorf("%s: heard a peak of %.0f and %.0f besides", codec, peak, rest)
		}
		if ms := st.Concealed.Milliseconds(); ms < int64(lost)*15 || ms > int64(lost)*40 {
			t.Errorf("%d ms made up for %d packets of 20 ms", ms, lost)
		}
		a.Close()
		b.Close()
	})
}

// sniff collects what goes to an address.
func sniff(w *wire, to netip.AddrPort) *[]*rtp.Packet {
	var got []*rtp.Packet
	w.pass = func(_, at netip.AddrPort, b []byte) bool {
		if at == to {
			p := &rtp.Packet{}
			if err := p.Unmarshal(slices.Clone(b)); err != nil {
				panic(err)
			}
			got = append(got, p)
		}
		return true
	}
	return &got
}

// RFC 4733 section 2.5.1 and 2.6: what a key looks like on the wire.
func TestKeysOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		got := sniff(w, addrPort(b.rtp.pc.LocalAddr()))
		agree(a, b, PCMU, 0)
		talk(time.Second, a, b, func(i int, _, _ *hal.Frame) {
			switch i {
			case 20:
				a.KeyDown('5')
			case 35:
				a.KeyUp()
			case 60:
				a.KeyDown('#') // let go at once
				a.KeyUp()
			}
		})
		var keys [][]*rtp.Packet
		for i, p := range *got {
			if i > 0 {
				if was := (*got)[i-1]; p.SequenceNumber != was.SequenceNumber+1 || p.SSRC != was.SSRC {
					t.Fatalf("packet %d: sequence or SSRC not that of the stream", i)
				}
			}
			if p.PayloadType != 101 {
				continue
			}
			if len(keys) == 0 || keys[len(keys)-1][0].Timestamp != p.Timestamp {
				keys = append(keys, nil)
			}
			k := &keys[len(keys)-1]
			*k = append(*k, p)
		}
		if len(keys) != 2 {
			t.Fatalf("%d keys on the wire, want 2", len(keys))
		}
		for n, want := range []struct {
			code     byte
			duration uint16
		}{{5, 1280}, {11, 400}} {
			ends := 0
			var last uint16
			for i, p := range keys[n] {
				e := p.Payload
				// "The marker bit [...] is set to 1 in the first packet of
				// an event", section 2.2.1.
				if p.Marker != (i == 0) {
					t.Errorf("key %d, packet %d: marker %v", n, i, p.Marker)
				}
				if len(e) != 4 || e[0] != want.code || e[1]&0x40 != 0 {
					t.Fatalf("key %d, packet %d: payload % x", n, i, e)
				}
				d := binary.BigEndian.Uint16(e[2:])
				if e[1]&0x80 != 0 {
					ends++
					if d != want.duration {
						t.Errorf("key %d ends after %d, want %d", n, d, want.duration)
					}
				} else if d <= last {
					t.Errorf("key %d, packet %d: duration %d after %d", n, i, d, last)
				}
				last = d
			}
			// "the final packet [...] SHOULD be sent a total of three times".
			if ends != 3 {
				t.Errorf("key %d has %d ends, want 3", n, ends)
			}
		}
		// No sound while a key is down; after it, timestamps go on in real time.
		first := (*got)[0]
		for _, p := range *got {
			if p.PayloadType != typePCMU {
				continue
			}
			at := p.Timestamp - first.Timestamp
			if down := keys[0][0].Timestamp - first.Timestamp; at >= down && at < down+1280 {
				t.Errorf("sound at %d, while the key was down since %d", at, down)
			}
			if len(p.Payload) != 160 {
				t.Errorf("a packet of %d samples", len(p.Payload))
			}
		}
		lastSound := (*got)[len(*got)-1].Timestamp - first.Timestamp
		if lastSound < 7600 || lastSound > 7900 {
			t.Errorf("the last packet is of %d, want about 1 s", lastSound)
		}
	})
}

// A key longer than 65535 ticks goes on as another segment, RFC 4733 section
// 2.5.1.3, and is one key to who hears it.
func TestAKeyHeldFor20Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		agree(a, b, PCMU, 0)
		_, atB := talk(23*time.Second, a, b, func(i int, _, _ *hal.Frame) {
			switch i {
			case 100:
				a.KeyDown('1')
			case 2100:
				a.KeyUp()
			}
		})
		if s := b.Stats(); s.EventsHeard != 1 {
			t.Errorf("%d keys heard, want 1", s.EventsHeard)
		}
		sounding := 0
		for i := 0; i+800 <= len(atB); i += 800 {
			if p, _ := peakOf(atB[i:i+80], 697); p > 5000 {
				sounding++
			}
		}
		if sounding < 198 || sounding > 203 {
			t.Errorf("heard for %d00 ms, want 20 s", sounding)
		}
	})
}

// hears finds the keys in what an ear heard: the stretches in which row and
// column sound.
func hears(s []int16, row, col float64) (ms []int) {
	on := 0
	for i := 0; i+80 <= len(s); i += 80 {
		p, _ := peakOf(s[i:i+80], row)
		q, _ := peakOf(s[i:i+80], col)
		if p > 3000 && q > 3000 {
			on += 10
		} else if on > 0 {
			ms = append(ms, on)
			on = 0
		}
	}
	return ms
}

func TestKeysAreHeardOnce(t *testing.T) {
	for _, row := range []struct {
		name string
		lose func(n int) bool // of the packets of events
		keys int
	}{
		{"no loss", func(int) bool { return false }, 2},
		{"the first is lost", func(n int) bool { return n == 0 }, 2},
		{"only one end arrives", func(n int) bool { return n != 7 && n < 8 }, 2},
		{"no end arrives", func(n int) bool { return n >= 4 && n <= 7 }, 2},
		{"nothing of the first key", func(n int) bool { return n < 8 }, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{delay: time.Millisecond}
			a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
			defer a.Close()
			defer b.Close()
			n := 0
			w.pass = func(_, _ netip.AddrPort, p []byte) bool {
				if p[1]&0x7f == 101 {
					n++
					return !row.lose(n - 1)
				}
				return true
			}
			agree(a, b, PCMU, 0)
			_, atB := talk(2*time.Second, a, b, func(i int, _, _ *hal.Frame) {
				switch i {
				case 50, 110:
					a.Press('9')
				}
			})
			got := hears(atB, 852, 1477)
			if len(got) != row.keys {
				t.Errorf("%s: heard %v ms, want %d keys", row.name, got, row.keys)
			}
			for _, ms := range got {
				if ms < 50 || ms > 300 {
					t.Errorf("%s: a key of %d ms", row.name, ms)
				}
			}
		})
	}
}

// Ten keys pressed at once are sent one after the other.
func TestKeysWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		agree(a, b, PCMU, 0)
		_, atB := talk(3*time.Second, a, b, func(i int, _, _ *hal.Frame) {
			if i == 20 {
				for range 6 {
					if !a.Press('*') {
						t.Error("a key was refused")
					}
				}
			}
		})
		if got := hears(atB, 941, 1209); len(got) != 6 {
			t.Errorf("heard %v ms, want 6 keys", got)
		}
	})
}

// A flash is an event like a key, RFC 2833 section 3.10: 16, and nobody hears
// it. It is sent only to who takes it.
func TestFlash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		got := sniff(w, addrPort(b.rtp.pc.LocalAddr()))
		agree(a, b, PCMU, 0)
		if a.Flash() {
			t.Error("sent to a far end that takes none")
		}
		r := *a.remote.Load()
		r.Flash = true
		a.Start(r)
		talk(time.Second, a, b, func(i int, _, _ *hal.Frame) {
			if i == 20 && !a.Flash() {
				t.Error("refused")
			}
		})
		ends := 0
		for _, p := range *got {
			if p.PayloadType == 101 && p.Payload[0] == 16 && p.Payload[1]&endBit != 0 {
				ends++
			}
		}
		if ends != endCopies {
			t.Errorf("%d ends of a flash on the wire, want %d", ends, endCopies)
		}
		if n := b.Stats().EventsHeard; n != 0 {
			t.Errorf("heard as %d keys", n)
		}
	})
}

func TestNoEventsAgreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		a := open(t, host{w, "10.0.0.1"})
		defer a.Close()
		a.Start(Remote{Addr: netip.MustParseAddrPort("10.0.0.2:4000"), Codec: PCMU, Send: true, Receive: true})
		if a.KeysApart() || a.KeyDown('1') || a.Flash() {
			t.Error("a key would be sent to a far end that takes none")
		}
	})
}

// packet makes a packet of 20 ms.
// To a far end without events a dial's keys are sung: each for 100 ms, a pause of
// 50 ms behind it, and nothing of the mouth in it.
func TestKeysAreSungWhereNoneAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMA, 0)
		r := *a.remote.Load()
		r.Events = 0
		a.Start(r)
		_, atB := talk(4*time.Second, a, b, func(i int, _, _ *hal.Frame) {
			if i == 100 {
				for _, k := range "193" {
					if !a.Press(byte(k)) {
						t.Error("not sung")
					}
				}
			}
		})
		atB = atB[8000:]
		singing := 0
		// 450 ms from first to last, and not a bit of the mouth between.
		for i := 0; i+80 <= len(atB); i += 80 {
			if p, _ := peakOf(atB[i:i+80], hzA); p < 4000 {
				singing += 10
			}
		}
		if singing < 430 || singing > 470 {
			t.Errorf("the mouth is silent for %d ms, want 450", singing)
		}
		for key, hz := range map[string][2]float64{"1": {697, 1209}, "9": {852, 1477}, "3": {697, 1477}} {
			if ms := hears(atB, hz[0], hz[1]); len(ms) != 1 || ms[0] < 80 || ms[0] > 120 {
				t.Errorf("%s is heard for %v ms", key, ms)
			}
		}
		if peak, _ := peakOf(atB[18000:22000], hzA); peak < 7400 {
			t.Errorf("afterwards the mouth is heard with a peak of %.0f", peak)
		}
		a.Close()
		b.Close()
		if st := b.Stats(); st.EventsHeard != 0 || st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Keys that signalling tells of are heard, and not twice where events come too.
func TestKeysBySignalling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMA, 0)
		_, atB := talk(4*time.Second, a, b, func(i int, _, _ *hal.Frame) {
			switch i {
			case 100:
				b.Pressed('5', 200*time.Millisecond)
				b.Pressed('x', 200*time.Millisecond)
			case 200:
				a.Press('6')
			case 205:
				b.Pressed('6', 100*time.Millisecond)
			}
		})
		if ms := hears(atB, 770, 1336); len(ms) != 1 || ms[0] < 180 || ms[0] > 220 {
			t.Errorf("5 is heard for %v ms", ms)
		}
		if ms := hears(atB, 770, 1477); len(ms) != 1 {
			t.Errorf("6 is heard for %v ms", ms)
		}
		a.Close()
		b.Close()
	})
}

func packet(ssrc uint32, seq uint16, code byte) []byte {
	b := make([]byte, 172)
	header{pt: typePCMU, seq: seq, time: uint32(seq) * 160, ssrc: ssrc}.put(b)
	for i := range b[12:] {
		b[12+i] = code
	}
	return b
}

// Whoever is not the far end is not listened to and gets nothing.
func TestStrangers(t *testing.T) {
	signalled := netip.MustParseAddrPort("10.0.0.2:4000")
	nat := netip.MustParseAddrPort("10.0.0.2:61234")
	thief := netip.MustParseAddrPort("10.6.6.6:4000")
	for _, row := range []struct {
		name string
		run  func(take func(from netip.AddrPort, ssrc uint32, seq uint16), wait func(time.Duration))
		to   netip.AddrPort // where sound goes at the end
		got  uint64         // packets listened to
	}{
		{"the far end as signalled", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			for i := range 10 {
				take(signalled, 1, uint16(i))
			}
		}, signalled, 10},
		{"behind a NAT", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			for i := range 10 {
				take(nat, 1, uint16(i))
			}
		}, nat, 7},
		{"a thief after the far end was heard", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			take(signalled, 1, 0)
			for i := range 100 {
				take(thief, 1, uint16(i))
			}
		}, signalled, 1},
		{"a thief after 5 s", func(take func(netip.AddrPort, uint32, uint16), wait func(time.Duration)) {
			wait(5100 * time.Millisecond)
			for i := range 100 {
				take(thief, 1, uint16(i))
			}
		}, signalled, 0},
		{"a thief who guesses", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			for i := range 100 {
				take(thief, 1, uint16(i*7))
				take(thief, uint32(i), uint16(i))
			}
		}, signalled, 0},
		{"a thief before the far end", func(take func(netip.AddrPort, uint32, uint16), wait func(time.Duration)) {
			for i := range 100 {
				take(thief, 1, uint16(i))
			}
			wait(6 * time.Second)
			for i := range 10 {
				take(signalled, 2, uint16(i))
				take(thief, 1, uint16(100+i))
			}
		}, signalled, 97 + 10},
		{"two who mix", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			for i := range 100 {
				take(thief, 1, uint16(i))
				take(nat, 2, uint16(i))
			}
		}, signalled, 0},
		{"the NAT's port changes later", func(take func(netip.AddrPort, uint32, uint16), _ func(time.Duration)) {
			for i := range 10 {
				take(nat, 1, uint16(i))
			}
			for i := range 10 {
				take(thief, 1, uint16(10+i))
			}
		}, nat, 7},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{}
			s := open(t, host{w, "10.0.0.1"})
			defer s.Close()
			s.Start(Remote{Addr: signalled, Codec: PCMU, Send: true, Receive: true})
			row.run(func(from netip.AddrPort, ssrc uint32, seq uint16) {
				s.take(packet(ssrc, seq, 0x80), from, time.Now())
			}, time.Sleep)
			if *s.to.Load() != row.to {
				t.Errorf("%s: sound goes to %v, want %v", row.name, *s.to.Load(), row.to)
			}
			if got := s.Stats().Received; got != row.got {
				t.Errorf("%s: %d packets listened to, want %d", row.name, got, row.got)
			}
			// Signalling says the same again, as a 200 after a 183 does.
			s.Start(Remote{Addr: signalled, Codec: PCMU, Send: true, Receive: true})
			if *s.to.Load() != row.to {
				t.Errorf("%s: forgotten when told the same again", row.name)
			}
		})
	}
}

// 10^4 packets of garbage: counted, and the call lives.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMU, 0)
		r := rand.New(rand.NewPCG(8, 8))
		from := addrPort(a.rtp.pc.LocalAddr())
		n := uint64(0)
		_, atB := talk(2*time.Second, a, b, func(i int, _, _ *hal.Frame) {
			for range 50 {
				g := make([]byte, r.IntN(60))
				for i := range g {
					g[i] = byte(r.Uint32())
				}
				if len(g) > 0 {
					g[0] &= 0x7f // any version but 2
				}
				b.take(g, from, time.Now())
				b.takeReport(g, from, time.Now())
				n++
			}
		})
		if peak, rest := peakOf(atB[12000:16000], 1000); math.Abs(peak-peakA) > 200 || rest > 300 {
			t.Errorf("heard a peak of %.0f and %.0f besides", peak, rest)
		}
		if st := b.Stats(); st.Garbage < n {
			t.Errorf("%d of %d datagrams counted as garbage", st.Garbage, n)
		}
		a.Close()
		b.Close()
	})
}

// Each kind of packet that is of no use, from where the far end is and after it was
// heard: it is counted once, by its kind, and changes nothing else.
func TestUselessPackets(t *testing.T) {
	const other = 0xbad
	with := func(at int, v byte) []byte {
		p := packet(other, 9, 0x80)
		p[at] |= v
		return p
	}
	extended := with(0, 0x10)
	binary.BigEndian.PutUint16(extended[14:], 0xffff)
	padded := with(0, 0x20)
	padded[len(padded)-1] = 0xff
	garbage, unwanted := Stats{Garbage: 1}, Stats{Unwanted: 1}
	report := []byte{0x81, 201, 0, 7, 0, 0, 0, 7, 0, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9}
	for _, row := range []struct {
		name   string
		packet []byte
		report bool // on the odd port
		want   Stats
	}{
		{"empty", nil, false, garbage},
		{"one byte", []byte{0x80}, false, garbage},
		{"half a header", packet(other, 9, 0x80)[:11], false, garbage},
		{"nothing behind it", packet(other, 9, 0x80)[:12], false, garbage},
		{"another version", append([]byte{0x40}, packet(other, 9, 0x80)[1:]...), false, garbage},
		{"sources that are not there", with(0, 15)[:40], false, garbage},
		{"an extension that is not", extended, false, garbage},
		{"more padding than packet", padded, false, garbage},
		{"more than a buffer holds", append(packet(other, 9, 0x80), make([]byte, 1876)...), false, garbage},
		{"a type nobody agreed on", with(1, 77), false, unwanted},
		{"a report on the wrong port", append(report, make([]byte, 100)...), false, unwanted},
		{"a report of one byte", []byte{0x80}, true, garbage},
		{"a report in another version", append([]byte{0x41}, report[1:]...), true, garbage},
		{"a report longer than it is", append([]byte{0x81, 201, 0, 8}, report[4:]...), true, garbage},
		{"a report with blocks that are not there", append([]byte{0x9f}, report[1:]...), true, Stats{}},
		{"a report of another's packets", report, true, Stats{}},
		{"no report that we know", append([]byte{0x80, 204}, report[2:]...), true, Stats{}},
		{"a goodbye", []byte{0x81, 203, 0, 1, 0, 0, 0, 7}, true, Stats{}},
	} {
		s, far := deaf(0)
		s.ssrc = 78
		var said bytes.Buffer
		s.log = slog.New(slog.NewTextHandler(&said, nil))
		for i := range 10 {
			s.take(packet(7, uint16(i), 0x80), far, time.Now())
		}
		before, want, recv := s.Stats(), row.want, s.recv
		if row.report {
			s.takeReport(row.packet, netip.AddrPortFrom(far.Addr(), far.Port()+1), time.Now())
		} else {
			s.take(row.packet, far, time.Now())
		}
		got := s.Stats()
		want.Received, want.Source, want.Delay = before.Received, before.Source, before.Delay
		want.Jitter = before.Jitter
		if got != want || s.recv != recv || said.Len() > 0 {
			t.Errorf("%s: %+v\nwant %+v, and %q was said", row.name, got, want, said.String())
		}
	}
	// One that took an hour tells no round trip.
	s, far := deaf(0)
	s.ssrc = 99
	binary.BigEndian.PutUint32(report[24:], uint32(ntp(time.Now().Add(-time.Hour))>>16))
	s.takeReport(report, far, time.Now())
	if rtt := s.Stats().RTT; rtt != 0 {
		t.Errorf("a round trip of %v is believed", rtt)
	}
}

// The far end's port is closed: every packet is refused, and that is all.
func TestRefusedPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMU, 0)
		gone := addrPort(b.rtp.pc.LocalAddr())
		b.Close()
		var f hal.Frame
		for range 300 {
			a.Write(f[:])
			a.Read(f[:])
			time.Sleep(hal.FrameTime)
		}
		c, err := host{w, "10.0.0.2"}.ListenPacket(context.Background(), "udp", gone.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i := range 20 {
			c.WriteTo(packet(9, uint16(i), 0x80), net.UDPAddrFromAddrPort(addrPort(a.rtp.pc.LocalAddr())))
			time.Sleep(20 * time.Millisecond)
		}
		if st := a.Stats(); st.Received != 20 || st.Sent != 150 {
			t.Errorf("%+v, want 20 received after the refusals", st)
		}
		a.Close()
	})
}

// Hold, another far end in mid-call, and sound again after a pause.
func TestRemoteChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b, c := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"}), open(t, host{w, "10.0.0.3"})
		agree(a, b, PCMU, 0)
		talk(time.Second, a, b, nil)
		atA, _ := talk(100*time.Millisecond, a, b, nil)
		if p, _ := peakOf(atA, 700); p < 3900 {
			t.Errorf("b is heard with a peak of %.0f", p)
		}

		r := *a.remote.Load()
		r.Addr = netip.MustParseAddrPort("0.0.0.0:0") // RFC 3264 section 8.4, the old hold
		a.Start(r)
		sent := a.Stats().Sent
		atA, _ = talk(time.Second, a, b, nil)
		if p, _ := peakOf(atA[2400:], 700); p != 0 {
			t.Errorf("b is heard with a peak of %.0f on hold", p)
		}
		if n := a.Stats().Sent - sent; n != 0 {
			t.Errorf("%d packets sent on hold", n)
		}

		agree(a, c, PCMA, 0)
		atA, atC := talk(time.Second, a, c, nil)
		if p, _ := peakOf(atA[4000:], 700); p < 3900 {
			t.Errorf("c is heard with a peak of %.0f", p)
		}
		if p, _ := peakOf(atC[4000:], 1000); p < 7800 {
			t.Errorf("c hears a peak of %.0f", p)
		}
		for _, s := range []*Stream{a, b, c} {
			s.Close()
		}
	})
}

// A stream that nobody has listened to for a while, as in a call that is on hold, is
// heard as it is now, and as soon as before.
func TestReadAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMU, 0)
		talk(3*time.Second, a, b, nil)
		before := b.Stats().Delay
		for _, unheard := range []time.Duration{300 * time.Millisecond, 6 * time.Second, 90 * time.Second} {
			ma := sine(hzA, -9)
			var f hal.Frame
			for range int(unheard / hal.FrameTime) {
				ma.Read(f[:])
				a.Write(f[:])
				time.Sleep(hal.FrameTime)
			}
			_, atB := talk(time.Second, a, b, nil)
			if got := b.Stats().Delay; got > before+10*time.Millisecond {
				t.Errorf("unheard for %v: then %v wait to be heard, before %v", unheard, got, before)
			}
			if peak, rest := peakOf(atB[1600:4800], hzA); peak < 0.9*peakA || rest > 0.1*peakA {
				t.Errorf("unheard for %v: then a peak of %.0f and a rest of %.0f", unheard, peak, rest)
			}
		}
		a.Close()
		b.Close()
	})
}

// After nobody carried the sound for a while, timestamps have gone on.
func TestTimestampsFollowTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		defer a.Close()
		defer b.Close()
		got := sniff(w, addrPort(b.rtp.pc.LocalAddr()))
		agree(a, b, PCMU, 0)
		talk(time.Second, a, b, nil)
		time.Sleep(3 * time.Second)
		talk(time.Second, a, b, nil)
		p, q := (*got)[0], (*got)[len(*got)-1]
		if d := q.Timestamp - p.Timestamp; d < 39600 || d > 40000 {
			t.Errorf("%d ticks in 5 s", d)
		}
		marked := 0
		for _, p := range *got {
			if p.Marker {
				marked++
			}
		}
		// RFC 3551 section 4.1: the marker is set on "the first packet of a
		// talkspurt".
		if marked != 2 || !p.Marker {
			t.Errorf("%d packets are marked, want the first and the one after the pause", marked)
		}
	})
}

func TestComfortNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		s := open(t, host{w, "10.0.0.1"})
		defer s.Close()
		far := netip.MustParseAddrPort("10.0.0.2:4000")
		s.Start(Remote{Addr: far, Codec: PCMU, Send: true, Receive: true})
		for i := range 5 {
			s.take(packet(1, uint16(i), 0x80), far, time.Now())
		}
		noise := make([]byte, 13)
		header{pt: typeNoise, seq: 5, time: 5 * 160, ssrc: 1}.put(noise)
		noise[12] = 50 // -50 dBov
		s.take(noise, far, time.Now())
		var f hal.Frame
		var out []int16
		for range 100 {
			s.Read(f[:])
			out = append(out, f[:]...)
		}
		_, rms := peakOf(out[4000:], 1000)
		level := 20 * math.Log10(rms/32767)
		if math.Abs(level+50) > 2 {
			t.Errorf("noise of %.1f dBov, want -50", level)
		}
	})
}

// Reports parse, say the truth and end with a goodbye, RFC 3550 section 6.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 30 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		toB := addrPort(b.rtcp.pc.LocalAddr())
		var got [][]rtcp.Packet
		n := 0
		w.pass = func(_, to netip.AddrPort, p []byte) bool {
			if to == toB {
				ps, err := rtcp.Unmarshal(slices.Clone(p))
				if err != nil {
					t.Errorf("a report that does not parse: %v", err)
				}
				got = append(got, ps)
				return true
			}
			if to.Port()%2 == 0 && to.Addr() == toB.Addr() {
				n++
				return n%10 != 0
			}
			return true
		}
		agree(a, b, PCMU, 0)
		talk(21*time.Second, a, b, nil)
		st := a.Stats()
		if st.RTT < 55*time.Millisecond || st.RTT > 65*time.Millisecond {
			t.Errorf("RTT %v, want 60 ms", st.RTT)
		}
		if st.FarLost < 20 || st.FarLost > 30 {
			t.Errorf("the far end reports %d/256 lost, want 10 %%", st.FarLost)
		}
		a.Close()
		b.Close()
		if len(got) != 5 {
			t.Fatalf("%d reports in 21 s and a goodbye, want 5", len(got))
		}
		for i, ps := range got {
			sr, ok := ps[0].(*rtcp.SenderReport)
			if !ok || len(sr.Reports) != 1 {
				t.Fatalf("report %d begins with %T", i, ps[0])
			}
			if want := uint32(250 * (i + 1)); i < 4 && (sr.PacketCount < want-2 || sr.PacketCount > want+2) {
				t.Errorf("report %d: %d packets sent, want about %d", i, sr.PacketCount, want)
			}
			if _, ok := ps[1].(*rtcp.SourceDescription); !ok {
				t.Errorf("report %d has no description", i)
			}
			if xr, ok := ps[2].(*rtcp.ExtendedReport); !ok || len(xr.Reports) != 1 {
				t.Errorf("report %d has no metrics", i)
			}
		}
		if bye, ok := got[4][3].(*rtcp.Goodbye); !ok || bye.Sources[0] != a.ssrc {
			t.Errorf("the last report ends with %+v", got[4])
		}
	})
}

// What is reported of a bad network is what happened on it: loss, repetitions,
// delays of 20 to 80 ms that change the order, and a rollover of the sequence.
func TestReceptionReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 30 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		b.out.seq = 65000
		toA, reportsToB := addrPort(a.rtp.pc.LocalAddr()), addrPort(b.rtcp.pc.LocalAddr())
		r := rand.New(rand.NewPCG(35, 50))
		began := time.Now()

		// Of RFC 3550 appendices A.3 and A.8, with numbers that have no end. Two packets
		// with one timestamp, as of a key that is held, say nothing of jitter.
		const first = 65000
		var top, received, wasExpected, wasReceived int64 = first - 1, 0, 0, 0
		var jitter, transit float64
		latest, begun := uint32(0), b.out.time
		arrived := func(seq uint16, stamp uint32) {
			n := top + int64(int16(seq-uint16(top)))
			top = max(top, n)
			received++
			if stamp == latest {
				return
			}
			was := transit
			transit = time.Since(began).Seconds()*8000 - float64(stamp-begun)
			if received > 1 {
				jitter += (math.Abs(transit-was) - jitter) / 16
			}
			latest = stamp
		}
		reports := 0
		w.pass = func(from, to netip.AddrPort, p []byte) bool {
			switch to {
			case toA:
				if r.IntN(100) < 3 {
					return false
				}
				x, q := parcel{from: from, b: bytes.Clone(p)}, w.ports[to]
				for range 1 + r.IntN(50)/49 {
					time.AfterFunc(20*time.Millisecond+time.Duration(r.Int64N(int64(60*time.Millisecond))), func() {
						w.mu.Lock()
						defer w.mu.Unlock()
						h, _, _ := parse(x.b)
						arrived(h.seq, h.time)
						q.in <- x
					})
				}
				return false
			case reportsToB:
				ps, err := rtcp.Unmarshal(bytes.Clone(p))
				if err != nil {
					t.Fatal(err)
				}
				reports++
				m := ps[0].(*rtcp.SenderReport).Reports[0]
				expected := top - first + 1
				lost := expected - received
				part := 256 * (expected - wasExpected - received + wasReceived) / (expected - wasExpected)
				wasExpected, wasReceived = expected, received
				if m.SSRC != b.ssrc || m.LastSequenceNumber != uint32(top) || int64(m.TotalLost) != lost&0xffffff ||
					int64(m.FractionLost) != max(0, part) || math.Abs(float64(m.Jitter)-jitter) > 2 {
					t.Errorf("report %d: %+v, want %d lost, %d/256 lately, up to %d, jitter %.1f", reports, m, lost, part, top, jitter)
				}
				if 1 < reports && reports < 13 && m.Delay != 65536*497/100 {
					t.Errorf("report %d: %d/65536 s since the last report of the far end, want 4.97 s", reports, m.Delay)
				}
			}
			return true
		}
		agree(a, b, PCMU, 0)
		talk(61*time.Second, a, b, nil)
		st := a.Stats()
		a.Close()
		b.Close()
		if reports != 13 || top < 67000 {
			t.Errorf("%d reports up to packet %d, want 13 and a rollover", reports, top)
		}
		if got := st.Jitter.Seconds() * 8000; math.Abs(got-jitter) > 0.1*jitter || st.RTT < 59*time.Millisecond || st.RTT > 61*time.Millisecond {
			t.Errorf("jitter %.1f, want %.1f; round trip %v, want 60 ms", got, jitter, st.RTT)
		}
		t.Logf("%d packets, jitter %.0f ticks, %+v", received, jitter, st)
	})
}

// Reports go to the port above the sound's, or behind a NAT to where the far end's
// come from.
func TestReportsBehindNAT(t *testing.T) {
	said := netip.MustParseAddrPort("192.168.1.2:4000")
	nat, natReports := netip.MustParseAddrPort("10.0.0.2:61234"), netip.MustParseAddrPort("10.0.0.2:50123")
	for _, row := range []struct{ from, to netip.AddrPort }{
		{nat, natReports},
		{said, netip.MustParseAddrPort("192.168.1.2:4001")},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{}
			a := open(t, host{w, "10.0.0.1"})
			var got []netip.AddrPort
			w.pass = func(_, to netip.AddrPort, _ []byte) bool {
				got = append(got, to)
				return false
			}
			a.Start(Remote{Addr: said, Codec: PCMU, Send: true, Receive: true})
			for i := range learnPackets {
				a.take(packet(1, uint16(i), 0x80), row.from, time.Now())
			}
			a.takeReport([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}, netip.AddrPortFrom(row.from.Addr(), natReports.Port()), time.Now())
			time.Sleep(reportEvery + time.Second)
			w.mu.Lock()
			if len(got) != 1 || got[0] != row.to {
				t.Errorf("sound from %v: reports to %v, want %v", row.from, got, row.to)
			}
			w.mu.Unlock()
			a.Close()
		})
	}
}

// On hold nobody speaks, and reports go on. RFC 3264 section 5.1: "the
// directionality of the media stream has no impact on the RTCP usage."
func TestReportsOnHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 7 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		agree(a, b, PCMU, 0)
		talk(2*time.Second, a, b, nil)
		time.Sleep(time.Second)
		sound, reports := 0, 0
		w.do(func() {
			w.pass = func(_, to netip.AddrPort, _ []byte) bool {
				switch to {
				case addrPort(b.rtp.pc.LocalAddr()):
					sound++
				case addrPort(b.rtcp.pc.LocalAddr()):
					reports++
				}
				return true
			}
		})
		a.Start(Remote{Addr: addrPort(b.rtp.pc.LocalAddr()), Codec: PCMU, Send: true})
		time.Sleep(20 * time.Second)
		w.do(func() {
			if sound != 0 || reports != 4 {
				t.Errorf("on hold for 20 s: %d packets of sound, %d reports", sound, reports)
			}
		})
		a.Close()
		b.Close()
	})
}

// The header is what pion/rtp thinks it is.
func TestHeader(t *testing.T) {
	full := rtp.Packet{
		Header: rtp.Header{Version: 2, Padding: true, Extension: true, Marker: true, PayloadType: 8,
			SequenceNumber: 65535, Timestamp: 1 << 31, SSRC: 0xdeadbeef, CSRC: []uint32{1, 2, 3},
			ExtensionProfile: 0xbede, PaddingSize: 4},
		Payload: []byte{1, 2, 3, 4, 5},
	}
	full.Header.SetExtension(1, []byte{9, 9})
	b, err := full.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	h, payload, ok := parse(b)
	if want := (header{true, 8, 65535, 1 << 31, 0xdeadbeef}); !ok || h != want || !slices.Equal(payload, full.Payload) {
		t.Errorf("%+v % x %v, want %+v % x", h, payload, ok, want, full.Payload)
	}
	for i := range b {
		parse(b[:i])
	}
}

func TestRealSockets(t *testing.T) {
	var n net.ListenConfig
	a, err := Open(context.Background(), &n, "127.0.0.1", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(context.Background(), &n, "127.0.0.1", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	agree(a, b, PCMA, 0)
	talk(300*time.Millisecond, a, b, nil)
	if sa, sb := a.Stats(), b.Stats(); sa.Received < 10 || sb.Received < 10 {
		t.Errorf("received %d and %d packets of about 15", sa.Received, sb.Received)
	}
	a.Close()
	a.Close() // twice is once
	var f hal.Frame
	f[0] = 1
	a.Write(f[:])
	a.Read(f[:])
	if f[0] != 0 {
		t.Error("a closed stream does not read silence")
	}
}

// blackHole is a network that takes everything and brings nothing.
type blackHole struct{ net.PacketConn }

func (blackHole) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (blackHole) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }

// deaf is a stream without a network.
func deaf(events uint8) (*Stream, netip.AddrPort) {
	s := &Stream{opened: time.Now(), log: quiet, done: make(chan struct{})}
	s.rtp = newSocket(blackHole{})
	s.rtcp = newSocket(blackHole{})
	far := netip.MustParseAddrPort("10.0.0.2:4000")
	s.Start(Remote{Addr: far, Codec: PCMU, Events: events, Send: true, Receive: true})
	return s, far
}

func TestNoAllocation(t *testing.T) {
	for _, codec := range []Codec{PCMU, G722, G726} {
		noAllocation(t, codec, 101, nil)
		noAllocation(t, codec, 0, nil)
	}
	noAllocation(t, PCMA, 101, &Seal{})
}

func noAllocation(t *testing.T, codec Codec, events uint8, seal *Seal) {
	s, far := deaf(events)
	s.Start(Remote{Addr: far, Codec: codec, PT: 97, Events: events, Seal: seal, Send: true, Receive: true})
	p := packet(1, 0, 0x80)
	var theirs *way
	if seal != nil {
		theirs = newWay(seal.In)
		p = append(p, make([]byte, sealed)...)[:len(p)]
	}
	i := 0
	var f hal.Frame
	now := time.Now()
	if n := testing.AllocsPerRun(2000, func() {
		if i%50 == 20 {
			s.KeyDown('3')
		} else if i%50 == 30 {
			s.KeyUp()
			s.Press('4')
			s.Pressed('5', 0)
		}
		s.Write(f[:])
		if i%2 == 0 && i%17 != 0 {
			header{pt: 97, seq: uint16(i / 2), time: uint32(i * 80), ssrc: 1}.put(p)
			b, err := theirs.seal(p)
			if err != nil {
				t.Fatal(err)
			}
			s.take(b, far, now)
		}
		s.Read(f[:])
		i++
	}); n != 0 {
		t.Errorf("%s: %v allocations per frame", codec, n)
	}
	if st := s.Stats(); st.Received < 500 || st.Unwanted != 0 || st.Forged != 0 {
		t.Errorf("%s: nothing was heard: %+v", codec, st)
	}
}

// Whatever arrives, nothing breaks.
func FuzzReceive(f *testing.F) {
	f.Add(packet(1, 1, 0x80), []byte{4, 0})
	e := make([]byte, 16)
	header{marker: true, pt: 101, seq: 2, time: 5, ssrc: 1}.put(e)
	f.Add(e, []byte{})
	f.Add([]byte{0x80, 207, 0, 10, 0, 0, 0, 1, 7, 0, 0, 8, 31: 0, 43: 0}, []byte{0x80, 207, 0, 2, 0, 0, 0, 1, 7, 0, 0, 0})
	f.Add([]byte{0xbf, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff}, []byte{0x80, 200, 0, 6})
	s, far := deaf(101)
	seals, _ := deaf(101)
	seals.Start(Remote{Addr: far, Codec: PCMU, Seal: &Seal{}, Receive: true})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		now := time.Now()
		seals.take(slices.Clone(a), far, now)
		seals.takeReport(slices.Clone(b), far, now)
		if st := seals.Stats(); st.Received > 0 || st.Garbage > 0 {
			t.Errorf("what nobody sealed was opened: %+v", st)
		}
		s.take(a, far, now)
		s.take(b, far, now)
		s.takeReport(a, far, now)
		s.takeReport(b, far, now)
		// A run of packets that grows out of the two.
		for i := range 4 {
			if len(a) > 3 {
				a = slices.Clone(a)
				binary.BigEndian.PutUint16(a[2:], binary.BigEndian.Uint16(a[2:])+uint16(i))
				s.take(a, far, now)
			}
		}
		var frame hal.Frame
		for range 3 {
			s.Write(frame[:])
			s.Read(frame[:])
		}
		if d := s.Stats().Delay; d > 300*time.Millisecond {
			t.Errorf("%v in the buffer", d)
		}
		s.report(false)
	})
}

func BenchmarkFrame(b *testing.B) {
	s, far := deaf(101)
	p := packet(1, 0, 0x80)
	g711.Mu.Encode(p[12:], make([]int16, 160))
	var f hal.Frame
	now := time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Write(f[:])
		if i%2 == 0 {
			header{pt: typePCMU, seq: uint16(i / 2), time: uint32(i * 80), ssrc: 1}.put(p)
			s.take(p, far, now)
		}
		s.Read(f[:])
	}
}
