package chart

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Lines is a diagram of values over steps, such as numbers of callers, with a
// logarithmic value axis. Each line is named at its right end.
type Lines struct {
	Title, XTitle string
	Steps         []string // names of the steps, from left to right
	Lines         []Line
	Format        func(float64) string
}

// Line is one series.
type Line struct {
	Name   string
	Class  int // colour, from 0; it wraps
	Dashed bool
	Bold   bool
	Points []Point // in the order of Step; those that are not positive are left out
}

// Point is a value at a step, with its range.
type Point struct {
	Step           int
	Value, Low, Up float64
}

func (l *Lines) height() int {
	if len(l.Lines) >= tallLinesFrom {
		return tallHeight
	}
	return figureHeight
}

// scale maps values to heights: whole decades.
type scale struct {
	area      rect
	low, high float64 // exponents of ten
}

// fit chooses decades that hold all of the points.
func fit(area rect, points []Point) scale {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		low, high = min(low, p.Low), max(high, p.Up)
	}
	s := scale{area: area, low: 0, high: 1}
	if low <= high {
		s.low, s.high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	}
	s.high = max(s.high, s.low+1)
	return s
}

func (s scale) y(value float64) float64 {
	part := (math.Log10(value) - s.low) / (s.high - s.low)
	return s.area.top + s.area.height*(1-part)
}

func (l *Lines) draw(b *strings.Builder, area rect) {
	lines := l.drawable()
	var points []Point
	for _, line := range lines {
		points = append(points, line.Points...)
	}
	s := fit(area, points)
	text(b, area.left, area.top-14, "sub", l.Title)
	for decade := s.low; decade <= s.high; decade++ {
		v := math.Pow(10, decade)
		segment(b, "grid", area.left, s.y(v), area.left+area.width, s.y(v))
		anchored(b, area.left-6, s.y(v)+4, "small", "end", axisText(l.Format(v)))
	}
	for i, step := range l.Steps {
		anchored(b, l.x(area, i), area.top+area.height+18, "small", "middle", step)
	}
	anchored(b, area.left+area.width/2, area.top+area.height+36, "small", "middle", l.XTitle)
	for i := range lines {
		l.drawLine(b, s, &lines[i])
	}
	l.drawLabels(b, s, lines)
}

// drawable is the lines with only the points that a logarithmic axis can show.
func (l *Lines) drawable() []Line {
	var lines []Line
	for _, line := range l.Lines {
		line.Points = slices.DeleteFunc(slices.Clone(line.Points), func(p Point) bool { return p.Low <= 0 || p.Value <= 0 })
		slices.SortStableFunc(line.Points, func(a, b Point) int { return a.Step - b.Step })
		if len(line.Points) > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

func (l *Lines) x(area rect, step int) float64 {
	if len(l.Steps) <= 1 {
		return area.left + area.width/2
	}
	const inset = 20
	return area.left + inset + float64(step)*(area.width-2*inset)/float64(len(l.Steps)-1)
}

// axisText drops the decimals that a power of ten does not need.
func axisText(s string) string {
	return strings.Replace(strings.Replace(s, ".00", "", 1), ".0", "", 1)
}

func (l *Lines) drawLine(b *strings.Builder, s scale, line *Line) {
	colour := line.Class % colours
	class := fmt.Sprintf("line s%d", colour)
	if line.Dashed {
		class += " base"
	}
	if line.Bold {
		class += " bold"
	}
	var path []string
	for _, p := range line.Points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", l.x(s.area, p.Step), s.y(p.Value)))
	}
	fmt.Fprintf(b, "<polyline class=\"%s\" points=\"%s\"/>\n", class, strings.Join(path, " "))
	for _, p := range line.Points {
		x := l.x(s.area, p.Step)
		if p.Up > p.Low {
			segment(b, fmt.Sprintf("s%d", colour), x, s.y(p.Low), x, s.y(p.Up))
		}
		fmt.Fprintf(b, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%s, %s: %s</title></circle>\n",
			colour, x, s.y(p.Value), escape(line.Name), escape(l.Steps[p.Step]), escape(l.Format(p.Value)))
	}
}

// drawLabels names each line beside its last point, with that point's value,
// moves labels apart that would overlap, and leads from the point to its label.
func (l *Lines) drawLabels(b *strings.Builder, s scale, lines []Line) {
	last := func(line *Line) Point { return line.Points[len(line.Points)-1] }
	slices.SortStableFunc(lines, func(a, b Line) int {
		return int(math.Copysign(1, s.y(last(&a).Value)-s.y(last(&b).Value)))
	})
	ends := make([]float64, len(lines))
	for i := range lines {
		ends[i] = s.y(last(&lines[i]).Value)
	}
	ys := spread(ends, s.area.top, s.area.top+s.area.height)
	for i := range lines {
		p, colour := last(&lines[i]), lines[i].Class%colours
		right := s.area.left + s.area.width
		segment(b, fmt.Sprintf("leader s%d", colour), l.x(s.area, p.Step)+4, ends[i], right+8, ys[i])
		text(b, right+11, ys[i]+4, fmt.Sprintf("f%d", colour), lines[i].Name+" "+l.Format(p.Value))
	}
}

// spread moves sorted positions apart, within the bounds as far as they have room.
func spread(sorted []float64, low, high float64) []float64 {
	ys := slices.Clone(sorted)
	next := low
	for i := range ys {
		ys[i] = max(ys[i], next)
		next = ys[i] + labelSpacing
	}
	for i := len(ys) - 1; i >= 0 && ys[i] > high; i-- {
		ys[i] = high
		high -= labelSpacing
	}
	return ys
}
