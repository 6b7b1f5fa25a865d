package busypoll

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLimitIsHalfOfTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for procs, limit := range map[int]int32{1: 1, 2: 1, 3: 1, 4: 2, 9: 4} {
		runtime.GOMAXPROCS(procs)
		assert.Equal(t, limit, Limit(), procs)
	}
}

func TestNoMoreThanTheLimitEnter(t *testing.T) {
	require.True(t, Enter(2))
	require.True(t, Enter(2))
	require.False(t, Enter(2))
	require.Equal(t, 2, Polling())
	Leave()
	require.True(t, Enter(2))
	Leave()
	Leave()
	require.Zero(t, Polling())
}

func TestNoMoreThanTheLimitAreIn(t *testing.T) {
	const limit = 3
	var in, entered atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10_000 {
				if !Enter(limit) {
					continue
				}
				assert.LessOrEqual(t, in.Add(1), int32(limit))
				entered.Add(1)
				in.Add(-1)
				Leave()
			}
		})
	}
	wg.Wait()
	assert.Positive(t, entered.Load())
	assert.Zero(t, Polling())
}
