package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/status"
	"github.com/ata-agent/ata-agent/internal/trace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is for what should be quick, on a machine that may be slow.
const limit = 30 * time.Second

// An exchange is a server with a simulated port "fxs" and one made of copper.
type exchange struct {
	path string
	port *sim.Port

	mu       sync.Mutex
	snapshot status.Snapshot
	reloads  int
	refuse   error
}

// copper is a port without a hand.
type copper struct{ hal.Port }

func (copper) Name() string { return "copper" }
func (copper) Kind() string { return "dahdi" }

func newExchange(t *testing.T) *exchange {
	t.Helper()
	e := &exchange{path: filepath.Join(t.TempDir(), "s"), port: sim.New("fxs", sim.Options{})}
	t.Cleanup(func() { e.port.Close() })
	e.show("idle", "on", status.Registering)
	s, err := Listen(e.config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return e
}

func (e *exchange) config() Config {
	return Config{
		Path: e.path, Ports: []hal.Port{e.port, copper{}}, Lines: e,
		Snapshot: func() status.Snapshot {
			e.mu.Lock()
			defer e.mu.Unlock()
			s := e.snapshot
			s.Ports = slices.Clone(s.Ports)
			if e.port.OffHook() {
				s.Ports[0].Hook = "off"
			}
			return s
		},
		Reload: func() error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.reloads++
			return e.refuse
		},
	}
}

func (e *exchange) show(state, hook string, line status.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.snapshot = status.Snapshot{
		Version: "1.2.3",
		Lines: []status.Line{{Name: "home", State: line, Ring: []status.Place{
			{Address: "192.0.2.7:5060"}, {Address: "[2001:db8::7]:5061"},
		}}},
		Ports: []status.Port{{Name: "fxs", State: state, Hook: hook, Line: "home"}, {Name: "copper", State: "idle", Hook: "on"}},
	}
}

func (e *exchange) ask(t *testing.T, req Request) Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r, err := Ask(ctx, e.path, req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (e *exchange) must(t *testing.T, req Request) Reply {
	t.Helper()
	r := e.ask(t, req)
	if r.Error != "" {
		t.Fatalf("%v: %s", req.Do, r.Error)
	}
	return r
}

func (e *exchange) Failover(_ context.Context, line string, to netip.AddrPort) ([]status.Moved, error) {
	if to.Port() == 5061 {
		return nil, errors.New("not now")
	}
	return []status.Moved{{Line: "failover " + line, To: fmt.Sprint(to)}}, nil
}

func (e *exchange) Failback(_ context.Context, line string) ([]status.Moved, error) {
	return []status.Moved{{Line: "failback " + line}}, nil
}

func (e *exchange) Probe(_ context.Context, line string) ([]status.Probed, error) {
	return []status.Probed{{Line: "probe " + line}}, nil
}

func (e *exchange) Trace() []trace.Message { return []trace.Message{{Text: "OPTIONS"}} }

func TestOrders(t *testing.T) {
	e := newExchange(t)
	for _, row := range []struct {
		req  Request
		want string // of what was done, or the error
		hint string
	}{
		{Request{Do: Failover}, "failover  invalid AddrPort", ""},
		{Request{Do: Failover, Line: "home", Address: "192.0.2.7:5060"}, "failover home 192.0.2.7:5060", ""},
		{Request{Do: Failover, Address: "192.0.2.7"}, "failover  192.0.2.7:5060", ""},
		{Request{Do: Failover, Address: "2001:db8::7"}, "not now", ""},
		{Request{Do: Failover, Address: "[2001:db8::7]:5061"}, "not now", ""},
		{Request{Do: Failover, Address: "192.0.2.8"}, "192.0.2.8 is not the address of a proxy", "the addresses are 192.0.2.7:5060, [2001:db8::7]:5061"},
		{Request{Do: Failover, Line: "work"}, `there is no line "work"`, "the lines are home"},
		{Request{Do: Failback}, "failback  ", ""},
		{Request{Do: Failback, Line: "home"}, "failback home ", ""},
		{Request{Do: Probe, Line: "home"}, "probe home", ""},
		{Request{Do: Probe, Line: "work"}, `there is no line "work"`, "the lines are home"},
		{Request{Do: Trace}, "OPTIONS", ""},
	} {
		r := e.ask(t, row.req)
		got := r.Error
		for _, m := range r.Moved {
			got += m.Line + " " + m.To
		}
		for _, p := range r.Probed {
			got += p.Line
		}
		for _, m := range r.Trace {
			got += m.Text
		}
		if got != row.want || r.Hint != row.hint {
			t.Errorf("%+v: %s, hint %q\nwant %s, hint %q", row.req, got, r.Hint, row.want, row.hint)
		}
	}
}

func TestStatusAndReload(t *testing.T) {
	e := newExchange(t)
	r := e.must(t, Request{Do: Status})
	if r.Status == nil || r.Status.Version != "1.2.3" || r.Status.Lines[0].State != status.Registering {
		t.Errorf("got %+v", r.Status)
	}
	e.must(t, Request{Do: Reload})
	e.refuse = errors.New("f:1:1: bad")
	if r := e.ask(t, Request{Do: Reload}); r.Error != "f:1:1: bad" || r.Hint == "" || e.reloads != 2 {
		t.Errorf("got %+v after %d reloads", r, e.reloads)
	}
}

func TestOnlyTheOwnerMayOpen(t *testing.T) {
	e := newExchange(t)
	info, err := os.Stat(e.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestMovesTheReceiver(t *testing.T) {
	e := newExchange(t)
	next := func(want hal.EventKind) hal.Event {
		t.Helper()
		select {
		case ev := <-e.port.Events():
			if ev.Kind != want {
				t.Fatalf("got %v, want %v", ev.Kind, want)
			}
			return ev
		case <-time.After(limit):
			t.Fatalf("no %v", want)
		}
		panic("unreachable")
	}
	e.must(t, Request{Do: Lift, Port: "fxs"})
	next(hal.OffHook)
	e.must(t, Request{Do: Dial, Port: "1", Digits: "1"}) // by number
	if ev := next(hal.Digit); ev.Digit != '1' {
		t.Errorf("dialled %c", ev.Digit)
	}
	e.must(t, Request{Do: Flash, Port: "fxs"})
	next(hal.Flash)
	e.must(t, Request{Do: Press, Port: "fxs", Digits: "5"})
	e.must(t, Request{Do: Play, Port: "fxs", Samples: make(Sound, 80)})
	// Who hangs up and lifts in a script has not pressed the hook briefly.
	e.must(t, Request{Do: HangUp, Port: "fxs"})
	e.must(t, Request{Do: Lift, Port: "fxs"})
	next(hal.OnHook)
	next(hal.OffHook)
}

// An agent that does not see what was done is no success.
func TestUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := Server{Config: Config{Snapshot: func() status.Snapshot {
			return status.Snapshot{Ports: []status.Port{{Name: "copper", Hook: "off"}}}
		}}}
		if r := s.settled(t.Context(), copper{}, "on"); !strings.Contains(r.Error, "takes the receiver for off the hook") {
			t.Errorf("got %+v", r)
		}
	})
}

// What is recorded is what was written to the ear, bit for bit.
func TestRecords(t *testing.T) {
	e := newExchange(t)
	e.must(t, Request{Do: Lift, Port: "fxs"})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	go func() { // the cord: one frame in, one frame out
		var in, out hal.Frame
		for i := range out {
			out[i] = int16(i*400 - 16000)
		}
		for ctx.Err() == nil && e.port.Read(&in) == nil {
			e.port.Write(&out)
		}
	}()
	end := make(chan struct{})
	time.AfterFunc(300*time.Millisecond, func() { close(end) })
	r, err := Ask(ctx, e.path, Request{Do: Record, Port: "fxs"}, end)
	if err != nil || r.Error != "" {
		t.Fatal(err, r.Error)
	}
	at := slices.Index(r.Samples, -16000)
	if at < 0 || at+1 >= len(r.Samples) || r.Samples[at+1] != -15600 {
		t.Errorf("%d samples, the sound is not in them", len(r.Samples))
	}
	if r := e.must(t, Request{Do: Record, Port: "fxs", Time: 50 * time.Millisecond}); len(r.Samples) == 0 {
		t.Error("nothing recorded in a given time")
	}
}

func TestWaits(t *testing.T) {
	e := newExchange(t)
	for _, row := range []struct {
		state, hook string
		line        status.State
		want        []string
	}{
		{"idle", "on", status.Registering, []string{"idle", "Idle", "on-hook", "onhook", "on hook", "registering"}},
		{"dialtone", "off", status.Registered, []string{"dialtone", "dial-tone", "dial tone", "off-hook", "registered"}},
		{"dialing", "off", status.Failed, []string{"dialing", "dialling", "failed"}},
	} {
		e.show(row.state, row.hook, row.line)
		for _, w := range row.want {
			e.must(t, Request{Do: Wait, Port: "fxs", State: w, Time: limit})
		}
	}
	r := e.ask(t, Request{Do: Wait, Port: "fxs", State: "talking", Time: 20 * time.Millisecond})
	if want := "not talking within 20ms: it is dialing"; r.Error != want || r.Wrong {
		t.Errorf("got %+v, want %q", r, want)
	}
	r = e.ask(t, Request{Do: Wait, Port: "copper", State: "registered", Time: 20 * time.Millisecond})
	if !strings.Contains(r.Error, "without a line") {
		t.Errorf("got %+v", r)
	}
	time.AfterFunc(50*time.Millisecond, func() { e.show("talking", "off", status.Registered) })
	e.must(t, Request{Do: Wait, Port: "fxs", State: "talking", Time: limit})
}

func TestSaysWhatWouldBeRight(t *testing.T) {
	e := newExchange(t)
	for _, row := range []struct {
		req         Request
		error, hint string
	}{
		{Request{Do: Lift, Port: "3"}, `there is no port "3"`, "the ports are fxs, copper"},
		{Request{Do: Lift, Port: "0"}, `there is no port "0"`, ""},
		{Request{Do: Lift, Port: "copper"}, `port "copper" is a real one (dahdi)`, `board = "sim"`},
		{Request{Do: Lift, Port: "2"}, `port "copper" is a real one`, ""},
		{Request{Do: Press, Port: "1", Digits: "12x"}, `'x' is not a digit`, "0123456789*#ABCD,"},
		{Request{Do: Press, Port: "1"}, "nothing to dial", ""},
		{Request{Do: Dial, Port: "1", Digits: "*"}, `'*' is not a digit`, ""},
		{Request{Do: Press, Port: "1", Digits: strings.Repeat("1", 65)}, "65 digits are too many", ""},
		{Request{Do: Wait, Port: "1", State: "talkin"}, `there is no state "talkin"`, "did you mean talking?"},
		{Request{Do: "sing"}, `"sing" cannot be asked`, ""},
		{Request{Do: Play, Port: "1", Samples: make(Sound, 60*8000+1)}, "the sound is too long", ""},
		{Request{Do: Play, Port: "1", Samples: make(Sound, 80), Rate: 16000}, "port fxs speaks 8000 samples a second, and the sound has 16000", "sox in.wav -r 8000 out.wav"},
	} {
		r := e.ask(t, row.req)
		if !strings.Contains(r.Error, row.error) || !strings.Contains(r.Hint, row.hint) {
			t.Errorf("%v: got %q hint %q, want %q hint %q", row.req.Do, r.Error, r.Hint, row.error, row.hint)
		}
		if !r.Wrong && !strings.Contains(r.Error, "too many") {
			t.Errorf("%v: %q: may succeed later?", row.req.Do, r.Error)
		}
	}
	if r := e.ask(t, Request{Do: Press, Port: "1", Digits: "1"}); !strings.Contains(r.Error, "on the hook") || r.Wrong {
		t.Errorf("pressing on hook: %+v", r)
	}
}

// A client who goes away ends what was being done for him: the port is free
// for the next.
func TestClientGoesAway(t *testing.T) {
	e := newExchange(t)
	e.must(t, Request{Do: Lift, Port: "1"})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := Ask(ctx, e.path, Request{Do: Press, Port: "1", Digits: strings.Repeat(",", 60)}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	began := time.Now()
	e.must(t, Request{Do: Press, Port: "1", Digits: "1"})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the port was held for %v", took)
	}
	for _, req := range []Request{{Do: Record}, {Do: Wait, State: "talking"}, {Do: Play, Samples: make(Sound, 30*8000)}} {
		req.Port = "1"
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := Ask(ctx, e.path, req, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: got %v", req.Do, err)
		}
	}
}

func (e *exchange) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: e.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(limit))
	return conn
}

// One connection may ask again and again, and may say its last word before it
// has the answer.
func TestLines(t *testing.T) {
	e := newExchange(t)
	conn := e.dial(t)
	r := bufio.NewScanner(conn)
	for range 3 {
		io.WriteString(conn, "{\"do\":\"status\"}\n")
		if !r.Scan() || !strings.Contains(r.Text(), `"1.2.3"`) {
			t.Fatalf("got %q %v", r.Text(), r.Err())
		}
	}
	io.WriteString(conn, "{\"do\":\"status\"}\n")
	conn.CloseWrite()
	if !r.Scan() || !strings.Contains(r.Text(), `"1.2.3"`) {
		t.Errorf("after the last word: got %q %v", r.Text(), r.Err())
	}
}

func TestNonsense(t *testing.T) {
	e := newExchange(t)
	for _, row := range []struct{ say, want string }{
		{"status\n", "not a request"},
		{`{"do":5}` + "\n", "not a request"},
		{`{"do":"play","port":"1","samples":"AAA="}` + "\n", ""},
		{`{"do":"play","port":"1","samples":"!"}` + "\n", "not a request"},
		{"\n", "not a request"},
	} {
		conn := e.dial(t)
		io.WriteString(conn, row.say)
		conn.CloseWrite()
		answer, _ := io.ReadAll(conn)
		if !strings.Contains(string(answer), row.want) {
			t.Errorf("%q: got %q", row.say, answer)
		}
	}
	// More than a line may be is not read to its end.
	conn := e.dial(t)
	chunk := []byte(strings.Repeat("x", 64<<10))
	sent := 0
	for sent < 4*maxLine {
		n, err := conn.Write(chunk)
		sent += n
		if err != nil {
			break
		}
	}
	if sent >= 4*maxLine {
		t.Errorf("%d bytes of one line were taken", sent)
	}
	e.must(t, Request{Do: Status})
}

// More clients than there is room for are sent away, and the room comes back.
func TestManyClients(t *testing.T) {
	e := newExchange(t)
	var conns []net.Conn
	for range maxClients {
		conn := e.dial(t)
		io.WriteString(conn, "{\"do\":\"status\"}\n")
		bufio.NewReader(conn).ReadString('\n')
		conns = append(conns, conn)
	}
	extra := e.dial(t)
	if b, err := io.ReadAll(extra); len(b) > 0 {
		t.Errorf("one too many: got %q %v", b, err)
	}
	for _, c := range conns {
		c.Close()
	}
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		_, err := Ask(t.Context(), e.path, Request{Do: Status}, nil)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestSocketOfAnother(t *testing.T) {
	e := newExchange(t)
	if _, err := Listen(e.config()); err == nil || !strings.Contains(err.Error(), "another agent answers") {
		t.Errorf("a living one: got %v", err)
	}
	e.must(t, Request{Do: Status}) // it still does

	dir := t.TempDir()
	stale := Config{Path: filepath.Join(dir, "stale")}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale.Path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Ask(t.Context(), stale.Path, Request{Do: Status}, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("asking a dead one: got %v", err)
	}
	s, err := Listen(stale)
	if err != nil {
		t.Fatalf("a dead one: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Run(ctx)
	if _, err := os.Lstat(stale.Path); !os.IsNotExist(err) {
		t.Errorf("the socket stays behind: %v", err)
	}
	if _, err := Ask(t.Context(), stale.Path, Request{Do: Status}, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("asking none: got %v", err)
	}

	file := filepath.Join(dir, "file")
	os.WriteFile(file, []byte("precious"), 0o600)
	if _, err := Listen(Config{Path: file}); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("a file was removed")
	}
	if _, err := Listen(Config{Path: filepath.Join(dir, "no", "where")}); err == nil {
		t.Error("a socket in no directory")
	}
}

func TestSound(t *testing.T) {
	want := Sound{0, 1, -1, 32767, -32768}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	// Each sample low byte first: 0000 0100 ffff ff7f 0080, in base64.
	if string(b) != `"AAABAP///38AgA=="` {
		t.Errorf("got %s", b)
	}
	var got Sound
	if err := json.Unmarshal(b, &got); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v %v", got, err)
	}
	if err := json.Unmarshal([]byte(`"AAA="`), &got); err != nil {
		t.Errorf("one sample: %v", err)
	}
	if err := json.Unmarshal([]byte(`"AAAA"`), &got); err == nil {
		t.Error("one and a half samples were taken")
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"do":"press","port":"1","digits":"5"}`))
	f.Add([]byte(`{"do":"wait","state":"talking","ns":5}`))
	f.Add([]byte(`{"do":"play","samples":"AAA="}`))
	s := &Server{
		Config: Config{Snapshot: func() status.Snapshot { return status.Snapshot{} }, Reload: func() error { return nil }, Ports: []hal.Port{copper{}}},
		hands:  map[string]chan struct{}{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, line []byte) {
		var req Request
		if json.Unmarshal(line, &req) != nil {
			return
		}
		r := s.answer(ctx, req, nil)
		if req.Do != Status && req.Do != Reload && r.Error == "" {
			t.Errorf("%s: done without a hand: %+v", line, r)
		}
	})
}
