package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ata-agent": main})
}

// The stories in testdata, each in a directory of its own, with the agent as a
// process of its own.
func TestStories(t *testing.T) {
	// Under an emulator the program cannot start itself.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(self, "-test.run=^$").Run(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"until": until, "tell": tell},
		Setup: func(e *testscript.Env) error {
			// Nothing of the machine's own is to matter.
			e.Setenv("NOTIFY_SOCKET", "")
			e.Setenv("JOURNAL_STREAM", "")
			return os.WriteFile(filepath.Join(e.WorkDir, "sim.toml"), []byte(simulated), 0o600)
		},
	})
}

const simulated = `board = "sim"
country = "us"
state_dir = "state"
control = "c.sock"
[dns]
servers = ["127.0.0.1:9"]
[[line]]
name = "home"
user = "1001"
password = "hunter2"
domain = "example.net"
outbound_proxy = ["127.0.0.1:9"]
`

// until runs a command again and again until it succeeds and says what matches:
//
//	until REGEXP COMMAND ...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND ...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%v: %v", args, err)
		}
	}
}

// tell sends a signal to the process in the background: tell HUP
func tell(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	if neg || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: tell HUP|TERM|INT")
	}
	all := ts.BackgroundCmds()
	if len(all) != 1 {
		ts.Fatalf("%d processes in the background", len(all))
	}
	ts.Check(all[0].Process.Signal(signals[args[0]]))
}
