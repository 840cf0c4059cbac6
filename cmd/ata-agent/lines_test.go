package main

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
	"github.com/ata-agent/ata-agent/outbound"
)

func TestOutcome(t *testing.T) {
	const a, b = "192.0.2.7:5060", "192.0.2.8:5060"
	ms := status.Millis(22 * time.Millisecond)
	for _, row := range []struct {
		moved status.Moved
		want  string
	}{
		{status.Moved{From: a, To: b, Took: ms, State: status.Registered}, "registered through " + b + " instead of " + a + " after 22 ms"},
		{status.Moved{From: a, To: a, Took: ms, State: status.Registered}, "registered through " + a + ", where it was"},
		{status.Moved{To: a, Took: ms, State: status.Registered}, "registered through " + a + " after 22 ms"},
		{status.Moved{From: a, To: a, State: status.Registered, Error: "b did not take the line: no answer"}, "b did not take the line: no answer; it stays registered through " + a},
		{status.Moved{From: a, State: status.Registered, Error: "there is only one"}, "there is only one; it stays registered through " + a},
		{status.Moved{From: a, To: b, State: status.Registered, Error: "c did not"}, "c did not; it is registered through " + b},
		{status.Moved{From: a, State: status.Failed, Error: "no"}, "no; the line is failed"},
	} {
		if got := outcome(row.moved); got != row.want {
			t.Errorf("%+v: %s\nwant %s", row.moved, got, row.want)
		}
	}
}

func TestHistoryForAPerson(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.Local)
	s := status.Snapshot{Started: now.Add(-48 * time.Hour), At: now}
	l := status.Line{Name: "home", History: []status.Switch{
		{From: "192.0.2.7:5060", To: "192.0.2.8:5060", Cause: "no answer", Detail: "no answer to 9 OPTIONS in 3.2s", At: now.Add(-time.Second), Tries: 2, Noticed: "a call was connected 1.2s late"},
		{From: "192.0.2.8:5060", To: "192.0.2.7:5060", Cause: "asked to move", At: now.Add(-26 * time.Hour), Took: status.Millis(20 * time.Millisecond)},
	}}
	var out bytes.Buffer
	showHistory(&out, &l, &s)
	const want = `line home: 2 changes of proxy in 2d00h
  WHEN                 FROM            TO              TOOK     TRIES  BECAUSE
  02:59:59             192.0.2.7:5060  192.0.2.8:5060  goes on  2      no answer to 9 OPTIONS in 3.2s; a call was connected 1.2s late
  2026-02-28 01:00:00  192.0.2.8:5060  192.0.2.7:5060  20 ms    -      asked to move
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestTraceForAPerson(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.Local)
	all := []trace.Message{
		{At: now.Add(-26 * time.Hour), Line: "1", Sent: true, Transport: "tls", Remote: "192.0.2.7:5061", Text: "INVITE sip:1@x SIP/2.0\r\nCSeq: 1 INVITE\r\n\r\nv=0\x1b[2J\r\n", Cut: 7},
		{At: now, Line: "1", Transport: "udp", Remote: "192.0.2.7:5060", Fault: "unreachable: port unreachable"},
		{At: now, Line: "1", Transport: "udp", Fault: "no way out"},
	}
	for short, want := range map[bool]string{
		false: `2026-02-28 01:00:00.000 line 1 to tls 192.0.2.7:5061
  INVITE sip:1@x SIP/2.0
  CSeq: 1 INVITE
  
  v=0.[2J
  ... and 7 bytes more

03:00:00.000 line 1 fault at udp 192.0.2.7:5060  unreachable: port unreachable

03:00:00.000 line 1 fault at udp our own socket  no way out

`,
		true: `2026-02-28 01:00:00.000 line 1 to tls 192.0.2.7:5061  INVITE sip:1@x SIP/2.0  1 INVITE
03:00:00.000 line 1 fault at udp 192.0.2.7:5060  unreachable: port unreachable
03:00:00.000 line 1 fault at udp our own socket  no way out
`,
	} {
		var out bytes.Buffer
		for i := range all {
			showMessage(&out, &all[i], now, short)
		}
		if out.String() != want {
			t.Errorf("got\n%swant\n%s", &out, want)
		}
	}
}

// Sound is tried on this machine, and the last calls are looked at.
func TestSoundStep(t *testing.T) {
	if heard, err := loop(netip.AddrFrom4([4]byte{127, 0, 0, 1})); err != nil || heard < loopFrames/2 {
		t.Errorf("%d frames heard, %v", heard, err)
	}
	if _, err := loop(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("sound from an address that is not ours")
	}
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	good := status.Sound{Answered: now.Add(-time.Minute), Lasted: status.Millis(30 * time.Second), Sent: 1500, Received: 1490, Lost: 10, Jitter: status.Millis(2 * time.Millisecond), RTT: status.Millis(20 * time.Millisecond)}
	deaf := good
	deaf.Received = 0
	snap := &status.Snapshot{At: now, Ports: []status.Port{
		{Name: "1", Line: "home", Sound: &good}, {Name: "2", Line: "home", Sound: &deaf, Peer: "555"}, {Name: "3", Line: "home"}, {Name: "4"},
	}}
	var out bytes.Buffer
	w := &walk{out: &out}
	w.sound(snap)
	for _, want := range []string{
		"sound    ok     ", " this machine sends sound from 127.0.0.1 and hears it\n",
		"sound    ok               port 1: the last call, 30s ago: 1500 packets sent, 1490 came, 10 lost, jitter 2.0 ms, there and back 20 ms\n",
		"sound    FAILS            port 2: this call, since 1m00s: 1500 packets sent, 0 came, 10 lost, jitter 2.0 ms, there and back 20 ms: no sound came\n",
		"sound    -                port 3: no call yet\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got\n%swithout %q", &out, want)
		}
	}
	out.Reset()
	if err := w.verdict(snap); err == nil || !strings.HasPrefix(out.String(), "\nport 2: calls have no sound (") || !strings.Contains(out.String(), "SIP ALG") {
		t.Errorf("verdict %v:%s", err, &out)
	}
}

// Where a name cannot be resolved, the addresses that the running agent knows of
// it are tried, and no others.
func TestRemember(t *testing.T) {
	names := []named{
		{lines: []string{"home"}, text: "proxy.example.net", proxy: outbound.Proxy{Host: "proxy.example.net", Transport: outbound.TLS, TLSName: "proxy.example.net"}, err: errors.New("no answer")},
		{lines: []string{"home"}, text: "192.0.2.9"},
		{lines: []string{"work"}, text: "other.example.net", err: errors.New("no answer")},
	}
	remember(names, nil)
	remember(names, &status.Snapshot{Lines: []status.Line{
		{Name: "home", Ring: []status.Place{{Address: "192.0.2.7:5061", Name: "proxy.example.net"}, {Address: "192.0.2.9:5060", Name: "192.0.2.9"}}},
		{Name: "play", Ring: []status.Place{{Address: "192.0.2.8:5060", Name: "other.example.net"}}},
	}})
	if got := names[0].answer.Targets; len(got) != 1 || got[0].Dest != "192.0.2.7:5061" || got[0].Transport != outbound.TLS || got[0].TLSName != "proxy.example.net" || got[0].Addr.Port() != 5061 {
		t.Errorf("of the name are known %+v", got)
	}
	if len(names[1].answer.Targets)+len(names[2].answer.Targets) != 0 {
		t.Errorf("too much is known: %+v", names[1:])
	}
	var out bytes.Buffer
	w := &walk{out: &out}
	w.name(names[0], nil)
	if !strings.Contains(out.String(), "no answer; the agent goes on with the addresses it knows") {
		t.Errorf("said: %s", &out)
	}
}
