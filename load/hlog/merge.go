package hlog

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
)

// errRange is of logs whose histograms cannot be added up without a loss.
var errRange = errors.New("the histograms have another range than those of the other logs")

// Merger adds runs up: what several generators did to one backend is one result. Its
// memory does not grow with the number of runs.
type Merger struct {
	sum   *load.Result
	spans []span // when the runs measured, sorted, without overlaps
}

// span is a piece of time.
type span struct{ from, to time.Time }

// Add adds a run, and takes its histograms over.
//
// Counts and histograms are summed. The time measured is that in which any of them
// measured, so runs at the same time add their rates up. Of the generators, the worst
// figures are kept: one that was the limit makes the sum inconclusive.
func (m *Merger) Add(r *load.Result) error {
	if !r.Started.IsZero() {
		from := r.Started.Add(r.Warmup)
		m.measured(span{from, from.Add(r.Measured)})
	}
	if m.sum == nil {
		c := *r
		c.Conns.Errors = maps.Clone(r.Conns.Errors)
		c.Targets, c.Kinds, c.Codes = slices.Clone(r.Targets), slices.Clone(r.Kinds), slices.Clone(r.Codes)
		c.Stages = nil
		m.sum = &c
		return nil
	}
	s := m.sum
	s.Open = s.Open && r.Open // else there is no lag
	s.Interrupted = s.Interrupted || r.Interrupted
	s.Broke = cmp.Or(s.Broke, r.Broke)
	s.InFlight = max(s.InFlight, r.InFlight)
	s.Elapsed, s.Warmup = max(s.Elapsed, r.Elapsed), max(s.Warmup, r.Warmup)
	if s.Started.IsZero() || !r.Started.IsZero() && r.Started.Before(s.Started) {
		s.Started = r.Started
	}
	for _, t := range r.Targets {
		if !slices.Contains(s.Targets, t) {
			s.Targets = append(s.Targets, t)
		}
	}
	s.Violations.Add(&r.Violations)
	s.Replies.Add(r.Replies)
	s.Unsent.Backlog += r.Unsent.Backlog
	s.Unsent.Generator += r.Unsent.Generator
	s.Unsent.Early += r.Unsent.Early
	s.Bytes.Sent += r.Bytes.Sent
	s.Bytes.Received += r.Bytes.Received
	m.conns(&r.Conns)
	g := &s.Generator
	g.CPU, g.Stolen = max(g.CPU, r.Generator.CPU), max(g.Stolen, r.Generator.Stolen)
	g.SchedP99, g.PauseMax = max(g.SchedP99, r.Generator.SchedP99), max(g.PauseMax, r.Generator.PauseMax)
	err := add(&s.Total, &r.Total)
	for i := range r.Kinds {
		at := slices.IndexFunc(s.Kinds, func(k load.Figures) bool { return k.Name == r.Kinds[i].Name })
		if at < 0 {
			s.Kinds = append(s.Kinds, r.Kinds[i])
			continue
		}
		err = errors.Join(err, add(&s.Kinds[at], &r.Kinds[i]))
	}
	return errors.Join(err, m.codes(r.Codes))
}

func (m *Merger) conns(c *load.Conns) {
	to := &m.sum.Conns
	to.Opened += c.Opened
	to.Lost += c.Lost
	to.Replaced += c.Replaced
	to.Cut += c.Cut
	if to.Errors == nil {
		to.Errors = make(map[string]uint64)
	}
	for text, n := range c.Errors {
		to.Errors[text] += n
	}
}

func (m *Merger) codes(from []load.Code) (err error) {
	for _, c := range from {
		at := slices.IndexFunc(m.sum.Codes, func(k load.Code) bool { return k.Name == c.Name })
		if at < 0 {
			m.sum.Codes = append(m.sum.Codes, c)
			continue
		}
		to := &m.sum.Codes[at]
		to.OK = to.OK || c.OK
		to.Count += c.Count
		err = errors.Join(err, merge(to.Response, c.Response))
	}
	return err
}

func add(to, from *load.Figures) error {
	to.Counts.Add(&from.Counts)
	return errors.Join(merge(to.Response, from.Response), merge(to.Service, from.Service),
		merge(to.Queue, from.Queue), merge(to.Lag, from.Lag), merge(to.Late, from.Late))
}

func merge(to, from *hdrhistogram.Histogram) error {
	if to.Merge(from) > 0 {
		return errRange
	}
	return nil
}

// measured adds a piece of time.
func (m *Merger) measured(s span) {
	all := append(m.spans, s)
	slices.SortFunc(all, func(a, b span) int { return a.from.Compare(b.from) })
	m.spans = all[:1]
	for _, s := range all[1:] {
		last := &m.spans[len(m.spans)-1]
		if s.from.After(last.to) {
			m.spans = append(m.spans, s)
		} else if s.to.After(last.to) {
			last.to = s.to
		}
	}
}

// Result is the sum of the runs, nil if there is none.
func (m *Merger) Result() *load.Result {
	if m.sum == nil {
		return nil
	}
	m.sum.Measured = 0
	for _, s := range m.spans {
		m.sum.Measured += s.to.Sub(s.from)
	}
	slices.SortFunc(m.sum.Codes, func(a, b load.Code) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return m.sum
}
