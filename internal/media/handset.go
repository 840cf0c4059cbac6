package media

import (
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/level"
	"github.com/ata-agent/ata-agent/internal/media/resample"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A handset is both ends of the cord of an IP telephone: between them and the
// middle lies a change of rate. Owned by the goroutine of Cord.Run.
type handset struct {
	port         hal.Handset
	mouth, ear   []int16 // 10 ms at the handset's rate, and so the rest
	far, sung    []int16
	sum          []int32
	tone         hal.Frame
	down, up, on resample.Converter // mouth to the middle, the middle to the ear, tones to the ear
	sings        bool               // there was a tone in the last frame
	limit        level.Limiter
}

// wide is the rate of the middle, of G.722; a handset that has less has all it
// can.
const wide = 16000

func newHandset(port hal.Handset) *handset {
	rate := port.Rate()
	h := &handset{port: port, sum: make([]int32, rate/100)}
	room(rate/100, &h.mouth, &h.ear, &h.far, &h.sung)
	h.down.Set(rate, min(rate, wide))
	h.up.Set(min(rate, wide), rate)
	h.on.Set(hal.SampleRate, rate)
	h.limit.Set(rate)
	return h
}

// samples is how many there are in 10 ms of the middle.
func (h *handset) samples() int { return min(h.port.Rate(), wide) / 100 }

func (h *handset) read() error  { return h.port.ReadSamples(h.mouth) }
func (h *handset) write() error { return h.port.WriteSamples(h.ear) }

// say brings the mouth to the middle.
func (h *handset) say(middle []int16, t *tuned) {
	t.in.Apply(h.mouth)
	h.down.Convert(middle, h.mouth)
}

// hear makes what the ear hears of the middle, the mouth and a tone. All of them
// together may be too loud, and are then turned down.
func (h *handset) hear(middle []int16, ear *tone.Player, t *tuned) {
	h.up.Convert(h.far, middle)
	t.out.Apply(h.far)
	for i, x := range h.far {
		h.sum[i] = int32(x)
	}
	if sings := ear.Read(h.tone[:]); sings || h.sings { // what the filter still holds of the last
		h.sings = sings
		h.on.Convert(h.sung, h.tone[:])
		for i, x := range h.sung {
			h.sum[i] += int32(x)
		}
	}
	t.sidetone.Add(h.sum, h.mouth)
	h.limit.Limit(h.ear, h.sum)
}
