package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ata-agent/ata-agent/internal/media/callerid"
)

// box runs a command as a shell would.
func box(t *testing.T, in []byte, args ...string) (out []byte, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	if code := run(args, std{bytes.NewReader(in), &o, &e}); code != 0 {
		t.Fatalf("%s: exit %d: %s", strings.Join(args, " "), code, e.String())
	}
	return o.Bytes(), e.String()
}

func bytesOf(s []int16) (b []byte) {
	for _, x := range s {
		b = binary.LittleEndian.AppendUint16(b, uint16(x))
	}
	return b
}

func samplesOf(b []byte) []int16 {
	s := make([]int16, len(b)/2)
	for i := range s {
		s[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return s
}

// vowel is 10 s or less of something like a voice.
func vowel(n int) []int16 {
	s := make([]int16, n)
	for i := range s {
		x, p := 0.0, 2*math.Pi*(120*float64(i)/8000+3*math.Sin(float64(i)/6000))
		for h := 1.0; h < 8; h++ {
			x += math.Sin(h*p+h) / h
		}
		s[i] = int16(3000 * x * (0.6 + 0.4*math.Sin(float64(i)/2500)))
	}
	return s
}

func snr(want, got []int16) float64 {
	var s, n float64
	for i := range min(len(want), len(got)) {
		d := float64(want[i]) - float64(got[i])
		s, n = s+float64(want[i])*float64(want[i]), n+d*d
	}
	return 10 * math.Log10(s/max(n, 1e-9))
}

func TestKeys(t *testing.T) {
	const keys = "123456789*0#ABCD"
	sound, _ := box(t, nil, "dtmf-gen", "-on", "60", "-off", "60", keys)
	for _, args := range [][]string{{"dtmf-detect"}, {"dtmf-detect", "-dialtone"}} {
		out, _ := box(t, sound, args...)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) != len(keys) {
			t.Fatalf("%v: %d keys heard of %d:\n%s", args, len(lines), len(keys), out)
		}
		for i, line := range lines {
			var start, long int
			var key string
			if _, err := fmt.Sscan(line, &start, &key, &long); err != nil {
				t.Fatal(err)
			}
			if d := start - (60 + 120*i); key != keys[i:i+1] || d < -3 || d > 5 || long < 55 || long > 65 {
				t.Errorf("%v: %q, want about %d %c 60", args, line, 60+120*i, keys[i])
			}
		}
	}
}

func TestCodecs(t *testing.T) {
	in := vowel(16000)
	for _, row := range []struct {
		enc, dec string
		bytes    int // for 16000 samples
		delay    int
		snr      float64
	}{
		{"g711 enc", "g711 dec", 16000, 0, 35},
		{"g711 enc alaw", "g711 dec alaw", 16000, 0, 35},
		{"g722 enc", "g722 dec", 8000, 22, 30},
		{"g722 enc", "g722 dec 56", 8000, 22, 27},
		{"g722 enc", "g722 dec 48", 8000, 22, 22},
		{"g722 enc 8k", "g722 dec 8k", 16000, 24 + 11, 30},
		{"g726 enc", "g726 dec", 8000, 0, 25},
		{"g726 enc aal2", "g726 dec aal2", 8000, 0, 25},
	} {
		code, _ := box(t, bytesOf(in), strings.Fields(row.enc)...)
		if len(code) != row.bytes {
			t.Errorf("%s: %d bytes, want %d", row.enc, len(code), row.bytes)
		}
		out, _ := box(t, code, strings.Fields(row.dec)...)
		got := samplesOf(out)
		if len(got) != len(in) {
			t.Fatalf("%s: %d samples, want %d", row.dec, len(got), len(in))
		}
		s := snr(in[4000:12000], got[4000+row.delay:])
		t.Logf("%-16s %-16s %.1f dB above the noise, at least %.0f wanted", row.enc, row.dec, s, row.snr)
		if s < row.snr {
			t.Errorf("%s: %.1f dB above the noise, want %.0f", row.dec, s, row.snr)
		}
	}
	// Of G.726 with G.711 outside, the samples are the same bar their law.
	pcm, _ := box(t, bytesOf(in), "g711", "enc", "alaw")
	code, _ := box(t, pcm, "g726", "enc", "alaw")
	back, _ := box(t, code, "g726", "dec", "alaw")
	lin, _ := box(t, back, "g711", "dec", "alaw")
	if s := snr(in[4000:], samplesOf(lin)[4000:]); s < 24 {
		t.Errorf("A-law through G.726: %.1f dB above the noise", s)
	}
}

func TestConcealment(t *testing.T) {
	in := vowel(80000)
	same, _ := box(t, bytesOf(in), "plc", "20", "0")
	if !bytes.Equal(same, bytesOf(in)) {
		t.Error("nothing is lost and something changed")
	}
	for _, pattern := range []string{"00000000000000000001", "5%:3", "5%x2.5:3"} {
		out, _ := box(t, bytesOf(in), "plc", "160", pattern)
		s := snr(in, samplesOf(out))
		t.Logf("%s: %.1f dB", pattern, s)
		if s < 10 {
			t.Errorf("%s: %.1f dB above what changed, want 10", pattern, s)
		}
	}
}

func TestJitterBuffer(t *testing.T) {
	in := vowel(8000 * 30)
	if testing.Short() {
		in = in[:8000*15] // what is settled in the first ten does not count
	}
	report := regexp.MustCompile(`delay (\S+) ms, at most (\S+); .*concealed (\S+) %`)
	for i, row := range []struct {
		args        string
		delay, lost float64
	}{
		{"uniform:0", 30, 0}, {"uniform:20", 44, 0.5}, {"uniform:40", 65, 0.5}, {"uniform:60", 90, 0.7},
		{"uniform:0 -ppm 200", 36, 0.1}, {"uniform:0 -ppm -200", 36, 0.1},
		{"uniform:30 -fix 100", 160, 0},
	} {
		if testing.Short() && i%3 != 0 {
			continue
		}
		out, errs := box(t, bytesOf(in), append([]string{"jb"}, strings.Fields(row.args)...)...)
		if len(out) != 2*len(in) {
			t.Errorf("%s: %d samples became %d", row.args, len(in), len(out)/2)
		}
		m := report.FindStringSubmatch(errs)
		if m == nil {
			t.Fatalf("%s says %q", row.args, errs)
		}
		var delay, lost float64
		fmt.Sscan(m[1], &delay)
		fmt.Sscan(m[3], &lost)
		t.Logf("%-20s %s", row.args, strings.TrimSpace(errs))
		if delay > row.delay || lost > row.lost {
			t.Errorf("%s: %.1f ms and %.2f %%, want at most %.0f and %.1f", row.args, delay, lost, row.delay, row.lost)
		}
	}
}

func TestOthers(t *testing.T) {
	busy, _ := box(t, nil, "tone", "de", "busy", "960")
	s := samplesOf(busy)
	var on, off float64
	for _, x := range s[400:3400] {
		on = max(on, math.Abs(float64(x)))
	}
	for _, x := range s[4000:7600] {
		off = max(off, math.Abs(float64(x)))
	}
	if len(s) != 960*8 || on < 1000 || off > 0 {
		t.Errorf("busy of Germany: %d samples, peaks of %.0f in 480 ms and %.0f in the next", len(s), on, off)
	}
	for _, args := range [][]string{{"tone", "us", "dial", "105"}, {"tone", "au", "facility", "33"}} {
		sound, _ := box(t, nil, args...)
		s := samplesOf(sound)
		if first, last := s[0], s[len(s)-1]; max(first, -first, last, -last) > 50 {
			t.Errorf("%v begins with %d and ends with %d", args, first, last)
		}
	}
	high, _ := box(t, bytesOf(vowel(8000)), "resample", "8000", "48000")
	low, _ := box(t, high, "resample", "48000", "8000")
	if s := snr(vowel(8000)[:7000], samplesOf(low)[24:]); s < 50 {
		t.Errorf("48 kHz and back: %.1f dB above what changed", s)
	}
	cn, _ := box(t, nil, "cn-gen", "32", "3000")
	said, _ := box(t, cn, "cn-describe", "0")
	if lines := strings.Fields(string(said)); lines[len(lines)-1] != "32" {
		t.Errorf("noise of level 32 is described as %v", lines)
	}
	answer := make([]int16, 8000)
	for i := range answer[800:] {
		answer[800+i] = int16(5000 * math.Sin(2*math.Pi*2100*float64(i)/8000))
	}
	if out, _ := box(t, bytesOf(answer), "toneprobe"); string(out) != "100 CED 900\n" {
		t.Errorf("900 ms of 2100 Hz, up to the end: %q", out)
	}
	out, _ := box(t, nil, "bench", "call", "1", "1")
	if !strings.Contains(string(out), "; 0 allocations") {
		t.Errorf("bench says %s", out)
	}
}

func TestEcho(t *testing.T) {
	far := vowel(8000 * 6)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range far {
		far[i] += int16(r.IntN(400) - 200)
	}
	near := make([]int16, len(far))
	for i := 20; i < len(far); i++ {
		near[i] = far[i-8]/4 + far[i-20]/8
	}
	dir := t.TempDir()
	rin, sin := filepath.Join(dir, "rin.s16"), filepath.Join(dir, "sin.s16")
	if os.WriteFile(rin, bytesOf(far), 0o644) != nil || os.WriteFile(sin, bytesOf(near), 0o644) != nil {
		t.Fatal("cannot write")
	}
	out, errs := box(t, nil, "lec", "128", "0", rin, sin)
	got := samplesOf(out)
	if len(got) != len(near) {
		t.Fatalf("%d samples of %d", len(got), len(near))
	}
	var before, after float64
	for i := 4 * 8000; i < len(got); i++ {
		before, after = before+float64(near[i])*float64(near[i]), after+float64(got[i])*float64(got[i])
	}
	erle := 10 * math.Log10(before/max(after, 1))
	t.Logf("%.1f dB were taken away after 4 s; it says %s", erle, strings.TrimSpace(errs))
	if erle < 30 {
		t.Errorf("%.1f dB were taken away, want 30", erle)
	}
}

func TestCallers(t *testing.T) {
	for _, name := range callerid.Names() {
		standard, err := callerid.ParseStandard(name)
		if err != nil {
			t.Fatal(err)
		}
		if standard == callerid.Off {
			continue
		}
		sound, _ := box(t, nil, "cid-gen", name, "5551234", "ALICE", "EXAMPLE", "-at", "2026-03-09T17:05")
		out, errs := box(t, sound, "cid-detect", name)
		t.Logf("%-16s %5d ms: %s", name, len(sound)/16, strings.TrimSpace(string(out)))
		if f := strings.Fields(string(out)); len(f) < 4 || f[2] != "5551234" {
			t.Errorf("%s: heard %q, %s", name, out, errs)
		}
	}
	sound, _ := box(t, nil, "cid-gen", "bellcore", "P", "ALICE", "-waiting")
	if out, _ := box(t, sound, "cid-detect", "bellcore"); !strings.HasSuffix(string(out), " P ALICE\n") {
		t.Errorf("during a call: heard %q", out)
	}
}

// A wrong command says what would be right.
func TestMistakes(t *testing.T) {
	for _, row := range [][2]string{
		{"nothing", `there is no command "nothing"`},
		{"g711", "want enc or dec"},
		{"g711 enc g729", `"g729" is not known`},
		{"resample 8000 44100", "want 8000, 16000, 32000 or 48000"},
		{"plc 20 nowhere.txt", "neither a pattern"},
		{"tone xx dial 100", "want one of at"},
		{"tone us ding 100", "want one of dial"},
		{"jb", "want one trace"},
		{"cid-gen telex 1 A", "telex"},
		{"lec 128 maybe a b", "want 1 or 0"},
		{"dtmf-gen x", `'X' is no key`},
		{"dtmf-gen 1x", `'X' is no key`},
		{"dtmf-gen -level 9 1", "a level of 9 dBm0"},
		{"lec 128 1 /nowhere/a /nowhere/b", "/nowhere/a"},
		{"lec 128 1 / /", "/ is a directory"},
		{"g711 enc dec", `"dec" beside enc`},
		{"g726 enc rfc3551 -aal2", `"-aal2" beside rfc3551`},
		{"plc 20 NaN%", `"NaN" is no percentage`},
		{"plc 20 5%xNaN", `"NaN" is no length of a burst`},
		{"jb uniform:NaN", `"NaN" is no jitter`},
		{"jb uniform:20:1:loss:200", `"200" is no percentage`},
		{"jb uniform:20 -fix 300", "want up to 200"},
		{"jb uniform:20 -phase -1", "want 0 to 10"},
		{"jb uniform:20 -ppm NaN", "want up to 10000"},
		{"jb /nowhere/a", "/nowhere/a"},
		{"help nothing", `there is no command "nothing"`},
		{"dtmf-detect 5", `"5" is too much`},
		{"dtmf-detect -q24 mars", `"mars" is no column`},
		{"toneprobe x", `"x" is too much`},
	} {
		var o, e bytes.Buffer
		if code := run(strings.Fields(row[0]), std{strings.NewReader(""), &o, &e}); code != 2 || o.Len() > 0 || !strings.Contains(e.String(), row[1]) || !strings.Contains(e.String(), "hint: ") {
			t.Errorf("%s: exit %d: %s; want 2 and %q", row[0], code, e.String(), row[1])
		}
	}
	for _, c := range commands {
		out, _ := box(t, nil, "help", c.name)
		if !strings.HasPrefix(string(out), "dsptool "+c.name) {
			t.Errorf("help %s: %s", c.name, out)
		}
	}
}

// Another program hears the same keys.
func TestKeysByMultimon(t *testing.T) {
	path, err := exec.LookPath("multimon-ng")
	if err != nil {
		t.Skip("multimon-ng is not here")
	}
	const keys = "123456789*0#ABCD"
	sound, _ := box(t, nil, "dtmf-gen", keys)
	sox, err := exec.LookPath("sox")
	if err != nil {
		t.Skip("sox is not here")
	}
	// It reads 22050 samples a second.
	file := filepath.Join(t.TempDir(), "x.raw")
	c := exec.Command(sox, "-t", "raw", "-r", "8000", "-c", "1", "-e", "signed", "-b", "16", "-", "-t", "raw", "-r", "22050", file)
	c.Stdin = bytes.NewReader(sound)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("sox: %v: %s", err, out)
	}
	out, err := exec.Command(path, "-q", "-a", "DTMF", "-t", "raw", file).CombinedOutput()
	if err != nil {
		t.Fatalf("multimon-ng: %v: %s", err, out)
	}
	var heard strings.Builder
	for line := range strings.Lines(string(out)) {
		if k, ok := strings.CutPrefix(strings.TrimSpace(line), "DTMF: "); ok {
			// It says E and F for * and #.
			heard.WriteString(strings.NewReplacer("E", "*", "F", "#").Replace(k))
		}
	}
	if heard.String() != keys {
		t.Errorf("multimon-ng heard %s, want %s", heard.String(), keys)
	}
}

// Another program agrees about a companded byte.
func TestG711BySox(t *testing.T) {
	sox, err := exec.LookPath("sox")
	if err != nil {
		t.Skip("sox is not here")
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for law, name := range map[string]string{"ulaw": "u-law", "alaw": "a-law"} {
		c := exec.Command(sox, "-t", "raw", "-r", "8000", "-c", "1", "-e", name, "-", "-t", "raw", "-e", "signed", "-b", "16", "-")
		c.Stdin = bytes.NewReader(all)
		want, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := box(t, all, "g711", "dec", law); !bytes.Equal(got, want) {
			t.Errorf("%s: sox decodes otherwise", law)
		}
	}
}
