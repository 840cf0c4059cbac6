// Package country knows how telephones sound and ring in forty countries.
//
// Its one idea: a country is data with its sources. countries.json holds what
// is known of each, says where every fact was seen and marks what was not.
// countries.txt is what of it a telephone needs, in a sixth of the space, made
// by the tests and compared by them; only that is part of the program. A
// country is read when it is asked for, so that a small device pays for its own
// and no other.
package country

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// file has a paragraph for each country, sorted by code:
//
//	us US ulaw normal 20:2000/4000 bellcore 911 United States / Canada (NANP)
//	 busy 480+620/500,/500 -24
//	 sit !950/330,!1400/330,!1800/330,/0
//
// First code, ISO code, companding, pulses, the bell's frequency and cadence, the
// standard of caller identity ("-": none is known), emergency numbers and name; then its tones, with steps as Asterisk's
// indications.conf writes them: frequencies and milliseconds, ! is not
// repeated, 400*25 is modulated. Behind them may stand the level in dBm0, one
// for all frequencies or one for each, and "stop" when the tone does not start
// again.
//
//go:generate go test -run TestCompact -update .
//go:embed countries.txt
var file string

// A Country is how one country's telephones sound. Nobody changes it; any
// goroutine may read it.
type Country struct {
	Code string // as in configuration: "us", "uk"
	ISO  string // of ISO 3166-1: "US", "GB"
	Name string // in English

	Ring       hal.Cadence
	Pulses     hook.Numbering
	Companding Companding // of its G.711 networks, hence what to offer first

	// CallerID is how its exchanges tell who calls, by the name of a
	// callerid.Standard; "" where nobody has looked. Within a country
	// exchanges differ.
	CallerID string

	// Emergency numbers. None was checked against a national source.
	Emergency []string

	tones map[tone.Name]tone.Tone
}

// Companding is the law of ITU-T G.711 that a country's networks use.
type Companding uint8

// The laws of G.711.
const (
	ALaw Companding = iota
	MuLaw
)

// Codes lists the countries, sorted: "at", "au", ...
func Codes() (codes []string) {
	for p := range strings.SplitSeq(file, "\n\n") {
		code, _, _ := strings.Cut(p, " ")
		codes = append(codes, code)
	}
	return codes
}

// Get returns the country of a code, in upper or lower case; "gb" is the
// United Kingdom too. The error lists the codes there are.
func Get(code string) (*Country, error) {
	key := strings.ToLower(code)
	if key == "gb" {
		key = "uk"
	}
	for p := range strings.SplitSeq(file, "\n\n") {
		if rest, ok := strings.CutPrefix(p, key+" "); ok {
			return read(key, rest), nil
		}
	}
	return nil, fmt.Errorf("country %q is not known: want one of %s", code, strings.Join(Codes(), " "))
}

// read reads a paragraph of the file behind its code. What is wrong with it the
// tests would have said.
func read(code, text string) *Country {
	head, tones, _ := strings.Cut(text, "\n")
	f := strings.SplitN(head, " ", 7)
	c := &Country{Code: code, ISO: f[0], Name: f[6], Emergency: strings.Split(f[5], ","), tones: make(map[tone.Name]tone.Tone)}
	if f[4] != "-" {
		c.CallerID = f[4]
	}
	if f[1] == "ulaw" {
		c.Companding = MuLaw
	}
	c.Pulses, _ = hook.ParseNumbering(f[2])
	hz, cadence, _ := strings.Cut(f[3], ":")
	c.Ring.Hz = uint8(number(hz))
	for i, ms := range strings.Split(cadence, "/") {
		c.Ring.Steps[i] = time.Duration(number(ms)) * time.Millisecond
	}
	for line := range strings.SplitSeq(strings.TrimSpace(tones), "\n") {
		t := readTone(strings.Fields(line))
		c.tones[t.Name] = t
	}
	return c
}

func readTone(f []string) tone.Tone {
	t := tone.Tone{Name: tone.Name(f[0]), Loop: true}
	var each []string // frequency's level
	for _, more := range f[2:] {
		if more == "stop" {
			t.Loop = false
			continue
		}
		each = strings.Split(more, ",")
		t.Level = tone.DBm0(number(each[0]))
	}
	for text := range strings.SplitSeq(f[1], ",") {
		var s tone.Step
		text, s.Once = strings.CutPrefix(text, "!")
		sounds, ms, _ := strings.Cut(text, "/")
		sounds, am, _ := strings.Cut(sounds, "*")
		s.Ms, s.AM = uint32(number(ms)), uint16(number(am))
		if sounds != "" {
			all := strings.Split(sounds, "+")
			for i, hz := range all {
				s.Hz[i] = uint16(number(hz))
				if len(each) == len(all) {
					s.Gain[i] = int8(tone.DBm0(number(each[i])) - t.Level)
				}
			}
		}
		t.Steps = append(t.Steps, s)
	}
	return t
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// instead says which of its own tones a country uses for one its table lacks.
// What is not here, the howler first of all, is the North American tone: it
// only has to be heard, across the room.
var instead = map[tone.Name]tone.Name{
	tone.Stutter:      tone.Dial,       // a dial tone still says: dial
	tone.SpecialDial:  tone.Stutter,    // both say: dial, but something is different
	tone.Recall:       tone.Dial,       // as above
	tone.Unobtainable: tone.Congestion, // both say: this call cannot be
}

// Tone returns the country's tone of a name; where its table has none, the
// nearest of its own tones, then the North American one. None, and what nobody
// knows, is silence.
func (c *Country) Tone(name tone.Name) tone.Tone {
	for n, more := name, true; more; n, more = instead[n] {
		if t, ok := c.tones[n]; ok {
			t.Name = name
			return t
		}
	}
	return tone.Usual(name)
}
