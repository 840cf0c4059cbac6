package fleet

import (
	"flag"
	"testing"
	"time"

	"github.com/ata-agent/ata-agent/outbound"
)

var full = flag.Bool("fleet.full", false, "10^5 lines instead of 10^4")

// fleetOf is a fleet as a provider of many lines should set it up.
func fleetOf(load time.Duration, f Fault) World {
	w := World{Devices: 10_000, Proxies: 4, Load: load, Fault: f, Order: outbound.OrderSpread, Rules: outbound.Rules{Spread: 30 * time.Second}, Seed: 1}
	switch {
	case *full:
		w.Devices = 100_000
	case testing.Short():
		w.Devices = 1000
	}
	return w
}

const never = time.Duration(-1)

// What the default policy for a fleet is held to: when 99 % and all of the lines
// have their service again, what the worst proxy must take meanwhile, as a
// multiple of what it can, and what each line sends. 0: not held to anything
// but that it ends.
func TestBars(t *testing.T) {
	const s = time.Second
	power, shed, shedPower, cost := fleetOf(500*s, Power), fleetOf(500*s, Silent), fleetOf(500*s, Power), fleetOf(500*s, Silent)
	cost.AskCost = 0.01
	power.BootSpread, shed.RetryAfter, shedPower.RetryAfter = 300*s, 15*s, 15*s
	for _, c := range []struct {
		name             string
		world            World
		t99, all         time.Duration
		peak, msg, query float64
	}{
		{"silent, N/C 500", fleetOf(500*s, Silent), 175 * s, 240 * s, 8, 12, 0.01},
		{"reset,  N/C 500", fleetOf(500*s, Reset), 140 * s, 240 * s, 8, 12, 0.01},
		{"silent, N/C  50", fleetOf(50*s, Silent), 95 * s, 0, 8, 12, 0.01},
		{"reset,  N/C  50", fleetOf(50*s, Reset), 35 * s, 0, 8, 12, 0.01},
		{"silent, N/C 2000", fleetOf(2000*s, Silent), 0, 0, 0, 0, 0},
		{"reset,  N/C 2000", fleetOf(2000*s, Reset), 0, 0, 0, 0, 0},
		{"silent, 503 with a constant Retry-After", shed, 1000 * s, 0, 0, 0, 0},
		{"power,  503 with a constant Retry-After", shedPower, 1000 * s, 0, 0, 0, 0},
		{"silent, keep-alives in the same queue", cost, 175 * s, 240 * s, 8, 12, 0.01},
		{"power,  boot spread 300 s", power, 330 * s, 0, 8, 2.1, 0.01},
		{"all silent for ten minutes", fleetOf(500*s, AllFell), downTime + 600*s, 0, 0, 0, 0},
	} {
		r := Run(c.world)
		t.Logf("%-42s 50 90 99 100 %% after %v, peak %.1f, %.1f messages, %.3f questions", c.name, r.Back, r.Peak, r.Messages, r.Queries)
		late := func(is, most time.Duration) bool { return is == never || most > 0 && is > most }
		over := func(is, most float64) bool { return most > 0 && is > most }
		if late(r.Back[2], c.t99) || late(r.Back[3], c.all) || over(r.Peak, c.peak) || over(r.Messages, c.msg) || over(r.Queries, c.query) {
			t.Errorf("%s: that is beyond 99 %% %v, all %v, peak %v, %v messages, %v questions", c.name, c.t99, c.all, c.peak, c.msg, c.query)
		}
	}
}

// The ratio decides, not the number: so what 10^4 show holds for 10^7.
func TestRatioDecides(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes on an emulated machine")
	}
	small, large := fleetOf(500*time.Second, Silent), fleetOf(500*time.Second, Silent)
	small.Devices, large.Devices = 10_000, 20_000
	a, b := Run(small), Run(large)
	for i, share := range shares[:3] {
		if d := (a.Back[i] - b.Back[i]).Abs(); d > b.Back[i]/10 {
			t.Errorf("%v of 10000 are back after %v, of 20000 after %v", share, a.Back[i], b.Back[i])
		}
	}
}

// A fleet does not return as one: when a proxy is well again after ten minutes,
// all go back to it, and its queue is never full.
func TestFailbackIsSpread(t *testing.T) {
	if testing.Short() {
		t.Skip("minutes on an emulated machine")
	}
	for _, mode := range []outbound.Failback{outbound.OnRefresh, outbound.ImmediateIdle, outbound.OnTimer} {
		w := fleetOf(500*time.Second, Returned)
		w.Devices, w.Length = 4000, 80*time.Minute
		w.Rules.Failback, w.Rules.FailbackAfter = mode, 20*time.Minute
		r := Run(w)
		window, worst, takes := int(queueTime/resolution), 0, float64(w.Devices)/w.Load.Seconds()*queueTime.Seconds()
		calm := r.Worst[int(downTime/resolution)+2*window:]
		for i := range len(calm) - window {
			sum := 0
			for _, n := range calm[i : i+window] {
				sum += n
			}
			worst = max(worst, sum)
		}
		t.Logf("%v: %d of %d lines went back, at most %d REGISTERs in %v, of %.0f", mode, r.Returned, r.Hit, worst, queueTime, takes)
		if r.Returned < r.Hit*9/10 {
			t.Errorf("%v: %d of %d lines went back", mode, r.Returned, r.Hit)
		}
		if float64(worst) > 1.5*takes {
			t.Errorf("%v: %d REGISTERs in %v", mode, worst, queueTime)
		}
	}
}

// The same seed tells the same story.
func TestRepeatable(t *testing.T) {
	w := fleetOf(500*time.Second, Silent)
	w.Devices = 1000
	if a, b := Run(w), Run(w); a.Back != b.Back || a.Messages != b.Messages {
		t.Errorf("%v and %v", a.Back, b.Back)
	}
}

func TestHeap(t *testing.T) {
	var h heap
	for i := range 1000 {
		h.push(event{at: time.Duration(i * 7919 % 101)})
	}
	last := event{at: -1}
	for h.len() > 0 {
		e := h.pop()
		if e.before(&last) {
			t.Fatalf("%v comes after %v", e, last)
		}
		last = e
	}
}
