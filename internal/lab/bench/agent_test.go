package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// An agent under test is the binary with a configuration and its control socket.
type agent struct {
	t      *testing.T
	binary string
	config string
	log    bytes.Buffer
	cmd    *exec.Cmd
}

// A setup says what an agent is given.
type setup struct {
	proxy     string   // "": proxy.lab.test
	transport string   // "": udp
	expires   int      // seconds that proxies grant; 0: 60
	line      []string // more keys of its line
	more      []string // more tables
	runner    []string // what runs the binary; empty: the kernel
	binary    string   // "": of ATA_AGENT
	apart     bool     // on a network of its own
}

// lanes are counted so that every case has addresses of its own: 127.b.c.x.
var lanes atomic.Int32

func lane() string {
	n := lanes.Add(1)
	return fmt.Sprintf("127.%d.%d", 20+n/250, 1+n%250)
}

// newBench gives a case addresses of its own.
func newBench(t testing.TB) (*Bench, string) {
	t.Helper()
	net := lane()
	b, err := New(net+".53:5353", net+".1:5060", net+".2:5060", net+".3:5060")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, net
}

func needsBinary(t *testing.T) {
	t.Helper()
	if os.Getenv("ATA_AGENT") == "" {
		t.Skip("real time, real sockets: run with make bars, or set ATA_AGENT to a binary")
	}
}

// start gives a case a bench and an agent that is registered at its first proxy.
func start(t *testing.T, s setup) (*Bench, *agent) {
	t.Helper()
	needsBinary(t)
	b, _ := newBench(t)
	if s.expires > 0 {
		for _, p := range b.Proxies {
			p.Grant(s.expires)
		}
	}
	return b, run(t, b, s)
}

// run starts an agent and waits until it is registered.
func run(t *testing.T, b *Bench, s setup) *agent {
	t.Helper()
	began := time.Now()
	a := launch(t, b, s)
	if _, err := b.Wait(began, 20*time.Second, Is(Registered)); err != nil {
		t.Fatalf("first registration: %v", err)
	}
	return a
}

// launch starts an agent.
func launch(t *testing.T, b *Bench, s setup) *agent {
	t.Helper()
	if s.proxy == "" {
		s.proxy = "proxy.lab.test"
	}
	if s.transport == "" {
		s.transport = "udp"
	}
	if s.binary == "" {
		s.binary = os.Getenv("ATA_AGENT")
	}
	dir := t.TempDir()
	a := &agent{t: t, binary: os.Getenv("ATA_AGENT"), config: filepath.Join(dir, "ata-agent.toml")}
	text := fmt.Sprintf(`board = "sim"
country = "us"
state_dir = %q
control = %q
[dns]
servers = [%q]
[[line]]
user = %q
password = %q
domain = %q
outbound_proxy = [%q]
transport = %q
expires = "60s"
%s
%s
`, dir, filepath.Join(dir, "c.sock"), b.DNS.Addr, User, Password, Domain, s.proxy, s.transport,
		strings.Join(s.line, "\n"), strings.Join(s.more, "\n"))
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	words := append(append([]string{}, s.runner...), s.binary, "run", "--config", a.config)
	a.cmd = exec.Command(words[0], words[1:]...)
	a.cmd.Stderr = &a.log
	if s.apart {
		apart(a.cmd)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.stop()
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.log.String())
		}
	})
	return a
}

// stop ends the agent; again does nothing.
func (a *agent) stop() {
	if a.cmd.ProcessState != nil {
		return
	}
	a.cmd.Process.Signal(os.Interrupt)
	kill := time.AfterFunc(5*time.Second, func() { a.cmd.Process.Kill() })
	a.cmd.Wait()
	kill.Stop()
}

// phone moves the first port's receiver.
func (a *agent) phone(args ...string) {
	a.t.Helper()
	if err := a.port("1", args...); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) port(port string, args ...string) error {
	cmd := exec.Command(a.binary, append([]string{"phone", "--config", a.config, port}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("phone %s %v: %w: %s", port, args, err, out)
	}
	return nil
}

// state is what the first telephone does.
func (a *agent) state() string {
	out, _ := exec.Command(a.binary, "status", "--json", "--config", a.config).Output()
	var s struct{ Ports []struct{ State string } }
	if json.Unmarshal(out, &s) != nil || len(s.Ports) == 0 {
		return ""
	}
	return s.Ports[0].State
}

// resident is what the agent has in memory, in bytes.
func (a *agent) resident() int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return kb << 10
}

func (a *agent) files() int {
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.cmd.Process.Pid))
	return len(fds)
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
