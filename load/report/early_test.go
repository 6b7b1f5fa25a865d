package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
)

// second is an interval in which so many responses of echo were 1 ms, and those of CA
// 100 ms.
func second(fast, slow int) *load.Interval {
	total, echo, ca := noFigures(), noFigures(), noFigures()
	echo.Name, ca.Name = "echo", "CA"
	for range fast {
		_ = echo.Response.RecordValue(ms)
	}
	for range slow {
		_ = ca.Response.RecordValue(100 * ms)
	}
	total.Response.Merge(echo.Response)
	total.Response.Merge(ca.Response)
	return &load.Interval{To: time.Second, Total: total, Kinds: []load.Figures{echo, ca}}
}

func TestARunThatCannotMeetItsPercentileAnyMoreIsLost(t *testing.T) {
	for _, c := range []struct {
		text string
		slow []int // of 100 in each second; 1000 are due
		at   int   // the second in which it is lost; 0: none
	}{
		{"p99<5ms", []int{10, 1}, 2},
		{"p99<5ms", []int{10, 0, 0, 0}, 0},
		{"p99<5ms", []int{100}, 1},
		{"p90<5ms", []int{100, 1}, 2},
		{"p99<=101ms", []int{100, 99}, 0},
		{"p99<5ms", []int{5, 5, 1}, 3},
		{"max<5ms", []int{0, 1}, 2},
		{"CA.p99<5ms", []int{11}, 1},
		{"echo.p99<5ms", []int{100, 50}, 0},
		{"p99.9<5ms", []int{1, 0, 0}, 0},
		{"p99.9<5ms", []int{1, 1}, 2},
		{"service.p99<5ms", []int{100}, 0},
		{"p99>5ms", []int{100}, 0},
		{"mean<5ms", []int{100}, 0},
		{"lag.p99<5ms", []int{100}, 0},
		{"error_rate<1%", []int{100}, 0},
		{"rate>1m", []int{100}, 0},
	} {
		e := NewEarly([]Threshold{threshold(t, "p50<1h"), threshold(t, c.text)}, 1000)
		at := 0
		for i, slow := range c.slow {
			if e.Add(second(100-slow, slow)) {
				at = i + 1
				break
			}
		}
		assert.Equal(t, c.at, at, "%s %v", c.text, c.slow)
	}
}

func TestValuesAboveABoundAreCounted(t *testing.T) {
	h := spread(1000)
	for bound, want := range map[int64]float64{0: 1000, 1 * ms: 999, 500 * ms: 500, 990 * ms: 10, 999 * ms: 1, 1000 * ms: 0, 5000 * ms: 0} {
		got := above(h, float64(bound)*1.001)
		assert.InDelta(t, want, got, 1.1, "%v", bound)
	}
	require.Zero(t, above(load.NewHistogram(), 1))
}
