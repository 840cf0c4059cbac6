package lab

import (
	"context"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

// A burst is what is said to measure a way: noise, since it is like itself at no
// other moment. It has the band of a line, so that every way carries it.
var burst = func() []int16 {
	r := rand.New(rand.NewPCG(3, 4))
	s := make([]int16, 2400) // 300 ms
	for i := range s {
		s[i] = int16(r.IntN(8001) - 4000) // -12.9 dBm0
	}
	return s
}()

// measureTime is how long is listened for a burst.
const measureTime = time.Second

// between brings sound from one rate to another, and says how much later it is.
func between(from, to int, s []int16) ([]int16, time.Duration) {
	var c resample.Converter
	if err := c.Set(from, to); err != nil {
		panic(err)
	}
	out := make([]int16, c.Len(len(s)))
	c.Convert(out, s)
	if from == to {
		return out, 0
	}
	return out, 12 * time.Second / time.Duration(min(from, to))
}

// A recording is what was heard from a moment on.
type recording struct {
	rate  int
	mu    sync.Mutex
	began time.Time // zero: nothing was heard yet
	heard []int16
}

func (r *recording) hear(s []int16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.IsZero() {
		r.began = time.Now()
	}
	r.heard = append(r.heard, s...)
}

// find tells how long after it was said the burst was heard, and how much louder
// it was; ok is false when it was not.
func (r *recording) find(said time.Time) (delay time.Duration, louder float64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	heard, later := between(r.rate, hal.SampleRate, r.heard)
	const some = 800 // are enough to find the rest by
	best, most := 0, int64(0)
	for lag := 0; lag+len(burst) <= len(heard); lag++ {
		var sum int64
		for i, x := range burst[:some] {
			sum += int64(int32(x) * int32(heard[lag+i]) >> 8)
		}
		if sum > most {
			best, most = lag, sum
		}
	}
	if most == 0 {
		return 0, 0, false
	}
	// How much of what was heard there is the burst, and how loud.
	var like, ours, theirs float64
	for i, x := range burst {
		y := float64(heard[best+i])
		like += float64(x) * y
		ours += float64(x) * float64(x)
		theirs += y * y
	}
	if like*like < 0.5*ours*theirs {
		return 0, 0, false
	}
	delay = r.began.Sub(said) + time.Duration(best)*time.Second/hal.SampleRate - later
	return delay, 20 * math.Log10(like/ours), true
}

// tone is the level, dBm0, of a frequency where it is loudest for 100 ms.
func (r *recording) tone(hz float64) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, n := 0.0, r.rate/10
	if hz >= float64(r.rate)/2 {
		return math.Inf(-1)
	}
	turn := cmplx.Rect(1, -2*math.Pi*hz/float64(r.rate))
	for at := 0; at+n <= len(r.heard); at += n / 2 {
		sum, z := complex128(0), complex(1, 0)
		for _, x := range r.heard[at : at+n] {
			sum += complex(float64(x), 0) * z
			z *= turn
		}
		most = max(most, 2*cmplx.Abs(sum)/float64(n))
	}
	return 3.14 + 20*math.Log10(most/32767)
}

// measure says something at one end of the call and tells how it comes out at the
// other: "mouth" is towards the far end, whose own buffer of 60 ms is in it; "ear"
// from there. A burst tells when and how loud; a frequency, 5000Hz, how loud that
// is. Anything else is the number of the call, which is the latest where that is
// not said.
func (w *World) measure(ctx context.Context, way string, what []string) error {
	number, frequency := "", ""
	for _, word := range what {
		if hz, ok := strings.CutSuffix(word, "Hz"); ok {
			frequency = hz
		} else {
			number = word
		}
	}
	sound := w.Provider.sound(number)
	if sound == nil || w.hand == nil {
		return fmt.Errorf("nobody talks")
	}
	r := recording{rate: sound.rate()}
	rate, who := hal.RateOf(w.Port), "the far end"
	if way == "ear" {
		r.rate, rate, who = rate, r.rate, "the ear"
	}
	says, later := between(hal.SampleRate, rate, burst)
	hz := uint64(0)
	if frequency != "" {
		var err error
		if hz, err = strconv.ParseUint(frequency, 10, 16); err != nil {
			return err
		}
		says = make([]int16, rate/2)
		sine(says, rate, uint16(hz), 0)
	}
	var said time.Time
	switch way {
	case "mouth":
		sound.listen(r.hear)
		defer sound.listen(nil)
		said = time.Now()
		if err := w.hand.Play(says); err != nil {
			return err
		}
	case "ear":
		remove := w.Port.Listen(r.hear)
		defer remove()
		at := make(chan time.Time, 1)
		sound.say(says, at)
		select {
		case said = <-at:
		case <-time.After(measureTime):
			return fmt.Errorf("the far end does not speak")
		}
	default:
		return fmt.Errorf("measure mouth, or measure ear")
	}
	if err := w.Wait(ctx, measureTime); err != nil {
		return err
	}
	if hz > 0 {
		const loud = -10 // dBm0, of a sine
		if louder := r.tone(float64(hz)) - loud; louder > -30 {
			w.Journal.Add(EarHears, "%s hears the tone of %d Hz, %+.1f dB", who, hz, louder)
		} else {
			w.Journal.Add(EarHears, "%s does not hear a tone of %d Hz", who, hz)
		}
		return nil
	}
	delay, louder, ok := r.find(said)
	if !ok {
		w.Journal.Add(EarHears, "%s does not hear it", who)
		return nil
	}
	w.Journal.Add(EarHears, "%s hears it %d ms later, %+.1f dB", who, (delay - later).Round(time.Millisecond).Milliseconds(), louder)
	return nil
}
