package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// link: the agent has a network of its own, and one cable to the bench. It is
// started without, gets one, is given another address, loses it and has it back.
func link(t *testing.T, r *table) {
	needsBinary(t)
	if os.Geteuid() != 0 {
		t.Skip("only root makes a cable")
	}
	if err := ip("link", "add", "bench0", "type", "veth", "peer", "name", "agent0"); err != nil {
		t.Skipf("no cable can be made here: %v", err)
	}
	t.Cleanup(func() { ip("link", "del", "bench0") })
	for _, words := range [][]string{{"addr", "add", "192.0.2.1/24", "dev", "bench0"}, {"addr", "add", "192.0.2.2/24", "dev", "bench0"}, {"link", "set", "bench0", "up"}} {
		if err := ip(words...); err != nil {
			t.Fatal(err)
		}
	}
	b, err := New("192.0.2.1:5353", "192.0.2.1:5060", "192.0.2.2:5060")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)

	a := launch(t, b, setup{apart: true})
	inside := func(words ...string) {
		t.Helper()
		pid := strconv.Itoa(a.cmd.Process.Pid)
		if out, err := exec.Command("nsenter", append([]string{"-t", pid, "-n", "ip"}, words...)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", words, err, out)
		}
	}
	time.Sleep(3 * time.Second)
	if p := a.problem(); p != "no network link" {
		t.Errorf("without a cable the problem is %q", p)
	}

	began := time.Now()
	if err := ip("link", "set", "agent0", "netns", strconv.Itoa(a.cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	inside("addr", "add", "192.0.2.10/24", "dev", "agent0")
	inside("link", "set", "agent0", "up")
	registered := func(what, from string) {
		t.Helper()
		e, err := b.Wait(began, 20*time.Second, Is(Registered))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		took := e.At.Sub(began)
		r.row(t, "%8.2f s   bar %6.2f s   %s", took.Seconds(), 2.0, what)
		if took > 2*time.Second {
			t.Errorf("%s: registered after %v, the bar is 2s", what, took)
		}
		if got := e.From.Addr().String(); got != from {
			t.Errorf("%s: registered from %s, want %s", what, got, from)
		}
		time.Sleep(500 * time.Millisecond)
		if p := a.problem(); p != "" {
			t.Errorf("%s: the problem is still %q", what, p)
		}
	}
	registered("the first cable", "192.0.2.10")

	began = time.Now()
	inside("addr", "add", "192.0.2.11/24", "dev", "agent0")
	inside("addr", "del", "192.0.2.10/24", "dev", "agent0") // takes the second with it where it is the first's
	inside("addr", "replace", "192.0.2.11/24", "dev", "agent0")
	registered("another address", "192.0.2.11")

	inside("link", "set", "agent0", "down")
	time.Sleep(time.Second)
	if p := a.problem(); p != "no network link" {
		t.Errorf("a second after the cable was pulled the problem is %q", p)
	}
	time.Sleep(20 * time.Second) // at least one keep-alive
	began = time.Now()
	inside("link", "set", "agent0", "up")
	time.Sleep(2 * time.Second)
	if p := a.problem(); p != "" {
		t.Errorf("2 s after the cable was back the problem is %q", p)
	}
	if moved := b.Events(began, func(e Event) bool { return e.Kind == Registered && e.Proxy != 0 }); len(moved) > 0 {
		t.Errorf("the line moved for a cable of ours: %v", moved)
	}
}

func ip(words ...string) error {
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", words, err, out)
	}
	return nil
}

// apart gives a command a network of its own.
func apart(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} }

// problem is the first thing wrong.
func (a *agent) problem() string {
	out, err := exec.Command(a.binary, "status", "--json", "--config", a.config).Output()
	var s struct{ Problem string }
	if err := json.Unmarshal(out, &s); err != nil {
		a.t.Fatalf("%v: %s", err, out)
	}
	if err != nil && s.Problem == "" {
		a.t.Fatal(err)
	}
	return s.Problem
}
