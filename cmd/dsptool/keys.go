package main

import (
	"fmt"
	"strings"

	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var keyCommands = []command{
	{
		name: "dtmf-detect", args: "[-dialtone] [-q24 ADMINISTRATION]",
		short: "hears keys: start in ms, key, duration in ms",
		long: `
One line for each key that was pressed, when it ends. -dialtone listens as
while a dial tone is played to the telephone: low frequencies, which a voice
has and a key has not, then count for nothing. -q24 asks for the limits of
another column of Q.24 than att: ntt, denmark, australia or brazil.`,
		run: detect,
	},
	{
		name: "dtmf-gen", args: "[-on MS] [-off MS] [-level DBM0] KEYS",
		short: "makes the sound of keys, 0-9 * # A-D, a comma is a second of silence",
		long: `
-on and -off are 100 each; -level is that of the lower tone, -9 dBm0; the
higher one is 2 dB louder. Silence of -off comes first and between the keys.`,
		run: generate,
	},
}

var administrations = map[string]dtmf.Administration{
	"att": dtmf.ATT, "ntt": dtmf.NTT, "denmark": dtmf.Denmark, "australia": dtmf.Australia, "brazil": dtmf.Brazil,
}

func detect(args []string, s std) error {
	f := set("dtmf-detect")
	dialing, column := f.Bool("dialtone", false, ""), f.String("q24", "att", "")
	if words, err := options(f, args); err != nil || len(words) > 0 {
		return orWrong(err, words)
	}
	// 6 ms are what the detector looks at: it cannot know more in between.
	const look = 48
	admin, ok := administrations[strings.ToLower(*column)]
	if !ok {
		return wrong("%q is no column of Q.24: want att, ntt, denmark, australia or brazil", *column)
	}
	var d dtmf.Detector
	d.DialTone(*dialing)
	d.Use(admin)
	var key byte
	at, start := 0, 0
	// A look sees the 12 ms before under a window and counts for the 6 ms in their
	// middle, which ended 3 ms ago; the high-passes take up to 2 more.
	const early = 4 * 8
	tell := func(end int) {
		fmt.Fprintf(s.out, "%d %c %d\n", start/8, key, max(0, end-start)/8)
		key = 0
	}
	err := each(s.in, look, func(x []int16) error {
		h := d.Hear(x)
		at += len(x)
		end := at - early - int(h.Over.Milliseconds()*8)
		if h.Released && key != 0 {
			tell(end)
		}
		if h.Pressed != 0 {
			key, start = h.Pressed, at-early-int(h.For.Milliseconds()*8)
			if h.Released && !h.Held {
				tell(end)
			}
		}
		return nil
	})
	if key != 0 {
		tell(at)
	}
	return err
}

func generate(args []string, s std) error {
	f := set("dtmf-gen")
	on, off, level := f.Int("on", 100, ""), f.Int("off", 100, ""), f.Int("level", int(tone.DigitLevel), "")
	words, err := options(f, args)
	if err != nil {
		return err
	}
	keys := strings.ToUpper(strings.Join(words, ""))
	switch {
	case keys == "" || *on < 1 || *off < 0:
		return wrong("want keys, and times of 1 ms or more")
	case *level < int(tone.MinLevel) || *level > 0:
		return wrong("a level of %d dBm0: want %d to 0", *level, tone.MinLevel)
	}
	if i := strings.IndexFunc(keys, func(k rune) bool { return !strings.ContainsRune(tone.Keys+",", k) }); i >= 0 {
		return wrong("%q is no key", keys[i])
	}
	var p tone.Player
	play := func(ms int) error {
		x := make([]int16, ms*8)
		p.Read(x)
		return write(s.out, x)
	}
	for _, k := range []byte(keys) {
		if err := play(*off); err != nil {
			return err
		}
		if k == ',' {
			if err := play(1000); err != nil {
				return err
			}
			continue
		}
		t, _ := tone.Digit(k)
		t.Steps = []tone.Step{t.Steps[0]}
		t.Steps[0].Ms = uint32(*on)
		t.Level = tone.DBm0(*level)
		p.Play(t)
		if err := play(*on); err != nil {
			return err
		}
	}
	return play(max(*off, 50))
}

// orWrong is err, or that there are words too many.
func orWrong(err error, words []string) error {
	if err != nil || len(words) == 0 {
		return err
	}
	return wrong("%q is too much", strings.Join(words, " "))
}
