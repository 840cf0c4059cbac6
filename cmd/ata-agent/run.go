package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/ata-agent/ata-agent/board"
	"github.com/ata-agent/ata-agent/internal/agent"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/control"
)

var runCommand = command{
	name: "run", args: "[--config FILE]", short: "be the telephone adapter, until told to stop",
	long: `
Registers the lines, serves the telephones, shows the lamps. It stays in the
foreground and writes to stderr (or syslog, see [log]) what changes, and nothing
while nothing does.

Signals:
  HUP         read the configuration again. Calls go on and lines that did not
              change stay registered; a file with mistakes changes nothing.
  TERM, INT   hang up, unregister, exit 0 within two seconds.

Environment:
  GOGC, GOMEMLIMIT   win over [memory] of the configuration.
  NOTIFY_SOCKET      is told when the telephones are served (systemd Type=notify).`,
	run: run,
}

func run(c *call) error {
	if err := c.none(); err != nil {
		return err
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	frugal(cfg.Memory)
	level := new(slog.LevelVar)
	log := newLogger(cfg.Log, level, c.err)
	for _, w := range cfg.Warnings {
		log.Warn(w.Error())
	}

	dev, err := loadBoard(cfg, "/")
	if err != nil {
		return err
	}
	defer dev.Close()
	for _, fault := range dev.Faults {
		log.Warn(fault.Error())
	}
	roots, err := loadRoots(cfg)
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{
		Config: cfg, Ports: dev.Ports, Lamps: dev.Lamps, Country: dev.Country, Patterns: dev.Patterns,
		Roots: roots, Version: versionString(), Logger: log,
	})
	if err != nil {
		return c.explain(err)
	}

	reload := reloader(c.config, cfg, level, log, a)
	server, err := control.Listen(control.Config{Path: cfg.Control, Snapshot: a.Snapshot, Reload: reload, Ports: dev.Ports, Lines: a})
	if err != nil {
		return &hinted{err, "stop the other agent, or give this one a control = \"...\" of its own"}
	}
	serving, stopServing := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { server.Run(serving) })
	defer served.Wait()
	defer stopServing()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() {
		stop() // who says it twice need not wait
		notify("STOPPING=1")
	})
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			reload() // it has logged what it did
		}
	}()

	log.Info(fmt.Sprintf("ata-agent %s on a %s: %s, %s", versionString(), dev.Model, count(len(cfg.Lines), "line"), count(len(dev.Ports), "port")))
	notify("READY=1")
	err = a.Run(ctx)
	log.Info("stopped")
	return err
}

// frugal sets the garbage collector, unless the environment has done so.
func frugal(m config.Memory) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(m.GCPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(m.Limit)
	}
}

// loadBoard takes the device in hand. root is "/" or, to touch nothing, a
// place without devices.
func loadBoard(cfg *config.Config, root string) (*board.Board, error) {
	name := cfg.Board
	if name == "auto" {
		var err error
		if name, err = board.Detect(os.DirFS("/")); err != nil {
			return nil, &hinted{cfg.Mistake("board", err.Error(), ""), `board = "sim" is a telephone made of software`}
		}
	}
	b, err := board.Load(name, root)
	if err != nil {
		if b != nil {
			b.Close()
		}
		return nil, cfg.Mistake("board", err.Error(), "")
	}
	return b, nil
}

// loadRoots reads the authorities to trust; nil is the system's.
func loadRoots(cfg *config.Config) (*x509.CertPool, error) {
	if cfg.TLS.Roots == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(cfg.TLS.Roots)
	if err != nil {
		return nil, cfg.Mistake("tls.roots", err.Error(), "want a PEM file")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, cfg.Mistake("tls.roots", "there is no certificate in "+cfg.TLS.Roots, "want a PEM file")
	}
	return pool, nil
}

// reloader returns the function that reads the configuration again. It logs
// and returns what is wrong; then everything stays as it was.
func reloader(file string, now *config.Config, level *slog.LevelVar, log *slog.Logger, a *agent.Agent) func() error {
	var mu sync.Mutex // one at a time, and of now
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		next, err := config.Load(file)
		if err == nil {
			err = a.Reload(next)
		}
		if err != nil {
			log.Error("the configuration was not taken over, the old one stays in force")
			for _, e := range each(err) {
				log.Error(e.Error())
			}
			return err
		}
		for _, w := range next.Warnings {
			log.Warn(w.Error())
		}
		if next.Log.To != now.Log.To {
			log.Warn("log.to has changed: that takes effect when the agent is started again")
		}
		level.Set(next.Log.Level)
		frugal(next.Memory)
		now = next
		return nil
	}
}

// each takes mistakes apart.
func each(err error) []error {
	var ms config.Mistakes
	if !errors.As(err, &ms) {
		return []error{err}
	}
	list := make([]error, len(ms))
	for i, m := range ms {
		list[i] = m
	}
	return list
}

// notify tells systemd how things are, as sd_notify(3) does: a datagram to the
// socket in NOTIFY_SOCKET, where @ stands for the zero of an abstract name.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	conn, err := net.Dial("unixgram", name)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.Write([]byte(state))
}

var reloadCommand = command{
	name: "reload", args: "[--config FILE]", short: "make the running agent read its configuration again",
	long: `
Does what HUP does and says what came of it: calls go on, lines that did not change
stay registered, and a file with mistakes changes nothing.`,
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		_, err := c.ask(control.Request{Do: control.Reload}, nil)
		return err
	},
}

var checkCommand = command{
	name: "check", args: "[--config FILE] [--reference]", short: "name everything that is wrong in the configuration",
	long: `
Reads the file as run would, and the board, country, digit maps and certificates it
names. Each mistake is told with file, line, column, key, what was found and what
would be right. Nothing is sent and nothing is changed. Exit 1 when there are any.

  --reference   print a file with every key, its meaning and default instead`,
	flags: func(c *call) { c.set.BoolVar(&c.reference, "reference", false, "") },
	run: func(c *call) error {
		if err := c.none(); err != nil {
			return err
		}
		if c.reference {
			_, err := c.out.Write(config.Reference())
			return err
		}
		cfg, err := c.load()
		if err != nil {
			return c.listed(err)
		}
		for _, w := range cfg.Warnings {
			fmt.Fprintln(c.err, "warning:", w)
		}
		// No lamp is touched: a running agent has them.
		b, err := loadBoard(cfg, "/nowhere")
		if err != nil {
			return c.listed(err)
		}
		defer b.Close()
		if _, err := loadRoots(cfg); err != nil {
			return c.listed(err)
		}
		if _, err := agent.New(agent.Config{
			Config: cfg, Ports: b.Ports, Country: b.Country, Patterns: b.Patterns,
			Identity: "urn:uuid:00000000-0000-0000-0000-000000000000", // none is made and kept
			Logger:   slog.New(slog.DiscardHandler),
		}); err != nil {
			return c.listed(c.explain(err))
		}
		fmt.Fprintf(c.out, "%s is good: %s, board %s, country %s\n", c.config, count(len(cfg.Lines), "line"), b.Name, cmp.Or(cfg.Country, b.Country, "us"))
		how := "ata-agent run"
		if c.config != usualConfig {
			how += " --config " + c.config
		}
		fmt.Fprintln(c.out, "start it:", how)
		return nil
	},
}

// listed prints each mistake on a line of its own, as compilers do, so that an
// editor can go there.
func (c *call) listed(err error) error {
	list := each(err)
	for _, e := range list {
		fmt.Fprintln(c.err, e)
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(c.err, "hint:", hint)
	}
	return &told{exitFailed}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
