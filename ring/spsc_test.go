package ring

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// starts are positions from which a few laps cross a limit: none, that of 32
// bits, that of a signed and of an unsigned 64-bit number.
func starts(capacity int) []uint64 {
	c := uint64(capacity)
	return []uint64{0, 1<<32 - c, 1<<63 - c, -c, math.MaxUint64}
}

// both is what the two rings have in common.
type both interface {
	TryPush(uint64) bool
	TryPop() (uint64, bool)
	PopInto([]uint64) int
	Len() int
	Cap() int
}

// rings returns one of each kind.
func rings(capacity int, start uint64) map[string]both {
	return map[string]both{
		"SPSC": newSPSC[uint64](capacity, start),
		"MPSC": newMPSC[uint64](capacity, start),
	}
}

// exactCapacity tells whether a drained ring takes Cap values and not one more,
// and gives them back in order. It leaves the ring drained.
func exactCapacity(q both) bool {
	for i := range q.Cap() {
		if q.Len() != i || !q.TryPush(uint64(i)+1) {
			return false
		}
	}
	if q.TryPush(0) || q.Len() != q.Cap() {
		return false
	}
	for i := range q.Cap() {
		if v, ok := q.TryPop(); !ok || v != uint64(i)+1 {
			return false
		}
	}
	_, ok := q.TryPop()
	return !ok && q.Len() == 0
}

func TestCapacityRoundsUpToAPowerOfTwo(t *testing.T) {
	for asked, got := range map[int]int{1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 1000: 1024, 1024: 1024, 1025: 2048} {
		for name, q := range rings(asked, 0) {
			assert.Equal(t, got, q.Cap(), "%s of %d", name, asked)
		}
	}
}

func TestCapacityBelowOnePanics(t *testing.T) {
	const complaint = "ring: capacity must be at least 1"
	for _, capacity := range []int{0, -1, math.MinInt} {
		assert.PanicsWithValue(t, complaint, func() { NewSPSC[int](capacity) })
		assert.PanicsWithValue(t, complaint, func() { NewMPSC[int](capacity) })
	}
}

func TestDrainedRingAcceptsExactlyItsCapacityOnEveryLap(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 8} {
		for _, start := range starts(capacity) {
			for name, q := range rings(capacity, start) {
				for lap := range 4 {
					require.True(t, exactCapacity(q), "%s of %d from %#x, lap %d", name, capacity, start, lap)
				}
			}
		}
	}
}

// Every fill level meets every batch size at every offset of the ring.
func TestPopIntoTakesTheOldestInOrder(t *testing.T) {
	for _, capacity := range []int{1, 2, 4, 8} {
		for _, start := range starts(capacity) {
			for name, q := range rings(capacity, start) {
				testPopInto(t, name, q)
			}
		}
	}
}

func testPopInto(t *testing.T, name string, q both) {
	t.Helper()
	pushed, popped := uint64(0), uint64(0)
	for fill := range q.Cap() + 1 {
		for room := range q.Cap() + 3 {
			for q.Len() < fill {
				pushed++
				require.True(t, q.TryPush(pushed), name)
			}
			dst := make([]uint64, room)
			n := q.PopInto(dst)
			require.Equal(t, min(fill, room), n, "%s of %d: %d queued, room for %d", name, q.Cap(), fill, room)
			for _, v := range dst[:n] {
				popped++
				require.Equal(t, popped, v, name)
			}
			for _, v := range dst[n:] {
				require.Zero(t, v, "%s: wrote beyond what it returned", name)
			}
			require.Equal(t, fill-n, q.Len(), name)
			for q.Len() > 0 {
				v, ok := q.TryPop()
				popped++
				require.True(t, ok && v == popped, name)
			}
		}
	}
}

func TestPushOnFullRingFailsAndChangesNothing(t *testing.T) {
	for name, q := range rings(2, 0) {
		require.True(t, q.TryPush(1) && q.TryPush(2), name)
		for range 3 {
			require.False(t, q.TryPush(3), name)
		}
		assert.Equal(t, 2, q.Len(), name)
		dst := make([]uint64, 4)
		require.Equal(t, 2, q.PopInto(dst), name)
		assert.Equal(t, []uint64{1, 2, 0, 0}, dst, name)
	}
}

func TestSPSCKeepsNoPointerItGaveAway(t *testing.T) {
	r := NewSPSC[*int](4)
	for lap := range 3 {
		for range r.Cap() {
			require.True(t, r.TryPush(new(int)))
		}
		oldest := r.consumer.head.Load() & r.mask
		v, ok := r.TryPop()
		require.True(t, ok && v != nil)
		require.Nil(t, r.slots[oldest])
		require.Equal(t, 1, r.PopInto(make([]*int, 1)))
		require.True(t, r.TryPush(new(int)))
		require.Equal(t, 3, r.PopInto(make([]*int, 9)), "lap %d", lap)
		for i, p := range r.slots {
			require.Nil(t, p, "slot %d, lap %d", i, lap)
		}
	}
}
