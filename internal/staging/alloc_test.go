//go:build !race && !invariant

package staging

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What bytebufferpool did, and the reason why it is gone.
func TestAllocNothingForLargeBuffersAmongManySmallOnes(t *testing.T) {
	small := make([]byte, 70)
	for range 100_000 {
		b := Get(16)
		b.B = append(b.B, small...)
		Put(b)
	}
	large := make([]byte, 60<<10)
	allocs := testing.AllocsPerRun(1000, func() {
		b := Get(len(large) / 2)
		b.B = append(append(b.B, large[:len(large)/2]...), large[len(large)/2:]...)
		Put(b)
		b = Get(16)
		b.B = append(b.B, small...)
		Put(b)
	})
	require.Less(t, allocs, 0.1)
}
