package list_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/list"
)

// guest waits in a lane.
type guest struct {
	lane list.Lane
	at   list.Node[guest]
}

// queue are guests in lanes.
type queue struct{ list.Lanes[guest] }

// serve takes the next guest out, nil if there is none.
func (q *queue) serve() *guest {
	g := q.Front()
	if g != nil {
		q.Take(g.lane, &g.at)
	}
	return g
}

// serveAll takes guests out until none is left, and returns their lanes in that order.
func (q *queue) serveAll() string {
	var order strings.Builder
	for g := q.serve(); g != nil; g = q.serve() {
		order.WriteByte("lnhu"[g.lane-list.LaneLow])
	}
	return order.String()
}

func (q *queue) fill(lane list.Lane, n int) (last *guest) {
	for range n {
		last = &guest{lane: lane}
		q.PushBack(lane, &last.at, last)
	}
	return last
}

func TestHigherLanesGoFirstAndNoneStarves(t *testing.T) {
	var q queue
	q.fill(list.LaneOf(0), 2)
	q.fill(list.LaneOf(7), 2)
	q.fill(list.LaneOf(-5), 2)
	q.fill(list.LaneOf(1), 2)
	assert.Equal(t, "uuhhnnll", q.serveAll())
	require.Zero(t, q.Len())
	require.Nil(t, q.Front())

	q.fill(list.LaneUrgent, 30)
	q.fill(0, 3)
	q.fill(list.LaneLow, 2)
	// After eight others each lane has one, the lowest first.
	assert.Equal(t, "uuuuuuuulnuuuuuuulunuuuuuuuunuuuuuu", q.serveAll())

	// A guest that gives up leaves nothing behind.
	alone := q.fill(list.LaneLow, 1)
	q.fill(list.LaneUrgent, 20)
	for range 8 {
		q.serve()
	}
	q.Remove(alone.lane, &alone.at)
	q.fill(list.LaneLow, 1)
	assert.Equal(t, strings.Repeat("u", 8)+"l"+strings.Repeat("u", 4), q.serveAll())
}

func TestWithinALaneTheyGoInTheirOrder(t *testing.T) {
	var q queue
	first, second := q.fill(0, 1), q.fill(0, 1)
	back := &guest{}
	q.PushFront(back.lane, &back.at, back)
	lowest := q.fill(list.LaneLow, 1)
	var seen []int
	q.Each(func(l *list.List[guest]) { seen = append(seen, l.Len()) })
	assert.Equal(t, []int{1, 3, 0, 0}, seen)
	for _, want := range []*guest{back, first, second, lowest} {
		assert.Same(t, want, q.serve())
	}
}
