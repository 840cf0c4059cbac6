package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/callerid"
	"github.com/ata-agent/ata-agent/internal/media/rtp"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/sip/sdp"
)

const lineTable = `
[[line]]
user = "100"
password = "secret"
domain = "example.net"
outbound_proxy = ["192.0.2.7"]
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sockets(names ...string) (ports []hal.Port) {
	for _, n := range names {
		ports = append(ports, sim.New(n, sim.Options{}))
	}
	return ports
}

// What only the board can know to be wrong is named with its place, all of it
// at once.
func TestMistakes(t *testing.T) {
	c := parse(t, `state_dir = ""
`+lineTable+`
[[port]]
name = "1"
digit_map = "([2-9]xx|0"

[[port]]
name = "3"
country = "xx"
`)
	_, err := New(Config{Config: c, Ports: sockets("1", "2")})
	var wrong config.Mistakes
	if !errors.As(err, &wrong) || len(wrong) != 2 {
		t.Fatalf("error %v: want two mistakes", err)
	}
	for i, want := range []string{
		`test.toml:11:13: port.digit_map: digit map "([2-9]xx|0": want | or ) here, at its end`,
		`test.toml:14:8: port.name: this board has no port "3"; its ports are "1", "2"`,
	} {
		if !strings.HasPrefix(wrong[i].Error(), want) {
			t.Errorf("%v\nwant %s", wrong[i], want)
		}
	}
}

// A sidetone is for a handset, which is told of no caller by its sound.
func TestSidetone(t *testing.T) {
	handset := []hal.Port{sim.NewHandset("1", 16000, sim.Options{})}
	for _, row := range []struct {
		ports []hal.Port
		port  string
		want  string // the mistake
	}{
		{handset, "sidetone = 18", ""},
		{handset, `caller_id = "etsi"`, `port.caller_id: "etsi" cannot be: sim hardware sends nothing to a telephone on the hook; want "off"`},
		{handset, "sidetone = 36", "port.sidetone: 36 is out of range; want a number from 0 to 35, like 0"},
		{sockets("1"), "sidetone = 0", ""},
		{sockets("1"), "sidetone = 18", `port.sidetone: port "1" has a line, whose telephone makes its own; want 0`},
	} {
		var log bytes.Buffer
		c, err := config.Parse("test.toml", []byte(`state_dir = ""`+lineTable+"[[port]]\n"+row.port+"\n"))
		if err == nil {
			_, err = New(Config{Config: c, Ports: row.ports, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		}
		if err != nil && row.want == "" || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %s", row.port, err, row.want)
		}
		if strings.Contains(log.String(), "who calls") {
			t.Errorf("%s: the log says %s", row.port, &log)
		}
	}
}

// A plain port can do only what every port can.
type plain struct{ hal.Port }

// How a telephone is told who calls: as its country's are, where that is known
// and the port is able to; as the file says, where the port is able to.
func TestCallerID(t *testing.T) {
	for _, row := range []struct {
		port       string
		able       bool
		want       string // the standard, or the mistake
		complaints bool
	}{
		{``, true, "bellcore", false},
		{`country = "uk"`, true, "uk", false},
		{`country = "at"`, true, "off", false}, // nobody has looked
		{"country = \"at\"\ncaller_id = \"etsi\"", true, "etsi", false},
		{`caller_id = "country"`, true, "bellcore", false},
		{`caller_id = "off"`, true, "off", false},
		{`caller_id = "dtmf-reversal"`, true, "dtmf-reversal", false},
		{``, false, "off", true},
		{`country = "at"`, false, "off", false},
		{`caller_id = "off"`, false, "off", false},
		{`caller_id = "etsi"`, false, `port.caller_id: "etsi" cannot be: sim hardware sends nothing to a telephone on the hook; want "off"`, false},
		{`caller_id = "etsy"`, true, `port.caller_id: "etsy" is no standard; did you mean "etsi"?`, false},
		{`caller_id = "fax"`, true, `port.caller_id: "fax" is no standard; want one of country, off, bellcore, `, false},
	} {
		ports := sockets("1")
		if !row.able {
			ports[0] = plain{ports[0]}
		}
		var log bytes.Buffer
		a, err := New(Config{Config: parse(t, `state_dir = ""`+lineTable+"[[port]]\n"+row.port+"\n"), Ports: ports, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = a.exts[0].caller.String()
		}
		if !strings.Contains(got, row.want) || err == nil && got != row.want {
			t.Errorf("%q: %s, want %s", row.port, got, row.want)
		}
		if complains := strings.Contains(log.String(), "does not show who calls"); complains != row.complaints {
			t.Errorf("%q: the log says %q", row.port, &log)
		}
	}
	// The reference names them all.
	text, err := os.ReadFile("../config/reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, doc, _ := strings.Cut(string(text), "# How the telephone is told who calls")
	doc, _, _ = strings.Cut(doc, "caller_id =")
	for _, name := range callerid.Names() {
		if !strings.Contains(strings.NewReplacer("\n# ", " ", ".", ",", `"`, "", "one of ", ", ").Replace(doc), " "+name+",") {
			t.Errorf("the reference does not name %q: %s", name, doc)
		}
	}
}

// Without [[port]] the first line rings the board's first port.
func TestWhichPortHasWhichLine(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string // the line of each of three ports
	}{
		{"none named", "", []string{"1", "", ""}},
		{"one named", "[[port]]\nname = \"2\"\n", []string{"", "1", ""}},
		{"two lines", "[[line]]\nname = \"b\"\nuser = \"b\"\ndomain = \"example.net\"\n[[port]]\n[[port]]\nline = \"b\"\n", []string{"1", "b", ""}},
		{"all on one", "[[port]]\n[[port]]\n[[port]]\n", []string{"1", "1", "1"}},
	} {
		a, err := New(Config{Config: parse(t, `state_dir = ""`+lineTable+row.text), Ports: sockets("1", "2", "3")})
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		s := a.Snapshot()
		for i, want := range row.want {
			if p := s.Ports[i]; p.Line != want || p.Hook != "on" || p.State != "idle" || p.Kind != "sim" {
				t.Errorf("%s: port %d is %+v, want line %q", row.name, i, p, want)
			}
		}
		if s.Lines[0].State != status.Registering || s.Problem != "" {
			t.Errorf("%s: begins as %+v, problem %q", row.name, s.Lines[0], s.Problem)
		}
	}
}

// Lines with the same proxies, asked for in the same way, share a route.
func TestRoutesAreShared(t *testing.T) {
	line := func(proxy, transport string) string {
		return fmt.Sprintf("[[line]]\nuser = \"1\"\ndomain = \"example.net\"\noutbound_proxy = [%s]\ntransport = %q\n", proxy, transport)
	}
	text := "state_dir = \"\"\n" + line(`"a.example", "b.example"`, "udp") + line(`"a.example", "b.example"`, "udp") +
		line(`"b.example", "a.example"`, "udp") + line(`"a.example", "b.example"`, "tcp")
	a, err := New(Config{Config: parse(t, text), Ports: sockets("1")})
	if err != nil {
		t.Fatal(err)
	}
	l := a.lines
	if l[0].route != l[1].route || l[0].route == l[2].route || l[0].route == l[3].route || len(a.routes) != 3 || l[0].route.lines != 2 {
		t.Errorf("%d routes", len(a.routes))
	}
	// Who is gone needs none.
	s, err := a.prepare(parse(t, "state_dir = \"\"\n"+line(`"b.example", "a.example"`, "udp")))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.apply(s); err != nil {
		t.Fatal(err)
	}
	a.stopping = true // nothing of this runs
	for _, l := range slices.Clone(a.lines) {
		a.settle(l)
	}
	if len(a.lines) != 1 || len(a.routes) != 1 || a.routes[0].lines != 1 {
		t.Errorf("%d lines on %d routes left", len(a.lines), len(a.routes))
	}
}

// The device is the same to registrars after every start.
func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	first := identity(dir, slog.Default())
	if again := identity(dir, slog.Default()); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	// RFC 9562 section 5.4: version 4 in the 13th, variant 10 in the 17th digit.
	if len(first) != 45 || first[23] != '4' || !strings.ContainsRune("89ab", rune(first[28])) {
		t.Errorf("%s is not a random UUID", first)
	}
	// What a power cut left is replaced.
	if err := os.WriteFile(filepath.Join(dir, "identity"), []byte("urn:uuid:7"), 0o644); err != nil {
		t.Fatal(err)
	}
	second := identity(dir, slog.Default())
	if len(second) != 45 || identity(dir, slog.Default()) != second {
		t.Errorf("after a power cut: %s", second)
	}
	// Nothing can be kept: it is said, and the agent goes on.
	var log bytes.Buffer
	file := filepath.Join(dir, "identity")
	if id := identity(file, slog.New(slog.NewTextHandler(&log, nil))); len(id) != 45 || !strings.Contains(log.String(), "cannot be kept") {
		t.Errorf("%s, log %q", id, log.String())
	}
}

// A country's own law is offered first, and what was agreed reaches the stream.
func TestSessions(t *testing.T) {
	us, de := extension{}, extension{flash: true}
	l := &line{cfg: config.Line{Keys: "rtp"}}
	us.country, _ = country.Get("us")
	de.country, _ = country.Get("de")
	if s := us.hears(l, 4000); s.Flash || s.Codecs[0] != sdp.PCMU || s.Codecs[1] != sdp.PCMA || s.Addr.Port() != 4000 || s.Events == 0 {
		t.Errorf("us hears %+v", s)
	}
	if s := de.hears(l, 4000); !s.Flash || s.Codecs[0] != sdp.PCMA {
		t.Errorf("de hears %+v", s)
	}
	offer, err := sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" +
		"m=audio 5004 RTP/AVP 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=ptime:30\r\na=sendonly\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	agreed, err := sdp.Agree(us.hears(l, 4000), offer)
	if err != nil {
		t.Fatal(err)
	}
	r := l.remote(us.hears(l, 4000), agreed)
	if r.Codec != rtp.PCMA || r.PT != 8 || r.Events != 96 || r.Addr.String() != "192.0.2.9:5004" || r.Send || !r.Receive {
		t.Errorf("the stream is told %+v", r)
	}

	// What is configured, in its order; both sides may number it as they like.
	l.cfg.Codecs, l.cfg.PacketTime = []string{"g726", "g722", "g726", "pcma"}, 45*time.Millisecond
	ours := us.hears(l, 4000)
	if want := []sdp.Codec{sdp.G726, sdp.G722, sdp.PCMA}; !slices.Equal(ours.Codecs, want) || ours.Ptime != 40*time.Millisecond {
		t.Errorf("we hear %v in packets of %v", ours.Codecs, ours.Ptime)
	}
	offer, err = sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" +
		"m=audio 5004 RTP/AVP 0 8 115 9\r\na=rtpmap:115 G726-32/8000\r\na=maxptime:30\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if agreed, err = sdp.Agree(ours, offer); err != nil || agreed.Codecs[0].Name != "PCMA" {
		t.Fatalf("agreed %+v, %v", agreed, err)
	}
	if r := l.remote(ours, agreed); r.Ptime != 30*time.Millisecond || !slices.Contains(r.Payloads, rtp.Payload{PT: 115, Codec: rtp.G726}) || !slices.Contains(r.Payloads, rtp.Payload{PT: 97, Codec: rtp.G726}) {
		t.Errorf("the stream is told %+v", r)
	}
	if ours.MaxPtime != 60*time.Millisecond {
		t.Errorf("we take %v in a packet", ours.MaxPtime)
	}

	// An answer numbers as the offer did: what we would have called events may be
	// sound there.
	offer, err = sdp.Parse([]byte("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n" +
		"m=audio 5004 RTP/AVP 101 96\r\na=rtpmap:101 G726-32/8000\r\na=rtpmap:96 telephone-event/8000\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if agreed, err = sdp.Agree(ours, offer); err != nil {
		t.Fatal(err)
	}
	r = l.remote(ours, agreed)
	is := func(pt uint8) rtp.Codec {
		i := slices.IndexFunc(r.Payloads, func(p rtp.Payload) bool { return p.PT == pt })
		return r.Payloads[i].Codec
	}
	if is(101) != rtp.G726 || is(96) != rtp.Keys || is(97) != rtp.G726 || r.Events != 96 {
		t.Errorf("the stream is told %+v", r)
	}
}

// What a line logs itself is for debugging; it is told by events, too.
func TestSoftly(t *testing.T) {
	for level, want := range map[slog.Level]bool{slog.LevelInfo: false, slog.LevelDebug: true} {
		var out bytes.Buffer
		log := slog.New(softly{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})})
		log.With("line", "1").WithGroup("g").Error("lost")
		if got := strings.Contains(out.String(), "level=DEBUG msg=lost line=1"); got != want {
			t.Errorf("at %v: %q", level, out.String())
		}
	}
}

// What ends with the agent is not well again.
func TestNoNewsWhileStopping(t *testing.T) {
	var out bytes.Buffer
	a := &Agent{log: slog.New(slog.NewTextHandler(&out, nil))}
	a.sayTrouble(status.Trouble{Kind: status.Proxy})
	if !strings.Contains(out.String(), "no proxy works") {
		t.Errorf("log %q", out.String())
	}
	out.Reset()
	a.stopping = true
	a.sayTrouble(status.Trouble{})
	if out.Len() > 0 {
		t.Errorf("log %q", out.String())
	}
}
