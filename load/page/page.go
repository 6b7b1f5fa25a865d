package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
	"github.com/ringwire/ringwire/load/report"
)

//go:embed page.html
var text string

var tmpl = template.Must(template.New("page").Funcs(template.FuncMap{
	"ns":      report.Duration,
	"percent": func(part float64) string { return fmt.Sprintf("%.4g %%", 100*part) },
	"seconds": func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) },
	"join":    strings.Join,
}).Parse(text))

// data is what the template is given.
type data struct {
	*report.Document
	Met    bool // the run's end is what was asked for
	Lat    []latency
	Charts []*chart
}

// A latency is a row of the table.
type latency struct {
	Name, What string
	At         *quantile.Percentiles
}

// Write writes the page.
func Write(w io.Writer, d *report.Document, res *load.Result, p *Points) error {
	page := data{Document: d, Met: d.Summary.ExitCode == report.ExitOK}
	for _, l := range []latency{
		{"response", "from when a request was due", d.Summary.Response},
		{"service", "from when it was sent", d.Summary.Service},
		{"queue", "between the two", d.Summary.Queue},
		{"lag", "the generator's own part of queue", d.Summary.Lag},
	} {
		if l.At != nil && (res.Open || l.Name == "response") {
			page.Lat = append(page.Lat, l)
		}
	}
	for _, c := range append(overTime(p), byPercentile(res)) {
		if c.SVG() != "" {
			page.Charts = append(page.Charts, c)
		}
	}
	return tmpl.Execute(w, &page)
}

// overTime are the charts over the run's seconds.
func overTime(p *Points) []*chart {
	points := p.drawn(pointsDrawn)
	var xs []float64
	for _, at := range points {
		xs = append(xs, at.at.Seconds())
	}
	each := func(f func(p *point) float64) (ys []float64) {
		for i := range points {
			ys = append(ys, f(&points[i]))
		}
		return ys
	}
	rate := func(f func(p *point) uint64) []float64 {
		return each(func(p *point) float64 { return float64(f(p)) / max(p.took, time.Millisecond).Seconds() })
	}
	percentile := func(f func(p *point) int64) []float64 {
		return each(func(p *point) float64 {
			if v := f(p); v > 0 {
				return float64(v)
			}
			return math.NaN()
		})
	}
	second := func(s float64) string { return number(s) + " s" }
	errors := []line{
		{"timeouts", rate(func(p *point) uint64 { return p.timeouts })},
		{"connection lost", rate(func(p *point) uint64 { return p.lost })},
		{"wrong or refused replies", rate(func(p *point) uint64 { return p.wrong })},
	}
	return []*chart{
		{Title: "Requests a second", xs: xs, x: second, y: number, lines: []line{
			{"sent", rate(func(p *point) uint64 { return p.sent })},
			{"replied", rate(func(p *point) uint64 { return p.replied })},
			{"failed", rate(func(p *point) uint64 { return p.failed })},
		}},
		{Title: "Response", xs: xs, x: second, y: nanoseconds, log: true, lines: []line{
			{"p50", percentile(func(p *point) int64 { return p.p50 })},
			{"p90", percentile(func(p *point) int64 { return p.p90 })},
			{"p99", percentile(func(p *point) int64 { return p.p99 })},
			{"max", percentile(func(p *point) int64 { return p.highest })},
		}},
		{Title: "Errors a second", xs: xs, x: second, y: number, lines: errors},
		{Title: "In flight, connections", xs: xs, x: second, y: number, lines: []line{
			{"in flight", each(func(p *point) float64 { return float64(p.inFlight) })},
			{"connections", each(func(p *point) float64 { return float64(p.conns) })},
		}},
	}
}

// byPercentile is the chart of a latency by its percentile. The axis is that of -log10 of what
// is above, so that 99, 99.9 and 99.99 % are as far from each other.
func byPercentile(res *load.Result) *chart {
	c := &chart{Title: "Latency by percentile", y: nanoseconds, log: true, ticks: []float64{0, 1, 2, 3, 4, 5},
		x: func(nines float64) string {
			return fmt.Sprintf("%.*f %%", max(int(nines)-2, 0), 100-100*math.Pow(10, -nines))
		}}
	longest := 1.0
	for _, h := range []*hdrhistogram.Histogram{res.Total.Response, res.Total.Service} {
		if n := h.TotalCount(); n > 0 {
			longest = max(longest, min(math.Log10(float64(n)), 6))
		}
	}
	const steps = 240
	for i := range steps + 1 {
		c.xs = append(c.xs, longest*float64(i)/steps)
	}
	for _, of := range []struct {
		name string
		h    *hdrhistogram.Histogram
	}{{"response", res.Total.Response}, {"service", res.Total.Service}} {
		if of.h.TotalCount() == 0 {
			continue
		}
		l := line{name: of.name}
		for _, nines := range c.xs {
			l.ys = append(l.ys, float64(quantile.At(of.h, 100-100*math.Pow(10, -nines))))
		}
		c.lines = append(c.lines, l)
	}
	return c
}

func nanoseconds(v float64) string { return report.Duration(int64(v)) }
