package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
)

const ms = int64(time.Millisecond)

// spread is a histogram of 1 to n milliseconds, one each.
func spread(n int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for i := range n {
		if err := h.RecordValue((i + 1) * ms); err != nil {
			panic(err)
		}
	}
	return h
}

// fine is a run of 1000 requests without a fault.
func fine() *load.Result {
	n := load.Counts{Sent: 1000, Replied: 1000}
	return &load.Result{
		Open: true, Targets: []string{"host:1"}, InFlight: 1, Started: time.Now(), Measured: 10 * time.Second,
		Total: load.Figures{Counts: n, Response: spread(1000), Service: spread(100), Queue: spread(10), Lag: spread(1), Late: spread(0)},
		Kinds: []load.Figures{
			{Name: "echo", Counts: load.Counts{Sent: 800, Replied: 800}, Response: spread(800), Service: spread(8)},
			{Name: "CA", Counts: load.Counts{Sent: 200, Replied: 200, Refused: 2}, Response: spread(198), Service: spread(8)},
		},
		Codes:      []load.Code{{Name: "00", OK: true, Count: 998, Response: spread(9)}, {Name: "68", Count: 2, Response: spread(2)}},
		Conns:      load.Conns{Opened: 1, Errors: map[string]uint64{}},
		Violations: n,
	}
}

func threshold(t *testing.T, text string) Threshold {
	t.Helper()
	th, err := ParseThreshold(text, []string{"echo", "CA"})
	require.NoError(t, err, text)
	return th
}

func TestThresholdsAreComparedWithWhatTheyName(t *testing.T) {
	r := fine()
	r.Total.Counts.Replied, r.Total.Counts.Timeouts = 990, 10
	s := Summarize(r, Options{})
	for text, met := range map[string]bool{
		"p99<991ms": true, "p99<980ms": false, "p50>=500ms": true, "p50>=501ms": false, "max<=1.01s": true, "mean<501ms": true, "mean<499ms": false,
		"p99.9<1s": true, "p99.9<997ms": false, "p9999>999ms": true, "service.p99.9<101ms": true, "service.p99.9<99ms": false,
		"service.max<101ms": true, "queue.max<11ms": true, "lag.p99<2ms": true,
		"echo.p99<793ms": true, "CA.p50 < 100ms": true, "CA.p50<98ms": false,
		"error_rate<1.1%": true, "error_rate<0.9%": false, "error_rate<0.011": true, "CA.error_rate<=1%": true, "echo.error_rate==0": true,
		"code.68<0.3%": true, "code.68<0.1%": false, "code.99<0.1%": true,
		"rate>98": true, "rate>0.1k": false, "timeouts==10": true, "lost<5": false, "sent>=1k": true,
		"late.p99<1h": false, // it has no value
	} {
		assert.Equal(t, met, threshold(t, text).Met(r, s), text)
	}
	r.Codes = nil
	assert.False(t, threshold(t, "code.68<0.1%").Met(r, s), "without codes it has no value")
	for text, want := range map[string]string{
		"p99":                   "must look like",
		"p98<5ms":               "must look like",
		"p99<5":                 "p99 needs a duration",
		"XY.p99<5ms":            `"XY": must be a latency (response, service, queue, lag, late) or a request (echo, CA)`,
		"error_rate<1ms":        "1ms is no number of that kind",
		"rate>5%":               "no number",
		"echo.rate>5":           "must look like",
		"service.error_rate<1%": `"service": must be`,
	} {
		_, err := ParseThreshold(text, []string{"echo", "CA"})
		assert.ErrorContains(t, err, want, text)
	}
}

func TestExitCodesByPrecedence(t *testing.T) {
	unmet, met := threshold(t, "p99<1ms"), threshold(t, "p99<2s")
	type change = func(*load.Result)
	mismatch := func(r *load.Result) { r.Violations.Mismatch = 1 }
	limited := func(r *load.Result) { r.Generator.CPU = 0.95 }
	unsent := func(r *load.Result) { r.Unsent.Backlog = 50 }
	late := func(r *load.Result) { r.Unsent.Generator = 50 }
	lost := func(r *load.Result) { r.Violations.Timeouts = 1 }
	silent := func(r *load.Result) {
		r.Total.Counts, r.Violations = load.Counts{Sent: 9, Timeouts: 9}, load.Counts{Sent: 9, Timeouts: 9}
	}
	interrupted := func(r *load.Result) { r.Interrupted = true }
	none := func(r *load.Result) {
		*r = load.Result{Total: load.Figures{Response: spread(0), Service: spread(0), Queue: spread(0), Lag: spread(0), Late: spread(0)}}
	}
	for _, c := range []struct {
		changes []change
		options Options
		code    int
		verdict string
	}{
		{nil, Options{}, 0, "ok"},
		{nil, Options{Thresholds: []Threshold{met}}, 0, "ok"},
		{nil, Options{Thresholds: []Threshold{met, unmet}}, 99, "1 of 2 thresholds not met"},
		{[]change{unsent}, Options{Thresholds: []Threshold{unmet}}, 1, "95.2 % of the schedule was sent, less than 99 %"},
		{[]change{func(r *load.Result) { r.Unsent.Backlog = 9 }}, Options{}, 0, "ok"},
		{[]change{limited}, Options{}, 0, "ok"},
		{[]change{limited}, Options{Thresholds: []Threshold{met}}, 0, "ok"},
		{[]change{limited}, Options{Thresholds: []Threshold{unmet}}, 4, "inconclusive: the generator was the limit: it used 95 % of its processors"},
		{[]change{limited, unsent}, Options{Thresholds: []Threshold{met}}, 1, "95.2 % of the schedule"},
		{[]change{late}, Options{Thresholds: []Threshold{met}}, 4, "came to 50 requests later"},
		{[]change{late}, Options{}, 1, "95.2 % of the schedule"},
		{[]change{limited, unsent, mismatch}, Options{Thresholds: []Threshold{unmet}}, 3, "wrong replies: 1 not what was expected"},
		{[]change{lost}, Options{}, 3, "wrong replies: 1 lost"},
		{[]change{lost}, Options{AllowLost: true}, 0, "ok"},
		{[]change{silent}, Options{}, 1, "no reply"},
		{[]change{func(r *load.Result) { r.Replies.Duplicate, r.Replies.UnknownID = 2, 3 }}, Options{}, 3, "wrong replies: 2 duplicate, 3 of unknown ID"},
		{[]change{func(r *load.Result) { r.Total.Counts.Refused = 1000 }}, Options{}, 1, "no successful reply"},
		{[]change{func(r *load.Result) { r.Broke = "why" }}, Options{}, 1, "ended early: why"},
		{[]change{none}, Options{Thresholds: []Threshold{met}}, 1, "no connection"},
		{[]change{interrupted, unsent}, Options{Thresholds: []Threshold{unmet}}, 130, "interrupted"},
		{[]change{interrupted, mismatch}, Options{}, 3, "wrong replies"},
	} {
		r := fine()
		for _, change := range c.changes {
			change(r)
		}
		s := Summarize(r, c.options)
		assert.Equal(t, c.code, s.ExitCode, c.verdict)
		assert.Contains(t, s.Verdict, c.verdict)
	}
}

func TestTheGeneratorIsTheLimitWhenItsLagIsATenthOfTheResponse(t *testing.T) {
	r := fine()
	assert.False(t, Summarize(r, Options{}).GeneratorLimited)
	r.Generator.Stolen = 0.06
	assert.Contains(t, Summarize(r, Options{}).GeneratorWhy, "took 6 % of its time")
	assert.False(t, Summarize(r, Options{Compared: true}).GeneratorLimited, "both sides have it")
	r.Generator.Stolen = 0.04
	r.Total.Lag = spread(200)
	s := Summarize(r, Options{})
	assert.True(t, s.GeneratorLimited)
	assert.False(t, Summarize(r, Options{Compared: true}).GeneratorLimited, "it is left out")
	assert.Contains(t, s.GeneratorWhy, "its lag, p99 198ms")
	r.Open = false
	assert.False(t, Summarize(r, Options{}).GeneratorLimited, "the closed loop has no lag")
}

// Lag makes no request wait for longer than the longest lag was.
func TestWhatIsMissedByMoreThanTheLagIsTheBackends(t *testing.T) {
	o := Options{Thresholds: []Threshold{threshold(t, "p50<460ms")}}
	for lag, code := range map[time.Duration]int{39 * time.Millisecond: ExitThreshold, 45 * time.Millisecond: ExitInconclusive, 0: ExitInconclusive} {
		r := fine() // of which p50 is 500 ms
		r.Total.Lag, r.LagMost = spread(200), lag
		s := Summarize(r, o)
		assert.True(t, s.GeneratorLimited)
		assert.Equal(t, code, s.ExitCode, lag)
		r.Generator.CPU = 0.95 // which makes more than lag
		assert.Equal(t, ExitInconclusive, Summarize(r, o).ExitCode)
		r.Generator.CPU = 0
		assert.Equal(t, ExitInconclusive, Summarize(r, Options{Thresholds: []Threshold{threshold(t, "lag.p50<1ms")}}).ExitCode)
	}
}

func TestErrorRateCountsWhatWasDueAndHadNoSuccess(t *testing.T) {
	r := fine()
	r.Total.Counts = load.Counts{Sent: 900, Replied: 860, Refused: 10, Timeouts: 20, ConnLost: 15, Abandoned: 5}
	r.Unsent = load.Unsent{Backlog: 60, Generator: 40}
	assert.InDelta(t, 0.15, Summarize(r, Options{}).ErrorRate, 1e-9)
	r.Interrupted, r.Unsent.Early = true, 500
	s := Summarize(r, Options{})
	assert.InDelta(t, 0.145, s.ErrorRate, 1e-9, "what we gave up is no error")
	assert.EqualValues(t, 600, s.Unsent)
	assert.InDelta(t, 86, s.Rate, 1e-9)
}

func TestTextHasTheFiguresAndTheDocumentThemAll(t *testing.T) {
	r := fine()
	o := Options{Thresholds: []Threshold{threshold(t, "p99<5ms"), threshold(t, "CA.p99<6s")}}
	s := Summarize(r, o)
	var text bytes.Buffer
	require.NoError(t, Text(&text, r, s, o))
	flat := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"host:1 open loop 10.0 s", "sent 1000 replied 1000 (100.0/s) timeouts 0", "response 500ms 750ms 900ms 950ms 990ms 999ms 1.00s 1.00s",
		"service 50.0ms", "lag 1.00ms", "CA 99.0ms", "00 ok 5.00ms", "68 1.00ms", "thresholds p99<5ms NOT MET: 990ms CA.p99<6s met: 197ms",
		"verdict 1 of 2 thresholds not met (exit 99)",
	} {
		assert.Contains(t, flat, want)
	}
	assert.NotContains(t, text.String(), "\x1b")
	assert.NotContains(t, flat, "free slot")
	r.Total.Queue = spread(600)
	text.Reset()
	require.NoError(t, Text(&text, r, Summarize(r, o), o))
	assert.Contains(t, text.String(), "the wait for a free slot")

	var out bytes.Buffer
	require.NoError(t, NewDocument(r, s, o).Write(&out))
	var d map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &d))
	assert.EqualValues(t, 1, d["schema_version"])
	summary := d["summary"].(map[string]any)
	for _, field := range []string{"sent", "replied", "unsent", "timeouts", "lost", "late", "duplicate", "unknown_id", "mismatch",
		"error_rate", "rate", "lag_ns", "response_ns", "service_ns", "verdict", "exit_code"} {
		assert.Contains(t, summary, field)
	}
	for _, field := range []string{"p50", "p75", "p90", "p95", "p99", "p999", "p9999", "max", "mean", "count"} {
		assert.Contains(t, summary["response_ns"], field)
	}
	assert.EqualValues(t, 99, summary["exit_code"])
	assert.Len(t, d["requests"], 2)
	assert.Len(t, d["codes"], 2)
	assert.Equal(t, []any{}, d["stages"])
	assert.Equal(t, false, d["thresholds"].([]any)[0].(map[string]any)["met"])

	r = &load.Result{Total: load.Figures{Response: spread(0), Service: spread(0), Queue: spread(0), Lag: spread(0), Late: spread(0)}}
	s = Summarize(r, o)
	text.Reset()
	require.NoError(t, Text(&text, r, s, o))
	assert.Contains(t, text.String(), "no connection (exit 1)")
	assert.Contains(t, text.String(), "NOT MET: no value")
	require.NoError(t, NewDocument(r, s, o).Write(&out))
	assert.Contains(t, out.String(), `"response_ns": null`)
}

func TestDurationsHaveThreeDigits(t *testing.T) {
	for ns, want := range map[int64]string{0: "0ns", 999: "999ns", 1234: "1.23µs", 12_345: "12.3µs", 123_456: "123µs",
		9_996_000: "10.0ms", 1_500_000_000: "1.50s", 3_600_000_000_000: "3600s"} {
		assert.Equal(t, want, Duration(ns))
	}
}
