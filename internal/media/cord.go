// Package media carries sound between a telephone and its calls.
//
// Its one idea: a Cord is one goroutine per port, the hardware's next 10 ms
// is its clock, and a Patch says who hears whom. No far end is a tone, one is
// a call, two are a conference: the same dozen lines.
package media

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A Patch says what an ear hears and which far ends it is joined to. The zero
// Patch is silence.
type Patch struct {
	Ear tone.Tone      // heard over whatever the far ends say
	Far [2]*rtp.Stream // nil is nobody; two hear each other too
}

// An Event is a key that was heard from the mouth: told once, as soon as it
// is certain. To far ends that take keys beside the sound it has then been
// sent already.
type Event struct {
	Digit    byte          // 0-9, *, #, A-D
	Duration time.Duration // how long it had sounded by then
}

// A Cord carries the sound of one port, 10 ms at a time:
//
//	mouth ─ Read ─▶ dtmf ─▶ mix ─▶ encode ─▶ RTP
//	ear  ◀─ Write ─ mix ◀─ tone
//	                mix ◀─ conceal ◀─ decode ◀─ jitter ◀─ RTP
//
// The echo canceller's place is between Read and dtmf: it is told what is
// written to the ear. No part of a frame allocates.
type Cord struct {
	port  hal.Port
	tell  func(Event)
	patch atomic.Pointer[Patch] // never nil

	// Owned by the goroutine of Run.
	now    *Patch // the patch of this frame
	keys   dtmf.Detector
	ear    tone.Player
	held   bool // a key is being sent to far ends
	mouth  hal.Frame
	silent hal.Frame // never written
	far    [2]hal.Frame
	mix    hal.Frame
}

// NewCord makes the cord of a port. Tell is called from the goroutine of Run
// and may wait briefly.
func NewCord(port hal.Port, tell func(Event)) *Cord {
	c := &Cord{port: port, tell: tell, now: &Patch{}}
	c.patch.Store(c.now)
	return c
}

// Set joins the port as p says, from the next frame on. A tone that p has in
// common with the patch before goes on as it was. Any goroutine; it does not
// wait.
func (c *Cord) Set(p Patch) { c.patch.Store(&p) }

// Run carries sound until the port is closed, and returns nil then. When ctx
// ends it returns after the port's next frame; a port whose receiver is on
// the hook may have none, and must be closed.
func (c *Cord) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.port.Read(&c.mouth); err != nil {
			return end(err)
		}
		c.frame()
		if err := c.port.Write(&c.mix); err != nil {
			return end(err)
		}
	}
	return nil
}

func end(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// frame makes what the ear hears in the next 10 ms out of what the mouth said
// in the last, and lets the far ends have their share.
func (c *Cord) frame() {
	if p := c.patch.Load(); p != c.now {
		c.repatch(p)
	}
	key := c.listen()
	c.speak(key)
	c.hear()
}

// repatch goes on with another patch.
func (c *Cord) repatch(p *Patch) {
	if !p.Ear.Equal(c.now.Ear) {
		c.ear.Play(p.Ear)
	}
	if c.held && p.Far != c.now.Far {
		c.letGo()
	}
	c.now = p
}

// listen finds keys in what the mouth says.
func (c *Cord) listen() dtmf.Heard {
	// Beneath a tone of ours its echo comes out of the mouth.
	c.keys.DialTone(c.ear.Playing())
	key := c.keys.Hear(c.mouth[:])
	if key.Released && c.held {
		c.letGo()
	}
	if key.Pressed == 0 {
		return key
	}
	for _, far := range c.now.Far {
		if far != nil && far.KeyDown(key.Pressed) {
			c.held = true
		}
	}
	if !key.Held && c.held { // so short that it is over
		c.letGo()
	}
	c.tell(Event{Digit: key.Pressed, Duration: key.For})
	return key
}

// letGo ends the key that the far ends are being sent.
func (c *Cord) letGo() {
	c.held = false
	for _, far := range c.now.Far {
		if far != nil {
			far.KeyUp()
		}
	}
}

// speak gives each far end the mouth and the other far end.
func (c *Cord) speak(key dtmf.Heard) {
	for i, far := range c.now.Far {
		if far != nil {
			far.Read(&c.far[i])
		}
	}
	for i, far := range c.now.Far {
		if far == nil {
			continue
		}
		said := &c.mouth
		if key.Maybe && far.TakesEvents() {
			// The key goes beside the sound, so not in it too.
			said = &c.silent
		}
		if other := c.now.Far[1-i]; other != nil {
			add(&c.mix, said, &c.far[1-i])
			said = &c.mix
		}
		far.Write(said)
	}
}

// hear mixes the tone and the far ends for the ear.
func (c *Cord) hear() {
	c.ear.Read(c.mix[:])
	for i, far := range c.now.Far {
		if far != nil {
			add(&c.mix, &c.mix, &c.far[i])
		}
	}
}

// add makes sum what is heard of a and b together; louder than full scale is
// cut off.
func add(sum, a, b *hal.Frame) {
	for i := range sum {
		sum[i] = int16(min(max(int32(a[i])+int32(b[i]), -32768), 32767))
	}
}
