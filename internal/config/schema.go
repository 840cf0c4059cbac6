package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

// A table is one kind of table of the file; the first is the file itself.
type table struct {
	name  string // as in the header; "" is the top of the file
	dots  bool   // its keys have dots, which TOML reads as tables of their own
	many  bool   // written [[name]], any number of times
	doc   string // for the reference file; lines
	keys  []key
	count func(*Config) int // tables of this kind; nil is one
	grow  func(*Config)     // makes room for one more
}

// A key is one row of the table that everything else follows from.
type key struct {
	name     string
	into     func(c *Config, i int) any // pointer to the field, in table i
	def      string                     // the default as TOML; "" has none, or one that follows from other keys
	follows  string                     // what an absent key becomes when def is empty; a noun
	example  string                     // TOML, shown where there is no default
	required bool
	one      []string      // the only words allowed, when not empty
	min, max time.Duration // of a duration
	low, top int64         // of a number or size
	most     int           // elements of a list
	check    func(string) error
	doc      string // a sentence or two; lines
}

var schema = []table{
	{
		keys: []key{{
			name: "board", into: func(c *Config, _ int) any { return &c.Board },
			def: `"auto"`, check: word,
			doc: "The device: its phone sockets and lamps. \"auto\" looks for itself, \"sim\" is a\ntelephone made of software, moved by \"ata-agent phone\".",
		}, {
			name: "country", into: func(c *Config, _ int) any { return &c.Country },
			example: `"us"`, follows: "the board's", check: country,
			doc: "Whose tones and rings are heard: \"us\", \"uk\", \"de\", ...; a wrong one is answered\nwith the list.",
		}, {
			name: "state_dir", into: func(c *Config, _ int) any { return &c.StateDir },
			def: `"/var/lib/ata-agent"`,
			doc: "Directory for what must outlive a restart: the last good proxy addresses and\nthe device's identity. A few kilobytes, rarely written.",
		}, {
			name: "control", into: func(c *Config, _ int) any { return &c.Control },
			def: strconv.Quote(usualControl), check: socketPath,
			doc: "Socket through which \"ata-agent status\" and its like reach the running agent.",
		}},
	},
	{
		name: "log",
		doc:  "What is written down. The agent tells changes only; a quiet log is a good sign.",
		keys: []key{{
			name: "level", into: func(c *Config, _ int) any { return &c.Log.Level },
			def: `"info"`, one: []string{"debug", "info", "warn", "error"},
			doc: "The least important thing worth a line.",
		}, {
			name: "to", into: func(c *Config, _ int) any { return &c.Log.To },
			def: `"stderr"`, one: []string{"stderr", "syslog"},
			doc: "Where lines go. Syslog is reached through /dev/log.",
		}, {
			name: "trace", into: func(c *Config, _ int) any { return &c.Log.Trace },
			def: `64`, low: 0, top: 1000,
			doc: "How many SIP messages \"ata-agent trace\" can show: the latest, at most 128 KiB, in\nmemory, without passwords. 0 keeps none.",
		}},
	},
	{
		name: "dns",
		doc:  "Whom to ask for the addresses of proxies.",
		keys: []key{{
			name: "servers", into: func(c *Config, _ int) any { return &c.DNS.Servers },
			example: `["127.0.0.53:5353"]`, follows: "those of resolv_conf", most: 8, check: server,
			doc: "Addresses of name servers, with a port where it is not 53.",
		}, {
			name: "resolv_conf", into: func(c *Config, _ int) any { return &c.DNS.ResolvConf },
			def: `"/etc/resolv.conf"`,
			doc: "File that names the servers when the key above does not; read again when it\nchanges.",
		}, {
			name: "timeout", into: func(c *Config, _ int) any { return &c.DNS.Timeout },
			def: `"1s"`, min: 100 * time.Millisecond, max: 10 * time.Second,
			doc: "How long one server may take to answer before the next is asked.",
		}},
	},
	{
		name: "tls",
		doc:  "For proxies spoken to over TLS. Their certificates are always checked, against\nthe name in outbound_proxy, the domain where an address stands there, or what a\n\";tlsname=proxy.example.net\" behind it says.",
		keys: []key{{
			name: "roots", into: func(c *Config, _ int) any { return &c.TLS.Roots },
			example: `"/etc/ssl/certs/ca-certificates.crt"`, follows: "the system's store",
			doc: "PEM file with the authorities to trust.",
		}},
	},
	{
		name: "memory",
		doc:  "How the program minds its memory. The variables GOGC and GOMEMLIMIT, when set in\nthe environment, win.",
		keys: []key{{
			name: "gc_percent", into: func(c *Config, _ int) any { return &c.Memory.GCPercent },
			def: `25`, low: 5, top: 1000,
			doc: "How much garbage may gather, in percent of what is in use, before it is\ncollected. Less is smaller and slower.",
		}, {
			name: "limit", into: func(c *Config, _ int) any { return &c.Memory.Limit },
			def: `"16MiB"`, low: 4 << 20, top: 1 << 30,
			doc: "Beyond this much the collector works as hard as it can.",
		}},
	},
	{
		name: "line", many: true,
		doc:   "An account at a provider, one [[line]] for each.",
		count: func(c *Config) int { return len(c.Lines) },
		grow:  func(c *Config) { c.Lines = append(c.Lines, Line{}) },
		keys: []key{{
			name: "name", into: func(c *Config, i int) any { return &c.Lines[i].Name },
			example: `"home"`, follows: "its number in the file", check: word,
			doc: "What the log, \"ata-agent status\" and [[port]] call this line.",
		}, {
			name: "user", into: func(c *Config, i int) any { return &c.Lines[i].User },
			example: `"1001"`, required: true, check: user,
			doc: "The account, often the phone number: what stands before the @.",
		}, {
			name: "password", into: func(c *Config, i int) any { return &c.Lines[i].Password },
			example: `"a long secret"`, follows: "none: the provider knows this device by its address",
			doc: "Of the account. It is never shown; keep this file from others' eyes (mode 600).",
		}, {
			name: "auth_user", into: func(c *Config, i int) any { return &c.Lines[i].AuthUser },
			example: `"1001-auth"`, follows: "the user", check: line,
			doc: "The name the password belongs to, where the provider gave one of its own.",
		}, {
			name: "domain", into: func(c *Config, i int) any { return &c.Lines[i].Domain },
			example: `"example.net"`, required: true, check: domain,
			doc: "The provider's name or address: what stands after the @.",
		}, {
			name: "display_name", into: func(c *Config, i int) any { return &c.Lines[i].DisplayName },
			example: `"Front desk"`, follows: "none", check: line,
			doc: "The caller's name that others may see.",
		}, {
			name: "outbound_proxy", into: func(c *Config, i int) any { return &c.Lines[i].OutboundProxy },
			example: `["proxy.example.net", "192.0.2.7:5060"]`, follows: "the domain", most: outbound.MaxProxies, check: proxy,
			doc: "Where everything is sent, best first: names or addresses, with a port or as SIP\nURI (\"sip:proxy.example.net;transport=tls\") where needed. A name stands for all its\naddresses. When one does not answer, the next is used; after the last, the first.",
		}, {
			name: "transport", into: func(c *Config, i int) any { return &c.Lines[i].Transport },
			example: `"udp"`, follows: "udp, or what the name's records say", one: []string{"udp", "tcp", "tls"},
			doc: "How to speak with proxies that do not say themselves.",
		}, {
			name: "expires", into: func(c *Config, i int) any { return &c.Lines[i].Expires },
			def: `"10m"`, min: 10 * time.Second, max: 24 * time.Hour,
			doc: "For how long to ask to be registered. The provider may grant less; it is renewed\nin time.",
		}, {
			name: "keepalive", into: func(c *Config, i int) any { return &c.Lines[i].KeepAlive },
			def: `"15s"`, min: time.Second, max: time.Hour,
			doc: "How often to look whether the proxy still lives; also keeps a NAT router's door\nopen.",
		}, {
			name: "keepalive_by", into: func(c *Config, i int) any { return &c.Lines[i].KeepAliveBy },
			def: `"options"`, one: []string{"options", "crlf", "stun", "off"},
			doc: "How to look. \"options\" is answered by every proxy; \"crlf\" and \"stun\" are shorter, for\nproxies known to answer them (RFC 5626); \"off\" finds a dead proxy only when\nregistering or calling.",
		}, {
			name: "no_answer", into: func(c *Config, i int) any { return &c.Lines[i].NoAnswer },
			def: `"4s"`, min: 500 * time.Millisecond, max: 32 * time.Second,
			doc: "How long a proxy may be silent to a call, at most, before the call is tried by the\nnext. One that is known to answer quickly is doubted sooner.",
		}, {
			name: "standby", into: func(c *Config, i int) any { return &c.Lines[i].Standby },
			def: `"probe"`, one: []string{"off", "probe", "register"},
			doc: "What is done with the addresses not in use: \"probe\" asks now and then whether they\nlive, so that the next is known before it is needed; \"register\" also holds a second\nregistration through one of them, where the provider takes two (RFC 5626).",
		}, {
			name: "failback", into: func(c *Config, i int) any { return &c.Lines[i].Failback },
			def: `"refresh"`, one: []string{"never", "ttl", "refresh", "timer", "immediate-idle"},
			doc: "When to go back to a better proxy that is well again, never during a call: not by\nitself, when its name is looked up again, when the registration is renewed, some time\nafter it was left, or at once.",
		}, {
			name: "failback_after", into: func(c *Config, i int) any { return &c.Lines[i].FailbackAfter },
			def: `"1h"`, min: time.Minute, max: 24 * time.Hour,
			doc: "For failback = \"timer\": how long after it was left.",
		}, {
			name: "order", into: func(c *Config, i int) any { return &c.Lines[i].Order },
			def: `"dns"`, one: []string{"dns", "spread"},
			doc: "Which address of a name comes first where its records do not say: the one that came\nfirst in the answer, or another for each device, so that many devices share them.",
		}, {
			name: "failover_spread", into: func(c *Config, i int) any { return &c.Lines[i].FailoverSpread },
			def: `"2s"`, min: 0, max: 10 * time.Minute,
			doc: "A line on which nobody speaks leaves a dead proxy some time within this, so that not\nall devices fall upon the next at once. 30s and more for many; a receiver lifted\nnever waits. Up to 2s it is kept to a part of keepalive, 2/15.",
		}, {
			name: "boot_spread", into: func(c *Config, i int) any { return &c.Lines[i].BootSpread },
			def: `"0s"`, min: 0, max: time.Hour,
			doc: "The same for the first registration after the device was switched on: power comes\nback to a whole town at once.",
		}, {
			name: "emergency", into: func(c *Config, i int) any { return &c.Lines[i].Emergency },
			example: `["911"]`, follows: "the country's", most: 16, check: number,
			doc: "Numbers that do not wait: while a proxy is in doubt they go out by others as well.",
		}, {
			name: "codecs", into: func(c *Config, i int) any { return &c.Lines[i].Codecs },
			example: `["pcma", "pcmu"]`, follows: "the country's, pcma or pcmu, then the other;\nbefore them g722 for a handset that hears more than a line", most: 5, check: codec,
			doc: "How sound is written, best first: \"pcma\" and \"pcmu\" (G.711), \"g726\" with half their\nbytes (32 kbit/s; \"g726-aal2\" for far ends that swap its halves), \"g722\", up to\n7 kHz, which a telephone on wires hears no better.",
		}, {
			name: "packet_time", into: func(c *Config, i int) any { return &c.Lines[i].PacketTime },
			def: `"20ms"`, min: 10 * time.Millisecond, max: 60 * time.Millisecond,
			doc: "How much sound goes into a packet, in steps of 10 ms, unless the far end wants\nanother amount.",
		}, {
			name: "srtp", into: func(c *Config, i int) any { return &c.Lines[i].SRTP },
			def: `"off"`, one: []string{"off", "required"},
			doc: "Whether sound is sealed (SRTP, with keys in SDP, RFC 4568). With \"required\" there is\nno call with a far end that will not; its keys need transport = \"tls\".",
		}, {
			name: "dtmf", into: func(c *Config, i int) any { return &c.Lines[i].Keys },
			def: `"rtp"`, one: []string{"rtp", "info", "inband"},
			doc: "How keys pressed during a call reach the far end: beside the sound (RFC 4733), by\nSIP INFO, or in the sound, which is also what happens where the far end takes none\nbeside it.",
		}, {
			name: "listen", into: func(c *Config, i int) any { return &c.Lines[i].Listen },
			example: `"0.0.0.0:5060"`, follows: "every address and a port the system picks", check: listen,
			doc: "Local address and port for signalling. Only the proxies are heard there.",
		}},
	},
	{
		name: "port", many: true,
		doc:   "A phone socket of the board. Without any [[port]], the board's first rings and\ncalls by the first line.",
		count: func(c *Config) int { return len(c.Ports) },
		grow:  func(c *Config) { c.Ports = append(c.Ports, Port{}) },
		keys: []key{{
			name: "name", into: func(c *Config, i int) any { return &c.Ports[i].Name },
			example: `"1"`, follows: "its number in the file", check: word,
			doc: "The board's name for the socket; \"ata-agent status\" lists them.",
		}, {
			name: "line", into: func(c *Config, i int) any { return &c.Ports[i].Line },
			example: `"home"`, follows: "the first", check: word,
			doc: "Name of the [[line]] that it rings and calls by.",
		}, {
			name: "country", into: func(c *Config, i int) any { return &c.Ports[i].Country },
			example: `"uk"`, follows: "the file's", check: country,
			doc: "Whose tones and rings this telephone has.",
		}, {
			name: "digit_map", into: func(c *Config, i int) any { return &c.Ports[i].DigitMap },
			example: `"(911|[2-9]xxxxxx|1xxxxxxxxxx|xx.T)"`, follows: "any number, complete after a pause or #", check: line,
			doc: "When a dialled number is complete, as in RFC 3435: alternatives of digits, x for\nany digit, [2-9] for some, a dot for any number more, T for a pause first, ! at the\nend for a number that is refused.",
		}, {
			name: "flash", into: func(c *Config, i int) any { return &c.Ports[i].Flash },
			def: `"event"`, one: []string{"event", "off"},
			doc: "What a hook flash is to the far end of a telephone's only call: an \"event\" beside\nthe sound (RFC 4733, number 16) where it takes one, or nothing.",
		}, {
			name: "call_waiting", into: func(c *Config, i int) any { return &c.Ports[i].CallWaiting },
			def: `"on"`, one: []string{"on", "off"},
			doc: "Whether a second caller is heard during a call, as a tone and, where caller_id can,\non the display. A flash answers and then goes from one to the other. With \"off\" the\nline is busy.",
		}, {
			name: "flash_min", into: func(c *Config, i int) any { return &c.Ports[i].FlashMin },
			def: `"80ms"`, min: 70 * time.Millisecond, max: time.Second,
			doc: "How long the hook is pressed for a flash at least; shorter is a dial's pulse. 80ms\nis good for an R key (100 ms in Europe) too, 300ms for slow dials.",
		}, {
			name: "flash_max", into: func(c *Config, i int) any { return &c.Ports[i].FlashMax },
			def: `"900ms"`, min: 100 * time.Millisecond, max: 2 * time.Second,
			doc: "How long at most. Only after so long is a receiver known to be put down: a call\nends sooner when this is short.",
		}, {
			name: "caller_id", into: func(c *Config, i int) any { return &c.Ports[i].CallerID },
			def: `"country"`, check: word,
			doc: "How the telephone is told who calls: as the country's exchanges do, where that is\nknown, \"off\", or one of bellcore, bellcore-single, etsi, etsi-alert, etsi-pulse,\netsi-reversal, uk, japan, dtmf, dtmf-reversal, dtmf-hash, dtmf-d.",
		}, {
			name: "echo_tail", into: func(c *Config, i int) any { return &c.Ports[i].EchoTail },
			def: strconv.Quote(UsualTail.String()), min: 0, max: 64 * time.Millisecond,
			doc: "The far end's voice comes back from the telephone; so late it may come and still be\ntaken out. 16ms is enough for a socket and some hundred metres of wire, and twice as\nmuch costs nearly twice the processor time. \"0s\" leaves the echo to others. A handset\nof an IP telephone has no such echo.",
		}, {
			name: "input_gain", into: func(c *Config, i int) any { return &c.Ports[i].InputGain },
			def: `0`, low: -24, top: 12,
			doc: "How much louder, in dB, far ends hear the mouth. Loud speech is squeezed, not cut.",
		}, {
			name: "output_gain", into: func(c *Config, i int) any { return &c.Ports[i].OutputGain },
			def: `0`, low: -24, top: 12,
			doc: "How much louder, in dB, the ear hears far ends; the exchange's tones stay as they\nare.",
		}, {
			name: "sidetone", into: func(c *Config, i int) any { return &c.Ports[i].Sidetone },
			def: `0`, low: 0, top: 35,
			doc: "Of an IP telephone's handset: how much softer, in dB, the ear hears its own mouth. 0\nis not at all, for hardware that does it itself. A telephone on a line always does.",
		}},
	},
	{
		name: "lamps", dots: true,
		doc:  "What the lamps show, for each what and when; the first that holds wins. Patterns are\noff, solid, slow, fast, heartbeat, triple, double, or milliseconds lit and dark in\nturn: \"100/900\". A board may have defaults of its own.",
		keys: lampKeys(),
	},
}

// lampKeys makes a key of each row of the lamps' table.
func lampKeys() (keys []key) {
	for _, row := range status.Default {
		keys = append(keys, key{
			name: row.Key, def: strconv.Quote(row.Pattern.Name), check: pattern, doc: strings.ToUpper(row.Meaning[:1]) + row.Meaning[1:] + ".",
			into: func(c *Config, _ int) any { return lamp{c, row.Key} },
		})
	}
	return keys
}

// lamp is the field of one lamp's pattern.
type lamp struct {
	c   *Config
	key string
}

func (l lamp) set(pattern string) {
	if l.c.Lamps == nil {
		l.c.Lamps = map[string]string{}
	}
	l.c.Lamps[l.key] = pattern
}

func (t *table) header() string {
	switch {
	case t.name == "":
		return "the top of the file"
	case t.many:
		return "[[" + t.name + "]]"
	}
	return "[" + t.name + "]"
}

func (t *table) path(k string) string {
	if t.name == "" {
		return k
	}
	return t.name + "." + k
}

func (t *table) find(name string) *key {
	for i := range t.keys {
		if t.keys[i].name == name {
			return &t.keys[i]
		}
	}
	return nil
}

func (t *table) names() []string {
	names := make([]string, len(t.keys))
	for i, k := range t.keys {
		names[i] = k.name
	}
	return names
}

func tableNamed(name string) *table {
	for i := range schema {
		if schema[i].name == name {
			return &schema[i]
		}
	}
	return nil
}

func tableNames() (names []string) {
	for _, t := range schema[1:] {
		names = append(names, t.name)
	}
	return names
}

// want says what would be right for a key.
func (k *key) want() string {
	like := k.def
	if like == "" {
		like = k.example
	}
	switch k.into(sample(), 0).(type) {
	case *Secret:
		return "text in quotes"
	case *time.Duration:
		return fmt.Sprintf("want a number and its unit in quotes, %s to %s, like %s", short(k.min), short(k.max), like)
	case *int:
		return fmt.Sprintf("want a number from %d to %d, like %s", k.low, k.top, like)
	case *int64:
		return fmt.Sprintf("want an amount of memory in quotes, %s to %s, like %s", amount(k.low), amount(k.top), like)
	case *[]string, *[]netip.AddrPort:
		return fmt.Sprintf("want a list of at most %d, like %s", k.most, like)
	}
	if len(k.one) > 0 {
		return "want one of " + quoted(k.one)
	}
	return "want text in quotes, like " + like
}

// sample has one table of each kind, so that every key has a field.
func sample() *Config { return &Config{Lines: make([]Line, 1), Ports: make([]Port, 1)} }

func quoted(words []string) string {
	q := make([]string, len(words))
	for i, w := range words {
		q[i] = strconv.Quote(w)
	}
	return strings.Join(q, ", ")
}

// short prints a duration without empty units: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

var units = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func amount(n int64) string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func parseAmount(s string) (int64, bool) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
			return n * u.size, err == nil
		}
	}
	return 0, false
}

// The checks of single values. Each error says what would be right; that
// there are no control characters was seen before.

func word(s string) error {
	if s == "" || strings.ContainsAny(s, " \t/") {
		return errors.New("want a word without spaces")
	}
	return nil
}

func line(string) error { return nil }

func number(s string) error {
	if s == "" || strings.Trim(s, "0123456789*#") != "" {
		return errors.New("want a number as it is dialled: 0-9, *, #")
	}
	return nil
}

// codecs are the words for how sound is written.
var codecs = []struct {
	word string
	sdp.Codec
}{{"pcma", sdp.PCMA}, {"pcmu", sdp.PCMU}, {"g722", sdp.G722}, {"g726", sdp.G726}, {"g726-aal2", sdp.G726AAL2}}

func codec(s string) error {
	words := make([]string, len(codecs))
	for i, c := range codecs {
		if words[i] = c.word; c.word == s {
			return nil
		}
	}
	return errors.New("want one of " + quoted(words))
}

func country(s string) error {
	if len(s) != 2 || s != strings.ToLower(s) {
		return errors.New(`want two small letters, like "us"`)
	}
	return nil
}

func pattern(s string) error {
	if _, err := status.ParsePattern(s); err != nil {
		return errors.New("want off, solid, slow, fast, heartbeat, triple, double, or milliseconds lit and dark like 100/900")
	}
	return nil
}

func proxy(s string) error {
	if _, err := outbound.ParseProxy(s, outbound.UDP); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), fmt.Sprintf("outbound proxy %q: ", s)))
	}
	return nil
}

func socketPath(s string) error {
	// sun_path of unix(7) is 108 bytes with its closing zero.
	if len(s) == 0 || len(s) > 107 {
		return errors.New("want a path of at most 107 bytes")
	}
	return nil
}

func user(s string) error {
	if u, d, ok := strings.Cut(strings.TrimPrefix(s, "sip:"), "@"); ok && u != "" {
		return fmt.Errorf("want the two apart: user = %q and domain = %q", u, d)
	}
	if s == "" || strings.ContainsAny(s, " \t:@<>\"") {
		return errors.New("want the account alone, without spaces")
	}
	return nil
}

func domain(s string) error {
	if d, ok := strings.CutPrefix(s, "sip:"); ok {
		return fmt.Errorf("want it without \"sip:\": %q", d)
	}
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return nil
	}
	if h, p, ok := strings.Cut(s, ":"); ok {
		return fmt.Errorf("want it without a port: %q; a port belongs in outbound_proxy = [\"%s:%s\"]", h, h, p)
	}
	if !hostname(s) {
		return errors.New(`want a name or an address, like "example.net"`)
	}
	return nil
}

func hostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			letter := 'a' <= c|0x20 && c|0x20 <= 'z'
			if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func server(s string) error {
	if _, ok := parseServer(s); !ok {
		return errors.New(`want an address, with a port where it is not 53, like "192.0.2.53" or "[2001:db8::53]:5353"`)
	}
	return nil
}

func parseServer(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, ap.Port() != 0
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return netip.AddrPortFrom(a, 53), err == nil
}

func listen(s string) error {
	if strings.HasPrefix(s, ":") {
		s = "0.0.0.0" + s
	}
	if _, err := netip.ParseAddrPort(s); err != nil {
		return errors.New(`want an address and a port, like "0.0.0.0:5060"; port 0 lets the system pick`)
	}
	return nil
}
