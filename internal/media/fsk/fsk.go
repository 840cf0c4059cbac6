// Package fsk speaks and hears the slow modems of the telephone: 1200 bits a
// second in one direction, as caller identity is sent, and the 300 of V.21, in
// which facsimile machines greet each other.
//
// Its one idea: a bit is a frequency. The Sender never sets its phase back,
// and changes frequency at the very instant a bit ends, between two samples
// where that is so. The Discriminator asks of every bit-long stretch which of
// the two frequencies fills it better; a Receiver looks for bytes in what it
// says, start bit, eight bits, stop bit.
//
//	bytes ─▶ Sender ─▶ sound ─▶ Discriminator ─▶ Receiver ─▶ bytes
//
// All sound is linear, 8000 samples a second. Everything is integer arithmetic
// and allocates nothing.
package fsk

// A Modem is a pair of frequencies and a speed.
type Modem struct {
	Mark  uint16 // Hz, of a one and of a line at rest
	Space uint16 // Hz, of a zero
	Baud  uint16 // bits a second
}

// The modems of telephones.
var (
	// V23 is ITU-T V.23 section 1, mode 2: "Fz 1300 Hz, FA 2100 Hz, 1200
	// bauds". ETSI EN 300 659-1 section 6 sends caller identity in it.
	V23 = Modem{1300, 2100, 1200}
	// Bell202 is that of Telcordia GR-30-CORE: mark 1200 Hz, space 2200 Hz,
	// 1200 bits a second.
	Bell202 = Modem{1200, 2200, 1200}
	// V21High is channel 2 of ITU-T V.21: "FZ 1650 Hz, FA 1850 Hz", 300
	// bits a second. T.30 machines signal in it.
	V21High = Modem{1650, 1850, 300}
)

// V23Wide is V23 as it is best sent. EN 300 659-1 section 6.1 permits ±1.5 % of either
// frequency; 1.3 of them push the tones apart, and the rest is left for the quartz and
// for who measures. Who hears with a filter shorter than a bit, as many telephones do, tells
// them better so.
var V23Wide = Modem{1283, 2128, 1200}

const rate = 8000 // samples a second

// DefaultPeak is the amplitude of -13.5 dBm0: 32767 * 10^((-13.5-3.14)/20).
// GR-30-CORE: "-13.5 dBm ±1 dB" where the line leaves the exchange; ETSI's and
// BT's windows at the telephone hold it too.
const DefaultPeak = 4824

// MarkPeak and SpacePeak are -13.3 and -12.7 dBm0, within the same window: as loud as
// it allows, and the higher tone louder, for what the line takes of it.
const (
	MarkPeak  = 4936
	SpacePeak = 5289
)
