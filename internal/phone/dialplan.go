package phone

import (
	"fmt"
	"math/bits"
	"strings"
)

// A Plan knows when a number is complete. It is written as the adapters of the
// field write it, and as MGCP does (RFC 3435 section 2.1.5):
//
//	(*xx|[3469]11|0|00|[2-9]xxxxxx|1xxx[2-9]xxxxxx|xxxxxxxxxxxx.)
//
//	0-9 * # A-D  that key            |      or
//	x            any of 0-9          T      at the end: wait for a pause first
//	[2-9*]       any of those keys   !      at the end: such a number is refused
//	.            what stands before  S0     never wait
//	             it, any number of   <a:b>  a was dialled, b is sent; either may
//	             times or not at all        be empty
//
// An alternative that sends without a key, <:5551234>, is what an untouched
// telephone calls: at once with S0, else when nothing is dialled for a while.
//
// A Plan is never changed once parsed; any number of phones may share it.
type Plan struct {
	text string
	alts []alternative
}

// Limits of our own: a set of positions fits a word, and a plan a small device.
const (
	maxElements     = 63 // of one alternative
	maxAlternatives = 64
)

// Usual is the plan where none is configured: any number, with a * or # before
// it too, is complete after a pause or #.
const Usual = "[x*].T|#[x*].T"

// An alternative is one kind of number.
type alternative struct {
	elem   []element
	insert map[int]string // sent before the element of that index
	timed  bool           // T
	barred bool           // !
	atOnce bool           // S0
}

// An element is one key to be pressed, or with repeat any number of presses.
type element struct {
	keys   uint16 // a set, by keyBit
	repeat bool
	drop   bool // dialled but not sent
}

// ParsePlan reads a plan; the empty text is Usual. The error says where the
// mistake is.
func ParsePlan(text string) (*Plan, error) {
	if text == "" {
		text = Usual
	}
	r := reader{text: text}
	p := &Plan{text: text}
	parens := r.take('(')
	for {
		a, err := r.alternative()
		if err != nil {
			return nil, err
		}
		p.alts = append(p.alts, a)
		if len(p.alts) > maxAlternatives {
			return nil, r.wrong(r.at, "more than %d alternatives", maxAlternatives)
		}
		if !r.take('|') {
			break
		}
	}
	if parens && !r.take(')') {
		return nil, r.wrong(r.at, "want | or ) here")
	}
	if r.at < len(text) {
		return nil, r.wrong(r.at, "nothing may follow here")
	}
	return p, nil
}

// String returns the plan as it was written.
func (p *Plan) String() string { return p.text }

// A reader goes through the text of a plan. Spaces mean nothing.
type reader struct {
	text string
	at   int
}

// A PlanError says what is wrong in a digit map, and where.
type PlanError struct {
	Text string
	At   int // offset of the mistake
	What string
}

func (e *PlanError) Error() string {
	where := "at its end"
	if e.At < len(e.Text) {
		where = fmt.Sprintf("at character %d (%q)", e.At+1, e.Text[e.At:min(e.At+8, len(e.Text))])
	}
	return fmt.Sprintf("digit map %q: %s, %s", e.Text, e.What, where)
}

func (r *reader) wrong(at int, format string, args ...any) error {
	return &PlanError{r.text, at, fmt.Sprintf(format, args...)}
}

// peek returns the next character that is not a space, 0 at the end.
func (r *reader) peek() byte {
	for r.at < len(r.text) && r.text[r.at] == ' ' {
		r.at++
	}
	if r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

// take goes past c if it comes next.
func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

// alternative reads up to |, ) or the end.
func (r *reader) alternative() (a alternative, err error) {
	start := r.at
	for {
		c := r.peek()
		at := r.at
		switch {
		case c == 0 || c == '|' || c == ')':
			if len(a.elem) == 0 && a.insert == nil {
				return a, r.wrong(start, "an alternative without a key is no number")
			}
			return a, nil
		case a.timed || a.barred:
			return a, r.wrong(at, "T and ! end an alternative, want | here")
		case len(a.elem) == maxElements:
			return a, r.wrong(at, "an alternative of more than %d keys", maxElements)
		case c == 'T' || c == 't':
			a.timed = true
			r.at++
		case c == '!':
			a.barred = true
			r.at++
		case c == 'S' || c == 's':
			r.at++
			if !r.take('0') {
				return a, r.wrong(at, "only S0 is known, not other times")
			}
			a.atOnce = true
		case c == '.':
			if err := r.repeat(a.elem); err != nil {
				return a, err
			}
		case c == '<':
			if err := r.substitution(&a); err != nil {
				return a, err
			}
		case c == ',':
			return a, r.wrong(at, "a second dial tone is not offered")
		default:
			keys, err := r.keys()
			if err != nil {
				return a, err
			}
			a.elem = append(a.elem, element{keys: keys})
		}
	}
}

// repeat reads a dot, which is about the last of elem.
func (r *reader) repeat(elem []element) error {
	if n := len(elem); n == 0 || elem[n-1].repeat {
		return r.wrong(r.at, "nothing stands before the dot that it could repeat")
	}
	elem[len(elem)-1].repeat = true
	r.at++
	return nil
}

// keys reads one key, x, or a set in brackets.
func (r *reader) keys() (set uint16, err error) {
	at := r.at
	c := r.peek()
	r.at++
	if c != '[' {
		if set = keyBits(c); set == 0 {
			return 0, r.wrong(at, "%q is no key: want 0-9, *, #, A-D, x or a set as [2-9]", c)
		}
		return set, nil
	}
	for !r.take(']') {
		c, at := r.peek(), r.at
		if c == 0 {
			return 0, r.wrong(len(r.text), "the set is not closed, want ]")
		}
		bits := keyBits(c)
		if bits == 0 {
			return 0, r.wrong(at, "%q is no key: want 0-9, *, #, A-D or x in a set", c)
		}
		r.at++
		if r.take('-') {
			last := r.peek()
			if c < '0' || c > '9' || last < '0' || last > '9' || last < c {
				return 0, r.wrong(at, "a range goes up from digit to digit, as 2-9")
			}
			for c++; c <= last; c++ {
				bits |= keyBits(c)
			}
			r.at++
		}
		set |= bits
	}
	if set == 0 {
		return 0, r.wrong(at, "an empty set, no key can match")
	}
	return set, nil
}

// substitution reads <dialled:sent>.
func (r *reader) substitution(a *alternative) error {
	start := r.at
	r.take('<')
	insert := len(a.elem)
	for r.peek() != ':' {
		if c := r.peek(); c == 0 || c == '>' || c == '|' {
			return r.wrong(start, "a substitution is written <dialled:sent>")
		}
		if len(a.elem) == maxElements {
			return r.wrong(r.at, "an alternative of more than %d keys", maxElements)
		}
		if r.peek() == '.' {
			if err := r.repeat(a.elem[insert:]); err != nil {
				return err
			}
			continue
		}
		keys, err := r.keys()
		if err != nil {
			return err
		}
		a.elem = append(a.elem, element{keys: keys, drop: true})
	}
	r.take(':')
	from := r.at
	for r.peek() != '>' {
		if c := r.peek(); bits.OnesCount16(keyBits(c)) != 1 && c != '+' {
			return r.wrong(r.at, "want the keys to send and then >")
		}
		r.at++
	}
	if sent := strings.ReplaceAll(r.text[from:r.at], " ", ""); sent != "" {
		if a.insert == nil {
			a.insert = make(map[int]string)
		}
		a.insert[insert] += sent
	}
	r.take('>')
	return nil
}

// keyBits is the set a single character stands for, empty for no key.
func keyBits(c byte) uint16 {
	switch {
	case c >= '0' && c <= '9':
		return 1 << (c - '0')
	case c == '*':
		return 1 << 10
	case c == '#':
		return 1 << 11
	case c >= 'A' && c <= 'D':
		return 1 << (12 + c - 'A')
	case c == 'x' || c == 'X':
		return 1<<10 - 1
	}
	return 0
}

// A Verdict is what a plan says to the digits so far.
type Verdict uint8

const (
	Partial  Verdict = iota // more must come
	Possible                // complete, but more may come: after a pause it is the number
	Complete                // the number
	Refused                 // a number that is barred
	Unknown                 // no number begins like this
)

// Match judges digits. It allocates nothing.
func (p *Plan) Match(digits []byte) Verdict {
	more, whole := false, false
	var first *alternative // that is whole
	for i := range p.alts {
		a := &p.alts[i]
		at := a.start()
		for _, d := range digits {
			at = a.after(at, d)
		}
		if at&^a.end() != 0 {
			more = true
		}
		if at&a.end() != 0 && (len(digits) > 0 || len(a.elem) == 0) {
			whole = true
			if first == nil {
				first = a
			}
		}
	}
	switch {
	case whole && first.atOnce:
		return Complete
	case whole && first.barred && !more:
		return Refused
	case whole && (more || first.timed):
		return Possible
	case whole:
		return Complete
	case more:
		return Partial
	}
	return Unknown
}

// Positions in an alternative are a set of bits: bit i says that everything
// before element i has been dialled. A repeated element may be left out.

func (a *alternative) start() uint64 { return a.skip(1) }
func (a *alternative) end() uint64   { return 1 << len(a.elem) }

// skip adds the positions behind repeated elements.
func (a *alternative) skip(at uint64) uint64 {
	for i := range a.elem {
		if a.elem[i].repeat && at&(1<<i) != 0 {
			at |= 1 << (i + 1)
		}
	}
	return at
}

// after returns the positions once d has been dialled.
func (a *alternative) after(at uint64, d byte) (next uint64) {
	key := keyBits(d)
	for i := range a.elem {
		if e := &a.elem[i]; at&(1<<i) != 0 && e.keys&key != 0 {
			if e.repeat {
				next |= 1 << i
			} else {
				next |= 1 << (i + 1)
			}
		}
	}
	return a.skip(next)
}

// Number returns what is sent when digits were dialled: with the substitutions
// of the first alternative they are whole in, or as they are: who ends a number
// with # means it. It reports false for a number that is barred. digits are at
// most MaxDigits.
func (p *Plan) Number(digits []byte) (string, bool) {
	for i := range p.alts {
		if number, ok := p.alts[i].number(digits); ok {
			return number, !p.alts[i].barred
		}
	}
	return string(digits), true
}

// number walks through the alternative and back: forward it notes which
// positions each digit may have led to, backward it picks a way among them.
func (a *alternative) number(digits []byte) (string, bool) {
	var at [MaxDigits + 1]uint64
	at[0] = a.start()
	for i, d := range digits {
		at[i+1] = a.after(at[i], d)
	}
	if at[len(digits)]&a.end() == 0 {
		return "", false
	}
	var by [MaxDigits]int // the element that took each digit
	pos := len(a.elem)
	for i := len(digits); i > 0; {
		switch {
		case pos < len(a.elem) && a.elem[pos].repeat && at[i-1]&(1<<pos) != 0 && a.elem[pos].keys&keyBits(digits[i-1]) != 0:
			i--
			by[i] = pos
		case pos > 0 && a.elem[pos-1].repeat && at[i]&(1<<(pos-1)) != 0:
			pos--
		default:
			i--
			pos--
			by[i] = pos
		}
	}
	var sent strings.Builder
	pos = 0
	for i, d := range digits {
		for ; pos <= by[i]; pos++ {
			sent.WriteString(a.insert[pos])
		}
		if !a.elem[by[i]].drop {
			sent.WriteByte(d)
		}
	}
	for ; pos <= len(a.elem); pos++ {
		sent.WriteString(a.insert[pos])
	}
	return sent.String(), true
}
