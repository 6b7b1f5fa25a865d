package suite

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/chart"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// everydayCases are those of "ringwire bench", beside the one server of anet that is
// measured everywhere else.
func everydayCases(ctx context.Context, b *builder) ([]bench.Case, error) {
	var targets []bench.Target
	for _, name := range []string{bench.Ringwire, bench.Anet} {
		t, err := b.target(ctx, name)
		if err != nil || t == nil {
			return nil, err
		}
		targets = append(targets, *t)
	}
	cfg := b.options.config()
	var plan bench.Plan
	err := plan.AddEveryday(&cfg, bench.Everyday{Targets: targets,
		Start: func(system string, setup bench.Setup) (bench.Server, error) {
			p, _ := peer.Find(system)
			server, err := b.fleet.with(ctx, p, setup)
			if err != nil {
				return bench.Server{}, err
			}
			return bench.Server{Addr: server.Addr, PID: server.PID()}, nil
		}})
	return plan.Cases, err
}

// everyday is the section as the harness prints it: rows with a condition are compared
// with rows of other conditions, and some of them by processor time.
func (s *Section) everyday() *bench.Result {
	return &bench.Result{Rows: s.Rows, Everyday: s.Everyday}
}

func (s *Section) writeEveryday(w io.Writer) error {
	if _, err := io.WriteString(w, "\n"+s.Title+"\n\n"); err != nil {
		return err
	}
	if err := s.everyday().WriteEveryday(w); err != nil {
		return err
	}
	_, err := io.WriteString(w, s.footnotes())
	return err
}

// markdownEveryday is what follows the section's title.
func (s *Section) markdownEveryday(b *strings.Builder) {
	_ = s.everyday().WriteEverydayMarkdown(b) // a Builder takes everything
	s.markdownNotes(b)
}

// worseEveryday are the rows of everyday use in which anet is better.
func (r *Report) worseEveryday() []chart.Bar {
	s := r.section("everyday")
	if s == nil {
		return nil
	}
	var bars []chart.Bar
	for _, w := range s.everyday().Worse() {
		name := w.Baseline + ", " + atCallers(w.Row.Callers) + ", " + w.Condition
		if w.CPU {
			name = w.Baseline + ", " + w.Condition + ", processor time"
		}
		bars = append(bars, chart.Bar{Name: name, Value: w.Factor, Class: colourLoss,
			Text: fmt.Sprintf("%.3gx, no target", w.Factor)})
	}
	return bars
}
