package phone

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// SIP statuses that a phone tells apart, RFC 3261 section 21.
const (
	notFound         = 404
	gone             = 410
	addressIncorrect = 484
	busyHere         = 486
	busyEverywhere   = 600
	nowhere          = 604
)

// idle: the receiver is on the hook and nobody calls.
func idle(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Lift:
		return p.dialtone(now)
	case Incoming:
		p.leg = ev.Leg
		p.desk.Bell(true)
		return p.be("ringing", ringing)
	}
	return idle
}

// ringing: the bell rings, the receiver is still on the hook.
func ringing(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Lift:
		p.desk.Bell(false)
		p.desk.Accept(p.leg)
		return p.talk()
	}
	return p.rung(ev, ringing)
}

// rung is what may happen to whoever the bell rings for, and to a third.
func (p *Phone) rung(ev Event, stay state) state {
	switch {
	case ev.Kind == Ended && ev.Leg == p.leg:
		return p.unrung()
	case ev.Kind == Incoming:
		p.desk.Refuse(ev.Leg, busyHere)
	}
	return stay
}

// unrung: the bell rings for nobody any more.
func (p *Phone) unrung() state {
	p.leg = 0
	p.desk.Bell(false)
	return p.be("idle", idle)
}

// dialtone: the exchange waits for the first digit.
func (p *Phone) dialtone(now time.Time) state {
	p.n = 0
	wait := firstDigit
	switch p.plan.Match(nil) {
	case Complete:
		return p.call(now)
	case Possible:
		wait = shortPause
	}
	if p.messages {
		p.desk.Hear(tone.Stutter)
	} else {
		p.desk.Hear(tone.Dial)
	}
	return p.until("dialtone", now.Add(wait), dialtone)
}

func dialtone(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Digit:
		p.desk.Hear(tone.None)
		return p.dial(now, ev.Digit)
	case Flash:
		return p.dialtone(now)
	case timeout:
		if p.plan.Match(nil) == Possible {
			return p.call(now)
		}
		return p.refused(now, 0)
	}
	return p.offHook(ev, dialtone)
}

// dialing: some digits have come, and the plan asks for more or for a pause.
func dialing(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Digit:
		return p.dial(now, ev.Digit)
	case Flash:
		return p.dialtone(now)
	case timeout:
		if p.plan.Match(p.digits[:p.n]) == Possible {
			return p.call(now)
		}
		return p.refused(now, addressIncorrect)
	}
	return p.offHook(ev, dialing)
}

// dial takes one more digit. A # that no number goes on with ends the number.
func (p *Phone) dial(now time.Time, digit byte) state {
	p.digits[p.n] = digit
	verdict := p.plan.Match(p.digits[:p.n+1])
	if verdict == Unknown && digit == '#' && p.n > 0 {
		return p.call(now)
	}
	p.n++
	switch {
	case verdict == Unknown || verdict == Refused:
		return p.refused(now, notFound)
	case verdict == Complete || p.n == MaxDigits:
		return p.call(now)
	case verdict == Possible:
		return p.until("dialing", now.Add(shortPause), dialing)
	}
	return p.until("dialing", now.Add(longPause), dialing)
}

// call sets out to reach what was dialled.
func (p *Phone) call(now time.Time) state {
	number, allowed := p.plan.Number(p.digits[:p.n])
	if !allowed {
		return p.refused(now, notFound)
	}
	p.desk.Hear(tone.None)
	if p.leg = p.desk.Call(number); p.leg == 0 {
		return p.refused(now, 0)
	}
	return p.be("calling", calling)
}

// calling: the call is on its way and nothing has come back.
func calling(p *Phone, now time.Time, ev Event) state {
	if ev.Kind == Ringing && ev.Leg == p.leg {
		return p.ring()
	}
	return p.reaching(now, ev, calling)
}

// ringback: it rings over there. The ear hears the country's ringback.
func (p *Phone) ring() state {
	p.desk.Hear(tone.Ringback)
	return p.be("ringback", ringback)
}

func ringback(p *Phone, now time.Time, ev Event) state {
	return p.reaching(now, ev, ringback)
}

// early: as ringback, but what the ear hears comes from over there: their
// ringback, an announcement.
func early(p *Phone, now time.Time, ev Event) state {
	if ev.Kind == Ringing && ev.Leg == p.leg {
		return p.ring()
	}
	p.press(ev)
	return p.reaching(now, ev, early)
}

// reaching is what may happen to every call that is not answered yet. A flash
// changes nothing: there is nobody yet to whom it could mean something.
func (p *Phone) reaching(now time.Time, ev Event, stay state) state {
	if ev.Leg == p.leg {
		switch ev.Kind {
		case Early:
			p.desk.Join(p.leg)
			return p.be("ringback", early)
		case Answered:
			return p.talk()
		case Ended:
			p.leg = 0
			return p.refused(now, ev.Code)
		}
	}
	return p.offHook(ev, stay)
}

// talking: both hear each other.
func (p *Phone) talk() state {
	p.desk.Join(p.leg)
	return p.be("talking", talking)
}

func talking(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		p.desk.Flash(p.leg)
		return talking
	case Ended:
		if ev.Leg == p.leg {
			p.leg = 0
			return p.refused(now, 0)
		}
	case Incoming:
		if !p.single && p.desk.CallWaiting(p.leg, ev.Leg) {
			p.second = ev.Leg
			return p.be("callwaiting", callwaiting)
		}
	}
	p.press(ev)
	return p.offHook(ev, talking)
}

// press is for whoever is talked to, where he does not hear the key.
func (p *Phone) press(ev Event) {
	if ev.Kind == Digit && ev.Mute {
		p.desk.Press(p.leg, ev.Digit)
	}
}

// callwaiting: as talking, and somebody else calls. A flash answers him; who
// hangs up instead is rung.
func callwaiting(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		p.desk.Hold(p.leg, true)
		p.desk.Accept(p.second)
		return p.swap()
	case Ended:
		switch ev.Leg {
		case p.second:
			p.second = 0
			return p.talk()
		case p.leg:
			p.leg, p.second = p.second, 0
			p.desk.Hear(tone.CallWaiting)
			return p.be("callwaiting", left)
		}
	case HangUp:
		p.hangUp()
		p.desk.Bell(true)
		return p.be("ringing", ringing)
	}
	p.press(ev)
	return p.offHook(ev, callwaiting)
}

// left (callwaiting): whom we talked to has gone, and the other one still calls.
func left(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		p.desk.Accept(p.leg)
		return p.talk()
	case Ended:
		if ev.Leg == p.leg {
			p.leg = 0
			return p.refused(now, 0)
		}
	case HangUp:
		p.desk.Hear(tone.None)
		p.desk.Bell(true)
		return p.be("ringing", ringing)
	}
	return p.offHook(ev, left)
}

// holding: as talking, and somebody else is on hold. A flash goes from one to
// the other. When whom we talk to hangs up the other is there again, as with
// Asterisk's chan_dahdi; when we hang up, he rings.
func (p *Phone) swap() state {
	p.leg, p.second = p.second, p.leg
	p.desk.Join(p.leg)
	return p.be("holding", holding)
}

func holding(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		p.desk.Hold(p.leg, true)
		p.desk.Hold(p.second, false)
		return p.swap()
	case Ended:
		switch ev.Leg {
		case p.second:
			p.second = 0
			return p.be("talking", talking)
		case p.leg:
			p.leg, p.second = p.second, 0
			p.desk.Hold(p.leg, false)
			return p.talk()
		}
	case HangUp:
		p.hangUp()
		p.desk.Bell(true)
		return p.until("ringing", now.Add(recallTime), recalled)
	}
	p.press(ev)
	return p.offHook(ev, holding)
}

// recalled (ringing): somebody is on hold, and the receiver was put down.
func recalled(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Lift:
		p.desk.Bell(false)
		p.desk.Hold(p.leg, false)
		return p.talk()
	case timeout:
		p.desk.Drop(p.leg)
		return p.unrung()
	}
	return p.rung(ev, recalled)
}

// refused tells the ear why there is no call: busy when they are busy,
// congestion for everything else, which is also how the end of a call sounds
// to the one who has not hung up.
func (p *Phone) refused(now time.Time, code int) state {
	why, name := tone.Congestion, "reorder"
	switch code {
	case busyHere, busyEverywhere:
		why, name = tone.Busy, "busy"
	case notFound, gone, addressIncorrect, nowhere:
		if p.sit {
			why = tone.SIT
		}
	}
	p.desk.Hear(why)
	return p.until(name, now.Add(busyTime), over)
}

// over (busy, reorder): nothing more will come of this; put the receiver down.
func over(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		return p.dialtone(now)
	case timeout:
		p.desk.Hear(tone.Howler)
		return p.until("howler", now.Add(howlerTime), howler)
	}
	return p.offHook(ev, over)
}

// howler: put the receiver down, said loudly.
func howler(p *Phone, now time.Time, ev Event) state {
	switch ev.Kind {
	case Flash:
		return p.dialtone(now)
	case timeout:
		p.desk.Hear(tone.None)
		return p.be("waiting", waiting)
	}
	return p.offHook(ev, howler)
}

// waiting: the receiver lies beside the telephone.
func waiting(p *Phone, now time.Time, ev Event) state {
	if ev.Kind == Flash {
		return p.dialtone(now)
	}
	return p.offHook(ev, waiting)
}

// offHook is what may happen whenever the receiver is lifted: it is put down,
// or somebody else calls.
func (p *Phone) offHook(ev Event, stay state) state {
	switch ev.Kind {
	case HangUp:
		p.hangUp()
		return p.be("idle", idle)
	case Incoming:
		p.desk.Refuse(ev.Leg, busyHere)
	}
	return stay
}

// hangUp ends the call, and goes on with the second if there is one.
func (p *Phone) hangUp() {
	if p.leg != 0 {
		p.desk.Drop(p.leg)
	}
	p.leg, p.second = p.second, 0
	p.desk.Hear(tone.None)
}

// be enters a situation that waits for events only.
func (p *Phone) be(name string, s state) state { return p.until(name, time.Time{}, s) }

// until enters a situation that gives up at a time.
func (p *Phone) until(name string, deadline time.Time, s state) state {
	p.name, p.deadline = name, deadline
	return s
}
