package echo

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/server"
)

func reply(t *testing.T, c Config, req string) string {
	t.Helper()
	rec := server.NewRecorder(c.Handler())
	defer rec.Close()
	got, err := rec.Call(context.Background(), []byte(req))
	require.NoError(t, err)
	return string(got)
}

func TestReplyHasTheSizeAskedFor(t *testing.T) {
	assert.Equal(t, "hello", reply(t, Config{ReplySize: -1}, "hello"))
	assert.Equal(t, "", reply(t, Config{ReplySize: 0}, "hello"))
	assert.Equal(t, "hel", reply(t, Config{ReplySize: 3}, "hello"))
	assert.Equal(t, "hello\x00\x00", reply(t, Config{ReplySize: 7}, "hello"))
}

func TestDelayLiesBetweenLatencyAndLatencyPlusJitter(t *testing.T) {
	assert.Equal(t, time.Second, Config{Latency: time.Second}.delay())
	seen := make(map[time.Duration]bool)
	for range 100 {
		d := Config{Latency: time.Second, Jitter: time.Millisecond}.delay()
		assert.GreaterOrEqual(t, d, time.Second)
		assert.Less(t, d, time.Second+time.Millisecond)
		seen[d] = true
	}
	assert.Greater(t, len(seen), 1)
}

func TestReplyIsNotEarly(t *testing.T) {
	start := time.Now()
	assert.Equal(t, "x", reply(t, Config{Latency: 20 * time.Millisecond, ReplySize: -1}, "x"))
	assert.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
}

func TestWaitsOnlyWithLatencyOrJitter(t *testing.T) {
	assert.False(t, Config{ReplySize: 9}.Waits())
	assert.True(t, Config{Latency: 1}.Waits())
	assert.True(t, Config{Jitter: 1}.Waits())
}

func TestValidateNamesTheField(t *testing.T) {
	require.NoError(t, Config{ReplySize: 10}.Validate(10))
	assert.ErrorContains(t, Config{ReplySize: 11}.Validate(10), "reply size 11")
	assert.ErrorContains(t, Config{Latency: -1}.Validate(10), "latency -1ns")
	assert.ErrorContains(t, Config{Jitter: 2 * time.Hour}.Validate(10), "jitter 2h")
}
