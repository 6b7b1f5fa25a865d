package peer

import (
	"net"
	"os"
	"testing"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNativeTargetsCountAnsweredRequests(t *testing.T) {
	frames := startFrames(t)
	stream, err := serveStreams(nil, "127.0.0.1:0")
	require.NoError(t, err)
	defer stream.Close()
	for _, c := range []struct {
		target   bench.Target
		callers  int
		multiple uint64 // requests come in multiples of this
		timed    bool
	}{
		{FramesLimit(nil, frames, os.Getpid()), 16, 16, true},
		{PingPong(nil, frames, os.Getpid()), 1, 1, true},
		{EchoStream(stream.Addr, os.Getpid()), 16, 1, false},
	} {
		t.Run(c.target.Name, func(t *testing.T) {
			result, err := bench.RunPlan(t.Context(), plan(&c.target, bench.Native, c.callers), nil)
			require.NoError(t, err)
			row := result.Rows[0]
			assert.Positive(t, row.Requests)
			assert.Zero(t, row.Requests%c.multiple)
			assert.Equal(t, c.timed, row.LatencySamples > 0)
		})
	}
}

func TestNativeTargetsFindAWrongReply(t *testing.T) {
	// The payload's first bytes are zero until the number in its end grows.
	pingPong := PingPong(nil, startCorrupting(t, startFrames(t), [][]byte{{0, 0, 0, 1}}), os.Getpid())
	_, err := bench.RunPlan(t.Context(), plan(&pingPong, bench.Native, 1), nil)
	require.ErrorContains(t, err, "wrong reply")

	raw, err := serveStreams(nil, "127.0.0.1:0")
	require.NoError(t, err)
	defer raw.Close()
	// A payload is its number, zeros, and its number again.
	first, last := []byte{0, 0, 0, 1}, append(append([]byte{1}, make([]byte, 59)...), 1)
	for want, end := range map[string][]byte{"the ends 2 and 1": first, "the ends 1 and 2": last} {
		stream := EchoStream(startCorrupting(t, raw.Addr, [][]byte{end}), os.Getpid())
		_, err = bench.RunPlan(t.Context(), plan(&stream, bench.Native, 4), nil)
		require.ErrorContains(t, err, "wrong reply: payload 1 came with "+want)
	}
}

func TestNativeTargetsFailWhenNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	limit := FramesLimit(nil, listener.Addr().String(), 0)
	_, err = bench.RunPlan(t.Context(), plan(&limit, bench.Native, 4), nil)
	require.Error(t, err)
}

func TestRedisPipelineTakesTheProgramsFigure(t *testing.T) {
	if missing := RedisMissing(); missing != "" {
		t.Skip("Redis is not tested: " + missing)
	}
	srv, err := Rueidis().Serve("127.0.0.1:0")
	require.NoError(t, err)
	defer srv.Close()
	target, err := RedisPipeline(srv.Addr, 0)
	require.NoError(t, err)
	assert.NotEqual(t, os.Getpid(), target.PID, "Redis is a process of its own")
	result, err := bench.RunPlan(t.Context(), plan(&target, bench.Native, 32), nil)
	require.NoError(t, err)
	assert.Zero(t, result.Rows[0].Requests%32)
	assert.Positive(t, result.Rows[0].ReqPerSec)
}

func TestRedisRateReadsTheLastLine(t *testing.T) {
	const head = `"test","rps","avg_latency_ms"` + "\n"
	rate, err := redisRate(head + `"GET value","123456.50","0.1"` + "\n")
	require.NoError(t, err)
	assert.InDelta(t, 123456.5, rate, 1e-9)
	for _, bad := range []string{"", head, `"test","speed"` + "\n" + `"GET","1"`, head + `"GET","0","1"`, head + `"GET","x","1"`} {
		_, err := redisRate(bad)
		assert.Error(t, err, bad)
	}
}
