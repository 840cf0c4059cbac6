package lab

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var update = flag.Bool("update", false, "write the transcripts of all scenarios; read what changed before it is committed")

// playVirtual plays a scenario in a bubble and returns its transcript.
func playVirtual(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadScript(strings.TrimSuffix(filepath.Base(file), ".txt"), text)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		if err := Play(t.Context(), s, dir, false, &out); err != nil {
			t.Errorf("%v\n%s", err, &out)
		}
	})
	return out.String()
}

// TestScenarios plays every scenario and compares what happened with what is
// written beside it. To accept what changed: go test ./internal/lab -update,
// then read the difference, and commit it only when you understand its cause.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	drawn := jitterIsDrawn(t)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			got := playVirtual(t, file)
			wantFile := strings.TrimSuffix(file, ".txt") + ".want"
			if *update {
				if err := os.WriteFile(wantFile, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatalf("%v: write it with -update", err)
			}
			story := string(want)
			if drawn || looseTimes(t, file) {
				got, story = withoutTimes(got), withoutTimes(story)
			}
			if d := firstDifference(got, story); d != "" {
				t.Errorf("another story than %s:\n%s\nthe whole of it:\n%s", wantFile, d, got)
			}
		})
	}
}

// jitterIsDrawn tells whether lines draw their jitter from a source that no
// test can set: whether none asks Options.Random within a minute. Then the
// moments of refreshes and keep-alives differ from run to run, and only what
// happens and in which order can be compared.
func jitterIsDrawn(t *testing.T) bool {
	var asked atomic.Bool
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWorld(Options{Dir: dir, Random: func() float64 {
			var stack [4096]byte
			if bytes.Contains(stack[:runtime.Stack(stack[:], false)], []byte("/sip.(*Line)")) {
				asked.Store(true)
			}
			return 0.5
		}}, NewJournal(io.Discard, false))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.Close()
	})
	return !asked.Load()
}

// looseTimes tells whether a story says of itself that its moments may differ:
// where a probe and a registration meet at one address in one instant, either
// may be told first that nobody is there, and the next round is counted from it.
func looseTimes(t *testing.T, file string) bool {
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(script, []byte("# Its moments may differ from run to run"))
}

func withoutTimes(story string) string {
	var out []string
	for line := range strings.Lines(story) {
		line = took.ReplaceAllString(line, "took=")
		out = append(out, line[min(8, len(line)):])
	}
	return strings.Join(out, "")
}

var took = regexp.MustCompile(`took=\S+`)

// firstDifference shows the first lines that differ; "" when none do.
func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	line := func(s []string, i int) string {
		if i < len(s) {
			return s[i]
		}
		return "(the end)"
	}
	for i := range max(len(g), len(w)) {
		if a, b := line(g, i), line(w, i); a != b {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, a, b)
		}
	}
	return ""
}

// TestStoriesAreTheSameEveryTime plays some scenarios again and again: virtual
// time must order everything that a transcript shows.
func TestStoriesAreTheSameEveryTime(t *testing.T) {
	if testing.Short() {
		t.Skip("TestScenarios compares each story with what it was elsewhere")
	}
	const runs = 5
	if jitterIsDrawn(t) {
		t.Skip("the agent does not give its lines Random: their jitter cannot be set")
	}
	for _, name := range []string{"call", "call-silent", "talk-killed", "incoming", "all-silent", "tcp-kill", "dns-silent-at-failover", "waiting-caller-id"} {
		t.Run(name, func(t *testing.T) {
			first := playVirtual(t, "testdata/"+name+".txt")
			for range runs {
				if d := firstDifference(playVirtual(t, "testdata/"+name+".txt"), first); d != "" {
					t.Fatal(d)
				}
			}
		})
	}
}

func TestScriptMistakesAreNamed(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"colour blue\n", `s:1: "colour" is no part of a world`},
		{"country\n", `s:1: "country" wants a value`},
		{"> boot\ncountry us\n", `s:2: "country us" stands after the first ">"`},
		{"\nexpires soon\n", `s:2: time: invalid duration`},
	} {
		_, err := ReadScript("s", []byte(tc.text))
		if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %s", tc.text, err, tc.want)
		}
	}
}
