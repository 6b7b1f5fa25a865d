package backends

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/chart"
)

// Result is what a scenario has shown.
type Result struct {
	Name   string
	Facts  []string // what was counted and measured
	Faults []string // what does not hold; none: all is well
	Figure chart.Figure
}

// fact notes what was found.
func (r *Result) fact(format string, args ...any) {
	r.Facts = append(r.Facts, fmt.Sprintf(format, args...))
}

// hold notes a fact that has to hold.
func (r *Result) hold(ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Facts = append(r.Facts, text)
	if !ok {
		r.Faults = append(r.Faults, text)
	}
}

// evenness notes when traffic became even after something, which has to be in time.
func (r *Result) evenness(after time.Duration, ok bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !ok {
		r.hold(false, "%s the traffic did not become even", text)
		return
	}
	r.hold(after <= healWithin, "%s the traffic was even within %.1f s", text, after.Seconds())
}

// perSecond makes counts per step rates.
const perSecond = float64(1e9) / float64(Step)

func countText(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.3gk", v/1000)
	}
	return fmt.Sprintf("%.3g", v)
}

// timeText is for seconds.
func timeText(v float64) string {
	switch {
	case v < 1e-3:
		return fmt.Sprintf("%.3gµs", v*1e6)
	case v < 1:
		return fmt.Sprintf("%.3gms", v*1e3)
	}
	return fmt.Sprintf("%.3gs", v)
}

// panels draws replies by server, errors by class, and latencies, until the last whole step.
func (r *record) panels(names []string, classes []string) []chart.Panel {
	r.mu.Lock()
	defer r.mu.Unlock()
	steps := max(len(r.replies)-1, 1)
	r.grow(steps)
	replies := r.timeline("replies a second, by server", countText)
	replies.Marks = r.marks
	for s, name := range names {
		replies.Series = append(replies.Series, chart.Series{Name: name, Class: s, Values: values(steps, func(i int) float64 {
			return float64(r.replies[i][s]) * perSecond
		})})
	}
	wrong := r.timeline("failed calls a second, by class", countText)
	wrong.Marks = bare(r.marks)
	for c, class := range classes {
		wrong.Series = append(wrong.Series, chart.Series{Name: class, Class: 8 + c*2, Values: values(steps, func(i int) float64 {
			return float64(r.errors[i][class]) * perSecond
		})})
	}
	latency := r.timeline("response time, by when the request was due", timeText)
	latency.Log, latency.Marks = true, bare(r.marks)
	for c, q := range []float64{0.5, 0.99} {
		latency.Series = append(latency.Series, chart.Series{Name: fmt.Sprintf("p%g", q*100), Class: 2 + c, Values: values(steps, func(i int) float64 {
			return quantile(r.took[i], q)
		})})
	}
	return []chart.Panel{replies, wrong, latency}
}

func (r *record) timeline(title string, format func(float64) string) *chart.Timeline {
	return &chart.Timeline{Title: title, Step: Step.Seconds(), Format: format}
}

func values(steps int, of func(int) float64) []float64 {
	v := make([]float64, steps)
	for i := range v {
		v[i] = of(i)
	}
	return v
}

// bare returns the marks without their texts.
func bare(marks []chart.Mark) []chart.Mark {
	marks = slices.Clone(marks)
	for i := range marks {
		marks[i].Text = ""
	}
	return marks
}

// sum adds values that are there.
func sum(values []float64) (total float64) {
	for _, v := range values {
		if !math.IsNaN(v) {
			total += v
		}
	}
	return total
}
