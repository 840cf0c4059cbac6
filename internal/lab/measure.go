package lab

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A burst is what is said to measure a way: noise, since it is like itself at no
// other moment.
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

// A recording is what was heard from a moment on. The zero recording has not
// begun.
type recording struct {
	mu    sync.Mutex
	began time.Time
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
	const some = 800 // are enough to find the rest by
	best, most := 0, int64(0)
	for lag := 0; lag+len(burst) <= len(r.heard); lag++ {
		var sum int64
		for i, x := range burst[:some] {
			sum += int64(int32(x) * int32(r.heard[lag+i]) >> 8)
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
		y := float64(r.heard[best+i])
		like += float64(x) * y
		ours += float64(x) * float64(x)
		theirs += y * y
	}
	if like*like < 0.5*ours*theirs {
		return 0, 0, false
	}
	delay = r.began.Sub(said) + time.Duration(best)*time.Second/hal.SampleRate
	return delay, 20 * math.Log10(like/ours), true
}

// measure says a burst at one end of the call and tells when and how loud it
// comes out at the other: "mouth" is towards the far end, whose own buffer of
// 60 ms is in it; "ear" from there. The call is that with a number, or the latest
// where that is "".
func (w *World) measure(ctx context.Context, way, number string) error {
	sound := w.Provider.sound(number)
	if sound == nil || w.hand == nil {
		return fmt.Errorf("nobody talks")
	}
	var r recording
	var said time.Time
	who := "the far end"
	switch way {
	case "mouth":
		sound.listen(r.hear)
		defer sound.listen(nil)
		said = time.Now()
		if err := w.hand.Play(burst); err != nil {
			return err
		}
	case "ear":
		who = "the ear"
		remove := w.Port.Listen(func(f *hal.Frame) { r.hear(f[:]) })
		defer remove()
		at := make(chan time.Time, 1)
		sound.say(burst, at)
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
	delay, louder, ok := r.find(said)
	if !ok {
		w.Journal.Add(EarHears, "%s does not hear it", who)
		return nil
	}
	w.Journal.Add(EarHears, "%s hears it %d ms later, %+.1f dB", who, delay.Round(time.Millisecond).Milliseconds(), louder)
	return nil
}
