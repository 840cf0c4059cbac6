package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// The bars run a real agent in real time: `make bars` names the binary in
// ATA_AGENT. They are the promise of the README's first table.

// An agent under test is the binary with a configuration and its control socket.
type agent struct {
	t      *testing.T
	binary string
	config string
	log    bytes.Buffer
	cmd    *exec.Cmd
}

var lane struct {
	sync.Mutex
	n int
}

// start gives a case addresses of its own and an agent registered at the first.
func start(t *testing.T, proxy string, more ...string) (*Bench, *agent) {
	t.Helper()
	binary := os.Getenv("ATA_AGENT")
	if binary == "" {
		t.Skip("real time, real sockets: run with make bars, or set ATA_AGENT to a binary")
	}
	lane.Lock()
	lane.n++
	n := lane.n
	lane.Unlock()
	ip := func(i int) string { return fmt.Sprintf("127.0.%d.%d:5060", 20+n, i) }
	dns := fmt.Sprintf("127.0.%d.53:5353", 20+n)
	b, err := New(dns, ip(1), ip(2), ip(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)

	dir := t.TempDir()
	a := &agent{t: t, binary: binary, config: filepath.Join(dir, "ata-agent.toml")}
	text := fmt.Sprintf(`board = "sim"
country = "us"
state_dir = %q
control = %q
%s
[dns]
servers = [%q]
[[line]]
user = %q
password = %q
domain = %q
outbound_proxy = [%q]
expires = "60s"
`, dir, filepath.Join(dir, "c.sock"), strings.Join(more, "\n"), dns, User, Password, Domain, proxy)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	a.cmd = exec.Command(binary, "run", "--config", a.config)
	a.cmd.Stderr = &a.log
	began := time.Now()
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.cmd.Process.Signal(os.Interrupt)
		a.cmd.Wait()
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.log.String())
		}
	})
	if _, err := b.Wait(began, 10*time.Second, registered); err != nil {
		t.Fatalf("first registration: %v", err)
	}
	return b, a
}

// phone moves the first port's receiver.
func (a *agent) phone(args ...string) {
	a.t.Helper()
	cmd := exec.Command(a.binary, append([]string{"phone", "--config", a.config, "1"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("phone %v: %v: %s", args, err, out)
	}
}

func registered(e Event) bool { return e.Kind == "registered" }

// elsewhere accepts events of a kind at any proxy but those named.
func elsewhere(kind string, not ...int) func(Event) bool {
	return func(e Event) bool {
		for _, n := range not {
			if e.Proxy == n {
				return false
			}
		}
		return e.Kind == kind
	}
}

// The names under which the three addresses are to be found.
var variants = []struct{ name, proxy string }{
	{"A", "proxy.lab.test"},
	{"SRV", "srv.lab.test"},
}

// times collects what the cases measured, for one table at the end.
type times struct {
	sync.Mutex
	rows []string
}

func (r *times) add(t *testing.T, took, bar time.Duration) {
	r.Lock()
	r.rows = append(r.rows, fmt.Sprintf("%-44s %8.2f s   bar %6.2f s", t.Name(), took.Seconds(), bar.Seconds()))
	r.Unlock()
	if took > bar {
		t.Errorf("took %v, the bar is %v", took.Round(10*time.Millisecond), bar)
	}
}

func (r *times) print() {
	sort.Strings(r.rows)
	fmt.Println(strings.Join(r.rows, "\n"))
}

var faults = []struct {
	name       string
	mode       Mode
	dial, idle time.Duration // bars
}{
	{"killed", Killed, 500 * time.Millisecond, 20 * time.Second},
	{"silent", Silent, 4500 * time.Millisecond, 20 * time.Second},
	{"503", Busy, 500 * time.Millisecond, 500 * time.Millisecond}, // idle: from the refresh that is refused
}

func TestBars(t *testing.T) {
	var table times
	t.Run("bars", func(t *testing.T) {
		for _, v := range variants {
			for _, f := range faults {
				for _, dead := range []bool{false, true} {
					name := v.name + "/" + f.name
					if dead {
						name += "/dns-dead"
					}
					t.Run("dial/"+name, func(t *testing.T) {
						t.Parallel()
						dial(t, &table, v.proxy, f.mode, dead, f.dial)
					})
					t.Run("idle/"+name, func(t *testing.T) {
						t.Parallel()
						idle(t, &table, v.proxy, f.mode, dead, f.idle)
					})
				}
			}
		}
		for _, f := range faults[:2] {
			t.Run("all-dead-60s/"+f.name, func(t *testing.T) {
				t.Parallel()
				allDead(t, &table, f.mode)
			})
		}
		t.Run("call-survives", func(t *testing.T) {
			t.Parallel()
			survives(t)
		})
	})
	table.print()
}

// dial: the proxy fails, a second later the user dials. How long from the last
// digit's tone to the 180 of another proxy?
func dial(t *testing.T, table *times, proxy string, mode Mode, dnsDead bool, bar time.Duration) {
	b, a := start(t, proxy)
	time.Sleep(time.Second)
	a.phone("lift")
	a.phone("press", "5551234")
	b.Proxies[0].Set(mode)
	b.DNS.Silent.Store(dnsDead)
	began := time.Now()
	a.phone("press", "#")
	e, err := b.Wait(began, 40*time.Second, elsewhere("180", 0))
	if err != nil {
		t.Fatalf("no 180 from another proxy: %v", err)
	}
	table.add(t, e.At.Sub(began), bar)

	// The registration follows the call.
	if _, err := b.Wait(began, 10*time.Second, elsewhere("registered", 0)); err != nil {
		t.Errorf("the registration did not follow the call: %v", err)
	}
	a.phone("wait", "talking", "--timeout", "5s")
	a.phone("hang-up")
	if _, err := b.Wait(began, 5*time.Second, elsewhere("bye", 0)); err != nil {
		t.Errorf("no BYE: %v", err)
	}
	// And the next call goes out at once.
	a.phone("lift")
	a.phone("press", "5551234")
	began = time.Now()
	a.phone("press", "#")
	e, err = b.Wait(began, 10*time.Second, elsewhere("180", 0))
	if err != nil {
		t.Fatalf("the next call: %v", err)
	}
	if took := e.At.Sub(began); took > 500*time.Millisecond {
		t.Errorf("the next call took %v", took)
	}
}

// idle: nobody touches the telephone. How long until another proxy has
// accepted the registration?
func idle(t *testing.T, table *times, proxy string, mode Mode, dnsDead bool, bar time.Duration) {
	b, _ := start(t, proxy)
	time.Sleep(time.Second)
	began := time.Now()
	b.Proxies[0].Set(mode)
	b.DNS.Silent.Store(dnsDead)
	if mode == Busy {
		e, err := b.Wait(began, 60*time.Second, func(e Event) bool { return e.Kind == "503 REGISTER" })
		if err != nil {
			t.Fatalf("no refresh: %v", err)
		}
		began = e.At
	}
	e, err := b.Wait(began, 60*time.Second, elsewhere("registered", 0))
	if err != nil {
		t.Fatalf("not registered elsewhere: %v", err)
	}
	table.add(t, e.At.Sub(began), bar)
}

// allDead: all proxies fail for a minute, then one returns.
func allDead(t *testing.T, table *times, mode Mode) {
	b, _ := start(t, "proxy.lab.test")
	for _, p := range b.Proxies {
		p.Set(mode)
	}
	time.Sleep(60 * time.Second)
	began := time.Now()
	b.Proxies[1].Set(Answer)
	e, err := b.Wait(began, 60*time.Second, registered)
	if err != nil {
		t.Fatalf("not back: %v", err)
	}
	table.add(t, e.At.Sub(began), 15*time.Second)
}

// survives: the proxy dies in a call; the call is not ended by it, and hanging
// up later sends the BYE through another proxy.
func survives(t *testing.T) {
	b, a := start(t, "proxy.lab.test")
	a.phone("lift")
	a.phone("press", "5551234#")
	a.phone("wait", "talking", "--timeout", "5s")
	b.Proxies[0].Set(Killed)
	began := time.Now()
	if _, err := b.Wait(began, 25*time.Second, elsewhere("registered", 0)); err != nil {
		t.Errorf("the line did not move during the call: %v", err)
	}
	a.phone("wait", "talking", "--timeout", "1s")
	began = time.Now()
	a.phone("hang-up")
	if _, err := b.Wait(began, 10*time.Second, elsewhere("bye", 0)); err != nil {
		t.Errorf("no BYE through another proxy: %v", err)
	}
}
