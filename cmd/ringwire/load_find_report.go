package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/search"
)

// found is the report of a search.
type found struct {
	SchemaVersion int      `json:"schema_version"`
	Targets       []string `json:"targets"`
	From          float64  `json:"from"`
	To            float64  `json:"to"`
	Within        float64  `json:"within"`
	search.Result
	Conditions []string    `json:"conditions"`
	Each       []findProbe `json:"each"`
	Verdict    string      `json:"verdict"`
	ExitCode   int         `json:"exit_code"`
}

// newFound makes the report; err is the search's.
func newFound(r search.Result, f *finder, c search.Config, err error) *found {
	d := &found{SchemaVersion: 1, From: c.From, To: c.To, Within: c.Within, Result: r, Each: f.probes}
	for _, t := range f.cfg.Targets {
		d.Targets = append(d.Targets, t.String())
	}
	for _, t := range f.options.Thresholds {
		d.Conditions = append(d.Conditions, t.String())
	}
	if err != nil {
		d.Outcome, d.Rate, d.Above = "", 0, 0
		d.ExitCode, d.Verdict = exitFailed, err.Error()
		var chosen *exitError
		if errors.As(err, &chosen) {
			d.ExitCode = chosen.code
		}
		return d
	}
	switch r.Outcome {
	case search.Found:
		d.Verdict = fmt.Sprintf("found: %s/s; %s/s is too much", rateText(r.Rate), rateText(r.Above))
	case search.RangeEnd:
		d.Verdict = fmt.Sprintf("range end: %s/s and perhaps more: --find-range goes no further", rateText(r.Rate))
	case search.LowestMisses:
		d.ExitCode = report.ExitThreshold
		d.Verdict = fmt.Sprintf("lowest misses: %s/s, where --find-range begins, is too much", rateText(r.Above))
	case search.Generator:
		d.ExitCode = report.ExitInconclusive
		d.Verdict = fmt.Sprintf("generator-limited: no figure: at %s/s the generator was the limit: %s", rateText(r.Above), f.limitedAt(r.Above))
	}
	return d
}

// limitedAt is why the generator was the limit at a rate.
func (f *finder) limitedAt(rate float64) (why string) {
	for _, p := range f.probes {
		if p.Rate == rate && p.Summary.GeneratorWhy != "" {
			why = p.Summary.GeneratorWhy
		}
	}
	return why
}

func (d *found) text(out io.Writer) error {
	hint := ""
	for _, p := range d.Each {
		if d.Outcome == search.Found && p.Rate == d.Above && p.Verdict == search.Missed && p.Summary.SlotBound() {
			hint = fmt.Sprintf("             at %s/s most of the response was the wait for a free slot: --inflight and --conns may give more\n", rateText(d.Above))
		}
	}
	_, err := fmt.Fprintf(out, "\nverdict      %s (exit %d)\n%s", d.Verdict, d.ExitCode, hint)
	return err
}

// rateText shows a rate with as many digits as matter.
func rateText(rate float64) string {
	if rate < 100 {
		return fmt.Sprintf("%.3g", rate)
	}
	return fmt.Sprintf("%.0f", rate)
}

func targetList(targets []load.Target) string {
	var all []string
	for _, t := range targets {
		all = append(all, t.String())
	}
	return strings.Join(all, ", ")
}

func conditionList(all []report.Threshold) string {
	var texts []string
	for _, t := range all {
		texts = append(texts, t.String())
	}
	return strings.Join(texts, ", ")
}
