package ring

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMPSCKeepsNoPointerItGaveAway(t *testing.T) {
	r := NewMPSC[*int](4)
	for lap := range 3 {
		for range r.Cap() {
			require.True(t, r.TryPush(new(int)))
		}
		v, ok := r.TryPop()
		require.True(t, ok && v != nil)
		require.Equal(t, 3, r.PopInto(make([]*int, 9)))
		for i := range r.cells {
			require.Nil(t, r.cells[i].val, "cell %d, lap %d", i, lap)
		}
	}
}

// A producer stopped between claim and publish: what it delays and what it does not.
func TestUnpublishedClaimDelaysTheConsumerOnly(t *testing.T) {
	for _, capacity := range []int{1, 2, 8} {
		for _, start := range starts(capacity) {
			r := newMPSC[uint64](capacity, start)
			pos, ok := r.claim()
			require.True(t, ok)
			for i := 1; i < r.Cap(); i++ {
				require.True(t, r.TryPush(uint64(i)), "others go on until the ring is full")
			}
			require.False(t, r.TryPush(99), "the claimed cell counts")
			require.Equal(t, r.Cap(), r.Len())

			dst := make([]uint64, capacity+1)
			require.Zero(t, r.PopInto(dst))
			_, ok = r.TryPop()
			require.False(t, ok)
			require.True(t, r.Empty(), "the oldest position holds no completed push")

			r.publish(pos, 0)
			require.False(t, r.Empty())
			require.Equal(t, r.Cap(), r.PopInto(dst))
			for i, v := range dst[:r.Cap()] {
				require.EqualValues(t, i, v)
			}
			require.True(t, r.Empty())
			require.True(t, exactCapacity(r))
		}
	}
}

func TestPopIntoStopsAtAnUnpublishedClaim(t *testing.T) {
	r := newMPSC[uint64](8, ^uint64(0)-2) // wraps inside the batch
	for i := range uint64(4) {
		require.True(t, r.TryPush(i))
	}
	pos, _ := r.claim()
	require.True(t, r.TryPush(5))
	dst := make([]uint64, 8)
	require.Equal(t, 4, r.PopInto(dst))
	require.Zero(t, r.PopInto(dst))
	require.Equal(t, 2, r.Len())
	r.publish(pos, 4)
	require.Equal(t, 2, r.PopInto(dst))
	assert.Equal(t, []uint64{4, 5}, dst[:2])
}

// A producer that was suspended after it had read tail sees later ones overtake
// it, and the consumer take theirs: its view of tail is then behind head, which
// must not look like a full ring.
func TestFullCheckOfAnOldTailIsNotFull(t *testing.T) {
	for _, start := range starts(4) {
		r := newMPSC[uint64](4, start)
		for range 11 {
			require.True(t, r.TryPush(1))
			require.Equal(t, 1, r.PopInto(make([]uint64, 2)))
		}
		require.False(t, r.full(start))
		require.True(t, exactCapacity(r))
	}
}

// Producers store what they saw of head without an order between them, so an old
// index may stay. It must cost another look, not a place.
func TestOldCopyOfHeadCostsNoPlace(t *testing.T) {
	for _, start := range starts(4) {
		r := newMPSC[uint64](4, start)
		for range 3 {
			require.True(t, exactCapacity(r))
		}
		r.producers.head.Store(start)
		require.True(t, exactCapacity(r))
		r.producers.head.Store(r.producers.tail.Load() - 2)
		require.True(t, exactCapacity(r))
	}
}

func TestEmptyWithAnOldHeadIsNotSureOfEmpty(t *testing.T) {
	for _, start := range starts(2) {
		r := newMPSC[uint64](2, start)
		require.True(t, r.Empty())
		for range 5 {
			require.True(t, r.TryPush(1))
			_, ok := r.TryPop()
			require.True(t, ok)
			require.True(t, r.Empty())
		}
		require.True(t, r.TryPush(1) && r.TryPush(2))
		// As seen by a goroutine that read head two laps ago.
		r.consumer.head.Store(r.consumer.head.Load() - 4)
		require.False(t, r.Empty())
	}
}

func TestPushedCountsClaimsFromZero(t *testing.T) {
	for _, start := range starts(2) {
		r := newMPSC[uint64](2, start)
		require.Zero(t, r.Pushed())
		require.True(t, r.TryPush(1))
		require.EqualValues(t, 1, r.Pushed())
		pos, _ := r.claim()
		require.EqualValues(t, 2, r.Pushed(), "a claim counts before it is published")
		require.False(t, r.TryPush(3))
		require.EqualValues(t, 2, r.Pushed(), "a refused push does not count")
		r.publish(pos, 2)
		require.Equal(t, 2, r.PopInto(make([]uint64, 2)))
		require.EqualValues(t, 2, r.Pushed(), "a pop does not take back")
	}
}
