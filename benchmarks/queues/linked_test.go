package queues

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLinkedHoldsItsCapacityAndNoMore(t *testing.T) {
	for _, size := range []struct{ initial, capacity, holds int }{{2, 2, 2}, {2, 8, 8}, {4, 5, 8}, {8, 64, 64}} {
		q := newLinkedMPSC[int](size.initial, size.capacity)
		assert.Nil(t, q.tryPop(), "empty")
		for lap := range 5 { // of which the first grows
			for i := range size.holds {
				require.True(t, q.tryPush(&i), "%+v, lap %d, value %d", size, lap, i)
			}
			assert.False(t, q.tryPush(new(int)), "%+v, lap %d: full", size, lap)
			for i := range size.holds {
				v := q.tryPop()
				require.NotNil(t, v, "%+v, lap %d, value %d", size, lap, i)
				assert.Equal(t, i, *v)
			}
			assert.Nil(t, q.tryPop(), "empty again")
		}
	}
}

// Against a slice, with the ends at every distance, while it grows.
func TestLinkedIsFirstInFirstOut(t *testing.T) {
	q := newLinkedMPSC[int](2, 16)
	var model []int
	next := 0
	for step := range 10_000 {
		if step%7 < 4-step/2500 { // more pushes at first, more pops later
			ok := q.tryPush(&[]int{next}[0])
			require.Equal(t, len(model) < 16, ok, "step %d", step)
			if ok {
				model = append(model, next)
			}
			next++
			continue
		}
		v := q.tryPop()
		require.Equal(t, len(model) == 0, v == nil, "step %d", step)
		if v != nil {
			require.Equal(t, model[0], *v)
			model = model[1:]
		}
	}
}

func TestLinkedRefusesSizesThatCannotWork(t *testing.T) {
	assert.Panics(t, func() { newLinkedMPSC[int](1, 8) })
	assert.Panics(t, func() { newLinkedMPSC[int](8, 4) })
}
