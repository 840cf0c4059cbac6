// Package callerid tells a telephone who is calling, before it is answered or
// during another call.
//
// Its one idea: every standard is a row of a table, steps of what the line does
// (ring, reverse, alert, data) and the words in which the data is put. A Sender
// walks through the steps, counting samples; sound it makes itself, for what
// else the line must do it asks. A Receiver is the telephone: it hears what a
// Sender says and is how the tests know that it is right.
//
//	Message ─▶ Coding ─▶ Sender ─▶ sound, bell, polarity ─▶ Receiver ─▶ Message
//
// Everything is integer arithmetic; a Sender allocates nothing.
package callerid

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Message is what a telephone is told. The zero Message is a call of which
// nothing is known.
type Message struct {
	At       time.Time // when, in the telephone's zone; zero is not told
	Number   string    // digits, *, #, a + before an international one; "" is not told
	Name     string    // what can be written in ASCII is told, accents are lost
	NoNumber Reason    // why there is no Number; 0 is Unavailable
	NoName   Reason    // why there is no Name; 0 is not told

	// Waiting makes it a message about messages, which replaces all of the
	// above but At: the lamp of the telephone is lit, or put out when
	// Messages is 0.
	Waiting  bool
	Messages uint8 // how many wait; 255 is some
}

// A Reason is why something is not told: the letters of GR-30-CORE and of EN
// 300 659-3 section 5.4.4.
type Reason byte

// Reasons.
const (
	Private     Reason = 'P' // the caller does not want it
	Unavailable Reason = 'O' // out of area: the network does not know it
)

// A Coding is how a Message is written down.
type Coding uint8

// Codings. The DTMF ones are told apart by what stands around the number.
const (
	MDMF     Coding = iota // multiple data message format, Telcordia GR-30-CORE
	SDMF                   // single data message format of the same: no name
	ETSI                   // EN 300 659-3: MDMF with longer names and the number of messages
	NTT                    // Japan: seven bits and parity, framed, with a CRC
	DTMFABC                // A number C, or B reason C
	DTMFHash               // number #, or D reason #
	DTMFD                  // D number C
)

// Types and parameters of messages: GR-30-CORE and EN 300 659-3 sections 5.2
// and 5.4, which give the same numbers where both have the thing.
const (
	typeSDMF        = 0x04
	typeSDMFWaiting = 0x06
	typeMDMF        = 0x80
	typeMDMFWaiting = 0x82
	typeNTT         = 0x40

	paramTime     = 0x01 // MMDDHHMM
	paramNumber   = 0x02
	paramNoNumber = 0x04
	paramName     = 0x07
	paramNoName   = 0x08
	paramLamp     = 0x0B // 0xFF lit, 0 dark
	paramMessages = 0x13 // EN 300 659-3: number of messages
	paramPlan     = 0x21 // NTT: kind of number and numbering plan

	dle, soh, stx, etx = 0x10, 0x01, 0x02, 0x03
)

// Lengths, of the same places. NTT's is that of its forerunners.
const (
	numberMax   = 20
	nameMaxBell = 15
	nameMaxETSI = 50
)

// Append writes m in coding c behind dst: all bytes with their check, or keys
// in the case of DTMF.
func (m *Message) Append(dst []byte, c Coding) []byte {
	start := len(dst)
	number, name, reason := m.parts()
	switch c {
	case DTMFABC, DTMFHash, DTMFD:
		return m.keys(dst, c, number, reason)
	case NTT:
		return m.ntt(dst, number, reason)
	case SDMF:
		if m.Waiting {
			lamp := byte(0x6F)
			if m.Messages > 0 {
				lamp = 0x42
			}
			return check(append(dst, typeSDMFWaiting, 3, lamp, lamp, lamp), start)
		}
		dst = append(dst, typeSDMF, 0)
		dst = appendTime(dst, m.At)
		if number == "" {
			dst = append(dst, byte(reason))
		} else {
			dst = append(dst, strings.TrimPrefix(number, "+")...)
		}
		return check(dst, start)
	}

	// ETSI's call type, 0x11, is left out: without it a call is a voice call,
	// and receivers that know GR-30-CORE alone stop at it.
	kind, max := byte(typeMDMF), nameMaxETSI
	if m.Waiting {
		kind = typeMDMFWaiting
	}
	if c == MDMF {
		max = nameMaxBell
	}
	dst = append(dst, kind, 0)
	if !m.At.IsZero() {
		dst = appendTime(append(dst, paramTime, 8), m.At)
	}
	if m.Waiting {
		lamp := byte(0)
		if m.Messages > 0 {
			lamp = 0xFF
		}
		dst = append(dst, paramLamp, 1, lamp)
		if c == ETSI && m.Messages != 255 {
			dst = append(dst, paramMessages, 1, m.Messages)
		}
		return check(dst, start)
	}
	if number != "" {
		dst = append(append(dst, paramNumber, byte(len(number))), number...)
	} else {
		dst = append(dst, paramNoNumber, 1, byte(reason))
	}
	at := len(dst)
	dst = fold(append(dst, paramName, 0), name, max)
	if n := len(dst) - at - 2; n > 0 {
		dst[at+1] = byte(n)
	} else if dst = dst[:at]; m.NoName != 0 {
		dst = append(dst, paramNoName, 1, byte(m.NoName))
	}
	return check(dst, start)
}

// parts are the number as far as a telephone can show one, and the name. A
// caller who has letters for a number is told by name.
func (m *Message) parts() (number, name string, reason Reason) {
	number, name, reason = m.Number, m.Name, m.NoNumber
	for i := range len(number) {
		if c := number[i]; (c < '0' || c > '9') && c != '*' && c != '#' && (c != '+' || i != 0) {
			if name == "" {
				name = number
			}
			number = ""
			break
		}
	}
	if len(number) > numberMax {
		number = number[:numberMax]
	}
	if reason == 0 {
		reason = Unavailable
	}
	return number, name, reason
}

// check fills in the length and adds the check: "the two's complement of the
// modulo 256 sum of all the other octets in the message" (EN 300 659-1 section
// 5.3.4; GR-30-CORE the same).
func check(dst []byte, start int) []byte {
	m := dst[start:]
	m[1] = byte(len(m) - 2)
	var sum byte
	for _, b := range m {
		sum += b
	}
	return append(dst, -sum)
}

func appendTime(dst []byte, t time.Time) []byte {
	_, month, day := t.Date()
	if t.IsZero() {
		month, day = 1, 1
	}
	for _, n := range [4]int{int(month), day, t.Hour(), t.Minute()} {
		dst = append(dst, '0'+byte(n/10), '0'+byte(n%10))
	}
	return dst
}

// Codes of ETSI EN 300 659-1 Annex B behind B: "00 number not available, 10
// restricted", and of the Danish and Dutch variant behind D.
func (m *Message) keys(dst []byte, c Coding, number string, reason Reason) []byte {
	open, unknown, private, closing := "A", "B00", "B10", "C"
	switch c {
	case DTMFHash:
		open, unknown, private, closing = "", "D3", "D1", "#"
	case DTMFD:
		open, unknown, private = "D", "D", "D"
	}
	switch {
	case number != "":
		dst = append(dst, open...)
		for i := range len(number) {
			if d := number[i]; d >= '0' && d <= '9' { // the others would end it
				dst = append(dst, d)
			}
		}
	case reason == Private:
		dst = append(dst, private...)
	default:
		dst = append(dst, unknown...)
	}
	return append(dst, closing...)
}

// ntt writes the Japanese form: DLE SOH, header 7, DLE STX, message, DLE ETX,
// each octet seven bits and even parity, a DLE within doubled; then the CRC-16
// of ITU-T over everything behind DLE SOH, low octet first. The framing is
// that which spandsp's receiver takes.
func (m *Message) ntt(dst []byte, number string, reason Reason) []byte {
	start := len(dst)
	dst = append(dst, dle, soh, 0x07, dle, stx, typeNTT, 0)
	at := len(dst)
	if number != "" {
		number = strings.TrimPrefix(number, "+")
		dst = append(append(dst, paramNumber, byte(len(number))), number...)
	} else {
		dst = append(dst, paramNoNumber, 1, byte(reason))
	}
	// At most 22 octets and none of them a DLE, so nothing to double.
	dst[at-1] = byte(len(dst) - at)
	dst = append(dst, dle, etx)
	for i, b := range dst[start:] {
		p := b ^ b<<4
		p ^= p << 2
		dst[start+i] = b | (p^p<<1)&0x80
	}
	crc := crc16(dst[start+2:])
	return append(dst, byte(crc), byte(crc>>8))
}

// crc16 is that of ITU-T V.41, x^16+x^12+x^5+1, low bit first, from zero.
func crc16(m []byte) (crc uint16) {
	for _, b := range m {
		crc ^= uint16(b)
		for range 8 {
			crc = crc>>1 ^ -(crc&1)&0x8408
		}
	}
	return crc
}

// fold appends up to max characters of s that a telephone can show. What
// differs from ASCII by an accent loses it, what differs by more is left out.
func fold(dst []byte, s string, max int) []byte {
	end := len(dst) + max
	for _, r := range s {
		if len(dst) == end {
			break
		}
		switch {
		case r >= ' ' && r <= '~':
			dst = append(dst, byte(r))
		case r >= 0xC0 && int(r) < 0xC0+len(plain):
			dst = append(dst, plain[r-0xC0])
		}
	}
	return dst
}

// plain has the characters of Unicode from U+00C0 to U+017F without accents.
const plain = "AAAAAAACEEEEIIIIDNOOOOOxOUUUUYTsaaaaaaaceeeeiiiidnooooo/ouuuuyty" +
	"AaAaAaCcCcCcCcDdDdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIiIiJjKkkLlLlLlL" +
	"lLlNnNnNnnNnOoOoOoOoRrRrRrSsSsSsSsTtTtTtUuUuUuUuUuUuWwYyYZzZzZzs"

// Errors of Parse.
var (
	errShort = errors.New("caller identity ends early")
	errCheck = errors.New("caller identity's check is wrong")
)

// Parse reads what Append wrote, of a coding in octets. The year of At is not
// told: it is that of now, in now's zone, or the one before if the date would
// be more than half a year ahead.
func Parse(b []byte, c Coding, now time.Time) (m Message, err error) {
	if c == NTT {
		if b, err = unframe(b); err != nil {
			return m, err
		}
	} else {
		if len(b) < 3 || len(b) != int(b[1])+3 {
			return m, errShort
		}
		var sum byte
		for _, x := range b {
			sum += x
		}
		if sum != 0 {
			return m, errCheck
		}
		b = b[:len(b)-1]
	}
	kind, b := b[0], b[2:]
	switch kind {
	case typeSDMF:
		if len(b) < 9 {
			return m, errShort
		}
		m.At = parseTime(b[:8], now)
		if m.Number = string(b[8:]); m.Number[0] > '9' {
			m.NoNumber, m.Number = Reason(m.Number[0]), ""
		}
		return m, nil
	case typeSDMFWaiting:
		m.Waiting = true
		if len(b) > 0 && b[0] == 0x42 {
			m.Messages = 255
		}
		return m, nil
	case typeMDMFWaiting:
		m.Waiting = true
	case typeMDMF, typeNTT:
	default:
		return m, fmt.Errorf("caller identity of an unknown type %#02x", kind)
	}
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return m, errShort
		}
		param, v := b[0], b[2:2+int(b[1])]
		b = b[2+len(v):]
		if len(v) == 0 {
			continue
		}
		switch param {
		case paramTime:
			m.At = parseTime(v, now)
		case paramNumber:
			m.Number = string(v)
		case paramNoNumber:
			m.NoNumber = Reason(v[0])
		case paramName:
			m.Name = string(v)
		case paramNoName:
			m.NoName = Reason(v[0])
		case paramLamp:
			if v[0] != 0 && m.Messages == 0 {
				m.Messages = 255
			}
		case paramMessages:
			m.Messages = v[0]
		}
	}
	return m, nil
}

// unframe takes the Japanese frame and parity away.
func unframe(b []byte) ([]byte, error) {
	if len(b) < 13 || b[0] != dle|0x80 || b[1] != soh|0x80 { // with their parity
		return nil, errShort
	}
	if crc16(b[2:]) != 0 {
		return nil, errCheck
	}
	inner := make([]byte, 0, len(b))
	for _, x := range b[5 : len(b)-4] {
		inner = append(inner, x&0x7F)
	}
	if int(inner[1]) != len(inner)-2 {
		return nil, errShort
	}
	return inner, nil
}

func parseTime(b []byte, now time.Time) time.Time {
	if len(b) < 8 {
		return time.Time{}
	}
	two := func(i int) int { return int(b[i]-'0')*10 + int(b[i+1]-'0') }
	t := time.Date(now.Year(), time.Month(two(0)), two(2), two(4), two(6), 0, 0, now.Location())
	if t.Sub(now) > 183*24*time.Hour {
		t = t.AddDate(-1, 0, 0)
	}
	return t
}

// ParseKeys reads a message in keys, of any of the DTMF codings: they cannot
// be mistaken for each other.
func ParseKeys(keys string) (m Message, err error) {
	if len(keys) < 2 || keys[len(keys)-1] != 'C' && keys[len(keys)-1] != '#' {
		return m, errShort
	}
	end := keys[len(keys)-1]
	keys = keys[:len(keys)-1]
	switch {
	case end == '#' && keys == "D1", strings.HasPrefix(keys, "B10"):
		m.NoNumber = Private
	case end == '#' && keys[0] == 'D', strings.HasPrefix(keys, "B"), keys == "D":
		m.NoNumber = Unavailable
	default:
		m.Number = strings.TrimLeft(keys, "AD")
		if i := strings.IndexAny(m.Number, "ABD"); i >= 0 { // redirecting number, information
			m.Number = m.Number[:i]
		}
	}
	return m, nil
}
