package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Mistake is one thing wrong in a file.
type Mistake struct {
	File         string
	Line, Column int    // from 1; 0 when the mistake has no place
	Key          string // "line.expires"; "" when it is about the text
	Found        string // what is wrong, a sentence without its full stop
	Want         string // what would be right; may be empty
}

// Error reads FILE:LINE:COLUMN: KEY: FOUND; WANT.
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", m.Line, m.Column)
	}
	b.WriteString(": ")
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	b.WriteString(m.Found)
	if m.Want != "" {
		b.WriteString("; " + m.Want)
	}
	return b.String()
}

// Mistakes are all that is wrong in a file, in its order: the error of Load
// and Parse.
type Mistakes []Mistake

// Error is one line for each mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

func (ms Mistakes) sort() {
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Nearest returns the word of a list that was most likely meant, or "" when
// none is near.
func Nearest(word string, among []string) string {
	best, least := "", min(len(word)/3+2, len(word))
	for _, w := range among {
		if d := distance(strings.ToLower(word), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap with a neighbour
// (Damerau's distance, each place edited once). A hyphen is an underscore.
func distance(a, b string) int {
	a, b = strings.ReplaceAll(a, "-", "_"), strings.ReplaceAll(b, "-", "_")
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	var rows [3][41]int // of the table, the last three
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above := &rows[i%3], &rows[(i+2)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], rows[(i+1)%3][j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
