package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/status"
)

// A line goes where a person orders it, says what came of it, and comes back.
func TestOrders(t *testing.T) {
	t.Parallel()
	second := newPeer(t)
	b := newBed(t, 1, func(c *Config) {
		text := strings.Replace(lineTable, `["192.0.2.7"]`, `["`+c.Config.Lines[0].OutboundProxy[0]+`", "`+second.addr()+`", "127.0.0.1:9"]`, 1)
		c.Config = parse(t, "state_dir = \"\"\n"+text+"failback = \"never\"\n[[port]]\n")
	})
	a, first := b.agent, b.peer.addr()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	said, err := a.Failover(ctx, "", netip.MustParseAddrPort(second.addr()))
	if err != nil || len(said) != 1 || said[0].From != first || said[0].To != second.addr() || said[0].Error != "" || said[0].State != status.Registered {
		t.Fatalf("failover: %+v, %v", said, err)
	}
	l := a.Snapshot().Lines[0]
	if l.Proxy != second.addr() || !l.Backup || !strings.Contains(l.Why, "ordered") {
		t.Errorf("after it: %+v", l)
	}
	if lamp := a.Snapshot().Lamps[1]; lamp.Name != "voip" || lamp.Pattern != "heartbeat" || lamp.Meaning != "registered through a backup proxy" {
		t.Errorf("after it the lamp is %+v", lamp)
	}
	if len(l.History) != 1 || l.History[0].From != first || l.History[0].To != second.addr() || l.History[0].Cause != asked {
		t.Errorf("history %+v", l.History)
	}
	if !b.log.has("line 1 registered via " + second.addr() + " instead of " + first + " after ") {
		t.Error("the log does not say where it went")
	}

	// Where nobody is it does not stay.
	said, err = a.Failover(ctx, "1", netip.MustParseAddrPort("127.0.0.1:9"))
	if err != nil || len(said) != 1 || said[0].Error == "" || said[0].To == "127.0.0.1:9" || said[0].State != status.Registered {
		t.Errorf("failover to nobody: %+v, %v", said, err)
	}
	said, err = a.Failback(ctx, "")
	if err != nil || len(said) != 1 || said[0].To != first && said[0].From != first {
		t.Errorf("failback: %+v, %v", said, err)
	}
	b.until("it is back", func() bool { return a.Snapshot().Lines[0].Proxy == first })
	said, err = a.Failback(ctx, "")
	if err != nil || len(said) != 1 || said[0].Error == "" {
		t.Errorf("failback from the best: %+v, %v", said, err)
	}
	if _, err := a.Failback(ctx, "work"); err == nil || !strings.Contains(err.Error(), `no line "work"`) {
		t.Errorf("failback of nobody: %v", err)
	}

	asked, err := a.Probe(ctx, "")
	if err != nil || len(asked) != 3 {
		t.Fatalf("probe: %+v, %v", asked, err)
	}
	for i, want := range []status.Probed{{Address: first, Use: true, Code: 200}, {Address: second.addr(), Code: 200}, {Address: "127.0.0.1:9"}} {
		got := asked[i]
		if got.Line != "1" || got.Address != want.Address || got.Name != want.Address || got.Use != want.Use || got.Code != want.Code || (got.Error == "") != (want.Code == 200) {
			t.Errorf("probe says %+v, want %+v", got, want)
		}
	}

	// All of it was seen, and none of it tells the password.
	var all strings.Builder
	for _, m := range a.Trace() {
		if m.Line != "1" || m.Transport != "udp" || m.At.IsZero() || m.Remote == "" {
			t.Errorf("trace has %+v", m)
		}
		all.WriteString(m.Text + m.Fault + "\n")
	}
	for _, want := range []string{"REGISTER sip:example.net SIP/2.0", "SIP/2.0 200 OK", "OPTIONS sip:", "unreachable"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the trace is without %q", want)
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Probe(ctx, ""); err == nil {
		t.Error("a stopped agent probes")
	}
}

// How the sound of a call went is remembered when it is over, and what was wrong
// with it is said.
func TestHowItSounded(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	b.answers(200)
	hand := b.ports[0]
	call := func(d time.Duration) {
		t.Helper()
		hand.Lift()
		b.state(1, "dialtone")
		if err := hand.Press("34#"); err != nil {
			t.Fatal(err)
		}
		b.state(1, "talking")
		time.Sleep(d)
		hand.HangUp()
		b.state(1, "idle")
	}
	if s := b.agent.Snapshot().Ports[0].Sound; s != nil {
		t.Errorf("before the first call: %+v", s)
	}
	call(time.Second)
	if s := b.agent.Snapshot().Ports[0].Sound; s == nil || s.Peer != "34" || s.Sent == 0 || s.Received == 0 || s.Complaint() != "" || s.Lasted == 0 ||
		s.Codec != "PCMU" || s.MOS < 4 || s.MOS > 4.5 || s.Delay < status.Millis(20*time.Millisecond) || s.Loss > 0.2 {
		t.Errorf("after it: %+v", s)
	}
	b.until("it is said", func() bool { return b.log.has("hung up; MOS 4.") })
	b.peer.mu.Lock()
	b.peer.early = 1 // the far end says nothing
	b.peer.mu.Unlock()
	call(4 * time.Second)
	if s := b.agent.Snapshot().Ports[0].Sound; s.Received != 0 || s.Complaint() != "no sound came" {
		t.Errorf("after a silent one: %+v", s)
	}
	b.until("it is said", func() bool { return b.log.has("; no sound came") })
}

// A message that waits is seen and heard: RFC 3842 section 5.2, "Messages-Waiting:
// yes", sent as registrars do, without a subscription.
func TestMessageWaiting(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	mailbox := func(seq int, waiting string) {
		p := b.peer
		p.mu.Lock()
		defer p.mu.Unlock()
		body := "Messages-Waiting: " + waiting + "\r\n"
		p.conn.WriteTo(fmt.Appendf(nil, "NOTIFY %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;rport;branch=z9hG4bKmwi%d\r\nMax-Forwards: 70\r\n"+
			"From: <sip:mailbox@example.net>;tag=1\r\nTo: <%s>\r\nCall-ID: mwi\r\nCSeq: %d NOTIFY\r\nEvent: message-summary\r\n"+
			"Content-Type: application/simple-message-summary\r\nContent-Length: %d\r\n\r\n%s",
			p.contact, p.addr(), seq, p.contact, seq, len(body), body), p.from)
	}
	// pauses counts the silences of 60 ms and more in the first second of the dial tone.
	pauses := func() (n int) {
		hand := b.ports[0]
		sound := listen(hand, func() {
			hand.Lift()
			b.state(1, "dialtone")
			time.Sleep(1500 * time.Millisecond)
		})
		hand.HangUp()
		b.state(1, "idle")
		silent, began := 0, false
		for _, x := range sound {
			if x > 100 || x < -100 {
				if began && silent > 480 {
					n++
				}
				silent, began = 0, true
			} else {
				silent++
			}
		}
		return n
	}
	lamp := func() string { return b.agent.Snapshot().Lamps[2].Pattern }

	mailbox(1, "yes")
	b.until("the lamp shows it", func() bool { return lamp() == "heartbeat" })
	if !b.agent.Snapshot().Lines[0].Messages {
		t.Error("status does not say so")
	}
	if n := pauses(); n < 4 {
		t.Errorf("a dial tone with %d pauses, want a stutter", n)
	}
	mailbox(2, "no")
	b.until("the lamp is calm", func() bool { return lamp() == "solid" })
	if n := pauses(); n > 2 { // a busy machine may lose some sound
		t.Errorf("a dial tone with %d pauses, want none", n)
	}
}
