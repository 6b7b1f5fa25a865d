package loglines_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/ringwire/ringwire/internal/loglines"
)

func TestAFewAtOnceAndThenOneASecond(t *testing.T) {
	var l loglines.Limit
	now := time.Unix(1, 0)
	for range loglines.Burst {
		hushed, ok := l.Take(now)
		assert.True(t, ok)
		assert.Zero(t, hushed)
	}
	for range 3 {
		_, ok := l.Take(now.Add(999 * time.Millisecond))
		assert.False(t, ok)
	}
	hushed, ok := l.Take(now.Add(time.Second))
	assert.True(t, ok)
	assert.Equal(t, 3, hushed, "those left out are told once")
	_, ok = l.Take(now.Add(time.Second))
	assert.False(t, ok)
	hushed, ok = l.Take(now.Add(time.Hour))
	assert.True(t, ok)
	assert.Equal(t, 1, hushed)
	for range loglines.Burst - 1 {
		_, ok = l.Take(now.Add(time.Hour))
		assert.True(t, ok, "no more are saved up than at first")
	}
	_, ok = l.Take(now.Add(time.Hour))
	assert.False(t, ok)
}
