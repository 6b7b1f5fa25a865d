package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Geometry of the picture, in pixels.
const (
	svgWidth     = 1115
	svgHeight    = 500
	panelTop     = 96
	panelHeight  = 290
	panelWidth   = 330
	labelSpacing = 15 // least distance of two lines' labels
	textMax      = 150
)

// svgStyle colours by class, so that the same picture is readable on a light and
// on a dark page. Ringwire's lines are solid, the baseline's dashed.
const svgStyle = `
text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;font-size:12px;fill:#24292f}
.bg{fill:#ffffff}.title{font-size:17px;font-weight:600}.sub{font-size:13px}.small{font-size:10.5px;fill:#57606a}
.grid{stroke:#d8dee4;stroke-width:1}.line{fill:none;stroke-width:2.25;stroke-linejoin:round}.base{stroke-dasharray:6 4}
.s0{stroke:#0969da}.s1{stroke:#1a7f37}.s2{stroke:#8250df}.s3{stroke:#bc4c00}.s4{stroke:#6e7781}.s5{stroke:#bf3989}
.f0{fill:#0969da}.f1{fill:#1a7f37}.f2{fill:#8250df}.f3{fill:#bc4c00}.f4{fill:#6e7781}.f5{fill:#bf3989}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.bg{fill:#0d1117}.small{fill:#9198a1}.grid{stroke:#30363d}
.s0{stroke:#4493f8}.s1{stroke:#3fb950}.s2{stroke:#ab7df8}.s3{stroke:#f0883e}.s4{stroke:#9198a1}.s5{stroke:#db61a2}
.f0{fill:#4493f8}.f1{fill:#3fb950}.f2{fill:#ab7df8}.f3{fill:#f0883e}.f4{fill:#9198a1}.f5{fill:#db61a2}
}`

// palette is the number of colours in svgStyle.
const palette = 6

// series is one line of the picture: one system's API over the callers.
type series struct {
	name   string
	class  int
	base   bool
	points []point
}

// point is a value at the index'th number of callers, with its range.
type point struct {
	index          int
	value, low, up float64
}

// panel is one diagram with a logarithmic value axis.
type panel struct {
	title      string
	left       int
	callers    []int
	lines      []series
	format     func(float64) string
	decadeLow  int // the axis goes from 10^decadeLow
	decadeHigh int // to 10^decadeHigh
}

// WriteSVG draws throughput and 99th percentile over the callers, with machine,
// command and commit in the picture.
func (r *Result) WriteSVG(w io.Writer) error {
	rate := func(row *Row) point {
		return point{value: row.ReqPerSec, low: slices.Min(row.ReqPerSecRounds), up: slices.Max(row.ReqPerSecRounds)}
	}
	p99 := func(row *Row) point {
		v := float64(row.P99)
		return point{value: v, low: v, up: v}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Requests per second and 99th percentile latency by callers">`,
		svgWidth, svgHeight, svgWidth, svgHeight)
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"bg\" width=\"100%%\" height=\"100%%\" rx=\"8\"/>\n", svgStyle)
	r.drawTitle(&b)
	newPanel("requests per second (line: median, bar: lowest to highest round)", 60, r.Rows, rate, rateText).draw(&b)
	newPanel("99th percentile latency under that load", 605, r.Rows, p99,
		func(v float64) string { return latencyText(int64(v)) }).draw(&b)
	r.drawNotes(&b)
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) drawTitle(b *strings.Builder) {
	title, sub := "ringwire", ""
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return row.System == Anet }) {
		title = "ringwire beside anet"
	}
	if len(r.Rows) > 0 {
		row := &r.Rows[0]
		sub = fmt.Sprintf("%d-byte requests, %s, client and server in separate processes over loopback, %s; logarithmic scale",
			row.PayloadBytes, count(row.Conns, "connection"), count(r.Metadata.Rounds, "round"))
	}
	if r.Partial {
		title += " (partial)"
	}
	text(b, 24, 32, "title", title)
	text(b, 24, 54, "sub", sub)
}

func (r *Result) drawNotes(b *strings.Builder) {
	m := &r.Metadata
	y := svgHeight - 56
	lines := []string{m.Machine(), "$ " + shellLine(m.Command)}
	// The warning comes first on its line: a long line is cut at its end.
	date := strings.TrimSpace(m.busyNote() + " " + m.Time.Format("2006-01-02 15:04 MST"))
	if m.Baseline != "" {
		date += "; anet: " + m.Baseline
	}
	for i, line := range append(lines, date) {
		if runes := []rune(line); len(runes) > textMax {
			line = string(runes[:textMax]) + "…"
		}
		text(b, 24, float64(y+16*i), "small", line)
	}
}

// newPanel collects the rows into lines and fits the axis to whole decades.
func newPanel(title string, left int, rows []Row, value func(*Row) point, format func(float64) string) *panel {
	p := &panel{title: title, left: left, format: format}
	for _, row := range rows {
		if !slices.Contains(p.callers, row.Callers) {
			p.callers = append(p.callers, row.Callers)
		}
	}
	slices.Sort(p.callers)
	low, high := math.Inf(1), math.Inf(-1)
	for i := range rows {
		pt := value(&rows[i])
		pt.index = slices.Index(p.callers, rows[i].Callers)
		if pt.low <= 0 {
			continue // nothing to show on a logarithmic axis
		}
		low, high = min(low, pt.low), max(high, pt.up)
		line := p.line(rows[i].System, rows[i].API)
		line.points = append(line.points, pt)
	}
	for i := range p.lines {
		slices.SortFunc(p.lines[i].points, func(a, b point) int { return a.index - b.index })
	}
	if low <= high {
		p.decadeLow, p.decadeHigh = int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	}
	p.decadeHigh = max(p.decadeHigh, p.decadeLow+1)
	return p
}

// line finds or makes the line of a system's API.
func (p *panel) line(system string, api API) *series {
	name := system + " " + string(api)
	for i := range p.lines {
		if p.lines[i].name == name {
			return &p.lines[i]
		}
	}
	// The colour depends on what the line is, not on what else is drawn.
	class := slices.Index(APIs(), api)
	if system != Ringwire {
		class += len(APIs())
	}
	p.lines = append(p.lines, series{name: name, class: class % palette, base: system != Ringwire})
	return &p.lines[len(p.lines)-1]
}

func (p *panel) x(index int) float64 {
	if len(p.callers) == 1 {
		return float64(p.left) + panelWidth/2
	}
	const margin = 20
	return float64(p.left+margin) + float64(index)*(panelWidth-2*margin)/float64(len(p.callers)-1)
}

func (p *panel) y(value float64) float64 {
	part := (math.Log10(value) - float64(p.decadeLow)) / float64(p.decadeHigh-p.decadeLow)
	return panelTop + panelHeight*(1-part)
}

func (p *panel) draw(b *strings.Builder) {
	text(b, float64(p.left), panelTop-14, "sub", p.title)
	for decade := p.decadeLow; decade <= p.decadeHigh; decade++ {
		v := math.Pow(10, float64(decade))
		fmt.Fprintf(b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
			p.left, p.left+panelWidth, p.y(v), p.y(v))
		anchored(b, float64(p.left-6), p.y(v)+4, "small", "end", axisText(p.format(v)))
	}
	for i, n := range p.callers {
		anchored(b, p.x(i), panelTop+panelHeight+18, "small", "middle", strconv.Itoa(n))
	}
	anchored(b, float64(p.left)+panelWidth/2, panelTop+panelHeight+36, "small", "middle", "callers (requests in flight)")
	for i := range p.lines {
		p.drawLine(b, &p.lines[i])
	}
	p.drawLabels(b)
}

// axisText drops the decimals that a power of ten does not need.
func axisText(s string) string {
	return strings.Replace(strings.Replace(s, ".00", "", 1), ".0", "", 1)
}

func (p *panel) drawLine(b *strings.Builder, s *series) {
	class := fmt.Sprintf("line s%d", s.class)
	if s.base {
		class += " base"
	}
	var path []string
	for _, pt := range s.points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", p.x(pt.index), p.y(pt.value)))
	}
	fmt.Fprintf(b, "<polyline class=\"%s\" points=\"%s\"/>\n", class, strings.Join(path, " "))
	for _, pt := range s.points {
		x := p.x(pt.index)
		if pt.up > pt.low {
			fmt.Fprintf(b, "<line class=\"s%d\" stroke-width=\"1.25\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
				s.class, x, x, p.y(pt.low), p.y(pt.up))
		}
		fmt.Fprintf(b, "<circle class=\"f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"><title>%s, %s: %s</title></circle>\n",
			s.class, x, p.y(pt.value), escape(s.name), count(p.callers[pt.index], "caller"), escape(p.format(pt.value)))
	}
}

// drawLabels names each line at its right end, with its last value, and moves
// labels apart that would overlap.
func (p *panel) drawLabels(b *strings.Builder) {
	lines := slices.DeleteFunc(slices.Clone(p.lines), func(s series) bool { return len(s.points) == 0 })
	end := func(s *series) float64 { return p.y(s.points[len(s.points)-1].value) }
	slices.SortFunc(lines, func(a, b series) int { return int(math.Copysign(1, end(&a)-end(&b))) })
	next := math.Inf(-1)
	ys := make([]float64, len(lines))
	for i := range lines {
		ys[i] = max(end(&lines[i]), next)
		next = ys[i] + labelSpacing
	}
	// What was pushed below the diagram is pushed back up.
	limit := float64(panelTop + panelHeight)
	for i := len(lines) - 1; i >= 0 && ys[i] > limit; i-- {
		ys[i] = limit
		limit -= labelSpacing
	}
	for i, s := range lines {
		last := s.points[len(s.points)-1].value
		text(b, float64(p.left+panelWidth+4), ys[i]+4, fmt.Sprintf("f%d", s.class), s.name+" "+p.format(last))
	}
}

func text(b *strings.Builder, x, y float64, class, content string) {
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, y, escape(content))
}

func anchored(b *strings.Builder, x, y float64, class, anchor, content string) {
	fmt.Fprintf(b, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", class, x, y, anchor, escape(content))
}

// shellLine joins arguments so that a shell takes them apart the same way.
func shellLine(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$&|;<>()*?[]#~`") {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
