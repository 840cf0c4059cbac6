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
	for k := 1; float64(k)*pull < float64(n.seconds*8000); k++ {
		now := phase + float64(k)*pull
		for len(in) > 0 && in[0].at <= now {
			b.Put(in[0].p)
			in = in[1:]
		}
		play := b.play
		b.Get(&f)
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
		{"nothing happens", network{}, 0, 46, 60},
		{"10 ms packets", network{ptime: 80}, 0, 36, 50},
		{"60 ms packets", network{ptime: 480}, 0, 86, 100},
		{"jitter 10 ms", network{delay: uniform(10)}, 0.05, 56, 75},
		{"jitter 20 ms", network{delay: uniform(20)}, 0.05, 66, 90},
		{"jitter 60 ms", network{delay: uniform(60)}, 0.3, 110, 140},
		{"loss 1 %", network{lose: func(int) bool { return r.IntN(100) == 0 }}, 1.5, 50, 80},
		{"loss 5 %", network{lose: func(int) bool { return r.IntN(20) == 0 }}, 6, 60, 90},
		{"loss in bursts of 3", network{lose: func(i int) bool { return i%100 < 3 }}, 3.3, 75, 110},
		{"jitter 40 ms, loss 3 %", network{delay: uniform(40), lose: func(int) bool { return r.IntN(33) == 0 }}, 4, 95, 130},
		{"every packet twice", network{twice: func(int) bool { return true }}, 0, 46, 60},
		{"neighbours swapped", network{delay: func(i int) float64 { return float64(i%2) * 200 }}, 0.5, 80, 100},
		{"crystals 100 ppm apart", network{drift: 100, seconds: 600}, 0.01, 46, 60},
		{"crystals -100 ppm apart", network{drift: -100, seconds: 600}, 0.01, 46, 60},
		{"crystals 500 ppm apart, jitter 10 ms", network{drift: 500, seconds: 300, delay: uniform(10)}, 0.05, 60, 75},
		{"a spike of 150 ms each 20 s", network{delay: func(i int) float64 {
			if d := 1200 - float64(i%1000)*160; d > 0 {
				return d
			}
			return 0
		}}, 0.9, 130, 200},
		{"timestamps wrap", network{ts: math.MaxUint32 - 80000, seq: 65000}, 0, 46, 60},
		{"sequence begins anew", network{edit: func(i int, p *Packet) {
			if i > 700 {
				p.Seq += 20000
			}
		}}, 0, 46, 60},
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
		{"silence of 1 s is not sent", nil, func(i int) bool { return i >= 100 && i < 150 }, 2, 0, 750},
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
			b.Get(&f)
			if f.N < Pull-4 || f.N > MaxFrame {
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
		b.Get(&f)
		b.Get(&f)
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
		buf.Get(&f)
		buf.Get(&f)
	}
}
