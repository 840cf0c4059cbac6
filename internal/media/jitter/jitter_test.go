package jitter

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const voice = First

// A network is what happens to a stream between its sender and a Buffer.
type network struct {
	delay   func(i int) float64 // ticks that packet i takes
	lose    func(i int) bool
	twice   func(i int) bool
	ptime   int     // ticks per packet; 160 if 0
	drift   float64 // of the puller's clock against the sender's, 10^-6
	seconds int
	ts      uint32 // of the first packet
	seq     uint16
	edit    func(i int, p *Packet) // a last change
	period  int                    // of the voice; 0 has none
	phase   float64                // ticks between the sender's clock and the puller's; 0 is any
}

// A result is what was heard.
type result struct {
	heard, lost, quiet int // ticks
	wrong              int // ticks out of order
	delay              float64
	maxDelay           float64 // ticks between being sent and being heard
	stats              Stats
}

// run plays a stream of codes that count ticks and checks their order.
func (n network) run(r *rand.Rand) (res result) {
	if n.ptime == 0 {
		n.ptime = 160
	}
	type arrival struct {
		at float64
		p  Packet
	}
	var in []arrival
	data := func(ts uint32) []byte {
		d := make([]byte, n.ptime)
		for i := range d {
			d[i] = byte(ts + uint32(i))
		}
		return d
	}
	for i := range n.seconds * 8000 / n.ptime {
		if n.lose != nil && n.lose(i) {
			continue
		}
		ts := n.ts + uint32(i*n.ptime)
		p := Packet{SSRC: 1, Seq: n.seq + uint16(i), Time: ts, Kind: voice, Data: data(ts)}
		if n.edit != nil {
			n.edit(i, &p)
		}
		at := float64((i + 1) * n.ptime)
		d := 0.0
		if n.delay != nil {
			d = n.delay(i)
		}
		in = append(in, arrival{at + d, p})
		if n.twice != nil && n.twice(i) {
			in = append(in, arrival{at + d + 3, p})
		}
	}
	slices.SortStableFunc(in, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })

	var b Buffer
	var f Frame
	pull := 80 * (1 + n.drift*1e-6)
	last, sure := byte(0), false
	var sum float64
	phase := r.Float64() * 80
	if n.phase != 0 {
		phase = n.phase
	}
	left := 0 // ticks that are stretched already but not heard
	for k := 1; float64(k)*pull < float64(n.seconds*8000); k++ {
		now := phase + float64(k)*pull
		for len(in) > 0 && in[0].at <= now {
			in[0].p.After = uint8(min(79, max(0, in[0].at-now+pull)))
			b.Put(in[0].p)
			in = in[1:]
		}
		period := 0
		if b.Moves() > 0 {
			if period = n.period; k%300 < 50 {
				period = -80 // a pause of half a second in three
			}
		}
		play := b.play - uint32(left)
		b.Get(&f, Pull-min(left, Pull), period)
		left += f.Out - Pull
		for i := range f.N {
			switch f.Kind[i] {
			case Lost:
				res.lost++
				sure = false
			case Quiet:
				res.quiet++
				sure = false
			case voice:
				res.heard++
				if sure && f.Code[i] != last+1 {
					res.wrong++
				}
				last, sure = f.Code[i], true
			}
		}
		if b.on && k > 1000 {
			d := now - float64(int32(play-n.ts))
			sum += d
			res.maxDelay = max(res.maxDelay, d)
			res.delay = sum / float64(k-1000)
		}
	}
	res.stats = b.Stats()
	return res
}

func share(part int, r result) float64 { return 100 * float64(part) / float64(r.heard+r.lost) }

func TestNetworks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	uniform := func(ms float64) func(int) float64 { return func(int) float64 { return r.Float64() * ms * 8 } }
	for _, row := range []struct {
		name     string
		n        network
		lost     float64 // percent at most
		delay    float64 // mean, ms at most, packetisation of 20 ms included
		maxDelay float64 // ms
	}{
		{"nothing happens", network{}, 0, 31, 36},
		{"10 ms packets", network{ptime: 80}, 0, 21, 30},
		{"60 ms packets", network{ptime: 480}, 0, 71, 80},
		{"jitter 10 ms", network{delay: uniform(10)}, 0.05, 41, 55},
		{"jitter 20 ms", network{delay: uniform(20)}, 0.3, 51, 70},
		{"jitter 60 ms", network{delay: uniform(60)}, 0.5, 91, 120},
		{"loss 1 %", network{lose: func(int) bool { return r.IntN(100) == 0 }}, 1.5, 35, 60},
		{"loss 5 %", network{lose: func(int) bool { return r.IntN(20) == 0 }}, 6, 40, 90},
		{"loss in bursts of 3", network{lose: func(i int) bool { return i%100 < 3 }}, 3.3, 45, 110},
		{"jitter 40 ms, loss 3 %", network{delay: uniform(40), lose: func(int) bool { return r.IntN(33) == 0 }}, 4, 72, 100},
		{"every packet twice", network{twice: func(int) bool { return true }}, 0, 31, 36},
		{"neighbours swapped", network{delay: func(i int) float64 { return float64(i%2) * 200 }}, 0.5, 60, 80},
		{"crystals 200 ppm apart", network{drift: 200, seconds: 600}, 0.01, 31, 36},
		{"crystals -200 ppm apart", network{drift: -200, seconds: 600}, 0, 31, 36},
		{"crystals -50 ppm apart", network{drift: -50, seconds: 600}, 0, 31, 36},
		{"crystals -200 ppm apart, jitter 1 ms", network{drift: -200, seconds: 600, delay: uniform(1)}, 0, 32, 37},
		{"crystals -200 ppm apart, jitter 20 ms", network{drift: -200, seconds: 600, delay: uniform(20)}, 0.3, 51, 56},
		{"crystals 500 ppm apart, jitter 10 ms", network{drift: 500, seconds: 300, delay: uniform(10)}, 0.05, 42, 55},
		{"a spike of 150 ms each 20 s", network{delay: func(i int) float64 {
			if d := 1200 - float64(i%1000)*160; d > 0 {
				return d
			}
			return 0
		}}, 0.9, 60, 200},
		{"timestamps wrap", network{ts: math.MaxUint32 - 80000, seq: 65000}, 0, 31, 36},
		{"sequence begins anew", network{edit: func(i int, p *Packet) {
			if i > 700 {
				p.Seq += 20000
			}
		}}, 0, 31, 36},
	} {
		if row.n.seconds == 0 {
			row.n.seconds = 120
		}
		got := row.n.run(r)
		t.Logf("%-38s lost %5.2f %%, delay %5.1f ms, at most %5.1f; %+v", row.name, share(got.lost, got), got.delay/8, got.maxDelay/8, got.stats)
		if s := share(got.lost, got); s > row.lost {
			t.Errorf("%s: %.2f %% lost, want at most %v", row.name, s, row.lost)
		}
		if got.delay/8 > row.delay {
			t.Errorf("%s: mean delay %.1f ms, want at most %v", row.name, got.delay/8, row.delay)
		}
		if got.maxDelay/8 > row.maxDelay {
			t.Errorf("%s: delay up to %.1f ms, want at most %v", row.name, got.maxDelay/8, row.maxDelay)
		}
		if got.wrong > int(got.stats.Resyncs) {
			t.Errorf("%s: %d ticks out of order", row.name, got.wrong)
		}
		if got.stats.Resyncs > 1 {
			t.Errorf("%s: began anew %d times", row.name, got.stats.Resyncs)
		}
	}
}

// From packet in to the same sample out, 20 ms of packet included: at most
// 30, 44 and 90 ms at a jitter of 0, 20 and 60 ms, and 65 at 40. The sender's
// frames and ours stand in any phase to each other, which is worth 10 ms, and
// a frame can be fetched no earlier: 40 ms of jitter and packet are 40 to 50
// here, the bar is for the lower half of the phases.
func TestDelay(t *testing.T) {
	const phases = 20
	for _, row := range []struct{ jitter, delay, lost float64 }{{0, 30, 0}, {20, 45, 0.3}, {40, 65, 0.5}, {60, 90, 0.7}} {
		r := rand.New(rand.NewPCG(1, uint64(row.jitter)))
		var sum, lost, least, most float64
		least = 1000
		for i := range phases {
			got := network{
				seconds: 60, period: 60, phase: (float64(i) + 0.5) * 80 / phases,
				delay: func(int) float64 { return r.Float64() * row.jitter * 8 },
			}.run(r)
			d := got.delay / 8
			sum, least, most = sum+d, min(least, d), max(most, d)
			lost += share(got.lost, got)
		}
		t.Logf("jitter %2.0f ms: delay %.1f ms (%.1f to %.1f), bar %.1f; %.2f %% concealed, bar %.1f", row.jitter, sum/phases, least, most, row.delay, lost/phases, row.lost)
		if sum/phases > row.delay {
			t.Errorf("jitter %.0f ms: mean delay %.1f ms, want at most %.1f", row.jitter, sum/phases, row.delay)
		}
		if lost/phases > row.lost {
			t.Errorf("jitter %.0f ms: %.2f %% concealed, want at most %.1f", row.jitter, lost/phases, row.lost)
		}
	}
}

// What a stream may do that is no packet loss.
func TestJumps(t *testing.T) {
	for _, row := range []struct {
		name    string
		edit    func(i int, p *Packet)
		lose    func(i int) bool
		resyncs uint32
		strays  uint32
		quiet   int // ms at least
	}{
		{"SSRC changes", func(i int, p *Packet) {
			if i >= 100 {
				p.SSRC, p.Time, p.Seq = 2, p.Time+1e6, p.Seq+777
			}
		}, nil, 2, 0, 0},
		{"timestamp jumps ahead", func(i int, p *Packet) {
			if i >= 100 {
				p.Time += 1e6
			}
		}, nil, 2, 0, 0},
		{"timestamp jumps back", func(i int, p *Packet) {
			if i >= 100 {
				p.Time -= 1e6
			}
		}, nil, 2, 0, 0},
		{"both begin anew", func(i int, p *Packet) {
			if i >= 100 {
				p.Time, p.Seq = p.Time-1e6, p.Seq+30000
			}
		}, nil, 2, 2, 0},
		{"one stray", func(i int, p *Packet) {
			if i == 100 {
				p.Time, p.Seq = p.Time-1e6, p.Seq+30000
			}
		}, nil, 1, 1, 0},
		{"silence of 1 s is not sent", nil, func(i int) bool { return i >= 100 && i < 150 }, 1, 0, 750},
		{"a pause of 120 ms, as a digit makes", nil, func(i int) bool { return i >= 100 && i < 106 }, 1, 0, 0},
	} {
		got := network{edit: row.edit, lose: row.lose, seconds: 10}.run(rand.New(rand.NewPCG(1, 1)))
		if got.stats.Resyncs != row.resyncs || got.stats.Strays != row.strays {
			t.Errorf("%s: began anew %d times, want %d; %d strays, want %d", row.name, got.stats.Resyncs, row.resyncs, got.stats.Strays, row.strays)
		}
		if got.heard < 9*8000*9/10 {
			t.Errorf("%s: heard %d ms of 10 s", row.name, got.heard/8)
		}
		if got.quiet/8 < row.quiet {
			t.Errorf("%s: %d ms quiet, want %d", row.name, got.quiet/8, row.quiet)
		}
	}
}

// A sender that says nothing in its pauses sends the next packet with the next
// number and a later time: that is no loss, and the delay stays.
func TestPauses(t *testing.T) {
	var b Buffer
	var f Frame
	p := Packet{Kind: voice, Data: make([]byte, 160)}
	var heard, lost, quiet, wait int
	for k := range 6000 { // of 10 ms; 1 s of talk, 1 s of pause
		if k%2 == 0 && k/100%2 == 0 {
			p.Time = uint32(k * 80)
			b.Put(p)
			p.Seq++
		}
		b.Get(&f, Pull, 0)
		for i := range f.N {
			switch f.Kind[i] {
			case voice:
				heard++
			case Lost:
				lost++
			case Quiet:
				quiet++
			}
		}
		if f.Kind[0] == voice && k > 600 {
			wait = max(wait, k*80-int(b.play)+f.N)
		}
	}
	t.Logf("heard %d ms, quiet %d, concealed %d; at most %d ticks behind; %+v", heard/8, quiet/8, lost/8, wait, b.Stats())
	if heard < 29900*8 {
		t.Errorf("heard %d ms of 30 s", heard/8)
	}
	// The end of a talk cannot be told from a late packet for 200 ms.
	if lost > 30*MaxDelay {
		t.Errorf("%d ms concealed in 30 pauses, want at most %d", lost/8, 30*MaxDelay/8)
	}
	if s := b.Stats(); s.Resyncs != 1 || s.Late != 0 || wait > 160 {
		t.Errorf("%+v, %d ticks behind; want one beginning, none late, at most 160", s, wait)
	}
}

// What a modem hears has the same delay throughout.
func TestFixed(t *testing.T) {
	var b Buffer
	var f Frame
	p := Packet{Kind: voice, Data: make([]byte, 160)}
	r := rand.New(rand.NewPCG(4, 4))
	due := map[int][]Packet{}
	for k := range 12000 {
		if k == 1000 {
			b.Fix(800)
		}
		if k%2 == 0 {
			for i := range p.Data {
				p.Data[i] = byte(k*80 + i)
			}
			q := p
			q.Data = append([]byte(nil), p.Data...)
			if at := k + r.IntN(7); r.IntN(100) != 0 {
				due[at] = append(due[at], q)
			}
			p.Seq, p.Time = p.Seq+1, p.Time+160
		}
		for _, q := range due[k] {
			b.Put(q)
		}
		delete(due, k)
		behind := k*80 - int(b.play)
		b.Get(&f, Pull, 60)
		if f.N != Pull || f.Out != Pull {
			if k > 1000 {
				t.Fatalf("a frame of %d ticks for %d", f.N, f.Out)
			}
			continue
		}
		if k > 1020 && behind != 800 {
			t.Fatalf("frame %d: %d ticks behind, want 800", k, behind)
		}
		for i := range f.N {
			if want := byte(int(b.play) - f.N + i); k > 1020 && f.Kind[i] == voice && f.Code[i] != want {
				t.Fatalf("frame %d: tick %d is %d, want %d", k, i, f.Code[i], want)
			}
		}
	}
	s := b.Stats()
	t.Logf("%+v", s)
	if lost := float64(s.LostTicks) / (12000 * 80); s.Late > 100 || lost > 0.02 {
		t.Errorf("%d late, %.2f %% lost", s.Late, 100*lost)
	}
}

// What is forgotten is not heard, and the next packet is the first of a stream.
func TestForget(t *testing.T) {
	var b Buffer
	var f Frame
	packet := func(seq uint16) Packet {
		return Packet{Seq: seq, Time: uint32(seq) * 80, Kind: First, Data: make([]byte, 80)}
	}
	for seq := range uint16(30) {
		b.Put(packet(seq))
	}
	b.Forget()
	for range 20 {
		if b.Get(&f, Pull, 0); f.Kind[0] != Quiet {
			t.Fatal("old sound is heard")
		}
	}
	for seq := uint16(60); seq < 70; seq++ {
		b.Put(packet(seq))
		b.Get(&f, Pull, 0)
	}
	if s := b.Stats(); f.Kind[0] != First || s.Next != 69*80 || s.Delay != 80 {
		t.Errorf("%v, %+v", f.Kind[0], s)
	}
}

// Delay never grows beyond the bound, whatever comes.
func TestBound(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	var b Buffer
	var f Frame
	data := make([]byte, MaxData)
	ts, seq := uint32(0), uint16(0)
	for range 200000 {
		switch r.IntN(12) {
		case 0:
			ts = r.Uint32()
		case 1:
			seq = uint16(r.Uint32())
		case 2:
			ts += uint32(r.IntN(4000)) - 2000
		}
		n := 1 + r.IntN(MaxData)
		b.Put(Packet{Seq: seq, Time: ts, Kind: voice, Data: data[:n]})
		seq, ts = seq+1, ts+uint32(n)
		if r.IntN(3) == 0 {
			b.Get(&f, r.IntN(Pull+1), r.IntN(2*MaxPeriod)-20)
			if f.N > MaxFrame {
				t.Fatalf("a frame of %d ticks", f.N)
			}
		}
		if d := b.Stats().Delay; d > MaxDelay+MaxData {
			t.Fatalf("%d ticks in the buffer, at most %d", d, MaxDelay+MaxData)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	var b Buffer
	var f Frame
	p := Packet{Kind: voice, Data: make([]byte, 160)}
	if n := testing.AllocsPerRun(1000, func() {
		b.Put(p)
		p.Seq, p.Time = p.Seq+1, p.Time+160
		b.Get(&f, Pull, 0)
		b.Get(&f, Pull, 0)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	var buf Buffer
	var f Frame
	p := Packet{Kind: voice, Data: make([]byte, 160)}
	b.ReportAllocs()
	for b.Loop() {
		buf.Put(p)
		p.Seq, p.Time = p.Seq+1, p.Time+160
		buf.Get(&f, Pull, 0)
		buf.Get(&f, Pull, 0)
	}
}
