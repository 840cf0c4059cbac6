package g711

import (
	"math"
	"testing"
)

// Table 1a (positive, A) and 2a (positive, mu) of G.711: the value at the
// decoder output, in units of 12 and 13 bits, for the first character signals
// of each segment. Column 6 is the code as it is sent.
func TestDecoderOutputsOfTheTables(t *testing.T) {
	for _, row := range []struct {
		name   string
		law    Law
		code   byte
		output int16 // ITU's y times the scale to 16 bits
	}{
		{"A 128 largest", A, 0b11111111 ^ 0x55, 4032 * 8},
		{"A 113", A, 0b11110000 ^ 0x55, 2112 * 8},
		{"A 97", A, 0b11100000 ^ 0x55, 1056 * 8},
		{"A 81", A, 0b11010000 ^ 0x55, 528 * 8},
		{"A 65", A, 0b11000000 ^ 0x55, 264 * 8},
		{"A 49", A, 0b10110000 ^ 0x55, 132 * 8},
		{"A 33", A, 0b10100000 ^ 0x55, 66 * 8},
		{"A 1 smallest", A, 0b10000000 ^ 0x55, 1 * 8},
		{"mu 127 largest", Mu, 0b10000000, 8031 * 4},
		{"mu 112", Mu, 0b10001111, 4191 * 4},
		{"mu 96", Mu, 0b10011111, 2079 * 4},
		{"mu 80", Mu, 0b10101111, 1023 * 4},
		{"mu 64", Mu, 0b10111111, 495 * 4},
		{"mu 48", Mu, 0b11001111, 231 * 4},
		{"mu 32", Mu, 0b11011111, 99 * 4},
		{"mu 16", Mu, 0b11101111, 33 * 4},
		{"mu 1", Mu, 0b11111110, 2 * 4},
		{"mu 0", Mu, 0b11111111, 0},
	} {
		for _, sign := range []byte{0, 0x80} {
			want := row.output
			if sign != 0 {
				want = -want
			}
			got := make([]int16, 1)
			row.law.Decode(got, []byte{row.code ^ sign})
			if got[0] != want {
				t.Errorf("%s, sign %#x: %d, want %d", row.name, sign, got[0], want)
			}
		}
	}
}

// Tables 1 and 2 of G.711, columns 1 and 2: "number of intervals x interval
// size", from the middle outward; a sample's code is the number of the
// interval it falls into. Checked for all 65536 samples; one that stands on a
// decision value may have either neighbour's code, as the tables' notes allow.
func TestEverySampleFallsIntoItsInterval(t *testing.T) {
	type intervals struct{ number, size int }
	for _, row := range []struct {
		law   Law
		scale int // 16-bit units in the table's unit
		table []intervals
	}{
		{Mu, 4, []intervals{{1, 1}, {15, 2}, {16, 4}, {16, 8}, {16, 16}, {16, 32}, {16, 64}, {16, 128}, {16, 256}}},
		{A, 8, []intervals{{32, 2}, {16, 4}, {16, 8}, {16, 16}, {16, 32}, {16, 64}, {16, 128}}},
	} {
		decision := []int{0}
		for _, s := range row.table {
			for range s.number {
				decision = append(decision, decision[len(decision)-1]+s.size*row.scale)
			}
		}
		if len(decision) != 129 {
			t.Fatalf("law %d: the table has %d intervals, want 128", row.law, len(decision)-1)
		}
		for x := math.MinInt16; x <= math.MaxInt16; x++ {
			var c [1]byte
			row.law.Encode(c[:], []int16{int16(x)})
			n := int(c[0] &^ 0x80)
			if row.law == Mu {
				n ^= 0x7f
			} else {
				n ^= 0x55
			}
			m := min(abs(x), decision[128]-1)
			if m < decision[n] || m > decision[n+1] {
				t.Fatalf("law %d: sample %d in interval %d, from %d to %d", row.law, x, n, decision[n], decision[n+1])
			}
			if (x < 0) != (c[0]&0x80 == 0) {
				t.Fatalf("law %d: sample %d got the sign of code %#02x", row.law, x, c[0])
			}
		}
	}
}

// What is decoded and encoded again is the same code: transcoding twice loses
// nothing. Mu has two zeros, G.711 table 2 notes.
func TestRoundTripOfCodes(t *testing.T) {
	for _, law := range []Law{Mu, A} {
		for c := range 256 {
			var s [1]int16
			var back [1]byte
			law.Decode(s[:], []byte{byte(c)})
			law.Encode(back[:], s[:])
			if back[0] != byte(c) && s[0] != 0 {
				t.Errorf("law %d: %#02x became %#02x", law, c, back[0])
			}
		}
	}
}

// G.711 tables 5 and 6: "a sine-wave signal of 1 kHz at a nominal level of 0
// dBm0 should be present at any voice frequency output of the PCM multiplex
// when the following periodic sequence of character signals is applied".
func TestSequenceForZeroDBm0(t *testing.T) {
	for _, row := range []struct {
		law  Law
		seq  [8]byte
		peak float64 // the virtual decision value x128, 16 bits
		dBm0 float64 // of a sine with that peak
	}{
		{Mu, [8]byte{0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e}, 8159 * 4, 3.17},
		{A, [8]byte{0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4}, 4096 * 8, 3.14},
	} {
		var s [8]int16
		row.law.Decode(s[:], row.seq[:])
		var power float64
		for _, x := range s {
			power += float64(x) * float64(x) / 8
		}
		level := 10*math.Log10(power/(row.peak*row.peak/2)) + row.dBm0
		if math.Abs(level) > 0.03 {
			t.Errorf("law %d: the sequence is %.3f dBm0, want 0", row.law, level)
		}
	}
}

func TestSilence(t *testing.T) {
	for _, law := range []Law{Mu, A} {
		var c [1]byte
		law.Encode(c[:], []int16{0})
		if c[0] != law.Silence() {
			t.Errorf("law %d: zero is %#02x, Silence says %#02x", law, c[0], law.Silence())
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var s [80]int16
	var c [80]byte
	if n := testing.AllocsPerRun(100, func() { A.Encode(c[:], s[:]); Mu.Decode(s[:], c[:]) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	var s [80]int16
	var c [80]byte
	for b.Loop() {
		A.Encode(c[:], s[:])
	}
}

func BenchmarkDecode(b *testing.B) {
	var s [80]int16
	var c [80]byte
	for b.Loop() {
		A.Decode(s[:], c[:])
	}
}

func abs(x int) int { return max(x, -x) }
