package main

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ata-agent/ata-agent/internal/media/g711"
	"github.com/ata-agent/ata-agent/internal/media/jitter"
	"github.com/ata-agent/ata-agent/internal/media/plc"
)

var lossCommands = []command{
	{
		name: "plc", args: "FRAME PATTERN",
		short: "loses frames of sound and conceals them",
		long: `
FRAME is the length of a frame in samples, 80 or more, or in ms if it is less.
PATTERN says of each frame in turn whether it is lost: 1 or x is, 0 or . is not,
other characters mean nothing. Begun anew when it is at its end. It may be the
name of a file with such characters, or a probability and a seed: 5% or 5%:7,
and 5%x2.5:7 for bursts of 2.5 frames in the mean. Sound is not delayed.`,
		run: runPLC,
	},
	{
		name: "jb", args: "TRACE [-ptime MS] [-fix MS] [-ppm N] [-phase MS]",
		short: "sends sound through a network and a jitter buffer",
		long: `
The sound is cut into packets of -ptime, 20 ms, which leave when their last
sample has been said and arrive as TRACE says; every 10 ms the buffer is asked
for sound. What comes out has as many samples as what went in, so that it is
later by the delay, the packet included. It is coded in mu-law between.

TRACE is a file with the delay of a packet in ms on each line, in the order they
are sent; if there is more on a line, the last number counts. A negative number
or "lost" is a packet that never comes. # begins a comment. It begins anew when
it is at its end. Or it is uniform:MS or uniform:MS:SEED, a jitter evenly from 0
to MS, with loss:PERCENT behind it if wanted: uniform:40:1:loss:3.

-fix MS  keeps a delay, as for a fax
-ppm N   makes the listener's clock slower by N millionths
-phase   is how long after a packet could have left the listener asks, 0 to 10 ms

On stderr: the delay in ms, mean and most, from being said to being heard, for
what was heard after the first 10 s, or in the second half of less than 20, and
what became of the packets.`,
		run: runJitter,
	},
}

// lossPattern says of frame i whether it is lost.
func lossPattern(text string) (func(i int) bool, error) {
	if p, seed, ok := strings.Cut(text, "%"); ok {
		percent, ok := number(p, 0, 100)
		if !ok {
			return nil, wrong("%q is no percentage", p)
		}
		burst := 1.0
		seed, n := seed, uint64(1)
		if rest, ok := strings.CutPrefix(seed, "x"); ok {
			b, s, _ := strings.Cut(rest, ":")
			v, ok := number(b, 1, 1e6)
			if !ok {
				return nil, wrong("%q is no length of a burst", b)
			}
			burst, seed = v, ":"+s
		}
		if s := strings.TrimPrefix(seed, ":"); s != "" {
			v, bad := strconv.ParseUint(s, 10, 64)
			if bad != nil {
				return nil, wrong("%q is no seed", s)
			}
			n = v
		}
		r, bad := rand.New(rand.NewPCG(n, n)), false
		return func(int) bool {
			if bad && burst > 1 {
				bad = r.Float64() > 1/burst
			} else {
				bad = r.Float64()*100 < percent/burst/(1-percent/100*(1-1/burst))
			}
			return bad
		}, nil
	}
	if strings.Trim(text, "01xX.") != "" {
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, wrong("%q is neither a pattern of 0 and 1 nor a file with one", text)
		}
		text = string(b)
	}
	var lost []bool
	for _, c := range text {
		switch c {
		case '1', 'x', 'X':
			lost = append(lost, true)
		case '0', '.':
			lost = append(lost, false)
		}
	}
	if len(lost) == 0 {
		return nil, wrong("no 0 or 1 in the pattern")
	}
	return func(i int) bool { return lost[i%len(lost)] }, nil
}

func runPLC(args []string, s std) error {
	if len(args) != 2 {
		return wrong("want a frame and a pattern")
	}
	n, err := strconv.Atoi(strings.TrimSuffix(args[0], "ms"))
	if err != nil || n < 1 || n > 8000 {
		return wrong("%q is no frame", args[0])
	}
	if n < 80 || strings.HasSuffix(args[0], "ms") {
		n *= 8
	}
	lost, err := lossPattern(args[1])
	if err != nil {
		return err
	}
	var c plc.Concealer
	i := 0
	return each(s.in, n, func(x []int16) error {
		if lost(i) {
			c.Lost(x)
		} else {
			c.Good(x)
		}
		i++
		return write(s.out, x)
	})
}

// trace says what delay packet i has, in ticks; false is that it never comes.
type trace func(i int) (float64, bool)

func readTrace(text string) (trace, error) {
	if rest, ok := strings.CutPrefix(text, "uniform:"); ok {
		return uniform(rest)
	}
	b, err := os.ReadFile(text)
	if err != nil {
		return nil, wrong("trace: %v", err)
	}
	var delays []float64
	for i, line := range strings.Split(string(b), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t,;\r", r) })
		if len(f) == 0 {
			continue
		}
		d := -1.0
		if last := f[len(f)-1]; !strings.EqualFold(last, "lost") {
			var ok bool
			if d, ok = number(last, -1e6, 1e6); !ok {
				return nil, wrong("trace: line %d: %q is no delay in ms", i+1, last)
			}
		}
		delays = append(delays, d)
	}
	if len(delays) == 0 {
		return nil, wrong("trace: %s has no line with a delay", text)
	}
	return func(i int) (float64, bool) {
		d := delays[i%len(delays)]
		return d * 8, d >= 0
	}, nil
}

func uniform(text string) (trace, error) {
	f := strings.Split(text, ":")
	ms, ok := number(f[0], 0, 1e6)
	if !ok {
		return nil, wrong("uniform:%s: %q is no jitter in ms", text, f[0])
	}
	seed, loss := uint64(1), 0.0
	for i := 1; i < len(f); i++ {
		switch {
		case f[i] == "loss" && i+1 < len(f):
			i++
			if loss, ok = number(f[i], 0, 100); !ok {
				return nil, wrong("uniform:%s: %q is no percentage", text, f[i])
			}
		default:
			v, err := strconv.ParseUint(f[i], 10, 64)
			if seed = v; err != nil {
				return nil, wrong("uniform:%s: %q is no seed", text, f[i])
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	return func(int) (float64, bool) { return r.Float64() * ms * 8, r.Float64()*100 >= loss }, nil
}

func runJitter(args []string, s std) error {
	f := set("jb")
	ptime, fix := f.Int("ptime", 20, ""), f.Int("fix", 0, "")
	ppm, phase := f.Float64("ppm", 0, ""), f.Float64("phase", 0, "")
	words, err := options(f, args)
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return wrong("want one trace")
	}
	if *ptime < 10 || *ptime > 60 || *ptime%10 != 0 {
		return wrong("a packet of %d ms: want 10 to 60", *ptime)
	}
	switch {
	case *fix < 0 || *fix > jitter.MaxDelay/8:
		return wrong("a delay of %d ms: want up to %d", *fix, jitter.MaxDelay/8)
	case !(*phase >= 0 && *phase <= 10):
		return wrong("a phase of %v ms: want 0 to 10", *phase)
	case !(math.Abs(*ppm) <= 10000):
		return wrong("a clock slower by %v millionths: want up to 10000", *ppm)
	}
	delay, err := readTrace(words[0])
	if err != nil {
		return err
	}
	in, err := all(s.in)
	if err != nil {
		return err
	}
	l := listener{pull: 80 * (1 + *ppm*1e-6), phase: *phase * 8}
	l.buffer.Fix(*fix * 8)
	return l.listen(packets(in, *ptime*8, delay), len(in), s)
}

// An arrival is a packet and when it comes, in ticks.
type arrival struct {
	at float64
	p  jitter.Packet
}

// sound is the kind of a tick of mu-law.
const sound = jitter.First

func packets(in []int16, n int, delay trace) (list []arrival) {
	for i := 0; (i+1)*n <= len(in); i++ {
		d, ok := delay(i)
		if !ok {
			continue
		}
		data := make([]byte, n)
		g711.Mu.Encode(data, in[i*n:(i+1)*n])
		list = append(list, arrival{float64((i+1)*n) + d, jitter.Packet{SSRC: 1, Seq: uint16(i), Time: uint32(i * n), Kind: sound, Data: data}})
	}
	slices.SortStableFunc(list, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	return list
}

// A listener is the receiving end of a call, as package rtp has it.
type listener struct {
	buffer  jitter.Buffer
	conceal plc.Concealer
	pull    float64 // ticks between two frames
	phase   float64

	frame jitter.Frame
	pcm   [jitter.MaxFrame]int16
	left  [jitter.Pull + jitter.MaxFrame]int16
	n     int // samples in left
}

func (l *listener) listen(list []arrival, samples int, s std) error {
	count := len(list)
	var sum, most float64
	frames, concealed, heard := 0, 0, 0
	for k := 0; k*jitter.Pull < samples; k++ {
		now := l.phase + float64(k)*l.pull
		for len(list) > 0 && list[0].at <= now {
			list[0].p.After = uint8(min(max(list[0].at-now+l.pull, 0), jitter.Pull-1))
			l.buffer.Put(list[0].p)
			list = list[1:]
		}
		period := 0
		if most := l.buffer.Moves(); most > 0 {
			period = l.conceal.Period(most)
		}
		before := l.n
		l.buffer.Get(&l.frame, max(0, jitter.Pull-l.n), period)
		here, lost := l.decode()
		concealed, heard = concealed+lost, heard+here+lost
		if k >= min(1000, samples/jitter.Pull/2) && here > 0 && here == l.frame.N {
			d := (now - float64(int32(l.buffer.Stats().Next)-int32(here)) + float64(before)) / 8
			sum, most, frames = sum+d, max(most, d), frames+1
		}
		if err := write(s.out, l.left[:jitter.Pull]); err != nil {
			return err
		}
		l.n = copy(l.left[:], l.left[jitter.Pull:l.n])
	}
	st := l.buffer.Stats()
	delay := "nothing heard"
	if frames > 0 {
		delay = fmt.Sprintf("delay %.1f ms, at most %.1f", sum/float64(frames), most)
	}
	fmt.Fprintf(s.errs, "%s; %d packets, %d late, %d began anew; concealed %.2f %%, left out %d ms, heard twice %d ms\n",
		delay, count, st.Late, st.Resyncs, 100*float64(concealed)/float64(max(heard, 1)), st.Cut/8, st.Repeated/8)
	return nil
}

// decode puts the frame behind what is left; it returns how many ticks of it
// had come, and how many were concealed.
func (l *listener) decode() (here, concealed int) {
	for i := 0; i < l.frame.N; {
		j := i + 1
		for j < l.frame.N && l.frame.Kind[j] == l.frame.Kind[i] {
			j++
		}
		out := l.pcm[i:j]
		switch l.frame.Kind[i] {
		case sound:
			g711.Mu.Decode(out, l.frame.Code[i:j])
			l.conceal.Good(out)
			here += len(out)
		case jitter.Lost:
			l.conceal.Lost(out)
			concealed += len(out)
		default:
			clear(out)
			l.conceal.Good(out)
		}
		i = j
	}
	l.conceal.Fit(l.left[l.n:l.n+l.frame.Out], l.pcm[:l.frame.N])
	l.n += l.frame.Out
	return here, concealed
}
