package rtp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ata-agent/ata-agent/hal"
	"github.com/ata-agent/ata-agent/internal/emodel"
	"github.com/pion/rtcp"
)

// feed lets packets arrive as a pattern says: 1 is heard, 0 never comes, X comes
// too late.
func feed(l *losses, first uint16, pattern string) {
	for i, c := range pattern {
		if c != '0' {
			l.arrived(1, first+uint16(i), c == '1')
		}
	}
}

func ones(n int) string { return strings.Repeat("1", n) }

// RFC 3611 section 4.7.2: "a burst is [...] the longest sequence that (a) starts
// with a lost or discarded packet, (b) does not contain any occurrences of Gmin or
// more consecutively received (and not discarded) packets, and (c) ends with a
// lost or discarded packet." What is missed alone is part of a gap.
func TestBursts(t *testing.T) {
	for _, row := range []struct {
		name, pattern string
		burst, gap    account
	}{
		{"nothing missed", ones(50), account{}, account{1, stretch{50, 0}}},
		{"one alone", ones(20) + "0" + ones(20), account{}, account{1, stretch{41, 1}}},
		{"two alone", ones(20) + "0" + ones(16) + "X" + ones(20), account{}, account{1, stretch{58, 2}}},
		{"a burst", ones(20) + "0" + ones(15) + "X" + ones(20), account{1, stretch{17, 2}}, account{2, stretch{40, 0}}},
		{"a row", ones(20) + "000" + ones(20), account{1, stretch{3, 3}}, account{2, stretch{40, 0}}},
		{"two bursts", "1X0" + ones(16) + "0110" + ones(30), account{2, stretch{6, 4}}, account{3, stretch{47, 0}}},
		{"a burst goes on", ones(16) + "X1X", account{1, stretch{3, 2}}, account{1, stretch{16, 0}}},
	} {
		var l losses
		feed(&l, 65520, row.pattern)
		w := l.whole()
		if w.burst != row.burst || w.gap != row.gap {
			t.Errorf("%s: bursts %+v, gaps %+v; want %+v, %+v", row.name, w.burst, w.gap, row.burst, row.gap)
		}
		lost, late := uint32(strings.Count(row.pattern, "0")), uint32(strings.Count(row.pattern, "X"))
		if w.lost != lost || w.discarded != late || w.packets != uint32(len(row.pattern)) {
			t.Errorf("%s: %d lost and %d late of %d", row.name, w.lost, w.discarded, w.packets)
		}
	}
}

// Whatever is missed, the account is what the definition says, with packets in
// order or out of it.
func TestBurstsByDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 611))
	for range 500 {
		n := 1 + r.IntN(400)
		p := []byte(ones(n))
		for range r.IntN(20) {
			i := r.IntN(n)
			for ; i < n && r.IntN(3) > 0; i++ {
				p[i] = "0X"[r.IntN(2)]
			}
		}
		p[0], p[n-1] = '1', '1' // what the far end sent besides is not known

		var burst, gap account
		var at []int // where bursts begin and end
		for i := 0; i < n; i++ {
			if p[i] == '1' {
				continue
			}
			last, missed := i, 1
			for j := i + 1; j < n && j-last <= gmin; j++ {
				if p[j] != '1' {
					last, missed = j, missed+1
				}
			}
			if missed > 1 {
				burst.n++
				burst.packets += uint32(last + 1 - i)
				burst.missed += uint32(missed)
				at = append(at, i, last+1)
			} else {
				gap.missed++
			}
			i = last
		}
		gap.packets = uint32(n) - burst.packets
		from := 0
		for i := 0; i <= len(at); i += 2 {
			to := n
			if i < len(at) {
				to = at[i]
			}
			if to > from {
				gap.n++
			}
			if i < len(at) {
				from = at[i+1]
			}
		}

		order := make([]int, 0, n)
		for i := range n {
			order = append(order, i)
		}
		for i := 1; i < n; i += 15 { // some come after the next few
			j := min(n-1, i+r.IntN(15))
			order[i], order[j] = order[j], order[i]
		}
		var l losses
		for _, i := range order {
			if p[i] != '0' {
				l.arrived(7, uint16(i)+65400, p[i] == '1')
				if r.IntN(20) == 0 {
					l.arrived(7, uint16(i)+65400, p[i] != '1') // a duplicate changes nothing
				}
			}
		}
		if w := l.whole(); w.burst != burst || w.gap != gap {
			t.Fatalf("%s:\nbursts %+v, gaps %+v; want %+v, %+v", p, w.burst, w.gap, burst, gap)
		}
	}
}

// A far end that begins anew is counted on.
func TestLossesGoOn(t *testing.T) {
	var l losses
	feed(&l, 100, ones(40)+"0"+ones(9))
	l.arrived(2, 5, true)
	l.arrived(2, 7, true)
	l.arrived(2, 40000, true)
	if w := l.whole(); w.packets != 54 || w.lost != 2 {
		t.Errorf("%d lost of %d, want 2 of 54", w.lost, w.packets)
	}
	var by4 losses
	for i := range 100 {
		feed(&by4, uint16(40*i), ones(36)+"0000")
	}
	by4.arrived(1, 4000, true)
	if w := by4.whole(); w.rows != 100 || w.missed() != 400 || w.packets != 4001 {
		t.Errorf("%d rows of %d missed of %d", w.rows, w.missed(), w.packets)
	}
}

// The metrics are what pion/rtcp takes them for and what happened, and the far
// end makes the same of them.
func TestVoIPMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{delay: 40 * time.Millisecond}
		a, b := open(t, host{w, "10.0.0.1"}), open(t, host{w, "10.0.0.2"})
		fromB, toB := addrPort(b.rtp.pc.LocalAddr()), addrPort(b.rtcp.pc.LocalAddr())
		toA := addrPort(a.rtp.pc.LocalAddr())
		var got []rtcp.VoIPMetricsReportBlock
		n := 0
		w.pass = func(from, to netip.AddrPort, p []byte) bool {
			switch {
			case to == toB:
				ps, err := rtcp.Unmarshal(slices.Clone(p))
				if err != nil {
					t.Errorf("a report that does not parse: %v", err)
					break
				}
				for _, p := range ps {
					if xr, ok := p.(*rtcp.ExtendedReport); ok {
						got = append(got, *xr.Reports[0].(*rtcp.VoIPMetricsReportBlock))
						if xr.SenderSSRC != a.ssrc {
							t.Errorf("of %x, not %x", xr.SenderSSRC, a.ssrc)
						}
					}
				}
			case from == fromB && to == toA:
				// Each 50th packet, and each fourth of those with the next but one.
				n++
				return n%50 != 0 && n%200 != 102
			}
			return true
		}
		agree(a, b, PCMA, 0)
		talk(41*time.Second, a, b, nil)
		qa, qb := a.Quality(), b.Quality()
		t.Logf("a %+v", qa)
		t.Logf("b %+v", qb)
		a.Close()
		b.Close()
		if len(got) != 9 {
			t.Fatalf("%d blocks in 41 s and with the goodbye, want 9", len(got))
		}
		m := got[7] // after 40 s and 1998 packets: the 2000th is lost, and not missed yet
		if m.SSRC != b.ssrc || m.LossRate != 256*49/1998 || m.DiscardRate != 0 || m.Gmin != 16 {
			t.Errorf("%+v", m)
		}
		// 10 bursts of three packets with two lost; in the gaps 29 of the rest.
		if m.BurstDensity != 256*2/3 || m.BurstDuration != 60 || m.GapDensity != 256*29/1968 || m.GapDuration != 1968*20/11 {
			t.Errorf("%+v", m)
		}
		if m.RoundTripDelay < 78 || m.RoundTripDelay > 82 || m.EndSystemDelay < 42 || m.EndSystemDelay > 90 {
			t.Errorf("%+v", m)
		}
		if m.SignalLevel != 127 || m.NoiseLevel != 127 || m.RERL != 127 || m.ExtRFactor != 127 {
			t.Errorf("what is not measured is said: %+v", m)
		}
		if m.RXConfig != 0xb0 || m.JBNominal == 0 || m.JBNominal > 60 || m.JBMaximum != 200 || m.JBAbsMax != 200 {
			t.Errorf("%+v", m)
		}
		off := func(said uint8, thought, scale int) bool {
			return max(int(said)*scale-thought, thought-int(said)*scale) > scale
		}
		if qa.Missed != 50 || qa.Packets < 2045 || qa.Packets > 2050 || off(m.RFactor, qa.R, 10) || off(m.MOSCQ, qa.MOS, 10) || off(m.MOSLQ, qa.LQ, 10) {
			t.Errorf("said %+v, thought %+v", m, qa)
		}
		if want := 10 * int(m.MOSCQ); qb.Far != want {
			t.Errorf("the far end takes it for %v, want %v", qb.Far, want)
		}
		if qb.Missed != 0 || qb.Codec != PCMA || qb.MOS < 430 || qa.MOS > 420 || qa.Far < 430 {
			t.Errorf("a %+v, b %+v", qa, qb)
		}
		if d := qa.Delay; d < 82*time.Millisecond || d > 110*time.Millisecond {
			t.Errorf("from mouth to ear %v, want 40 ms and both ends", d)
		}
		if a.Quality().MOS == 0 || b.Quality().MOS == 0 {
			t.Error("forgotten after Close")
		}
	})
}

// G.726 is heard as worse, and a packet that comes too late as lost.
func TestQuality(t *testing.T) {
	var l losses
	feed(&l, 0, strings.Repeat(ones(19)+"X", 50)+"1")
	w := l.whole()
	a := quality(w, farReport{}, PCMU, 60*time.Millisecond)
	b := quality(w, farReport{}, G726, 60*time.Millisecond)
	if a.Missed != 50 || a.Packets != 1001 || a.R <= b.R || a.R-b.R > 10*emodel.G726 {
		t.Errorf("PCMU %+v, G.726 %+v", a, b)
	}
	if a.Delay != 60*time.Millisecond || a.LQ <= a.MOS {
		t.Errorf("%+v", a)
	}
	// The far end's part of the delay, and its echo, as it says.
	far := farReport{rtt: 100 * time.Millisecond, system: 140 * time.Millisecond, rerl: 30}
	c := quality(w, far, PCMU, 60*time.Millisecond)
	if c.Delay != 150*time.Millisecond || c.R >= a.R {
		t.Errorf("%+v", c)
	}
	if q := quality(losses{}, farReport{mos: 40}, "", 0); q != (Quality{Far: 400}) {
		t.Errorf("of nothing: %+v", q)
	}
}

// Reports that lie or are cut short are believed as far as they make sense.
func TestStrangeMetrics(t *testing.T) {
	s, far := deaf(0)
	s.ssrc = 77
	block := rtcp.VoIPMetricsReportBlock{SSRC: 77, EndSystemDelay: 90, RERL: 127, MOSLQ: 41, MOSCQ: 127}
	send := func(m rtcp.VoIPMetricsReportBlock, cut int) farReport {
		b, err := (&rtcp.ExtendedReport{SenderSSRC: 9, Reports: []rtcp.ReportBlock{&rtcp.UnknownReportBlock{XRHeader: rtcp.XRHeader{BlockType: 99}, Bytes: make([]byte, 8)}, &m}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		b = b[:len(b)-cut]
		b[3] -= byte(cut / 4)
		s.takeReport(b, far, time.Now())
		return s.far
	}
	if f := send(block, 0); f.mos != 41 || f.system != 90*time.Millisecond || f.rerl != 0 {
		t.Errorf("%+v", f)
	}
	block.MOSCQ, block.RERL = 38, 55
	if f := send(block, 0); f.mos != 38 || f.rerl != 55 {
		t.Errorf("%+v", f)
	}
	before := s.far
	block.MOSCQ = 20
	for cut := 4; cut < 36; cut += 4 {
		if f := send(block, cut); f != before {
			t.Errorf("cut by %d: %+v", cut, f)
		}
	}
	block.SSRC = 78
	if f := send(block, 0); f != before {
		t.Errorf("of another: %+v", f)
	}
	block.SSRC, block.MOSCQ, block.MOSLQ = 77, 200, 3
	if f := send(block, 0); f.mos != 0 {
		t.Errorf("%+v", f)
	}
	var f hal.Frame
	s.Read(f[:])
}
