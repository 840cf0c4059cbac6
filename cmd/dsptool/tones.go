package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/probe"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var toneCommands = []command{
	{
		name: "tone", args: "COUNTRY NAME MS",
		short: "makes a country's tone",
		long: `
COUNTRY is a code as in the configuration (us, de, jp), NAME is one of
` + strings.Join(toneNames(), " ") + `,
or another that the country has (au: facility std). The last 4 ms fade.`,
		run: runTone,
	},
	{
		name:  "toneprobe",
		short: "hears fax and modem tones: start in ms, name, duration in ms",
		long: `
One line for each, when it has ended. Names are
  CNG     1100 Hz for half a second: a fax calls
  CED     2100 Hz: a fax answers, or a modem, whose ANS is the same
  ANS/    2100 Hz with its phase reversed every 450 ms: a modem answers
  ANSam   2100 Hz with an envelope of 15 Hz: a modem of V.8 answers
  ANSam/  the same with reversals
  V.21    flags of HDLC at 300 bit/s, 1650 and 1850 Hz: a fax speaks`,
		run: runProbe,
	},
}

func toneNames() (names []string) {
	for _, n := range []tone.Name{
		tone.Dial, tone.Stutter, tone.SpecialDial, tone.Recall, tone.Ringback, tone.Busy, tone.Congestion,
		tone.Unobtainable, tone.SIT, tone.CallWaiting, tone.Confirm, tone.Record, tone.Howler,
	} {
		names = append(names, string(n))
	}
	return names
}

func runTone(args []string, s std) error {
	if len(args) != 3 {
		return wrong("want a country, a name and a time")
	}
	c, err := country.Get(args[0])
	if err != nil {
		return misuse(err.Error())
	}
	sounds := c.Tone(tone.Name(strings.ToLower(args[1])))
	if sounds.Silent() {
		return wrong("%q is no tone: want one of %s", args[1], strings.Join(toneNames(), " "))
	}
	ms, err := strconv.Atoi(args[2])
	if err != nil || ms < 0 {
		return wrong("%q is no time in ms", args[2])
	}
	const fades = 4 // ms, as the Player does
	var p tone.Player
	p.Play(sounds)
	x := make([]int16, 8)
	for i := range ms {
		if i == ms-fades {
			p.Stop()
		}
		p.Read(x)
		if err := write(s.out, x); err != nil {
			return err
		}
	}
	return nil
}

func runProbe(args []string, s std) error {
	if len(args) > 0 {
		return wrong("%q is too much", strings.Join(args, " "))
	}
	var p probe.Probe
	at := 0
	hear := func(x []int16) error {
		at += len(x)
		if h := p.Hear(x); h.Ended != probe.None {
			_, err := fmt.Fprintf(s.out, "%d %v %d\n", max(0, at/8-int((h.Ago+h.For).Milliseconds())), h.Ended, h.For.Milliseconds())
			return err
		}
		return nil
	}
	if err := each(s.in, 80, hear); err != nil {
		return err
	}
	// What sounds at the end ends there.
	for range 10 {
		if err := hear(make([]int16, 80)); err != nil {
			return err
		}
	}
	return nil
}
