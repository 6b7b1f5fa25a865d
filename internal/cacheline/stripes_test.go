package cacheline_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/cacheline"
)

// All goroutines are there at once, so no two have the same stack: they find every copy, and
// nothing behind the last one.
func TestStripesSpreadGoroutinesOverAllCopies(t *testing.T) {
	procs := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(procs)
	for _, c := range []struct{ procs, each, most, want int }{
		{1, 1, 64, 1}, {2, 1, 64, 2}, {3, 1, 64, 4}, {2, 4, 64, 8}, {8, 4, 16, 16}, {8, 4, 1, 1},
	} {
		runtime.GOMAXPROCS(c.procs)
		s, n := cacheline.NewStripes(c.each, c.most)
		assert.Equal(t, c.want, n, "%+v", c)
		const each = 64
		found := make(chan int, each*n)
		var ready, done sync.WaitGroup
		ready.Add(each * n)
		for range each * n {
			done.Go(func() {
				ready.Done()
				ready.Wait()
				found <- s.Own()
			})
		}
		done.Wait()
		close(found)
		used := make(map[int]int)
		for i := range found {
			used[i]++
			assert.True(t, i >= 0 && i < n, "%d of %d", i, n)
		}
		assert.Greater(t, len(used), n/2, "%+v", c)
	}
}
