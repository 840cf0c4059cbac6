// Package emodel estimates how good a call is from what the network does to
// it, by the E-model of ITU-T G.107 (06/2015): a rating R of 0 to 100, and
// from that a mean opinion score, as if people had been asked.
//
// Its one idea: of the model's twenty parameters a telephone on a network knows
// four: delay, loss, codec, and the echo that the far end leaves. All others,
// which describe rooms and handsets, have the default values of table 2, and the
// terms that follow from those alone are numbers.
//
//	R = Ro - Is - Id(delay, echo) - Ie,eff(loss, codec)
//
// It reckons in floating point and is not for the path of a sample; what goes in
// and comes out is whole numbers, for those who are.
package emodel

import (
	"math"
	"time"
)

// What follows from the default values of table 2.
const (
	loudness = 10.0     // SLR + RLR: from mouth to ear, dB
	telr     = 65.0     // echo, dB
	wepl     = 110.0    // echo of the echo, dB
	ro       = 94.769   // signal to noise, formula 7-2
	is       = 1.414    // what comes with the voice, formula 7-8
	roe      = ro       // to an echo, formula 7-20: with these loudnesses the same
	sensible = 100.0    // mT: delay that nobody notices, ms
	steepest = 1.0 / 6. // 1/(6 sT)
)

// Ie of a codec: ITU-T G.113 (11/2007) table I.1. G.722 is not there, as its
// listeners are thought to have wide bands; cut to a narrow one it is taken for
// G.711, which is our choice.
const (
	G711 = 0
	G722 = 0
	G726 = 7 // at 32 kbit/s
)

// robust is Bpl of G.711 with the concealment of its appendix I, G.113 table I.4.
// That our concealer does as well with the other codecs is our choice.
const robust = 25.1

// BurstR is meant for 1 to 8: beyond, section 7.5 makes no promise. Our choice.
const worstBurst = 8

// A Path is the way of a voice to an ear. The zero Path is perfect: G.711 without
// loss and delay.
type Path struct {
	Delay   time.Duration // from mouth to ear
	Packets uint32        // that were sent
	Missed  uint32        // of those, not heard
	Rows    uint32        // of packets missed one right after the other
	Ie      int           // impairment by the codec: G711, G722, G726
	RERL    int           // the echo of a voice that comes back from the ear's end is so much softer, dB; 0 is unknown: 55
}

// A Rating is what people would say.
type Rating struct {
	R   int // in tenths: 932 at best. Below 500 is not recommended.
	MOS int // in hundredths, 100 to 450
}

// Rate rates a path.
func (p Path) Rate() Rating {
	r := p.r()
	return Rating{R: int(math.Round(10 * max(r, 0))), MOS: int(math.Round(100 * mos(r)))}
}

func (p Path) r() float64 { return ro - is - p.delayed() - p.lossy() }

// lossy is Ie,eff, formula 7-29. BurstR, section 7.5, is the mean length of a row
// of missed packets against what it would be if each were missed by chance.
func (p Path) lossy() float64 {
	ie := float64(p.Ie)
	if p.Missed == 0 || p.Packets == 0 {
		return ie
	}
	loss := float64(p.Missed) / float64(p.Packets)
	burst := float64(p.Missed) / float64(max(1, p.Rows)) * (1 - loss)
	burst = min(max(burst, 1), worstBurst)
	return ie + (95-ie)*100*loss/(100*loss/burst+robust)
}

// delayed is Id, formula 7-18: the talker's echo, the listener's, and the delay
// as such.
func (p Path) delayed() float64 {
	t := float64(p.Delay) / float64(time.Millisecond)
	return p.echoed(t) + heardTwice(2*t) + slow(t)
}

// echoed is Idte, formulas 7-19 to 7-22.
func (p Path) echoed(t float64) float64 {
	if t < 1 {
		return 0
	}
	echo := telr
	if p.RERL > 0 {
		echo = loudness + float64(p.RERL) // RFC 3611 section 4.7.4
	}
	terv := echo - 40*math.Log10((1+t/10)/(1+t/150)) + 6*math.Exp(-0.3*t*t)
	d := (roe - 80 - 2.5*(terv-14)) / 2
	return (d + math.Sqrt(d*d+100) - 1) * (1 - math.Exp(-t))
}

// heardTwice is Idle, formulas 7-25 and 7-26, at a round trip.
func heardTwice(tr float64) float64 {
	d := (ro - 10.5*(wepl+7)/math.Sqrt(math.Sqrt(tr+1))) / 2
	return d + math.Sqrt(d*d+169)
}

// slow is Idd, formulas 7-27 and 7-28.
func slow(t float64) float64 {
	if t <= sensible {
		return 0
	}
	x := math.Log2(t / sensible)
	root := func(x float64) float64 { return math.Pow(1+x*x*x*x*x*x, steepest) }
	return 25 * (root(x) - 3*root(x/3) + 2)
}

// mos is the mean opinion score of a rating, 1 to 4.5: annex B, formula B-4.
func mos(r float64) float64 {
	r = min(max(r, 0), 100)
	return max(1, 1+0.035*r+r*(r-60)*(100-r)*7e-6)
}
