package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var toneCommands = []command{{
	name: "tone", args: "COUNTRY NAME MS",
	short: "makes a country's tone",
	long: `
COUNTRY is a code as in the configuration (us, de, jp), NAME is one of
` + strings.Join(toneNames(), " ") + `.`,
	run: runTone,
}}

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
	name := strings.ToLower(args[1])
	if !slices.Contains(toneNames(), name) {
		return wrong("%q is no tone: want one of %s", args[1], strings.Join(toneNames(), " "))
	}
	ms, err := strconv.Atoi(args[2])
	if err != nil || ms < 0 {
		return wrong("%q is no time in ms", args[2])
	}
	var p tone.Player
	p.Play(c.Tone(tone.Name(name)))
	x := make([]int16, 8)
	for range ms {
		p.Read(x)
		if err := write(s.out, x); err != nil {
			return err
		}
	}
	return nil
}
