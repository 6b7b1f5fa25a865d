package page

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// A chart's drawing area, and the room around it for the scales.
const (
	width, height            = 720, 190
	left, right, top, bottom = 64, 28, 8, 22
)

// pointsDrawn is how many points of a line are told apart on that width.
const pointsDrawn = 480

// colours are readable on a light and on a dark ground.
var colours = []string{"#2f7ed8", "#e07b00", "#2aa44f", "#d0342c", "#8f5fd7"}

// A line is the values over a chart's xs. NaN is a gap.
type line struct {
	name string
	ys   []float64
}

// A chart has its lines over xs.
type chart struct {
	Title string
	xs    []float64
	lines []line
	log   bool                      // the y axis is logarithmic
	x     func(tick float64) string // writes a tick of the x axis
	y     func(tick float64) string
	ticks []float64 // of the x axis; nil: chosen
}

// SVG draws the chart. A chart without any value is "".
func (c *chart) SVG() template.HTML {
	low, high, any := c.bounds()
	if !any {
		return ""
	}
	from, to := c.xs[0], c.xs[len(c.xs)-1]
	if to <= from {
		from, to = from-1, to+1
	}
	atX := func(x float64) float64 { return left + (x-from)/(to-from)*(width-left-right) }
	atY := func(y float64) float64 {
		return top + (1-(c.scale(y)-c.scale(low))/(c.scale(high)-c.scale(low)))*(height-top-bottom)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="11">`,
		width, height, width, height)
	fmt.Fprintf(&b, `<title>%s</title>`, template.HTMLEscapeString(c.Title))
	for _, tick := range c.yTicks(low, high) {
		y := atY(tick)
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#888" stroke-opacity="0.25"/><text x="%d" y="%.1f" text-anchor="end" fill="#888">%s</text>`,
			left, y, width-right, left-6, y+4, template.HTMLEscapeString(c.y(tick)))
	}
	ticks := c.ticks
	if ticks == nil {
		ticks = linearTicks(from, to, 8)
	}
	for _, tick := range ticks {
		if tick >= from && tick <= to {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle" fill="#888">%s</text>`,
				atX(tick), height-6, template.HTMLEscapeString(c.x(tick)))
		}
	}
	for i, l := range c.lines {
		fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="1.5" stroke-linejoin="round" d="%s"><title>%s</title></path>`,
			colours[i%len(colours)], c.path(l, atX, atY), template.HTMLEscapeString(l.name))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) // numbers, and text that is escaped
}

// scale is where a value lies on its axis, in any unit.
func (c *chart) scale(y float64) float64 {
	if c.log {
		return math.Log10(y)
	}
	return y
}

// shown reports whether a value can be drawn.
func (c *chart) shown(y float64) bool { return !math.IsNaN(y) && (!c.log || y > 0) }

// bounds are the ends of the y axis: from 0, or from a power of ten.
func (c *chart) bounds() (low, high float64, any bool) {
	low, high = math.Inf(1), 0
	for _, l := range c.lines {
		for _, y := range l.ys {
			if c.shown(y) {
				low, high, any = min(low, y), max(high, y), true
			}
		}
	}
	switch {
	case c.log:
		low, high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))
		if high == low {
			high *= 10
		}
	default:
		low, high = 0, max(high*1.05, 1e-9)
	}
	return low, high, any && len(c.xs) > 0
}

// path is a line's; a value that is not there interrupts it, and a lone one is a dot.
func (c *chart) path(l line, atX, atY func(float64) float64) string {
	var b strings.Builder
	drawing := false
	for i, y := range l.ys {
		if !c.shown(y) {
			drawing = false
			continue
		}
		command := "L"
		if !drawing {
			command = "M"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", command, atX(c.xs[i]), atY(y))
		if !drawing && (i+1 == len(l.ys) || !c.shown(l.ys[i+1])) {
			b.WriteString("h1")
		}
		drawing = true
	}
	return b.String()
}

// Legend names the lines, each with its colour.
func (c *chart) Legend() (entries []Entry) {
	for i, l := range c.lines {
		entries = append(entries, Entry{l.name, colours[i%len(colours)]})
	}
	return entries
}

// An Entry of a legend.
type Entry struct{ Name, Colour string }

// Key is a stroke of the entry's colour.
func (e Entry) Key() template.HTML {
	return template.HTML(`<svg width="14" height="8" role="presentation"><path d="M0 4H14" stroke="` + e.Colour + `" stroke-width="3"/></svg>`)
}

func (c *chart) yTicks(low, high float64) (ticks []float64) {
	if !c.log {
		return linearTicks(low, high, 5)
	}
	for y := low; y <= high*1.001; y *= 10 {
		ticks = append(ticks, y)
	}
	return ticks
}

// linearTicks returns round values within, about so many.
func linearTicks(low, high float64, about int) (ticks []float64) {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(about))))
	for _, by := range []float64{1, 2, 5, 10} {
		if (high-low)/(by*step) <= float64(about) {
			step *= by
			break
		}
	}
	for y := math.Ceil(low/step) * step; y <= high+step*1e-9; y += step {
		ticks = append(ticks, y)
	}
	return ticks
}

// number writes a count or a rate shortly: 1.5k, 20M.
func number(v float64) string {
	for _, unit := range []struct {
		of   float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.of {
			return strconv.FormatFloat(v/unit.of, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
