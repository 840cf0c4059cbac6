package callerid

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/internal/country"
	"github.com/ata-agent/ata-agent/internal/media/fsk"
)

var at = time.Date(2026, 3, 9, 17, 5, 0, 0, time.UTC)

func now() time.Time { return at.Add(time.Minute) }

// usual is a bell of North America.
var usual = [8]time.Duration{2 * time.Second, 4 * time.Second}

// play walks a Sender to its end, for at most 30 s, and tells what was heard
// and what the line was asked, in ms.
func play(s *Sender, each func(ms int, l Line)) (sound []int16, story string) {
	names := []string{"ring", "pulse", "silence", "reverse", "restore"}
	for ms := 0; s.Busy() && ms < 30000; ms += 10 {
		var f [80]int16
		l := s.Read(f[:])
		sound = append(sound, f[:]...)
		for i, n := range names {
			if l&(1<<i) != 0 {
				story += fmt.Sprintf("%d %s\n", ms, n)
			}
		}
		if each != nil {
			each(ms, l)
		}
	}
	return sound, story
}

// hear returns the messages in a sound.
func hear(std Standard, sound []int16) (all []Message, faults int) {
	r := NewReceiver(std, now)
	for len(sound) > 0 {
		n, m, ok := r.Hear(sound)
		sound = sound[n:]
		if ok {
			all = append(all, m)
		}
	}
	return all, r.Faults
}

// told is what of a message a standard can tell.
func told(std Standard, m Message) Message {
	switch std.Coding() {
	case SDMF:
		m.Name, m.NoName = "", 0
	case NTT:
		m.Name, m.NoName, m.At = "", 0, time.Time{}
	case DTMFABC, DTMFHash, DTMFD:
		m.Name, m.NoName, m.At = "", 0, time.Time{}
		m.Number = strings.TrimLeft(m.Number, "+")
		if std.Coding() == DTMFD && m.NoNumber != 0 {
			m.NoNumber = Unavailable
		}
	}
	return m
}

var messages = []Message{
	{At: at, Number: "5551234567", Name: "ALICE EXAMPLE"},
	{At: at, Number: "1", Name: "B"},
	{At: at, Number: "12345678901234567890", Name: "FIFTEEN LETTERS"},
	{At: at, NoNumber: Private, NoName: Private},
	{At: at, NoNumber: Unavailable},
}

// What a Sender says is what a telephone hears, on the hook and off it.
func TestRoundTrip(t *testing.T) {
	for std := Bellcore; int(std) < len(rows); std++ {
		for _, m := range messages {
			var s Sender
			want := told(std, m)
			s.Call(std, &m, usual)
			sound, story := play(&s, japanese(&s))
			if !s.Sent() {
				t.Errorf("%v: not sent: %s", std, story)
			}
			if got, faults := hear(std, sound); len(got) != 1 || got[0] != want || faults != 0 {
				t.Errorf("%v: heard %+v with %d faults, want %+v", std, got, faults, want)
			}
			if !strings.HasSuffix(story, " ring\n") && rows[std].onHook[0].do != ring {
				t.Errorf("%v: does not ring at its end:\n%s", std, story)
			}
			if s.CallWaiting(std, &m) {
				sound, _ := play(&s, func(ms int, l Line) {
					if ms == 160 {
						s.Key('D')
					}
				})
				if got, faults := hear(std, sound); len(got) != 1 || got[0] != want || faults != 0 || !s.Sent() {
					t.Errorf("%v in a call: heard %+v with %d faults, want %+v", std, got, faults, want)
				}
			}
		}
	}
}

// japanese is a machine that lifts in the pause after the second short ring,
// and puts down when it has its message.
func japanese(s *Sender) func(int, Line) {
	return func(ms int, l Line) {
		switch {
		case s.at(answer) && ms == 1900:
			s.Hook(true)
		case s.at(hangup):
			s.Hook(false)
		}
	}
}

// What the line does, and when sound begins and ends, in ms; silences below
// 100 ms, as between keys, do not count.
func TestSequence(t *testing.T) {
	m := Message{At: at, Number: "5551234567", Name: "ALICE EXAMPLE"}
	for _, x := range []struct {
		std  Standard
		want string
	}{
		{Bellcore, "0 ring; sound 2500 to 3241"},
		{BellcoreSDMF, "0 ring; sound 2500 to 3083"},
		{ETSIRing, "0 ring; sound 2500 to 3241"},
		{ETSIAlert, "1390 ring; sound 0 to 103; sound 350 to 1091"},
		{ETSIPulse, "0 pulse; 240 silence; 1940 ring; sound 900 to 1641"},
		{ETSIReversal, "0 reverse; 1690 ring; sound 300 to 403; sound 650 to 1391"},
		{UK, "0 reverse; 1600 ring; sound 300 to 403; sound 550 to 1208"},
		{Japan, "0 reverse; 300 pulse; 2980 ring; sound 2160 to 2479"},
		{DTMF, "2380 ring; sound 300 to 1913"},
		{DTMFReversal, "0 reverse; 2380 ring; sound 300 to 1913"},
		{DTMFFinal, "0 reverse; 2240 ring; sound 300 to 1773"},
		{DTMFLeading, "2380 ring; sound 300 to 1913"},
	} {
		var s Sender
		s.Call(x.std, &m, usual)
		sound, line := play(&s, japanese(&s))
		if got := strings.ReplaceAll(line, "\n", "; ") + heardAt(sound); got != x.want {
			t.Errorf("%v:\n got %s\nwant %s", x.std, got, x.want)
		}
	}
}

// heardAt tells when sound is heard.
func heardAt(s []int16) (story string) {
	begins, last := -1, -1
	for i, x := range append(s, make([]int16, 801)...) {
		if x > 300 || x < -300 {
			if begins < 0 {
				begins = i
			}
			last = i
		}
		if begins >= 0 && i-last > 800 {
			story += fmt.Sprintf("sound %d to %d; ", begins/8, last/8)
			begins = -1
		}
	}
	return strings.TrimSuffix(story, "; ")
}

// GR-30-CORE: data begins "at least 500 ms after the first ring" and ends "at
// least 200 ms before the second", in the cadence of every country, whatever is
// chosen there, with the longest message there is.
func TestFitsBetweenRings(t *testing.T) {
	long := Message{At: at, Number: strings.Repeat("8", 30), Name: strings.Repeat("W", 80)}
	worst, where := math.Inf(1), ""
	for _, code := range country.Codes() {
		c, err := country.Get(code)
		if err != nil {
			t.Fatal(err)
		}
		for _, std := range []Standard{Bellcore, BellcoreSDMF, ETSIRing} {
			var s Sender
			s.Call(std, &long, c.Ring.Steps)
			sound, _ := play(&s, nil)
			begins, ends := edges(sound)
			silent := time.Duration(0)
			for i, d := range c.Ring.Steps {
				if i%2 == 1 {
					silent = max(silent, d)
				}
			}
			first := float64(firstRing(c.Ring.Steps)) / 8
			next := first + float64(silent.Milliseconds())
			if begins < first+500 || next-ends < 200 {
				t.Errorf("%s, %v: rings until %.0f ms, data from %.0f to %.0f, rings again at %.0f", code, std, first, begins, ends, next)
			}
			if next-ends < worst {
				worst, where = next-ends, code+" "+std.String()
			}
		}
	}
	t.Logf("least silence before the second ring: %.0f ms (%s), 200 asked for", worst, where)
}

// edges are the first and last instants of sound, in ms.
func edges(s []int16) (begins, ends float64) {
	begins = -1
	for i, x := range s {
		if x > 300 || x < -300 {
			if begins < 0 {
				begins = float64(i) / 8
			}
			ends = float64(i) / 8
		}
	}
	return begins, ends
}

// Names are what configuration and countries know.
func TestNames(t *testing.T) {
	for _, n := range Names() {
		if s, err := ParseStandard(n); err != nil || s.String() != n {
			t.Errorf("%q is %v, %v", n, s, err)
		}
	}
	if _, err := ParseStandard("smoke"); err == nil || !strings.Contains(err.Error(), "bellcore") {
		t.Errorf("error %v: want the names there are", err)
	}
	for _, code := range country.Codes() {
		c, err := country.Get(code)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseStandard(c.CallerID); c.CallerID != "" && err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// Octets as the standards write them out.
func TestOctets(t *testing.T) {
	m := Message{At: at, Number: "5551212", Name: "JOE"}
	for _, x := range []struct {
		name   string
		coding Coding
		m      Message
		want   string
	}{
		// "04 length MMDDHHMM number check"
		{"SDMF", SDMF, m, "\x04\x0f030917055551212\x15"},
		{"MDMF", MDMF, m, "\x80\x18\x01\x0803091705\x02\x075551212\x07\x03JOE\x8b"},
		{"ETSI", ETSI, m, "\x80\x18\x01\x0803091705\x02\x075551212\x07\x03JOE\x8b"},
		{"ETSI messages", ETSI, Message{Waiting: true, Messages: 2}, "\x82\x06\x0b\x01\xff\x13\x01\x02\x57"},
		{"MDMF private", MDMF, Message{NoNumber: Private, NoName: Private}, "\x80\x06\x04\x01P\x08\x01P\xcc"},
		{"SDMF private", SDMF, Message{At: at, NoNumber: Private}, "\x04\x0903091705P\x05"},
		{"MDMF lamp lit", MDMF, Message{Waiting: true, Messages: 2}, "\x82\x03\x0b\x01\xff\x70"},
		{"MDMF lamp dark", MDMF, Message{Waiting: true}, "\x82\x03\x0b\x01\x00\x6f"},
		{"SDMF lamp lit", SDMF, Message{Waiting: true, Messages: 255}, "\x06\x03\x42\x42\x42\x31"},
		{"SDMF lamp dark", SDMF, Message{Waiting: true}, "\x06\x03\x6f\x6f\x6f\xaa"},
		{"keys A C", DTMFABC, m, "A5551212C"},
		{"keys restricted", DTMFABC, Message{NoNumber: Private}, "B10C"},
		{"keys not available", DTMFABC, Message{}, "B00C"},
		{"keys #", DTMFHash, m, "5551212#"},
		{"keys # restricted", DTMFHash, Message{NoNumber: Private}, "D1#"},
		{"keys D C", DTMFD, m, "D5551212C"},
		{"a plus ends no key message", DTMFHash, Message{Number: "+45*7#1"}, "4571#"},
		{"letters are a name", MDMF, Message{Number: "bob"}, "\x80\x08\x04\x01O\x07\x03bob\xd7"},
		{"accents", MDMF, Message{NoNumber: Private, Name: "Jørgen Ünal Łódź 李"}, "\x80\x14\x04\x01P\x07\x0fJorgen Unal Lod\xbb"},
	} {
		got := x.m.Append(nil, x.coding)
		if string(got[:len(got)-1]) != x.want[:len(x.want)-1] {
			t.Errorf("%s: % x (%q), want % x", x.name, got, got, x.want)
		}
		if x.coding > NTT {
			continue
		}
		var sum byte
		for _, b := range got {
			sum += b
		}
		if sum != 0 {
			t.Errorf("%s: the octets add up to %d", x.name, sum)
		}
	}
	if len(plain) != 0x180-0xC0 {
		t.Errorf("%d letters without accents, want %d", len(plain), 0x180-0xC0)
	}
}

// A message with one bit wrong is not believed.
func TestChecks(t *testing.T) {
	for _, c := range []Coding{SDMF, MDMF, ETSI, NTT} {
		good := (&Message{At: at, Number: "5551212", Name: "JOE"}).Append(nil, c)
		if _, err := Parse(good, c, now()); err != nil {
			t.Errorf("%d: %v", c, err)
		}
		for i := range len(good) * 8 {
			bad := append([]byte(nil), good...)
			bad[i/8] ^= 1 << (i % 8)
			if m, err := Parse(bad, c, now()); err == nil {
				t.Errorf("coding %d with bit %d of octet %d wrong: %+v", c, i%8, i/8, m)
			}
		}
	}
}

// The year is the nearest that fits.
func TestYear(t *testing.T) {
	eve := time.Date(2026, 12, 31, 23, 59, 0, 0, time.UTC)
	b := (&Message{At: eve}).Append(nil, MDMF)
	if m, err := Parse(b, MDMF, time.Date(2027, 1, 1, 0, 1, 0, 0, time.UTC)); err != nil || !m.At.Equal(eve) {
		t.Errorf("%v, %v: want %v", m.At, err, eve)
	}
}

// Our bar: all of ten messages at 12 dB over white noise, whatever the standard.
func TestNoise(t *testing.T) {
	for std := Bellcore; int(std) < len(rows); std++ {
		if std.Modem().Baud == 0 {
			continue
		}
		r := rand.New(rand.NewPCG(12, uint64(std)))
		heard := 0
		for i := range 10 {
			var s Sender
			m := Message{At: at, Number: fmt.Sprint(5550000000 + int64(i)*1234567), Name: "NOISE"}
			s.Call(std, &m, usual)
			sound, _ := play(&s, japanese(&s))
			sigma := fsk.DefaultPeak / math.Sqrt2 * math.Pow(10, -12.0/20)
			for i := range sound {
				sound[i] += int16(sigma * r.NormFloat64())
			}
			if got, _ := hear(std, sound); len(got) == 1 && got[0] == told(std, m) {
				heard++
			}
		}
		if heard < 10 {
			t.Errorf("%v: %d of 10 heard", std, heard)
		}
	}
}

// EN 300 659-1 section 6.2.2.1, SIN 227: DT-AS "2130 Hz and 2750 Hz", on hook
// 88 to 110 ms, off hook 75 to 85 ms (GR-30-CORE's CAS: 80±5 ms, ±0.5 %).
func TestAlert(t *testing.T) {
	for _, x := range []struct {
		name     string
		call     bool
		min, max float64
	}{{"on hook", false, 88, 110}, {"off hook", true, 75, 85}} {
		var s Sender
		if x.call {
			s.CallWaiting(ETSIAlert, &messages[0])
		} else {
			s.Call(ETSIAlert, &messages[0], usual)
		}
		f := make([]int16, 200*8)
		s.Read(f)
		begins, ends := half(f)
		if ms := ends - begins; ms < x.min || ms > x.max {
			t.Errorf("%s: lasts %.1f ms, want %.0f to %.0f", x.name, ms, x.min, x.max)
		}
		for _, hz := range []float64{2130, 2750} {
			got := level(f[80:80+480], hz) // 60 ms: whole turns of neither
			if math.Abs(got+15) > 0.5 {
				t.Errorf("%s: %.0f Hz at %.2f dBm0, want -15", x.name, hz, got)
			}
			// 30 ms further on the phase is where the frequency brings it.
			turned := phase(f[80+240:80+480], hz) - phase(f[80:80+240], hz) - 2*math.Pi*hz*240/8000
			if off := math.Abs(math.Remainder(turned, 2*math.Pi)) / (2 * math.Pi) * 8000 / 240 / hz; off > 0.001 {
				t.Errorf("%s: %.0f Hz is off by %.3f %%", x.name, hz, off*100)
			}
		}
		t.Logf("%s: %.1f ms", x.name, ends-begins)
	}
}

// half are the instants between which the sound is above half its strength.
func half(s []int16) (begins, ends float64) {
	const span = 16 // samples
	var power []float64
	top := 0.0
	for i := 0; i+span <= len(s); i++ {
		sum := 0.0
		for _, x := range s[i : i+span] {
			sum += float64(x) * float64(x)
		}
		power = append(power, sum)
		top = max(top, sum)
	}
	begins = -1
	for i, p := range power {
		if p > top/4/2 { // half of the amplitude, of a sum that beats
			if begins < 0 {
				begins = float64(i+span/2) / 8
			}
			ends = float64(i+span/2) / 8
		}
	}
	return begins, ends
}

func level(s []int16, hz float64) float64 {
	var re, im, sum float64
	for i, x := range s {
		w := 1 - math.Cos(2*math.Pi*float64(i)/float64(len(s)))
		re += w * float64(x) * math.Cos(2*math.Pi*hz*float64(i)/8000)
		im += w * float64(x) * math.Sin(2*math.Pi*hz*float64(i)/8000)
		sum += w
	}
	return 20*math.Log10(2*math.Hypot(re, im)/sum/32767) + 3.14
}

// phase is that of a frequency at the beginning of a sound, Hann window.
func phase(s []int16, hz float64) float64 {
	var re, im float64
	for i, x := range s {
		w := 1 - math.Cos(2*math.Pi*float64(i)/float64(len(s)))
		re += w * float64(x) * math.Cos(2*math.Pi*hz*float64(i)/8000)
		im -= w * float64(x) * math.Sin(2*math.Pi*hz*float64(i)/8000)
	}
	return math.Atan2(im, re)
}

// A telephone that does not answer the alert is not told, and hears no data.
func TestNoAnswer(t *testing.T) {
	var s Sender
	s.CallWaiting(Bellcore, &messages[0])
	sound, _ := play(&s, func(ms int, l Line) {
		if ms == 100 {
			s.Key('5')
		}
	})
	if s.Sent() || len(sound) > 300*8 {
		t.Errorf("sent %v, over after %d ms", s.Sent(), len(sound)/8)
	}
	if s.CallWaiting(DTMF, &messages[0]) || s.Busy() {
		t.Error("keys during a call")
	}
}

// Whoever lifts is answered at once, and the line is as it was.
func TestLifted(t *testing.T) {
	for std := Off; int(std) < len(rows); std++ {
		for ms := 0; ms < 4000; ms += 130 {
			var s Sender
			s.Call(std, &messages[0], usual)
			var ringing, reversed bool
			apply := func(l Line) {
				ringing = (ringing || l&(Ring|Pulse) != 0) && (l&Silence == 0 || l&Ring != 0)
				reversed = (reversed || l&Reverse != 0) && l&Restore == 0
			}
			var f [80]int16
			for range ms / 10 {
				apply(s.Read(f[:]))
			}
			machine := s.at(answer)
			apply(s.Hook(true))
			if ringing {
				t.Errorf("%v, lifted at %d ms: still rings", std, ms)
			}
			if machine {
				continue
			}
			if reversed || s.Busy() {
				t.Errorf("%v, lifted at %d ms: reversed %v, busy %v", std, ms, reversed, s.Busy())
			}
		}
	}
}

// In Japan a person may lift as well: it is told, and when the receiver stays
// lifted the call has been answered.
func TestJapanesePerson(t *testing.T) {
	var s Sender
	s.Call(Japan, &messages[0], usual)
	_, story := play(&s, func(ms int, _ Line) {
		if ms == 1900 && s.Hook(true) != Silence {
			t.Error("the bell goes on")
		}
	})
	if want := "0 reverse\n300 pulse\n"; !strings.HasPrefix(story, want) || !strings.HasSuffix(story, " restore\n") || !s.Sent() {
		t.Errorf("%s, sent %v", story, s.Sent())
	}
	// Nobody: the bell rings for people.
	s.Call(Japan, &messages[0], usual)
	if _, story := play(&s, nil); story != "0 reverse\n300 pulse\n6290 silence\n6300 ring\n" && story != "0 reverse\n300 pulse\n6290 ring\n6290 silence\n" {
		t.Errorf("nobody lifts: %q", story)
	}
}

// Messages wait: the lamp.
func TestTell(t *testing.T) {
	for std := Bellcore; int(std) < len(rows); std++ {
		for _, n := range []uint8{0, 3} {
			var s Sender
			m := Message{At: at, Waiting: true, Messages: n}
			if !s.Tell(std, &m) {
				if std.Modem().Baud != 0 && std != Japan {
					t.Errorf("%v tells nothing", std)
				}
				continue
			}
			sound, story := play(&s, nil)
			got, _ := hear(std, sound)
			if len(got) != 1 || !got[0].Waiting || (got[0].Messages == 0) != (n == 0) || story != "" {
				t.Errorf("%v: heard %+v, line: %s", std, got, story)
			}
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var s Sender
	var f [80]int16
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		if !s.Busy() {
			i++
			s.Call(Standard(1+i%(len(rows)-1)), &messages[i%len(messages)], usual)
		}
		s.Read(f[:])
	}); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func BenchmarkRead(b *testing.B) {
	var s Sender
	var f [80]int16
	b.ReportAllocs()
	for b.Loop() {
		if !s.Busy() {
			s.Call(Bellcore, &messages[0], usual)
		}
		s.Read(f[:])
	}
}
