package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ata-agent/ata-agent/hal/sim"
	"github.com/ata-agent/ata-agent/internal/config"
	"github.com/ata-agent/ata-agent/internal/control"
)

var phoneCommand = command{
	name: "phone", args: "[--config FILE] PORT ACTION", short: "move the receiver of a simulated telephone",
	long: `
PORT is the port's name or its number, from 1. ACTION is one of

  lift                         take the receiver off the hook
  press DIGITS                 0-9 * # A-D, as tones but on a handset; a comma
                               pauses for a second
  dial DIGITS                  0-9 with a dial, as pulses
  flash                        press the hook briefly
  hang-up                      put the receiver down
  play FILE.wav                speak a recording into the mouthpiece: 8000 Hz or what
                               the handset has, mono, 16 bits, A-law or mu-law; at
                               most a minute, of wider sound less
  record FILE.wav [--for 5s]   write down what the ear hears; without --for until
                               interrupted, at most five minutes, of wider sound less
  wait STATE [--timeout 10s]   until the port is in a state, and exit 1 when it is
                               not in time

An action returns when it is done: a digit when it has sounded. STATE is a state
of the telephone (idle, dialtone, dialing, calling, ringback, talking, callwaiting,
holding, ringing, busy, reorder, howler, waiting), of its hook (on-hook, off-hook),
or of its line (registering, registered, failed). Only a simulated port can be
moved, but any can be waited for; moving a real one is exit 2.`,
	flags: func(c *call) {
		c.set.DurationVar(&c.timeout, "timeout", 10*time.Second, "")
		c.set.DurationVar(&c.length, "for", 0, "")
	},
	run: phone,
}

// actions are the words of phone, and what follows each.
var actions = []struct {
	do      control.Action
	operand string
}{
	{control.Lift, ""}, {control.Press, "DIGITS"}, {control.Dial, "DIGITS"}, {control.Flash, ""}, {control.HangUp, ""},
	{control.Play, "FILE.wav"}, {control.Record, "FILE.wav"}, {control.Wait, "STATE"},
}

func phone(c *call) error {
	req, operand, err := c.action()
	if err != nil {
		return err
	}
	switch req.Do {
	case control.Press, control.Dial:
		req.Digits = operand
	case control.Wait:
		req.State, req.Time = operand, c.timeout
	case control.Play:
		f, err := os.Open(operand)
		if err != nil {
			return err
		}
		defer f.Close()
		if req.Samples, req.Rate, err = sim.ReadWAV(f); err != nil {
			return &hinted{fmt.Errorf("%s: %w", operand, err), "sox " + operand + " -r 8000 -c 1 -b 16 telephone.wav"}
		}
	case control.Record:
		req.Time = c.length
		return c.record(req, operand)
	}
	_, err = c.ask(req, nil)
	return err
}

// action reads PORT ACTION [OPERAND].
func (c *call) action() (req control.Request, operand string, err error) {
	wrong := func(hint, format string, a ...any) (control.Request, string, error) {
		return req, "", &wrongUse{fmt.Errorf(format, a...), hint}
	}
	var words []string
	for _, a := range actions {
		words = append(words, string(a.do))
	}
	if len(c.args) < 2 {
		return wrong("ata-agent phone 1 lift; ata-agent help phone lists the actions", "phone wants a port and an action")
	}
	req.Port, req.Do = c.args[0], control.Action(c.args[1])
	if req.Do == "hangup" {
		req.Do = control.HangUp
	}
	for _, a := range actions {
		if a.do != req.Do {
			continue
		}
		rest := c.args[2:]
		if a.do == control.Wait && len(rest) > 1 {
			rest = []string{strings.Join(rest, " ")} // wait dial tone
		}
		switch {
		case a.operand == "" && len(rest) > 0:
			return wrong("", "%s does not know what to do with %q", a.do, rest[0])
		case a.operand != "" && len(rest) == 0:
			return wrong("", "%s wants %s", a.do, a.operand)
		case len(rest) > 1:
			return wrong("put what belongs together in quotes", "%s wants one %s, not also %q", a.do, a.operand, rest[1])
		case len(rest) == 1:
			operand = rest[0]
		}
		if c.length != 0 && a.do != control.Record || c.length < 0 {
			return wrong("ata-agent phone 1 record FILE.wav --for 5s", "--for is how long to record")
		}
		return req, operand, nil
	}
	hint := "the actions are " + strings.Join(words, ", ")
	if near := config.Nearest(string(req.Do), words); near != "" {
		hint = "did you mean " + near + "?"
	} else if config.Nearest(req.Port, words) == req.Port {
		hint = fmt.Sprintf("the port comes first: ata-agent phone %s %s", req.Do, req.Port)
	}
	return wrong(hint, "a telephone cannot %q", req.Do)
}

// record listens until the time has come or the person at the keyboard has
// heard enough, and writes the file.
func (c *call) record(req control.Request, file string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := c.ask(req, ctx.Done())
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := errors.Join(sim.WriteWAV(f, r.Samples, r.Rate), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// ask asks the running agent and turns a refusal into an error.
func (c *call) ask(req control.Request, end <-chan struct{}) (control.Reply, error) {
	path, err := config.ControlPath(c.config)
	if err != nil {
		return control.Reply{}, c.explain(err)
	}
	r, err := control.Ask(context.Background(), path, req, end)
	switch {
	case errors.Is(err, control.ErrNotRunning):
		return r, &hinted{err, "start it: ata-agent run --config " + c.config}
	case errors.Is(err, fs.ErrPermission):
		return r, &hinted{err, "only the user who runs the agent may ask it"}
	case err != nil:
		return r, err
	case r.Error != "" && r.Wrong:
		return r, &wrongUse{errors.New(r.Error), r.Hint}
	case r.Error != "":
		return r, &hinted{errors.New(r.Error), r.Hint}
	}
	return r, nil
}
