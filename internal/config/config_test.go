package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
)

var update = flag.Bool("update", false, "write reference.toml from the schema")

// The reference file documents every key, and what it says is so.
func TestReference(t *testing.T) {
	if *update {
		if err := os.WriteFile("reference.toml", Reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != string(Reference()) {
		t.Error("reference.toml is not what the schema says: go test ./internal/config -run Reference -update")
	}
	full, err := Load("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	short, err := Parse("smallest", []byte(Smallest+"[[port]]\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range schema {
		tb := &schema[i]
		for j := range tb.keys {
			k := &tb.keys[j]
			name := spot(tb, 0, k.name)
			if _, ok := full.places[name]; !ok {
				t.Errorf("%s is not in the reference", name)
			}
			a, b := field(k, full), field(k, short)
			if same := reflect.DeepEqual(a, b); k.def != "" && !same {
				t.Errorf("%s: the reference says %v, without it there is %v", name, a, b)
			}
			if k.doc == "" || (k.def == "") == (k.example == "") || !k.required && k.def == "" && k.follows == "" {
				t.Errorf("%s: want a doc, and either a default or an example and what follows without it", name)
			}
			delete(full.places, name)
		}
	}
	delete(full.places, "line[0]")
	delete(full.places, "port[0]")
	if len(full.places) > 0 {
		t.Errorf("keys in the reference that the schema has not: %v", full.places)
	}
}

func field(k *key, c *Config) any {
	switch f := k.into(c, 0).(type) {
	case lamp: // what is not given is left to the board and to status.Default
		if p, ok := c.Lamps[f.key]; ok {
			return p
		}
		for _, row := range status.Default {
			if row.Key == f.key {
				return row.Pattern.Name
			}
		}
		return ""
	default:
		return reflect.ValueOf(f).Elem().Interface()
	}
}

// Every field that a file can set is set by some key, so that no field is
// forgotten in the schema.
func TestEveryFieldHasAKey(t *testing.T) {
	c := sample()
	keys := map[any]string{}
	for i := range schema {
		for _, k := range schema[i].keys {
			keys[k.into(c, 0)] = k.name
		}
	}
	if n := len(tableNamed("lamps").keys); n != len(status.Default) {
		t.Errorf("%d keys for %d rows of the lamps' table", n, len(status.Default))
	}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			f, sf := v.Field(i), v.Type().Field(i)
			switch {
			case !sf.IsExported() || sf.Name == "File" || sf.Name == "Warnings" || sf.Name == "Lamps":
			case f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[Secret]():
				walk(path+sf.Name+".", f)
			case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct && f.Len() > 0:
				walk(path+sf.Name+".", f.Index(0))
			case keys[f.Addr().Interface()] == "":
				t.Errorf("%s has no key", path+sf.Name)
			}
		}
	}
	walk("", reflect.ValueOf(c).Elem())
}

func TestSmallest(t *testing.T) {
	if n := strings.Count(Smallest, "\n"); n > 5 {
		t.Errorf("the smallest file has %d lines", n)
	}
	c, err := Parse("f", []byte(Smallest))
	if err != nil {
		t.Fatal(err)
	}
	want := Line{
		Name: "1", User: "1001", AuthUser: "1001", Password: NewSecret("secret"), Domain: "example.net",
		OutboundProxy: []string{"proxy.example.net", "192.0.2.7:5060"},
		Expires:       10 * time.Minute, KeepAlive: 15 * time.Second, KeepAliveBy: "options", NoAnswer: 4 * time.Second, PacketTime: 20 * time.Millisecond, Keys: "rtp", SRTP: "off",
		Standby: "probe", Failback: "refresh", FailbackAfter: time.Hour, Order: "dns", FailoverSpread: 2 * time.Second,
	}
	if !reflect.DeepEqual(c.Lines, []Line{want}) {
		t.Errorf("got  %+v\nwant %+v", c.Lines, want)
	}
	if c.Board != "auto" || c.StateDir != "/var/lib/ata-agent" || c.Control != "/run/ata-agent.sock" || len(c.Ports) != 0 {
		t.Errorf("got %+v", c)
	}
}

func TestDefaultsThatFollow(t *testing.T) {
	c, err := Parse("f", []byte(`
country = "us"
[[line]]
user = "1"
domain = "a.example"
[[line]]
name = "office"
user = "2"
domain = "b.example"
[[port]]
[[port]]
name = "fxs2"
line = "office"
country = "gb"
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Lines[0].OutboundProxy; !reflect.DeepEqual(got, []string{"a.example"}) {
		t.Errorf("proxies: %v", got)
	}
	want := []Port{{Name: "1", Line: "1", Country: "us"}, {Name: "fxs2", Line: "office", Country: "gb"}}
	for i := range want {
		want[i].Flash, want[i].FlashMin, want[i].FlashMax, want[i].EchoTail = "event", 80*time.Millisecond, 900*time.Millisecond, 16*time.Millisecond
		want[i].CallerID, want[i].CallWaiting = "country", "on"
	}
	if !reflect.DeepEqual(c.Ports, want) {
		t.Errorf("got  %+v\nwant %+v", c.Ports, want)
	}
}

// A transport that the file gives is meant: outbound.Proxy, "otherwise DNS may
// choose another (RFC 3263)". An entry's own comes first.
func TestProxies(t *testing.T) {
	for _, row := range []struct {
		line string
		want string
	}{
		{``, "a.example udp false, 192.0.2.7 udp false, b.example tls true"},
		{`transport = "udp"`, "a.example udp true, 192.0.2.7 udp true, b.example tls true"},
		{`transport = "tcp"`, "a.example tcp true, 192.0.2.7 tcp true, b.example tls true"},
	} {
		c, err := Parse("f", []byte("[[line]]\nuser = \"1\"\ndomain = \"example.net\"\noutbound_proxy = [\"a.example\", \"192.0.2.7:5060\", \"sips:b.example\"]\n"+row.line+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range c.Lines[0].Proxies() {
			got = append(got, fmt.Sprint(p.Host, " ", p.Transport, " ", p.TransportSet))
		}
		if s := strings.Join(got, ", "); s != row.want {
			t.Errorf("%s: %s, want %s", row.line, s, row.want)
		}
	}
}

// A certificate shows the domain that was meant to be reached (RFC 5922 section
// 7.3): the proxy's own name where it has one, the line's domain where an
// address stands.
func TestCertificateNames(t *testing.T) {
	c, err := Parse("f", []byte(`
[[line]]
user = "1"
domain = "example.net"
transport = "tls"
outbound_proxy = ["a.example", "192.0.2.7", "192.0.2.8;tlsname=b.example"]
[[line]]
user = "2"
domain = "192.0.2.9"
transport = "tls"
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range c.Lines {
		for _, p := range c.Lines[i].Proxies() {
			got = append(got, p.TLSName)
		}
	}
	if want := []string{"a.example", "example.net", "b.example", "192.0.2.9"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TOML can be written in other ways; they mean the same.
func TestOtherSpellings(t *testing.T) {
	a, err := Parse("f", []byte(`
dns = { servers = ["192.0.2.1"], timeout = "2s" }
line = [ { user = "1", domain = "a.example" } ]
`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("f", []byte("dns.servers = [ # ours\n  '192.0.2.1:53',\n]\ndns.\"timeout\" = \"\"\"2s\"\"\"\r\n[[line]]\nuser = '1'\ndomain = \"a\\u002eexample\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	a.places, b.places = nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %+v\nand  %+v", a, b)
	}
}

// Each file in testdata is wrong; what Parse says of it stands in the .want
// beside it.
func TestMistakes(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.toml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(f), data)
			if err == nil {
				t.Fatal("no mistake found")
			}
			got := err.Error() + "\n"
			name := strings.TrimSuffix(f, ".toml") + ".want"
			if *update {
				os.WriteFile(name, []byte(got), 0o644)
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const hush = "hunter2"
	c, err := Parse("f", []byte("[[line]]\nuser='1'\ndomain='a.example'\npassword='"+hush+"'\n"))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T%v"} {
		fmt.Fprintf(&said, verb+"\n", c.Lines[0].Password)
		fmt.Fprintf(&said, verb+"\n", c.Lines)
		fmt.Fprintf(&said, verb+"\n", *c)
	}
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	said.Write(j)
	slog.New(slog.NewTextHandler(&said, nil)).Info("x", "c", c, "p", c.Lines[0].Password, "l", c.Lines[0])
	slog.New(slog.NewJSONHandler(&said, nil)).Info("x", "c", c, "p", c.Lines[0].Password, "l", c.Lines[0])
	for _, wrong := range []string{"password = ['hunter2']", "password = {a='hunter2'}", "pasword = 'hunter2'", "password = 'hunter2", "password = hunter2", "password = \"hunter2\\u0000\"", "password = 'hunter2'\npassword = 'hunter2'"} {
		_, err := Parse("f", []byte("[[line]]\nuser='1'\ndomain='a.example'\n"+wrong))
		if err == nil {
			t.Errorf("no mistake in %s", wrong)
			continue
		}
		said.WriteString(err.Error())
	}
	for _, form := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%X", hush)} {
		if strings.Contains(said.String(), form) {
			t.Errorf("the secret was printed as %s in\n%s", form, said.String())
		}
	}
	if c.Lines[0].Password.Reveal() != hush {
		t.Error("the secret is lost")
	}
}

func TestLoadWarnsOfReaders(t *testing.T) {
	f := filepath.Join(t.TempDir(), "a.toml")
	for _, row := range []struct {
		mode os.FileMode
		text string
		want int
	}{
		{0o600, Smallest, 0},
		{0o640, Smallest, 0},
		{0o644, Smallest, 1},
		{0o644, strings.ReplaceAll(Smallest, "password = \"secret\"\n", ""), 0},
	} {
		if err := os.WriteFile(f, []byte(row.text), row.mode); err != nil {
			t.Fatal(err)
		}
		os.Chmod(f, row.mode)
		c, err := Load(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Warnings) != row.want {
			t.Errorf("mode %v: %v", row.mode, c.Warnings)
		}
	}
}

func TestLoadWithoutFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
	big := filepath.Join(t.TempDir(), "big")
	os.WriteFile(big, make([]byte, maxFile+1), 0o600)
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("got %v", err)
	}
}

func TestControlPathOfAFileInTheMaking(t *testing.T) {
	f := filepath.Join(t.TempDir(), "f")
	for _, row := range []struct{ text, want string }{
		{"control = \"/x/y\"\nboard = sim\n[[lin\n", "/x/y"},
		{"board = sim\ncontrol = \"/x/y\"\n", "/x/y"},
		{"control = 5\n", "/run/ata-agent.sock"},
		{"", "/run/ata-agent.sock"},
	} {
		os.WriteFile(f, []byte(row.text), 0o600)
		if got, err := ControlPath(f); got != row.want || err != nil {
			t.Errorf("%q: got %q %v", row.text, got, err)
		}
	}
	if _, err := ControlPath(f + ".none"); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// Those who know more than this package blame a key by its place.
func TestMistakeOfOthers(t *testing.T) {
	c, err := Parse("f", []byte("country = \"us\"\n"+Smallest))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ key, want string }{
		{"country", `f:1:11: country: bad; good`},
		{"line[0].domain", `f:5:10: line.domain: bad; good`},
		{"line[0].listen", `f:2:3: line.listen: bad; good`},
		{"board", `f: board: bad; good`},
	} {
		if got := c.Mistake(row.key, "bad", "good").Error(); got != row.want {
			t.Errorf("%s: got %s, want %s", row.key, got, row.want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"user", "password", "keepalive", "keepalive_by", "name"}
	for _, row := range []struct{ in, want string }{
		{"usre", "user"}, {"User", "user"}, {"pasword", "password"}, {"keep-alive", "keepalive"},
		{"keepalive-by", "keepalive_by"}, {"colour", ""}, {"x", ""}, {strings.Repeat("y", 99), ""},
	} {
		if got := Nearest(row.in, words); got != row.want {
			t.Errorf("%q: got %q, want %q", row.in, got, row.want)
		}
	}
}

// Whatever the bytes: no panic; either a Config that holds its promises, or
// mistakes that each have a place and a reason.
func FuzzParse(f *testing.F) {
	f.Add([]byte(Smallest))
	f.Add(Reference())
	files, _ := filepath.Glob("testdata/*.toml")
	for _, name := range files {
		data, _ := os.ReadFile(name)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			for _, l := range c.Lines {
				if l.Name == "" || l.User == "" || l.AuthUser == "" || l.Domain == "" || l.Expires < 10*time.Second || len(l.OutboundProxy) == 0 || len(l.Proxies()) != len(l.OutboundProxy) {
					t.Fatalf("accepted %+v", l)
				}
			}
			for _, p := range c.Ports {
				if p.Name == "" || p.Line == "" {
					t.Fatalf("accepted %+v", p)
				}
			}
			if len(c.Lines) == 0 {
				t.Fatal("accepted no line")
			}
			return
		}
		lines := strings.Count(string(data), "\n") + 1
		ms, ok := err.(Mistakes)
		if !ok || len(ms) == 0 {
			t.Fatalf("%T %v", err, err)
		}
		for i, m := range ms {
			if len(data) <= maxFile && (m.Line < 1 || m.Line > lines || m.Column < 1) || m.Found == "" || i > 0 && m.Line < ms[i-1].Line {
				t.Fatalf("%+v of %d lines", m, lines)
			}
		}
	})
}
