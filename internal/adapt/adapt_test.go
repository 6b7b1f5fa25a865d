package adapt_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/adapt"
)

func TestCapacityFollowsTheRateOfSuccess(t *testing.T) {
	for _, c := range []struct {
		name                string
		cur, min, max       int
		successes, attempts uint64
		want                int
	}{
		{"no attempt changes nothing", 5, 1, 10, 0, 0, 5},
		{"all failed", 5, 1, 10, 0, 3, 4},
		{"just below 20 %", 5, 1, 10, 199, 1000, 4},
		{"20 % is not below 20 %", 5, 1, 10, 1, 5, 5},
		{"half", 5, 1, 10, 1, 2, 5},
		{"80 % is not above 80 %", 5, 1, 10, 4, 5, 5},
		{"just above 80 %", 5, 1, 10, 801, 1000, 6},
		{"all succeeded", 5, 1, 10, 1, 1, 6},
		{"a full and healthy pool keeps its size", 10, 1, 10, 0, 0, 10},
		{"never below min", 1, 1, 10, 0, 9, 1},
		{"never above max", 10, 1, 10, 9, 9, 10},
		{"brought up to min", 0, 3, 10, 0, 0, 3},
		{"brought down to max", 20, 3, 10, 0, 0, 10},
		{"fixed size", 4, 4, 4, 0, 9, 4},
		{"reversed bounds: min wins", 5, 8, 2, 0, 0, 8},
		{"counts near the end of the range", 5, 1, 10, math.MaxUint64, math.MaxUint64, 6},
	} {
		assert.Equal(t, c.want, adapt.Capacity(c.cur, c.min, c.max, c.successes, c.attempts), c.name)
	}
}

func TestIntervalFollowsTheIdleShare(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name           string
		cur, min, max  time.Duration
		idle, capacity int
		want           time.Duration
	}{
		{"few idle", 1000 * ms, 500 * ms, 5000 * ms, 1, 10, 900 * ms},
		{"20 % is not few", 1000 * ms, 500 * ms, 5000 * ms, 2, 10, 1000 * ms},
		{"half", 1000 * ms, 500 * ms, 5000 * ms, 5, 10, 1000 * ms},
		{"80 % is not many", 1000 * ms, 500 * ms, 5000 * ms, 8, 10, 1000 * ms},
		{"many idle", 1000 * ms, 500 * ms, 5000 * ms, 9, 10, 1100 * ms},
		{"none idle of two", 1000 * ms, 500 * ms, 5000 * ms, 0, 2, 900 * ms},
		{"one idle of four is 25 %", 1000 * ms, 500 * ms, 5000 * ms, 1, 4, 1000 * ms},
		{"none idle of one", 1000 * ms, 500 * ms, 5000 * ms, 0, 1, 900 * ms},
		{"all idle of one", 1000 * ms, 500 * ms, 5000 * ms, 1, 1, 1100 * ms},
		{"small range, small step", 500 * ms, 100 * ms, 600 * ms, 0, 10, 450 * ms},
		{"not below min", 520 * ms, 500 * ms, 5000 * ms, 0, 10, 500 * ms},
		{"not above max", 4950 * ms, 500 * ms, 5000 * ms, 10, 10, 5000 * ms},
		{"stays at min", 500 * ms, 500 * ms, 5000 * ms, 0, 10, 500 * ms},
		{"stays at max", 5000 * ms, 500 * ms, 5000 * ms, 10, 10, 5000 * ms},
		{"fixed", 300 * ms, 300 * ms, 300 * ms, 0, 10, 300 * ms},
		{"brought up to min", 0, 500 * ms, 5000 * ms, 5, 10, 500 * ms},
		{"brought down to max", 9000 * ms, 500 * ms, 5000 * ms, 5, 10, 5000 * ms},
		{"nothing to look after", 1000 * ms, 500 * ms, 5000 * ms, 0, 0, 1100 * ms},
		{"the longest range does not overflow", math.MaxInt64, 0, math.MaxInt64, 10, 10, math.MaxInt64},
		{"nanoseconds still move", 5, 3, 8, 0, 10, 4},
	} {
		assert.Equal(t, c.want, adapt.Interval(c.cur, c.min, c.max, c.idle, c.capacity), c.name)
	}
}
