package sim

import (
	"testing"

	"github.com/ata-agent/ata-agent/hal"
)

// BenchmarkSpeak makes frames while a key is pressed and a recording plays.
func BenchmarkSpeak(b *testing.B) {
	p := New("1", Options{})
	defer p.Close()
	p.Lift()
	low, high, _ := dtmf('5')
	p.mu.Lock()
	defer p.mu.Unlock()
	end := int64(1) << 40
	p.say(sound{to: end, low: low, high: high})
	p.say(sound{to: end, samples: make([]int16, hal.SampleRate)})
	var f hal.Frame
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.speak(&f, int64(i%99)*hal.FrameSamples)
	}
}
