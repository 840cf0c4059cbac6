package g726

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"os"
	"testing"

	"github.com/ata-agent/ata-agent/internal/media/g711"
)

// trial is a sound that visits every corner: sweeps, noise, steps and silence
// from the softest to full scale. It is made of integers only, so that it is
// the same everywhere.
func trial(n int) []int16 {
	s := make([]int16, n)
	state, phase, turn := uint32(1), int32(0), int32(100)
	for i := range s {
		state = state*1664525 + 1013904223
		noise := int32(state) >> 16
		phase += turn
		wave := int32(int16(phase))
		wave = 2*max(wave, -wave) - 32768 // a triangle
		level := uint(i / 8000 % 13)
		x := int32(0)
		switch i / 800 % 10 {
		case 0, 1, 2:
			turn = int32(20 + i%800*36)
			x = wave >> level
		case 3, 4:
			x = noise >> level
		case 5:
			x = wave>>(level+1) + noise>>(level+3)
		case 6:
			if x = 32767 >> level; i/37%2 == 0 {
				x = -x - 1
			}
		case 7:
			x = 32767
		case 8:
			x = (noise & 15) - 8
		}
		s[i] = int16(max(min(x, 32767), -32768))
	}
	return s
}

func bytesOf(s []int16) []byte {
	b := make([]byte, 0, 2*len(s))
	for _, x := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	return b
}

func sum(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

// What libspandsp 0.0.6 makes of trial; its own tests compare it with ITU's
// vectors of G.726 appendix II.
const (
	wantStart = "8888888888a8bbcbcccbccdcddfe1f43655546555545221111efaca9aa9aeafe"
	wantCodes = "15580fa152371acbb537d151f753ef6813ed31f66b794d83b6104689d006f440"
	wantAAL2  = "626feb989d0e7066783b5a9f987257ee9e2840109828851414c335220e74c478"
	wantLin   = "2aa652aa5e8541f151a0da5df7ba96731e35bdf041c360c7af6e8298ab5b019f"
	wantA     = "02f199ccc5c6417c9bac82d477633ac76c83bed9341a52bbf14565cd667a384b"
	wantMu    = "6818e5ca7cb64d248f8ad71ad70a47eea1f58f61cba1246b72e32f7f15610ff8"
)

func TestVectors(t *testing.T) {
	in := trial(8000 * 30)
	codes, swapped := make([]byte, len(in)/2), make([]byte, len(in)/2)
	new(Encoder).Encode(codes, in)
	(&Encoder{Packing: AAL2}).Encode(swapped, in)
	if got := hex.EncodeToString(codes[:32]); got != wantStart {
		t.Errorf("the first codes are\n%s, want\n%s", got, wantStart)
	}

	// A decoder is given every code there is, in any order, not only what an
	// encoder would send.
	wild, state := make([]byte, len(codes)), uint32(7)
	copy(wild, codes[:len(codes)/2])
	for i := len(wild) / 2; i < len(wild); i++ {
		state = state*1664525 + 1013904223
		wild[i] = byte(state >> 24)
	}
	// Where libspandsp wraps, this here is cut off: linear sound is compared
	// where neither happens.
	quiet, soft := make([]int16, len(in)), make([]byte, len(codes))
	for i, x := range in {
		quiet[i] = x >> 2
	}
	new(Encoder).Encode(soft, quiet)
	for name, b := range map[string][]byte{"s16": bytesOf(in), "wild": wild, "soft": soft} {
		if dir := os.Getenv("G726_TRIAL"); dir != "" {
			// For another implementation to eat.
			if err := os.WriteFile(dir+"/trial726."+name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	lin, a, mu := make([]int16, 2*len(soft)), make([]byte, len(in)), make([]byte, len(in))
	new(Decoder).Decode(lin, soft)
	new(Decoder).DecodeLaw(g711.A, a, wild)
	new(Decoder).DecodeLaw(g711.Mu, mu, wild)
	for _, row := range []struct {
		name string
		got  []byte
		want string
	}{
		{"codes", codes, wantCodes},
		{"codes, AAL2", swapped, wantAAL2},
		{"linear sound", bytesOf(lin), wantLin},
		{"A-law sound", a, wantA},
		{"mu-law sound", mu, wantMu},
	} {
		if got := sum(row.got); got != row.want {
			t.Errorf("%s: hash to %s, want %s", row.name, got, row.want)
		}
	}
	back := make([]int16, len(in))
	(&Decoder{Packing: AAL2}).Decode(back, swapped)
	same := make([]int16, len(in))
	new(Decoder).Decode(same, codes)
	unpacked := make([]byte, len(in))
	AAL2.Unpack(unpacked, swapped)
	single := make([]int16, len(in))
	new(Decoder).DecodeUnpacked(single, unpacked)
	for i := range back {
		if back[i] != same[i] || single[i] != same[i] {
			t.Fatalf("sample %d depends on the packing", i)
		}
	}
}

// RFC 3551 section 4.5.4: "The first sample's codeword is packed into the low
// bits"; ITU-T I.366.2 puts it into the high ones.
func TestPacking(t *testing.T) {
	in := []int16{32767, 0}
	var a, b [1]byte
	new(Encoder).Encode(a[:], in)
	(&Encoder{Packing: AAL2}).Encode(b[:], in)
	if a[0]&15 != 7 || b[0]>>4 != 7 {
		t.Errorf("a loud sample and a soft one are %02x and %02x in AAL2, want 7 in the low and the high half", a[0], b[0])
	}
}

// Section 1: sound that is coded, decoded to G.711 and coded again gets no
// worse than it was after the first time.
func TestTandem(t *testing.T) {
	in := make([]int16, 16000)
	for i := range in {
		in[i] = int16(6000 * math.Sin(2*math.Pi*1004*float64(i)/8000))
	}
	for _, law := range []g711.Law{g711.Mu, g711.A} {
		pcm := make([]byte, len(in))
		law.Encode(pcm, in)
		var first, fifth []byte
		lin := make([]int16, len(in))
		codes := make([]byte, len(in)/2)
		for i := range 5 {
			law.Decode(lin, pcm)
			new(Encoder).Encode(codes, lin)
			new(Decoder).DecodeLaw(law, pcm, codes)
			if i == 0 {
				first = append(first, codes...)
			}
			fifth = append(fifth[:0], codes...)
		}
		differ := 0
		for i := range first {
			if first[i] != fifth[i] {
				differ++
			}
		}
		t.Logf("law %d: %d of %d codes are others the fifth time", law, differ, len(first))
		if differ > len(first)/100 {
			t.Errorf("law %d: %d of %d codes are others the fifth time", law, differ, len(first))
		}
	}
}

func TestThereAndBack(t *testing.T) {
	for _, row := range []struct{ hz, want float64 }{{300, 25}, {1000, 25}, {3000, 20}} {
		in := make([]int16, 16000)
		for i := range in {
			in[i] = int16(8000 * math.Sin(2*math.Pi*row.hz*float64(i)/8000))
		}
		codes, out := make([]byte, 8000), make([]int16, 16000)
		new(Encoder).Encode(codes, in)
		new(Decoder).Decode(out, codes)
		var s, n float64
		for i := 2000; i < len(in); i++ {
			d := float64(in[i]) - float64(out[i])
			s, n = s+float64(in[i])*float64(in[i]), n+d*d
		}
		got := 10 * math.Log10(s/n)
		t.Logf("%5.0f Hz: %.1f dB above the noise, at least %.0f wanted", row.hz, got, row.want)
		if got < row.want {
			t.Errorf("%.0f Hz: %.1f dB, want %.0f", row.hz, got, row.want)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var e Encoder
	var d Decoder
	s, c, l := trial(160), make([]byte, 80), make([]byte, 160)
	if n := testing.AllocsPerRun(100, func() { e.Encode(c, s); d.Decode(s, c); d.DecodeLaw(g711.A, l, c) }); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkEncode20ms(b *testing.B) {
	var e Encoder
	s, c := trial(160), make([]byte, 80)
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(c, s)
	}
}

func BenchmarkDecode20ms(b *testing.B) {
	var e Encoder
	var d Decoder
	s, c := trial(160), make([]byte, 80)
	e.Encode(c, s)
	b.ReportAllocs()
	for b.Loop() {
		d.Decode(s, c)
	}
}
