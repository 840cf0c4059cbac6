package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"

	"github.com/emiago/sipgo/sip"
)

// Limits of what is read. From trusted addresses: strangers are not read at all.
const (
	// maxMessage is the largest message taken. An INVITE with every header a
	// carrier adds and an offer with ICE stays below half of it.
	maxMessage = 8 << 10

	// requestRate is what one trusted address may ask of us in a second
	// unless the Config says otherwise. 100 calls a minute are 12 messages
	// a second.
	requestRate = 100
)

// What sipgo keeps in package variables is set here and nowhere else, before
// anything runs.
//
//   - TransportBufferReadSize: 32 KiB for each socket and connection is much on
//     a board with 32 MB. One byte more than the largest message tells a message
//     that was cut from one that fits.
//   - The default logger: sipgo writes every message that it cannot parse whole
//     and at level Error, 46 MB for 12,000 bad datagrams.
//
// UDPMTUSize (sipgo refuses to write a datagram above 1300 bytes) and the
// timers of SetTimers are left alone: our messages are written by
// [Transport.Send] and timed by package txn.
func init() {
	sip.TransportBufferReadSize = maxMessage + 1
	sip.SetDefaultLogger(slog.New(newCalm(defaultHandler{})))
}

// noResolver makes a forgotten destination fail aloud: sipgo would ask the
// system's name servers behind the route's back.
var noResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("transport: sipgo asked for a name; every message must say its address")
}}

// newParser returns sipgo's parser with all compact forms. sipgo knows only
// those of the headers it parses itself, so that Supported is not found in a
// message that says "k: 100rel".
func newParser() *sip.Parser {
	table := maps.Clone(sip.DefaultHeadersParser())
	for compact, full := range compactForms {
		if parse, ok := table[full.key]; ok {
			table[compact] = parse
			continue
		}
		table[compact] = func(_ []byte, value string) (sip.Header, error) {
			return sip.NewHeader(full.name, value), nil
		}
	}
	p := sip.NewParser(sip.WithHeadersParsers(table))
	p.MaxMessageLength = maxMessage
	return p
}

// Compact forms beyond those of sipgo, from the IANA registry of SIP header
// fields.
var compactForms = map[string]struct{ key, name string }{
	"a": {"accept-contact", "Accept-Contact"}, // RFC 3841
	"b": {"referred-by", "Referred-By"},       // RFC 3892
	"e": {"content-encoding", "Content-Encoding"},
	"k": {"supported", "Supported"},
	"o": {"event", "Event"},       // RFC 6665
	"r": {"refer-to", "Refer-To"}, // RFC 3515
	"s": {"subject", "Subject"},
	"u": {"allow-events", "Allow-Events"},       // RFC 6665
	"x": {"session-expires", "Session-Expires"}, // RFC 4028
}
