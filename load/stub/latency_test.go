package stub

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// drawn returns n sorted delays.
func drawn(t *testing.T, l Latency, n int, at time.Duration) []time.Duration {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 2))
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = l.sample(r, at)
	}
	slices.Sort(all)
	return all
}

func TestLatenciesHaveThePercentilesThatWereAskedFor(t *testing.T) {
	const n = 200_000
	for text, want := range map[string]map[float64]time.Duration{
		"5ms":                   {0: 5 * time.Millisecond, 0.999: 5 * time.Millisecond},
		"p50=2ms,p99=20ms":      {0.5: 2 * time.Millisecond, 0.99: 20 * time.Millisecond},
		"p90=1ms,p99.9=1.5ms":   {0.9: time.Millisecond, 0.999: 1500 * time.Microsecond},
		"p50=3ms,p99=3ms":       {0.01: 3 * time.Millisecond, 0.99: 3 * time.Millisecond},
		"7:p50=30ms,p99=30.1ms": {0.5: 30 * time.Millisecond},
	} {
		l, err := ParseLatency(text)
		require.NoError(t, err)
		all := drawn(t, l, n, 0)
		for q, d := range want {
			assert.InEpsilon(t, d, all[int(q*n)], 0.04, "%s %g", text, q)
		}
	}
	l, err := ParseLatency("97:2ms", "3:p50=50ms,p99=100ms")
	require.NoError(t, err)
	all := drawn(t, l, n, 0)
	i, _ := slices.BinarySearch(all, 3*time.Millisecond)
	assert.InDelta(t, 0.97*n, i, 0.003*n)
	assert.InEpsilon(t, 50*time.Millisecond, all[i+(n-i)/2], 0.04)
	assert.Zero(t, drawn(t, Latency{}, 10, 0)[9])
}

func TestLatenciesThatMakeNoSenseAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "must be a duration",
		"fast":                         "must be a duration",
		"-1ms":                         "must be 0 to 1h0m0s",
		"2h":                           "must be 0 to 1h0m0s",
		"p50=2ms":                      "1 percentiles: must be two",
		"p50=2ms,p99=1ms":              "the second percentile",
		"p99=2ms,p50=1ms":              "the second percentile",
		"p50=2ms,p100=9ms":             "p100: must lie between",
		"p50=0s,p99=9ms":               "above 0",
		"p50=1ms,q99=9ms":              "must be a duration",
		"0:1ms":                        "weight 0: must be above 0",
		"1ms 2ms":                      "has no weight",
		"hlog=" + "/nowhere/is":        "no such file",
		"hlog=latency_test.go":         "no histogram",
		"hlog=latency_test.go,tag":     "must be tag=NAME",
		"hlog=latency_test.go,unit=an": "unit=ns, us or ms",
	} {
		texts := strings.Split(text, " ")
		_, err := ParseLatency(texts...)
		assert.ErrorContains(t, err, want, text)
	}
}

// logOf writes a histogram log, in microseconds: a second of 1 ms, an empty second, and a
// second of 2 ms and 4 ms.
func logOf(t *testing.T, tags ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := hdrhistogram.NewHistogramLogWriter(&b)
	require.NoError(t, w.OutputLogFormatVersion())
	require.NoError(t, w.OutputStartTime(1_700_000_000_000))
	require.NoError(t, w.OutputLegend())
	for _, tag := range tags {
		for i, values := range [][]int64{{1000}, nil, {2000, 2000, 2000, 4000}} {
			h := hdrhistogram.New(1, 3_600_000_000, 3)
			h.SetTag(tag)
			h.SetStartTimeMs(1_700_000_000_000 + int64(i)*1000)
			h.SetEndTimeMs(1_700_000_001_000 + int64(i)*1000)
			for _, v := range values {
				require.NoError(t, h.RecordValue(v))
			}
			require.NoError(t, w.OutputIntervalHistogram(h))
		}
	}
	path := filepath.Join(t.TempDir(), "a.hlog")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

func TestAHistogramLogIsReplayedByItsTimes(t *testing.T) {
	for _, options := range []string{"hlog=" + logOf(t, "") + ",unit=us", "hlog=" + logOf(t, "response", "service") + ",unit=us",
		"hlog=" + logOf(t, "a", "b") + ",tag=b,unit=us"} {
		l, err := ParseLatency(options)
		require.NoError(t, err)
		for at, want := range map[time.Duration]time.Duration{0: 1, 999 * time.Millisecond: 1, 3 * time.Second: 1} {
			all := drawn(t, l, 100, at)
			assert.InEpsilon(t, want*time.Millisecond, all[0], 0.002, "%v", at)
			assert.Equal(t, all[0], all[99])
		}
		// The empty second is left out: the next one stands for it.
		for _, at := range []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond, 5999 * time.Millisecond} {
			all := drawn(t, l, 10_000, at)
			assert.InEpsilon(t, 2*time.Millisecond, all[0], 0.002)
			assert.InEpsilon(t, 4*time.Millisecond, all[9999], 0.002)
			i, _ := slices.BinarySearch(all, 3*time.Millisecond)
			assert.InDelta(t, 7500, i, 200)
		}
	}
	_, err := ParseLatency("hlog=" + logOf(t, "a", "b"))
	assert.ErrorContains(t, err, `has no tag "service": must be one of a, b`)
}
