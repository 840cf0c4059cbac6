package lab

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// american are the tones of the United States, of the ITU-T E.180 list.
var american = []Sound{
	{"dial", []Step{{Hz: []uint16{350, 440}}}},
	{"busy", []Step{{[]uint16{480, 620}, 500 * time.Millisecond, false}, {nil, 500 * time.Millisecond, false}}},
	{"ringback", []Step{{[]uint16{440, 480}, 2 * time.Second, false}, {nil, 4 * time.Second, false}}},
	{"congestion", []Step{{[]uint16{480, 620}, 250 * time.Millisecond, false}, {nil, 250 * time.Millisecond, false}}},
	{"howler", []Step{{[]uint16{1400, 2060, 2450, 2600}, 100 * time.Millisecond, false}, {nil, 100 * time.Millisecond, false}}},
}

// german have one frequency for everything: only the rhythm tells.
var german = []Sound{
	{"dial", []Step{{Hz: []uint16{425}}}},
	{"busy", []Step{{[]uint16{425}, 480 * time.Millisecond, false}, {nil, 480 * time.Millisecond, false}}},
	{"ringback", []Step{{[]uint16{425}, time.Second, false}, {nil, 4 * time.Second, false}}},
	{"congestion", []Step{{[]uint16{425}, 240 * time.Millisecond, false}, {nil, 240 * time.Millisecond, false}}},
}

// play makes a sound of that length.
func (s Sound) play(d time.Duration) []int16 {
	out := make([]int16, int(d/time.Millisecond)*8)
	at, i := 0, 0
	for at < len(out) {
		st := s.Steps[s.step(i)]
		n := int(st.Time/time.Millisecond) * 8
		if st.Time == 0 {
			n = len(out)
		}
		for k := at; k < min(at+n, len(out)); k++ {
			for _, f := range st.Hz {
				out[k] += int16(2000 * math.Sin(2*math.Pi*float64(f)*float64(k)/8000))
			}
		}
		at += n
		i++
	}
	return out
}

func TestEarKnowsTones(t *testing.T) {
	long := 30 * time.Second
	if testing.Short() {
		long /= 3
	}
	for _, country := range []struct {
		name  string
		tones []Sound
	}{{"us", american}, {"de", german}} {
		if testing.Short() && country.name != "us" {
			continue
		}
		for _, s := range country.tones {
			t.Run(country.name+" "+s.Name, func(t *testing.T) {
				var heard []string
				ear := NewEar(8000, country.tones, func(what string) { heard = append(heard, what) })
				ear.Hear(make([]int16, 1003)) // not at the edge of a block
				ear.Hear(s.play(long))
				ear.Hear(make([]int16, 8000*6))
				if want := []string{fmt.Sprintf("%s (%s Hz)", s.Name, set(s.Steps[0].Hz)), "nothing"}; !slices.Equal(heard, want) {
					t.Errorf("heard %q, want %q", heard, want)
				}
			})
		}
	}
}

func TestEarHearsChanges(t *testing.T) {
	var heard []string
	samples := 0
	ear := NewEar(8000, american, func(what string) { heard = append(heard, fmt.Sprintf("%d ms %s", samples/8, what)) })
	feed := func(x []int16) {
		for len(x) > 0 {
			n := min(80, len(x))
			samples += n
			ear.Hear(x[:n])
			x = x[n:]
		}
	}
	whistle := make([]int16, 8000)
	sine(whistle, 8000, 1000, 0)
	feed(american[0].play(time.Second))
	feed(make([]int16, 4000))
	feed(american[2].play(8 * time.Second))
	feed(whistle)
	noise := make([]int16, 8000)
	for i := range noise {
		noise[i] = int16(i * i * 7919 % 5000)
	}
	feed(noise)
	want := []string{"40 ms dial (350+440 Hz)", "1100 ms nothing", "1540 ms ringback (440+480 Hz)", "9580 ms 1000 Hz", "11000 ms something"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q\nwant %q", heard, want)
	}
}

// ITU-T G.711 section 3: the character signal corresponding to the values of
// tables 1 and 2. Every octet is its own best code.
func TestCodecIsItsOwnInverse(t *testing.T) {
	for _, codec := range []uint8{0, 8} {
		for b := range 256 {
			x := decode(codec, byte(b))
			if again := encode(codec, x); again != byte(b) && decode(codec, again) != x {
				t.Errorf("codec %d: %#02x is %d is %#02x", codec, b, x, again)
			}
		}
		for x := -32768; x < 32768; x += 7 {
			got := int(decode(codec, encode(codec, int16(x))))
			if d := math.Abs(float64(got - x)); d > 40+math.Abs(float64(x))/16 {
				t.Fatalf("codec %d: %d comes back as %d", codec, x, got)
			}
		}
	}
	// ITU-T G.711 table 1a and 2a, the first row: the largest positive value.
	if encodeMu(32767) != 0x80 || encodeA(32767) != 0xaa {
		t.Errorf("full scale is %#x and %#x, want 0x80 and 0xaa", encodeMu(32767), encodeA(32767))
	}
}
