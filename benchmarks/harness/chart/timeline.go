package chart

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// timelineHeight is that of a timeline's plot.
const timelineHeight = 150

// Timeline is a diagram of values over time, at equal steps.
type Timeline struct {
	Title  string
	Step   float64 // seconds
	Series []Series
	Marks  []Mark
	Log    bool // the value axis is in decades; values that are not positive are left out
	Format func(float64) string
}

// Series is a line of a Timeline. Where a value is NaN the line is interrupted.
type Series struct {
	Name   string
	Class  int // colour, from 0; it wraps
	Dashed bool
	Values []float64
}

// Mark says what happened at a time.
type Mark struct {
	At   float64 // seconds
	Text string  // empty: a line only
}

func (p *Timeline) height() int { return timelineHeight }

func (p *Timeline) draw(b *strings.Builder, area rect) {
	text(b, area.left, area.top-14, "sub", p.Title)
	steps, low, high := p.extent()
	if steps == 0 || p.Step <= 0 {
		return
	}
	y := p.axis(b, area, low, high)
	x := func(step float64) float64 { return area.left + area.width*step/float64(max(steps-1, 1)) }
	seconds := float64(steps-1) * p.Step
	for at, every := 0.0, tick(max(seconds, p.Step), 12); at <= seconds; at += every {
		anchored(b, x(at/p.Step), area.top+area.height+16, "small", "middle", fmt.Sprintf("%g s", at))
	}
	for i, m := range p.Marks {
		at := x(m.At / p.Step)
		segment(b, "mark", at, area.top, at, area.top+area.height)
		text(b, at+3, area.top+9+float64(i%2)*11, "small", m.Text)
	}
	names := make([]string, 0, len(p.Series))
	ends := make([]float64, 0, len(p.Series))
	for _, s := range slices.SortedStableFunc(slices.Values(p.Series), func(a, b Series) int {
		return int(1e6*b.last()) - int(1e6*a.last())
	}) {
		p.drawSeries(b, &s, x, y)
		ends = append(ends, min(max(y(s.last()), area.top), area.top+area.height))
		names = append(names, fmt.Sprintf("f%d\n%s", s.Class%colours, s.Name))
	}
	for i, at := range spread(ends, area.top+8, area.top+area.height) {
		class, name, _ := strings.Cut(names[i], "\n")
		text(b, area.left+area.width+11, at+4, class, name)
	}
}

// drawSeries draws the pieces of a line between values that are missing.
func (p *Timeline) drawSeries(b *strings.Builder, s *Series, x, y func(float64) float64) {
	class := fmt.Sprintf("line thin s%d", s.Class%colours)
	if s.Dashed {
		class += " base"
	}
	var piece []string
	flush := func() {
		if len(piece) == 1 {
			piece = append(piece, piece[0]) // a value that stands alone is a dot
		}
		if len(piece) > 0 {
			fmt.Fprintf(b, "<polyline class=\"%s\" points=\"%s\"/>\n", class, strings.Join(piece, " "))
		}
		piece = piece[:0]
	}
	for i, v := range s.Values {
		if !p.drawable(v) {
			flush()
			continue
		}
		piece = append(piece, fmt.Sprintf("%.1f,%.1f", x(float64(i)), y(v)))
	}
	flush()
}

func (p *Timeline) drawable(v float64) bool { return !math.IsNaN(v) && (!p.Log || v > 0) }

// last is the value beside which the name stands.
func (s *Series) last() float64 {
	for _, v := range slices.Backward(s.Values) {
		if !math.IsNaN(v) {
			return v
		}
	}
	return 0
}

// extent returns the number of steps, and the range of values.
func (p *Timeline) extent() (steps int, low, high float64) {
	low, high = math.Inf(1), 0
	for _, s := range p.Series {
		steps = max(steps, len(s.Values))
		for _, v := range s.Values {
			if p.drawable(v) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	return steps, min(low, high), high
}

// axis draws the lines of the value axis. It returns where a value lies.
func (p *Timeline) axis(b *strings.Builder, area rect, low, high float64) (y func(float64) float64) {
	line := func(v float64) {
		segment(b, "grid", area.left, y(v), area.left+area.width, y(v))
		anchored(b, area.left-6, y(v)+4, "small", "end", axisText(p.Format(v)))
	}
	if p.Log {
		s := fit(area, []Point{{Low: max(low, 1e-9), Up: max(high, 1e-9)}})
		y = func(v float64) float64 { return s.y(max(v, math.Pow(10, s.low))) }
		for decade := s.low; decade <= s.high; decade++ {
			line(math.Pow(10, decade))
		}
		return y
	}
	if high <= 0 {
		high = 1 // nothing happened
	}
	every := tick(high, 4)
	top := every * math.Ceil(high/every)
	y = func(v float64) float64 { return area.top + area.height*(1-v/top) }
	for v := 0.0; v <= top*1.001; v += every {
		line(v)
	}
	return y
}

// tick returns a round distance, by which there are at most so many within length.
func tick(length float64, most int) float64 {
	step := math.Pow(10, math.Floor(math.Log10(length/float64(most))))
	for _, f := range []float64{1, 2, 5} {
		if length/(step*f) <= float64(most) {
			return step * f
		}
	}
	return step * 10
}
