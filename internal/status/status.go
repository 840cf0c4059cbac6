// Package status is what the agent knows about itself at one instant.
//
// Its one idea: a snapshot is a value, replaced whole. The operator makes one
// whenever something changed; lamps, the status command, the page and the
// metrics are all functions of it, so they cannot disagree. The package also
// says what is wrong first (Trouble) and what each lamp shows (Table).
package status

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// A Snapshot is the agent at one instant. Whoever has one may keep it and must
// not change what its slices hold. Its JSON is what `ata-agent status --json`
// prints: names once there are never renamed.
type Snapshot struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	At      time.Time `json:"at"` // when the snapshot was made

	Lines []Line `json:"lines"`
	Ports []Port `json:"ports"`
	Lamps []Lamp `json:"lamps"`

	Problem string `json:"problem"` // the first thing wrong, a sentence; empty when all is well
	Hint    string `json:"hint"`    // what to do about it; empty with Problem
	Kind    Kind   `json:"problem_kind"`

	Counters Counters `json:"counters"`
}

// A Line is one account.
type Line struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // since when State is what it is

	// Proxy is the address in use, "192.0.2.7:5060", empty while none is
	// known; ProxyName is the configured entry it came from.
	Proxy     string `json:"proxy"`
	ProxyName string `json:"proxy_name"`
	Backup    bool   `json:"backup"` // Proxy is not the first address of the ring
	Why       string `json:"why"`    // why Proxy is the one in use, or why State is not registered

	Ring       []Place  `json:"ring"`        // in order of priority
	LastSwitch *Switch  `json:"last_switch"` // null while the line never moved
	History    []Switch `json:"history"`     // the latest switches, newest first
	Messages   bool     `json:"messages"`    // a message waits at the provider
}

// A State is where the registration of a line stands.
type State string

// The states of a line. Every line starts as registering.
const (
	Registering State = "registering"
	Registered  State = "registered"
	Failed      State = "failed"
)

// A Place is one address of the ring with its health.
type Place struct {
	Address     string `json:"address"`
	Name        string `json:"name"` // the configured entry it came from
	State       string `json:"state"`
	RTT         Millis `json:"rtt_ms"`       // 0 while never measured
	LastFailure string `json:"last_failure"` // empty while none is known

	LastFailureAt time.Time `json:"last_failure_at,omitzero"`
	LastGood      time.Time `json:"last_good,omitzero"`  // its last good answer
	Failures      int       `json:"failures"`            // since then
	Loss          float64   `json:"loss"`                // the part of questions that get no answer though it lives, 0 to 1
	Quarantine    time.Time `json:"quarantine,omitzero"` // until then others are tried first
}

// A Switch is a move of a line from one proxy address to another.
type Switch struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Cause   string    `json:"cause"`
	Detail  string    `json:"detail"` // the cause and all that the network said of it
	At      time.Time `json:"at"`
	Took    Millis    `json:"took_ms"` // from the fault seen to service at To; 0 while it is under way
	Tries   int       `json:"tries"`   // addresses tried until then, To included
	Noticed string    `json:"noticed"` // what the user noticed; empty when nothing is known of that
}

// Why is all that is known of the cause.
func (s *Switch) Why() string {
	if s.Detail != "" {
		return s.Detail
	}
	return s.Cause
}

// A Moved is what came of an order to move a line.
type Moved struct {
	Line  string `json:"line"`
	From  string `json:"from"`
	To    string `json:"to"` // empty when the order could not be followed
	State State  `json:"state"`
	Took  Millis `json:"took_ms"`
	Error string `json:"error,omitempty"` // why not, a sentence
}

// A Probed is what came of asking one proxy address whether it lives.
type Probed struct {
	Line    string `json:"line"`
	Address string `json:"address"`
	Name    string `json:"name"` // the configured entry it came from
	Use     bool   `json:"in_use"`
	Code    int    `json:"code"` // SIP status of the answer; 0 for none
	RTT     Millis `json:"rtt_ms"`
	Error   string `json:"error,omitempty"` // why it counts for nothing
}

// A Port is where a phone plugs in.
type Port struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // of backend: "sim", "dahdi"
	Hook   string `json:"hook"`   // "on" or "off"
	State  string `json:"state"`  // of the phone: "idle", "dialtone", ...
	Line   string `json:"line"`   // the line it calls through; empty for a port out of use
	Peer   string `json:"peer"`   // whom it talks to or is rung by; empty without a call
	Second string `json:"second"` // who is on hold meanwhile ("holding"), or calls ("callwaiting"); empty without a second call
	Fault  string `json:"fault"`  // a sentence when the hardware failed; else empty
	Sound  *Sound `json:"sound"`  // of the call it has, or had last; null before the first
}

// A Sound is how the sound of a call went, in packets of RTP. What is said of
// quality is an estimate.
type Sound struct {
	Peer      string    `json:"peer"`     // whom the call was with
	Answered  time.Time `json:"answered"` // when
	Lasted    Millis    `json:"lasted_ms"`
	Sent      uint64    `json:"sent"`
	Received  uint64    `json:"received"`
	Lost      int64     `json:"lost"`      // of those sent to us
	Late      uint64    `json:"late"`      // not heard either
	FarLost   float64   `json:"far_loss"`  // the part of ours that the far end missed lately, as it says
	Jitter    Millis    `json:"jitter_ms"` // of those received
	RTT       Millis    `json:"rtt_ms"`    // to the far end and back; 0 while unknown
	Source    string    `json:"source"`    // where the far end's sound came from; empty while none came
	Strangers uint64    `json:"strangers"` // packets from elsewhere
	Garbage   uint64    `json:"garbage"`   // what is no RTP, or not sealed with the far end's key
	Unwanted  uint64    `json:"unwanted"`  // packets of a payload type nobody agreed on, or on hold
	Codec     string    `json:"codec"`     // of what came last; empty while nothing came
	Loss      float64   `json:"loss"`      // the part of those sent to us that was not heard, lost or late
	Delay     Millis    `json:"delay_ms"`  // from the far mouth to our ear; without the way while RTT is unknown
	MOS       float64   `json:"mos"`       // ITU-T G.107, 1 to 4.5; 0 while nothing came
	FarMOS    float64   `json:"far_mos"`   // of ours, as the far end says; 0 while it has not
	Data      bool      `json:"data"`      // a fax or a modem was heard
	SRTP      bool      `json:"srtp"`      // it was sealed
}

// When sound is bad enough to speak of. Our choice: a call shorter than this
// proves nothing, and of G.711 with what is lost concealed a person begins to
// complain around one packet in twenty.
const (
	longEnough = 3 * time.Second
	muchLoss   = 0.05
)

// Complaint says what was wrong with the sound, or "". A nil Sound had none.
func (s *Sound) Complaint() string {
	switch {
	case s == nil || time.Duration(s.Lasted) < longEnough:
		return ""
	case s.Received == 0 && s.Sent > 0 && s.Strangers > 0:
		return "no sound came from where it was announced, but some from elsewhere"
	case s.Received == 0 && s.Sent > 0 && s.Garbage > 0:
		return "what came could not be read as sound"
	case s.Received == 0 && s.Sent > 0:
		return "no sound came"
	case s.Loss >= muchLoss:
		return fmt.Sprintf("%.0f %% of the sound did not come in time", 100*s.Loss)
	case s.FarLost >= muchLoss:
		return fmt.Sprintf("%.0f %% of our sound did not arrive", 100*s.FarLost)
	}
	return ""
}

// Quality says in a few words how good the sound was, or "" when none came.
func (s *Sound) Quality() string {
	if s == nil || s.MOS == 0 {
		return ""
	}
	what := ""
	if s.SRTP {
		what = "SRTP, "
	}
	if s.Data {
		what += "fax or modem, "
	}
	return fmt.Sprintf("%sMOS %.1f, %v %% lost, jitter %d ms, delay %d ms",
		what, s.MOS, math.Round(1000*s.Loss)/10, time.Duration(s.Jitter).Milliseconds(), time.Duration(s.Delay).Milliseconds())
}

// A Lamp is one light and what it shows.
type Lamp struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern"` // "off", "solid", "slow", ...
	Meaning string `json:"meaning"`

	Steps Pattern `json:"-"` // the pattern itself
}

// Counters count since the start.
type Counters struct {
	CallsOut int `json:"calls_out"`
	CallsIn  int `json:"calls_in"`
	Answered int `json:"answered"`
	Refused  int `json:"refused"` // calls in that no phone could take
	Switches int `json:"switches"`

	Dropped map[string]uint64 `json:"dropped"` // datagrams not let in, by reason
}

// Millis is a length of time that JSON shows as milliseconds, to the
// microsecond.
type Millis time.Duration

// MarshalJSON prints d as a number of milliseconds.
func (d Millis) MarshalJSON() ([]byte, error) {
	us := int64(d) / 1000
	return strconv.AppendFloat(nil, float64(us)/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads what MarshalJSON prints.
func (d *Millis) UnmarshalJSON(b []byte) error {
	ms, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return err
	}
	*d = Millis(ms * float64(time.Millisecond))
	return nil
}
