package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/ata-agent/ata-agent/internal/config"
)

// newLogger writes where the configuration says. The level may be changed
// later.
func newLogger(c config.Log, level *slog.LevelVar, stderr io.Writer) *slog.Logger {
	level.Set(c.Level)
	h := &handler{level: level, mu: new(sync.Mutex)}
	// Who reads a journal or a syslog sees the time there already.
	h.clock = os.Getenv("JOURNAL_STREAM") == ""
	h.write = func(_ slog.Level, line string) { io.WriteString(stderr, line+"\n") }
	if c.To != "syslog" {
		return slog.New(h)
	}
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_INFO, "ata-agent")
	if err != nil {
		log := slog.New(h)
		log.Warn("syslog does not answer, so lines go to stderr: " + err.Error())
		return log
	}
	h.syslog(w)
	return slog.New(h)
}

// syslog writes there instead. Syslog knows the time.
func (h *handler) syslog(w *syslog.Writer) {
	h.clock = false
	h.write = func(l slog.Level, line string) {
		switch {
		case l >= slog.LevelError:
			w.Err(line)
		case l >= slog.LevelWarn:
			w.Warning(line)
		case l >= slog.LevelInfo:
			w.Info(line)
		default:
			w.Debug(line)
		}
	}
}

// A handler writes a record as a person reads it:
//
//	15:04:05.000 warn  line home: no proxy answers  hint="check that ..."
type handler struct {
	level *slog.LevelVar
	clock bool
	write func(slog.Level, string)
	mu    *sync.Mutex // one line at a time
	attrs string      // of With
	group string      // of WithGroup, with a dot at the end
}

func (h *handler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	if h.clock && !r.Time.IsZero() {
		b.WriteString(r.Time.Format("15:04:05.000 "))
	}
	fmt.Fprintf(&b, "%-5s %s", strings.ToLower(r.Level.String()), oneLine(r.Message))
	b.WriteString(h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attr(&b, h.group, a)
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write(r.Level, b.String())
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range attrs {
		attr(&b, h.group, a)
	}
	with := *h
	with.attrs = b.String()
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.group += name + "."
	}
	return &with
}

func attr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, in := range v.Group() {
			attr(b, group, in)
		}
		return
	}
	if a.Key == "" {
		return
	}
	s := v.String()
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == '=' || !strconv.IsPrint(r) }) {
		s = strconv.Quote(s)
	}
	b.WriteString("  " + group + a.Key + "=" + s)
}

// oneLine keeps what came from the network from writing lines of its own or
// moving the reader's cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '.'
	}, s)
}
