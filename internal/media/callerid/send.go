package callerid

import (
	"time"

	"github.com/ata-agent/ata-agent/internal/media/fsk"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A Line is what a Sender asks of the line beside sound: a set of the below.
type Line uint8

// What a line can be asked. To be done before the sound of the same Read is
// written.
const (
	Ring    Line = 1 << iota // the country's cadence, until the call is over or answered
	Pulse                    // half a second in a second, until Silence
	Silence                  // the bell
	Reverse                  // the polarity of the two wires
	Restore                  // the polarity
)

// A Sender tells one telephone who calls. The zero Sender is silent. It
// belongs to one goroutine, that which carries the sound, and never allocates.
//
// On hook it also leads the bell: the line rings when the Sender says so, and
// not before. If the receiver is lifted, Hook says what must be undone.
type Sender struct {
	row   *row
	steps []step
	left  int  // samples of the step to come; -1: it has not begun
	first int  // samples of the first ring
	off   bool // the hook, as the steps expect it
	sent  bool

	rings, reversed bool // the line now

	buf    [320]byte
	msg    []byte // of buf
	modem  fsk.Sender
	player tone.Player
}

const samplesMs = 8

// Call tells of a call to a telephone on the hook, which will ring with a
// cadence: alternately ringing and silent, from the start, a zero ends it (as
// hal.Cadence.Steps). A Standard of Off only rings.
func (s *Sender) Call(std Standard, m *Message, cadence [8]time.Duration) {
	s.begin(std, m, rows[std].onHook)
	s.first = firstRing(cadence)
	if len(s.steps) == 0 {
		s.steps = onlyRing
	}
}

var onlyRing = []step{{do: ring}}

// CallWaiting tells of another call during one, to a telephone off the hook.
// The sound of the call must be kept from both sides while Busy; what the
// telephone says goes to Key. It reports whether the standard can: otherwise
// there is nothing to be done but the tone.
func (s *Sender) CallWaiting(std Standard, m *Message) bool {
	s.begin(std, m, rows[std].offHook)
	s.off = true
	return len(s.steps) > 0
}

// Tell tells something without a call, as that messages wait: an idle
// telephone is woken as before a first ring, without the ring. GR-30-CORE:
// "data transmission not associated with ringing" comes unannounced.
func (s *Sender) Tell(std Standard, m *Message) bool {
	if rows[std].modem.Baud == 0 || std == Japan {
		return false
	}
	s.begin(std, m, unannounced)
	switch std {
	case ETSIRing, ETSIAlert, ETSIPulse, ETSIReversal, UK:
		s.steps = behindAlert
	}
	return true
}

var (
	unannounced = []step{{quiet, afterRing}, {do: data}}
	behindAlert = []step{{alert, alertOn}, {quiet, afterAlert}, {do: data}}
)

func (s *Sender) begin(std Standard, m *Message, steps []step) {
	s.row, s.steps, s.left = &rows[std], steps, -1
	s.off, s.sent, s.rings = false, false, false
	s.modem.Send(fsk.Burst{})
	s.player.Play(tone.Tone{})
	s.msg = m.Append(s.buf[:0], s.row.coding)
}

// Busy reports whether there are steps to come.
func (s *Sender) Busy() bool { return len(s.steps) > 0 }

// Sent reports whether the message has been sent to its end.
func (s *Sender) Sent() bool { return s.sent }

// Key tells what the telephone said in tones: D is its answer to the alert (A,
// of telephones with a large display). Other keys mean nothing.
func (s *Sender) Key(key byte) {
	if s.at(ack) && (key == 'D' || key == 'A') {
		s.next()
	}
}

// Hook tells that the receiver was lifted or put down, and returns what must
// be done about it at once. A Japanese machine lifts and puts down to be told;
// everybody else who lifts wants to talk, and the Sender is at its end. So is
// one whose Japanese telephone was lifted and stays so: it is not Busy and has
// been answered.
func (s *Sender) Hook(off bool) (l Line) {
	switch {
	case off == s.off:
		return 0
	case off && s.at(answer):
		s.next()
		s.rings, s.off = false, true
		return Silence
	case !off && s.row.coding == NTT && s.Busy():
		s.modem.Send(fsk.Burst{}) // it may have had enough
		for !s.at(hangup) {
			s.next()
		}
		s.next()
		s.off = false
		return 0
	}
	return s.Stop()
}

// Stop ends it, and returns what must be undone.
func (s *Sender) Stop() (l Line) {
	s.steps = nil
	s.modem.Send(fsk.Burst{})
	s.player.Stop()
	if s.rings {
		l |= Silence
	}
	if s.reversed {
		l |= Restore
	}
	s.rings, s.reversed = false, false
	return l
}

func (s *Sender) at(d do) bool { return len(s.steps) > 0 && s.steps[0].do == d }

func (s *Sender) next() { s.steps, s.left = s.steps[1:], -1 }

// Read fills out with the next samples, silence where nothing sounds, and
// returns what the line must do.
func (s *Sender) Read(out []int16) (l Line) {
	for len(out) > 0 {
		if len(s.steps) == 0 {
			s.player.Read(out) // what is left of a tone that was stopped
			return l
		}
		if s.left < 0 {
			l |= s.enter()
			continue
		}
		n := min(len(out), s.left)
		s.sound(out[:n])
		out = out[n:]
		if s.left -= n; s.left == 0 {
			l |= s.leave()
		}
	}
	return l
}

// enter begins the step.
func (s *Sender) enter() Line {
	x := s.steps[0]
	s.left = int(x.ms) * samplesMs
	switch x.do {
	case reverse:
		s.reversed = true
		s.next()
		return Reverse
	case ring:
		s.rings = true
		s.next()
		return Ring
	case first:
		s.left = s.first
	case pulse, answer:
		s.rings = true
		return Pulse
	case alert:
		s.player.Play(alertTone)
	case data, seize:
		if s.row.modem.Baud == 0 {
			s.left = len(s.msg) * (keyOn + keyOff) * samplesMs
			return 0
		}
		b := fsk.Burst{Modem: s.row.modem, Seizure: s.row.seizure, Mark: s.row.mark, Data: s.msg, Stop: s.row.stop, Tail: tail,
			Peak: fsk.MarkPeak, Space: fsk.SpacePeak}
		if b.Modem == fsk.V23 {
			b.Modem = fsk.V23Wide
		}
		if x.do == seize {
			b.Seizure, b.Mark = 0, markInCall
		}
		s.modem.Send(b)
		s.left = b.Samples()
	}
	if s.left == 0 {
		s.next()
	}
	return 0
}

const (
	markInCall = 80 // bits; GR-30-CORE and EN 300 659-2: "80 ± 25"
	tail       = 10 // bits of mark behind the last byte: "1 to 10", EN 300 659-1 section 6.1
)

// leave ends a step whose time is over.
func (s *Sender) leave() Line {
	x := s.steps[0].do
	s.next()
	switch x {
	case alert:
		s.player.Stop()
	case pulse, answer:
		s.rings = false
		if x == answer { // no machine: it rings for people
			s.steps = onlyRing
		}
		return Silence
	case data, seize:
		s.sent = true
	case ack: // no answer: a telephone without a display
		s.steps = nil
	case hangup: // a person, who has lifted to talk
		return s.Stop()
	}
	return 0
}

// sound makes samples of the step.
func (s *Sender) sound(out []int16) {
	switch {
	case s.modem.Sending():
		s.modem.Read(out)
		return
	case s.at(data):
		s.keys(out)
		return
	}
	s.player.Read(out)
}

// keys makes samples of keys, each on and then off.
func (s *Sender) keys(out []int16) {
	const on, cycle = keyOn * samplesMs, (keyOn + keyOff) * samplesMs
	for past := len(s.msg)*cycle - s.left; len(out) > 0; {
		n := cycle - past%cycle
		if past%cycle == 0 {
			t, _ := tone.Digit(s.msg[past/cycle])
			s.player.Play(t)
		}
		if past%cycle < on {
			n -= cycle - on
		} else if past%cycle == on {
			s.player.Stop()
		}
		n = min(n, len(out))
		s.player.Read(out[:n])
		out, past = out[n:], past+n
	}
}

// firstRing is how long the first ring of a cadence is, in samples: until its
// longest silence begins.
func firstRing(cadence [8]time.Duration) int {
	var at, longest, begins time.Duration
	for i, d := range cadence {
		if i%2 == 1 && d > longest {
			longest, begins = d, at
		}
		at += d
	}
	return int(begins * 8000 / time.Second)
}
