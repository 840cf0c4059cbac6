package config

import (
	"fmt"
	"io"
	"log/slog"
)

// A Secret is never printed: not by fmt, not in a log, not as JSON or text.
// Reveal is the only way to it. The zero Secret is empty.
type Secret struct{ s string }

// NewSecret keeps s from being printed.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.s }

// String hides the secret; an empty one shows as empty.
func (s Secret) String() string {
	if s.s == "" {
		return ""
	}
	return "(secret)"
}

// Format hides the secret from every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
