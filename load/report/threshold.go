package report

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/quantile"
)

// Threshold is a condition on a run, such as p99<5ms.
type Threshold struct {
	text   string
	of     string // "", a latency's name, a request's name, or "code"
	metric string // or the status
	op     string
	bound  float64
}

var thresholdForm = regexp.MustCompile(`^\s*(?:(.+?)\.)??(p99\.99|p99\.9|[A-Za-z0-9_]+)\s*(<=|>=|==|<|>)\s*([0-9.]+)\s*([a-zµ%]*)\s*$`)

var (
	quantiles = map[string]float64{"p50": 50, "p75": 75, "p90": 90, "p95": 95, "p99": 99,
		"p99.9": 99.9, "p999": 99.9, "p99.99": 99.99, "p9999": 99.99, "max": 100, "mean": -1}
	latencies = []string{"response", "service", "queue", "lag", "late"}
	counts    = map[string]func(*Summary) float64{
		"rate":          func(s *Summary) float64 { return s.Rate },
		"sent":          func(s *Summary) float64 { return float64(s.Sent) },
		"replied":       func(s *Summary) float64 { return float64(s.Replied) },
		"unsent":        func(s *Summary) float64 { return float64(s.Unsent) },
		"timeouts":      func(s *Summary) float64 { return float64(s.Timeouts) },
		"lost":          func(s *Summary) float64 { return float64(s.Lost) },
		"late":          func(s *Summary) float64 { return float64(s.Late) },
		"conn_lost":     func(s *Summary) float64 { return float64(s.ConnLost) },
		"refused":       func(s *Summary) float64 { return float64(s.Refused) },
		"peer_requests": func(s *Summary) float64 { return float64(s.PeerRequests) },
		"peer_answered": func(s *Summary) float64 { return float64(s.PeerAnswered) },

		"heartbeats_missed": func(s *Summary) float64 { return float64(s.HeartbeatsMissed) },
	}
)

const thresholdHelp = "must look like 'p99<5ms', 'service.p99.9<8ms', 'NAME.p99<6ms', 'error_rate<0.1%', 'rate>50k' or 'code.68<0.1%'"

// ParseThreshold reads a condition. Left of the comparison stands a percentile (p50, p75,
// p90, p95, p99, p99.9, p99.99, max, mean) of the response, or of what its prefix names: a
// latency (service, queue, lag, late) or a request of the mix; or error_rate, also of a
// request; or code.STATUS, the part of the replies that have it; or a count or the rate.
// names are those of the mix.
func ParseThreshold(text string, names []string) (Threshold, error) {
	parts := thresholdForm.FindStringSubmatch(text)
	if parts == nil {
		return Threshold{}, fmt.Errorf("threshold %q: %s", text, thresholdHelp)
	}
	t := Threshold{text: strings.TrimSpace(text), of: parts[1], metric: parts[2], op: parts[3]}
	_, isQuantile := quantiles[t.metric]
	_, isCount := counts[t.metric]
	isKind := slices.Contains(names, t.of)
	var err error
	switch {
	case isQuantile && (t.of == "" || isKind || slices.Contains(latencies, t.of)):
		var d time.Duration
		if d, err = time.ParseDuration(parts[4] + parts[5]); err != nil {
			err = fmt.Errorf("%s needs a duration such as 250us or 2ms", t.metric)
		}
		t.bound = float64(d)
	case t.metric == "error_rate" && (t.of == "" || isKind), t.of == "code":
		t.bound, err = parseNumber(parts[4], parts[5], map[string]float64{"": 1, "%": 0.01})
	case isCount && t.of == "":
		t.bound, err = parseNumber(parts[4], parts[5], map[string]float64{"": 1, "k": 1e3, "m": 1e6})
	case t.of != "" && (isQuantile || t.metric == "error_rate"):
		err = fmt.Errorf("%q: must be a latency (%s) or a request (%s)", t.of, strings.Join(latencies, ", "), strings.Join(names, ", "))
	default:
		err = fmt.Errorf("%s", thresholdHelp)
	}
	if err != nil {
		return Threshold{}, fmt.Errorf("threshold %q: %w", text, err)
	}
	return t, nil
}

func parseNumber(digits, unit string, units map[string]float64) (float64, error) {
	v, err := strconv.ParseFloat(digits, 64)
	scale, known := units[unit]
	if err != nil || !known {
		return 0, fmt.Errorf("%s%s is no number of that kind", digits, unit)
	}
	return v * scale, nil
}

func (t Threshold) String() string { return t.text }

// Met reports whether the condition holds. What has no value does not meet it.
func (t Threshold) Met(r *load.Result, s *Summary) bool {
	v, ok := t.Value(r, s)
	if !ok {
		return false
	}
	switch t.op {
	case "<":
		return v < t.bound
	case "<=":
		return v <= t.bound
	case ">":
		return v > t.bound
	case ">=":
		return v >= t.bound
	}
	return v == t.bound
}

// missedWithoutLag reports whether an upper bound of a latency would have been missed, too, if
// the generator had never been late.
func (t Threshold) missedWithoutLag(r *load.Result, s *Summary) bool {
	if r.LagMost == 0 || !t.isLatency() || t.op[0] != '<' || t.of == "lag" || t.of == "late" {
		return false
	}
	v, ok := t.Value(r, s)
	return ok && v-float64(r.LagMost) > t.bound
}

// Value returns what is compared: nanoseconds, a part of 1, a count or a rate; false if
// the run has no such value.
func (t Threshold) Value(r *load.Result, s *Summary) (v float64, ok bool) {
	if t.of == "code" {
		return codeShare(r, t.metric)
	}
	figures := &r.Total
	if i := slices.IndexFunc(r.Kinds, func(k load.Figures) bool { return k.Name == t.of }); i >= 0 && t.of != "" {
		figures = &r.Kinds[i]
	}
	if t.metric == "error_rate" {
		if t.of != "" {
			n := &figures.Counts
			return float64(n.Failed()) / float64(n.Sent), n.Sent > 0
		}
		return s.ErrorRate, s.Sent+s.Unsent > 0
	}
	if count := counts[t.metric]; count != nil && t.of == "" {
		return count(s), r.Conns.Opened > 0
	}
	return valueAt(t.histogram(figures), quantiles[t.metric])
}

func (t Threshold) histogram(f *load.Figures) *hdrhistogram.Histogram {
	switch t.of {
	case "service":
		return f.Service
	case "queue":
		return f.Queue
	case "lag":
		return f.Lag
	case "late":
		return f.Late
	}
	return f.Response
}

func valueAt(h *hdrhistogram.Histogram, q float64) (v float64, ok bool) {
	switch {
	case h.TotalCount() == 0:
		return 0, false
	case q < 0:
		return h.Mean(), true
	case q == 100:
		return float64(h.Max()), true
	}
	return float64(quantile.At(h, q)), true
}

// codeShare is the part of the replies that have a status. A status that no reply has is
// 0 of them.
func codeShare(r *load.Result, name string) (float64, bool) {
	var of, all uint64
	for _, c := range r.Codes {
		all += c.Count
		if c.Name == name {
			of += c.Count
		}
	}
	return float64(of) / float64(max(all, 1)), all > 0
}

// isLatency reports whether the value is in nanoseconds.
func (t Threshold) isLatency() bool {
	_, ok := quantiles[t.metric]
	return ok && t.of != "code"
}
