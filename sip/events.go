package sip

import (
	"time"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

// An Event is news from a line or one of its calls. Events of one call arrive
// in order, and none after its Ended.
type Event interface{ event() }

// Registering: a REGISTER is on its way and the line has no good registration.
type Registering struct {
	Line *Line
	Via  outbound.Target
}

// Registered: Via took the registration, at first or somewhere else than
// before. A refresh that changes nothing is not told.
type Registered struct {
	Line    *Line
	Via     outbound.Target
	Expires time.Duration // granted
}

// Failed: a registration did not work out at Via. Another address may follow
// at once; Status has the state.
type Failed struct {
	Line *Line
	Via  outbound.Target
	Err  error // a sentence
}

// Incoming: somebody calls. Answer, Ring, Reject or Hangup is expected.
type Incoming struct {
	Call     *Call
	From     string       // the caller's number or user; empty when withheld or not known
	Name     string       // empty when none was given, or withheld
	Withheld bool         // the caller does not want to be known
	Offer    *sdp.Session // nil: the caller leaves the offer to us
}

// Progress: our call is on its way. Code is 180 to 199.
type Progress struct {
	Call  *Call
	Code  int
	Media *sdp.Session // early sound, as in Answered; nil: none (yet)
}

// Answered: both sides may speak. Media is what was agreed, seen from here:
// Addr is where our sound goes, the first codec is the one to use, payload
// types are those to send, Direction says whether we send and receive.
type Answered struct {
	Call  *Call
	Media sdp.Session
}

// Changed: the far end holds, resumes, moved its sound elsewhere, or has taken
// what we asked of it. Media is as in Answered.
type Changed struct {
	Call  *Call
	Media sdp.Session
}

// Unchanged: the far end did not take what Hold or Speak has asked of it, and the
// call goes on as it was. If nobody has decided, it is asked again every 10 s:
// three times, and what cannot be sent until it can. Unchanged is told of the
// first time and the last.
type Unchanged struct {
	Call  *Call
	Err   error // a sentence
	Again bool  // nobody has decided
}

// Pressed: the far end has pressed a key, 0-9, *, #, A-D, and tells of it by INFO.
type Pressed struct {
	Call *Call
	Key  byte
	For  time.Duration // how long it was held, as the far end says
}

// Moved: From did not take our call and it goes to To now; the caller need not
// notice.
type Moved struct {
	Call     *Call
	From, To outbound.Target
	Why      error
}

// MessageWaiting: the provider says whether the mailbox holds new messages.
type MessageWaiting struct {
	Line    *Line
	Waiting bool
	New     int // 0 when it does not count them
	Old     int
}

// Ended: the call is over. It is the last event of a call and comes exactly
// once, after Hangup and Reject too. Code is the SIP status that ended it, 0
// when no answer did: a BYE, our own hanging up, no proxy.
type Ended struct {
	Call   *Call
	Code   int
	Reason string
}

func (Registering) event()    {}
func (Registered) event()     {}
func (Failed) event()         {}
func (Incoming) event()       {}
func (Progress) event()       {}
func (Answered) event()       {}
func (Changed) event()        {}
func (Unchanged) event()      {}
func (Pressed) event()        {}
func (Moved) event()          {}
func (MessageWaiting) event() {}
func (Ended) event()          {}
