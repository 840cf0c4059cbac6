package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"log/syslog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/outbound"
)

// Every command has a page, and what the overview lists is there.
func TestHelp(t *testing.T) {
	for _, c := range commands {
		var out, err bytes.Buffer
		if code := do([]string{"help", c.name}, &out, &err); code != exitOK || !strings.HasPrefix(out.String(), "usage: ata-agent "+c.name) || err.Len() > 0 {
			t.Errorf("help %s: %d\n%s%s", c.name, code, &out, &err)
		}
		if !strings.Contains(overview(), "\n  "+c.name+" ") {
			t.Errorf("the overview has no %s", c.name)
		}
		for l := range strings.Lines(out.String() + overview()) {
			if len(strings.TrimRight(l, "\n")) > 90 {
				t.Errorf("too long for a terminal: %s", l)
			}
		}
		if c.run == nil || c.short == "" {
			t.Errorf("%s is not complete", c.name)
		}
	}
}

func TestStatusForAPerson(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	s := status.Snapshot{
		Version: "1.0", Started: before(9*24*time.Hour + 4*time.Hour),
		Lines: []status.Line{
			{
				Name: "home", State: status.Registered, Since: before(12*time.Minute + 5*time.Second),
				Proxy: "192.0.2.8:5060", ProxyName: "proxy.example.net", Backup: true, Why: "192.0.2.7:5060: no answer",
				Ring: []status.Place{
					{Address: "192.0.2.7:5060", Name: "proxy.example.net", State: "bad", LastFailure: "no answer"},
					{Address: "192.0.2.8:5060", Name: "proxy.example.net", State: "good", RTT: status.Millis(1200 * time.Microsecond)},
				},
				LastSwitch: &status.Switch{From: "192.0.2.7:5060", To: "192.0.2.8:5060", Cause: "REGISTER: no answer", At: before(12 * time.Minute), Took: status.Millis(402 * time.Millisecond)},
				Messages:   true,
			},
			{Name: "office", State: status.Failed, Since: before(41 * time.Second), Why: "403 Forbidden", Proxy: "198.51.100.1:5061", ProxyName: "198.51.100.1:5061"},
		},
		Ports: []status.Port{
			{Name: "1", Kind: "sim", Hook: "off", State: "holding", Line: "home", Peer: "5551234", Second: "5559876", Sound: &status.Sound{
				Answered: before(41 * time.Second), Lasted: status.Millis(41 * time.Second), Received: 2050, MOS: 4.36, FarMOS: 4.1, Loss: 0.004,
				Jitter: status.Millis(2800 * time.Microsecond), Delay: status.Millis(85 * time.Millisecond),
			}},
			{Name: "2", Kind: "dahdi", Hook: "on", State: "idle", Fault: "the line is short", Sound: &status.Sound{
				Answered: before(time.Hour), Lasted: status.Millis(4 * time.Minute), Sent: 12000,
			}},
		},
		Lamps:   []status.Lamp{{Name: "voip", Pattern: "heartbeat", Meaning: "registered through a backup proxy"}},
		Problem: "line office: the provider refuses the account (403 Forbidden)", Hint: "check user and password", Kind: status.Account,
	}
	var out bytes.Buffer
	show(&out, &s, now)
	const want = `ata-agent 1.0, running for 9d04h
PROBLEM  line office: the provider refuses the account (403 Forbidden)
hint     check user and password

line home: registered for 12m05s, through 192.0.2.8:5060 (proxy.example.net), a backup
  because 192.0.2.7:5060: no answer
  a message waits
  switched 12m00s ago, from 192.0.2.7:5060 to 192.0.2.8:5060 in 402 ms: REGISTER: no answer
    ADDRESS         FROM               STATE  TAKES   LAST FAILURE
    192.0.2.7:5060  proxy.example.net  bad    -       no answer
  * 192.0.2.8:5060  proxy.example.net  good   1.2 ms  -

line office: failed for 41s, trying 198.51.100.1:5061
  because 403 Forbidden
  no proxy address is known

PORT  KIND   HOOK  TELEPHONE                              LINE
1     sim    off   holding with 5551234, on hold 5559876  home
2     dahdi  on    the line is short                      -
port 1: this call, since 41s, MOS 4.4, 0.4 % lost, jitter 2 ms, delay 85 ms; what we send has MOS 4.1
port 2: the last call, 56m00s ago, no sound came

LAMP  SHOWS      MEANS
voip  heartbeat  registered through a backup proxy
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	s.Problem, s.Lines = "", s.Lines[:1]
	out.Reset()
	if show(&out, &s, now); !strings.Contains(out.String(), "\nall is well\n") {
		t.Errorf("got\n%s", &out)
	}
}

// What comes from the network cannot write lines of its own into the log.
func TestLog(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	h := &handler{level: level, mu: new(sync.Mutex), write: func(_ slog.Level, l string) { io.WriteString(&out, l+"\n") }}
	log := slog.New(h)
	log.Debug("not said")
	log.Info("line 1: registered")
	log.With("port", 1).WithGroup("g").Warn("a\nb\x1b[2J", "why", "two words", "n", 5, "empty", "", slog.Group("in", "deep", "x\ny"))
	level.Set(slog.LevelDebug)
	log.Debug("said")
	const want = "info  line 1: registered\n" +
		"warn  a.b.[2J  port=1  g.why=\"two words\"  g.n=5  g.empty=\"\"  g.in.deep=\"x\\ny\"\n" +
		"debug said\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
	h.clock = true
	out.Reset()
	log.Info("now")
	if _, err := time.Parse("15:04:05.000 info  now\n", out.String()); err != nil {
		t.Error(err)
	}
}

// What syslog is told, and how urgent it is. RFC 3164 section 4.1.1: the number
// in front is facility * 8 + severity; daemon is 3.
func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w, err := syslog.Dial("unixgram", path, syslog.LOG_DAEMON|syslog.LOG_INFO, "ata-agent")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	level := new(slog.LevelVar)
	level.Set(slog.LevelDebug)
	h := &handler{level: level, clock: true, mu: new(sync.Mutex)}
	h.syslog(w)
	log := slog.New(h)
	b := make([]byte, 1000)
	for _, row := range []struct {
		say  func(string, ...any)
		want string // severity of RFC 3164, and the line
	}{
		{log.Error, "<27> error a.b  n=1"},
		{log.Warn, "<28> warn  a.b  n=1"},
		{log.Info, "<30> info  a.b  n=1"},
		{log.Debug, "<31> debug a.b  n=1"},
	} {
		row.say("a\nb", "n", 1)
		conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got := string(b[:n])
		number, line, _ := strings.Cut(row.want, " ")
		if !strings.HasPrefix(got, number) || !strings.Contains(got, "ata-agent[") || !strings.HasSuffix(got, "]: "+line+"\n") {
			t.Errorf("syslog is told %q, want %q", got, row.want)
		}
	}
}

// A proxy that answers anything at all is there, even one that heard only the
// second of our requests.
func TestOptions(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer string
		want   string // said, or in the error
		fails  bool
	}{
		{"well", "SIP/2.0 200 OK\r\n\r\n", "answers 200 OK", false},
		{"refuses", "SIP/2.0 403 Forbidden\r\n\r\n", "answers 403 Forbidden", false},
		{"rude", "HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SIP", true},
	} {
		for _, tr := range []outbound.Transport{outbound.UDP, outbound.TCP} {
			t.Run(row.name+"/"+tr.String(), func(t *testing.T) {
				addr := proxyThatSays(t, tr, row.answer)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				said, err := options(ctx, outbound.Target{Addr: addr, Dest: addr.String(), Transport: tr}, nil)
				got := said
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, row.want) || (err != nil) != row.fails {
					t.Errorf("got %q, %v", said, err)
				}
			})
		}
	}
	t.Run("silent", func(t *testing.T) {
		addr := proxyThatSays(t, outbound.UDP, "")
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := options(ctx, outbound.Target{Addr: addr, Dest: addr.String()}, nil); !errors.Is(err, errNoAnswer) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		for _, tr := range []outbound.Transport{outbound.UDP, outbound.TCP} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().(*net.TCPAddr).AddrPort()
			l.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := options(ctx, outbound.Target{Addr: addr, Dest: addr.String(), Transport: tr}, nil); err == nil || strings.Contains(err.Error(), "dial") || strings.Contains(err.Error(), addr.String()) {
				t.Errorf("%v: got %v", tr, err)
			}
		}
	})
}

// proxyThatSays answers a second OPTIONS, or over TCP the first.
func proxyThatSays(t *testing.T, tr outbound.Transport, answer string) netip.AddrPort {
	t.Helper()
	if tr == outbound.UDP {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 2000)
			for heard := 1; ; heard++ {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				if !strings.HasPrefix(string(buf[:n]), "OPTIONS sip:127.0.0.1:") || !strings.HasSuffix(string(buf[:n]), "\r\n\r\n") {
					t.Errorf("asked %q", buf[:n])
				}
				if heard == 2 && answer != "" {
					conn.WriteTo([]byte(answer), from)
				}
			}
		}()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Read(make([]byte, 2000))
		io.WriteString(conn, answer)
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// What merely follows is not blamed, and what works proves what it stands on.
func TestVerdict(t *testing.T) {
	good := step{kind: status.Proxy, ok: true, said: "answers"}
	for _, row := range []struct {
		name  string
		steps []step
		snap  *status.Snapshot
		want  string
		ok    bool
	}{
		{"all well", []step{good}, &status.Snapshot{}, "All is well", true},
		{"no agent", []step{good}, nil, "no agent is running", false},
		{"a note is nobody's fault", []step{{kind: status.Link, note: true, said: "x"}, good}, &status.Snapshot{}, "All is well", true},
		{"one of several is dead", []step{{kind: status.Proxy, note: true, said: "10.0.0.1: no answer; another one serves"}, good}, &status.Snapshot{}, "not in every way: 10.0.0.1: no answer; another one serves.\nNothing has to be done now", true},
		{"link before DNS", []step{{kind: status.DNS, said: "dns"}, {kind: status.Link, said: "cable"}}, nil, "no network link (cable)\nCheck the network cable", false},
		{"what only the agent sees", []step{good}, &status.Snapshot{Problem: "line 1: refused", Hint: "ask", Kind: status.Account}, "the agent says: line 1: refused\nAsk.", false},
	} {
		var out bytes.Buffer
		w := &walk{out: &out}
		for _, s := range row.steps {
			w.tell(s, "")
		}
		err := w.verdict(row.snap)
		if !strings.Contains(out.String(), row.want) || (err == nil) != row.ok {
			t.Errorf("%s: %v\n%s", row.name, err, &out)
		}
	}
}

// systemd is told on the socket it names.
func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenPacket("unixgram", name)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	notify("READY=1")
	buf := make([]byte, 64)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _, err := conn.ReadFrom(buf); string(buf[:n]) != "READY=1" {
		t.Errorf("got %q %v", buf[:n], err)
	}
}
