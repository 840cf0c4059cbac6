package haltest

import (
	"math"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// Sine returns a tone of -10 dBm0 at the rate of a line.
func Sine(hz int, d time.Duration) []int16 { return SineAt(hal.SampleRate, hz, d) }

// SineAt is Sine at another rate.
func SineAt(rate, hz int, d time.Duration) []int16 {
	peak := 32767 * math.Pow(10, (-10-3.14)/20)
	s := make([]int16, d*time.Duration(rate)/time.Second)
	for i := range s {
		if i >= rate { // a whole number of hertz: each second is the same
			s[i] = s[i-rate]
			continue
		}
		s[i] = int16(math.Round(peak * math.Sin(2*math.Pi*float64(hz*i)/float64(rate))))
	}
	return s
}

// window is how many frames are judged at a time, a frame further each time:
// 30 ms tell the closest two frequencies of a keypad, 73 Hz apart.
const window = 3

// Heard returns for how long a tone is by far the most of what sounds, at the
// rate of a line.
func Heard(sound []int16, hz int) time.Duration { return HeardAt(hal.SampleRate, sound, hz) }

// HeardAt is Heard at another rate.
func HeardAt(rate int, sound []int16, hz int) time.Duration {
	frames, frame := 0, rate/100
	for at := 0; at+window*frame <= len(sound); at += frame {
		w := sound[at : at+window*frame]
		if all := energy(w); all > 0 && tone(w, float64(hz)/float64(rate))/all > 0.8 {
			frames++
		}
	}
	return time.Duration(frames) * hal.FrameTime
}

// Keys returns the keys of a telephone that are heard, each once for as long as
// it is held.
func Keys(sound []int16) string {
	const frame = hal.FrameSamples
	var keys []byte
	var last, held byte
	for at := 0; at+window*frame <= len(sound); at += frame {
		k := key(sound[at : at+window*frame])
		if k != 0 && k == last && k != held {
			keys, held = append(keys, k), k
		}
		if k == 0 {
			held = 0
		}
		last = k
	}
	return string(keys)
}

// key returns the key whose two tones are nearly all of what sounds, or 0.
func key(w []int16) byte {
	rows := [4]float64{697, 770, 852, 941}
	columns := [4]float64{1209, 1336, 1477, 1633}
	r, low := strongest(w, rows)
	c, high := strongest(w, columns)
	all := energy(w)
	if all/float64(len(w)) < 1000 || (low+high)/all < 0.9 || low < high/10 || high < low/10 {
		return 0
	}
	return "123A456B789C*0#D"[4*r+c]
}

func strongest(w []int16, tones [4]float64) (at int, most float64) {
	for i, hz := range tones {
		if e := tone(w, hz/hal.SampleRate); e > most {
			at, most = i, e
		}
	}
	return at, most
}

// energy is the sum of squares; tone what of it has one frequency, in turns a
// sample.
func energy(w []int16) (sum float64) {
	for _, v := range w {
		sum += float64(v) * float64(v)
	}
	return sum
}

func tone(w []int16, turns float64) float64 {
	c := 2 * math.Cos(2*math.Pi*turns)
	var s1, s2 float64 // Goertzel
	for _, v := range w {
		s1, s2 = float64(v)+c*s1-s2, s1
	}
	return 2 * (s1*s1 + s2*s2 - c*s1*s2) / float64(len(w))
}
