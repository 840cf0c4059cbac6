// dsptool is every part of the voice path as a black box: sound in on stdin,
// sound out on stdout, so that other people's decoders, echo paths, vectors
// and speech can be tried on it. It is in no image.
//
// Its one idea: a command is a row of a table, and a part is fed as a telephone
// feeds it, a frame at a time.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// A command is one part of the voice path.
type command struct {
	name, args string
	short      string // a line
	long       string // the manual below it
	run        func(args []string, s std) error
}

// std is what a command reads and writes.
type std struct {
	in   io.Reader
	out  io.Writer
	errs io.Writer
}

var commands = slices.Concat(keyCommands, echoCommands, callerCommands, codecCommands, lossCommands, toneCommands, benchCommands)

const head = `dsptool is every part of ata-agent's voice path as a black box.
Sound is 16 bit, little-endian, one channel, 8000 samples a second unless said otherwise,
on stdin and stdout without a header: sox x.wav -t raw -r 8000 -c 1 -e signed -b 16 -

`

func main() {
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	code := run(os.Args[1:], std{os.Stdin, out, os.Stderr})
	if err := out.Flush(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "dsptool:", err)
		code = 1
	}
	os.Exit(code)
}

// run is the program; 1 is that something did not happen, 2 a wrong command.
func run(args []string, s std) int {
	if len(args) == 0 {
		usage(s.errs)
		return 2
	}
	if h := args[0]; h == "help" || h == "-h" || h == "--help" {
		if len(args) > 1 {
			c := find(args[1])
			if c == nil {
				return unknown(s.errs, args[1])
			}
			manual(s.out, c)
			return 0
		}
		usage(s.out)
		return 0
	}
	c := find(args[0])
	if c == nil {
		return unknown(s.errs, args[0])
	}
	if slices.ContainsFunc(args[1:], func(a string) bool { return a == "-h" || a == "-help" || a == "--help" }) {
		manual(s.out, c)
		return 0
	}
	err := c.run(args[1:], s)
	var wrong misuse
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintf(s.errs, "dsptool: %s: %v\nhint: dsptool help %s\n", c.name, err, c.name)
		return 2
	case err != nil:
		fmt.Fprintf(s.errs, "dsptool: %s: %v\n", c.name, err)
		return 1
	}
	return 0
}

func unknown(errs io.Writer, name string) int {
	fmt.Fprintf(errs, "dsptool: there is no command %q\nhint: dsptool help lists them\n", name)
	return 2
}

// misuse is that a command was given something it does not take.
type misuse string

func (m misuse) Error() string { return string(m) }

func wrong(format string, args ...any) error { return misuse(fmt.Sprintf(format, args...)) }

func find(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}

func usage(w io.Writer) {
	io.WriteString(w, head)
	for _, c := range commands {
		what := c.name + " " + c.args
		if len(what) > 32 {
			what += "\n" + strings.Repeat(" ", 34)
		}
		fmt.Fprintf(w, "  %-32s %s\n", what, c.short)
	}
	io.WriteString(w, "\ndsptool help COMMAND tells more of it.\n")
}

func manual(w io.Writer, c *command) {
	fmt.Fprintf(w, "dsptool %s\n\n%s.\n", strings.TrimSpace(c.name+" "+c.args), strings.ToUpper(c.short[:1])+c.short[1:])
	if c.long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.long))
	}
}
