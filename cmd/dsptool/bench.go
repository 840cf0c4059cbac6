package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/echo"
	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/probe"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var benchCommands = []command{{
	name: "bench", args: "call N [SECONDS]",
	short: "carries the sound of N calls, as fast as it goes, and says what that costs",
	long: `
Each call is what a cord does every 10 ms: cancel the echo of a telephone with
128 taps, listen for keys and for faxes, code, take a packet in 50, lose one in 100, decode,
conceal, mix a tone that comes now and then. Both ends speak most of the time,
often at once. SECONDS of sound, 10 unless said. What it costs in instructions,
make cost counts.`,
	run: runBench,
}}

func runBench(args []string, s std) error {
	if len(args) < 2 || len(args) > 3 || args[0] != "call" {
		return wrong("want call and a number")
	}
	seconds := 10
	n, err := strconv.Atoi(args[1])
	if err == nil && len(args) == 3 {
		seconds, err = strconv.Atoi(args[2])
	}
	if err != nil || n < 1 || seconds < 1 {
		return wrong("want whole numbers above 0")
	}
	here, there := babble(1, 110), babble(2, 190)
	code := make([]byte, len(there))
	g711.Mu.Encode(code, there)
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = newCall(here, code)
	}
	runtime.GC() // what one that is at work allocates is not the calls'
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for i := range seconds * 100 {
		for _, c := range calls {
			c.frame(i)
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	frames := time.Duration(n * seconds * 50)
	fmt.Fprintf(s.out, "%d calls, %d s of sound: %v for 20 ms of each, %.2f %% of this processor; %d allocations\n",
		n, seconds, took/frames, 100*float64(took)/float64(frames)/float64(20*time.Millisecond), after.Mallocs-before.Mallocs)
	return nil
}

// A call is one end of it, as a cord has it: a telephone whose line throws back
// what its ear hears, and somebody far away.
type call struct {
	listener
	keys dtmf.Detector
	ends [2]probe.Probe
	echo echo.Canceller
	ear  tone.Player

	said [jitter.Pull]int16 // the mouth, with the echo
	mix  [jitter.Pull]int16 // the ear
	code [jitter.Pull]byte
	p    jitter.Packet

	here  []int16 // what both ends say, over and over
	there []byte
	at    int
}

func newCall(here []int16, there []byte) *call {
	c := &call{p: jitter.Packet{SSRC: 1, Kind: sound}, here: here, there: there}
	c.ear.Play(tone.Usual(tone.CallWaiting))
	return c
}

func (c *call) frame(i int) {
	copy(c.said[:], c.here[c.at:])
	for k, x := range c.mix { // what was played comes back, 12 dB softer
		c.said[k] += x >> 2
	}
	c.ends[0].Hear(c.said[:])
	c.echo.Cancel(c.said[:], c.mix[:], c.said[:])
	c.keys.Hear(c.said[:])
	g711.Mu.Encode(c.code[:], c.said[:])

	if i%2 == 1 {
		c.p.Data = c.there[c.at-jitter.Pull:][:2*jitter.Pull]
		if c.p.Seq%100 != 99 {
			c.buffer.Put(c.p)
		}
		c.p.Seq++
		c.p.Time += 2 * jitter.Pull
	}
	period := 0
	if most := c.buffer.Moves(); most > 0 {
		period = c.conceal.Period(most)
	}
	c.buffer.Get(&c.listener.frame, max(0, jitter.Pull-c.n), period)
	c.decode()
	c.ends[1].Hear(c.left[:jitter.Pull])
	c.ear.Read(c.mix[:])
	for k := range c.mix {
		c.mix[k] = int16(min(max(int32(c.mix[k])+int32(c.left[k]), -32768), 32767))
	}
	c.n = copy(c.left[:], c.left[jitter.Pull:c.n])
	if c.at += jitter.Pull; c.at == len(c.here) {
		c.at = 0
	}
}

// babble is 10 s of what has the rhythm, the pitch and the formants of a voice,
// near -20 dBm0 while it speaks, and a room's noise at -58. It is made of
// integers, so that it costs little beside the calls.
func babble(seed uint64, pitch int) []int16 {
	r := rand.New(rand.NewPCG(seed, 1))
	s := make([]int16, 80000)
	var y, was [3]int32
	for from := 0; from < len(s); {
		long := 800 + r.IntN(1600) // a syllable
		hz := [3]int{300 + r.IntN(500), 900 + r.IntN(1400), 2300 + r.IntN(800)}
		var bend, sharp [3]int32 // of a formant, Q14
		for k, f := range hz {
			const radius = 0.96
			bend[k] = int32(math.Round(32768 * radius * math.Cos(2*math.Pi*float64(f)/8000)))
			sharp[k] = int32(math.Round(16384 * radius * radius))
		}
		kind, loud, next := r.IntN(8), int32(50+r.IntN(100)), 0
		for i := range min(long, len(s)-from) {
			x := int32(0)
			switch {
			case kind < 2: // a pause
			case kind == 2: // a hiss
				x = int32(r.IntN(801) - 400)
			default:
				if next--; next < 0 {
					next = 40000 / (pitch * (5 + i/long))
					x = 3000
				}
			}
			x = x * loud / 100 * int32(min(i, long-i, 160)) / 160
			for k := range y {
				y[k], was[k] = x+(bend[k]*y[k]-sharp[k]*was[k])>>14, y[k]
				x = y[k]
			}
			s[from+i] = int16(min(max(x+int32(r.IntN(71)-35), -32768), 32767))
		}
		from += long
	}
	return s
}
