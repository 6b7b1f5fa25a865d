//go:build invariant

package ring

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecondProducerAndConsumerOfSPSCPanic(t *testing.T) {
	r := NewSPSC[int](2)
	r.producer.sole.enter("the first producer")
	assert.PanicsWithValue(t, "invariant violated: "+secondProducer, func() { r.TryPush(1) })
	_, ok := r.TryPop()
	require.False(t, ok, "the sides do not exclude each other")
	r.producer.sole.leave()
	require.True(t, r.TryPush(1))

	r.consumer.sole.enter("the first consumer")
	assert.PanicsWithValue(t, "invariant violated: "+secondConsumer, func() { r.TryPop() })
	assert.PanicsWithValue(t, "invariant violated: "+secondConsumer, func() { r.PopInto(make([]int, 1)) })
	require.True(t, r.TryPush(2), "the sides do not exclude each other")
	r.consumer.sole.leave()
	require.Equal(t, 2, r.PopInto(make([]int, 2)))
	_, ok = r.TryPop()
	require.False(t, ok, "one after the other is allowed")
}

func TestSecondConsumerOfMPSCPanics(t *testing.T) {
	r := NewMPSC[int](2)
	r.consumer.sole.enter("the first consumer")
	require.True(t, r.TryPush(1), "producers are not excluded")
	assert.PanicsWithValue(t, "invariant violated: "+secondConsumer, func() { r.TryPop() })
	assert.PanicsWithValue(t, "invariant violated: "+secondConsumer, func() { r.PopInto(make([]int, 1)) })
	assert.False(t, r.Empty(), "anybody may ask")
	assert.Equal(t, 1, r.Len())
	r.consumer.sole.leave()
	require.Equal(t, 1, r.PopInto(make([]int, 2)))
	_, ok := r.TryPop()
	require.False(t, ok, "one after the other is allowed")
}
