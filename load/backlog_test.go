package load

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBacklogIsFirstInFirstOutAndBounded(t *testing.T) {
	const most = 3*backlogStart + 1 // it grows twice
	b := newBacklog(most)
	next, want := uint64(0), uint64(0)
	pop := func() {
		d, ok := b.pop()
		require.True(t, ok)
		require.Equal(t, want, d.n)
		want++
	}
	for b.push(due{n: next}) {
		if next++; next%3 == 0 {
			pop() // so that the first one is not at the ring's beginning when it grows
		}
	}
	assert.EqualValues(t, most, b.len.Load())
	pop()
	want--
	b.putBack(due{n: want})
	assert.False(t, b.push(due{}))
	for want < next {
		pop()
	}
	_, ok := b.pop()
	assert.False(t, ok)
	for i := range 5 {
		b.push(due{phase: uint8(i % 2)})
	}
	assert.Equal(t, []uint64{3, 2}, b.clear(2))
	assert.Zero(t, b.len.Load())
}

func TestBacklogTakesBackWhenItsRingIsFull(t *testing.T) {
	b := newBacklog(1 << 20)
	for i := range backlogStart {
		b.push(due{n: uint64(i + 1)})
	}
	b.putBack(due{n: 0})
	for i := range backlogStart + 1 {
		d, ok := b.pop()
		require.True(t, ok)
		require.EqualValues(t, i, d.n)
	}
}
