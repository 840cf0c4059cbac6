package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"strconv"
	"strings"
)

// each gives f the samples of r, n at a time, the last few less.
func each(r io.Reader, n int, f func([]int16) error) error {
	b, s := make([]byte, 2*n), make([]int16, n)
	for {
		k, err := io.ReadFull(r, b)
		for i := range k / 2 {
			s[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
		}
		if k >= 2 {
			if err := f(s[:k/2]); err != nil {
				return err
			}
		}
		if done, err := ended(err); done {
			return err
		}
	}
}

// eachByte gives f the bytes of r, n at a time, the last few less.
func eachByte(r io.Reader, n int, f func([]byte) error) error {
	b := make([]byte, n)
	for {
		k, err := io.ReadFull(r, b)
		if k > 0 {
			if err := f(b[:k]); err != nil {
				return err
			}
		}
		if done, err := ended(err); done {
			return err
		}
	}
}

func ended(err error) (bool, error) {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true, nil
	}
	return err != nil, err
}

// all is the sound of r.
func all(r io.Reader) (s []int16, err error) {
	err = each(r, 4000, func(x []int16) error {
		s = append(s, x...)
		return nil
	})
	return s, err
}

func write(w io.Writer, s []int16) error {
	b := make([]byte, 0, 2*len(s))
	for _, x := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	_, err := w.Write(b)
	return err
}

// options reads flags wherever they stand among the words, and returns those.
func options(f *flag.FlagSet, args []string) (words []string, err error) {
	f.SetOutput(io.Discard)
	for len(args) > 0 {
		// A lone or a negative number is a word.
		if _, bad := strconv.ParseFloat(args[0], 64); bad == nil || !strings.HasPrefix(args[0], "-") || args[0] == "-" {
			words, args = append(words, args[0]), args[1:]
			continue
		}
		if err := f.Parse(args); err != nil {
			return nil, misuse(err.Error())
		}
		args = f.Args()
	}
	return words, nil
}

// number is a number from low to high.
func number(text string, low, high float64) (v float64, ok bool) {
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && v >= low && v <= high
}

func set(name string) *flag.FlagSet { return flag.NewFlagSet(name, flag.ContinueOnError) }
