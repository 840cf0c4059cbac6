// Package country knows how telephones sound and ring in forty countries.
//
// Its one idea: a country is data with its sources. countries.json holds what
// is known of each, says where every fact was seen and marks what was not; the
// code only reads it. A country is decoded when it is asked for, so that a
// small device pays for its own and no other.
package country

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

//go:embed countries.json
var file []byte

// A Country is how one country's telephones sound. Nobody changes it; any
// goroutine may read it.
type Country struct {
	Code string // as in configuration: "us", "uk"
	ISO  string // of ISO 3166-1: "US", "GB"
	Name string // in English

	Ring       hal.Cadence
	Companding Companding // of its G.711 networks, hence what to offer first

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

// record is a country as the file writes it.
type record struct {
	ISO   string
	Name  string
	Tones map[tone.Name]struct {
		Steps []struct {
			F    []uint16 // Hz
			AM   uint16   // Hz
			MS   uint32
			Once bool
		}
		Loop bool
	}
	Levels map[tone.Name]json.RawMessage `json:"levels_dbm"`
	Ring   struct {
		Cadence []int64 `json:"cadence_ms"`
		Hz      uint8   `json:"freq_hz"`
	}
	Companding string
	Emergency  struct{ Numbers []string }
}

// all is the file with each country still undecoded. It is read again every
// time: a copy would stay in memory for good, and is asked for twice a year.
func all() map[string]json.RawMessage {
	var top struct {
		Countries map[string]json.RawMessage
	}
	if err := json.Unmarshal(file, &top); err != nil {
		panic("countries.json: " + err.Error())
	}
	return top.Countries
}

// Codes lists the countries, sorted: "at", "au", ...
func Codes() []string {
	return slices.Sorted(maps.Keys(all()))
}

// Get returns the country of a code, in upper or lower case; "gb" is the
// United Kingdom too. The error lists the codes there are.
func Get(code string) (*Country, error) {
	key := strings.ToLower(code)
	if key == "gb" {
		key = "uk"
	}
	raw, ok := all()[key]
	if !ok {
		return nil, fmt.Errorf("country %q is not known: want one of %s", code, strings.Join(Codes(), " "))
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("country %s: %w", key, err)
	}
	return r.country(key)
}

// country checks the record and turns it into what the program uses.
func (r *record) country(code string) (*Country, error) {
	c := &Country{
		Code:      code,
		ISO:       r.ISO,
		Name:      r.Name,
		Emergency: r.Emergency.Numbers,
		Ring:      hal.Cadence{Hz: r.Ring.Hz},
		tones:     make(map[tone.Name]tone.Tone, len(r.Tones)),
	}
	switch r.Companding {
	case "alaw":
		c.Companding = ALaw
	case "ulaw":
		c.Companding = MuLaw
	default:
		return nil, fmt.Errorf("country %s: companding %q: want alaw or ulaw", code, r.Companding)
	}
	if n := len(r.Ring.Cadence); n == 0 || n%2 != 0 || n > len(c.Ring.Steps) {
		return nil, fmt.Errorf("country %s: a ring of %d steps: want pairs of ringing and silence, at most %d steps",
			code, n, len(c.Ring.Steps))
	}
	for i, ms := range r.Ring.Cadence {
		c.Ring.Steps[i] = time.Duration(ms) * time.Millisecond
	}
	for name, from := range r.Tones {
		t := tone.Tone{Name: name, Loop: from.Loop}
		level, gain, err := r.level(name)
		if err != nil {
			return nil, fmt.Errorf("country %s: level of %s: %w", code, name, err)
		}
		t.Level = level
		for _, s := range from.Steps {
			step := tone.Step{AM: s.AM, Ms: s.MS, Once: s.Once}
			if len(s.F) > len(step.Hz) {
				return nil, fmt.Errorf("country %s: %s has %d frequencies at once: at most %d", code, name, len(s.F), len(step.Hz))
			}
			copy(step.Hz[:], s.F)
			if len(s.F) == len(gain) {
				for i, dB := range gain {
					step.Gain[i] = dB
				}
			}
			t.Steps = append(t.Steps, step)
		}
		c.tones[name] = t
	}
	return c, nil
}

// level reads the level of a tone where the country has one: a number for all
// its frequencies, or a list with one for each. gain is what each frequency
// has above level.
func (r *record) level(name tone.Name) (level tone.DBm0, gain []int8, err error) {
	raw, ok := r.Levels[name]
	if !ok {
		return 0, nil, nil
	}
	if raw[0] != '[' {
		return level, nil, json.Unmarshal(raw, &level)
	}
	var each []tone.DBm0
	if err := json.Unmarshal(raw, &each); err != nil || len(each) == 0 {
		return 0, nil, err
	}
	for _, l := range each {
		gain = append(gain, int8(l-each[0]))
	}
	return each[0], gain, nil
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
