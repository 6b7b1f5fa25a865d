package suite

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/chart"
)

// Chart is a picture, and the name of its file without extension.
type Chart struct {
	Name   string
	Figure chart.Figure
}

// Colours of bars: ringwire's, a loss, and a target that is missed without one.
const (
	colourOurs   = 0
	colourTheirs = 4
	colourLoss   = 8
	colourMissed = 3
)

// Charts draws what was measured; sections that did not run have no picture.
func (r *Report) Charts() []Chart {
	var charts []Chart
	if s := r.section("throughput"); s != nil {
		charts = append(charts,
			Chart{"throughput", r.figure("Requests per second by callers", s, s.lines("requests per second (median)", reqPerSec, bench.RateText))},
			Chart{"latency", r.figure("Latency under full load by callers", s,
				s.lines("median latency", p50Of, nanoseconds), s.lines("99th percentile latency", p99Of, nanoseconds))})
	}
	if panels := r.cpuPanels(); len(panels) > 0 {
		charts = append(charts, Chart{"cpu", r.figure("Processor time per request, client and server together", nil, panels...)})
	}
	if len(r.Goals) > 0 || r.section("everyday") != nil || r.section("light") != nil || r.section("handlers") != nil {
		charts = append(charts, Chart{"losses", r.lossFigure()})
	}
	return charts
}

// figure has the provenance below; s, if it is not nil, says what was sent.
func (r *Report) figure(title string, s *Section, panels ...chart.Panel) chart.Figure {
	sub := "client and server in separate processes over loopback, all systems interleaved, medians of " +
		strconv.Itoa(r.Metadata.Rounds) + " rounds"
	if s != nil {
		sub = "64 bytes, one connection (¹ one for each caller); " + sub
	}
	if r.Partial {
		title += " (partial)"
	}
	return chart.Figure{Title: title, Subtitle: sub, Label: title, Panels: panels,
		Notes: append(r.Metadata.Notes(), r.versionNotes()...)}
}

// versionNotes are the peers' versions in lines of a picture's width.
func (r *Report) versionNotes() []string {
	const perLine = 6
	var lines []string
	for chunk := range slices.Chunk(r.versions(), perLine) {
		lines = append(lines, strings.Join(chunk, ", "))
	}
	return lines
}

func reqPerSec(row *bench.Row) float64 { return row.ReqPerSec }
func p50Of(row *bench.Row) float64     { return float64(row.P50) }
func p99Of(row *bench.Row) float64     { return float64(row.P99) }

func nanoseconds(v float64) string { return bench.LatencyText(int64(v)) }

// lines has one line for each system.
func (s *Section) lines(title string, value func(*bench.Row) float64, format func(float64) string) *chart.Lines {
	l := &chart.Lines{Title: title, XTitle: "blocking callers", Format: format}
	steps := s.callers()
	for _, n := range steps {
		l.Steps = append(l.Steps, strconv.Itoa(n))
	}
	for i := range s.Rows {
		row := &s.Rows[i]
		if row.Rounds == 0 {
			continue
		}
		name := label(row)
		at := slices.IndexFunc(l.Lines, func(l chart.Line) bool { return l.Name == name })
		if at < 0 {
			at = len(l.Lines)
			l.Lines = append(l.Lines, chart.Line{Name: name, Class: slices.Index(PeerNames(), row.System),
				Bold: row.System == bench.Ringwire, Dashed: manyConns(row)})
		}
		v := value(row)
		l.Lines[at].Points = append(l.Lines[at].Points, chart.Point{Step: slices.Index(steps, row.Callers), Value: v, Low: v, Up: v})
	}
	return l
}

// callers are the section's numbers of callers in order.
func (s *Section) callers() []int {
	var all []int
	for _, row := range s.Rows {
		all = append(all, row.Callers)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// manyConns reports whether the system has a connection for each caller.
func manyConns(row *bench.Row) bool { return strings.HasPrefix(row.Note, "no multiplexing") }

// label is the system's name in a picture.
func label(row *bench.Row) string {
	switch {
	case manyConns(row):
		return row.System + "¹"
	case row.System == "rueidis":
		return "rueidis + Redis"
	}
	return row.System
}

// cpuPanels are the processor time under full load and at fixed rates.
func (r *Report) cpuPanels() []chart.Panel {
	var panels []chart.Panel
	if s := r.section("throughput"); s != nil {
		callers := s.callers()
		const usual = 256
		n := callers[len(callers)/2]
		if slices.Contains(callers, usual) {
			n = usual
		}
		panels = append(panels, cpuBars(fmt.Sprintf("under full load, %s", atCallers(n)), s.Rows,
			func(row *bench.Row) bool { return row.Callers == n }, label))
	}
	if s := r.section("rate"); s != nil {
		panels = append(panels, cpuBars("at a fixed rate", s.Rows, func(*bench.Row) bool { return true },
			func(row *bench.Row) string { return label(row) + ", " + bench.RateText(row.Rate) + "/s" }))
	}
	return panels
}

// cpuBars has a bar for each row that match accepts, the cheapest first.
func cpuBars(title string, rows []bench.Row, match func(*bench.Row) bool, name func(*bench.Row) string) *chart.Bars {
	bars := &chart.Bars{Title: title, Empty: "no system tells its processor time here"}
	for i := range rows {
		row := &rows[i]
		if row.CPUPerReq == nil || !match(row) {
			continue
		}
		class := colourTheirs
		if row.System == bench.Ringwire {
			class = colourOurs
		}
		bars.Bars = append(bars.Bars, chart.Bar{Name: name(row), Text: nanoseconds(*row.CPUPerReq), Class: class, Value: *row.CPUPerReq})
	}
	slices.SortStableFunc(bars.Bars, func(a, b chart.Bar) int { return cmp.Compare(a.Value, b.Value) })
	return bars
}

// lossFigure shows every target that is missed and every row that is slower than
// its peer's.
func (r *Report) lossFigure() chart.Figure {
	bars := &chart.Bars{Title: "ours / theirs, so that 1 is equal and less is worse for us (dashed: the target)", Log: true, Origin: 1,
		Empty: "Nowhere: every target is met, and no row is slower than its peer's."}
	for i := range r.Goals {
		if g := &r.Goals[i]; g.Want > 0 && (!g.Met || g.advantage() < 1 && g.Against != oursBefore) {
			bars.Bars = append(bars.Bars, g.bar())
		}
	}
	bars.Bars = append(bars.Bars, slices.Concat(r.slowerRows(), r.worseEveryday())...)
	slices.SortStableFunc(bars.Bars, func(a, b chart.Bar) int { return cmp.Compare(a.Value, b.Value) })
	f := r.figure("Where ringwire loses, and which targets it misses", nil, bars)
	return f
}

// advantage is the median as what is better when it is larger.
func (g *Goal) advantage() float64 {
	switch {
	case g.Median <= 0:
		return 1
	case g.Unit == "B":
		return g.Want / g.Median
	case g.Op == "<=":
		return 1 / g.Median
	}
	return g.Median
}

func (g *Goal) bar() chart.Bar {
	mark := g.Want
	switch {
	case g.Unit == "B":
		mark = 1
	case g.Op == "<=":
		mark = 1 / g.Want
	}
	bar := chart.Bar{Name: g.Against + ", " + g.At, Value: g.advantage(), Mark: mark, Class: colourMissed,
		Text: g.text(g.Median) + ", wanted " + g.wantText()}
	if g.Metric != throughput && g.Metric != "memory" {
		bar.Name += ", " + g.Metric
	}
	if bar.Value < 1 {
		bar.Class = colourLoss
	}
	if g.Met {
		bar.Text += ", met"
	}
	return bar
}

// slowerRows are the rows of the sections beside peers, without a target of their
// own, in which the peer is faster.
func (r *Report) slowerRows() []chart.Bar {
	var bars []chart.Bar
	for _, name := range []string{"throughput", "light", "handlers"} {
		s := r.section(name)
		if s == nil {
			continue
		}
		for i := range s.Rows {
			row := &s.Rows[i]
			ratios := s.ratios(row, throughput)
			if len(ratios) == 0 || bench.Median(ratios) >= 1 || row.API == bench.Native || name == "throughput" && r.hasGoal(row) {
				continue
			}
			v := bench.Median(ratios)
			bars = append(bars, chart.Bar{Name: row.System + ", " + s.at(row), Value: v, Class: colourLoss,
				Text: fmt.Sprintf("%.3gx, no target", v)})
		}
	}
	return bars
}

// at says under what load the row was measured.
func (s *Section) at(row *bench.Row) string {
	switch {
	case s.Name == "light":
		return fmt.Sprintf("%d light clients", row.Callers)
	case row.Handler > 0:
		return fmt.Sprintf("%s, %v handlers", atCallers(row.Callers), row.Handler)
	case s.Name == "handlers":
		return atCallers(row.Callers) + ", handlers that do not wait"
	}
	return atCallers(row.Callers)
}

func (r *Report) hasGoal(row *bench.Row) bool {
	return slices.ContainsFunc(r.Goals, func(g Goal) bool {
		return g.Against == row.System && g.At == atCallers(row.Callers) && g.Metric == throughput
	})
}
