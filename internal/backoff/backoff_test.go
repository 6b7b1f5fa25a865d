package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/backoff"
)

func TestBoundDoublesUpToMax(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, c := range []struct {
		policy   backoff.Policy
		failures int
		want     time.Duration
	}{
		{backoff.Policy{Min: 50, Max: 400}, -1, 0},
		{backoff.Policy{Min: 50, Max: 400}, 0, 0},
		{backoff.Policy{Min: 50, Max: 400}, 1, 50},
		{backoff.Policy{Min: 50, Max: 400}, 2, 100},
		{backoff.Policy{Min: 50, Max: 400}, 3, 200},
		{backoff.Policy{Min: 50, Max: 400}, 4, 400},
		{backoff.Policy{Min: 50, Max: 400}, 5, 400},
		{backoff.Policy{Min: 50, Max: 401}, 4, 400},
		{backoff.Policy{Min: 50, Max: 401}, 5, 401},
		{backoff.Policy{Min: 50, Max: 400}, math.MaxInt, 400},
		{backoff.Policy{Min: 500, Max: 400}, 1, 400},
		{backoff.Policy{Min: 1, Max: longest}, 62, 1 << 61},
		{backoff.Policy{Min: 1, Max: longest}, 1000, longest - 1},
		{backoff.Policy{Min: longest, Max: longest}, 1, longest - 1},
		{backoff.Policy{}, 5, 0},
		{backoff.Policy{Min: -1, Max: 5}, 5, 0},
		{backoff.Policy{Min: 5, Max: -1}, 5, 0},
	} {
		assert.Equal(t, c.want, c.policy.Bound(c.failures), "%+v after %d", c.policy, c.failures)
	}
}

func TestDelayUsesTheWholeRangeAndNoMore(t *testing.T) {
	p := backoff.Policy{Min: 3, Max: 100}
	seen := make(map[time.Duration]int)
	for range 1000 {
		seen[p.Delay(1)]++
	}
	for d := range time.Duration(4) {
		assert.NotZero(t, seen[d], "%d was never drawn", d) // missed by chance: 0.75^1000
	}
	assert.Len(t, seen, 4)
	assert.Zero(t, p.Delay(0))
	assert.Zero(t, backoff.Policy{}.Delay(7))
	assert.GreaterOrEqual(t, backoff.Policy{Min: 1, Max: math.MaxInt64}.Delay(math.MaxInt), time.Duration(0))
}
