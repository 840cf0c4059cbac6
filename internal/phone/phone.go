// Package phone is the telephone as the person who holds it knows it.
//
// Its one idea: a telephone is a handful of situations, idle, dialtone,
// dialing, calling, ringback, talking, callwaiting, holding, ringing, busy,
// reorder, howler, waiting, and each is a function from an event to the next
// situation. The functions are told the time and ask a Desk for everything else,
// so a phone can be replayed, fuzzed and run a million times a second.
//
// A telephone has two calls at most: Leg, which is talked to or rings, and Second,
// which calls meanwhile or is on hold. A flash makes each the other:
//
//	talking ─ Incoming ─▶ callwaiting ─ Flash ─▶ holding ─ Flash ─▶ holding
package phone

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A Leg is one call of a phone, by a number that its Desk gives out and never
// gives twice to a phone. 0 is no leg.
type Leg uint32

// A Desk does what a phone asks. No method waits or calls the phone back.
type Desk interface {
	// Hear plays a tone to the ear, or nothing, and joins it to nobody.
	Hear(tone.Name)
	// Join connects ear and mouth to a leg, without a tone.
	Join(Leg)
	// CallWaiting lets the ear hear, over the leg that it is joined to, that another
	// one calls, until the next Join or Hear. False: not now, and nothing happens.
	CallWaiting(leg, caller Leg) bool
	// Hold puts the far end of an answered leg on hold, or resumes it.
	Hold(leg Leg, on bool)
	// Bell starts the bell for the phone's Leg, or stops it.
	Bell(on bool)

	// Call sets out to reach a number. 0 means there is no way to try.
	Call(number string) Leg
	// Accept takes the call that rings.
	Accept(Leg)
	// Refuse sends a caller away with a SIP status.
	Refuse(leg Leg, code int)
	// Drop ends a leg, whether it was answered or not.
	Drop(Leg)

	// Flash tells the far end of the hook flash during its call.
	Flash(Leg)
	// Press sends a digit that is not in the sound to the far end.
	Press(leg Leg, digit byte)
}

// An Event is something that happened to a phone. The zero Event is the
// passing of time.
type Event struct {
	Kind  Kind
	Digit byte // for Digit: 0-9, *, #, A-D
	Mute  bool // for Digit: it does not sound: a pulse, or a key of a handset
	Leg   Leg  // for Incoming and what follows it
	Code  int  // for Ended: the SIP status, 0 when a person hung up
}

// Kind is what happened.
type Kind uint8

const (
	Tick     Kind = iota // time has passed
	Lift                 // the receiver was lifted
	HangUp               // the receiver was put down
	Flash                // the hook was pressed briefly
	Digit                // a digit was dialled
	Incoming             // somebody calls
	Ringing              // it rings over there, and nothing is to be heard from there
	Early                // the far end is to be heard before it answers
	Answered             // the far end answered
	Ended                // the leg is gone, and so is its number

	timeout // the deadline has come
)

// MaxDigits is the most a number can have; the next digit is not waited for.
// E.164 has 15; codes before them and account numbers need more.
const MaxDigits = 32

// How long each situation lasts before it gives up on the person. Adapters of
// the field: DAHDI waits 16 s for the first digit; Cisco's ATA 191 waits 10 s
// for the next digit of an incomplete number; Grandstream's HT801 and the
// Lantiq driver take a number for complete after 4 s (Cisco 3 s).
const (
	firstDigit = 16 * time.Second
	longPause  = 10 * time.Second
	shortPause = 4 * time.Second
)

// Our own choice: long enough to hear what happened and put the receiver down;
// then a howler, for as long as somebody may come back into the room; then
// silence, because nobody does.
const (
	busyTime   = 60 * time.Second
	howlerTime = 60 * time.Second

	// recallTime is how long a telephone rings for somebody on hold. Our own
	// choice: who has hung up without a thought of him is back sooner.
	recallTime = 60 * time.Second
)

// A Config is what a port's owner may choose. The zero Config is usual.
type Config struct {
	Plan *Plan // nil is Usual
	SIT  bool  // special information tone for numbers that do not exist

	// Single: one call at a time. Who calls during it is told that it is busy.
	Single bool
}

// A Phone is one telephone. It is owned by the operator.
type Phone struct {
	desk   Desk
	plan   *Plan
	sit    bool
	single bool // Config.Single
	state  state
	name   string // of state

	deadline time.Time // when the situation gives up; zero is never
	digits   [MaxDigits]byte
	n        int // digits dialled
	leg      Leg // 0 without a call
	second   Leg // that is on hold, or calls meanwhile; 0 without
	messages bool
}

// state is a situation: it takes what happens in it and returns what follows.
type state func(*Phone, time.Time, Event) state

// New returns a phone whose receiver is on the hook.
func New(desk Desk, c Config) *Phone {
	p := &Phone{desk: desk, state: idle, name: "idle"}
	p.Configure(c)
	return p
}

// Configure changes what the owner chose. A number half dialled goes on under
// the new plan.
func (p *Phone) Configure(c Config) {
	p.plan, p.sit, p.single = c.Plan, c.SIT, c.Single
	if p.plan == nil {
		p.plan = usual
	}
}

var usual, _ = ParsePlan(Usual)

// Step tells the phone what happened, and that it is now. Deadlines that have
// passed are met first.
func (p *Phone) Step(now time.Time, ev Event) {
	for !p.deadline.IsZero() && !now.Before(p.deadline) {
		p.deadline = time.Time{}
		p.state = p.state(p, now, Event{Kind: timeout})
	}
	if ev.Kind != Tick {
		p.state = p.state(p, now, ev)
	}
}

// Deadline is when Step wants to be called if nothing happens before; zero is
// never. After a Step it is later than the now of that Step.
func (p *Phone) Deadline() time.Time { return p.deadline }

// State is the name of the situation.
func (p *Phone) State() string { return p.name }

// Leg is the call the phone has, 0 for none.
func (p *Phone) Leg() Leg { return p.leg }

// Second is the call beside that one: on hold, or calling meanwhile; 0 for none.
func (p *Phone) Second() Leg { return p.second }

// Number is what has been dialled since the last dial tone.
func (p *Phone) Number() string { return string(p.digits[:p.n]) }

// Messages says whether a message waits; the next dial tone tells.
func (p *Phone) Messages(waiting bool) { p.messages = waiting }
