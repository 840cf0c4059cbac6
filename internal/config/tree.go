package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A place is where something stands in the file, both from 1.
type place struct{ line, column int }

// A value is a piece of the file as it was written, nothing checked but that
// it is TOML.
type value struct {
	kind   valueKind
	at     place
	text   string            // of a scalar; a string without quotes and escapes
	items  []*value          // of a list; the tables of [[name]]
	keys   []string          // of a table, in order
	of     map[string]*value // of a table
	keyAt  map[string]place  // of a table: where each key stands
	opened bool              // a table that had its own header
	closed bool              // a table in braces, or a list in brackets: not to be added to
	broken bool              // a table whose header could not be read: its keys are not judged
	torn   bool              // a table with a line that could not be read: what is missing is not judged
}

type valueKind uint8

const (
	stringValue valueKind = iota
	integerValue
	floatValue
	boolValue
	dateValue
	listValue
	tableValue
	tablesValue // of [[name]]
)

// String says what a person wrote, with an article.
func (k valueKind) String() string {
	return [...]string{"text", "a number", "a number with a fraction", "true or false", "a date", "a list", "a table", "tables"}[k]
}

func newTable(at place) *value {
	return &value{kind: tableValue, at: at, of: map[string]*value{}, keyAt: map[string]place{}}
}

func (v *value) put(name string, at place, to *value) {
	v.keys = append(v.keys, name)
	v.of[name] = to
	v.keyAt[name] = at
}

// flatten puts what is in the tables of from as keys with dots.
func (v *value) flatten(prefix string, from *value) {
	for _, name := range from.keys {
		if in := from.of[name]; in.kind == tableValue {
			v.flatten(prefix+name+".", in)
		} else if _, known := v.of[prefix+name]; !known {
			v.put(prefix+name, from.keyAt[name], in)
		}
	}
}

// A grower makes the tree of a file and collects what is no TOML.
type grower struct {
	file     string
	data     []byte
	base     int   // offset in data of what the parser was given
	done     int   // offset behind the last line that was understood
	starts   []int // offset of each line
	parser   unstable.Parser
	root     *value
	here     *value // the table that keys go to
	mistakes Mistakes
}

// grow reads the whole file; after a line that is no TOML it goes on at the
// next that looks like one.
func grow(file string, data []byte) (*value, Mistakes) {
	g := &grower{file: file, data: data, root: newTable(place{1, 1}), starts: []int{0}}
	for i, c := range data {
		if c == '\n' {
			g.starts = append(g.starts, i+1)
		}
	}
	g.here = g.root
	for g.base < len(data) {
		g.parser.Reset(data[g.base:])
		for g.parser.NextExpression() {
			g.expression(g.parser.Expression())
		}
		err := g.parser.Error()
		if err == nil {
			break
		}
		g.syntax(err)
	}
	return g.root, g.mistakes
}

// fresh reports whether a line begins something new: a header, or key =.
func fresh(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	if rest := bytes.TrimLeft(line, "["); len(rest) < len(line) {
		rest = bytes.TrimLeft(rest, " \t")
		return len(rest) > 0 && bare(rest[0])
	}
	n := 0
	for n < len(line) && bare(line[n]) {
		n++
	}
	return n > 0 && bytes.HasPrefix(bytes.TrimLeft(line[n:], " \t"), []byte("="))
}

// bare reports whether a key may have c without quotes.
func bare(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// syntax notes an error of the parser and moves base behind it.
func (g *grower) syntax(err error) {
	at := len(g.data) - 1
	var pe *unstable.ParserError
	if errors.As(err, &pe) {
		if n := cap(g.parser.Data()) - cap(pe.Highlight); n >= 0 && g.base+n < len(g.data) {
			at = g.base + n
		}
	}
	g.here.torn = true
	from := max(g.base, g.done) // of the line or lines that were not understood
	p := g.place(at)
	text := g.text(p.line)
	switch start := g.starts[p.line-1]; {
	case strings.Contains(err.Error(), "multiline"):
		p = g.open(from, `"""`, "'''")
		g.wrong(p, "", "three quotes are not closed", "want three at the end as well")
	case fresh(text) && len(bytes.TrimSpace(g.data[start:at])) == 0 && start > from:
		g.wrong(g.open(from, "[", "{"), "", "a list is not closed", fmt.Sprintf("want a ] before line %d", p.line))
		g.base = start
		return
	default:
		found, want := explain(err.Error(), string(bytes.TrimSpace(text)))
		g.wrong(p, "", found, want)
		if bytes.HasPrefix(bytes.TrimLeft(text, " \t"), []byte("[")) && fresh(text) {
			g.here = newTable(p)
			g.here.broken = true
		}
	}
	for n := p.line + 1; n <= len(g.starts); n++ {
		if fresh(g.text(n)) {
			g.base = g.starts[n-1]
			return
		}
	}
	g.base = len(g.data)
}

// open finds the first of some signs behind an offset.
func (g *grower) open(from int, signs ...string) place {
	first := len(g.data) - 1
	for _, s := range signs {
		if n := bytes.Index(g.data[from:], []byte(s)); n >= 0 {
			first = min(first, from+n)
		}
	}
	return g.place(first)
}

// explain says what is wrong with a line, in words of the person who wrote it.
func explain(parser, text string) (found, want string) {
	_, v, assigned := strings.Cut(text, "=")
	v = strings.TrimSpace(v)
	switch {
	case strings.HasPrefix(text, "["):
		return "this header is not complete", "want [name] or [[name]] on a line of its own"
	case !assigned && strings.Contains(text, ":"):
		return `"=" is missing`, `want key = value`
	case !assigned:
		return `"=" is missing`, `want key = value, or # before a remark`
	case v == "":
		return "there is nothing after the =", "want a value, or the line taken away"
	case strings.ContainsAny(v[:1], `"'`) && strings.Count(v, v[:1])%2 == 1:
		return "a quote is not closed", "want one at the end as well"
	case v[0] == '[' && !strings.Contains(v, "]"):
		return "a list is not closed", `want it like ["first", "second"]`
	case !strings.ContainsAny(v[:1], `"'[{`) && strings.Contains(parser, "at start of value"),
		strings.Contains(parser, "keyword"),
		!strings.ContainsAny(v[:1], `"'[{`) && strings.Contains(parser, "newline"):
		return "text has no quotes", `want it in quotes, like "this"`
	}
	return "this is not TOML: " + parser, ""
}

// text is the n-th line without its end.
func (g *grower) text(n int) []byte {
	if n < len(g.starts) {
		return g.data[g.starts[n-1] : g.starts[n]-1]
	}
	return g.data[g.starts[n-1]:]
}

func (g *grower) place(offset int) place {
	lo, hi := 0, len(g.starts) // the line is in [lo, hi)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; g.starts[mid] <= offset {
			lo = mid
		} else {
			hi = mid
		}
	}
	return place{lo + 1, offset - g.starts[lo] + 1}
}

func (g *grower) at(r unstable.Range) place { return g.place(g.base + int(r.Offset)) }

func (g *grower) wrong(p place, key, found, want string) {
	g.mistakes = append(g.mistakes, Mistake{g.file, p.line, p.column, key, found, want})
}

func (g *grower) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.KeyValue:
		g.done = g.base + int(n.Raw.Offset+n.Raw.Length)
		g.pair(g.here, n)
	case unstable.Table, unstable.ArrayTable:
		for it := n.Key(); it.Next(); {
			g.done = g.base + int(it.Node().Raw.Offset+it.Node().Raw.Length) + len("]]")
		}
		g.header(n)
	}
}

// header opens the table of [a.b] or [[a.b]].
func (g *grower) header(n *unstable.Node) {
	t := g.root
	for it := n.Key(); it.Next(); {
		name, at := string(it.Node().Data), g.at(it.Node().Raw)
		next, known := t.of[name]
		switch {
		case !known && it.IsLast() && (n.Kind == unstable.ArrayTable || t == g.root && several(name)):
			next = &value{kind: tablesValue, at: at}
			t.put(name, at, next)
		case !known:
			next = newTable(at)
			t.put(name, at, next)
		}
		if !it.IsLast() {
			if next.kind == tablesValue {
				next = next.items[len(next.items)-1]
			}
			if next.kind != tableValue || next.closed {
				g.twice(at, name, next)
				t = &value{kind: tableValue, broken: true, of: map[string]*value{}, keyAt: map[string]place{}}
				break
			}
			t = next
			continue
		}
		switch {
		case n.Kind == unstable.ArrayTable && next.kind == tablesValue:
			t = newTable(at)
			next.items = append(next.items, t)
		case n.Kind == unstable.Table && next.kind == tableValue && !next.opened && !next.closed:
			t = next
		case n.Kind == unstable.Table && next.kind == tablesValue:
			g.wrong(at, name, fmt.Sprintf("[%s] is in single brackets", name), fmt.Sprintf("want [[%s]]: there may be several", name))
			t = newTable(at)
			next.items = append(next.items, t)
		default:
			g.twice(at, name, next)
			t = newTable(at)
			t.broken = n.Kind == unstable.ArrayTable
		}
		t.opened = true
	}
	g.here = t
}

// several reports whether a table is written [[name]].
func several(name string) bool {
	t := tableNamed(name)
	return t != nil && t.many
}

func (g *grower) twice(at place, name string, first *value) {
	g.wrong(at, name, fmt.Sprintf("given before, on line %d", first.at.line), "want it once")
}

// pair puts key = value into a table; the key may have dots.
func (g *grower) pair(t *value, n *unstable.Node) {
	for it := n.Key(); it.Next(); {
		name, at := string(it.Node().Data), g.at(it.Node().Raw)
		next, known := t.of[name]
		if it.IsLast() {
			v := g.value(n.Value(), g.afterEquals(it.Node().Raw))
			if known {
				g.wrong(at, name, fmt.Sprintf("given before, on line %d", t.keyAt[name].line), "want it once")
				return
			}
			t.put(name, at, v)
			return
		}
		if !known {
			next = newTable(at)
			t.put(name, at, next)
		}
		if next.kind != tableValue || next.closed {
			g.twice(at, name, next)
			return
		}
		t = next
	}
}

// afterEquals is where the value begins whose key ends with r.
func (g *grower) afterEquals(r unstable.Range) place {
	i := g.base + int(r.Offset+r.Length)
	for i < len(g.data)-1 && strings.IndexByte(" \t=", g.data[i]) >= 0 {
		i++
	}
	return g.place(i)
}

// value copies a node out of the parser; at is used when the node does not
// know its own place.
func (g *grower) value(n *unstable.Node, at place) *value {
	if n.Raw.Length > 0 {
		at = g.at(n.Raw)
	}
	v := &value{at: at, text: string(n.Data), closed: true}
	switch n.Kind {
	case unstable.String:
		v.kind = stringValue
	case unstable.Integer:
		v.kind = integerValue
	case unstable.Float:
		v.kind = floatValue
	case unstable.Bool:
		v.kind = boolValue
	case unstable.Array:
		v.kind = listValue
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, g.value(it.Node(), at))
		}
	case unstable.InlineTable:
		v = newTable(at)
		for it := n.Children(); it.Next(); {
			g.pair(v, it.Node())
		}
		v.closed = true
	default:
		v.kind = dateValue
	}
	return v
}
