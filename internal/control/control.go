// Package control lets other processes of the same user ask the running agent
// and move the receivers of simulated phones.
//
// Its one idea: a question is one line of JSON on a Unix socket and so is its
// answer. Who may open the socket (mode 0600) may ask anything; who goes away
// ends what was being done for him.
package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
)

// An Action is what a request asks for.
type Action string

// What can be asked. Those up to Probe are about the agent and its lines, the
// others about a port; all of those but Wait need one whose receiver a program
// can move.
const (
	Status Action = "status"
	Reload Action = "reload"
	Trace  Action = "trace" // the last SIP messages

	Failover Action = "failover" // of Line, or of all, to Address, or to the next
	Failback Action = "failback" // of Line, or of all
	Probe    Action = "probe"    // all proxy addresses of Line, or of all lines

	Lift   Action = "lift"
	HangUp Action = "hang-up"
	Flash  Action = "flash"
	Press  Action = "press"  // Digits, as tones
	Dial   Action = "dial"   // Digits, as pulses
	Play   Action = "play"   // Samples, into the mouthpiece
	Record Action = "record" // what the ear hears, for Time or until stopped
	Wait   Action = "wait"   // until the port is in State, at most Time

	stop Action = "stop" // ends a Record early
)

// A Request is one line from the client.
type Request struct {
	Do      Action        `json:"do"`
	Line    string        `json:"line,omitempty"`    // name of a line
	Address string        `json:"address,omitempty"` // of a proxy, "192.0.2.7:5060"
	Port    string        `json:"port,omitempty"`    // name of a port, or its number from 1
	Digits  string        `json:"digits,omitempty"`
	State   string        `json:"state,omitempty"`
	Time    time.Duration `json:"ns,omitempty"`
	Samples Sound         `json:"samples,omitempty"`
	Rate    int           `json:"rate,omitempty"` // of Samples, a second; 0 is 8000
}

// A Reply is one line to the client.
type Reply struct {
	Error string `json:"error,omitempty"` // empty when it was done
	Hint  string `json:"hint,omitempty"`  // what would work
	Wrong bool   `json:"wrong,omitempty"` // the request can never succeed, not even later

	Status  *status.Snapshot `json:"status,omitempty"`
	Samples Sound            `json:"samples,omitempty"`
	Rate    int              `json:"rate,omitempty"` // of Samples, a second
	Moved   []status.Moved   `json:"moved,omitempty"`
	Probed  []status.Probed  `json:"probed,omitempty"`
	Trace   []trace.Message  `json:"trace,omitempty"`
}

// Sound is linear samples; in JSON it is the base64 of 16 bits each, the low byte
// first.
type Sound []int16

// MarshalJSON packs the samples.
func (s Sound) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 2*len(s))
	for _, v := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return json.Marshal(b)
}

// UnmarshalJSON unpacks what MarshalJSON packs.
func (s *Sound) UnmarshalJSON(data []byte) error {
	var b []byte
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	if len(b)%2 != 0 {
		return errors.New("half a sample at the end")
	}
	*s = make(Sound, len(b)/2)
	for i := range *s {
		(*s)[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return nil
}

// The most of everything, our own choice: enough for a test, little for a
// small device.
const (
	maxClients = 8
	maxPlay    = 60 * time.Second // at 8000 samples a second, a request of 1.3 MB
	maxRecord  = 5 * time.Minute  // likewise
	maxWait    = time.Hour
	maxDigits  = 64
	maxLine    = 2 << 20               // bytes of a request: maxPlay in base64, and room
	askTime    = 10 * time.Second      // for a client to send its line or take its answer
	lookTime   = 20 * time.Millisecond // between looks at what Wait waits for
	hookTime   = 5 * time.Second       // for the agent to see what the hook did; no flash is so long
)

// What Wait can wait for: states of the phone, of its hook and of its line.
var (
	phoneStates = []string{"idle", "dialtone", "dialing", "calling", "ringback", "talking", "callwaiting", "holding", "ringing", "busy", "reorder", "howler", "waiting"}
	hookStates  = []string{"on-hook", "off-hook"}
	lineStates  = []string{string(status.Registering), string(status.Registered), string(status.Failed)}
)

// plain takes "Dial-tone" and "dial tone" for "dialtone", "dialling" for
// "dialing" and "onhook" for "on-hook".
func plain(state string) string {
	s := strings.NewReplacer(" ", "", "-", "", "_", "").Replace(strings.ToLower(state))
	switch s {
	case "dialling":
		return "dialing"
	case "onhook", "offhook":
		return s[:len(s)-len("hook")] + "-hook"
	}
	return s
}
