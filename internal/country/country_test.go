package country

import (
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/tone"
)

// Every country has what a telephone cannot do without, in a form that can be
// played and rung.
func TestEveryCountry(t *testing.T) {
	codes := Codes()
	if len(codes) != 40 {
		t.Errorf("%d countries, want 40", len(codes))
	}
	for _, code := range codes {
		c, err := Get(code)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(c.ISO) != 2 || c.Name == "" || len(c.Emergency) == 0 {
			t.Errorf("%s: ISO %q, name %q, emergency %q", code, c.ISO, c.Name, c.Emergency)
		}
		// What a SLIC can ring with: 15 to 70 Hz, and a pause so that the
		// telephone can be told who calls.
		if c.Ring.Hz < 15 || c.Ring.Hz > 70 || c.Ring.Steps[0] < 200*time.Millisecond || c.Ring.Steps[1] == 0 {
			t.Errorf("%s: ring %+v", code, c.Ring)
		}
		for _, name := range []tone.Name{tone.Dial, tone.Busy, tone.Ringback, tone.Congestion,
			tone.Stutter, tone.SpecialDial, tone.Recall, tone.Unobtainable, tone.SIT,
			tone.CallWaiting, tone.Confirm, tone.Record, tone.Howler} {
			check(t, code, name, c.Tone(name))
		}
		// The display is told behind the first signal: Austria's and Hungary's
		// are the shortest, Estonia's is the longest.
		if first := c.Tone(tone.CallWaiting).First(); first < 40*time.Millisecond || first > 3*time.Second {
			t.Errorf("%s: the first signal of a call that waits lasts %v", code, first)
		}
		if !c.Tone(tone.None).Silent() {
			t.Errorf("%s: the tone without a name sounds", code)
		}
	}
}

func check(t *testing.T, code string, name tone.Name, x tone.Tone) {
	t.Helper()
	if x.Name != name {
		t.Errorf("%s %s: is named %q", code, name, x.Name)
	}
	heard := false
	for i, s := range x.Steps {
		for _, hz := range s.Hz {
			// The telephone band, ITU-T G.712.
			if hz != 0 && (hz < 300 || hz > 3400) {
				t.Errorf("%s %s: %d Hz cannot be heard in a telephone", code, name, hz)
			}
			heard = heard || hz != 0
		}
		if s.Ms == 0 && i != len(x.Steps)-1 {
			t.Errorf("%s %s: step %d never ends, so what follows is never heard", code, name, i)
		}
	}
	if !heard {
		t.Errorf("%s %s: silent", code, name)
	}
}

func TestKnownCountries(t *testing.T) {
	us, _ := Get("US")
	uk, _ := Get("gb")
	if us.Code != "us" || us.Companding != MuLaw || uk.Code != "uk" || uk.Companding != ALaw {
		t.Fatalf("us %+v uk %+v", us, uk)
	}
	if r := us.Ring; r.Hz != 20 || r.Steps[0] != 2*time.Second || r.Steps[1] != 4*time.Second || r.Steps[2] != 0 {
		t.Errorf("us rings %+v", r)
	}
	dial := us.Tone(tone.Dial)
	if got := dial.Steps[0]; got.Hz != [4]uint16{350, 440} || got.Ms != 0 || dial.Level != -13 {
		t.Errorf("us dial tone %+v at %d", got, dial.Level)
	}
	// BT: 350 Hz at -22, 440 Hz at -18 dBm.
	dial = uk.Tone(tone.Dial)
	if dial.Level != -22 || dial.Steps[0].Gain != [4]int8{0, 4} {
		t.Errorf("uk dial tone at %d, %v above", dial.Level, dial.Steps[0].Gain)
	}
	if got := uk.Tone(tone.Busy); got.Level != -18 || got.Steps[0].Ms != 375 {
		t.Errorf("uk busy %+v", got)
	}
	// NTT modulates: 400 Hz by 15 Hz, not the sum of two tones.
	jp, _ := Get("jp")
	if got := jp.Tone(tone.Ringback).Steps[0]; got.AM != 15 || got.Hz != [4]uint16{400} {
		t.Errorf("jp ringback %+v", got)
	}
}

// A tone the table lacks is the country's nearest, not another country's.
func TestInstead(t *testing.T) {
	for _, row := range []struct {
		code       string
		name, like tone.Name
	}{
		{"id", tone.Stutter, tone.Dial},
		{"de", tone.SpecialDial, tone.Stutter},
		{"id", tone.SpecialDial, tone.Dial},
		{"us", tone.Unobtainable, tone.Congestion},
	} {
		c, err := Get(row.code)
		if err != nil {
			t.Fatal(err)
		}
		want := c.Tone(row.like)
		want.Name = row.name
		if got := c.Tone(row.name); !got.Equal(want) {
			t.Errorf("%s %s: %+v, want its %s", row.code, row.name, got, row.like)
		}
	}
	us, _ := Get("us")
	if got := us.Tone(tone.Howler); !got.Equal(tone.Usual(tone.Howler)) {
		t.Errorf("howler %+v", got)
	}
}

func TestUnknown(t *testing.T) {
	_, err := Get("xx")
	if err == nil || !strings.Contains(err.Error(), "at au be") || !strings.Contains(err.Error(), `"xx"`) {
		t.Errorf("error %v: want the code and the codes there are", err)
	}
}
