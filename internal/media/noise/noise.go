// Package noise is comfort noise, RFC 3389: what is heard while the far end,
// which is silent, sends nothing.
//
// Its one idea: the noise of a room is white noise behind a filter. A few
// bytes say how loud it is and what the filter is like; an Analyser makes them
// of a sound, a Generator makes a sound of them.
//
//	sound ─▶ Analyser ─▶ level, k1 … kM ─▶ Generator ─▶ sound
//
// The payload, section 3: a byte of level, 0 to 127 dB below overload, then up
// to ten reflection coefficients of an all-pole filter, each a byte N that
// stands for k = (N-127)/127. 0 dBov is the power of a square wave of full
// scale; a sine has -3.01. The sign is that of A(z) = 1 + k1 z^-1: a noise
// whose low frequencies are louder has a negative k1.
//
// All arithmetic is integer and nothing allocates.
package noise

import "math/bits"

// Order is how many coefficients are made and heeded; RFC 3389 section 3.2
// leaves it to both ends.
const Order = 10

// A Generator makes noise. The zero Generator is silent. It belongs to one
// goroutine.
type Generator struct {
	k    [Order]int32 // reflection coefficients, Q12
	b    [Order]int32 // the lattice's memory, samples Q4
	peak int32        // of the white noise, samples Q4
	most int32        // that is heard, samples: four times the level
	seed uint32
}

// Set takes a payload: from now on the noise is like that. One without a
// level is silence. What the level makes louder than 30 dB below overload is
// made as loud as that: no room is.
func (g *Generator) Set(payload []byte) {
	*g = Generator{seed: g.seed}
	if len(payload) == 0 {
		return
	}
	coded := payload[1:min(len(payload), 1+Order)]
	// The filter makes white noise louder by 1/(1-k²) for each k.
	left := int64(1) << 30
	for i, n := range coded {
		k := int64(int32(min(max(n, 1), 253))-127) << 15 / 127
		g.k[i] = int32(k >> 3)
		left = left * (1<<30 - k*k) >> 30
	}
	// Noise that is even up to its peak has the power peak²/3.
	rms := int64(amplitude(int(max(payload[0]&0x7f, 30))))
	g.peak = int32(rms * root(uint64(3*left)) >> (15 + 4))
	g.most = int32(rms >> 6)
}

// Silent reports whether there is nothing to hear.
func (g *Generator) Silent() bool { return g.peak == 0 }

// Read makes the next samples.
func (g *Generator) Read(out []int16) {
	for i := range out {
		g.seed = g.seed*1664525 + 1013904223
		f := int32(g.seed) >> 16 * g.peak >> 15
		// The lattice from its end to its beginning: f loses what b foresaw,
		// b moves on.
		for m := Order - 1; m >= 0; m-- {
			k := g.k[m]
			f -= k * g.b[m] >> 12
			if m < Order-1 {
				g.b[m+1] = g.b[m] + k*f>>12
			}
		}
		// Coefficients that nobody measured may ring.
		f = min(max(f, -g.most<<4), g.most<<4)
		g.b[0] = f
		out[i] = int16((f + 8) >> 4)
	}
}

// An Analyser listens to noise. The zero Analyser has heard none. It belongs
// to one goroutine.
type Analyser struct {
	past  [Order]int32     // samples before
	r     [Order + 1]int64 // autocorrelation, leaking
	count int64            // samples in it, leaking as much
}

// leak is how much of what it knows an Analyser forgets with every stretch it
// is given: a 16th of 10 ms stretches is a time of 160 ms.
const leak = 4

// Hear listens to some samples that are nothing but noise, 10 to 30 ms of
// them.
func (a *Analyser) Hear(s []int16) {
	for j := range a.r {
		a.r[j] -= a.r[j] >> leak
	}
	a.count -= a.count >> leak
	a.count += int64(len(s))
	for _, x := range s {
		v := int32(x)
		a.r[0] += int64(v * v)
		for j, p := range a.past {
			a.r[j+1] += int64(v * p)
		}
		copy(a.past[1:], a.past[:])
		a.past[0] = int32(x)
	}
}

// Level is the noise's level in dB below overload, 0 to 127.
func (a *Analyser) Level() byte {
	if a.count == 0 {
		return 127
	}
	power := a.r[0] / a.count
	for l := range 127 {
		// Half a decibel up: the nearest.
		if x := int64(amplitude(l)) * 30933 >> 15 >> 4; power >= x*x>>8 {
			return byte(l)
		}
	}
	return 127
}

// Describe writes a payload: the level and as many coefficients as dst has
// room for. It returns its length.
func (a *Analyser) Describe(dst []byte) int {
	if len(dst) == 0 {
		return 0
	}
	dst = dst[:min(len(dst), 1+Order)]
	dst[0] = a.Level()
	for i := range dst[1:] {
		dst[1+i] = 127
	}
	// 30 dB below the noise there is a little of every frequency, or a tone
	// would make the filter one.
	r0 := a.r[0] + a.r[0]>>10
	if r0 <= 0 {
		return len(dst)
	}
	// Schur's recursion on r/r0, Q30.
	shift := max(0, bits.Len64(uint64(r0))-31)
	var up, down [Order + 1]int64
	for j, r := range a.r {
		up[j] = r >> shift << 30 / (r0 >> shift)
	}
	up[0] = 1 << 30
	down = up
	for m := range dst[1:] {
		if down[0] <= 0 || max(up[m+1], -up[m+1]) >= down[0] {
			break
		}
		k := -(up[m+1] << 15) / down[0]
		dst[1+m] = byte((k*127+1<<14)>>15 + 127)
		for j := m + 1; j <= Order; j++ {
			u, d := up[j], down[j-m-1]
			up[j] = u + k*d>>15
			down[j-m-1] = d + k*u>>15
		}
	}
	return len(dst)
}

// amplitude is 32768 * 10^(-dB/20), Q8.
func amplitude(dB int) int32 {
	a := uint64(1) << (15 + 8 + 16)
	for range dB {
		a = a * 58409 >> 16 // 10^(-1/20)
	}
	return int32(a >> 16)
}

// root is the square root, rounded down.
func root(x uint64) (r int64) {
	for b := int64(1) << ((bits.Len64(x) + 1) / 2); b > 0; b >>= 1 {
		if uint64((r+b)*(r+b)) <= x {
			r += b
		}
	}
	return r
}
