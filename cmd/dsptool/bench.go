package main

import (
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/ata-agent/ata-agent/internal/media/dtmf"
	"github.com/ata-agent/ata-agent/internal/media/echo"
	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/tone"
)

var benchCommands = []command{{
	name: "bench", args: "call N [SECONDS]",
	short: "carries the sound of N calls, as fast as it goes, and says what that costs",
	long: `
Each call is what a cord does every 10 ms: cancel the echo with 128
taps, listen for keys, code, decode out of the jitter buffer, conceal 1 % of the packets, mix a tone. SECONDS of sound, 10
unless said. To count instructions: valgrind --tool=callgrind dsptool bench
call 1, or qemu-mipsel with a counting plugin.`,
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
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = newCall()
	}
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

// A call is both ways of one, joined in the middle.
type call struct {
	listener
	keys  dtmf.Detector
	echo  echo.Canceller
	mouth tone.Player
	ear   tone.Player
	said  [jitter.Pull]int16
	tone  [jitter.Pull]int16
	code  [2 * jitter.Pull]byte
	p     jitter.Packet
}

func newCall() *call {
	c := &call{}
	c.mouth.Play(tone.Tone{Steps: []tone.Step{{Hz: [4]uint16{210, 430, 1500}, AM: 4}}, Level: -20})
	c.ear.Play(tone.Usual(tone.CallWaiting))
	return c
}

func (c *call) frame(i int) {
	c.mouth.Read(c.said[:])
	for k, x := range c.tone { // what was played comes back, 12 dB softer
		c.said[k] += x >> 2
	}
	c.echo.Cancel(c.said[:], c.tone[:], c.said[:])
	c.keys.Hear(c.said[:])
	g711.A.Encode(c.code[i%2*jitter.Pull:], c.said[:])
	if i%2 == 1 {
		c.p.Kind, c.p.Data = sound, c.code[:]
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
	c.ear.Read(c.tone[:])
	for k := range c.tone {
		c.tone[k] = int16(min(max(int32(c.tone[k])+int32(c.left[k]), -32768), 32767))
	}
	c.n = copy(c.left[:], c.left[jitter.Pull:c.n])
}
