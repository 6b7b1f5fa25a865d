package breaker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// backend answers, or fails every call, as told.
type backend struct {
	addr  string
	sick  atomic.Bool
	calls atomic.Int64
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	k := new(backend)
	s, err := server.New(server.Config{
		Addr: "127.0.0.1:0", Extensions: true,
		Handler: server.RequestFunc(func(r *server.Request, dst []byte) ([]byte, error) {
			k.calls.Add(1)
			if k.sick.Load() {
				return dst, &server.Error{Code: 500, Text: "the disk is full"}
			}
			return append(dst, r.Payload()...), nil
		}),
	})
	require.NoError(t, err)
	require.NoError(t, s.Start())
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	k.addr = s.Addr().String()
	return k
}

func TestAServerWhoseCallsFailIsOutUntilItHasHadTime(t *testing.T) {
	all := []*backend{newBackend(t), newBackend(t), newBackend(t)}
	weights := make(map[string]int)
	var addrs []string
	for _, k := range all {
		weights[k.addr] = 1
		addrs = append(addrs, k.addr)
	}
	b, err := engine.New(engine.Config{Addrs: addrs, ConnsPerAddr: 1, Extensions: true})
	require.NoError(t, err)
	defer b.Close()
	up := func(n int) {
		require.Eventually(t, func() bool { return b.Stats().Conns == n }, time.Minute, time.Millisecond)
	}
	up(3)
	const pause = time.Second
	k := New(b, Rule{Failures: 5, Window: time.Minute, Pause: pause}, weights)
	defer k.Close()

	ctx := context.Background()
	call := func(n int) (failed int) {
		for range n {
			var remote *engine.RemoteError
			if _, err := k.Send(ctx, []byte("x")); errors.As(err, &remote) {
				failed++
			} else {
				require.NoError(t, err)
			}
		}
		return failed
	}
	require.Zero(t, call(30))
	sick := all[1]
	sick.sick.Store(true)
	sick.calls.Store(0)
	began := time.Now()
	failed := call(60)
	out := k.Out()
	rounds := 1 + int(time.Since(began)/pause) // on a slow machine it may have come back meanwhile
	require.GreaterOrEqual(t, failed, 5)
	require.LessOrEqual(t, failed, 5*rounds, "then it is out")
	require.EqualValues(t, failed, sick.calls.Load())
	if rounds == 1 {
		require.Equal(t, 1, out)
	}
	sick.sick.Store(false)
	require.Eventually(t, func() bool { return k.Out() == 0 }, time.Minute, time.Millisecond)
	up(3)
	sick.calls.Store(0)
	require.Zero(t, call(30))
	require.EqualValues(t, 10, sick.calls.Load(), "it has its share again")

	for _, k := range all {
		k.sick.Store(true)
	}
	require.Equal(t, 200, call(200))
	require.LessOrEqual(t, k.Out(), 1, "when all fail the cause is elsewhere")
}
