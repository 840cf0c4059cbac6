package main

import (
	"bytes"
	"fmt"

	"github.com/ata-agent/ata-agent/internal/lab/fleet"
)

// A curve is one policy in the plot.
type curve struct {
	name, colour string
	fleet.Result
}

// The plot, in its own units.
const (
	width, height      = 760, 360
	left, right        = 56, 20
	top, bottom        = 44, 44
	plotWide, plotHigh = width - left - right, height - top - bottom
	minutes            = 10
)

// draw plots the part of the lines that is without service over time.
func draw(curves []curve) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="14" fill="#222">Lines without service after one of four proxies falls silent (N/C = 500 s)</text>`+"\n", left)
	x := func(second int) float64 { return left + float64(second)/(minutes*60)*plotWide }
	y := func(part float64) float64 { return top + (1-part)*plotHigh }
	for part := 0; part <= 100; part += 25 {
		at := y(float64(part) / 100)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end" fill="#555">%d %%</text>`+"\n", left, at, width-right, left-8, at+4, part)
	}
	for m := 0; m <= minutes; m++ {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#555">%d</text>`+"\n", x(m*60), height-bottom+18, m)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle" fill="#555">minutes</text>`+"\n", left+plotWide/2, height-10)
	for i, c := range curves {
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="2" stroke-linejoin="round" d="M`, c.colour)
		for s := 0; s <= minutes*60; s += 3 {
			without := 0
			if s < len(c.Without) {
				without = c.Without[s]
			}
			fmt.Fprintf(&b, "%.1f %.1f ", x(s), y(float64(without)/float64(c.Devices)))
		}
		fmt.Fprint(&b, `"/>`+"\n")
		at := top + 14 + 18*i
		fmt.Fprintf(&b, `<path d="M%d %dh24" stroke="%s" stroke-width="3"/><text x="%d" y="%d" fill="#222">%s</text>`+"\n", width-right-190, at, c.colour, width-right-158, at+4, c.name)
	}
	fmt.Fprint(&b, "</svg>\n")
	return b.Bytes()
}
