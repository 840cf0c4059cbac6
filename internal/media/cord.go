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
	"github.com/ata-agent/ata-agent/internal/media/echo"
	"github.com/ata-agent/ata-agent/internal/media/level"
	"github.com/ata-agent/ata-agent/internal/media/probe"
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
// sent already. Without a key it is news of the bell or of data.
type Event struct {
	Digit    byte          // 0-9, *, #, A-D
	Duration time.Duration // how long it had sounded by then
	Lifted   bool          // the receiver that Hook took for the telephone's own doing is a person's
	Fault    error         // what the port refused to do while it rang
	Data     bool          // a fax or a modem is heard, at whichever end: told once of a call
}

// A Tuning fits a cord to its port. The zero Tuning leaves all sound as it is.
type Tuning struct {
	In       int                 // gain of the mouth towards far ends, dB, level.Least to level.Most
	Out      int                 // gain of the far ends towards the ear; tones have a level of their own
	Tail     time.Duration       // of a line: how late its own echo may come and be taken out, up to 64 ms; 0: it is left
	Keys     dtmf.Administration // of a line: what is heard as a key
	Sidetone int                 // of a handset: how much softer, dB, the ear hears its own mouth, 1 to 35; 0: not at all
}

// A Cord carries the sound of one port, 10 ms at a time. Of a line, all of it at
// 8000 samples a second:
//
//	mouth ─ Read ─▶ probe ─▶ echo ─▶ dtmf ─▶ gain ─▶ mix ─▶ encode ─▶ RTP
//	ear  ◀─ Write ─────────── ▲ ─ mix ◀─ tone
//	                              mix ◀─ gain ◀─ probe ◀─ conceal ◀─ decode ◀─ jitter ◀─ RTP
//
// When a fax or a modem is heard at any end, sound is carried as it is for the rest
// of the call: the delay stays, and no noise takes the place of an echo.
//
// A hal.Handset has no line that could echo, no keys that sound and no fax behind
// it. At its ends sound has its own rate, and between them 16000, or 8000 if it
// can no more:
//
//	mouth ─ Read ─▶ gain ───┬─▶ resample ─▶ mix ─▶ encode ─▶ RTP
//	                        ▼ sidetone
//	ear  ◀─ Write ◀─ limit ─ mix ◀─ resample ◀─ tone
//	                         mix ◀─ gain ◀─ resample ◀─ mix ◀─ conceal ◀─ decode ◀─ jitter ◀─ RTP
//
// No part of a frame allocates.
type Cord struct {
	port   hal.Port
	tell   func(Event)
	patch  atomic.Pointer[Patch] // never nil
	tuning atomic.Pointer[tuned] // never nil

	teller teller

	// Owned by the goroutine of Run.
	now    *Patch // the patch of this frame
	tune   *tuned // the tuning of this frame
	ear    tone.Player
	mouth  []int16 // what it said, 10 ms as all that follow
	far    [2][]int16
	mix    []int16 // what is written to the ear
	silent []int16 // never written

	handset *handset // nil: the port is a line, and has what follows
	keys    dtmf.Detector
	held    bool      // a key is being sent to far ends
	plain   hal.Frame // the mouth without the echo, but with no noise in its place
	rests   bool      // the canceller had nothing to do in the last frame
	near    probe.Probe
	ends    [2]probe.Probe // of the far ends
	tone    hal.Frame
	past    [2]hal.Frame // what mix was before, the oldest first
}

// tuned is a Tuning and what it needs.
type tuned struct {
	Tuning
	echo     *echo.Canceller // nil: none
	in, out  level.Gain
	sidetone level.Sidetone
}

// NewCord makes the cord of a port. Tell is called from the goroutine of Run
// and may wait briefly.
func NewCord(port hal.Port, tell func(Event)) *Cord {
	c := &Cord{port: port, tell: tell, now: &Patch{}, tune: &tuned{}}
	c.teller.port = port
	n := hal.FrameSamples
	if h, ok := port.(hal.Handset); ok {
		c.handset = newHandset(h)
		n = c.handset.samples()
	}
	room(n, &c.mouth, &c.far[0], &c.far[1], &c.mix, &c.silent)
	c.patch.Store(c.now)
	c.tuning.Store(c.tune)
	return c
}

// room makes room for n samples in each.
func room(n int, all ...*[]int16) {
	for _, s := range all {
		*s = make([]int16, n)
	}
}

// Tune fits the cord to its port, from the next frame on. The canceller goes on
// knowing the line, if its tail stays as it was. One goroutine, any; it does not
// wait.
func (c *Cord) Tune(t Tuning) {
	was := c.tuning.Load()
	if t == was.Tuning {
		return
	}
	n := &tuned{Tuning: t}
	switch {
	case c.handset != nil:
	case t.Tail == was.Tail:
		n.echo = was.echo
	case t.Tail > 0:
		n.echo = echo.New(int(t.Tail * hal.SampleRate / time.Second))
	}
	rate := hal.RateOf(c.port)
	n.in.Set(t.In, rate)
	n.out.Set(t.Out, rate)
	n.sidetone.Set(t.Sidetone)
	c.tuning.Store(n)
}

// Set joins the port as p says, from the next frame on. A tone that p has in
// common with the patch before goes on as it was; what CallWaiting tells ends. Any
// goroutine; it does not wait.
func (c *Cord) Set(p Patch) {
	for _, far := range p.Far {
		if far != nil {
			far.Widen(len(c.mouth) == rtp.WideSamples)
		}
	}
	c.patch.Store(&p)
	c.teller.proceed()
}

// Run carries sound until the port is closed, and returns nil then. When ctx
// ends it returns after the port's next frame; a port whose receiver is on
// the hook may have none, and must be closed.
func (c *Cord) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := c.read(); err != nil {
			return end(err)
		}
		c.frame()
		if err := c.write(); err != nil {
			return end(err)
		}
	}
	return nil
}

func (c *Cord) read() error {
	if c.handset != nil {
		return c.handset.read()
	}
	return c.port.Read((*hal.Frame)(c.mouth))
}

func (c *Cord) write() error {
	if c.handset != nil {
		return c.handset.write()
	}
	return c.port.Write((*hal.Frame)(c.mix))
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
	c.tune = c.tuning.Load()
	var key dtmf.Heard
	switch {
	case c.handset != nil:
		c.handset.say(c.mouth, c.tune)
	case c.teller.on.Load() && c.announce():
		return
	default:
		key = c.line()
	}
	c.speak(key) // which mixes in c.mix too
	c.mixFar()
	if c.handset != nil {
		c.handset.hear(c.mix, &c.ear, c.tune)
		return
	}
	c.tune.out.Apply(c.mix)
	c.ear.Read(c.tone[:])
	add(c.mix, c.mix, c.tone[:])
}

// line is what lies between the mouth of a line's telephone and the far ends.
func (c *Cord) line() (key dtmf.Heard) {
	c.watch(&c.near, c.mouth)
	c.cancel()
	key = c.listen()
	if key.Maybe {
		copy(c.mouth, c.plain[:])
	}
	c.tune.in.Apply(c.mouth)
	c.past[0] = c.past[1]
	copy(c.past[1][:], c.mix)
	return key
}

// repatch goes on with another patch.
func (c *Cord) repatch(p *Patch) {
	if !p.Ear.Equal(c.now.Ear) {
		c.ear.Play(p.Ear)
	}
	if p.Far != c.now.Far {
		if c.held {
			c.letGo()
		}
		c.near, c.ends = probe.Probe{}, [2]probe.Probe{}
	}
	c.now = p
}

// watch looks whether data follow what an end says.
func (c *Cord) watch(end *probe.Probe, said []int16) {
	if c.talks() && !c.data() && end.Hear(said).Tone.Data() {
		for _, far := range c.now.Far {
			if far != nil {
				far.CarryData()
			}
		}
		c.tell(Event{Data: true})
	}
}

// talks reports whether there is a far end.
func (c *Cord) talks() bool { return c.now.Far[0] != nil || c.now.Far[1] != nil }

// data reports whether a fax or a modem was heard in the call.
func (c *Cord) data() bool {
	for _, far := range c.now.Far {
		if far != nil && far.CarriesData() {
			return true
		}
	}
	return false
}

// cancel takes out of the mouth what the line throws back of the ear. What was
// written last is what sounded while the mouth was recorded: Read and Write
// take turns, and a port's own delay is for the port to keep short of the tail.
// With nobody at the far end nobody hears the echo.
func (c *Cord) cancel() {
	e := c.tune.echo
	if e == nil || !c.talks() {
		c.rests = true
		copy(c.plain[:], c.mouth)
		return
	}
	if c.rests {
		c.rests = false
		e.Resume()
	}
	e.NLP(!c.data())
	e.Cancel(c.mouth, c.mix, c.mouth)
	e.Linear(c.plain[:])
}

// listen finds keys in what the mouth says. Beneath a far end's voice a soft one
// may be taken for an echo of it, and noise put in its place: so before that.
func (c *Cord) listen() dtmf.Heard {
	// Beneath a tone of ours its echo comes out of the mouth.
	c.keys.DialTone(c.ear.Playing())
	c.keys.Use(c.tune.Keys)
	key := c.keys.Hear(c.plain[:])
	if key.Released && c.held {
		c.letGo()
	}
	if key.Pressed == 0 || c.echoed(key.Pressed) {
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

// echoed reports whether the ear heard the key first: then what comes out of the
// mouth is its echo, from a line that is not known yet or a receiver that lies on
// the table, and goes back to nobody. When a key is certain it has sounded for
// 31 ms or more, and its echo is less than 20 ms late: the ear heard it 20 to 30 ms
// ago, and no softer than the mouth says it now.
func (c *Cord) echoed(key byte) bool {
	k, _ := tone.Digit(key)
	var all int64
	for _, x := range c.past[0] {
		all += int64(x) * int64(x)
	}
	var both int64
	for _, hz := range k.Steps[0].Hz[:2] {
		ear := energy(&c.past[0], hz)
		if ear < all/8 || ear < energy(&c.plain, hz) {
			return false
		}
		both += ear
	}
	return both > all/2
}

// energy is that of a frequency in 10 ms, of which it may be off by 2 %.
func energy(f *hal.Frame, hz uint16) int64 {
	var re, im int64
	phase, step := uint32(0), tone.Turn(hz)
	for _, x := range f {
		re += int64(int32(x) * tone.Sine(phase+1<<30) >> 8)
		im += int64(int32(x) * tone.Sine(phase) >> 8)
		phase += step
	}
	// A sine of peak 1 has an energy of 40 and a sum of 40·2^7.
	return (re*re + im*im) / (hal.FrameSamples / 2) >> 14
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
			far.Read(c.far[i])
			if c.handset == nil {
				c.watch(&c.ends[i], c.far[i])
			}
		}
	}
	mute := key.Held || key.Maybe && !c.data() // data sound like keys, for moments
	for i, far := range c.now.Far {
		if far == nil {
			continue
		}
		said := c.mouth
		if mute && far.KeysApart() {
			// The key goes beside the sound, so not in it too.
			said = c.silent
		}
		if other := c.now.Far[1-i]; other != nil {
			add(c.mix, said, c.far[1-i])
			said = c.mix
		}
		far.Write(said)
	}
}

// mixFar mixes the far ends for the ear.
func (c *Cord) mixFar() {
	clear(c.mix)
	for i, far := range c.now.Far {
		if far != nil {
			add(c.mix, c.mix, c.far[i])
		}
	}
}

// add makes sum what is heard of a and b together; louder than full scale is
// cut off.
func add(sum, a, b []int16) {
	a, b = a[:len(sum)], b[:len(sum)]
	for i := range sum {
		sum[i] = int16(min(max(int32(a[i])+int32(b[i]), -32768), 32767))
	}
}
