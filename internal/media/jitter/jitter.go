// Package jitter puts packets of sound back into the order and the pace they
// were sent in.
//
// Its one idea: a Buffer is a ring of ticks, one code of 1/8000 s each, laid
// out by RTP timestamp. A packet falls where its timestamp says, whatever
// order it comes in; a finger moves along, 80 ticks every 10 ms; what is
// missing under the finger is lost. The finger's distance from what arrives
// is the only thing that adapts, and it is known without any clock: a packet
// that falls 30 ticks ahead of the finger had 30 ticks to spare.
//
//	 heard ◀── finger ──── spare ────▶ packet
//	───────────┼──────────────────────┼▓▓▓▓▓▓▓▓▓▓┼───▶ RTP time
//	                                             end
//
// The finger should stand where all but a few of the last 200 packets find it
// just about to come: that is the least delay at which no more than 2 % are
// late. Where it stands and where it should is corrected in the way that is
// heard least:
//
//   - Nothing is left to play: the finger waits, as a late packet is likelier
//     than a lost one. When the next packet comes it goes on from where it
//     should stand. After a loss it makes up for the wait, after a pause it
//     keeps the delay there was, and where packets have become slower it stays.
//   - Whoever decodes knows a stretch that may be left out or heard twice, a
//     period of the voice or some silence: then that is done.
//   - Otherwise single ticks are left out or put in, ten in a second; so two
//     crystals that drift apart are followed too. Where packets come a little
//     later each time the finger moves before the first of them is late.
//
// A modem wants none of this: Fix holds the delay as it is for the rest of the
// call.
package jitter

// Lengths in ticks of 1/8000 s.
const (
	Tick      = 8000             // ticks in a second
	Pull      = 80               // ticks in 10 ms
	MaxPeriod = 120              // of a stretch that is cut or repeated
	MaxFrame  = Pull + MaxPeriod // of the longest Frame
	MaxDelay  = 1600             // 200 ms: beyond it, late is lost
	MaxData   = 480              // of the longest packet, 60 ms
)

// Our choices.
const (
	ring = 4096

	// How many packets decide where the finger should be: that the fifth
	// slowest of them just comes in time. Four, 2 % in 4 s of 20 ms packets,
	// are late, and each costs 10 ms of concealed sound. A delay for the sake
	// of the slowest packet in 200 costs more in a talk than a half percent
	// concealed; to wait for the few that a network holds up once in 4 s
	// is to be longer and shorter all the time. But 4 % late would be heard,
	// for half a millisecond less where jitter has a bound.
	recent  = 200
	unlucky = 5

	// A row of so many packets that were late is no accident.
	row = 2

	// The first packet waits this long, and for the first second delay is
	// not made less.
	firstLead = 80
	learned   = 50

	// After a stretch that was left out or put in, some frames stay as they
	// are; after a single tick too, which so are an eighth of a percent, or two
	// hundredths of a half tone, if packets are not late meanwhile.
	restStretch = 3
	restTick    = 9
	restLate    = 3

	// So much delay too much is left until the sound pauses.
	slack = 16

	// Two crystals are compared over 5 s of sound, if packets have less than 5 ms
	// of jitter, from a part in 40 000 on: more than that is what scheduling
	// does. 10 s before packets are late the finger begins to move, which takes
	// it 3 s.
	compared = 40000
	calm     = 40
	ahead    = 2 // times 5 s
)

// A Kind says what a tick is. Kinds from First on are the caller's: which
// codec a code belongs to.
type Kind uint8

// Kinds that the Buffer makes itself.
const (
	Lost  Kind = iota // a packet that should be here is not: conceal it
	Quiet             // nothing was sent, or nothing has come yet
	First             // and above: as it was put
)

// A Packet is what a Buffer needs to know about an RTP packet. Data has one
// byte for each tick.
type Packet struct {
	SSRC  uint32
	Seq   uint16
	Time  uint32 // RTP timestamp
	Kind  Kind
	After uint8  // ticks that it came after the last Get, 0 to 79; or 0, then drift is noticed when it is late
	Data  []byte // not kept
}

// A Frame is ticks to be heard next: N of them, that are to become Out ticks
// of sound. Where N and Out differ by 1, a tick is stretched over the frame;
// where they differ by the period that was given to Get, it is left out or heard
// twice.
type Frame struct {
	N, Out int
	Code   [MaxFrame]byte
	Kind   [MaxFrame]Kind
}

// Stats counts what became of packets and ticks.
type Stats struct {
	Late       uint32 // packets that came after their time
	Duplicates uint32
	Strays     uint32 // packets from nowhere near, dropped
	Resyncs    uint32 // new beginnings: SSRC or timestamp jumped
	LostTicks  uint32 // that were to be concealed
	Cut        uint32 // ticks left out
	Repeated   uint32 // ticks heard twice
	Heard      uint32 // packets of which something was to be heard
	Waited     uint64 // ticks from the arrival of each of those until it was due, in all
	Delay      uint32 // ticks in the buffer now
	Next       uint32 // RTP timestamp of the tick to be heard next
}

// A Buffer holds the sound of one stream. The zero Buffer is empty and adapts.
// It is not safe for concurrent use and never allocates.
type Buffer struct {
	code [ring]byte
	kind [ring]Kind // Lost where nothing is

	on    bool   // a stream is being played
	ssrc  uint32 // of it
	play  uint32 // the finger: the next tick to be heard
	end   uint32 // after the newest tick
	clock uint32 // what the finger would be if nothing ever moved it
	held  int32  // ticks that the finger has waited

	top    uint16 // the newest sequence number
	seen   uint64 // which of the 64 up to top have come; bit 0 is top
	strays int    // in a row

	came [recent]int32 // where packets fell, against clock
	n    int           // in came
	next int           // place in came
	want int32         // where the finger should be, against clock
	rest int           // frames to be left as they are

	drift drift

	fixed int32 // ticks of delay that stay; 0 adapts
	pause int32 // ticks that the finger is still to wait for it

	stats Stats
}

// Fix makes the delay so many ticks, up to MaxDelay, and keeps it: packets
// wait that long before they are heard, nothing is left out or repeated, and
// the finger waits for none. 0 lets the Buffer adapt again.
func (b *Buffer) Fix(delay int) {
	b.fixed = int32(min(max(delay, 0), MaxDelay))
	b.pause, b.held = 0, 0
	if b.fixed == 0 || b.n == 0 {
		return
	}
	most := b.came[0]
	for _, v := range b.came[:b.n] {
		most = max(most, v)
	}
	if d := most - b.fixed - int32(b.play-b.clock); d > 0 {
		b.move(d)
	} else {
		b.pause = -d
	}
}

// Put takes a packet. It returns whether any of it will be heard.
func (b *Buffer) Put(p Packet) bool {
	if len(p.Data) == 0 || len(p.Data) > MaxData {
		b.stats.Strays++
		return false
	}
	if !b.on || p.SSRC != b.ssrc {
		b.resync(p)
	}
	step := int16(p.Seq - b.top)
	if far := int32(p.Time-b.clock) - b.want; far > ring/2 || far < -MaxDelay {
		// The next packet in order means that the sender's clock has
		// jumped; an old one is late; and anything else must come three
		// times before it is believed.
		if step <= 0 && step > -1000 {
			b.stats.Late++
			return false
		}
		if b.strays++; step > 100 || step < 0 {
			if b.strays < 3 {
				b.stats.Strays++
				return false
			}
		}
		b.resync(p)
		step = 0
	}
	b.strays = 0

	// Between packets that follow each other nothing was sent.
	quiet := step == 1 || step == 0
	switch {
	case step > 0:
		b.seen = b.seen<<uint(step) | 1
		b.top = p.Seq
	case step > -64:
		bit := uint64(1) << uint(-step)
		if b.seen&bit != 0 {
			b.stats.Duplicates++
			return false
		}
		b.seen |= bit
	default: // the sequence began anew
		b.seen, b.top = 1, p.Seq
	}

	v := int32(p.Time - b.clock)
	b.drift.take(p.Time, v-int32(p.After))
	if int32(p.After) >= Pull-b.drift.guard {
		v -= Pull // soon it will come after the next Get
	}
	b.learn(v)
	if b.held > 0 && int32(p.Time-b.play)+int32(len(p.Data)) > 0 {
		if skip := min(b.held, b.want-int32(b.play-b.clock)); skip > 0 {
			b.move(skip)
		}
		b.held = 0
	}
	if quiet {
		from := b.end
		if int32(b.play-from) > 0 {
			from = b.play
		}
		if gap := int32(p.Time - from); gap > 0 && gap < ring {
			for at := from; at != p.Time; at++ {
				b.kind[at%ring] = Quiet
			}
		}
	}
	return b.lay(p)
}

// lay puts a packet where it belongs.
func (b *Buffer) lay(p Packet) bool {
	spare := int32(p.Time - b.play)
	if spare < 0 {
		b.stats.Late++
		if -spare >= int32(len(p.Data)) {
			return false
		}
		p.Data = p.Data[-spare:]
		p.Time += uint32(-spare)
	}
	b.stats.Heard++
	b.stats.Waited += uint64(max(0, spare))
	for i, c := range p.Data {
		at := (p.Time + uint32(i)) % ring
		b.code[at], b.kind[at] = c, p.Kind
	}
	if end := p.Time + uint32(len(p.Data)); int32(end-b.end) > 0 {
		b.end = end
	}
	if over := int32(b.end-b.play) - MaxDelay - MaxData; over > 0 {
		b.move(over)
	}
	return true
}

// learn takes where a packet fell and finds where the finger should be.
func (b *Buffer) learn(v int32) {
	b.came[b.next] = v
	b.next = (b.next + 1) % recent
	b.n = min(b.n+1, recent)

	// The few earliest places, the lowest first.
	var low [unlucky]int32
	n, k := 0, min(1+b.n*unlucky/recent, unlucky)
	for _, v := range b.came[:b.n] {
		if n == k && v >= low[k-1] {
			continue
		}
		if n < k {
			n++
		}
		i := n - 1
		for ; i > 0 && low[i-1] > v; i-- {
			low[i] = low[i-1]
		}
		low[i] = v
	}
	b.want = low[k-1]
	if b.n > row {
		late := b.came[(b.next+recent-1)%recent]
		for i := range row {
			late = max(late, b.came[(b.next+recent-1-i)%recent])
		}
		b.want = min(b.want, late)
	}
}

// A drift is how the sender's crystal runs against ours.
type drift struct {
	from            uint32 // RTP time at which these 5 s began
	n, sum          int32  // of where packets fell in them
	low, high, mean int32  // mean is of the 5 s before, Q4
	slower          int32  // how much later they fell than in the 5 s before, Q4
	guard           int32  // ticks before the next Get in which a packet will soon be late; 0: packets come no later
}

// take takes where a packet fell, to the tick.
func (d *drift) take(time uint32, v int32) {
	if d.n == 0 {
		d.from, d.low, d.high = time, v, v
	}
	d.n++
	d.sum += v
	d.low, d.high = min(d.low, v), max(d.high, v)
	if int32(time-d.from) < compared {
		return
	}
	mean := int32(int64(d.sum) << 4 / int64(d.n))
	slower := d.mean - mean
	d.guard = 0
	if both := min(slower, d.slower); both >= 1<<4 && slower < calm<<4 && d.high-d.low < calm {
		d.guard = ahead * both >> 4
	}
	*d = drift{mean: mean, slower: slower, guard: d.guard}
}

// resync begins anew with p: it will be heard after the lead that the jitter
// so far asks for.
func (b *Buffer) resync(p Packet) {
	lead := int32(firstLead)
	for _, v := range b.came[:b.n] {
		lead = max(lead, v-b.want)
	}
	lead = min(lead, MaxDelay)
	if b.fixed > 0 {
		lead = b.fixed
	}
	clear(b.kind[:])
	b.on, b.ssrc = true, p.SSRC
	b.top, b.seen = p.Seq, 0
	b.play = p.Time - uint32(lead)
	b.end = b.play
	b.held, b.strays, b.pause = 0, 0, 0
	b.clock = b.play
	b.n, b.next, b.want = 0, 0, 0
	b.drift = drift{}
	b.stats.Resyncs++
}

// Forget begins anew with the next packet. For when nobody has called Get for a
// while: what has come since is old.
func (b *Buffer) Forget() { b.on, b.n = false, 0 }

// move lets the finger jump ahead over ticks that will not be heard.
func (b *Buffer) move(ticks int32) {
	for range min(ticks, ring) {
		b.kind[b.play%ring] = Lost
		b.play++
	}
	b.play += uint32(ticks - min(ticks, ring))
}

// Moves is how long a period the next Get would leave out or repeat if it were
// given one; 0 is none. Finding one costs too much to be done each time.
func (b *Buffer) Moves() (most int) {
	switch d := int(b.astray(Pull)); {
	case d > 1:
		return min(d, MaxPeriod)
	case d < -Pull/2:
		return MaxPeriod
	}
	return 0
}

// astray is how many ticks the finger should be farther on than it is, when
// of the next 10 ms need ticks are not there yet.
func (b *Buffer) astray(need int) int32 {
	if !b.on || b.fixed > 0 || b.rest > 0 || b.held > 0 {
		return 0
	}
	d := b.want - (int32(b.play-b.clock) - int32(Pull-need))
	if d > 0 && b.n < learned {
		return 0
	}
	return d
}

// pace says of how many ticks the next frame is made, and what it becomes.
func (b *Buffer) pace(need, period int) (n, out int) {
	d := b.astray(need)
	if b.rest > 0 {
		b.rest--
	}
	if period < 0 {
		period = min(-period, int(max(d, -d)))
	}
	whole := need == Pull && period > 0 && period <= MaxPeriod
	switch {
	case whole && int(d) >= period && int(b.end-b.play) >= need+period:
		b.rest = restStretch
		b.stats.Cut += uint32(period)
		return need + period, need
	case whole && d < -Pull/2 && int32(b.end-b.play) >= int32(need):
		b.rest = restStretch
		b.stats.Repeated += uint32(period)
		return need, need + period
	case d > slack && int32(b.end-b.play) > int32(need):
		b.rest = restTick
		b.stats.Cut++
		return need + 1, need
	case d < 0 && need > 1:
		b.rest = restLate
		b.stats.Repeated++
		return need - 1, need
	}
	return need, need
}

// Get takes what is heard in the next 10 ms. It must be called every 10 ms.
// Need is how much of that is not left over from the frame before, Pull or
// less. Period is how many ticks may be cut or repeated now without being
// heard, up to MaxPeriod; 0 is none, and -n is any number up to n.
func (b *Buffer) Get(f *Frame, need, period int) {
	f.N, f.Out = need, need
	if need > 0 {
		f.N, f.Out = b.pace(need, period)
	}
	b.clock += Pull
	for i := range f.N {
		f.Kind[i] = b.tick(&f.Code[i])
	}
}

// tick takes the tick under the finger.
func (b *Buffer) tick(code *byte) Kind {
	at := b.play % ring
	switch {
	case !b.on:
		return Quiet
	case b.pause > 0:
		b.pause--
		return Lost
	case b.kind[at] != Lost:
		k := b.kind[at]
		*code, b.kind[at] = b.code[at], Lost
		b.play++
		return k
	case int32(b.end-b.play) > 0 || b.fixed > 0:
		b.stats.LostTicks++
		b.play++
		return Lost
	case b.held >= MaxDelay:
		b.held++
		return Quiet
	default:
		b.held++
		b.stats.LostTicks++
		return Lost
	}
}

// Stats returns the counts so far.
func (b *Buffer) Stats() Stats {
	s := b.stats
	s.Next = b.play
	if b.on {
		s.Delay = uint32(max(0, int32(b.end-b.play)))
	}
	return s
}
