package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A reader turns the tree of a file into a Config.
type reader struct {
	file     string
	c        *Config
	mistakes Mistakes
}

func (r *reader) wrong(at place, key, found, want string) {
	r.mistakes = append(r.mistakes, Mistake{r.file, at.line, at.column, key, found, want})
}

// top reads the whole file: its own keys and all tables.
func (r *reader) top(root *value) {
	own := &schema[0]
	for _, name := range root.keys {
		v, at := root.of[name], root.keyAt[name]
		if own.find(name) != nil {
			continue // read below
		}
		t := tableNamed(name)
		switch {
		case t == nil:
			r.unknown(own, name, at, v)
		case t.many:
			r.tables(t, v)
		case v.kind == tableValue:
			r.table(t, 0, v)
		case v.kind == tablesValue:
			r.wrong(at, name, fmt.Sprintf("there is only one [%s]", name), "want it in single brackets")
			for _, one := range v.items {
				r.table(t, 0, one)
			}
		default:
			r.wrong(v.at, name, "this is "+v.kind.String(), fmt.Sprintf("want a table: [%s] on a line of its own, its keys below", name))
		}
	}
	r.table(own, 0, root)
	for i := range schema {
		t := &schema[i]
		if _, ok := root.of[t.name]; !ok && !t.many && t.name != "" {
			r.table(t, 0, newTable(place{}))
		}
	}
}

// tables reads the tables of [[name]], in one of the ways they can be written.
func (r *reader) tables(t *table, v *value) {
	switch v.kind {
	case tablesValue, listValue:
	default:
		r.wrong(v.at, t.name, "this is "+v.kind.String(), fmt.Sprintf("want tables: [[%s]] on a line of its own, the keys of one below", t.name))
		return
	}
	for _, one := range v.items {
		if one.kind != tableValue {
			r.wrong(one.at, t.name, "this is "+one.kind.String(), "want a table")
			continue
		}
		i := t.count(r.c)
		t.grow(r.c)
		r.c.places[fmt.Sprintf("%s[%d]", t.name, i)] = one.at
		r.table(t, i, one)
	}
}

// table reads the keys of one table into the i-th of its kind.
func (r *reader) table(t *table, i int, v *value) {
	if t.dots {
		flat := newTable(v.at)
		flat.flatten("", v)
		v = flat
	}
	for _, name := range v.keys {
		if k := t.find(name); k != nil {
			r.c.places[spot(t, i, name)] = v.of[name].at
			r.key(t, k, i, v.of[name])
		} else if t.name != "" && !v.broken {
			r.unknown(t, name, v.keyAt[name], v.of[name])
		}
	}
	for k := range t.keys {
		k := &t.keys[k]
		if _, ok := v.of[k.name]; ok {
			continue
		}
		if k.required && !v.broken && !v.torn {
			r.wrong(v.at, t.path(k.name), "missing", fmt.Sprintf("want %s = %s here", k.name, k.example))
		}
		if k.def != "" && !t.dots { // a board may have other lamps' patterns than we
			d, bad := grow("default", []byte("it = "+k.def))
			if bad != nil {
				panic(bad)
			}
			r.key(t, k, i, d.of["it"])
		}
	}
}

// spot names a key of the i-th table for Config.places.
func spot(t *table, i int, name string) string {
	if t.many {
		return fmt.Sprintf("%s[%d].%s", t.name, i, name)
	}
	return t.path(name)
}

// unknown blames a key that no table has, or not this one.
func (r *reader) unknown(t *table, name string, at place, v *value) {
	if v.broken {
		return
	}
	if t.name == "" && (v.kind == tableValue || v.kind == tablesValue) {
		want := "the tables are [" + strings.Join(tableNames(), "], [") + "]"
		if near := Nearest(name, tableNames()); near != "" {
			want = "did you mean " + tableNamed(near).header() + "?"
		}
		r.wrong(at, t.path(name), "no such table", want)
		return
	}
	if near := Nearest(name, t.names()); near != "" {
		r.wrong(at, t.path(name), "no such key", fmt.Sprintf("did you mean %s?", near))
		return
	}
	for i := range schema {
		if other := &schema[i]; other.find(name) != nil {
			hint := "want it below " + other.header()
			if other.name == "" {
				hint = "want it at the top of the file, before the first header"
			}
			r.wrong(at, t.path(name), "no such key here", hint)
			return
		}
	}
	r.wrong(at, t.path(name), "no such key", fmt.Sprintf("%s has %s", t.header(), strings.Join(t.names(), ", ")))
}

// key reads one value into its field.
func (r *reader) key(t *table, k *key, i int, v *value) {
	path, field := t.path(k.name), k.into(r.c, i)
	if list, ok := field.(*[]string); ok {
		*list = r.list(path, k, v)
		return
	}
	if list, ok := field.(*[]netip.AddrPort); ok {
		for _, s := range r.list(path, k, v) {
			ap, _ := parseServer(s)
			*list = append(*list, ap)
		}
		return
	}
	if n, ok := field.(*int); ok {
		got, err := strconv.ParseInt(strings.ReplaceAll(v.text, "_", ""), 0, 64)
		switch {
		case v.kind != integerValue:
			r.wrong(v.at, path, "this is "+v.kind.String(), k.want())
		case err != nil || got < k.low || got > k.top:
			r.wrong(v.at, path, v.text+" is out of range", k.want())
		default:
			*n = int(got)
		}
		return
	}
	s, ok := r.text(path, k, v)
	if !ok {
		return
	}
	switch field := field.(type) {
	case *string:
		*field = s
	case *Secret:
		*field = NewSecret(s)
	case *time.Duration:
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			r.wrong(v.at, path, fmt.Sprintf("%q is not a duration", s), k.suggest(s))
		case d < k.min || d > k.max:
			r.wrong(v.at, path, fmt.Sprintf("%q is too %s", s, map[bool]string{true: "short", false: "long"}[d < k.min]), k.want())
		default:
			*field = d
		}
	case *int64:
		n, ok := parseAmount(s)
		switch {
		case !ok:
			r.wrong(v.at, path, fmt.Sprintf("%q is not an amount of memory", s), k.want())
		case n < k.low || n > k.top:
			r.wrong(v.at, path, fmt.Sprintf("%q is out of range", s), k.want())
		default:
			*field = n
		}
	case lamp:
		field.set(s)
	case *slog.Level:
		if err := field.UnmarshalText([]byte(s)); err != nil {
			panic(err) // the words allowed are all levels
		}
	default:
		panic(fmt.Sprintf("config: a field of type %T", field))
	}
}

// suggest says what a duration should look like, with the number that was found.
func (k *key) suggest(s string) string {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return k.want()
	}
	if d := time.Duration(n) * time.Second; d >= k.min && d <= k.max {
		return fmt.Sprintf("want a unit, like \"%ds\"", n)
	}
	return k.want()
}

// text takes a string and checks it.
func (r *reader) text(path string, k *key, v *value) (string, bool) {
	_, secret := k.into(sample(), 0).(*Secret)
	_, duration := k.into(sample(), 0).(*time.Duration)
	switch {
	case v.kind == integerValue && duration:
		r.wrong(v.at, path, v.text+" has no unit", k.suggest(v.text))
		return "", false
	case secret && v.kind != stringValue:
		r.wrong(v.at, path, "this is "+v.kind.String(), k.want())
		return "", false
	case v.kind == integerValue && len(k.one) == 0:
		r.wrong(v.at, path, v.text+" is a number", fmt.Sprintf("want it in quotes: \"%s\"", v.text))
		return "", false
	case v.kind != stringValue:
		r.wrong(v.at, path, "this is "+v.kind.String(), k.want())
		return "", false
	case strings.ContainsFunc(v.text, unicode.IsControl) || !utf8.ValidString(v.text):
		r.wrong(v.at, path, "there is a character in it that cannot be seen", "want one line of text")
		return "", false
	case secret:
		return v.text, true
	}
	if len(k.one) > 0 && !slices.Contains(k.one, v.text) {
		want := k.want()
		if near := Nearest(v.text, k.one); near != "" {
			want = fmt.Sprintf("did you mean %q? %s", near, want)
		}
		r.wrong(v.at, path, fmt.Sprintf("%q is not possible", v.text), want)
		return "", false
	}
	if k.check != nil {
		if err := k.check(v.text); err != nil {
			r.wrong(v.at, path, fmt.Sprintf("%q is not possible", v.text), err.Error())
			return "", false
		}
	}
	return v.text, true
}

// list takes a list of strings, or a single one where a list of one is meant.
func (r *reader) list(path string, k *key, v *value) (list []string) {
	if v.kind == stringValue {
		r.wrong(v.at, path, "this is text", fmt.Sprintf("want it in brackets: [%q]", v.text))
		return nil
	}
	if v.kind != listValue {
		r.wrong(v.at, path, "this is "+v.kind.String(), k.want())
		return nil
	}
	for n, item := range v.items {
		s, ok := r.text(path, k, item)
		switch {
		case !ok:
		case slices.Contains(list, s):
			r.wrong(item.at, path, fmt.Sprintf("%q is in the list twice", s), "want it once")
		case n >= k.most:
			r.wrong(item.at, path, fmt.Sprintf("%q is too much", s), k.want())
			return list
		default:
			list = append(list, s)
		}
	}
	if len(v.items) == 0 {
		r.wrong(v.at, path, "the list is empty", k.want()+", or the line taken away")
	}
	return list
}
