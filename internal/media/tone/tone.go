// Package tone makes the sounds an exchange makes: dial tone, busy, the keys
// of a telephone. A Tone is data, a few steps of up to four frequencies each;
// a Player turns it into samples that never click.
//
// All sound is linear, 8000 samples a second, full scale ±32767. Everything
// that happens once per sample is integer arithmetic and allocates nothing.
package tone

import (
	"slices"
	"time"
)

// A Name says what a sound tells the person who hears it. The values are the
// keys of the country table.
type Name string

// The sounds of ITU-T E.180 and of the North American plan.
const (
	None         Name = ""             // silence
	Dial         Name = "dial"         // dial, please
	Stutter      Name = "stutter"      // dial, please; a message waits
	SpecialDial  Name = "special_dial" // dial, please; forwarding is on
	Recall       Name = "recall"       // dial, please; another call is held
	Ringback     Name = "ringback"     // it rings over there
	Busy         Name = "busy"         // over there they are talking
	Congestion   Name = "congestion"   // no way through (reorder, fast busy)
	Unobtainable Name = "unobtainable" // no such number
	SIT          Name = "sit"          // special information: an announcement follows
	CallWaiting  Name = "callwaiting"  // somebody else is calling you
	Confirm      Name = "confirm"      // done as you asked
	Record       Name = "record"       // this call is being recorded
	Howler       Name = "howler"       // put the receiver down
)

// DBm0 is a level relative to the digital reference of ITU-T G.711: a sine
// of full scale, peak 32767, has +3.14 dBm0 in A-law.
type DBm0 int8

// Levels a telephone can hear: what is louder is played at MaxLevel, what is
// softer is silence.
const (
	MaxLevel DBm0 = 3
	MinLevel DBm0 = -60
)

// A Step is one stretch of a tone. The zero Step is silence until stopped.
type Step struct {
	Hz   [4]uint16 // frequencies that sound together; a zero ends the list
	Gain [4]int8   // dB that each frequency is louder than the tone's Level
	AM   uint16    // Hz; not 0 modulates the amplitude of all frequencies
	Ms   uint32    // how long; 0 is until stopped
	Once bool      // left out when the tone starts again
}

// A Tone is a sequence of steps. The zero Tone is silence. A Tone shares its
// Steps with its copies: they are data, nobody changes them.
type Tone struct {
	Name  Name
	Steps []Step
	Loop  bool // from the end to the first step that is not Once
	Level DBm0 // of each frequency; 0 is the usual level of Name
}

// Silent reports whether t has nothing to play.
func (t Tone) Silent() bool { return len(t.Steps) == 0 }

// Equal reports whether t and u sound the same. It allocates nothing.
func (t Tone) Equal(u Tone) bool {
	return t.Name == u.Name && t.Loop == u.Loop && t.Level == u.Level && slices.Equal(t.Steps, u.Steps)
}

// First is how long the first signal of t lasts, until the longest of its silences
// begins; 0 for a tone without any.
func (t Tone) First() time.Duration {
	var at, first, longest uint32
	for _, s := range t.Steps {
		if s.Hz[0] == 0 && s.Ms > longest {
			longest, first = s.Ms, at
		}
		at += s.Ms
	}
	return time.Duration(first) * time.Millisecond
}

// level is what t is played at.
func (t Tone) level() DBm0 {
	if t.Level != 0 {
		return t.Level
	}
	return t.Name.Level()
}

// Level is the usual level of each frequency of a tone. The first four are
// those of the North American precise tone plan; the howler is as loud as a
// telephone can be without distortion of the sum of its four frequencies.
func (n Name) Level() DBm0 {
	switch n {
	case Dial, Stutter, SpecialDial, Recall, Confirm, CallWaiting:
		return -13
	case Ringback:
		return -19
	case Busy, Congestion, Unobtainable:
		return -24
	case SIT:
		return -14
	case Record:
		return -20
	case Howler:
		return -9
	}
	return -16
}

// Usual is the sound of a name where no country says otherwise: the North
// American one. Names without a usual sound give the zero Tone. The howler is
// Telcordia's receiver off-hook tone, for countries whose tables have none.
func Usual(n Name) Tone {
	switch n {
	case Dial, SpecialDial, Recall:
		return Tone{Name: n, Steps: usualDial[:]}
	case Stutter:
		return Tone{Name: n, Steps: usualStutter[:]}
	case Ringback:
		return Tone{Name: n, Steps: usualRingback[:], Loop: true}
	case Busy:
		return Tone{Name: n, Steps: usualBusy[:], Loop: true}
	case Congestion, Unobtainable:
		return Tone{Name: n, Steps: usualCongestion[:], Loop: true}
	case CallWaiting:
		return Tone{Name: n, Steps: usualCallWaiting[:], Loop: true}
	case Confirm:
		return Tone{Name: n, Steps: usualConfirm[:]}
	case SIT:
		return Tone{Name: n, Steps: usualSIT[:]}
	case Record:
		return Tone{Name: n, Steps: usualRecord[:], Loop: true}
	case Howler:
		return Tone{Name: n, Steps: usualHowler[:], Loop: true}
	}
	return Tone{}
}

var (
	usualDial    = [...]Step{{Hz: [4]uint16{350, 440}}}
	usualStutter = [...]Step{
		{Hz: [4]uint16{350, 440}, Ms: 100}, {Ms: 100}, {Hz: [4]uint16{350, 440}, Ms: 100}, {Ms: 100},
		{Hz: [4]uint16{350, 440}, Ms: 100}, {Ms: 100}, {Hz: [4]uint16{350, 440}},
	}
	usualRingback    = [...]Step{{Hz: [4]uint16{440, 480}, Ms: 2000}, {Ms: 4000}}
	usualBusy        = [...]Step{{Hz: [4]uint16{480, 620}, Ms: 500}, {Ms: 500}}
	usualCongestion  = [...]Step{{Hz: [4]uint16{480, 620}, Ms: 250}, {Ms: 250}}
	usualCallWaiting = [...]Step{{Hz: [4]uint16{440}, Ms: 300}, {Ms: 9700}}
	usualConfirm     = [...]Step{
		{Hz: [4]uint16{350, 440}, Ms: 100}, {Ms: 100}, {Hz: [4]uint16{350, 440}, Ms: 100}, {Ms: 100},
		{Hz: [4]uint16{350, 440}, Ms: 100},
	}
	usualSIT    = [...]Step{{Hz: [4]uint16{950}, Ms: 330}, {Hz: [4]uint16{1400}, Ms: 330}, {Hz: [4]uint16{1800}, Ms: 330}}
	usualRecord = [...]Step{{Hz: [4]uint16{1400}, Ms: 500}, {Ms: 14500}}
	usualHowler = [...]Step{{Hz: [4]uint16{1400, 2060, 2450, 2600}, Ms: 100}, {Ms: 100}}
)

// Digit is the sound of a telephone's key, 0-9, *, #, A-D, held down until
// stopped; false for any other key. It allocates nothing.
func Digit(key byte) (Tone, bool) {
	if i := Key(key); i >= 0 {
		return Tone{Steps: keys[i : i+1 : i+1], Level: DigitLevel}, true
	}
	return Tone{}, false
}

// Keys lists the keys by the numbers RFC 4733 section 3.2 gives them.
const Keys = "0123456789*#ABCD"

// Key is the number of a key, or -1.
func Key(key byte) int {
	switch {
	case key >= '0' && key <= '9':
		return int(key - '0')
	case key == '*':
		return 10
	case key == '#':
		return 11
	case key >= 'A' && key <= 'D':
		return int(key-'A') + 12
	}
	return -1
}

// Frequencies of ITU-T Q.23, rows and columns of the keypad.
var (
	Rows    = [4]uint16{697, 770, 852, 941}
	Columns = [4]uint16{1209, 1336, 1477, 1633}
)

// Pad is the keypad: Pad[row][column].
var Pad = [4][4]byte{
	{'1', '2', '3', 'A'},
	{'4', '5', '6', 'B'},
	{'7', '8', '9', 'C'},
	{'*', '0', '#', 'D'},
}

// Our choice of sending level, within what ITU-T Q.24 operators accept: the
// line weakens high tones, so the column is sent louder than the row.
const (
	DigitLevel DBm0 = -9 // of the row
	digitTwist int8 = 2  // dB, of the column above the row
)

// keys has the sound of each of Keys.
var keys = func() (k [16]Step) {
	for r := range Pad {
		for c, key := range Pad[r] {
			k[Key(key)] = Step{Hz: [4]uint16{Rows[r], Columns[c]}, Gain: [4]int8{0, digitTwist}}
		}
	}
	return k
}()
