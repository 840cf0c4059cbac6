package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/board"
	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/status"
)

// A bed is an agent with its telephones on one side and a peer on the other.
type bed struct {
	t     *testing.T
	peer  *peer
	agent *Agent
	ports []*sim.Port
	lamps []*lamp
	log   *lines
	text  string // the configuration
	stop  func() error
}

type lamp struct {
	name  string
	stuck time.Duration // how long showing solid takes
	mu    sync.Mutex
	seen  []string
}

func (l *lamp) Name() string { return l.name }
func (l *lamp) Close() error { return nil }
func (l *lamp) Show(p hal.Pattern) error {
	l.mu.Lock()
	l.seen = append(l.seen, p.Name)
	l.mu.Unlock()
	if p.Name == "solid" {
		time.Sleep(l.stuck)
	}
	return nil
}

func (l *lamp) shown() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.seen, " ")
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) has(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), what)
}

// newBed starts an agent with so many ports on one line and waits until it is
// registered.
func newBed(t *testing.T, ports int, change ...func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, peer: newPeer(t), log: &lines{}}
	b.text = fmt.Sprintf("country = \"us\"\nstate_dir = %q\n[[line]]\nuser = \"100\"\npassword = \"x\"\ndomain = \"example.net\"\noutbound_proxy = [%q]\nkeepalive = \"1s\"\n",
		t.TempDir(), b.peer.addr()) + strings.Repeat("[[port]]\n", ports)
	c := Config{Config: parse(t, b.text), Logger: slog.New(slog.NewTextHandler(b.log, nil)), Version: "test"}
	for i := range ports {
		p := sim.New(fmt.Sprint(i+1), sim.Options{})
		b.ports = append(b.ports, p)
		c.Ports = append(c.Ports, p)
	}
	for _, role := range []string{"power", "voip", "phone1"} {
		l := &lamp{name: role}
		b.lamps = append(b.lamps, l)
		c.Lamps = append(c.Lamps, board.Lamp{Role: role, Lamp: l})
	}
	for _, do := range change {
		do(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.agent = a
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	b.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the agent does not stop")
		}
	})
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(b.log.text.String())
		}
	})
	b.until("the line is registered", func() bool { return a.Snapshot().Lines[0].State == status.Registered })
	return b
}

// patience is generous: emulated processors are twenty times slower.
const patience = 30 * time.Second

func (b *bed) until(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("never happened: %s\nnow %+v", what, b.agent.Snapshot())
		}
	}
}

func (b *bed) state(port int, want string) {
	b.t.Helper()
	b.until(fmt.Sprintf("port %d %s", port, want), func() bool { return b.agent.Snapshot().Ports[port-1].State == want })
}

// arrives waits for a message whose first line begins like this.
func (b *bed) arrives(start string) message {
	b.t.Helper()
	end := time.After(patience)
	for {
		select {
		case m := <-b.peer.arrived:
			if strings.HasPrefix(m.start, start) {
				return m
			}
		case <-end:
			b.t.Fatalf("never came: %s", start)
		}
	}
}

func (b *bed) count(method string) int {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	n := 0
	for _, m := range b.peer.methods {
		if m == method {
			n++
		}
	}
	return n
}

func (b *bed) answers(code int) {
	b.peer.mu.Lock()
	defer b.peer.mu.Unlock()
	b.peer.answer = code
}

// whistle is a sine of 1 kHz.
func whistle(d time.Duration) []int16 {
	s := make([]int16, int(d/(time.Second/hal.SampleRate)))
	for i := range s {
		s[i] = int16(8000 * math.Sin(2*math.Pi*1000*float64(i)/hal.SampleRate))
	}
	return s
}

// has reports whether a stretch of 100 ms of the sound is mostly of a
// frequency: Goertzel's algorithm.
func has(samples []int16, hz float64) bool {
	const n = hal.SampleRate / 10
	for ; len(samples) >= n; samples = samples[n:] {
		var energy, s1, s2 float64
		k := 2 * math.Cos(2*math.Pi*hz/hal.SampleRate)
		for _, x := range samples[:n] {
			energy += float64(x) * float64(x)
			s1, s2 = float64(x)+k*s1-s2, s1
		}
		power := (s1*s1 + s2*s2 - k*s1*s2) / (n / 2)
		if energy/n > 200*200 && power > 0.3*energy {
			return true
		}
	}
	return false
}

// listen is what the ear hears while something happens.
func listen(hand *sim.Port, while func()) []int16 {
	stop := make(chan struct{})
	heard := make(chan []int16, 1)
	go func() { heard <- hand.Record(stop) }()
	while()
	close(stop)
	return <-heard
}

// A flash in a call is for the far end, unless the file says otherwise; in a
// dial tone it is not.
func TestFlashInACall(t *testing.T) {
	t.Parallel()
	for _, flash := range []string{"event", "off"} {
		b := newBed(t, 1, func(c *Config) {
			c.Config = parse(t, strings.Replace(lineTable, "192.0.2.7", c.Config.Lines[0].OutboundProxy[0], 1)+
				"[[port]]\nflash = \""+flash+"\"\n")
		})
		b.answers(200)
		hand := b.ports[0]
		hand.Lift()
		b.state(1, "dialtone")
		hand.Flash()
		if err := hand.Press("34#"); err != nil {
			t.Fatal(err)
		}
		b.state(1, "talking")
		hand.Flash()
		if err := hand.Press("5"); err != nil {
			t.Fatal(err)
		}
		seen := func() string {
			b.peer.mu.Lock()
			defer b.peer.mu.Unlock()
			return fmt.Sprint(b.peer.events)
		}
		want := map[string]string{"event": "[16 16 16 5 5 5]", "off": "[5 5 5]"}[flash]
		b.until(flash+": the far end is told "+want, func() bool { return seen() == want })
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	}
}

// A dial is heard as the port's country counts, and its hook as the file says.
func TestTimingOfTheHook(t *testing.T) {
	a, err := New(Config{
		Config: parse(t, "state_dir = \"\"\n"+lineTable+"[[port]]\ncountry = \"nz\"\nflash_min = \"300ms\"\nflash_max = \"1100ms\"\n"),
		Ports:  sockets("1", "2"),
	})
	if err != nil {
		t.Fatal(err)
	}
	// HookFlash is the same style with its source.
	want := hook.HookFlash
	want.Numbering = hook.NewZealand
	if got := a.setup.ports[0].timing; got != want {
		t.Errorf("port 1: %+v, want %+v", got, want)
	}
	if got := a.setup.ports[1].timing; got != hook.Wide {
		t.Errorf("port 2: %+v, want %+v", got, hook.Wide)
	}
	p := a.cfg.Ports[0].(*sim.Port)
	p.Lift()
	if err := p.Dial("6"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []hal.Event{{Kind: hal.OffHook}, {Kind: hal.Digit, Digit: '6'}} {
		if got := <-p.Events(); got.Kind != want.Kind || got.Digit != want.Digit {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
}

func TestCallOut(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	hand := b.ports[0]

	hand.Lift()
	b.state(1, "dialtone")
	if err := hand.Press("12#"); err != nil {
		t.Fatal(err)
	}
	if m := b.arrives("INVITE"); !strings.HasPrefix(m.start, "INVITE sip:12@example.net") {
		t.Errorf("%s", m.start)
	}
	b.state(1, "ringback")
	if p := b.agent.Snapshot().Ports[0]; p.Peer != "12" || p.Hook != "off" {
		t.Errorf("%+v", p)
	}
	hand.HangUp()
	b.arrives("CANCEL")
	b.state(1, "idle")

	b.answers(200)
	hand.Lift()
	b.state(1, "dialtone")
	if err := hand.Press("34#"); err != nil {
		t.Fatal(err)
	}
	b.state(1, "talking")
	b.arrives("ACK")
	sound := listen(hand, func() {
		if err := hand.Play(whistle(time.Second)); err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond)
	})
	if !has(sound, 1000) {
		t.Error("the far end echoes a whistle, and the ear does not hear it")
	}
	var ids []string
	b.agent.streams.Range(func(id, _ any) bool { ids = append(ids, id.(string)); return true })
	if len(ids) != 1 || !b.agent.flows(ids[0]) {
		t.Errorf("the far end is heard, and no sound flows: %q", ids)
	}
	hand.HangUp()
	b.arrives("BYE")
	b.state(1, "idle")
	if len(ids) == 1 && b.agent.flows(ids[0]) {
		t.Error("the call is over, and its sound flows on")
	}

	b.answers(486)
	hand.Lift()
	b.state(1, "dialtone")
	if err := hand.Press("56#"); err != nil {
		t.Fatal(err)
	}
	b.state(1, "busy")
	hand.HangUp()
	b.state(1, "idle")

	s := b.agent.Snapshot()
	if s.Counters.CallsOut != 3 || s.Counters.Answered != 1 || s.Problem != "" {
		t.Errorf("counters %+v, problem %q", s.Counters, s.Problem)
	}
	// The lamps changed when something became different, and not else.
	if got := b.lamps[1].shown(); got != "slow solid" {
		t.Errorf("voip lamp: %s", got)
	}
	if got := b.lamps[2].shown(); got != "off solid slow solid slow solid slow solid" {
		t.Errorf("phone lamp: %s", got)
	}
	b.until("the calls are over", func() bool { return b.log.has("call with 56 ended") })
}

func TestCallIn(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	ringing := func(p *sim.Port, want bool) {
		t.Helper()
		b.until(fmt.Sprintf("port %s bell %v", p.Name(), want), func() bool { return p.Ringing() == want })
	}

	// Both ring; the caller gives up.
	b.peer.request("INVITE", "in1", 1, "", b.peer.sdp())
	b.arrives("SIP/2.0 180")
	ringing(b.ports[0], true)
	ringing(b.ports[1], true)
	b.peer.request("CANCEL", "in1", 1, "", "")
	b.arrives("SIP/2.0 487")
	ringing(b.ports[0], false)
	ringing(b.ports[1], false)
	b.state(1, "idle")

	// Both ring; the second is lifted first and wins.
	b.peer.request("INVITE", "in2", 1, "", b.peer.sdp())
	b.arrives("SIP/2.0 180")
	ringing(b.ports[0], true)
	if s := b.agent.Snapshot().Ports[0]; s.State != "ringing" || s.Peer != "555" {
		t.Errorf("port 1 %+v", s)
	}
	b.ports[1].Lift()
	ok := b.arrives("SIP/2.0 200")
	if !strings.Contains(ok.body, "m=audio") {
		t.Errorf("answered with %q", ok.body)
	}
	b.peer.request("ACK", "in2", 1, ok.get("to"), "")
	b.state(2, "talking")
	b.state(1, "idle")
	ringing(b.ports[0], false)

	// A third caller finds one of them idle, and the other hears of him; a fourth
	// finds none.
	b.peer.request("INVITE", "in3", 1, "", b.peer.sdp())
	b.arrives("SIP/2.0 180")
	b.state(1, "ringing")
	b.peer.request("INVITE", "in4", 1, "", b.peer.sdp())
	if m := b.arrives("SIP/2.0 4"); !strings.HasPrefix(m.start, "SIP/2.0 486") {
		t.Errorf("everybody is busy: %s", m.start)
	}
	if s := b.agent.Snapshot().Ports[1]; s.State != "callwaiting" || s.Peer != "555" || s.Second != "555" {
		t.Errorf("port 2 %+v", s)
	}
	ringing(b.ports[1], false)

	// The other flashes for him, and nothing rings any more; whom he talked to
	// is on hold until that call is over.
	b.answers(200)
	b.ports[1].Flash()
	third := b.arrives("SIP/2.0 200")
	b.peer.request("ACK", "in3", 1, third.get("to"), "")
	b.state(2, "holding")
	b.state(1, "idle")
	ringing(b.ports[0], false)
	if s := b.agent.Snapshot().Ports[1]; s.Peer != "555" || s.Second != "555" || s.Sound == nil {
		t.Errorf("port 2 %+v", s)
	}
	held := func(id, direction string) {
		t.Helper()
		b.until(fmt.Sprintf("call %s is told %s", id, direction), func() bool {
			b.peer.mu.Lock()
			defer b.peer.mu.Unlock()
			return b.peer.invite.get("call-id") == id && strings.Contains(b.peer.invite.body, "a="+direction)
		})
	}
	held("in2", "sendonly")
	b.peer.request("BYE", "in3", 2, third.get("to"), "")
	b.state(2, "talking")
	held("in2", "sendrecv")

	// The far end hangs up.
	b.peer.request("BYE", "in2", 2, ok.get("to"), "")
	b.state(2, "reorder")
	b.ports[1].HangUp()
	b.state(2, "idle")
	if c := b.agent.Snapshot().Counters; c.CallsIn != 4 || c.Refused != 1 || c.Answered != 2 {
		t.Errorf("counters %+v", c)
	}
}

// Who calls rings where he can be heard, whatever other telephones of the line are.
func TestCallInForOneThatHears(t *testing.T) {
	var handset *sim.Handset
	b := newBed(t, 2, func(c *Config) {
		handset = sim.NewHandset("2", 16000, sim.Options{})
		c.Ports[1] = handset
	})
	wide := strings.Replace(b.peer.sdp(), "RTP/AVP 0 101", "RTP/AVP 9 101", 1)
	b.peer.request("INVITE", "wide", 1, "", wide)
	b.arrives("SIP/2.0 180")
	b.state(2, "ringing")
	if s := b.agent.Snapshot().Ports[0]; s.State != "idle" {
		t.Errorf("port 1 %+v", s)
	}
	b.answers(200)
	handset.Lift()
	b.arrives("SIP/2.0 200")
	b.state(2, "talking")
	b.peer.request("INVITE", "none", 1, "", strings.Replace(wide, " 9 ", " 18 ", 1))
	if m := b.arrives("SIP/2.0 4"); !strings.HasPrefix(m.start, "SIP/2.0 488") {
		t.Errorf("nobody can hear him: %s", m.start)
	}
}

// What did not change goes on untouched; a line that changed finishes its call.
func TestReload(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	hand := b.ports[0]
	b.answers(200)
	hand.Lift()
	b.state(1, "dialtone")
	if err := hand.Press("12#"); err != nil {
		t.Fatal(err)
	}
	b.state(1, "talking")

	registers := b.count("REGISTER")
	if err := b.agent.Reload(parse(t, strings.Replace(b.text, `"us"`, `"de"`, 1))); err != nil {
		t.Fatal(err)
	}
	if err := b.agent.Reload(parse(t, b.text+"digit_map = \"(xx\"\n")); err == nil || !strings.Contains(err.Error(), "digit_map") {
		t.Errorf("a bad configuration: error %v", err)
	}
	if err := b.agent.Reload(parse(t, strings.Replace(b.text, "password = \"x\"", "password = \"y\"", 1))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if s := b.agent.Snapshot(); s.Ports[0].State != "talking" || s.Lines[0].State != status.Registered {
		t.Errorf("reload in a call: port %+v, line %+v", s.Ports[0], s.Lines[0])
	}
	if n := b.count("REGISTER"); n != registers {
		t.Errorf("%d REGISTERs while nothing changed or a call was on", n-registers)
	}
	if n := b.count("BYE"); n != 0 {
		t.Error("the reload ended a call")
	}

	// Once the call is over the line says goodbye and the new one registers.
	hand.HangUp()
	b.arrives("BYE")
	b.until("the changed line registers", func() bool { return b.count("REGISTER") == registers+2 })
	b.until("the changed line is registered", func() bool { return b.agent.Snapshot().Lines[0].State == status.Registered })
}

// Lines come and go by themselves; those that stay do not notice.
func TestLinesComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	first := b.count("REGISTER 100")
	two := b.text + strings.Replace(b.text[strings.Index(b.text, "[[line]]"):strings.Index(b.text, "[[port]]")], "100", "101", 1)
	if err := b.agent.Reload(parse(t, two)); err != nil {
		t.Fatal(err)
	}
	b.until("both lines are registered", func() bool {
		s := b.agent.Snapshot()
		return len(s.Lines) == 2 && s.Lines[1].State == status.Registered
	})
	if err := b.agent.Reload(parse(t, b.text)); err != nil {
		t.Fatal(err)
	}
	b.until("the second line says goodbye", func() bool { return b.count("REGISTER 101") == 2 })
	if s := b.agent.Snapshot(); len(s.Lines) != 1 || s.Lines[0].State != status.Registered {
		t.Errorf("lines %+v", s.Lines)
	}
	if n := b.count("REGISTER 100"); n != first {
		t.Errorf("the line that stayed sent %d REGISTERs", n-first)
	}
}

// A clean stop hangs up and unregisters, and takes no longer than it may.
func TestStop(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	b.answers(200)
	b.ports[0].Lift()
	b.state(1, "dialtone")
	if err := b.ports[0].Press("12#"); err != nil {
		t.Fatal(err)
	}
	b.state(1, "talking")
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if b.count("BYE") != 1 {
		t.Error("the call was not ended")
	}
	// RFC 3261 section 10.2.2: removed "by specifying an expiration interval
	// of "0"".
	b.peer.mu.Lock()
	last := b.peer.register
	b.peer.mu.Unlock()
	if all := last.get("contact") + " expires=" + last.get("expires"); !strings.Contains(all, "expires=0") {
		t.Errorf("the last REGISTER says %s", all)
	}
	if got := b.lamps[0].shown(); !strings.HasSuffix(got, " ") {
		t.Errorf("power lamp at the end: %q", got)
	}
	if err := b.agent.Reload(parse(t, b.text)); err == nil {
		t.Error("a stopped agent takes a configuration")
	}
	_ = b.agent.Snapshot() // and still has its last word
}

// An operator who is held up is noticed, and status does not wait for him.
func TestStuck(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1, func(c *Config) {
		c.Lamps = append(c.Lamps, board.Lamp{Role: "voip", Lamp: &lamp{name: "bad", stuck: 3 * time.Second}})
	})
	b.until("the lamp is found out", func() bool { return b.log.has("the operator took ") && b.log.has("agent.lineNews") })
}

// A port that goes away takes its call with it, and is what is wrong.
func TestBroken(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2)
	b.peer.request("INVITE", "in1", 1, "", b.peer.sdp())
	b.arrives("SIP/2.0 180")
	b.state(1, "ringing")
	b.ports[0].Close()
	b.until("the port is broken", func() bool { return b.agent.Snapshot().Ports[0].Fault != "" })
	if s := b.agent.Snapshot(); s.Kind != status.Hardware || !strings.HasPrefix(s.Problem, "port 1") || s.Ports[1].State != "ringing" {
		t.Errorf("problem %v %q, ports %+v", s.Kind, s.Problem, s.Ports)
	}
	b.ports[1].Close()
	b.arrives("SIP/2.0 4")
	b.until("nobody rings", func() bool { return b.agent.Snapshot().Ports[1].State == "idle" })
	if got := b.lamps[0].shown(); got != "solid triple" {
		t.Errorf("power lamp: %s", got)
	}
}

// When nobody answers, that is the problem, said once; and when somebody does,
// all is well again.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	b.peer.mu.Lock()
	b.peer.silent = true
	b.peer.mu.Unlock()
	b.until("the line has failed", func() bool { return b.agent.Snapshot().Kind == status.Proxy })
	if s := b.agent.Snapshot(); s.Lines[0].State != status.Failed || !strings.Contains(s.Problem, "no proxy works") || s.Hint == "" {
		t.Errorf("line %+v, problem %q, hint %q", s.Lines[0], s.Problem, s.Hint)
	}
	b.peer.mu.Lock()
	b.peer.silent = false
	b.peer.mu.Unlock()
	b.until("the line is back", func() bool { return b.agent.Snapshot().Lines[0].State == status.Registered })
	if s := b.agent.Snapshot(); s.Problem != "" || !b.log.has("all is well again") {
		t.Errorf("problem %q", s.Problem)
	}
	if got := b.lamps[1].shown(); !strings.HasPrefix(got, "slow solid") || !strings.HasSuffix(got, "triple solid") && !strings.HasSuffix(got, "slow solid") {
		t.Errorf("voip lamp: %s", got)
	}
}

// A name that cannot be resolved is the problem, not the proxy it would lead to.
func TestNoNames(t *testing.T) {
	t.Parallel()
	nobody := newPeer(t)
	nobody.conn.Close() // a name server that is not there
	c := parse(t, fmt.Sprintf("state_dir = \"\"\n[dns]\nservers = [%q]\n%s", nobody.addr(), strings.Replace(lineTable, "192.0.2.7", "proxy.example.net", 1)))
	a, err := New(Config{Config: c, Ports: sockets("1"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	b := &bed{t: t, agent: a}
	b.until("names are the problem", func() bool { return a.Snapshot().Kind == status.DNS })
	if s := a.Snapshot(); s.Lines[0].State == status.Registered || !strings.HasPrefix(s.Problem, "line 1: the proxy's name cannot be resolved") {
		t.Errorf("line %+v, problem %q", s.Lines[0], s.Problem)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// RFC 3960 section 3.2: "If a 180 (Ringing) has been received but there are no
// incoming media packets, generate local ringing. If a 180 (Ringing) has been
// received and there are incoming media packets, play them and do not generate
// local ringing."
func TestEarlySound(t *testing.T) {
	t.Parallel()
	b := newBed(t, 1)
	hand := b.ports[0]
	const ringback = 440 // and 480 Hz in the US, for 2 s of 6
	call := func(early int) {
		b.peer.mu.Lock()
		b.peer.early = early
		b.peer.mu.Unlock()
		hand.Lift()
		b.state(1, "dialtone")
		if err := hand.Press("12#"); err != nil {
			t.Fatal(err)
		}
		b.state(1, "ringback")
	}

	call(180)
	if sound := listen(hand, func() { time.Sleep(time.Second) }); !has(sound, ringback) {
		t.Error("it rings, and no ringback is heard")
	}
	sound := listen(hand, func() { b.peer.whistle(time.Second) })
	if !has(sound, 1000) {
		t.Error("an announcement comes, and is not heard")
	}
	if has(sound[len(sound)/2:], ringback) {
		t.Error("ringback is heard over an announcement")
	}
	hand.HangUp()
	b.state(1, "idle")

	call(183)
	sound = listen(hand, func() { b.peer.whistle(time.Second) })
	if !has(sound, 1000) || has(sound, ringback) {
		t.Error("a 183 brings sound of its own, and that is not all that is heard")
	}
}
