// ata-lab is a provider in a box, on this computer's loopback: proxies, a name
// server and far ends, for trying the agent without a provider.
//
// Its one idea: what the tests play in virtual time is played here as time goes
// by. It needs no root and sends nothing beyond loopback.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ata-agent/ata-agent/internal/lab"
)

const usage = `ata-lab is a provider in a box, on loopback.

usage:
  ata-lab demo [AGENT]
                      a telephone, a call, and a proxy that dies: the story in less than a minute;
                      AGENT is an ata-agent to start instead of the one inside
  ata-lab play FILE   a scenario (internal/lab/testdata/*.txt), as time goes by
  ata-lab serve [FILE]
                      leaves the provider running and prints a configuration for ata-agent, which
                      it also writes to FILE; then takes words of a scenario: kill p1, silence p2,
                      revive p1, dns silent, call 5559876, far hangs up
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program; 1 is that something did not happen, 2 a wrong command.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == "demo":
		err = withDir(func(dir string) error { return lab.Demo(ctx, dir, true, out) })
	case len(args) == 2 && args[0] == "demo":
		err = withDir(func(dir string) error { return lab.DemoOf(ctx, dir, launcher(args[1], errs), out) })
	case len(args) == 2 && args[0] == "play":
		err = withDir(func(dir string) error { return play(ctx, args[1], dir, out) })
	case len(args) == 1 && args[0] == "serve":
		err = withDir(func(dir string) error { return serve(ctx, dir, filepath.Join(dir, "ata-agent.toml"), in, out) })
	case len(args) == 2 && args[0] == "serve":
		err = withDir(func(dir string) error { return serve(ctx, dir, args[1], in, out) })
	case len(args) == 1 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h"):
		fmt.Fprint(out, usage)
	default:
		fmt.Fprint(errs, usage)
		return 2
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(errs, "ata-lab: %v\n", err)
		return 1
	}
	return 0
}

// withDir runs f with a folder of its own.
func withDir(f func(dir string) error) error {
	dir, err := os.MkdirTemp("", "ata-lab")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return f(dir)
}

// launcher starts the agent at path; stopping it is SIGTERM and a wait.
func launcher(path string, errs io.Writer) func(string) (func() error, error) {
	return func(config string) (func() error, error) {
		cmd := exec.Command(path, "run", "--config", config)
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		return func() error {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				return err
			}
			return cmd.Wait()
		}, nil
	}
}

func play(ctx context.Context, file, dir string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	s, err := lab.ReadScript(strings.TrimSuffix(filepath.Base(file), ".txt"), text)
	if err != nil {
		return err
	}
	return lab.Play(ctx, s, dir, true, out)
}

// serve leaves a provider running, with the agent's configuration in file, and
// does what it is told.
func serve(ctx context.Context, dir, file string, in io.Reader, out io.Writer) error {
	w, err := lab.NewWorld(lab.Options{Real: true, Dir: dir}, lab.NewJournal(out, true))
	if err != nil {
		return err
	}
	defer w.Close()
	config := w.ConfigFile()
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, `The provider runs. This configuration is in %s:

%s
Start the agent in another terminal, and use its telephone:

  ata-agent run --config %[1]s
  ata-agent phone 1 lift --config %[1]s
  ata-agent phone 1 press 5551234 --config %[1]s

5551234 answers and whistles, 5550000 echoes, 5551180 rings for ever, 5550486 is
busy. Type here what shall happen (kill p1, silence p2, revive p1, dns silent,
call 5559876, far hangs up), and ^C to end.

`, file, config)
	lines := make(chan string)
	go func() {
		sc := bufio.NewScanner(in)
		for sc.Scan() {
			lines <- sc.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if strings.TrimSpace(line) == "" {
				continue
			}
			if err := w.Do(ctx, strings.TrimPrefix(line, "> ")); err != nil {
				fmt.Fprintf(out, "  %v\n", err)
			}
		}
	}
}
