package sim

import (
	"slices"
	"sync"
)

// An ear hears each frame that is written to a port, with the number of its
// first sample: what comes out of the receiver, or all that comes over the wires.
type ear struct {
	hear  func(at int64, f []int16)
	wires bool
}

// Listen calls hear with each frame that reaches the ear, in the goroutine that
// writes it, until stop is called; a last call may still be under way then.
// Nothing is heard while the loop is open. hear must neither wait nor keep the
// frame.
func (p *telephone) Listen(hear func([]int16)) (stop func()) {
	return p.listen(ear{func(_ int64, f []int16) { hear(f) }, false})
}

// ListenWires is Listen at the two wires, where a telephone's display hears what
// is sent to it on the hook too.
func (p *Port) ListenWires(hear func([]int16)) (stop func()) {
	return p.listen(ear{func(_ int64, f []int16) { hear(f) }, true})
}

func (p *telephone) listen(one ear) (stop func()) {
	e := &one
	p.mu.Lock()
	defer p.mu.Unlock()
	ears := append(*p.ears.Load(), e)
	p.ears.Store(&ears)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		ears := slices.DeleteFunc(slices.Clone(*p.ears.Load()), func(o *ear) bool { return o == e })
		p.ears.Store(&ears)
	}
}

// Record returns what the ear hears from now until stop is closed, or the port
// is. It is as long as that took: where nothing was heard it is silent.
func (p *telephone) Record(stop <-chan struct{}) []int16 { return p.record(stop, false) }

// RecordWires is Record at the two wires.
func (p *Port) RecordWires(stop <-chan struct{}) []int16 { return p.record(stop, true) }

func (p *telephone) record(stop <-chan struct{}, wires bool) []int16 {
	r := recorder{from: p.sample()}
	remove := p.listen(ear{r.hear, wires})
	select {
	case <-stop:
	case <-p.done:
	}
	remove()
	return r.until(p.sample())
}

// A recorder puts frames where they belong in time.
type recorder struct {
	from  int64 // the number of sound[0]
	mu    sync.Mutex
	sound []int16
}

func (r *recorder) hear(at int64, f []int16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at < r.from { // the frame during which recording began
		f = f[min(r.from-at, int64(len(f))):]
		at = r.from
	}
	r.silence(at)
	r.sound = append(r.sound, f...)
}

// silence fills up with silence to before sample at.
func (r *recorder) silence(at int64) {
	if gap := at - r.from - int64(len(r.sound)); gap > 0 {
		r.sound = append(r.sound, make([]int16, gap)...)
	}
}

// until ends the recording before sample at.
func (r *recorder) until(at int64) []int16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silence(at)
	return r.sound[:at-r.from]
}
