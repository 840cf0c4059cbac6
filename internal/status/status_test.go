package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The JSON has the names that packages, scripts and outside checks rely on.
func TestJSON(t *testing.T) {
	s := Snapshot{
		Version: "1", Started: time.Unix(100, 0).UTC(), At: time.Unix(200, 0).UTC(),
		Lines: []Line{{
			Name: "1", State: Registered, Since: time.Unix(150, 0).UTC(),
			Proxy: "192.0.2.2:5060", ProxyName: "proxy.example.net", Backup: true, Why: "192.0.2.1:5060: no answer",
			Ring: []Place{{Address: "192.0.2.1:5060", Name: "proxy.example.net", State: "failed",
				RTT: Millis(1500 * time.Microsecond), LastFailure: "no answer"}},
			LastSwitch: &Switch{From: "192.0.2.1:5060", To: "192.0.2.2:5060", Cause: "no answer",
				At: time.Unix(149, 0).UTC(), Took: Millis(4 * time.Second)},
		}},
		Ports: []Port{{Name: "1", Kind: "sim", Hook: "on", State: "idle", Line: "1", Sound: &Sound{
			Jitter: Millis(2 * time.Millisecond), Delay: Millis(85 * time.Millisecond), Loss: 0.0125, MOS: 4.36, FarMOS: 4.1, Codec: "PCMA",
		}}},
		Lamps: []Lamp{{Name: "voip", Pattern: "heartbeat", Meaning: "registered through a backup proxy", Steps: Heartbeat}},
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"lines":[{"name":"1","state":"registered","since":"1970-01-01T00:02:30Z","proxy":"192.0.2.2:5060","proxy_name":"proxy.example.net"`,
		`"ring":[{"address":"192.0.2.1:5060","name":"proxy.example.net","state":"failed","rtt_ms":1.5,"last_failure":"no answer","failures":0,"loss":0}]`,
		`"last_switch":{"from":"192.0.2.1:5060","to":"192.0.2.2:5060","cause":"no answer","detail":"","at":"1970-01-01T00:02:29Z","took_ms":4000,"tries":0,"noticed":""}`,
		`"ports":[{"name":"1","kind":"sim","hook":"on","state":"idle"`,
		`"lamps":[{"name":"voip","pattern":"heartbeat","meaning":"registered through a backup proxy"}]`,
		`"far_loss":0,"jitter_ms":2,"rtt_ms":0,"source":"","strangers":0,"garbage":0,"unwanted":0,"codec":"PCMA","loss":0.0125,"delay_ms":85,"mos":4.36,"far_mos":4.1,"data":false,"srtp":false}`,
		`"problem":"","hint":"","problem_kind":""`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s\nlacks %s", b, want)
		}
	}
	var back Snapshot
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); string(again) != string(b) {
		t.Errorf("read back: %s\nwant %s", again, b)
	}
}

// In a few words.
func TestHowACallSounded(t *testing.T) {
	good := Sound{Lasted: Millis(time.Minute), Received: 3000, Sent: 3000, MOS: 4.4, Jitter: Millis(1900 * time.Microsecond), Delay: Millis(60 * time.Millisecond)}
	holey, silent, ours := good, good, good
	holey.Loss, holey.MOS = 0.07, 3.54
	silent.Received, silent.MOS = 0, 0
	ours.FarLost = 0.1
	sealed, locked := good, silent
	sealed.SRTP = true
	locked.Garbage = 3000
	fax := sealed
	fax.Data = true
	short := holey
	short.Lasted = Millis(time.Second)
	for _, row := range []struct {
		name               string
		s                  *Sound
		complaint, quality string
	}{
		{"good", &good, "", "MOS 4.4, 0 % lost, jitter 1 ms, delay 60 ms"},
		{"sealed", &sealed, "", "SRTP, MOS 4.4, 0 % lost, jitter 1 ms, delay 60 ms"},
		{"a fax", &fax, "", "SRTP, fax or modem, MOS 4.4, 0 % lost, jitter 1 ms, delay 60 ms"},
		{"with holes", &holey, "7 % of the sound did not come in time", "MOS 3.5, 7 % lost, jitter 1 ms, delay 60 ms"},
		{"too short to complain", &short, "", "MOS 3.5, 7 % lost, jitter 1 ms, delay 60 ms"},
		{"ours with holes", &ours, "10 % of our sound did not arrive", "MOS 4.4, 0 % lost, jitter 1 ms, delay 60 ms"},
		{"silent", &silent, "no sound came", ""},
		{"with another key", &locked, "what came could not be read as sound", ""},
		{"none", nil, "", ""},
	} {
		if c, q := row.s.Complaint(), row.s.Quality(); c != row.complaint || q != row.quality {
			t.Errorf("%s: %q, %q", row.name, c, q)
		}
	}
}

// What is wrong earlier on the way explains what is wrong later.
func TestFirst(t *testing.T) {
	var (
		link    = Trouble{Kind: Link, What: "eth0 is down"}
		dns     = Trouble{Kind: DNS, Who: "line 1", What: "proxy.example.net: no server answers"}
		proxy   = Trouble{Kind: Proxy, Who: "line 1", What: "no answer"}
		account = Trouble{Kind: Account, Who: "line 2", What: "403 Forbidden"}
		other   = Trouble{Kind: Account, Who: "line 3", What: "401 Unauthorized"}
		port    = Trouble{Kind: Hardware, Who: "port 1", What: "gone"}
	)
	for _, row := range []struct {
		name string
		all  []Trouble
		want string
	}{
		{"nothing", nil, ""},
		{"empty troubles are none", []Trouble{{}, {}}, ""},
		{"all of it", []Trouble{port, account, proxy, dns, link}, "no network link (eth0 is down)"},
		{"a name", []Trouble{proxy, dns, account}, "line 1: the proxy's name cannot be resolved (proxy.example.net: no server answers)"},
		{"the first of a kind", []Trouble{port, account, other}, "line 2: the provider refuses the account (403 Forbidden)"},
		{"a port", []Trouble{{}, port}, "port 1: the port does not work (gone)"},
	} {
		first := First(row.all)
		if got := first.Sentence(); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if (first.Hint() == "") != (row.want == "") {
			t.Errorf("%s: hint %q", row.name, first.Hint())
		}
	}
	for k := None; k <= Hardware; k++ {
		var back Kind
		text, _ := k.MarshalText()
		if err := back.UnmarshalText(text); err != nil || back != k {
			t.Errorf("kind %q reads back as %q: %v", k, back, err)
		}
	}
}

func TestLamps(t *testing.T) {
	line := Line{Name: "1", State: Registered}
	port := Port{Name: "1", Hook: "on", State: "idle", Line: "1"}
	for _, row := range []struct {
		name   string
		change func(*Snapshot)
		power  string
		voip   string
		phone1 string
	}{
		{"all well", func(s *Snapshot) {}, "solid", "solid", "solid"},
		{"no link", func(s *Snapshot) { s.Kind, s.Lines[0].State = Link, Failed }, "solid", "off", "triple"},
		{"registering", func(s *Snapshot) { s.Lines[0].State = Registering }, "solid", "slow", "off"},
		{"failed", func(s *Snapshot) { s.Lines[0].State = Failed }, "solid", "triple", "triple"},
		{"backup", func(s *Snapshot) { s.Lines[0].Backup = true }, "solid", "heartbeat", "solid"},
		{"a message", func(s *Snapshot) { s.Lines[0].Messages = true }, "solid", "solid", "heartbeat"},
		{"ringing, with a message", func(s *Snapshot) { s.Ports[0].State, s.Lines[0].Messages = "ringing", true }, "solid", "solid", "fast"},
		{"off hook, line failed", func(s *Snapshot) { s.Ports[0].Hook, s.Lines[0].State = "off", Failed }, "solid", "triple", "slow"},
		{"port broken, line failed", func(s *Snapshot) {
			s.Ports[0].Fault, s.Kind, s.Lines[0].State = "gone", Hardware, Failed
		}, "triple", "triple", "double"},
		{"no line for the port", func(s *Snapshot) { s.Ports[0].Line = "" }, "solid", "solid", "off"},
		{"the worse of two lines", func(s *Snapshot) {
			s.Lines = append(s.Lines, Line{Name: "2", State: Failed})
		}, "solid", "triple", "solid"},
	} {
		s := Snapshot{Lines: []Line{line}, Ports: []Port{port}}
		row.change(&s)
		for role, want := range map[string]string{"power": row.power, "voip": row.voip, "internet": row.voip,
			"phone1": row.phone1, "phone2": "off", "phone": "off", "disco": "off"} {
			got := Default.Show(&s, "a lamp", role)
			if got.Pattern != want || got.Name != "a lamp" || got.Meaning == "" || got.Steps.Name != want {
				t.Errorf("%s: %s shows %+v, want %s", row.name, role, got, want)
			}
		}
	}
}

func TestPatterns(t *testing.T) {
	p, err := ParsePattern("100/100/100/700")
	if err != nil || p.Steps != Double.Steps {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"", "blink", "0/100", "100/", "1/1/1/1/1/1/1/1/1", "100/70000"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
	table, err := Default.With(map[string]string{"voip.backup": "solid", "phone.idle": "50/5000"})
	if err != nil {
		t.Fatal(err)
	}
	s := Snapshot{Lines: []Line{{Name: "1", State: Registered, Backup: true}}, Ports: []Port{{Line: "1"}}}
	if got := table.Show(&s, "", "voip").Pattern + " " + table.Show(&s, "", "phone1").Pattern; got != "solid 50/5000" {
		t.Errorf("overridden: %s", got)
	}
	if got := Default.Show(&s, "", "voip").Pattern; got != "heartbeat" {
		t.Errorf("the default table changed: %s", got)
	}
	for key, pattern := range map[string]string{"voip.backupp": "solid", "voip.backup": "blink"} {
		if _, err := Default.With(map[string]string{key: pattern}); err == nil || !strings.Contains(err.Error(), "want one of") {
			t.Errorf("%s = %s: error %v", key, pattern, err)
		}
	}
}
