package phone

import (
	"errors"
	"strings"
	"testing"
)

// The default plan of Cisco's and Linksys' adapters.
const cisco = "(*xx|[3469]11|0|00|[2-9]xxxxxx|1xxx[2-9]xxxxxx|xxxxxxxxxxxx.)"

func TestMatch(t *testing.T) {
	for _, row := range []struct {
		plan, digits string
		want         Verdict
	}{
		{cisco, "", Partial},
		{cisco, "*6", Partial},
		{cisco, "*69", Complete},
		{cisco, "0", Possible}, // 00 may follow
		{cisco, "00", Possible},
		{cisco, "4", Partial},
		{cisco, "41", Partial},
		{cisco, "411", Possible}, // a number of seven may follow
		{cisco, "5551234", Possible},
		{cisco, "1555123", Partial},
		{cisco, "15551234", Partial}, // not [2-9] but x
		{cisco, "12125551234", Possible},
		{cisco, "123456789012345", Possible},
		{cisco, "#", Unknown},
		{cisco, "*6#", Unknown},

		{"[2-9]xxxxxx", "2345678", Complete},
		{"[2-9]xxxxxx", "1", Unknown},
		{"911|9xxxx", "911", Possible},
		{"911S0|9xxxx", "911", Complete},

		// RFC 3435 section 2.1.5: "the dot, matches an arbitrary number,
		// including zero, of occurrences of the preceding construct."
		{"01.", "0", Possible},
		{"01.", "0111", Possible},
		{"01.2", "02", Complete},
		{"01.2", "03", Unknown},
		{"x.T", "1", Possible},
		{"xxxT", "12", Partial},
		{"xxxT", "123", Possible},
		{"xxxT", "1234", Unknown},
		{"xx.#", "12#", Complete},

		{"1900x.!|x.T", "1900", Possible},
		{"1900x!|1x.T", "19005", Possible}, // it may yet become another
		{"1900x!", "19005", Refused},

		{"<9:>xxx", "9123", Complete},
		{"<:0043>xxx", "123", Complete},
		{"<:5551234>S0", "", Complete},
		{"<:5551234>|xxxx", "", Possible},

		{Usual, "1", Possible},
		{Usual, "*21*5551", Possible},
		{Usual, "#21", Possible},
		{Usual, "12#", Unknown},
		{"( [2-9] xx | 0 )", "234", Complete}, // spaces mean nothing
	} {
		p, err := ParsePlan(row.plan)
		if err != nil {
			t.Errorf("%s: %v", row.plan, err)
			continue
		}
		if got := p.Match([]byte(row.digits)); got != row.want {
			t.Errorf("%s dialled %q: %d, want %d", row.plan, row.digits, got, row.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, row := range []struct {
		plan, digits, want string
		barred             bool
	}{
		{cisco, "5551234", "5551234", false},
		{cisco, "12", "12", false}, // ended with #
		{"<9:>xxx|xxx", "9123", "123", false},
		{"<9:>xxx|xxx", "123", "123", false},
		{"<:1408>xxxxxxx", "5551234", "14085551234", false},
		{"<0:+49>[1-9]x.T", "030123", "+4930123", false},
		{"x<:9>x", "12", "192", false},
		{"<x.:7>*x", "123*4", "7*4", false},
		{"x.1x.2<3:4>", "5516623", "551662" + "4", false},
		{"xx<:00>", "12", "1200", false},
		{"<:5551234>S0", "", "5551234", false},
		{"1900x.!|x.T", "19001", "", true},
		{"1900x.!|x.T", "19", "19", false},
	} {
		p, err := ParsePlan(row.plan)
		if err != nil {
			t.Errorf("%s: %v", row.plan, err)
			continue
		}
		got, ok := p.Number([]byte(row.digits))
		if ok == row.barred || ok && got != row.want {
			t.Errorf("%s dialled %q: sends %q %v, want %q", row.plan, row.digits, got, ok, row.want)
		}
	}
}

// A mistake is named with its place.
func TestPlanErrors(t *testing.T) {
	for _, row := range []struct {
		plan string
		at   int // the offset of the mistake
		says string
	}{
		{"(xxx", 4, "want | or )"},
		{"xxx)", 3, "nothing may follow"},
		{"[2-9", 4, "not closed"},
		{"[9-2]x", 1, "goes up"},
		{"A[B-]x", 2, "goes up"},
		{"[]x", 0, "empty set"},
		{"1|", 2, "without a key"},
		{"1||2", 2, "without a key"},
		{"12z", 2, "no key"},
		{"[12z]", 3, "no key"},
		{".x", 0, "nothing stands before the dot"},
		{"x..", 2, "nothing stands before the dot"},
		{"xTx", 2, "end an alternative"},
		{"9,x", 1, "second dial tone"},
		{"xS3", 1, "only S0"},
		{"1<9>x", 1, "<dialled:sent>"},
		{"<9:x>", 3, "want the keys to send"},
		{"<9:1", 4, "want the keys to send"},
		{strings.Repeat("x", 64), 63, "more than 63"},
		{strings.Repeat("1|", 65), 129, "more than 64"},
	} {
		_, err := ParsePlan(row.plan)
		var wrong *PlanError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: error %v", row.plan, err)
			continue
		}
		if wrong.At != row.at || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v: want %q at offset %d", row.plan, err, row.says, row.at)
		}
	}
}

// Whatever is read as a plan can be asked about any digits, and what it says
// agrees with itself.
func FuzzPlan(f *testing.F) {
	for _, plan := range []string{cisco, Usual, "<9:>x.|1[2-4].x!", "x.x.x.x.T", "<:5>S0|*x", "(", "[", "<x:", "1|", "[1-"} {
		f.Add(plan, "0119#")
	}
	f.Fuzz(func(t *testing.T, text, dialled string) {
		p, err := ParsePlan(text)
		if err != nil {
			_ = err.Error()
			return
		}
		digits := []byte(dialled)[:min(len(dialled), MaxDigits)]
		_, allowed := p.Number(digits)
		switch v := p.Match(digits); {
		case v == Unknown && !allowed:
			t.Errorf("%q dialled %q: unknown and yet barred", text, digits)
		case v == Refused && allowed:
			t.Errorf("%q dialled %q: refused and yet sent", text, digits)
		case v == Unknown && p.Match(append(digits, '1')) != Unknown:
			t.Errorf("%q dialled %q: unknown, but not with one digit more", text, digits)
		}
		if again, err := ParsePlan(p.String()); err != nil || len(again.alts) != len(p.alts) {
			t.Errorf("%q does not read back: %v", text, err)
		}
	})
}
