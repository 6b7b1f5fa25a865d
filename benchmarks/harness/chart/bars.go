package chart

import (
	"fmt"
	"math"
	"strings"
)

// Bars is a diagram of horizontal bars from zero, or, when it is logarithmic,
// from Origin. Each bar is named at its left and has its text at its right.
type Bars struct {
	Title  string
	Bars   []Bar
	Log    bool
	Origin float64 // of a logarithmic axis: bars go from here; positive
	Empty  string  // what stands there when there are no bars
}

// Bar is one value.
type Bar struct {
	Name, Text string
	Class      int
	Value      float64
	Mark       float64 // a target, drawn as a line across the bar; 0: none
}

const (
	barPitch  = 21
	barHeight = 13
	nameShare = 0.42 // of a panel's width
	// barTextWidth is kept free for the text beside the longest bar.
	barTextWidth = 150
	nameRunes    = 62 // longer names are cut
)

func (p *Bars) height() int { return max(2, len(p.Bars)) * barPitch }

func (p *Bars) draw(b *strings.Builder, area rect) {
	area.left -= valueWidth - 16
	area.width += valueWidth - 16 + area.labels - barTextWidth
	text(b, area.left, area.top-14, "sub", p.Title)
	if len(p.Bars) == 0 {
		text(b, area.left, area.top+barPitch, "sub", p.Empty)
		return
	}
	names := area.width * nameShare
	plot := rect{left: area.left + names, top: area.top, width: area.width - names, height: area.height}
	x := p.axis(plot)
	for i, bar := range p.Bars {
		y := area.top + float64(i*barPitch)
		from, to := x(p.origin()), x(bar.Value)
		anchored(b, plot.left-8, y+11, "", "end", cut(bar.Name, nameRunes))
		fmt.Fprintf(b, "<rect class=\"f%d\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"2\"><title>%s: %s</title></rect>\n",
			bar.Class%colours, min(from, to), y, max(math.Abs(to-from), 1), barHeight, escape(bar.Name), escape(bar.Text))
		end := max(from, to)
		if bar.Mark > 0 {
			at := x(bar.Mark)
			segment(b, "mark", at, y-3, at, y+barHeight+3)
			end = max(end, at)
		}
		text(b, end+6, y+11, "", bar.Text)
	}
	segment(b, "grid", x(p.origin()), area.top-4, x(p.origin()), area.top+float64(len(p.Bars)*barPitch))
}

func (p *Bars) origin() float64 {
	if p.Log {
		return p.Origin
	}
	return 0
}

// axis maps values to positions: the largest value or mark lies at the right
// edge, the smallest at the left one or, on a linear axis, zero does.
func (p *Bars) axis(plot rect) func(float64) float64 {
	low, high := p.origin(), p.origin()
	for _, bar := range p.Bars {
		low, high = min(low, bar.Value), max(high, bar.Value)
		if bar.Mark > 0 {
			low, high = min(low, bar.Mark), max(high, bar.Mark)
		}
	}
	if p.Log {
		low, high = math.Log(low), math.Log(high)
	}
	if high <= low {
		high = low + 1
	}
	return func(v float64) float64 {
		if p.Log {
			v = math.Log(v)
		}
		return plot.left + plot.width*(v-low)/(high-low)
	}
}
