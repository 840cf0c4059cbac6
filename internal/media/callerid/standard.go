package callerid

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ata-agent/ata-agent/internal/media/fsk"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// A Standard is how a country's exchanges tell a telephone who is calling.
type Standard uint8

// Standards. The zero Standard tells nothing.
const (
	Off          Standard = iota
	Bellcore              // Telcordia GR-30-CORE: Bell 202 after the first ring, several parameters
	BellcoreSDMF          // the same, number and time only, for old telephones
	ETSIRing              // EN 300 659-1: V.23 after the first ring
	ETSIAlert             // V.23 before the first ring, behind a dual tone
	ETSIPulse             // V.23 before the first ring, behind a short ring
	ETSIReversal          // V.23 before the first ring, behind a reversal and a dual tone
	UK                    // BT SIN 227: the same with BT's times
	Japan                 // NTT: reversal, ring until a machine answers, V.23, the machine hangs up
	DTMF                  // A number C, before the first ring, unannounced
	DTMFReversal          // the same behind a reversal
	DTMFFinal             // number #, behind a reversal
	DTMFLeading           // D number C, before the first ring
)

// do is one kind of step.
type do uint8

const (
	quiet   do = iota // silence for ms
	reverse           // polarity, and goes on at once
	ring              // the country's cadence begins, and goes on at once
	first             // waits until the first ring of the cadence is over
	pulse             // rings for ms
	alert             // 2130 and 2750 Hz for ms
	data              // the message in the modem, or in keys
	seize             // the same without a seizure, off hook
	ack               // waits up to ms for the telephone to say D
	answer            // rings half a second in a second until a machine lifts, up to ms
	hangup            // waits up to ms for it to put down
)

type step struct {
	do do
	ms uint16
}

// A row is one standard.
type row struct {
	name          string
	coding        Coding
	modem         fsk.Modem
	seizure, mark uint16 // bits, on hook
	stop          uint8  // stop bits of a byte
	onHook        []step
	offHook       []step
}

// Times of the standards, in ms. Where one gives a window its middle is taken,
// or what exchanges are known to do within it.
const (
	// GR-30-CORE: data "at least 500 ms after the first ring and 200 ms
	// before the second"; EN 300 659-1 section 6.2.1 asks 500 to 2000.
	afterRing = 500
	// EN 300 659-1 section 6.2.2, SIN 227 section 4: "at least 200 ms" from
	// the end of data to the first ring, at most 500. BT asks for 200 too;
	// exchanges there leave 400 (IES-1248's table).
	beforeRing   = 300
	beforeRingUK = 400
	// DT-AS: 100±10 ms on hook (EN 300 659-1 section 6.2.2.1; SIN 227: "88
	// to 110 ms"), 80±5 ms off hook (EN 300 659-2, GR-30-CORE).
	alertOn, alertOff = 100, 80
	// Silence behind it, 45 to 500 ms; BT's exchanges leave 150.
	afterAlert, afterAlertUK = 250, 150
	// From a reversal to DT-AS, at least 100 ms; BT's exchanges leave 300.
	afterReversal = 300
	// RP-AS: 200 to 300 ms, then 500 to 800 ms of silence.
	ringPulse, afterPulse = 250, 650
	// The telephone answers DT-AS with a D of 55 to 65 ms within 100 ms of
	// its end, and the exchange waits 160 ms for it. To hear one takes 31
	// ms, up to two windows of the detector and a frame: 30 more.
	ackWithin = 190
	// Data follows 50 to 500 ms behind the telephone's D. It may sound for
	// another 35 ms when it has been heard.
	afterAck = 120

	// DTMF codings have no common time: from the reversal to the first key,
	// and from the last key to the ring. Ours; Danish and Dutch telephones
	// ask for at least 100 and 200.
	beforeKeys, afterKeys = 300, 400
	keyOn, keyOff         = 70, 70

	// Japan. A machine lifts during one of its first rings; NTT waits 6 s
	// and then rings as usual, and waits 7 s for it to put down. The two
	// silences are ours.
	answerWithin, hangupWithin = 6000, 7000
	afterLift, afterPutDown    = 250, 500
)

var (
	afterFirst = []step{{do: ring}, {do: first}, {quiet, afterRing}, {do: data}}
	keysOnly   = []step{{quiet, beforeKeys}, {do: data}, {quiet, afterKeys}, {do: ring}}
	keysBehind = []step{{do: reverse}, {quiet, beforeKeys}, {do: data}, {quiet, afterKeys}, {do: ring}}
	inCall     = []step{{alert, alertOff}, {ack, ackWithin}, {quiet, afterAck}, {do: seize}}
)

// rows has a row for each Standard. Seizure and mark: GR-30-CORE 300 and 180
// bits; EN 300 659-1 section 6.1 "96 to 315" and "180 ± 25 bits" or "55 to
// 205"; SIN 227 "96 to 315" and "55 to 205", of which 80 suits all. Japan has
// no seizure, at least 72 ones and two or more stop bits.
var rows = [...]row{
	Off:          {name: "off"},
	Bellcore:     {"bellcore", MDMF, fsk.Bell202, 300, 180, 1, afterFirst, inCall},
	BellcoreSDMF: {"bellcore-single", SDMF, fsk.Bell202, 300, 180, 1, afterFirst, inCall},
	ETSIRing:     {"etsi", ETSI, fsk.V23, 300, 180, 1, afterFirst, inCall},
	ETSIAlert: {"etsi-alert", ETSI, fsk.V23, 300, 180, 1, []step{
		{alert, alertOn}, {quiet, afterAlert}, {do: data}, {quiet, beforeRing}, {do: ring}}, inCall},
	ETSIPulse: {"etsi-pulse", ETSI, fsk.V23, 300, 180, 1, []step{
		{pulse, ringPulse}, {quiet, afterPulse}, {do: data}, {quiet, beforeRing}, {do: ring}}, inCall},
	ETSIReversal: {"etsi-reversal", ETSI, fsk.V23, 300, 180, 1, []step{
		{do: reverse}, {quiet, afterReversal}, {alert, alertOn}, {quiet, afterAlert}, {do: data}, {quiet, beforeRing}, {do: ring}}, inCall},
	UK: {"uk", ETSI, fsk.V23, 300, 80, 1, []step{
		{do: reverse}, {quiet, afterReversal}, {alert, alertOn}, {quiet, afterAlertUK}, {do: data}, {quiet, beforeRingUK}, {do: ring}}, inCall},
	Japan: {"japan", NTT, fsk.V23, 0, 75, 4, []step{
		{do: reverse}, {quiet, afterReversal}, {answer, answerWithin}, {quiet, afterLift}, {do: data}, {hangup, hangupWithin}, {quiet, afterPutDown}, {do: ring}}, nil},
	DTMF:         {name: "dtmf", coding: DTMFABC, onHook: keysOnly},
	DTMFReversal: {name: "dtmf-reversal", coding: DTMFABC, onHook: keysBehind},
	DTMFFinal:    {name: "dtmf-hash", coding: DTMFHash, onHook: keysBehind},
	DTMFLeading:  {name: "dtmf-d", coding: DTMFD, onHook: keysOnly},
}

// alertTone is DT-AS, the CAS of GR-30-CORE: "2130 and 2750 Hz ±0.5 %, -15 dBm
// per tone".
var alertTone = tone.Tone{Level: -15, Steps: []tone.Step{{Hz: [4]uint16{2130, 2750}}}}

func (s Standard) String() string { return rows[s].name }

// Coding is how s writes a message.
func (s Standard) Coding() Coding { return rows[s].coding }

// Modem is what s sends in; the zero Modem is keys.
func (s Standard) Modem() fsk.Modem { return rows[s].modem }

// Reverses reports whether s exchanges the wires of a line on the hook.
func (s Standard) Reverses() bool {
	return slices.ContainsFunc(rows[s].onHook, func(x step) bool { return x.do == reverse })
}

// Names lists the standards as configuration calls them.
func Names() (names []string) {
	for i := range rows {
		names = append(names, rows[i].name)
	}
	return names
}

// ParseStandard returns the standard of a name. The error lists the names there are.
func ParseStandard(name string) (Standard, error) {
	for i := range rows {
		if strings.EqualFold(rows[i].name, name) {
			return Standard(i), nil
		}
	}
	return Off, fmt.Errorf("caller ID standard %q is not known: want one of %s", name, strings.Join(Names(), " "))
}
