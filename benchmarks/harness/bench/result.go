package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// SchemaVersion is that of a Result's JSON form. It rises when a field changes
// its meaning or goes away.
const SchemaVersion = 2

// Result is what a benchmark found.
type Result struct {
	SchemaVersion int      `json:"schema_version"`
	Partial       bool     `json:"partial"` // interrupted or failed before its end
	Metadata      Metadata `json:"metadata"`
	Rows          []Row    `json:"rows"`
	// Everyday are the rows that have a condition.
	Everyday []Row `json:"everyday,omitempty"`
}

// Row is one cell's result. Medians are over rounds; a field that could not be
// measured is absent.
type Row struct {
	System       string `json:"system"`
	API          API    `json:"api"`
	Callers      int    `json:"callers"`
	Window       int    `json:"window"` // requests in flight; the same number
	PayloadBytes int    `json:"payload_bytes"`
	Conns        int    `json:"conns"`
	Rounds       int    `json:"rounds"`
	Requests     uint64 `json:"requests"` // answered, all rounds together
	Errors       uint64 `json:"errors"`   // failed, all rounds together

	// Handler is how long the server's handler waited; absent: not at all.
	Handler time.Duration `json:"handler_ns,omitempty"`

	// Condition and Beside are the case's.
	Condition string `json:"condition,omitempty"`
	Beside    string `json:"beside,omitempty"`
	Slice     string `json:"slice,omitempty"` // absent: that of the metadata

	// Rate is how many requests per second were begun; absent: as fast as
	// replies came.
	Rate float64 `json:"rate,omitempty"`
	Note string  `json:"note,omitempty"` // the system's
	// Failure is why the case stopped before its last round; absent when it did not.
	Failure string `json:"failure,omitempty"`

	// Values by round are those of the rounds 0 to Rounds-1 of the plan, so that
	// rows of one result can be compared round by round.
	ReqPerSec       float64   `json:"req_per_s"` // median
	ReqPerSecRounds []float64 `json:"req_per_s_rounds"`
	P50Rounds       []float64 `json:"p50_ns_rounds,omitempty"`
	P99Rounds       []float64 `json:"p99_ns_rounds,omitempty"`
	CPUPerReqRounds []float64 `json:"cpu_ns_per_req_rounds,omitempty"`
	// StolenRounds are the parts of the machine's time that its host took.
	StolenRounds []float64 `json:"stolen_rounds,omitempty"`

	// Latencies of a sample of the requests of all rounds.
	LatencySamples int64 `json:"latency_samples"`
	P50            int64 `json:"p50_ns"`
	P99            int64 `json:"p99_ns"`
	P999           int64 `json:"p999_ns"`

	// With a rate. Lag is how late requests were sent by the generator's fault, and part
	// of their latency: pace.Request. Unsent requests were due, and never sent.
	LagP50 int64 `json:"lag_p50_ns,omitempty"`
	LagP99 int64 `json:"lag_p99_ns,omitempty"`
	Unsent int64 `json:"unsent,omitempty"`

	CPUPerReq    *float64 `json:"cpu_ns_per_req,omitempty"` // median; client and server, no pacing
	AllocsPerReq float64  `json:"allocs_per_req"`           // all rounds; client
	// CPUPerSecond is the processor time, of client and servers, per second of the slices.
	CPUPerSecond       *float64  `json:"cpu_ns_per_s,omitempty"` // median
	CPUPerSecondRounds []float64 `json:"cpu_ns_per_s_rounds,omitempty"`
	// Ratios are, by the baseline's name, the medians of the rounds' ratios of
	// req_per_s to the baseline's, by the same API where it has that and by its
	// fastest elsewhere. A baseline has none, nor has a row of
	// processor time.
	Ratios map[string]float64 `json:"ratios,omitempty"`
	// RatioToAnet is the lowest of Ratios.
	RatioToAnet *float64 `json:"ratio_to_anet,omitempty"`
	// CPURatios are those of the baseline's processor time per second to the row's: above
	// 1 the row used less. Only cases that compare processor time have them.
	CPURatios map[string]float64 `json:"cpu_ratios,omitempty"`
}

// summarize makes a row of every cell that ran at least once, or failed.
func summarize(cells []*cell, partial bool) *Result {
	r := &Result{SchemaVersion: SchemaVersion, Partial: partial}
	for _, c := range cells {
		if row := c.row(); row.Rounds > 0 || row.Failure != "" {
			row.compare(c, cells)
			if c.Condition == "" {
				r.Rows = append(r.Rows, row)
			} else {
				r.Everyday = append(r.Everyday, row)
			}
		}
	}
	sortEveryday(r.Everyday)
	return r
}

func (c *cell) row() Row {
	row := Row{
		System: c.Target.Name, API: c.API, Callers: c.Callers, Window: c.Callers,
		PayloadBytes: c.PayloadBytes, Conns: c.Conns, Rate: c.Rate, Handler: c.Handler, Note: c.Target.Note,
		Condition: c.Condition, Beside: c.Beside,
	}
	if c.Slice != 0 {
		row.Slice = c.Slice.String()
	}
	if c.failure != nil {
		row.Failure = c.failure.Error()
	}
	var mallocs uint64
	for _, m := range c.rounds {
		if m == nil {
			continue
		}
		row.Rounds++
		row.Requests += m.requests
		row.Errors += m.errors
		row.Unsent += m.unsent
		mallocs += m.mallocs
		row.ReqPerSecRounds = append(row.ReqPerSecRounds, m.perSecond())
		if m.p50 > 0 {
			row.P50Rounds = append(row.P50Rounds, float64(m.p50))
			row.P99Rounds = append(row.P99Rounds, float64(m.p99))
		}
		if m.cpu > 0 {
			row.CPUPerSecondRounds = append(row.CPUPerSecondRounds, m.cpuPerSecond())
		}
		if m.cpu > 0 && m.requests > 0 {
			row.CPUPerReqRounds = append(row.CPUPerReqRounds, float64(m.cpu)/float64(m.requests))
		}
		if m.stolen >= 0 {
			row.StolenRounds = append(row.StolenRounds, m.stolen)
		}
	}
	if row.Rounds == 0 {
		return row
	}
	row.ReqPerSec = Median(row.ReqPerSecRounds)
	if row.Requests > 0 {
		row.AllocsPerReq = float64(mallocs) / float64(row.Requests)
	}
	row.CPUPerReq = optionalMedian(row.CPUPerReqRounds)
	row.CPUPerSecond = optionalMedian(row.CPUPerSecondRounds)
	row.setLatencies(c.latencies)
	row.LagP50, row.LagP99 = c.lags.ValueAtQuantile(50), c.lags.ValueAtQuantile(99)
	return row
}

// optionalMedian is nil of no value.
func optionalMedian(values []float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	m := Median(values)
	return &m
}

func (r *Row) setLatencies(h *hdrhistogram.Histogram) {
	r.LatencySamples = h.TotalCount()
	r.P50 = h.ValueAtQuantile(50)
	r.P99 = h.ValueAtQuantile(99)
	r.P999 = h.ValueAtQuantile(99.9)
}

// compare sets the ratios of c's row to every baseline.
func (r *Row) compare(c *cell, cells []*cell) {
	if isBaseline(r.System) {
		return
	}
	if c.CPU {
		// The inverse, so that more is better here, too.
		r.CPURatios = medianRatios(c, cells, (*measurement).secondsPerCPU)
	} else {
		r.Ratios = medianRatios(c, cells, (*measurement).perSecond)
	}
	if name, lowest := hardest(r.Ratios); name != "" {
		r.RatioToAnet = &lowest
	}
}

// medianRatios are c's ratios to every baseline that ran beside it; nil without one.
func medianRatios(c *cell, cells []*cell, value func(*measurement) float64) map[string]float64 {
	var medians map[string]float64
	for _, other := range cells {
		name := other.Target.Name
		if _, done := medians[name]; done || !isBaseline(name) {
			continue
		}
		ratios := ratiosTo(name, c, cells, value)
		if len(ratios) == 0 {
			continue
		}
		if medians == nil {
			medians = make(map[string]float64)
		}
		medians[name] = Median(ratios)
	}
	return medians
}

// hardest is the baseline of the lowest ratio; "" where there is none.
func hardest(ratios map[string]float64) (name string, ratio float64) {
	for _, other := range slices.Sorted(maps.Keys(ratios)) {
		if name == "" || ratios[other] < ratio {
			name, ratio = other, ratios[other]
		}
	}
	return name, ratio
}

// ratiosTo divides c by the baseline, in the rounds that have both.
func ratiosTo(baseline string, c *cell, cells []*cell, value func(*measurement) float64) []float64 {
	var ratios []float64
	for round, m := range c.rounds {
		if m == nil {
			continue
		}
		if base := baselineValue(baseline, c, cells, round, value); base > 0 {
			ratios = append(ratios, value(m)/base)
		}
	}
	return ratios
}

// baselineValue is what c is compared with in a round: the baseline's value with the
// same callers by the same API, or its highest when it has no such API. It is 0 when
// that did not run.
func baselineValue(
	baseline string, c *cell, cells []*cell, round int, value func(*measurement) float64,
) float64 {
	highest := 0.0
	for _, other := range cells {
		if other.Target.Name != baseline || other.Callers != c.Callers ||
			other.Condition != c.Beside || other.Handler != c.Handler {
			continue
		}
		v := 0.0
		if m := other.rounds[round]; m != nil {
			v = value(m)
		}
		if other.API == c.API {
			return v
		}
		highest = max(highest, v)
	}
	return highest
}

// Ratios divides a by b round by round, over the rounds that both have. Rounds
// in which b is 0 are left out.
func Ratios(a, b []float64) []float64 {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if b[i] > 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return ratios
}

// QuietMax is the part of the machine's time that its host may take in a round that
// counts as quiet.
const QuietMax = 0.01

// QuietRatios is Ratios over the rounds in which the host left both rows alone; none
// where that is not known of each round.
func QuietRatios(a, b []float64, rowA, rowB *Row) []float64 {
	var ratios []float64
	if len(rowA.StolenRounds) != len(a) || len(rowB.StolenRounds) != len(b) {
		return nil
	}
	for i := range min(len(a), len(b)) {
		if b[i] > 0 && rowA.StolenRounds[i] <= QuietMax && rowB.StolenRounds[i] <= QuietMax {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return ratios
}

// StolenNote tells what the host took from the machine during the rows' slices; ""
// when that was nothing, or is not known.
func StolenNote(rows []Row) string {
	var all []float64
	for i := range rows {
		all = append(all, rows[i].StolenRounds...)
	}
	if len(all) == 0 || slices.Max(all) == 0 {
		return ""
	}
	return fmt.Sprintf("The host took this machine's processors away for %.1f %% of the time (median of the slices; at most %.0f %%).",
		100*Median(all), 100*slices.Max(all))
}

// Median of at least one value.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread is the interquartile range as a part of the median, by linear
// interpolation; 0 with fewer than two values.
func Spread(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (quantile(sorted, 0.75) - quantile(sorted, 0.25)) / Median(values)
}

func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}
