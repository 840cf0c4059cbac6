package transport

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// How much of sipgo's log is let through.
const (
	calmEvery = 10 * time.Second // one line of a kind in this time
	calmWidth = 200              // bytes of one value
	calmKinds = 64               // kinds remembered; sipgo has about 40
)

// calm is a handler under sipgo's loggers: warnings and errors only, one of a
// kind in ten seconds, long values cut and control bytes escaped. What a
// stranger sends can fill no log with it.
type calm struct {
	slog.Handler
	seen *seen
}

type seen struct {
	mu   sync.Mutex
	last map[string]*kind
}

// A kind of message, told by its text.
type kind struct {
	at         time.Time
	suppressed int
}

func newCalm(h slog.Handler) slog.Handler {
	return calm{h, &seen{last: map[string]*kind{}}}
}

func (c calm) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && c.Handler.Enabled(ctx, level)
}

// WithAttrs leaves out what sipgo adds to every line: which of its types speaks.
func (c calm) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c calm) WithGroup(name string) slog.Handler { return calm{c.Handler.WithGroup(name), c.seen} }

func (c calm) Handle(ctx context.Context, r slog.Record) error {
	suppressed, ok := c.seen.admit(r.Message, r.Time)
	if !ok {
		return nil
	}
	out := slog.NewRecord(r.Time, r.Level, "sip: "+cut(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(slog.String(a.Key, cut(value(a.Value))))
		return true
	})
	if suppressed > 0 {
		out.AddAttrs(slog.Int("suppressed", suppressed))
	}
	return c.Handler.Handle(ctx, out)
}

// admit says whether a line of this kind may be written now and how many were
// left out since the last.
func (s *seen) admit(text string, now time.Time) (suppressed int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.last[text]
	if k == nil {
		if len(s.last) >= calmKinds {
			clear(s.last)
		}
		s.last[text] = &kind{at: now}
		return 0, true
	}
	if now.Sub(k.at) < calmEvery {
		k.suppressed++
		return 0, false
	}
	suppressed = k.suppressed
	*k = kind{at: now}
	return suppressed, true
}

func value(v slog.Value) string {
	if v.Kind() == slog.KindString {
		return v.String()
	}
	return fmt.Sprint(v.Any())
}

// cut shortens a value and makes it one line of printable ASCII.
func cut(s string) string {
	if len(s) > calmWidth {
		s = s[:calmWidth] + "..."
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}

// defaultHandler is whatever slog.Default is at the moment of writing.
type defaultHandler struct{}

func (defaultHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return slog.Default().Enabled(ctx, l)
}
func (defaultHandler) Handle(ctx context.Context, r slog.Record) error {
	return slog.Default().Handler().Handle(ctx, r)
}
func (d defaultHandler) WithAttrs([]slog.Attr) slog.Handler { return d }
func (d defaultHandler) WithGroup(string) slog.Handler      { return d }
