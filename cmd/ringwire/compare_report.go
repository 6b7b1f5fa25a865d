package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ringwire/ringwire/load/compare"
	"github.com/ringwire/ringwire/load/report"
)

// Units of what is compared.
const (
	unitTime = "ns"
	unitRate = "replies/s"
	unitPart = "of 1"
)

// comparison is what came of both sides.
type comparison struct {
	SchemaVersion int        `json:"schema_version"`
	A             string     `json:"a"`
	B             string     `json:"b"`
	Rounds        int        `json:"rounds"`
	Limit         float64    `json:"max_regression"` // a part of 1; negative: none
	Measures      []measured `json:"measures"`
	// Limited is in how many runs the generator was the limit, with a reason.
	Limited  int    `json:"generator_limited"`
	Why      string `json:"generator_why,omitempty"`
	Verdict  string `json:"verdict"`
	ExitCode int    `json:"exit_code"`

	requests [2][]uint64 // replied, by round
}

// measured is a measure and what became of it.
type measured struct {
	compare.Measure
	compare.Change
	Meaning compare.Verdict `json:"verdict"`
	// Decision is about the limit; "": there is none.
	Decision compare.Decision `json:"decision,omitempty"`
}

// measures are what is compared; the open loop's rate is its schedule's.
func (c *comparison) measures(open bool) {
	all := []compare.Measure{{Name: "p50", Unit: unitTime}, {Name: "p99", Unit: unitTime},
		{Name: "success", Unit: unitPart, MoreIsBetter: true}}
	if !open {
		all = append(all, compare.Measure{Name: "rate", Unit: unitRate, MoreIsBetter: true})
	}
	for _, m := range all {
		c.Measures = append(c.Measures, measured{Measure: m})
	}
}

// add adds a run of a side, which had successes.
func (c *comparison) add(side int, s *report.Summary) {
	values := map[string]float64{"p50": float64(s.Response.P50), "p99": float64(s.Response.P99), "success": 1 - s.ErrorRate, "rate": s.Rate}
	for i := range c.Measures {
		m := &c.Measures[i]
		to := &m.Measure.A
		if side == 1 {
			to = &m.Measure.B
		}
		*to = append(*to, values[m.Name])
	}
	c.requests[side] = append(c.requests[side], s.Replied)
	if s.GeneratorLimited {
		c.Limited++
		c.Why = s.GeneratorWhy
	}
}

// look compares what was added, at one of so many looks, and reports whether that decides.
// What is worse by more than the limit does, whatever the other measures are.
func (c *comparison) look(looks int, last bool) (decided bool, err error) {
	open := false
	for i := range c.Measures {
		m := &c.Measures[i]
		if m.Change, err = m.Compare(looks); err != nil {
			return false, err
		}
		m.Meaning = m.Measure.Verdict(m.Change)
		if c.Limit < 0 {
			continue
		}
		m.Decision = m.Decide(m.Change, c.Limit, last)
		decided = decided || m.Decision == compare.Over
		open = open || m.Decision == compare.Open
	}
	return decided || !open, nil
}

// judge says what the last look has found, and chooses the exit code.
func (c *comparison) judge() {
	var worse, over, undecided []string
	for i := range c.Measures {
		m := &c.Measures[i]
		if m.Meaning == compare.Worse {
			worse = append(worse, m.Name)
		}
		switch m.Decision {
		case compare.Over:
			over = append(over, m.Name)
		case compare.Open:
			undecided = append(undecided, fmt.Sprintf("%s, by %.4g %% at most", m.Name, 100*m.AtMost(m.Change)))
		}
	}
	limit := fmt.Sprintf("more than %.4g %%", 100*c.Limit)
	switch {
	case len(over) > 0: // a generator at its limit hides differences and makes none: it is both sides'
		c.ExitCode = exitRegression
		c.Verdict = fmt.Sprintf("B is worse by %s: %s", limit, strings.Join(over, ", "))
	case c.Limit >= 0 && c.Limited >= c.Rounds: // of twice as many runs
		c.ExitCode = report.ExitInconclusive
		c.Verdict = fmt.Sprintf("inconclusive: the generator was the limit in %d of %d runs: %s", c.Limited, 2*c.Rounds, c.Why)
	case len(undecided) > 0:
		c.Verdict = fmt.Sprintf("B is not shown to be worse by %s, and may be: %s", limit, strings.Join(undecided, "; "))
	case len(worse) > 0 && c.Limit >= 0:
		c.Verdict = fmt.Sprintf("B is worse, not by %s: %s", limit, strings.Join(worse, ", "))
	case len(worse) > 0:
		c.Verdict = "B is worse: " + strings.Join(worse, ", ")
	default:
		c.Verdict = "B is not worse"
	}
}

func (m *measured) value(v float64) string {
	switch m.Unit {
	case unitTime:
		return report.Duration(int64(v))
	case unitPart:
		return fmt.Sprintf("%.4g %%", 100*v)
	}
	return fmt.Sprintf("%.1f/s", v)
}

func (c *comparison) text(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n%d rounds, in turn\n\n", c.A, c.B, c.Rounds)
	w := tabwriter.NewWriter(&b, 12, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tA\tB\tB/A\t%.1f %% interval\t\n", 100*c.Measures[0].Confidence)
	for i := range c.Measures {
		m := &c.Measures[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%+.1f %%\t%+.1f to %+.1f %%\t%s", m.Name, m.value(m.Change.A), m.value(m.Change.B),
			100*(m.Ratio-1), 100*(m.Low-1), 100*(m.High-1), m.Meaning)
		if m.Decision != "" {
			fmt.Fprintf(w, ", %s", m.Decision)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // to memory
	b.WriteString("A and B: medians of the rounds; latencies are without the generator's own lag\n")
	if c.Limited > 0 {
		fmt.Fprintf(&b, "\ngenerator    in %d of %d runs figures may be its own: %s\n", c.Limited, 2*c.Rounds, c.Why)
	}
	fmt.Fprintf(&b, "\nverdict      %s (exit %d)\n", c.Verdict, c.ExitCode)
	_, err := io.WriteString(out, b.String())
	return err
}

// writeBenchstat writes a line for each run, in the format of Go's benchmarks.
func (c *comparison) writeBenchstat(w io.WriteCloser) error {
	var b strings.Builder
	fmt.Fprintf(&b, "a: %s\nb: %s\nUnit %s better=higher\n", c.A, c.B, unitRate)
	for round := range c.Rounds {
		for side, name := range []string{"A", "B"} {
			fmt.Fprintf(&b, "BenchmarkLoad/side=%s\t%d", name, c.requests[side][round])
			for _, m := range c.Measures {
				v := m.Measure.A[round]
				if side == 1 {
					v = m.Measure.B[round]
				}
				switch m.Unit {
				case unitTime:
					fmt.Fprintf(&b, "\t%.0f %s-ns", v, m.Name)
				case unitRate:
					fmt.Fprintf(&b, "\t%.1f %s", v, m.Unit)
				}
			}
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(w, b.String())
	return errors.Join(err, w.Close())
}
