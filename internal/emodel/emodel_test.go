package emodel

import (
	"math"
	"testing"
	"time"
)

// A model is the whole of G.107 (06/2015), formulas 7-1 to 7-29, with all its
// parameters.
type model struct {
	slr, rlr, stmr, lstr, ds, dr, telr, wepl, t, tr, ta, qdu, ie, bpl, ppl, burst, nc, nfor, ps, pr, a float64
}

// defaults are table 2.
func defaults() model {
	return model{slr: 8, rlr: 2, stmr: 15, lstr: 18, ds: 3, dr: 3, telr: 65, wepl: 110, qdu: 1, bpl: 4.3, burst: 1, nc: -70, nfor: -64, ps: 35, pr: 35}
}

func (m model) r() (r, no, ro, is float64) {
	pow, lg := math.Pow, math.Log10
	root := func(x, n float64) float64 { return pow(1+pow(x, n), 1/n) }

	olr := m.slr + m.rlr
	pre := m.pr + 10*lg(1+pow(10, (10-m.lstr)/10))
	nor := m.rlr - 121 + pre + 0.008*pow(pre-35, 2)
	nos := m.ps - m.slr - m.ds - 100 + 0.004*pow(m.ps-olr-m.ds-14, 2)
	no = 10 * lg(pow(10, m.nc/10)+pow(10, nos/10)+pow(10, nor/10)+pow(10, (m.nfor+m.rlr)/10))
	ro = 15 - 1.5*(m.slr+no)

	xolr := olr + 0.2*(64+no-m.rlr)
	iolr := 20 * (root(xolr/8, 8) - xolr/8)
	stmro := -10 * lg(pow(10, -m.stmr/10)+math.Exp(-m.t/4)*pow(10, -m.telr/10))
	ist := 12*root((stmro-13)/6, 8) - 28*root((stmro+1)/19.4, 35) - 13*root((stmro-3)/33, 13) + 29
	q := 37 - 15*lg(m.qdu)
	g := 1.07 + 0.258*q + 0.0602*q*q
	iq := 15 * lg(1+pow(10, (ro-100)/15+46/8.4-g/9)+pow(10, 46./30-g/40))
	is = iolr + ist + iq

	idte := 0.
	if m.t >= 1 {
		terv := m.telr - 40*lg((1+m.t/10)/(1+m.t/150)) + 6*math.Exp(-0.3*m.t*m.t)
		d := -1.5*(no-m.rlr) - (80 + 2.5*(terv-14))
		idte = (d/2 + math.Sqrt(d*d/4+100) - 1) * (1 - math.Exp(-m.t))
	}
	d := ro - 10.5*(m.wepl+7)*pow(m.tr+1, -0.25)
	idle := d/2 + math.Sqrt(d*d/4+169)
	idd := 0.
	if m.ta > 100 {
		x := lg(m.ta/100) / lg(2)
		idd = 25 * (root(x, 6) - 3*root(x/3, 6) + 2)
	}
	ieEff := m.ie + (95-m.ie)*m.ppl/(m.ppl/m.burst+m.bpl)
	return ro - is - idte - idle - idd - ieEff + m.a, no, ro, is
}

// The numbers for what does not change are what the formulas give, and what we
// give is what the whole model gives.
func TestWholeModel(t *testing.T) {
	m := defaults()
	r, no, o, s := m.r()
	// Section 7.7: with all defaults R is 93.2.
	if math.Abs(r-93.2) > 0.05 {
		t.Errorf("the model itself is wrong: R %.3f with all defaults", r)
	}
	if math.Abs(o-ro) > 0.001 || math.Abs(s-is) > 0.001 || math.Abs(-1.5*(no-m.rlr)-roe) > 0.001 {
		t.Errorf("Ro %.3f, Is %.3f, Roe %.3f; have %v, %v, %v", o, s, -1.5*(no-m.rlr), ro, is, roe)
	}
	worst := 0.
	for _, delay := range []int{0, 1, 5, 20, 60, 100, 101, 150, 200, 400, 1000} {
		for _, missed := range []uint32{0, 30, 200, 1000, 5000} {
			for _, row := range []uint32{1, 2, 4} {
				for _, ie := range []int{G711, G726} {
					for _, rerl := range []int{0, 20, 55} {
						m := defaults()
						m.t, m.ta, m.tr = float64(delay), float64(delay), 2*float64(delay)
						m.ie, m.ppl, m.bpl = float64(ie), float64(missed)/100, robust
						m.burst = max(1, float64(row)*(1-m.ppl/100))
						if rerl > 0 {
							m.telr = m.slr + float64(rerl) + m.rlr
						}
						want, _, _, _ := m.r()
						p := Path{Delay: time.Duration(delay) * time.Millisecond, Packets: 10000, Missed: missed, Rows: missed / row, Ie: ie, RERL: rerl}
						d := math.Abs(p.r() - want)
						if worst = max(worst, d); d > 0.1 {
							t.Errorf("%+v: %.2f, want %.2f", p, p.r(), want)
						}
						if got := p.Rate(); want > 0 && math.Abs(float64(got.R)/10-want) > 0.11 || math.Abs(float64(got.MOS)/100-mos(want)) > 0.01 {
							t.Errorf("%+v is rated %+v, want R %.1f", p, got, want)
						}
					}
				}
			}
		}
	}
	t.Logf("%.4f from the whole model at most", worst)
}

// ITU-T G.113 appendix I (05/2002) gives Ie of G.711 with concealment at random
// loss: 5 at 1 %, 7 at 2 %, 10 at 3 %, 15 at 5 %, 25 at 10 %.
func TestLoss(t *testing.T) {
	for percent, want := range map[uint32]float64{0: 0, 1: 5, 2: 7, 3: 10, 5: 15, 10: 25} {
		if got := (Path{Packets: 100, Missed: percent, Rows: percent}).lossy(); math.Abs(got-want) > 3 {
			t.Errorf("%v %% lost: Ie %.1f, want about %.0f", percent, got, want)
		}
	}
	// All lost is bad by any model, and nothing sent is nothing lost.
	if r := (Path{Packets: 10, Missed: 10, Rows: 1}).Rate(); r.MOS > 150 {
		t.Errorf("all lost: %+v", r)
	}
	if r := (Path{}).Rate(); r != (Rating{932, 441}) {
		t.Errorf("nothing wrong: %+v", r)
	}
}

// ITU-T G.107 table B.1.
func TestMOS(t *testing.T) {
	for _, row := range []struct{ r, mos float64 }{
		{90, 4.34}, {80, 4.03}, {70, 3.60}, {60, 3.10}, {50, 2.58},
		{100, 4.5}, {120, 4.5}, {0, 1}, {-20, 1}, {3, 1}, {93.2, 4.41},
	} {
		if got := mos(row.r); math.Abs(got-row.mos) > 0.01 {
			t.Errorf("R %v: MOS %.3f, want %.2f", row.r, got, row.mos)
		}
	}
	for r := 7.; r < 100; r++ {
		if mos(r) <= mos(r-1) && mos(r) > 1 {
			t.Errorf("R %v is no better than %v", r, r-1)
		}
	}
}

// Cole and Rosenbluth, "Voice over IP performance monitoring" (2001), draw a
// line beside the curve of delay: 0.024 d, and 0.11 more for each ms over 177.3.
func TestDelay(t *testing.T) {
	for d := 10.; d <= 300; d += 10 {
		want := 93.2 - 0.024*d - 0.11*max(0, d-177.3)
		got := Path{Delay: time.Duration(d) * time.Millisecond}.r()
		if math.Abs(got-want) > 1.1 {
			t.Errorf("%v ms: R %.1f, want about %.1f", d, got, want)
		}
	}
}
