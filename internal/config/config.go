// Package config is the configuration file, checked. Its one idea: one table
// describes every key (its kind, default, range and a sentence), and reading,
// error messages and the reference file all follow from that table.
//
// A file with mistakes yields all of them at once, each with file, line,
// column, key, what was found and what would be right.
package config

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/sdp"
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

	Lamps map[string]string // the patterns the file gives, for status.Table.With

	Warnings []Mistake // what is no mistake but unwise

	places map[string]place // where each key stands: "country", "line[0]", "line[0].user"
}

// Log says what is written down and where.
type Log struct {
	Level slog.Level
	To    string // "stderr" or "syslog"
	Trace int    // SIP messages kept in memory; 0 is none
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
	Transport     string        // "udp", "tcp" or "tls", for proxies that do not say; "" is udp unless a name knows better (RFC 3263)
	Expires       time.Duration // asked for when registering
	KeepAlive     time.Duration
	KeepAliveBy   string        // "options", "crlf", "stun" or "off"
	NoAnswer      time.Duration // how long an address may be silent to a call, at most, before the next is tried
	Listen        string        // local address for signalling; "" is any address and port
	Codecs        []string      // best first: "pcma", "pcmu", "g722", "g726", "g726-aal2"; empty: the law of the port's country, then the other, and before them G.722 for a wide handset
	PacketTime    time.Duration // sound in a packet, in steps of 10 ms
	SRTP          string        // "off" or "required": sound that only the two ends can hear
	Keys          string        // how keys pressed in a call travel: "rtp", "info", "inband"

	// How it shares proxies with others like it, and how it comes back: see
	// outbound.RouteConfig.
	Order          string // "dns" or "spread"
	FailoverSpread time.Duration
	BootSpread     time.Duration
	Failback       string // "never", "ttl", "refresh", "timer", "immediate-idle"
	FailbackAfter  time.Duration
	Standby        string   // "off", "probe" or "register"
	Emergency      []string // numbers that go out by every way at once; empty: the country's
}

// Proxies are OutboundProxy as outbound knows them. What the file says of the
// transport is meant: then names may not choose another.
func (l *Line) Proxies() (all []outbound.Proxy) {
	transport, err := outbound.ParseTransport(cmp.Or(l.Transport, "udp"))
	if err != nil {
		panic(err) // it was one of the words allowed
	}
	for _, text := range l.OutboundProxy {
		p, err := outbound.ParseProxy(text, transport)
		if err != nil {
			panic(err) // it was tried when the file was read
		}
		p.TransportSet = p.TransportSet || l.Transport != ""
		if p.TLSName == "" { // an address: its certificate is the domain's (RFC 5922 section 7.3)
			p.TLSName = l.Domain
		}
		all = append(all, p)
	}
	return all
}

// Sound is Codecs as sdp knows them, each once.
func (l *Line) Sound() (all []sdp.Codec) {
	for _, word := range l.Codecs {
		for _, c := range codecs {
			if c.word == word && !slices.Contains(all, c.Codec) {
				all = append(all, c.Codec)
			}
		}
	}
	return all
}

// UsualTail is EchoTail where nothing is said, of a port that the file does not
// name as well.
const UsualTail = 16 * time.Millisecond

// A Port joins one of the board's phone sockets to a line.
type Port struct {
	Name     string // of the board's port; "1", "2", ... in file order when not given
	Line     string // name of a Line; the first when not given
	Country  string // "" is the file's
	DigitMap string // as phone.ParsePlan reads it, which this package leaves to those above
	Flash    string // what a hook flash in a call is to the far end: "event" or "off"

	CallWaiting string // whether who calls during a call is heard and waits: "on" or "off"

	// How long the hook is pressed for a flash. Longer is a receiver put down.
	FlashMin, FlashMax time.Duration

	CallerID string // how the telephone is told who calls: "country", or as callerid.ParseStandard knows it, which this package leaves to those above

	EchoTail   time.Duration // how late the line's echo may come and be taken out; 0: it is left
	InputGain  int           // dB, from the mouth
	OutputGain int           // dB, to the ear
	Sidetone   int           // how much softer, dB, the ear of a handset hears its mouth; 0: not at all
}

// maxFile bounds a file; the reference is a tenth of it.
const maxFile = 64 << 10

const usualControl = "/run/ata-agent.sock"

// Load reads and checks a file. Its error is of type Mistakes, or an
// *fs.PathError when there is nothing to read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	c, err := Parse(path, data)
	if err != nil {
		return nil, err
	}
	// RFC 3261 section 22.4 leaves the password's safety to us; 0004 is
	// "others may read" (inode(7)).
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o004 != 0 && c.holdsSecret() {
		c.Warnings = append(c.Warnings, Mistake{File: path, Found: "every user of this machine can read the password in it", Want: "want mode 600: chmod 600 " + path})
	}
	return c, nil
}

// ControlPath returns the control socket that a file names, or the usual one,
// whatever else is wrong in it: a running agent must be reachable while its file
// is being changed.
func ControlPath(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", err
	}
	root, _ := grow(path, data)
	r := reader{file: path, c: &Config{places: map[string]place{}}}
	r.top(root)
	if r.c.Control == "" {
		return usualControl, nil
	}
	return r.c.Control, nil
}

// Parse checks data; name stands for the file in mistakes. Its error is of
// type Mistakes.
func Parse(name string, data []byte) (*Config, error) {
	if len(data) > maxFile {
		return nil, Mistakes{{File: name, Found: fmt.Sprintf("the file is longer than %d bytes", maxFile)}}
	}
	root, mistakes := grow(name, data)
	r := reader{file: name, c: &Config{File: name, places: map[string]place{}}, mistakes: mistakes}
	r.top(root)
	r.settle()
	if len(r.mistakes) > 0 {
		r.mistakes.sort()
		return nil, r.mistakes
	}
	return r.c, nil
}

// Mistake makes an error about a key for those who know more than this
// package: that a board has no such port, say. key is "country",
// "line[0].domain", "port[1]".
func (c *Config) Mistake(key, found, want string) Mistake {
	at, ok := c.places[key]
	if n := strings.LastIndexByte(key, '.'); !ok && n > 0 {
		at = c.places[key[:n]]
	}
	return Mistake{c.File, at.line, at.column, withoutIndex(key), found, want}
}

// withoutIndex makes "line.user" of "line[0].user".
func withoutIndex(key string) string {
	table, rest, _ := strings.Cut(key, "[")
	_, rest, _ = strings.Cut(rest, "]")
	return table + rest
}

func (c *Config) holdsSecret() bool {
	return slices.ContainsFunc(c.Lines, func(l Line) bool { return l.Password != Secret{} })
}
