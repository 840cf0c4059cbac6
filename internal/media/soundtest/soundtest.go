// Package soundtest is what tests of those who listen have in common.
//
// Its one idea: a listener is as good as the worst signal it still hears and the
// best it is deaf to. [Margin] looks for the edge between them and holds it against
// the standard's limits; [Recorded] plays hours of speech and music, in which there is nothing to hear.
package soundtest

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Margin finds the value of a condition, between a good and a bad one, at which half of
// the signals are heard, of which heard says what share is. They are heard at what they
// must, and not at what they must not; 0 is no such limit. It is slow, hence of
// go test -v.
func Margin(t *testing.T, name string, good, bad, must, not float64, heard func(x float64) float64) {
	t.Helper()
	if !testing.Verbose() || testing.Short() {
		t.Skip("a measurement: go test -v")
	}
	way := bad - good // above 0 if a larger value is worse
	for range 8 {
		if x := (good + bad) / 2; heard(x) >= 0.5 {
			good = x
		} else {
			bad = x
		}
	}
	limits := fmt.Sprintf("must %6.2f", must)
	if not != 0 {
		limits += fmt.Sprintf(", must not %6.2f", not)
	}
	t.Logf("%-40s half are heard at %6.2f; %s", name, good, limits)
	if (good-must)*way < 0 || not != 0 && (not-good)*way < 0 {
		t.Errorf("%s: half are heard at %.2f; %s", name, good, limits)
	}
}

// Recorded gives hear 10 ms at a time of every .wav (8 kHz, 16 bit) below a folder of
// CORPUS, speech or music, and says how much that was. scripts/corpus makes them of
// Debian's sound packages:
//
//	CORPUS=/tmp/corpus go test -v -run Recorded ./internal/media/...
func Recorded(t *testing.T, folder string, hear func(sound []int16, file string, at time.Duration)) (heard time.Duration) {
	t.Helper()
	dir := os.Getenv("CORPUS")
	if dir == "" {
		t.Skip("CORPUS names no directory of .wav files")
	}
	dir = filepath.Join(dir, folder)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".wav" {
			return err
		}
		const head, bytes = 44, 160
		b, err := os.ReadFile(path)
		if err != nil || len(b) < head {
			return err
		}
		b = b[head:]
		for at := time.Duration(0); len(b) >= bytes; at += 10 * time.Millisecond {
			var f [bytes / 2]int16
			for i := range f {
				f[i] = int16(binary.LittleEndian.Uint16(b[2*i:]))
			}
			b = b[bytes:]
			hear(f[:], path, at)
			heard += 10 * time.Millisecond
		}
		return nil
	})
	if err != nil || heard == 0 {
		t.Fatalf("no .wav below %s: %v", dir, err)
	}
	return heard
}
