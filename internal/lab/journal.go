package lab

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Journal writes what happened, in order, with the time since its start in
// seconds: what was done flush left behind a ">", what followed indented.
//
// Entries that share an instant (within the few microseconds by which the flows
// of a network differ) are put into the order of their Source, since virtual
// time does not order them: machines first, by their names, then the agent's
// log, lamps, bell, display and ear.
type Journal struct {
	mu      sync.Mutex
	out     io.Writer
	start   time.Time
	live    bool    // write at once
	pending []entry // of one instant, within a few microseconds
	mute    bool
	waiting map[chan struct{}]string // for a text
	taps    []func(Source, string)
}

// A Source says whose entry it is.
type Source uint8

// The sources, in the order in which they stand when they share an instant.
const (
	Done     Source = iota // what the scenario does
	Machine                // proxies, name server, far ends
	Log                    // the agent's own words
	LampLit                // a lamp
	BellRung               // the bell, and the wires it hangs on
	Display                // what shows who calls
	EarHears               // the ear
)

// instant is how far apart things may be that happen at once.
const instant = 5 * time.Microsecond

type entry struct {
	at     time.Duration
	source Source
	text   string
}

// NewJournal writes to out. A live journal writes every entry at once, which is
// what a person watching wants.
func NewJournal(out io.Writer, live bool) *Journal {
	return &Journal{out: out, start: time.Now(), live: live}
}

// Add tells that something happened now.
func (j *Journal) Add(s Source, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mute {
		return
	}
	for _, tap := range j.taps {
		tap(s, text)
	}
	for c, want := range j.waiting {
		if s != Done && strings.Contains(text, want) {
			close(c)
			delete(j.waiting, c)
		}
	}
	e := entry{time.Since(j.start), s, text}
	if len(j.pending) > 0 && e.at-j.pending[0].at > instant {
		j.flush()
	}
	j.pending = append(j.pending, e)
	if j.live {
		j.flush()
	}
}

// Tap calls f with every entry that is added. f must not add one.
func (j *Journal) Tap(f func(Source, string)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.taps = append(j.taps, f)
}

// Await waits until an entry with the text is added, or returns an error after
// a time.
func (j *Journal) Await(ctx context.Context, d time.Duration, text string) error {
	c := make(chan struct{})
	j.mu.Lock()
	if j.waiting == nil {
		j.waiting = make(map[chan struct{}]string)
	}
	j.waiting[c] = text
	j.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return nil
	case <-t.C:
		return fmt.Errorf("%q was not seen within %v", text, d)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Mute ends the story: what follows is not written.
func (j *Journal) Mute() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mute = true
}

// Flush writes what is still held back.
func (j *Journal) Flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flush()
}

func (j *Journal) flush() {
	slices.SortStableFunc(j.pending, func(a, b entry) int {
		if a.source == Machine && b.source == Machine {
			return cmp.Compare(a.text, b.text)
		}
		return cmp.Compare(a.source, b.source)
	})
	for _, e := range j.pending {
		mark := "  "
		if e.source == Done {
			mark = "> "
		}
		for line := range strings.Lines(e.text) {
			fmt.Fprintf(j.out, "%8.3f %s%s\n", float64(e.at/time.Millisecond)/1000, mark, strings.TrimRight(line, "\n"))
			mark = "    "
		}
	}
	j.pending = j.pending[:0]
}
