package bench

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Threshold is a condition that every row of ringwire must meet.
type Threshold struct {
	text   string
	metric string
	op     string
	bound  float64
}

var thresholdForm = regexp.MustCompile(`^\s*([a-z0-9_]+)\s*(<=|>=|==|<|>)\s*([0-9.]+)\s*([a-zµ]*)\s*$`)

// ThresholdMetrics lists what a threshold can look at.
func ThresholdMetrics() []string {
	return []string{"ratio", "req_per_s", "p50", "p99", "p999", "cpu_ns_per_req", "allocs_per_req", "errors"}
}

// ParseThreshold reads conditions such as "ratio>=5", "req_per_s>100k" and
// "p99<2ms". Rates take the suffixes k and m; latencies need a unit of time.
func ParseThreshold(text string) (Threshold, error) {
	parts := thresholdForm.FindStringSubmatch(text)
	if parts == nil {
		return Threshold{}, fmt.Errorf("threshold %q: must look like 'ratio>=5' or 'p99<2ms'", text)
	}
	t := Threshold{text: strings.TrimSpace(text), metric: parts[1], op: parts[2]}
	if !slices.Contains(ThresholdMetrics(), t.metric) {
		return Threshold{}, fmt.Errorf("threshold %q: %s must be one of %s",
			text, t.metric, strings.Join(ThresholdMetrics(), ", "))
	}
	var err error
	if t.bound, err = parseBound(t.metric, parts[3], parts[4]); err != nil {
		return Threshold{}, fmt.Errorf("threshold %q: %w", text, err)
	}
	return t, nil
}

func parseBound(metric, number, unit string) (float64, error) {
	if slices.Contains([]string{"p50", "p99", "p999"}, metric) {
		d, err := time.ParseDuration(number + unit)
		if err != nil {
			return 0, fmt.Errorf("%s needs a duration such as 250us or 2ms", metric)
		}
		return float64(d), nil
	}
	scale, known := map[string]float64{"": 1, "k": 1e3, "m": 1e6}[unit]
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !known {
		return 0, fmt.Errorf("%s%s is not a number", number, unit)
	}
	return value * scale, nil
}

// NeedsBaseline reports whether the condition compares with the baseline.
func (t Threshold) NeedsBaseline() bool { return t.metric == "ratio" }

func (t Threshold) String() string { return t.text }

// Check returns a line for every row of ringwire that does not meet the
// condition. A row without the value does not meet it.
func (t Threshold) Check(rows []Row) []string {
	var broken []string
	for _, row := range rows {
		if row.System != Ringwire {
			continue
		}
		value := row.metric(t.metric)
		if !t.holds(value) {
			broken = append(broken, fmt.Sprintf("%s: %s with %s has %s",
				t.text, row.API, count(row.Callers, "caller"), t.format(value)))
		}
	}
	return broken
}

func (t Threshold) holds(value float64) bool {
	switch t.op {
	case "<":
		return value < t.bound
	case "<=":
		return value <= t.bound
	case ">":
		return value > t.bound
	case ">=":
		return value >= t.bound
	default:
		return value == t.bound
	}
}

func (t Threshold) format(value float64) string {
	if math.IsNaN(value) {
		return "no " + t.metric
	}
	if strings.HasPrefix(t.metric, "p") {
		return time.Duration(value).String()
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

// metric is NaN, for which no comparison holds, when the row lacks the value.
func (r *Row) metric(name string) float64 {
	optional := func(v *float64) float64 {
		if v == nil {
			return math.NaN()
		}
		return *v
	}
	switch name {
	case "ratio":
		return optional(r.RatioToAnet)
	case "cpu_ns_per_req":
		return optional(r.CPUPerReq)
	case "req_per_s":
		return r.ReqPerSec
	case "allocs_per_req":
		return r.AllocsPerReq
	case "errors":
		return float64(r.Errors)
	case "p50":
		return float64(r.P50)
	case "p99":
		return float64(r.P99)
	case "p999":
		return float64(r.P999)
	}
	return math.NaN()
}
