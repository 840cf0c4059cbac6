// Table writes docs/fleet.md and docs/fleet.svg: what a fleet does when a proxy
// dies, for whoever has to choose failover_spread for many devices.
//
//	go run ./internal/lab/fleet/table [-n DEVICES] [-o DIRECTORY]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/ata-agent/ata-agent/internal/lab/fleet"
	"github.com/ata-agent/ata-agent/outbound"
)

func main() {
	devices := flag.Int("n", 100_000, "devices in the first tables and in the plot")
	dir := flag.String("o", "docs", "where to write fleet.md and fleet.svg")
	flag.Parse()
	debug.SetGCPercent(400) // nearly all that is alive stays alive
	if err := run(*devices, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

func run(devices int, dir string) error {
	var page bytes.Buffer
	plot := write(&page, devices)
	if err := os.WriteFile(filepath.Join(dir, "fleet.md"), page.Bytes(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "fleet.svg"), plot, 0o644)
}

// A policy is one way to set up a fleet.
type policy struct {
	name    string
	order   outbound.Order
	turning bool
	spread  time.Duration
	colour  string
}

var policies = []policy{
	{"dns, 2 s (default)", outbound.OrderDNS, false, 2 * time.Second, "#c0392b"},
	{"dns, 300 s", outbound.OrderDNS, false, 300 * time.Second, "#e08e0b"},
	{"dns turned round, 60 s", outbound.OrderDNS, true, time.Minute, "#8e44ad"},
	{"spread, 2 s", outbound.OrderSpread, false, 2 * time.Second, "#7f8c8d"},
	{"spread, 30 s", outbound.OrderSpread, false, 30 * time.Second, "#1e8449"},
	{"spread, 120 s", outbound.OrderSpread, false, 2 * time.Minute, "#2874a6"},
}

func (p policy) world(n int, load time.Duration, f fleet.Fault) fleet.World {
	return fleet.World{Devices: n, Proxies: 4, Load: load, Fault: f, Order: p.order, Turning: p.turning, Rules: outbound.Rules{Spread: p.spread}, Seed: 1}
}

func write(w io.Writer, n int) (plot []byte) {
	const load = 500 * time.Second
	fmt.Fprintf(w, `# A fleet and its proxies

Written by `+"`make fleet`"+` (internal/lab/fleet), which links the agent's own policy,
`+"`outbound.Policy`"+`, one for each line, on virtual time. Four proxies, one of which dies.
A proxy takes C messages a second, lets others wait in a queue of 4 s and drops the
rest; a registration is two messages; 50 ms there and back; keep-alive every 30 s;
registrations of an hour. Keep-alives and probes are answered by a proxy's edge, even
when it is overwhelmed, unless a row says that they wait in its queue.

What decides is the number of devices N for what one proxy takes, **N/C**, not N. At
N/C = 500 s a million devices share four proxies of 2000 messages a second each.

![Lines without service](fleet.svg)

## How to choose

`)
	fmt.Fprint(w, advice)
	recommend(w)
	fmt.Fprintf(w, `
## What each choice does

N = %d, N/C = 500 s. Back: when half, 90 %%, 99 %% and all of the lines that lost their
service had it again. Peak: REGISTERs in the worst second at the worst proxy, over C.
Messages: REGISTERs for each line that lost its service; probes: OPTIONS; questions: to
DNS, because the ring came round.

`, n)
	header(w)
	var worlds []fleet.World
	for _, f := range []fleet.Fault{fleet.Silent, fleet.Reset} {
		for _, p := range policies {
			worlds = append(worlds, p.world(n, load, f))
		}
	}
	var curves []curve
	for i, r := range all(worlds) {
		p := policies[i%len(policies)]
		row(w, r.Fault.String(), p.name, r)
		if r.Fault == fleet.Silent {
			curves = append(curves, curve{p.name, p.colour, r})
		}
	}

	spread := policies[4]
	boot := spread.world(n, load, fleet.Power)
	boot.BootSpread = 300 * time.Second
	shed, shedBoot := spread.world(n, load, fleet.Silent), spread.world(n, load, fleet.Power)
	shed.RetryAfter, shedBoot.RetryAfter = 15*time.Second, 15*time.Second
	fmt.Fprintf(w, "\n## Other days of the same fleet (spread, 30 s)\n\n")
	header(w)
	queued := spread.world(n, load, fleet.Silent)
	queued.AskCost = 0.01
	notes := []string{"keep-alives in the queue, cost 1/100", "N/C = 50 s", "N/C = 50 s", "N/C = 2000 s", "N/C = 2000 s", "503, Retry-After always 15 s", "503, Retry-After always 15 s", "boot_spread 300 s", ""}
	for i, r := range all([]fleet.World{
		queued,
		spread.world(n, 50*time.Second, fleet.Silent), spread.world(n, 50*time.Second, fleet.Reset),
		spread.world(n, 2000*time.Second, fleet.Silent), spread.world(n, 2000*time.Second, fleet.Reset),
		shed, shedBoot, boot, spread.world(n, load, fleet.AllFell),
	}) {
		row(w, r.Fault.String(), notes[i], r)
	}
	fmt.Fprintf(w, `
All silent counts from the beginning of the ten minutes.

## The ratio decides

| N | C | 50 %% | 90 %% | 99 %% | all |
| --: | --: | --: | --: | --: | --: |
`)
	for _, r := range append(all([]fleet.World{spread.world(n/100, load, fleet.Silent), spread.world(n/10, load, fleet.Silent)}), curves[4].Result) {
		fmt.Fprintf(w, "| %d | %g | %s | %s | %s | %s |\n", r.Devices, float64(r.Devices)/load.Seconds(), seconds(r.Back[0]), seconds(r.Back[1]), seconds(r.Back[2]), seconds(r.Back[3]))
	}
	return draw(curves)
}

// all runs worlds, as many at once as there are processors.
func all(worlds []fleet.World) []fleet.Result {
	results := make([]fleet.Result, len(worlds))
	free := make(chan struct{}, runtime.NumCPU())
	var running sync.WaitGroup
	for i, w := range worlds {
		free <- struct{}{}
		running.Go(func() {
			results[i] = fleet.Run(w)
			<-free
		})
	}
	running.Wait()
	return results
}

func header(w io.Writer) {
	fmt.Fprint(w, "| fault | order, failover_spread | 50 % | 90 % | 99 % | all | peak | messages | probes | questions |\n| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n")
}

func row(w io.Writer, fault, name string, r fleet.Result) {
	fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %.1f | %.1f | %.1f | %.3f |\n", fault, name,
		seconds(r.Back[0]), seconds(r.Back[1]), seconds(r.Back[2]), seconds(r.Back[3]), r.Peak, r.Messages, r.Probes, r.Queries)
}

func seconds(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

const advice = `Count the devices that share the proxies, and the messages that one proxy takes in a
second (kamctl, a load test; a message that asks a database counts more than one that
does not). Set, by provisioning, for all of them:

| N/C | order | failover_spread | boot_spread |
| --: | --- | --: | --: |
| a device on its own | dns | 2 s | none |
| up to 100 s | spread | 2 s | 60 s |
| 200 s | spread | 10 s | 120 s |
| 500 s | spread | 30 s | 300 s |
| 1000 s | spread | 300 s | 600 s |
| 2000 s | spread | 600 s, and registrations of three hours | 1200 s |

Where the order must be that of DNS, choose the column below. It costs a multiple of
the time: all lines whose proxy died arrive at the same next one. A name server that
turns its answers round is better than one that does not, and spread is better than either.

A failover_spread of more than 4 s also tells a device that it is one of many: it is
given 20 s before it calls a proxy dead, waits its turn for 30 s at the one it comes to,
asks for signs of life no oftener than once in a spread, and goes back within 20 spreads. A
receiver that is lifted waits for none of this.

Two things to know. Registrations that end after an hour are renewed by everybody all
the time: at N/C = 2000 s that alone is a third of what the proxies can take, nearly half
when one is dead, and the crowd disperses slowly. And who answers OPTIONS from the same
queue as REGISTER loses keep-alives when it is full; the 20 s are for that. Where a
keep-alive costs more than a fiftieth of a REGISTER, ask less often or by CRLF.

`

// sample is how many lines are enough to choose by.
const sample = 5000

// recommend finds the best failover_spread for each ratio: the shortest that is
// no more than a tenth worse than the best.
func recommend(w io.Writer) {
	const s = time.Second
	fmt.Fprint(w, "99 % of the lines that lost their service had it again after so long, a proxy fallen silent.\nBold: the shortest failover_spread that is within a tenth of the best.\n")
	spreads := []time.Duration{2 * s, 10 * s, 30 * s, 60 * s, 120 * s, 300 * s, 600 * s}
	for _, p := range []policy{{name: `order = "spread"`, order: outbound.OrderSpread}, {name: `order = "dns"`}, {name: `order = "dns", where the name server turns its answer round`, turning: true}} {
		fmt.Fprintf(w, "\n%s\n\n| N/C |", p.name)
		for _, d := range spreads {
			fmt.Fprintf(w, " %.0f s |", d.Seconds())
		}
		fmt.Fprint(w, "\n| --: |")
		for range spreads {
			fmt.Fprint(w, " --: |")
		}
		fmt.Fprintln(w)
		for _, load := range []time.Duration{10 * s, 50 * s, 100 * s, 200 * s, 500 * s, 1000 * s, 2000 * s} {
			var worlds []fleet.World
			for _, p.spread = range spreads {
				worlds = append(worlds, p.world(sample, load, fleet.Silent))
			}
			best, t99 := time.Duration(-1), make([]time.Duration, len(spreads))
			for i, r := range all(worlds) {
				t99[i] = r.Back[2]
				if t99[i] >= 0 && (best < 0 || t99[i] < best) {
					best = t99[i]
				}
			}
			fmt.Fprintf(w, "| %.0f s |", load.Seconds())
			marked := false
			for _, t := range t99 {
				text := seconds(t)
				if !marked && t >= 0 && t <= best+best/10 {
					marked, text = true, "**"+text+"**"
				}
				fmt.Fprintf(w, " %s |", text)
			}
			fmt.Fprintln(w)
		}
	}
}
