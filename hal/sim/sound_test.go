package sim

import (
	"testing"
	"testing/synctest"

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
		p.speak(f[:], int64(i%99)*hal.FrameSamples)
	}
}

// TestNobodyReads presses keys all day into a port without a reader.
func TestNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New("1", Options{})
		defer p.Close()
		p.Lift()
		for range 1000 {
			if err := p.Press("12"); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(p.sounds); n > 10 {
			t.Errorf("%d sounds are kept that nobody will hear", n)
		}
	})
}
