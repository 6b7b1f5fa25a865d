package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// SchemaVersion grows when a field of the Document changes its meaning or goes.
const SchemaVersion = 1

// Document is the report for programs. Times are integers of nanoseconds.
type Document struct {
	SchemaVersion int            `json:"schema_version"`
	Command       []string       `json:"command,omitempty"`
	Revision      string         `json:"revision,omitempty"`
	Targets       []string       `json:"targets"`
	Loop          string         `json:"loop"` // "open" or "closed"
	Started       *time.Time     `json:"started"`
	Warmup        time.Duration  `json:"warmup_ns"`
	Measured      time.Duration  `json:"measured_ns"`
	Interrupted   bool           `json:"interrupted"`
	EndedEarly    string         `json:"ended_early,omitempty"`
	Summary       *Summary       `json:"summary"`
	Stages        []Part         `json:"stages"`
	Requests      []Part         `json:"requests"`
	Steps         []Part         `json:"steps"` // of requests that have more than one
	Codes         []Code         `json:"codes"`
	Thresholds    []Outcome      `json:"thresholds"`
	Heartbeats    Heartbeats     `json:"heartbeats"`
	Connections   load.Conns     `json:"connections"`
	Bytes         load.Bytes     `json:"bytes"`
	Generator     load.Generator `json:"generator"`
	LittlesLaw    LittlesLaw     `json:"littles_law"`
}

// LittlesLaw is the check of the figures against each other: how many requests were in
// flight on average, seen at random times, and as rate times time in flight.
type LittlesLaw struct {
	Seen    float64 `json:"in_flight_seen"`
	ByLaw   float64 `json:"in_flight_by_law"`
	Samples int     `json:"samples"`
	Agrees  bool    `json:"agrees"` // or too few samples
}

// Heartbeats are what became of them.
type Heartbeats struct {
	Sent     uint64                `json:"sent"`
	Answered uint64                `json:"answered"`
	Missed   uint64                `json:"missed"`
	Service  *quantile.Percentiles `json:"service_ns"`
}

// Part is a stage, or a request of a mix.
type Part struct {
	Name     string                `json:"name"`
	Counts   load.Counts           `json:"counts"`
	Response *quantile.Percentiles `json:"response_ns"`
	Service  *quantile.Percentiles `json:"service_ns"`
}

// Code is the replies with a status.
type Code struct {
	Status   string                `json:"status"`
	OK       bool                  `json:"ok"`
	Count    uint64                `json:"count"`
	Response *quantile.Percentiles `json:"response_ns"`
}

// Outcome is that of a threshold. Value is in nanoseconds, a part of 1, a count or a rate;
// null if the run has no such value.
type Outcome struct {
	Threshold string   `json:"threshold"`
	Met       bool     `json:"met"`
	Value     *float64 `json:"value"`
	Shown     string   `json:"-"` // the value as people read it
}

// Outcome is what became of the threshold in a run.
func (t Threshold) Outcome(r *load.Result, s *Summary) Outcome {
	o := Outcome{Threshold: t.String(), Met: t.Met(r, s)}
	if v, ok := t.Value(r, s); ok {
		o.Value = &v
	}
	o.Shown = t.shown(o)
	return o
}

// NewDocument makes the report for programs.
func NewDocument(r *load.Result, s *Summary, o Options) *Document {
	d := &Document{
		SchemaVersion: SchemaVersion, Targets: r.Targets, Loop: "closed", Warmup: r.Warmup, Measured: r.Measured,
		Interrupted: r.Interrupted, EndedEarly: r.Broke, Summary: s, Connections: r.Conns, Bytes: r.Bytes, Generator: r.Generator,
		Heartbeats: Heartbeats{r.Beats.Sent, r.Beats.Answered, r.Beats.Missed, quantile.Of(r.Beats.Service)},
		LittlesLaw: LittlesLaw{r.Little.Sampled, r.Little.ByLaw, r.Little.Samples, r.Little.Agrees()},
		Stages:     parts(r.Stages), Requests: parts(r.Kinds), Steps: parts(r.Steps), Codes: []Code{}, Thresholds: []Outcome{},
	}
	if r.Open {
		d.Loop = "open"
	}
	if !r.Started.IsZero() {
		d.Started = &r.Started
	}
	for _, c := range r.Codes {
		d.Codes = append(d.Codes, Code{c.Name, c.OK, c.Count, quantile.Of(c.Response)})
	}
	for _, t := range o.Thresholds {
		d.Thresholds = append(d.Thresholds, t.Outcome(r, s))
	}
	return d
}

func parts(all []load.Figures) []Part {
	ps := []Part{}
	for _, f := range all {
		ps = append(ps, Part{f.Name, f.Counts, quantile.Of(f.Response), quantile.Of(f.Service)})
	}
	return ps
}

// Write writes the document as indented JSON.
func (d *Document) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}
