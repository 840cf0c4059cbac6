// Package media carries sound between a telephone and its calls.
//
// Its one idea: a Cord is one goroutine per port, the hardware's next 10 ms
// is its clock, and a Patch says who hears whom. No far end is a tone, one is
// a call, two are a conference: the same dozen lines.
package media

import (
	"context"
	"time"

	"github.com/ata-agent/ata-agent/hal"
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
// is certain.
type Event struct {
	Digit    byte          // 0-9, *, #, A-D
	Duration time.Duration // how long it had sounded by then
}

// A Cord carries the sound of one port.
type Cord struct{}

// NewCord makes the cord of a port. Tell is called from the goroutine of Run
// and may wait briefly.
func NewCord(port hal.Port, tell func(Event)) *Cord { return &Cord{} }

// Set joins the port as p says, from the next frame on. A tone that p has in
// common with the patch before goes on as it was. Any goroutine; it does not
// wait.
func (c *Cord) Set(p Patch) {}

// Run carries sound until the port is closed, and returns nil then. When ctx
// ends it returns after the port's next frame.
func (c *Cord) Run(ctx context.Context) error { return nil }
