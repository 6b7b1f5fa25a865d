//go:build !race

package ring

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBytesDoesNotAllocInSteadyState(t *testing.T) {
	for _, sizes := range [][]int{{50}, {50, 60, 70}, {ChunkBytes - 9, 10, 50, ChunkBytes}} {
		r := NewBytes()
		records, taken := 0, 0
		round := func() {
			for _, n := range sizes {
				if room, ok := r.Reserve(n); ok {
					room.Bytes()[n-1] = 1
					room.Publish()
					records++
				}
			}
			for r.Ready() {
				_, n, _ := r.Take()
				taken += n
				r.Done()
			}
		}
		assert.Zero(t, testing.AllocsPerRun(1000, round), "records of %d bytes", sizes)
		assert.Equal(t, 1001*len(sizes), records)
		assert.Equal(t, records, taken)
	}
}
