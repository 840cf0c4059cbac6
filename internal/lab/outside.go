package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/internal/control"
)

// A hand is what moves the telephone of a world: the simulated port's own, or one
// that reaches into another process.
type hand interface {
	Lift()
	HangUp()
	Flash()
	Press(digits string) error
	Dial(digits string) error
	Play(samples []int16) error
}

// An outsider is an agent in a process of its own, reached through its control
// socket: a hand, an ear, and eyes for its lamps.
type outsider struct {
	path    string // of the control socket
	journal *Journal
	stop    func() error // ends the process
	ctx     context.Context
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu  sync.Mutex
	ear *Ear
}

// launch starts the agent's process and waits until it can be spoken to.
func (w *World) launch() error {
	file := filepath.Join(w.o.Dir, "ata-agent.toml")
	if err := os.WriteFile(file, []byte(w.ConfigFile()), 0o600); err != nil {
		return err
	}
	stop, err := w.o.Launch(file)
	if err != nil {
		return err
	}
	o := &outsider{path: filepath.Join(w.o.Dir, "sock"), journal: w.Journal, stop: stop, ear: w.ear.Ear}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	for range 50 {
		if _, err = o.ask(control.Request{Do: control.Status}); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		o.close()
		return fmt.Errorf("the agent does not answer on its control socket: %w", err)
	}
	w.outside = o
	w.hand = o
	o.done.Go(o.look)
	o.done.Go(o.listen)
	return nil
}

func (o *outsider) close() error {
	o.cancel()
	o.done.Wait()
	return o.stop()
}

func (o *outsider) ask(r control.Request) (control.Reply, error) {
	r.Port = "1"
	reply, err := control.Ask(o.ctx, o.path, r, nil)
	if err == nil && reply.Error != "" {
		err = errors.New(reply.Error)
	}
	return reply, err
}

// look writes down what changes in the agent's status.
func (o *outsider) look() {
	const often = 50 * time.Millisecond
	seen := make(map[string]string)
	tell := func(s Source, key, now, text string) {
		if was, known := seen[key]; now != was || !known {
			seen[key] = now
			if now != "" {
				o.journal.Add(s, "%s", text)
			}
		}
	}
	for {
		if reply, err := o.ask(control.Request{Do: control.Status}); err == nil {
			for _, l := range reply.Status.Lines {
				tell(Log, "line"+l.Name, string(l.State)+l.Proxy, fmt.Sprintf("line %s %s via %s", l.Name, l.State, l.Proxy))
			}
			tell(Log, "problem", reply.Status.Problem, reply.Status.Problem)
			for _, l := range reply.Status.Lamps {
				tell(LampLit, "lamp"+l.Name, l.Pattern, fmt.Sprintf("%s lamp: %s (%s)", l.Name, l.Pattern, l.Meaning))
			}
			for _, p := range reply.Status.Ports {
				tell(Log, "port"+p.Name, p.State, fmt.Sprintf("phone %s: %s", p.Name, p.State))
			}
		}
		if wait(o.ctx, often) != nil {
			return
		}
	}
}

// listen keeps the ear at the receiver.
func (o *outsider) listen() {
	for o.ctx.Err() == nil {
		reply, err := o.ask(control.Request{Do: control.Record, Time: 200 * time.Millisecond})
		if err != nil {
			wait(o.ctx, 100*time.Millisecond)
			continue
		}
		o.mu.Lock()
		o.ear.Hear(reply.Samples)
		o.mu.Unlock()
	}
}

func (o *outsider) must(r control.Request) {
	if _, err := o.ask(r); err != nil {
		o.journal.Add(EarHears, "the hand fails: %v", err)
	}
}

func (o *outsider) Lift()   { o.must(control.Request{Do: control.Lift}) }
func (o *outsider) HangUp() { o.must(control.Request{Do: control.HangUp}) }
func (o *outsider) Flash()  { o.must(control.Request{Do: control.Flash}) }

func (o *outsider) Press(digits string) error {
	_, err := o.ask(control.Request{Do: control.Press, Digits: digits})
	return err
}

func (o *outsider) Dial(digits string) error {
	_, err := o.ask(control.Request{Do: control.Dial, Digits: digits})
	return err
}

func (o *outsider) Play(samples []int16) error {
	_, err := o.ask(control.Request{Do: control.Play, Samples: samples})
	return err
}
