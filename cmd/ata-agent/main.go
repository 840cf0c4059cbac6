// The module's cryptography is built with GOFIPS140=v1.0.0, which keeps a table
// of 32 MiB out of the program that a board of 32 MB cannot map. That choice
// would also turn FIPS mode on; it is not wanted: registrars ask for MD5.

//go:debug fips140=off

// ata-agent turns a device with telephone sockets into telephones of a SIP
// provider, and keeps them working while the provider's proxies come and go.
//
// Its one idea: one process does the work (run); every other command asks it
// over its control socket, or looks at the same configuration file.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/config"
)

// version is set when a release is linked; see versionString.
var version string

// The codes of exit.
const (
	exitOK     = 0
	exitFailed = 1 // it did not work, or a problem was found
	exitUsage  = 2 // it cannot work: the command was wrong. A panic exits with it, too
)

const usualConfig = "/etc/ata-agent/ata-agent.toml"

// A command is one word behind ata-agent.
type command struct {
	name, args string
	short      string      // for the list
	long       string      // for its own page
	flags      func(*call) // beside --config; nil for none
	run        func(*call) error
}

// A call is a command with what was written behind it.
type call struct {
	command
	set    *flag.FlagSet
	config string
	args   []string // without flags

	json      bool          // of status and its like
	line      string        // of the commands about lines
	short     bool          // of trace
	pcap      string        // of trace
	reference bool          // of check
	timeout   time.Duration // of phone wait
	length    time.Duration // of phone record

	out io.Writer
	err io.Writer
}

// commands is filled by init, because help lists them and is one.
var commands []command

func init() {
	commands = []command{runCommand, checkCommand, statusCommand, diagnoseCommand, historyCommand, traceCommand,
		probeCommand, failoverCommand, failbackCommand, reloadCommand, phoneCommand, versionCommand}
}

func main() { os.Exit(do(os.Args[1:], os.Stdout, os.Stderr)) }

// do runs a command line and returns the code of exit.
func do(args []string, stdout, stderr io.Writer) int {
	err := dispatch(args, stdout, stderr)
	var told *told
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &told):
		return told.code
	}
	fmt.Fprintf(stderr, "ata-agent: %v\n", err)
	code := exitFailed
	var wrong *wrongUse
	if errors.As(err, &wrong) {
		code = exitUsage
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
	return code
}

func dispatch(args []string, stdout, stderr io.Writer) error {
	before, args := inFront(args)
	if len(args) == 0 {
		fmt.Fprint(stderr, overview())
		return &told{exitUsage}
	}
	name, args := args[0], append(before, args[1:]...)
	switch name {
	case "help", "--help", "-help", "-h":
		if len(args) == 0 {
			fmt.Fprint(stdout, overview())
			return nil
		}
		name, args = args[0], []string{"--help"}
	case "--version", "-version", "-v":
		name = "version"
	}
	names := make([]string, len(commands))
	for i, c := range commands {
		if names[i] = c.name; c.name == name {
			return (&call{command: c, out: stdout, err: stderr}).start(args)
		}
	}
	hint := "ata-agent help lists the commands"
	if near := config.Nearest(name, names); near != "" {
		hint = "did you mean ata-agent " + near + "?"
	}
	return &wrongUse{fmt.Errorf("there is no command %q", name), hint}
}

// inFront splits off what stands before the command: --config FILE may.
func inFront(args []string) (before, rest []string) {
	n := 0
	for n < len(args) && strings.HasPrefix(args[n], "-") {
		name, _, whole := strings.Cut(strings.TrimLeft(args[n], "-"), "=")
		if name != "config" {
			break
		}
		if n++; !whole {
			n = min(n+1, len(args))
		}
	}
	return args[:n:n], args[n:]
}

// start reads the flags, which may stand anywhere, and runs the command.
func (c *call) start(args []string) error {
	c.set = flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.set.SetOutput(io.Discard)
	c.set.StringVar(&c.config, "config", usualConfig, "")
	if c.flags != nil {
		c.flags(c)
	}
	for {
		if err := c.set.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(c.out, c.page())
			return nil
		} else if err != nil {
			return c.wrongFlag(err)
		}
		args = c.set.Args()
		if len(args) == 0 {
			break
		}
		c.args, args = append(c.args, args[0]), args[1:]
	}
	return c.run(c)
}

func (c *call) wrongFlag(err error) error {
	hint := "ata-agent help " + c.name
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		var known []string
		c.set.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		err = fmt.Errorf("%s has no option --%s", c.name, name)
		if near := config.Nearest(name, known); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return &wrongUse{err, hint}
}

// none makes sure that no words are left over.
func (c *call) none() error {
	if len(c.args) > 0 {
		return &wrongUse{fmt.Errorf("%s does not know what to do with %q", c.name, c.args[0]), "ata-agent help " + c.name}
	}
	return nil
}

func overview() string {
	var b strings.Builder
	b.WriteString(`ata-agent makes telephones of a SIP provider out of telephone sockets.

usage: ata-agent COMMAND [--config FILE]

`)
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.short)
	}
	b.WriteString(`
FILE is ` + usualConfig + ` when not given.
"ata-agent help COMMAND" tells more of one; "ata-agent check --reference" explains
the file. Exit: 0 done, 1 failed or a problem found, 2 the command was wrong, or the
program itself: then there is a trace of goroutines, and whoever starts it (init,
procd, systemd) should start it again.
`)
	return b.String()
}

func (c command) page() string {
	usage := "usage: ata-agent " + c.name
	if c.args != "" {
		usage += " " + c.args
	}
	return usage + "\n\n" + strings.TrimSpace(c.long) + "\n"
}

// wrongUse is an error that no second try will mend; it leads to exit 2.
type wrongUse struct {
	error
	hint string
}

func (e *wrongUse) Unwrap() error { return e.error }

// hinted is an error and what would work.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// told is an error of which all has been said.
type told struct{ code int }

func (e *told) Error() string { return fmt.Sprintf("exit %d", e.code) }

func hintOf(err error) string {
	if w := (*wrongUse)(nil); errors.As(err, &w) {
		return w.hint
	}
	if h := (*hinted)(nil); errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// load reads the configuration; its error has a hint.
func (c *call) load() (*config.Config, error) {
	cfg, err := config.Load(c.config)
	if err != nil {
		return nil, c.explain(err)
	}
	return cfg, nil
}

// explain adds a hint to an error of reading the configuration.
func (c *call) explain(err error) error {
	var wrong config.Mistakes
	switch {
	case errors.As(err, &wrong):
		return &hinted{err, "ata-agent check --reference explains every key"}
	case errors.Is(err, fs.ErrNotExist):
		return &hinted{err, "name the file with --config FILE; ata-agent check --reference prints one to start from"}
	case errors.Is(err, fs.ErrPermission):
		return &hinted{err, "it holds a password, so only its owner reads it; become that user (root?)"}
	}
	return err
}

var versionCommand = command{
	name: "version", short: "which version this is",
	long: "Prints the version, the Go release and the machine it was built for.",
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		fmt.Fprintln(c.out, "ata-agent", versionString(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
		return nil
	},
}

// versionString is what the release was linked with, else the commit it was
// built from.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return "unknown"
	}
	return commit + dirty
}
