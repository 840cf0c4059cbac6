package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/g722"
	"github.com/ata-agent/ata-agent/internal/media/g726"
	"github.com/ata-agent/ata-agent/internal/media/noise"
	"github.com/ata-agent/ata-agent/internal/media/resample"
)

var codecCommands = []command{
	{
		name: "g711", args: "enc|dec [ulaw|alaw]",
		short: "codes and decodes G.711, mu-law unless alaw is said",
		run:   runG711,
	},
	{
		name: "g722", args: "enc|dec [64|56|48] [8k]",
		short: "codes and decodes G.722: sound has 16000 samples a second",
		long: `
A byte stands for two samples. With 56 or 48, decoding leaves out the lowest one
or two bits of each, as modes 2 and 3 of the Recommendation do. With 8k, sound
has 8000 samples a second here, and is brought to 16000 and back.`,
		run: runG722,
	},
	{
		name: "g726", args: "enc|dec [rfc3551|aal2] [ulaw|alaw]",
		short: "codes and decodes G.726 at 32 kbit/s",
		long: `
Two codes share a byte: rfc3551, which is usual, has the first in the low half,
aal2 in the high half. With ulaw or alaw, the sound is bytes of G.711 instead of
samples, and decoding adjusts them as section 4.2.8 says.`,
		run: runG726,
	},
	{
		name: "resample", args: "FROM TO",
		short: "brings sound from one rate to another: 8000, 16000, 32000, 48000",
		long:  `It comes later by 12 samples of the lower rate.`,
		run:   runResample,
	},
	{
		name: "cn-gen", args: "PAYLOAD MS",
		short: "makes comfort noise of an RFC 3389 payload in hexadecimal",
		long:  `The first byte is the level below overload, the others are coefficients.`,
		run:   runNoise,
	},
	{
		name: "cn-describe", args: "[COEFFICIENTS]",
		short: "makes the RFC 3389 payload of noise, in hexadecimal, each 100 ms",
		run:   runDescribe,
	},
}

// pick finds which of each group of words was said; "" is none of it. A word
// in no group is wrong, and so are two of one.
func pick(args []string, groups ...string) ([]string, error) {
	got := make([]string, len(groups))
	for _, a := range args {
		found := false
		for i, g := range groups {
			for names := range strings.FieldsSeq(g) {
				// The first name is what is returned.
				first, _, _ := strings.Cut(names, "=")
				for name := range strings.SplitSeq(names, "=") {
					if strings.EqualFold(strings.TrimLeft(a, "-"), name) {
						if got[i] != "" && got[i] != first {
							return nil, wrong("%q beside %s", a, got[i])
						}
						got[i], found = first, true
					}
				}
			}
		}
		if !found {
			return nil, wrong("%q is not known", a)
		}
	}
	if got[0] == "" {
		return nil, wrong("want enc or dec")
	}
	return got, nil
}

const (
	ways = "enc=encode dec=decode"
	laws = "u=ulaw=mu=mulaw=pcmu a=alaw=pcma"
)

func lawOf(word string) g711.Law {
	if word == "a" {
		return g711.A
	}
	return g711.Mu
}

func runG711(args []string, s std) error {
	w, err := pick(args, ways, laws)
	if err != nil {
		return err
	}
	law := lawOf(w[1])
	pcm, code := make([]int16, 160), make([]byte, 160)
	if w[0] == "enc" {
		return each(s.in, 160, func(x []int16) error {
			law.Encode(code, x)
			_, err := s.out.Write(code[:len(x)])
			return err
		})
	}
	return eachByte(s.in, 160, func(c []byte) error {
		law.Decode(pcm, c)
		return write(s.out, pcm[:len(c)])
	})
}

func runG722(args []string, s std) error {
	w, err := pick(args, ways, "64=1 56=2 48=3", "8k=8000 16k=16000")
	if err != nil {
		return err
	}
	rate := 16000
	if w[2] == "8k" {
		rate = 8000
	}
	var conv resample.Converter
	pcm, code := make([]int16, 320), make([]byte, 160)
	if w[0] == "enc" {
		if err := conv.Set(rate, 16000); err != nil {
			return err
		}
		var e g722.Encoder
		return each(s.in, 320*rate/16000, func(x []int16) error {
			n := conv.Convert(pcm, x)
			e.Encode(code, pcm[:n])
			_, err := s.out.Write(code[:n/2])
			return err
		})
	}
	if err := conv.Set(16000, rate); err != nil {
		return err
	}
	d := g722.Decoder{Spare: map[string]int{"56": 1, "48": 2}[w[1]]}
	out := make([]int16, 320)
	return eachByte(s.in, 160, func(c []byte) error {
		d.Decode(pcm, c)
		return write(s.out, out[:conv.Convert(out, pcm[:2*len(c)])])
	})
}

func runG726(args []string, s std) error {
	w, err := pick(args, ways, "rfc3551=le=low=g726-32 aal2=be=high=aal2-g726-32", laws)
	if err != nil {
		return err
	}
	packing := g726.RFC3551
	if w[1] == "aal2" {
		packing = g726.AAL2
	}
	pcm, code := make([]int16, 160), make([]byte, 160)
	if w[0] == "enc" {
		e := g726.Encoder{Packing: packing}
		encode := func(x []int16) error {
			e.Encode(code, x)
			_, err := s.out.Write(code[:len(x)/2])
			return err
		}
		if w[2] == "" {
			return each(s.in, 160, encode)
		}
		return eachByte(s.in, 160, func(c []byte) error {
			lawOf(w[2]).Decode(pcm, c)
			return encode(pcm[:len(c)])
		})
	}
	d := g726.Decoder{Packing: packing}
	return eachByte(s.in, 80, func(c []byte) error {
		if w[2] == "" {
			d.Decode(pcm, c)
			return write(s.out, pcm[:2*len(c)])
		}
		d.DecodeLaw(lawOf(w[2]), code, c)
		_, err := s.out.Write(code[:2*len(c)])
		return err
	})
}

func runResample(args []string, s std) error {
	if len(args) != 2 {
		return wrong("want two rates")
	}
	var rates [2]int
	for i, a := range args {
		v, err := strconv.Atoi(a)
		if err != nil {
			return wrong("%q is no rate", a)
		}
		rates[i] = v
	}
	var c resample.Converter
	if err := c.Set(rates[0], rates[1]); err != nil {
		return misuse(err.Error())
	}
	out := make([]int16, 6*480)
	return each(s.in, 480, func(x []int16) error {
		return write(s.out, out[:c.Convert(out, x)])
	})
}

func runNoise(args []string, s std) error {
	if len(args) != 2 {
		return wrong("want a payload and a time")
	}
	payload, err := hex.DecodeString(args[0])
	ms, bad := strconv.Atoi(args[1])
	if err != nil || bad != nil || ms < 0 {
		return wrong("want a payload in hexadecimal and a time in ms")
	}
	var g noise.Generator
	g.Set(payload)
	x := make([]int16, 8)
	for range ms {
		g.Read(x)
		if err := write(s.out, x); err != nil {
			return err
		}
	}
	return nil
}

func runDescribe(args []string, s std) error {
	n := noise.Order
	if len(args) > 0 {
		v, err := strconv.Atoi(args[0])
		if err != nil || len(args) > 1 || v < 0 || v > noise.Order {
			return wrong("want a number of coefficients from 0 to %d", noise.Order)
		}
		n = v
	}
	var a noise.Analyser
	payload, frames := make([]byte, 1+n), 0
	return each(s.in, 80, func(x []int16) error {
		a.Hear(x)
		if frames++; frames%10 == 0 {
			a.Describe(payload)
			fmt.Fprintf(s.out, "%d %x\n", frames*10, payload)
		}
		return nil
	})
}
