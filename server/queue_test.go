package server

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/taskid"
)

// The queue beside one that is obviously right.
func TestQueueServesConnectionsInTurnAndEachInItsOrder(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var q queue
		desks := make([]desk, 4)
		waiting := make(map[*desk][]taskid.ID)
		var turns []*desk
		left := 0
		for id := range taskid.ID(500) {
			if rng.IntN(2) == 0 {
				d := &desks[rng.IntN(len(desks))]
				q.put(&job{desk: d, id: id})
				if len(waiting[d]) == 0 {
					turns = append(turns, d)
				}
				waiting[d] = append(waiting[d], id)
				left++
				continue
			}
			j, more := q.take()
			if left == 0 {
				require.Nil(t, j)
				require.False(t, more)
				continue
			}
			d := turns[0]
			require.Same(t, d, j.desk)
			require.Equal(t, waiting[d][0], j.id)
			require.Nil(t, j.next)
			if turns, waiting[d] = turns[1:], waiting[d][1:]; len(waiting[d]) > 0 {
				turns = append(turns, d)
			}
			left--
			require.Equal(t, left > 0, more)
			require.EqualValues(t, left, q.n.Load())
		}
	}
}
