package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
)

// WriteSVG draws throughput and 99th percentile over the callers, with machine,
// command and commit in the picture.
func (r *Result) WriteSVG(w io.Writer) error {
	rate := func(row *Row) chart.Point {
		return chart.Point{Value: row.ReqPerSec, Low: slices.Min(row.ReqPerSecRounds), Up: slices.Max(row.ReqPerSecRounds)}
	}
	p99 := func(row *Row) chart.Point {
		v := float64(row.P99)
		return chart.Point{Value: v, Low: v, Up: v}
	}
	title, sub := r.titles()
	figure := chart.Figure{
		Title: title, Subtitle: sub, Notes: r.Metadata.Notes(),
		Label: "Requests per second and 99th percentile latency by callers",
		Panels: []chart.Panel{
			r.panel("requests per second (line: median, bar: lowest to highest round)", rate, RateText),
			r.panel("99th percentile latency under that load", p99, func(v float64) string { return LatencyText(int64(v)) }),
		},
	}
	return figure.WriteSVG(w)
}

func (r *Result) titles() (title, sub string) {
	title = "ringwire"
	if slices.ContainsFunc(r.Rows, func(row Row) bool { return isBaseline(row.System) }) {
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
	return title, sub
}

// panel collects the rows into a line for each system's API.
func (r *Result) panel(title string, value func(*Row) chart.Point, format func(float64) string) *chart.Lines {
	p := &chart.Lines{Title: title, XTitle: "callers (requests in flight)", Format: format}
	var callers []int
	for _, row := range r.Rows {
		if !slices.Contains(callers, row.Callers) {
			callers = append(callers, row.Callers)
		}
	}
	slices.Sort(callers)
	for _, n := range callers {
		p.Steps = append(p.Steps, strconv.Itoa(n))
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		name := row.System + " " + string(row.API)
		at := slices.IndexFunc(p.Lines, func(l chart.Line) bool { return l.Name == name })
		if at < 0 {
			at = len(p.Lines)
			p.Lines = append(p.Lines, chart.Line{Name: name, Class: colour(row), Dashed: row.System != Ringwire})
		}
		point := value(row)
		point.Step = slices.Index(callers, row.Callers)
		p.Lines[at].Points = append(p.Lines[at].Points, point)
	}
	return p
}

// colour depends on what the line is, not on what else is drawn.
func colour(row *Row) int {
	class := slices.Index(APIs(), row.API)
	switch row.System {
	case Ringwire:
		return class
	case AnetV0:
		return class + 2*len(APIs())
	}
	return class + len(APIs())
}

// Notes say where a picture's figures come from: the machine, the command, and
// the time and the baseline.
func (m *Metadata) Notes() []string {
	// The warning comes first on its line: a long line is cut at its end.
	date := strings.TrimSpace(m.BusyNote() + " " + m.Time.Format("2006-01-02 15:04 MST"))
	if m.Baseline != "" {
		date += "; anet: " + m.Baseline
	}
	if m.Secured != "" {
		date += "; ringwire: " + m.Secured
	}
	return []string{m.Machine(), "$ " + shellLine(m.Command), date}
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
