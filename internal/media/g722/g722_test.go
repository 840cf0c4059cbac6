package g722

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"slices"
	"testing"
)

// trial is a sound that visits every corner: sines that sweep through both
// halves, noise from the softest to full scale, steps, silence. It is made of
// integers only, so that it is the same everywhere.
func trial(n int) []int16 {
	s := make([]int16, n)
	state, phase, turn := uint32(1), int32(0), int32(100)
	for i := range s {
		state = state*1664525 + 1013904223
		noise := int32(state) >> 16
		phase += turn
		wave := int32(int16(phase)) // a saw
		if wave < 0 {
			wave = -wave
		}
		wave = 2*wave - 32768 // a triangle
		part, level := i/1600%10, uint(i/16000%14)
		x := int32(0)
		switch part {
		case 0, 1, 2:
			turn = int32(20 + i%1600*18)
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
			x = (noise & 3) - 2
		}
		s[i] = int16(max(min(x, 32767), -32768) >> 1)
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

// What others make of trial: the codes of libspandsp 0.0.6, whose encoder gives
// ITU's own codspw.cod for inpsp.bin of G.191, and of ffmpeg 5.1; the sounds of
// ffmpeg 5.1. At full scale neither is asked: libspandsp's decoder wraps, and
// both encoders leave out the LIMIT behind the filters that G.191 has.
const (
	wantStart = "2a842084208404870788494acbcdcecfd1d3d5d7d99bdcdffffbfaf6f3f1efee"
	wantCodes = "9110b1fa73fc560bc6331d4f738409ca3ef5b7c27e50e8184736f0b3c92cfa94"
	want64    = "b8f4483f843050ce20e8dac903c8b7a1fb936aefa2d612a345527c1d77907156"
	want56    = "c26d4da921388a56014bca20296d0ee969b6a488bfb46a63a8650768aabd1e6d"
	want48    = "fa496ec8f84bcb91e0db28c9bf60ce862f5f4433df3efb7cdcf7ea229ffbb17a"
)

func TestVectors(t *testing.T) {
	in := trial(16000 * 30)
	codes := make([]byte, len(in)/2)
	new(Encoder).Encode(codes, in)
	if got := hex.EncodeToString(codes[:32]); got != wantStart {
		t.Errorf("the first codes are\n%s, want\n%s", got, wantStart)
	}
	sum := func(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }
	if got := sum(codes); got != wantCodes {
		t.Errorf("codes hash to %s, want %s", got, wantCodes)
	}
	// A decoder is given every code there is, in any order, not only what an
	// encoder would send.
	state := uint32(7)
	for i := len(codes) / 2; i < len(codes); i++ {
		state = state*1664525 + 1013904223
		codes[i] = byte(state >> 24)
	}
	if dir := os.Getenv("G722_TRIAL"); dir != "" {
		// For another implementation to eat.
		if err := errors.Join(os.WriteFile(dir+"/trial.s16", bytesOf(in), 0o644), os.WriteFile(dir+"/trial.g722", codes, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	out := make([]int16, len(in))
	for spare, want := range []string{want64, want56, want48} {
		d := Decoder{Spare: spare}
		d.Decode(out, codes)
		if got := sum(bytesOf(out)); got != want {
			t.Errorf("%d spare bits: sound hashes to %s, want %s", spare, got, want)
		}
	}
}

// Both halves joined are the sound that was decoded, to the last bit.
func TestHalves(t *testing.T) {
	in := trial(16000)
	codes := make([]byte, len(in)/2)
	new(Encoder).Encode(codes, in)
	want, got := make([]int16, len(in)), make([]int16, len(in))
	new(Decoder).Decode(want, codes)
	var d Decoder
	low, high := make([]int16, len(codes)), make([]int16, len(codes))
	d.Halves(low, high, codes)
	d.Join(got, low, high)
	if !slices.Equal(got, want) {
		t.Error("halves joined are not the whole")
	}
}

// Sound may be cut anywhere.
func TestPieces(t *testing.T) {
	in := trial(16000)
	whole, pieces := make([]byte, 8000), make([]byte, 8000)
	new(Encoder).Encode(whole, in)
	var e Encoder
	for i, n := 0, 1; i < 8000; i, n = i+n, n*7%331 {
		n = min(n, 8000-i)
		e.Encode(pieces[i:], in[2*i:2*(i+n)])
	}
	if string(whole) != string(pieces) {
		t.Error("codes depend on how the sound is cut")
	}
	a, b := make([]int16, 16000), make([]int16, 16000)
	new(Decoder).Decode(a, whole)
	var d Decoder
	for i, n := 0, 1; i < 8000; i, n = i+n, n*7%331 {
		n = min(n, 8000-i)
		d.Decode(b[2*i:], whole[i:i+n])
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("sound depends on how the codes are cut: sample %d", i)
		}
	}
}

// There and back, a sine of either half comes out 22 samples later.
func TestThereAndBack(t *testing.T) {
	for _, row := range []struct {
		hz   float64
		want float64 // dB
	}{{300, 50}, {1000, 40}, {3000, 35}, {6000, 22}} {
		in := make([]int16, 16000)
		for i := range in {
			in[i] = int16(8000 * math.Sin(2*math.Pi*row.hz*float64(i)/16000))
		}
		codes, out := make([]byte, 8000), make([]int16, 16000)
		new(Encoder).Encode(codes, in)
		new(Decoder).Decode(out, codes)
		const delay = 22
		var s, n float64
		for i := 2000; i < len(in)-delay; i++ {
			d := float64(in[i]) - float64(out[i+delay])
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
	s, c := trial(320), make([]byte, 160)
	if n := testing.AllocsPerRun(100, func() { e.Encode(c, s); d.Decode(s, c) }); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkEncode20ms(b *testing.B) {
	var e Encoder
	s, c := trial(320), make([]byte, 160)
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(c, s)
	}
}

func BenchmarkDecode20ms(b *testing.B) {
	var e Encoder
	var d Decoder
	s, c := trial(320), make([]byte, 160)
	e.Encode(c, s)
	b.ReportAllocs()
	for b.Loop() {
		d.Decode(s, c)
	}
}
