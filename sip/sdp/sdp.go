// Package sdp says what a session is for a telephone: one audio stream, where
// its sound goes, in which codecs, and who may speak.
//
// Its one idea: everything a telephone needs of SDP fits one small value. An
// offer is such a value, an answer is made of two ([Answer]), and what was
// agreed is one again ([Agree]). The rules are RFC 3264's; the grammar is
// pion/sdp's, behind a sieve that keeps what it would choke on away from it.
package sdp

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	pion "github.com/pion/sdp/v3"
)

// A Session is one side's view of a call's sound.
type Session struct {
	// Addr is where this side wants to hear. An unspecified address
	// (0.0.0.0) is the old way to hold, RFC 3264 section 8.4; port 0 is a
	// refused or ended stream.
	Addr netip.AddrPort

	Codecs    []Codec       // best first
	Events    uint8         // payload type of telephone-event, RFC 4733; 0 is none
	Flash     bool          // this side takes a hook flash as an event too, beside the keys
	Ptime     time.Duration // sound per packet that this side wants; 0 is unsaid
	MaxPtime  time.Duration // the most that it takes; 0 is unsaid
	Direction Direction
	Crypto    Crypto // with which this side seals what it sends; the zero Crypto: RTP in the clear
	Metrics   bool   // this side wants VoIP metrics by RTCP, RFC 3611 section 5; said, but not read

	// ID and Version are those of the o= line. Version grows by one with
	// each change (RFC 3264 section 8); the same version means the same session.
	ID, Version uint64

	// lines are the m= lines of a parsed body, in order, so that an answer
	// can refuse each that is not ours. Nil means one audio line.
	lines []mline

	// sealed is the other stream of a body that offers the sound in the clear and
	// sealed as well.
	sealed *Session
}

// as is the stream of a body that is sealed, or the one in the clear, where it
// has the choice.
func (s Session) as(sealed bool) Session {
	if sealed && s.sealed != nil {
		return *s.sealed
	}
	return s
}

// A Codec is one way to carry sound.
type Codec struct {
	PT   uint8
	Name string // upper case: PCMU, PCMA
	Rate int    // of the RTP clock, in a second
}

type mline struct {
	media, proto, formats string
	ours                  bool
}

// The codecs every telephone has, RFC 3551 section 6, and some that others have.
// G.722 says 8000 although its sound has 16000 samples, section 4.5.2; those of
// G.726 at 32 kbit/s have payload types of our own choice and differ in which
// half of a byte comes first, section 4.5.4.
var (
	PCMU     = Codec{0, "PCMU", 8000}
	PCMA     = Codec{8, "PCMA", 8000}
	G722     = Codec{9, "G722", 8000}
	G726     = Codec{97, "G726-32", 8000}
	G726AAL2 = Codec{98, "AAL2-G726-32", 8000}
)

// static are the payload types that need no rtpmap, RFC 3551 table 4. Those
// that nobody offers any more are left out: they would only be refused.
var static = map[uint8]Codec{0: PCMU, 3: {3, "GSM", 8000}, 4: {4, "G723", 8000}, 8: PCMA, 9: G722, 18: {18, "G729", 8000}}

// A Direction tells who may speak, RFC 3264 section 5.1. The zero Direction
// is both, which is also what silence about it means.
type Direction uint8

// The four directions, from the view of the side that says it.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

var directionName = [...]string{SendRecv: "sendrecv", SendOnly: "sendonly", RecvOnly: "recvonly", Inactive: "inactive"}

func (d Direction) String() string { return directionName[d] }

// Sends reports whether the side that says it speaks.
func (d Direction) Sends() bool { return d == SendRecv || d == SendOnly }

// Receives reports whether the side that says it listens.
func (d Direction) Receives() bool { return d == SendRecv || d == RecvOnly }

func direction(sends, receives bool) Direction {
	switch {
	case sends && receives:
		return SendRecv
	case sends:
		return SendOnly
	case receives:
		return RecvOnly
	}
	return Inactive
}

// Holds reports whether the side with this session does not want to hear us,
// in either style: a=sendonly or a=inactive, or the address 0.0.0.0.
func (s Session) Holds() bool {
	return !s.Direction.Receives() || s.Addr.Addr().IsUnspecified()
}

// Speaks reports whether a session has a stream, in the clear or sealed, with a
// codec of these.
func (s Session) Speaks(codecs []Codec) bool {
	if s.sealed != nil && s.sealed.Speaks(codecs) {
		return true
	}
	mine, _ := common(Session{Codecs: codecs}, s)
	return len(mine) > 0 && s.Addr.Port() != 0
}

// ErrNothingInCommon asks for a 488: no audio stream with a codec both have.
var ErrNothingInCommon = errors.New("no audio codec in common")

// Answer makes our answer to an offer, RFC 3264 section 6. local is what we
// would offer ourselves: our address, codecs and event type.
func Answer(local, offer Session) (Session, error) {
	offer = offer.as(local.Crypto.On())
	a := local
	a.lines = offer.lines
	a.Crypto.Tag = offer.Crypto.Tag
	a.Codecs, a.Events = common(local, offer)
	a.Flash = local.Flash && a.Events != 0
	if len(a.Codecs) == 0 || offer.Addr.Port() == 0 || offer.Crypto.On() != local.Crypto.On() {
		return a, ErrNothingInCommon
	}
	a.Direction = mirror(local, offer)
	if offer.Ptime != 0 {
		a.Ptime = offer.Ptime
	}
	if local.MaxPtime != 0 {
		a.Ptime = min(a.Ptime, local.MaxPtime)
	}
	return a, nil
}

// Agree returns what holds after an offer and an answer, seen from our side:
// Addr, payload types and Ptime are what the far end wants to get, Crypto is
// what it seals its sound with, Direction is ours. It does not matter which of
// the two was the offer.
func Agree(local, remote Session) (Session, error) {
	remote = remote.as(local.Crypto.On())
	m := Session{Addr: remote.Addr, Crypto: remote.Crypto, Ptime: remote.Ptime, MaxPtime: remote.MaxPtime, ID: remote.ID, Version: remote.Version}
	m.Codecs, m.Events = common(local, remote)
	m.Flash = local.Flash && remote.Flash && m.Events != 0
	if len(m.Codecs) == 0 || remote.Addr.Port() == 0 || remote.Crypto.On() != local.Crypto.On() {
		return m, ErrNothingInCommon
	}
	m.Direction = mirror(local, remote)
	return m, nil
}

// common lists what both have, in the order and with the payload types of
// remote. RFC 3264 section 6.1: "it is RECOMMENDED that unless there is a
// specific reason, the answerer list formats in the same relative order they
// were present in the offer".
func common(local, remote Session) (codecs []Codec, events uint8) {
	for _, r := range remote.Codecs {
		for _, l := range local.Codecs {
			if l.Name == r.Name && l.Rate == r.Rate {
				codecs = append(codecs, r)
				break
			}
		}
	}
	if local.Events != 0 {
		events = remote.Events
	}
	return codecs, events
}

// mirror is our direction, given what the far end says of its own.
func mirror(local, remote Session) Direction {
	return direction(
		local.Direction.Sends() && !remote.Holds(),
		local.Direction.Receives() && remote.Direction.Sends())
}

// Limits of what is read. A telephone's offer has one or two media and a
// dozen formats; what is far beyond is not a telephone's.
const (
	maxBody  = 16 << 10
	maxLines = 16 // m= lines
	minPtime = 10 * time.Millisecond
	maxPtime = 200 * time.Millisecond
)

// Parse reads a body. It finds the first audio stream over plain RTP that is
// not refused; a body without one has port 0 and is refused by [Answer].
func Parse(body []byte) (Session, error) {
	var s Session
	if len(body) > maxBody {
		return s, errors.New("sdp: longer than 16 KiB")
	}
	sieved, lines, err := sieve(string(body))
	if err != nil {
		return s, err
	}
	var d pion.SessionDescription
	if err := d.UnmarshalString(sieved.text); err != nil {
		return s, err
	}
	s.ID, s.Version, s.lines = sieved.id, sieved.version, lines

	plain, sealed := find(&d, lines, "RTP/AVP"), find(&d, lines, "RTP/SAVP")
	if plain < 0 && sealed < 0 {
		return s, nil
	}
	if sealed >= 0 && (plain < 0 || d.MediaDescriptions[sealed].MediaName.Port.Value != 0) {
		other := s
		other.lines = slices.Clone(lines)
		other.lines[sealed].ours = true
		if err := other.read(&d, d.MediaDescriptions[sealed]); err != nil {
			return s, err
		}
		if !other.Crypto.On() {
			other.Codecs = nil // sealed in a way that is not spoken here
		}
		if plain < 0 || d.MediaDescriptions[plain].MediaName.Port.Value == 0 {
			return other, nil
		}
		s.sealed = &other
	}
	lines[plain].ours = true
	if err := s.read(&d, d.MediaDescriptions[plain]); err != nil {
		return s, err
	}
	s.Crypto = Crypto{} // a key for RTP in the clear is a wish that RFC 4568 does not know
	return s, nil
}

// find is the first audio stream of a protocol that is not refused, else the
// first; -1 if there is none.
func find(d *pion.SessionDescription, lines []mline, proto string) int {
	pick := -1
	for i, l := range lines {
		if l.media == "audio" && strings.EqualFold(l.proto, proto) {
			if d.MediaDescriptions[i].MediaName.Port.Value != 0 {
				return i
			}
			if pick < 0 {
				pick = i
			}
		}
	}
	return pick
}

// read takes what concerns us from one media description.
func (s *Session) read(d *pion.SessionDescription, m *pion.MediaDescription) error {
	port := uint16(m.MediaName.Port.Value)
	c := m.ConnectionInformation
	if c == nil {
		c = d.ConnectionInformation
	}
	var ip netip.Addr
	if c != nil && c.Address != nil {
		host, _, _ := strings.Cut(c.Address.Address, "/")
		var err error
		if ip, err = netip.ParseAddr(host); err != nil || ip.IsMulticast() {
			return errors.New("sdp: c= holds no unicast IP address")
		}
		ip = ip.WithZone("")
	}
	if port != 0 && !ip.IsValid() {
		return errors.New("sdp: no c= line")
	}
	if ip.IsValid() {
		s.Addr = netip.AddrPortFrom(ip, port)
	}

	maps := map[uint8]Codec{}
	var flash [128]bool // by payload type
	for _, a := range append(d.Attributes[:len(d.Attributes):len(d.Attributes)], m.Attributes...) {
		switch a.Key {
		case "rtpmap":
			if c, ok := rtpmap(a.Value); ok {
				maps[c.PT] = c
			}
		case "fmtp":
			pt, events, _ := strings.Cut(a.Value, " ")
			if n, err := strconv.ParseUint(pt, 10, 7); err == nil {
				flash[n] = lists(events, hookFlash)
			}
		case "crypto":
			if c, ok := crypto(a.Value); ok && !s.Crypto.On() {
				s.Crypto = c
			}
		case "ptime":
			s.Ptime = milliseconds(a.Value)
		case "maxptime":
			s.MaxPtime = milliseconds(a.Value)
		case "sendrecv", "sendonly", "recvonly", "inactive":
			for i, name := range directionName {
				if a.Key == name {
					s.Direction = Direction(i)
				}
			}
		}
	}
	for _, f := range m.MediaName.Formats {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil || n > 127 {
			continue
		}
		c, ok := maps[uint8(n)]
		if !ok {
			c, ok = static[uint8(n)]
		}
		switch {
		case !ok:
		case c.Name == "TELEPHONE-EVENT":
			if c.Rate == 8000 && s.Events == 0 {
				s.Events, s.Flash = c.PT, flash[c.PT]
			}
		default:
			s.Codecs = append(s.Codecs, c)
		}
	}
	return nil
}

// hookFlash is the event of a flash, RFC 2833 section 3.10; RFC 4733 kept it.
const hookFlash = 16

// lists reports whether an event is in a list like "0-15,66,70", RFC 4733
// section 2.4.1.
func lists(events string, event int) bool {
	for part := range strings.SplitSeq(events, ",") {
		first, last, span := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.Atoi(first)
		high, wrong := low, error(nil)
		if span {
			high, wrong = strconv.Atoi(last)
		}
		if err == nil && wrong == nil && low <= event && event <= high {
			return true
		}
	}
	return false
}

// rtpmap reads "101 telephone-event/8000/1", RFC 8866 section 6.6.
func rtpmap(v string) (Codec, bool) {
	f := strings.Fields(v)
	if len(f) < 2 {
		return Codec{}, false
	}
	pt, err := strconv.ParseUint(f[0], 10, 7)
	if err != nil {
		return Codec{}, false
	}
	name, rest, _ := strings.Cut(f[1], "/")
	rate, channels, _ := strings.Cut(rest, "/")
	n, err := strconv.Atoi(rate)
	if err != nil || n <= 0 || n > 192000 || channels != "" && channels != "1" {
		return Codec{}, false
	}
	return Codec{uint8(pt), strings.ToUpper(name), n}, true
}

// milliseconds reads a=ptime and a=maxptime; what no telephone would say is
// as if unsaid.
func milliseconds(v string) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(v), 32)
	if err != nil || !(n >= 0 && n <= 1000) {
		return 0
	}
	d := time.Duration(n) * time.Millisecond
	if d < minPtime || d > maxPtime {
		return 0
	}
	return d
}

// Marshal writes the session as a body.
func (s Session) Marshal() []byte {
	kind := "IP4"
	ip := s.Addr.Addr()
	if !ip.IsValid() {
		ip = netip.IPv4Unspecified()
	}
	if ip = ip.Unmap(); ip.Is6() {
		kind = "IP6"
	}
	d := pion.SessionDescription{
		Origin: pion.Origin{Username: "-", SessionID: s.ID, SessionVersion: s.Version,
			NetworkType: "IN", AddressType: kind, UnicastAddress: ip.String()},
		SessionName:           "-",
		ConnectionInformation: &pion.ConnectionInformation{NetworkType: "IN", AddressType: kind, Address: &pion.Address{Address: ip.String()}},
		TimeDescriptions:      []pion.TimeDescription{{}},
	}
	lines := s.lines
	if lines == nil {
		lines = []mline{{ours: true}}
	}
	for _, l := range lines {
		if l.ours {
			d.MediaDescriptions = append(d.MediaDescriptions, s.audio())
			continue
		}
		// RFC 3264 section 6: "To reject an offered stream, the port number in
		// the corresponding stream in the answer MUST be set to zero."
		d.MediaDescriptions = append(d.MediaDescriptions, &pion.MediaDescription{MediaName: pion.MediaName{
			Media: l.media, Protos: []string{l.proto}, Formats: []string{l.formats}}})
	}
	body, err := d.Marshal()
	if err != nil {
		panic(err) // pion's Marshal has no way to fail
	}
	return body
}

func (s Session) audio() *pion.MediaDescription {
	m := &pion.MediaDescription{MediaName: pion.MediaName{
		Media: "audio", Port: pion.RangedPort{Value: int(s.Addr.Port())}, Protos: []string{"RTP", "AVP"}}}
	if s.Crypto.On() {
		m.MediaName.Protos[1] = "SAVP"
	}
	add := func(key, value string) { m.Attributes = append(m.Attributes, pion.Attribute{Key: key, Value: value}) }
	for _, c := range s.Codecs {
		pt := strconv.Itoa(int(c.PT))
		m.MediaName.Formats = append(m.MediaName.Formats, pt)
		add("rtpmap", pt+" "+c.Name+"/"+strconv.Itoa(c.Rate))
	}
	if s.Events != 0 {
		pt := strconv.Itoa(int(s.Events))
		m.MediaName.Formats = append(m.MediaName.Formats, pt)
		add("rtpmap", pt+" telephone-event/8000")
		// RFC 4733 section 2.4.1: digits, * and #, A to D.
		events := " 0-15"
		if s.Flash {
			events = " 0-" + strconv.Itoa(hookFlash)
		}
		add("fmtp", pt+events)
	}
	if s.Crypto.On() {
		add("crypto", s.Crypto.attribute())
	}
	if len(m.MediaName.Formats) == 0 {
		m.MediaName.Formats = []string{"0"} // the grammar wants one
	}
	if s.Ptime != 0 {
		add("ptime", strconv.FormatInt(s.Ptime.Milliseconds(), 10))
	}
	if s.MaxPtime != 0 {
		add("maxptime", strconv.FormatInt(s.MaxPtime.Milliseconds(), 10))
	}
	if s.Metrics {
		add("rtcp-xr", "voip-metrics")
	}
	add(s.Direction.String(), "")
	return m
}
