package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/callerid"
)

var callerCommands = []command{
	{
		name: "cid-gen", args: "STANDARD NUMBER [NAME] [-waiting] [-at TIME] [-line]",
		short: "makes the sound that tells who calls",
		long: `
STANDARD is one of ` + strings.Join(callerid.Names(), " ") + `.
NUMBER and NAME may be P, for one that is private, or O, for one that is not
known. The sound is that of a telephone on the hook from before its first ring
until the message is over, with a bell of 2 s ringing and 4 s silence; what the
bell and the battery do meanwhile goes to stderr, a line each, with -line.
-waiting tells it during another call instead: the telephone answers at once.
-at is a time as 2026-03-09T17:05, now if not said.`,
		run: runCallerGen,
	},
	{
		name: "cid-detect", args: "STANDARD",
		short: "hears who calls: end in ms, date and time, number, name",
		long: `
What is not told is -, what is private P, what is not known O. On stderr: how
many messages were heard that could not be read.`,
		run: runCallerDetect,
	},
}

func runCallerGen(args []string, s std) error {
	f := set("cid-gen")
	waiting, line := f.Bool("waiting", false, ""), f.Bool("line", false, "")
	when := f.String("at", "", "")
	words, err := options(f, args)
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return wrong("want a standard and a number")
	}
	standard, err := callerid.ParseStandard(words[0])
	if err != nil {
		return misuse(err.Error())
	}
	m := callerid.Message{At: time.Now(), Number: words[1], Name: strings.Join(words[2:], " ")}
	if *when != "" {
		if m.At, err = time.Parse("2006-01-02T15:04", *when); err != nil {
			return wrong("%q is no time like 2026-03-09T17:05", *when)
		}
	}
	m.Number, m.NoNumber = told(m.Number)
	m.Name, m.NoName = told(m.Name)

	var c callerid.Sender
	if !*waiting {
		c.Call(standard, &m, [8]time.Duration{2 * time.Second, 4 * time.Second})
	} else if !c.CallWaiting(standard, &m) {
		return fmt.Errorf("%s tells nothing during a call", standard)
	}
	x := make([]int16, 80)
	after := 0 // frames since the message was over
	for i := 0; after < 30 && i < 3000; i++ {
		l := c.Read(x)
		if *line {
			for k, name := range []string{"ring", "pulse", "silence", "reverse", "restore"} {
				if l&(1<<k) != 0 {
					fmt.Fprintf(s.errs, "%d %s\n", i*10, name)
				}
			}
		}
		if err := write(s.out, x); err != nil {
			return err
		}
		switch {
		case *waiting:
			c.Key('D') // heard only when it is waited for
		case standard == callerid.Japan && l&callerid.Pulse != 0:
			c.Hook(true)
		case standard == callerid.Japan && c.Sent() && after == 0:
			c.Hook(false)
		}
		if c.Sent() || !c.Busy() {
			after++
		}
	}
	return nil
}

func told(text string) (string, callerid.Reason) {
	switch r := callerid.Reason(0); {
	case strings.EqualFold(text, "P"):
		return "", callerid.Private
	case strings.EqualFold(text, "O"):
		return "", callerid.Unavailable
	default:
		return text, r
	}
}

func runCallerDetect(args []string, s std) error {
	if len(args) != 1 {
		return wrong("want a standard, one of %s", strings.Join(callerid.Names(), " "))
	}
	standard, err := callerid.ParseStandard(args[0])
	if err != nil {
		return misuse(err.Error())
	}
	r := callerid.NewReceiver(standard, nil)
	at := 0
	hear := func(x []int16) error {
		for len(x) > 0 {
			n, m, ok := r.Hear(x)
			x, at = x[n:], at+n
			if ok {
				show(s, at/8, m)
			}
		}
		return nil
	}
	if err := each(s.in, 80, hear); err != nil {
		return err
	}
	// A message may end with the sound.
	if err := hear(make([]int16, 8000)); err != nil {
		return err
	}
	if r.Faults > 0 {
		fmt.Fprintf(s.errs, "%d messages could not be read\n", r.Faults)
	}
	return nil
}

func show(s std, ms int, m callerid.Message) {
	when := "-"
	if !m.At.IsZero() {
		when = m.At.Format("01-02T15:04")
	}
	if m.Waiting {
		fmt.Fprintf(s.out, "%d %s messages %d\n", ms, when, m.Messages)
		return
	}
	or := func(text string, r callerid.Reason) string {
		switch {
		case text != "":
			return text
		case r != 0:
			return string(rune(r))
		}
		return "-"
	}
	fmt.Fprintf(s.out, "%d %s %s %s\n", ms, when, or(m.Number, m.NoNumber), or(m.Name, m.NoName))
}
