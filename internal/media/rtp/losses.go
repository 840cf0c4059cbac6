package rtp

// losses tells of every packet of the far end whether it was heard, came too
// late or never came, and single losses from bursts of them, RFC 3611 section
// 4.7.2: a burst begins and ends with a packet that was not heard, and has fewer
// than gmin in a row that were; what is between bursts is a gap. The zero losses
// has seen nothing. Guarded by Stream.in.
type losses struct {
	on   bool
	ssrc uint32
	top  uint16 // the newest packet
	held int    // packets up to top whose fate may still change
	came uint32 // which of those came; bit 0 is top
	late uint32 // which of those came too late to be heard

	packets, lost, discarded uint32 // whose fate is settled

	since uint32 // heard since the last that was not
	run   stretch
	burst account // of all bursts
	gap   account // of all gaps
	quiet bool    // the latest of either is a gap
	rows  uint32  // of packets missed one right after the other
}

// A stretch is packets in a row, some of which were not heard.
type stretch struct{ packets, missed uint32 }

// An account is n stretches together.
type account struct {
	n uint32
	stretch
}

const (
	gmin = 16 // RFC 3611 section 4.7.2, the recommended value

	// undecided packets may still come: with 10 ms in each the last of them
	// is longer ago than the jitter buffer waits.
	undecided = 32
	// A step of the sequence that is longer is a new beginning, as it is for
	// RFC 3550 appendix A.1.
	longestStep = 3000
)

// arrived takes a packet. A far end that changes its SSRC or begins to count
// anew is still the same far end.
func (l *losses) arrived(ssrc uint32, seq uint16, heard bool) {
	step := int(int16(seq - l.top))
	if !l.on || ssrc != l.ssrc || step > longestStep || step < -longestStep {
		l.settleAll()
		l.on, l.ssrc, l.held = true, ssrc, 0
		l.top, step = seq-1, 1
	}
	for ; step > 0; step-- {
		if l.held == undecided {
			l.settle(undecided - 1)
			l.held--
		}
		l.held++
		l.came, l.late = l.came<<1, l.late<<1
		l.top++
	}
	if bit := uint32(1) << uint(-step); -step < l.held && l.came&bit == 0 {
		l.came |= bit
		if !heard {
			l.late |= bit
		}
	}
}

// settleAll makes up the account of what is undecided, oldest first.
func (l *losses) settleAll() {
	for ; l.held > 0; l.held-- {
		l.settle(l.held - 1)
	}
	l.came, l.late = 0, 0
}

// settle takes the packet so many before top as it is.
func (l *losses) settle(back int) {
	bit := uint32(1) << uint(back)
	l.packets++
	switch {
	case l.came&bit == 0:
		l.lost++
	case l.late&bit != 0:
		l.discarded++
	default:
		l.since++
		return
	}
	if l.since > 0 || l.rows == 0 {
		l.rows++
	}
	if l.run.missed > 0 && l.since < gmin {
		l.run.packets += l.since + 1
		l.run.missed++
	} else {
		l.close()
		l.run = stretch{1, 1}
	}
	l.since = 0
}

// close ends what may have become a burst. One packet missed alone is part of a
// gap.
func (l *losses) close() {
	if l.run.missed > 1 {
		l.quiet = false
		l.burst.n++
		l.burst.packets += l.run.packets
		l.burst.missed += l.run.missed
		l.run = stretch{}
	}
	if n := l.run.packets + l.since; n > 0 {
		if !l.quiet {
			l.quiet = true
			l.gap.n++
		}
		l.gap.packets += n
		l.gap.missed += l.run.missed
	}
	l.run, l.since = stretch{}, 0
}

// whole is the account of all that has come until now. What is missing among the
// newest packets is taken for lost.
func (l losses) whole() losses {
	l.settleAll()
	l.close()
	return l
}

// missed is how many packets were not heard.
func (l *losses) missed() uint32 { return l.lost + l.discarded }
