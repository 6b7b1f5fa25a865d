package peer

import (
	"bytes"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/internal/race"
	"github.com/ringwire/ringwire/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startServer starts p's server in this process and returns where it listens. The
// systems whose server is a program of its own speak our frame: our server
// stands in for it.
func startServer(t *testing.T, p Peer) string {
	t.Helper()
	if race.Enabled && p.Module == Anet().Module {
		t.Skip("anet is tested without -race only: its client has data races")
	}
	if p.Program == nil {
		if p.Name == "rueidis" && RedisMissing() != "" {
			t.Skip("Redis is not tested: " + RedisMissing())
		}
		srv, err := p.Serve("127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(srv.Close)
		return srv.Addr
	}
	return startFrames(t)
}

func startFrames(t *testing.T) string {
	t.Helper()
	echo := server.HandlerFunc(func(_ *server.Conn, reply, req []byte) ([]byte, error) { return append(reply, req...), nil })
	srv, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: echo})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { _ = srv.Close() })
	return srv.Addr().String()
}

func plan(t *bench.Target, api bench.API, callers int) bench.Plan {
	return bench.Plan{Rounds: 1, Slice: 50 * time.Millisecond,
		Cases: []bench.Case{{Target: t, API: api, Callers: callers, PayloadBytes: 64, Conns: 1}}}
}

func TestEveryPeerAnswers64CallersWithTheirOwnBytes(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startServer(t, p), os.Getpid())
			require.NoError(t, err)
			assert.Equal(t, p.Name, target.Name)
			assert.Equal(t, p.Note, target.Note)
			result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 64), nil)
			require.NoError(t, err)
			assert.Positive(t, result.Rows[0].Requests)
			assert.Zero(t, result.Rows[0].Errors)
		})
	}
}

func TestEveryPeersWrongReplyIsFound(t *testing.T) {
	// The tail of the first caller's payload, and that of what Redis stores.
	tails := [][]byte{{56, 57, 58, 59, 60, 61, 62, 63}, redisValue()[RedisValueBytes-8:]}
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startCorrupting(t, startServer(t, p), tails), os.Getpid())
			require.NoError(t, err)
			_, err = bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 1), nil)
			require.ErrorContains(t, err, "wrong reply")
		})
	}
}

// startCorrupting passes connections on to addr: see corrupt.
func startCorrupting(t *testing.T, addr string, tails [][]byte) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return corrupt(t, listener, func() (net.Conn, error) { return net.Dial("tcp", addr) }, tails)
}

// corrupt passes the connections of a listener on to those that dial makes, and changes the last byte of
// each tail that comes back.
func corrupt(t *testing.T, listener net.Listener, dial func() (net.Conn, error), tails [][]byte) string {
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := dial()
			if err != nil {
				_ = client.Close()
				return
			}
			go pass(upstream, client, func([]byte) {})
			go pass(client, upstream, func(b []byte) {
				for _, tail := range tails {
					if at := bytes.Index(b, tail); at >= 0 {
						b[at+len(tail)-1]++
					}
				}
			})
		}
	}()
	return listener.Addr().String()
}

// pass copies from one connection to the other, until either ends.
func pass(to, from net.Conn, change func([]byte)) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		change(buf[:n])
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

func TestPeersHaveDifferentNamesAndVersions(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range slices.Concat(All(), Servers()) {
		assert.False(t, seen[p.Name], p.Name)
		seen[p.Name] = true
		found, ok := Find(p.Name)
		assert.True(t, ok)
		assert.Equal(t, p.Name, found.Name)
		assert.NotEqual(t, p.Serve == nil, p.Program == nil, "%s: a server here, or a program", p.Name)
	}
	_, ok := Find("no such peer")
	assert.False(t, ok)
}

func TestLinesReachOneServerOnAConnectionForEachCaller(t *testing.T) {
	srv, err := serveStreams(nil, "127.0.0.1:0")
	require.NoError(t, err)
	defer srv.Close()
	target, err := NetConn().Target(srv.Addr, os.Getpid())
	require.NoError(t, err)
	client, err := target.Dial(t.Context(), 3)
	require.NoError(t, err)
	all, ok := client.(*lines)
	require.True(t, ok)
	assert.Len(t, all.all, 3)
	assert.Len(t, all.idle, 3)
	require.NoError(t, client.Close())
	req := make([]byte, 8)
	_, err = client.Call(nil, &req)
	require.Error(t, err, "a closed client answers nothing")
	assert.Len(t, all.idle, 3, "a failed call gives its line back")
}

func TestAnetIsMeasuredWithTheServerOfItsOwnVersion(t *testing.T) {
	assert.Equal(t, []string{"anet-v1-baseline-server"}, Anet().Program)
	assert.Equal(t, Anet().Program, AnetQueue().Program)
	v0, found := Find(bench.AnetV0)
	require.True(t, found)
	assert.Equal(t, []string{"anet-baseline-server"}, v0.Program)
	assert.Equal(t, Anet().Module, v0.Module, "the client is the same")
	assert.NotEqual(t, Anet().Note, v0.Note)
}
