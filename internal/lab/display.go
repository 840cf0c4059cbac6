package lab

import (
	"cmp"
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/hal"
)

// A display is the part of a telephone that shows who calls. It listens at the
// two wires while the receiver is on the hook, and reads what comes with its own
// eyes: it shares nothing with what is tested. It is as particular as the
// standards let a real one be:
//
//	Bell 202 or V.23   behind a channel seizure, which begins at least 500 ms after
//	                   a ring, or behind a dual tone, a short ring or a reversal
//	DTMF               at any time before the first ring or between two
//
// In Japan it also lifts to be told, and puts down. During a call it answers a dual
// tone of 75 to 85 ms with the key D, and reads the modem without a seizure.
type display struct {
	tell func(string)
	hand hand              // with which it lifts and puts down in Japan; nil elsewhere
	say  func(key []int16) // into the mouth, and returns at once; nil: it keeps silent

	mu       sync.Mutex
	rings    bool      // the bell is being rung
	rung     time.Time // when it last began or stopped
	cadence  hal.Cadence
	reversed time.Time // when the wires were; zero: they are not
	pulse    bool      // a short ring has been
	alert    int       // samples of a dual tone, ended or not
	lifted   bool      // by itself
	call     bool      // the receiver is lifted by a person
	listens  int       // frames in which it waits for the modem during a call
	busy     bool      // it has been told of this call
	still    int       // frames of silence
	behind   string    // what woke it

	// The modem. A sample is turned to rest at 1700 Hz, between the two
	// frequencies of both; how far it then turns on says which it is.
	n      int           // samples heard
	window [6]complex128 // the latest, turned
	last   complex128
	turned [3]float64 // how far, of the latest
	mark   bool       // what is heard
	ones   int        // samples of mark
	marks  float64    // how far they have turned, from the eighth on
	edge   int        // samples since the start bit began, it is 1; 0 outside a byte
	value  byte
	seized int // bytes of "01010101"
	bell   bool
	bytes  []byte

	keys string
	held byte
	hush int // samples since a key
	tail []int16
}

// ring is told of the bell.
func (d *display) ring(c hal.Cadence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.rings && c.Steps[0] == 0 && now.Sub(d.rung) < 400*time.Millisecond {
		d.pulse = true
	}
	d.rings, d.rung, d.cadence = c.Steps[0] != 0, now, c
	if !d.rings && !d.pulse && !d.lifted {
		d.forget()
	}
	if d.rings && d.hand != nil && !d.reversed.IsZero() && c.Steps[0] == 500*time.Millisecond {
		// Within one of its first short rings, and beside the ticks of the sound.
		time.AfterFunc(1203*time.Millisecond, d.lift)
	}
}

// reverse is told of the wires.
func (d *display) reverse(reversed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reversed = time.Time{}
	if reversed {
		d.reversed = time.Now()
	}
}

// forget makes it ready for another call. d.mu is held.
func (d *display) forget() {
	d.pulse, d.alert, d.busy, d.keys, d.bytes = false, 0, false, "", nil
}

func (d *display) lift() {
	d.mu.Lock()
	wanted := d.rings && !d.reversed.IsZero()
	d.lifted = wanted
	d.mu.Unlock()
	if wanted {
		d.tell("the display lifts to be told")
		d.hand.Lift()
	}
}

func (d *display) putDown() {
	d.mu.Lock()
	was := d.lifted
	d.lifted = false
	d.mu.Unlock()
	if was {
		d.tell("the display puts down")
		d.hand.HangUp()
	}
}

// hear takes the next samples at the wires; off says that the receiver is lifted.
func (d *display) hear(f []int16, off bool) {
	var news string
	d.mu.Lock()
	if d.still++; slices.ContainsFunc(f, func(x int16) bool { return x != 0 }) {
		d.still = 0
	}
	if call := off && !d.lifted; call != d.call {
		d.call, d.listens = call, 0
		d.forget()
	}
	switch {
	case d.call && d.listens == 0:
		was := d.alert
		if d.tone(f); d.alert == was && d.say != nil && was >= 75*8 && was <= 95*8 { // with the frames of its edges
			d.listens = 100
			d.window, d.last, d.turned = [6]complex128{}, 0, [3]float64{}
			d.mark, d.edge, d.bytes = false, 0, nil
			time.AfterFunc(23*time.Millisecond, func() { d.say(answer) })
		}
		if d.alert == was {
			d.alert = 0
		}
	case d.call:
		if d.listens--; d.listens < 90 { // not its own answer
			for _, x := range f {
				if s := d.modem(x); s != "" {
					news, d.listens = s, 0
				}
			}
		}
		if d.listens == 0 {
			d.forget()
		}
	case d.still > 4: // all has been heard of what was before
		d.hush += len(f)
	default:
		d.tone(f)
		for _, x := range f {
			if s := d.modem(x); s != "" {
				news = s
			}
		}
		if s := d.key(f); s != "" {
			news = s
		}
	}
	d.mu.Unlock()
	if news != "" {
		d.tell(news)
	}
}

// answer is how a telephone answers the dual tone: D for 60 ms.
var answer = func() []int16 {
	low, high := make([]int16, 480), make([]int16, 480)
	sine(low, 8000, 941, 0)
	sine(high, 8000, 1633, 0)
	for i := range low {
		low[i] += high[i]
	}
	return low
}()

// show is what it shows of a call, and how it was told.
func (d *display) show(number, name, how string) string {
	if d.busy {
		return "the display is told twice"
	}
	d.busy = true
	if d.lifted {
		time.AfterFunc(203*time.Millisecond, d.putDown)
	}
	return fmt.Sprintf("the display shows %s (%s)", strings.TrimSpace(number+" "+name), how)
}

// since says behind what a message has come; "" when nothing has woken it.
func (d *display) since() string {
	ringing := d.rings && d.cadence.Steps[0] != 500*time.Millisecond
	switch {
	case d.lifted:
		return "when it had lifted"
	case d.call:
		return "during the call"
	case ringing && d.quiet() < 490*time.Millisecond: // GR-30-CORE's 500, and a frame
		return ""
	case ringing:
		return "after the first ring"
	case !d.reversed.IsZero() && d.alert > 0:
		return "behind a reversal and a dual tone"
	case d.alert > 0:
		return "behind a dual tone"
	case !d.reversed.IsZero():
		return "behind a reversal"
	case d.pulse:
		return "behind a short ring"
	}
	return ""
}

// quiet is for how long the bell has been in a pause of its cadence; negative
// while it sounds.
func (d *display) quiet() time.Duration {
	into := time.Since(d.rung)
	var period time.Duration
	for _, s := range d.cadence.Steps {
		period += s
	}
	into %= period
	for i, s := range d.cadence.Steps {
		if into < s {
			if i%2 == 0 {
				return -1
			}
			return into
		}
		into -= s
	}
	return -1
}

// tone hears the dual tone: EN 300 659-1, 2130 and 2750 Hz for 88 to 110 ms.
func (d *display) tone(f []int16) {
	all := strength(f, 2130, 2750)
	if all[0] > 0.2 && all[1] > 0.2 && all[0]+all[1] > 0.8 {
		d.alert += len(f)
	} else if d.alert < 75*8 { // too short
		d.alert = 0
	}
}

// strength is how much of a sound each frequency is, 0 to 1; 0 of what is hardly
// a sound.
func strength(f []int16, hz ...float64) []float64 {
	parts := make([]float64, len(hz))
	all := 0.0
	for _, x := range f {
		all += float64(x) * float64(x)
	}
	if all < earFloor*earFloor*float64(len(f)) {
		return parts
	}
	for i := range hz { // Goertzel
		c := 2 * math.Cos(2*math.Pi*hz[i]/8000)
		var s1, s2 float64
		for _, x := range f {
			s1, s2 = float64(x)+c*s1-s2, s1
		}
		parts[i] = 2 * (s1*s1 + s2*s2 - c*s1*s2) / (all * float64(len(f)))
	}
	return parts
}

// rest turns 1700 Hz to rest: 17 turns in 80 samples.
var rest = func() (t [80]complex128) {
	for i := range t {
		t[i] = cmplx.Rect(1, -2*math.Pi*1700*float64(i)/8000)
	}
	return t
}()

// modem hears a sample.
func (d *display) modem(x int16) string {
	d.n = (d.n + 1) % len(rest)
	copy(d.window[:], d.window[1:])
	d.window[len(d.window)-1] = complex(float64(x), 0) * rest[d.n]
	var sum complex128
	for _, v := range d.window {
		sum += v
	}
	turn := 0.0 // Hz from 1700
	if math.Abs(real(sum))+math.Abs(imag(sum)) > earFloor*4 {
		turn = cmplx.Phase(sum*cmplx.Conj(d.last)) * 8000 / (2 * math.Pi)
	}
	d.last = sum
	copy(d.turned[:], d.turned[1:])
	d.turned[len(d.turned)-1] = turn
	mean := 0.0
	for _, v := range d.turned {
		mean += v / float64(len(d.turned))
	}
	mark := mean < -50 || d.mark && mean < 50
	begins := d.mark && !mark && mean != 0
	d.mark = mark
	if d.edge == 0 {
		switch {
		case mark:
			if d.ones++; d.ones > 8 {
				d.marks += mean
			}
		case begins: // a start bit
			d.edge, d.value = 1, 0
		case mean == 0:
			d.ones, d.marks, d.seized = 0, 0, 0
		}
		return ""
	}
	d.edge++
	for bit := range 10 { // each in its middle, 8000/1200 samples from one to the next
		if d.edge-1 != int(math.Round((float64(bit)+0.5)*8000/1200)) {
			continue
		}
		switch {
		case bit == 0 && mark:
			d.edge = 0
		case bit > 0 && bit < 9 && mark:
			d.value |= 1 << (bit - 1)
		case bit == 9:
			d.edge = 0
			if mark {
				return d.octet(d.value)
			}
		}
	}
	return ""
}

// octet takes the next byte.
func (d *display) octet(b byte) string {
	if d.ones > 20*8000/1200 { // the first behind the mark: 20 bits of it
		d.bell = d.marks/float64(d.ones-8) < -450 // Bell 202's 1200 Hz, not V.23's 1300
		d.bytes = d.bytes[:0]
		if d.seized < 20 && !d.lifted && !d.call { // on the hook a seizure wakes it: EN 300 659-1, 96 bits at least
			d.bytes = nil
		} else {
			d.bytes = make([]byte, 0, 64)
		}
		d.seized = 0
	}
	d.ones, d.marks = 0, 0
	if d.bytes == nil {
		if b == 0x55 {
			if d.seized++; d.seized == 1 {
				d.behind = d.since()
			}
		}
		return ""
	}
	d.bytes = append(d.bytes, b)
	number, name, ok, err := read(d.bytes)
	if err != nil {
		d.bytes = nil
		return "the display reads nonsense: " + err.Error()
	}
	if !ok {
		return ""
	}
	d.bytes = nil
	how := "V.23"
	if d.bell {
		how = "Bell 202"
	}
	if d.lifted || d.call {
		d.behind = d.since()
	}
	if d.behind == "" {
		return fmt.Sprintf("the display sleeps while %s sounds", how)
	}
	return d.show(number, name, how+" "+d.behind)
}

// read reads a message, once it is whole.
func read(b []byte) (number, name string, ok bool, err error) {
	if b[0] == 0x90 { // DLE with its parity: Japan
		return readNTT(b)
	}
	if len(b) < 3 || len(b) < int(b[1])+3 {
		return "", "", false, nil
	}
	var sum byte
	for _, x := range b {
		sum += x
	}
	if sum != 0 {
		return "", "", false, fmt.Errorf("the sum of % x is not 0", b)
	}
	body := b[2 : len(b)-1]
	switch b[0] {
	case 0x04: // single data message: date, number
		if len(body) < 9 {
			return "", "", false, fmt.Errorf("a number is missing in % x", b)
		}
		number = string(body[8:])
		if number[0] > '9' {
			number = absent(number[0])
		}
		return number, "", true, nil
	case 0x80:
		number, name, err = fields(body)
		return number, name, err == nil, err
	}
	return "", "", false, fmt.Errorf("a message of type %#02x", b[0])
}

// fields reads parameters: type, length, value.
func fields(b []byte) (number, name string, err error) {
	for len(b) >= 2 {
		n := int(b[1])
		if n > len(b)-2 {
			break
		}
		value := string(b[2 : 2+n])
		switch b[0] {
		case 0x02:
			number = value
		case 0x04:
			number = absent(value[0])
		case 0x07:
			name = value
		}
		b = b[2+n:]
	}
	if len(b) > 0 {
		return "", "", fmt.Errorf("the parameters end with % x", b)
	}
	return number, name, nil
}

func absent(letter byte) string {
	switch letter {
	case 'P':
		return "private"
	case 'O':
		return "unavailable"
	}
	return fmt.Sprintf("reason %c", letter)
}

// readNTT reads the Japanese form: DLE SOH, a header, DLE STX, type, length,
// parameters, DLE ETX, two octets of check; the eighth bit is an even parity.
func readNTT(b []byte) (number, name string, ok bool, err error) {
	if len(b) < 7 || len(b) < 7+int(b[6]&0x7f)+4 {
		return "", "", false, nil
	}
	var crc uint16 // of everything behind DLE SOH: x^16+x^12+x^5+1, low bits first
	for _, x := range b[2:] {
		for i := range 8 {
			low := (crc ^ uint16(x>>i)) & 1
			crc >>= 1
			if low != 0 {
				crc ^= 0x8408
			}
		}
	}
	if crc != 0 {
		return "", "", false, fmt.Errorf("the check of % x is wrong", b)
	}
	body := slices.Clone(b[7 : len(b)-4])
	for i := range body {
		body[i] &= 0x7f
	}
	number, name, err = fields(body)
	return number, name, err == nil, err
}

// key hears the keys of a telephone: two frames of one, 10 ms apart, begin it.
func (d *display) key(f []int16) string {
	d.tail = append(d.tail, f...)
	if len(d.tail) > 160 {
		d.tail = d.tail[len(d.tail)-160:]
	}
	const keys = "123A456B789C*0#D"
	var now byte
	all := strength(d.tail, 697, 770, 852, 941, 1209, 1336, 1477, 1633)
	for i := range 16 {
		if l, h := all[i/4], all[4+i%4]; l > 0.2 && h > 0.2 && l+h > 0.85 {
			now = keys[i]
		}
	}
	if d.hush += len(f); d.hush > 8000 {
		d.keys = ""
	}
	if now != 0 {
		d.hush = 0
	}
	if now != 0 && now != d.held {
		if d.keys == "" {
			d.behind = d.since()
		}
		d.keys += string(now)
	}
	d.held = now
	if now == 0 && len(d.keys) > 1 && (strings.HasSuffix(d.keys, "C") || strings.HasSuffix(d.keys, "#")) {
		said := d.keys
		d.keys = ""
		return d.show(readKeys(said), "", "keys "+cmp.Or(d.behind, "before the first ring"))
	}
	return ""
}

// readKeys reads a message in keys: A number C, D number C, number #, and codes
// instead of a number.
func readKeys(keys string) string {
	switch keys {
	case "B10C", "D1#":
		return "private"
	case "B00C", "DC", "D3#":
		return "unavailable"
	}
	return strings.Trim(keys, "ACD#")
}
