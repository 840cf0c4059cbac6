package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ata-agent/ata-agent/internal/media/echo"
)

var echoCommands = []command{{
	name: "lec", args: "TAPS NLP RIN SIN",
	short: "takes the echo of RIN out of SIN",
	long: `
RIN is a file with what was played to the telephone, SIN one with what came back
beside it; what is left goes to stdout, as long as the shorter. TAPS is how many
samples an echo may be late, 8 to 512; NLP is 1 or on if what is left is to be
replaced by comfort noise where it can only be echo, 0 or off if not.

On stderr: the loss of the line as it was learnt, and what was taken away, dB.`,
	run: runLEC,
}}

func runLEC(args []string, s std) error {
	if len(args) != 4 {
		return wrong("want taps, NLP and two files")
	}
	taps, err := strconv.Atoi(args[0])
	if err != nil || taps < 8 || taps > 512 {
		return wrong("%q taps: want 8 to 512", args[0])
	}
	var nlp bool
	switch strings.ToLower(args[1]) {
	case "1", "on", "nlp", "true", "yes":
		nlp = true
	case "0", "off", "no", "false":
	default:
		return wrong("%q for NLP: want 1 or 0", args[1])
	}
	rin, err := open(args[2])
	if err != nil {
		return err
	}
	defer rin.Close()
	sin, err := open(args[3])
	if err != nil {
		return err
	}
	defer sin.Close()

	c := echo.New(taps)
	c.NLP(nlp)
	far := make([]byte, 160)
	err = each(sin, 80, func(x []int16) error {
		n, err := io.ReadFull(rin, far[:2*len(x)])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		x = x[:n/2]
		y := make([]int16, len(x))
		for i := range y {
			y[i] = int16(uint16(far[2*i]) | uint16(far[2*i+1])<<8)
		}
		c.Cancel(x, y, x)
		return write(s.out, x)
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	st := c.Stats()
	fmt.Fprintf(s.errs, "ERL %d dB, ERLE %d dB, %d changes of the line\n", st.ERL, st.ERLE, st.Changes)
	return nil
}

// open opens a file of sound.
func open(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, misuse(err.Error())
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		f.Close()
		return nil, wrong("%s is a directory", name)
	}
	return f, nil
}
