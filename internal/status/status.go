// Package status is what the agent knows about itself at one instant.
//
// Its one idea: a snapshot is a value, replaced whole. The operator makes one
// whenever something changed; lamps, the status command, the page and the
// metrics are all functions of it, so they cannot disagree. The package also
// says what is wrong first (Trouble) and what each lamp shows (Table).
package status

import (
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

	Ring       []Place `json:"ring"`        // in order of priority
	LastSwitch *Switch `json:"last_switch"` // null while the line never moved
	Messages   bool    `json:"messages"`    // a message waits at the provider
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
}

// A Switch is a move of a line from one proxy address to another.
type Switch struct {
	From  string    `json:"from"`
	To    string    `json:"to"`
	Cause string    `json:"cause"`
	At    time.Time `json:"at"`
	Took  Millis    `json:"took_ms"` // from the fault seen to service at To
}

// A Port is where a phone plugs in.
type Port struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`  // of backend: "sim", "dahdi"
	Hook  string `json:"hook"`  // "on" or "off"
	State string `json:"state"` // of the phone: "idle", "dialtone", ...
	Line  string `json:"line"`  // the line it calls through; empty for a port out of use
	Peer  string `json:"peer"`  // whom it talks to or is rung by; empty without a call
	Fault string `json:"fault"` // a sentence when the hardware failed; else empty
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
