package lab

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	stormSeed   = flag.Uint64("storm.seed", 0, "the one storm to try; 0: some")
	stormLength = flag.Duration("storm.length", 0, "virtual time of a storm; 0: an hour, 10 minutes with -short")
	stormCount  = flag.Int("storm.count", 3, "how many storms, with the seeds 1, 2, ...")
	stormStory  = flag.String("storm.story", "", "write the story of the storm to this file")
)

// TestStorm blows storms. To see one again: go test ./internal/lab -run Storm
// -storm.seed N -storm.length L -storm.story FILE. A day: -storm.length 24h.
func TestStorm(t *testing.T) {
	length, count := *stormLength, *stormCount
	if length == 0 {
		length = time.Hour
		if testing.Short() {
			length, count = 10*time.Minute, 1
		}
	}
	seeds := []uint64{*stormSeed}
	if *stormSeed == 0 {
		seeds = nil
		for i := range count {
			seeds = append(seeds, uint64(i+1))
		}
	}
	for _, seed := range seeds {
		broken, story := storm(t, Storm{Seed: seed, Length: length})
		for _, b := range broken {
			t.Errorf("storm %d of %v: %s", seed, length, b)
		}
		if *stormStory != "" {
			if err := os.WriteFile(*stormStory, story, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func storm(t *testing.T, s Storm) (broken []string, story []byte) {
	var out bytes.Buffer
	dir := t.TempDir()
	transports := []string{"udp", "udp", "tcp", "tls"}
	synctest.Test(t, func(t *testing.T) {
		o := Options{
			Dir: dir, Seed: s.Seed, Transport: transports[s.Seed%4],
			Outbound: []string{outbound, "p3"},
			Random:   func() float64 { return draw(s.Seed, "jitter") },
		}
		if o.Transport == "tls" {
			o.Outbound = nil // an address alone has no name that a certificate could show
		}
		w, err := NewWorld(o, NewJournal(&out, false))
		if err != nil {
			t.Fatal(err)
		}
		if broken, err = s.Run(t.Context(), w); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return broken, out.Bytes()
}
