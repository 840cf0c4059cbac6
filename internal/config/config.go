// Package config is the configuration file, checked. Its one idea: one table
// describes every key (its kind, default, range and a sentence), and reading,
// error messages and the reference file all follow from that table.
//
// A file with mistakes yields all of them at once, each with file, line,
// column, key, what was found and what would be right.
package config

import (
	"log/slog"
	"net/netip"
	"time"
)

// A Config is a whole file with its defaults filled in. It is a value nobody
// changes after Load or Parse has returned it; any goroutine may read it.
type Config struct {
	File string // as given to Load or Parse

	Board    string // profile name; "auto" looks what the device is
	Country  string // two letters, lower case; "" is the board's
	StateDir string // for what must outlive a restart
	Control  string // path of the control socket

	Log    Log
	DNS    DNS
	TLS    TLS
	Memory Memory
	Lines  []Line // at least one
	Ports  []Port // as written; empty when the file has none

	places map[string]place // where each key stands, for mistakes found later
}

// Log says what is written down and where.
type Log struct {
	Level slog.Level
	To    string // "stderr" or "syslog"
}

// DNS says whom to ask for names.
type DNS struct {
	Servers    []netip.AddrPort // empty: those of ResolvConf
	ResolvConf string           // read again when it changes
	Timeout    time.Duration    // of one question to one server
}

// TLS says whom to trust.
type TLS struct {
	Roots string // PEM file; "" is the system's store
}

// Memory bounds the garbage collector.
type Memory struct {
	GCPercent int   // heap growth between collections, as GOGC
	Limit     int64 // bytes, as GOMEMLIMIT; 0 is no limit
}

// A Line is an account that rings.
type Line struct {
	Name          string // unique; "1", "2", ... in file order when not given
	User          string
	AuthUser      string // for the password; User when not given
	Password      Secret
	Domain        string // host or address of the account, without port
	DisplayName   string
	OutboundProxy []string      // in order; the domain when not given
	Transport     string        // "udp", "tcp" or "tls", for proxies that do not say
	Expires       time.Duration // asked for when registering
	KeepAlive     time.Duration
	KeepAliveBy   string        // "options", "crlf", "stun" or "off"
	NoAnswer      time.Duration // how long an address may be silent to a call before the next is tried
	Listen        string        // local address for signalling; "" is any address and port
}

// A Port joins one of the board's phone sockets to a line.
type Port struct {
	Name     string // of the board's port; "1", "2", ... in file order when not given
	Line     string // name of a Line; the first when not given
	Country  string // "" is the file's
	DigitMap string // "" is the country's usual: digits until a pause or #
}

// A Secret is never printed: not by fmt, not in a log, not as JSON or text.
// Reveal is the only way to it.
type Secret struct{ s string }

// NewSecret keeps s from being printed.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.s }

const redacted = "(secret)"

// String hides the secret; an empty one shows as empty.
func (s Secret) String() string {
	if s.s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Load reads and checks a file.
func Load(path string) (*Config, error) { panic("not yet") }

// Parse checks data; name stands for the file in mistakes.
func Parse(name string, data []byte) (*Config, error) { panic("not yet") }

type place struct{ line, column int }
