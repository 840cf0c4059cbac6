package media

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
)

// A Ringing is how a telephone on the hook is rung, and what it is told of the
// caller before or between its rings.
type Ringing struct {
	Cadence  hal.Cadence
	Standard callerid.Standard // Off: the bell alone
	Caller   callerid.Message
}

// Able returns what a port lacks to tell who calls in a standard; nil is nothing.
func Able(port hal.Port, std callerid.Standard) error {
	if std == callerid.Off {
		return nil
	}
	if _, ok := port.(hal.OnHookTransmitter); !ok {
		return fmt.Errorf("%s hardware sends nothing to a telephone on the hook", port.Kind())
	}
	if _, ok := port.(hal.Reverser); !ok && std.Reverses() {
		return fmt.Errorf("%s hardware does not reverse the line", port.Kind())
	}
	return nil
}

// Ring rings the bell, and tells who calls, from the next frame on: with a
// standard the samples written to the port are the clock of bell and polarity
// too. What the port must be Able to do and then refuses costs only the caller's
// name. Any goroutine; it does not wait.
func (c *Cord) Ring(r Ringing) error { return c.teller.ring(r) }

// Silence stops the bell, and puts back what Ring has changed of the line. When
// it has returned nothing rings any more. Any goroutine; it does not wait.
func (c *Cord) Silence() error { return c.teller.silence() }

// CallWaiting tells of another call during one, after some time: it alerts the
// telephone, and if that answers tells it who calls. While it does, neither side
// hears the other. The next Set ends it. False: the standard cannot, and nothing
// happens. Any goroutine; it does not wait.
func (c *Cord) CallWaiting(after time.Duration, std callerid.Standard, m callerid.Message) bool {
	return c.teller.callWaiting(int(after/hal.FrameTime), std, m)
}

// Hook tells the cord that the receiver was lifted or put down, before anything
// follows from it. True: it was the telephone itself, to be told who calls, as
// in Japan, and nothing must follow. If it was a person after all an Event with
// Lifted comes. Any goroutine; it does not wait.
func (c *Cord) Hook(off bool) (itself bool) { return c.teller.hook(off) }

// A teller leads bell, polarity and sound while a telephone is told who calls.
// The operator begins and ends it, the cord carries it from frame to frame; both
// under a lock for as long as a frame takes to make, so that a bell which was
// stopped stays so.
type teller struct {
	port hal.Port
	on   atomic.Bool // it tells something, or waits to

	mu      sync.Mutex
	sender  callerid.Sender
	cadence hal.Cadence
	open    bool // the way to a telephone on the hook
	call    bool // it is told during a call
	wait    int  // frames until the first of the sender's
	lifted  bool // by the telephone itself
	rest    int  // frames since the sender's last
}

// lingering is how many frames of silence follow the sender's last before the
// way is closed: hardware may hold as many that are still to sound. Our choice.
const lingering = 10

func (t *teller) ring(r Ringing) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Standard == callerid.Off {
		return t.port.Ring(r.Cadence)
	}
	if err := t.transmit(true); err != nil {
		return errors.Join(err, t.port.Ring(r.Cadence))
	}
	t.begin(false)
	t.cadence = r.Cadence
	t.sender.Call(r.Standard, &r.Caller, r.Cadence.Steps)
	t.on.Store(true)
	return nil
}

func (t *teller) callWaiting(wait int, std callerid.Standard, m callerid.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.sender.CallWaiting(std, &m) {
		return false
	}
	t.begin(true)
	t.wait = wait
	t.on.Store(true)
	return true
}

// proceed ends what is told during a call.
func (t *teller) proceed() {
	if !t.on.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.call {
		t.sender.Stop()
		_ = t.end() // there is no way on the hook to be closed
	}
}

func (t *teller) begin(call bool) { t.call, t.wait, t.lifted, t.rest = call, 0, false, 0 }

func (t *teller) silence() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.do(t.sender.Stop()), t.end(), t.port.Ring(hal.Cadence{}))
}

func (t *teller) hook(off bool) (itself bool) {
	if !t.on.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.lifted
	// What fails here failed at a bell or a line that a lifted receiver has
	// taken over.
	_ = t.do(t.sender.Hook(off))
	if !t.sender.Busy() {
		_ = t.end()
	}
	t.lifted = off && t.sender.Busy()
	return t.lifted || was && !off
}

// A turn is what a teller did with a frame.
type turn struct {
	ours   bool // it is the sender's; otherwise the rest is nothing
	call   bool // during a call
	person bool // who lifted was one
	err    error
}

// frame makes the next 10 ms for the ear, if they are the sender's, and does
// what the line must do meanwhile.
func (t *teller) frame(ear *hal.Frame) (now turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on.Load() {
		return turn{}
	}
	if t.wait > 0 {
		t.wait--
		return turn{}
	}
	now = turn{ours: true, call: t.call, err: t.do(t.sender.Read(ear[:]))}
	if t.sender.Busy() {
		return now
	}
	if t.rest++; t.rest < lingering && !t.call && !t.lifted {
		return now
	}
	now.person = t.lifted
	now.err = errors.Join(now.err, t.end())
	return now
}

// key tells the sender what the telephone says.
func (t *teller) key(key byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sender.Key(key)
}

// end leaves frames to the cord again. t.mu is held.
func (t *teller) end() error {
	t.on.Store(false)
	t.lifted = false
	return t.transmit(false)
}

func (t *teller) transmit(open bool) error {
	if t.open == open {
		return nil
	}
	t.open = open
	err := t.port.(hal.OnHookTransmitter).TransmitOnHook(open)
	if err != nil {
		t.open = false
	}
	return err
}

// do does what the sender asks of the line. t.mu is held.
func (t *teller) do(l callerid.Line) (err error) {
	if l == 0 {
		return nil
	}
	if l&(callerid.Reverse|callerid.Restore) != 0 {
		err = t.port.(hal.Reverser).Reverse(l&callerid.Reverse != 0)
	}
	if l&callerid.Silence != 0 {
		err = errors.Join(err, t.port.Ring(hal.Cadence{}))
	}
	switch {
	case l&callerid.Pulse != 0:
		half := 500 * time.Millisecond
		err = errors.Join(err, t.port.Ring(hal.Cadence{Steps: [8]time.Duration{half, half}, Hz: t.cadence.Hz}))
	case l&callerid.Ring != 0:
		err = errors.Join(err, t.port.Ring(t.cadence))
	}
	return err
}

// announce is a frame that belongs to the teller: the telephone is told, and
// nobody else hears or is heard. False: it is a frame like others.
func (c *Cord) announce() bool {
	now := c.teller.frame((*hal.Frame)(c.mix))
	if !now.ours {
		return false
	}
	c.rests = true
	if c.held {
		c.letGo()
	}
	// The line throws back what it is told, keys too: on the hook nothing is
	// heard.
	if now.call {
		if key := c.keys.Hear(c.mouth); key.Pressed != 0 {
			c.teller.key(key.Pressed)
		}
	}
	for i, far := range c.now.Far {
		if far != nil {
			far.Read(c.far[i]) // it goes by meanwhile
			far.Write(c.silent)
		}
	}
	if now.err != nil || now.person {
		c.tell(Event{Lifted: now.person, Fault: now.err})
	}
	return true
}
