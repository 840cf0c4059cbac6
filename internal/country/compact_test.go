package country

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/hal/hook"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var update = flag.Bool("update", false, "write countries.txt")

// A record is a country as countries.json writes it.
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
	Levels map[string]json.RawMessage `json:"levels_dbm"`
	Ring   struct {
		Cadence []int64 `json:"cadence_ms"`
		Hz      uint8   `json:"freq_hz"`
	}
	Companding string
	Pulse      string
	Emergency  struct{ Numbers []string }
	CallerID   struct{ Method, When, Alert, Confidence string } `json:"caller_id"`
}

// callerID is the name of the standard; "" where the collection has a guess alone.
func (r *record) callerID(t *testing.T) string {
	if r.CallerID.Confidence == "unverified" {
		return ""
	}
	way := r.CallerID.Method + " " + r.CallerID.When + " " + r.CallerID.Alert
	name, ok := map[string]string{
		"fsk-bell202 after-first-ring none":         "bellcore",
		"fsk-bell202-single after-first-ring none":  "bellcore-single",
		"fsk-v23 after-first-ring none":             "etsi",
		"fsk-v23 before-ring DT-AS":                 "etsi-alert",
		"fsk-v23 before-ring line-reversal+DT-AS":   "uk",
		"fsk-v23 before-ring ntt-line-reversal+car": "japan",
		"dtmf before-ring none":                     "dtmf",
		"dtmf before-ring line-reversal":            "dtmf-reversal",
	}[way]
	if !ok {
		t.Errorf("%s: no standard is %q", r.ISO, way)
	}
	return name
}

// levels of a tone's frequencies: one for all, or one for each.
func (r *record) levels(t *testing.T, name tone.Name) (each []int) {
	raw := r.Levels[string(name)]
	if len(raw) == 0 {
		return nil
	}
	if raw[0] != '[' {
		raw = fmt.Appendf(nil, "[%s]", raw)
	}
	if err := json.Unmarshal(raw, &each); err != nil {
		t.Fatalf("%s %s: %v", r.ISO, name, err)
	}
	return each
}

func records(t *testing.T) map[string]record {
	t.Helper()
	b, err := os.ReadFile("countries.json")
	if err != nil {
		t.Fatal(err)
	}
	var top struct{ Countries map[string]record }
	if err := json.Unmarshal(b, &top); err != nil {
		t.Fatal(err)
	}
	return top.Countries
}

func join[T any](sep string, all []T) string {
	words := make([]string, len(all))
	for i, x := range all {
		words[i] = fmt.Sprint(x)
	}
	return strings.Join(words, sep)
}

// compact writes what the package reads.
func compact(t *testing.T, all map[string]record) string {
	var b strings.Builder
	for i, code := range slices.Sorted(maps.Keys(all)) {
		r := all[code]
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "%s %s %s %s %d:%s %s %s %s\n", code, r.ISO, r.Companding, r.Pulse, r.Ring.Hz, join("/", r.Ring.Cadence), cmp.Or(r.callerID(t), "-"), join(",", r.Emergency.Numbers), r.Name)
		for _, name := range slices.Sorted(maps.Keys(r.Tones)) {
			from := r.Tones[name]
			var steps []string
			for _, s := range from.Steps {
				text := ""
				if s.Once {
					text = "!"
				}
				text += join("+", s.F)
				if s.AM != 0 {
					text += "*" + strconv.Itoa(int(s.AM))
				}
				steps = append(steps, fmt.Sprintf("%s/%d", text, s.MS))
			}
			fmt.Fprintf(&b, " %s %s", name, strings.Join(steps, ","))
			if each := r.levels(t, name); each != nil {
				b.WriteString(" " + join(",", each))
			}
			if !from.Loop {
				b.WriteString(" stop")
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// What is part of the program is what was collected.
func TestCompact(t *testing.T) {
	want := compact(t, records(t))
	if *update {
		if err := os.WriteFile("countries.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := os.ReadFile("countries.txt"); !bytes.Equal(got, []byte(want)) {
		t.Error("countries.txt is not what countries.json says: go generate ./internal/country")
	}
}

// Every fact of the collection arrives, whatever the form in between.
func TestAgrees(t *testing.T) {
	all := records(t)
	if got, want := Codes(), slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("countries %q, want %q", got, want)
	}
	for code, r := range all {
		c, err := Get(code)
		if err != nil {
			t.Error(err)
			continue
		}
		pulses, err := hook.ParseNumbering(r.Pulse)
		law, known := map[string]Companding{"alaw": ALaw, "ulaw": MuLaw}[r.Companding]
		if c.Code != code || c.ISO != r.ISO || c.Name != r.Name || c.Pulses != pulses || err != nil || c.Companding != law || !known ||
			c.CallerID != r.callerID(t) || !slices.Equal(c.Emergency, r.Emergency.Numbers) || c.Ring.Hz != r.Ring.Hz {
			t.Errorf("%s is %+v, want %+v", code, c, r)
		}
		for i, step := range c.Ring.Steps {
			if want := append(r.Ring.Cadence, make([]int64, 8)...)[i]; step != time.Duration(want)*time.Millisecond {
				t.Errorf("%s: the bell's step %d is %v, want %d ms", code, i, step, want)
			}
		}
		if n := len(r.Ring.Cadence); n == 0 || n%2 != 0 || n > len(c.Ring.Steps) {
			t.Errorf("%s: a ring of %d steps: want pairs of ringing and silence", code, n)
		}
		if len(c.tones) != len(r.Tones) {
			t.Errorf("%s has %d tones, want %d", code, len(c.tones), len(r.Tones))
		}
		for name, want := range r.Tones {
			got := c.tones[name]
			if got.Name != name || got.Loop != want.Loop || len(got.Steps) != len(want.Steps) {
				t.Errorf("%s %s: %+v, want %+v", code, name, got, want)
				continue
			}
			each := r.levels(t, name)
			for i, s := range got.Steps {
				w := want.Steps[i]
				hz := slices.DeleteFunc(s.Hz[:], func(f uint16) bool { return f == 0 })
				if !slices.Equal(hz, w.F) || s.AM != w.AM || s.Ms != w.MS || s.Once != w.Once {
					t.Errorf("%s %s: step %d is %+v, want %+v", code, name, i, s, w)
				}
				for k := range w.F {
					level := 0
					switch len(each) {
					case 0:
					case len(w.F):
						level = each[k]
					default:
						level = each[0]
					}
					if int(got.Level)+int(s.Gain[k]) != level {
						t.Errorf("%s %s: step %d, frequency %d at %d+%d dBm0, want %d", code, name, i, k, got.Level, s.Gain[k], level)
					}
				}
			}
		}
	}
}
