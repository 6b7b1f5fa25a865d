package peer

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// frameServers are the servers of the anet frame that run in this process.
func frameServers(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, p := range Servers() {
		if p.Missing != nil && p.Missing() != "" {
			t.Logf("%s is not tested: %s", p.Name, p.Missing())
			continue
		}
		srv, err := p.Serve("127.0.0.1:0")
		require.NoError(t, err, p.Name)
		t.Cleanup(srv.Close)
		all[p.Name] = srv.Addr
	}
	return all
}

func TestEveryServerAnswersLightClients(t *testing.T) {
	measure := func(t *testing.T, p Peer, addr string) {
		target, err := p.Target(addr, os.Getpid())
		require.NoError(t, err)
		result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 32), nil)
		require.NoError(t, err)
		row := result.Rows[0]
		assert.Equal(t, p.Name, row.System)
		assert.GreaterOrEqual(t, row.Requests, uint64(32), "each client sends")
		assert.Zero(t, row.Errors)
		assert.Positive(t, row.LatencySamples)
	}
	addrs := frameServers(t)
	for _, p := range append(LightServers(), light(Polling())) {
		t.Run(p.Name, func(t *testing.T) {
			if addr, here := addrs[p.Name]; here {
				measure(t, p, addr)
			} else if p.Program != nil {
				measure(t, p, startFrames(t)) // it stands in for the programs
			}
		})
	}
}

func TestRingwiresBrokerIsThePollingServersClient(t *testing.T) {
	if why := Polling().Missing(); why != "" {
		t.Skip(why)
	}
	addr := frameServers(t)[PollingName]
	target, err := Polling().Target(addr, os.Getpid())
	require.NoError(t, err)
	result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 64), nil)
	require.NoError(t, err)
	assert.Positive(t, result.Rows[0].Requests)
	assert.Zero(t, result.Rows[0].Errors)
}

// frame is one of the anet frame.
func frame(t *testing.T, id taskid.ID, payload []byte) []byte {
	t.Helper()
	b, err := framing.Append(nil, id, payload)
	require.NoError(t, err)
	return b
}

func TestServersAnswerFramesHoweverTheyAreCut(t *testing.T) {
	large := frame(t, 4, bytes.Repeat([]byte{0xa5}, framing.Format{}.WithDefaults().MaxPayload()))
	small := bytes.Join([][]byte{frame(t, 1, []byte("one")), frame(t, 0, nil), frame(t, 1<<31, []byte("three"))}, nil)
	for name, addr := range frameServers(t) {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			expect := func(want []byte) {
				got := make([]byte, len(want))
				_, err := io.ReadFull(conn, got)
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got))
			}
			send := func(b []byte) {
				_, err := conn.Write(b)
				require.NoError(t, err)
			}
			send(small)
			expect(small)
			for _, cut := range []int{1, 3, 6, 8} {
				send(append(frame(t, 7, []byte("x")), small[:cut]...))
				expect(frame(t, 7, []byte("x"))) // so the piece is there, alone
				send(small[cut:])
				expect(small)
			}
			send(large)
			expect(large)
			send([]byte{0, 3, 0, 0, 0, 0, 0, 0})
			_, err = conn.Read(make([]byte, 1))
			require.Error(t, err, "what is no frame ends the connection")
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		})
	}
}

func TestLightClientsFindAWrongReply(t *testing.T) {
	// A request of 64 bytes has the length 68, and the first client's first the ID 1.
	for want, tail := range map[string][]byte{
		"the frame's length is 69":  {0, 68},
		"and its ID 2, where 68":    {0, 68, 0, 0, 0, 1},
		"came back with other byte": {62, 63},
	} {
		target, err := light(Goroutines()).Target(startCorrupting(t, startFrames(t), [][]byte{tail}), os.Getpid())
		require.NoError(t, err)
		_, err = bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 1), nil)
		require.ErrorContains(t, err, "wrong reply")
		require.ErrorContains(t, err, want)
	}
}

func TestLightClientsSayThatNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	target, err := light(Gnet()).Target(listener.Addr().String(), 0)
	require.NoError(t, err)
	_, err = bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 3), nil)
	require.ErrorContains(t, err, "client 1 of 3")
}

func TestLightClientsAreClosedWhenTheServerHasClosed(t *testing.T) {
	const n = 8
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	var ended atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				time.Sleep(20 * time.Millisecond) // what a server may have to do
				ended.Add(1)
				_ = conn.Close()
			}()
		}
	}()
	client, err := dialLights(t.Context(), listener.Addr().String(), n)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	assert.Equal(t, int32(n), ended.Load())
	_, err = client.Call(nil, nil)
	require.Error(t, err)
}

func TestSleepersAreBoundedByWhatTheySleep(t *testing.T) {
	const callers, slept = 8, 2 * time.Millisecond
	target := Sleepers()
	p := plan(&target, bench.Native, callers)
	p.Cases[0].Handler = slept
	result, err := bench.RunPlan(t.Context(), p, nil)
	require.NoError(t, err)
	row := result.Rows[0]
	assert.GreaterOrEqual(t, row.Requests, uint64(callers))
	assert.LessOrEqual(t, row.ReqPerSec, callers/slept.Seconds())
	assert.GreaterOrEqual(t, row.P50, slept.Nanoseconds())
	assert.Equal(t, slept, row.Handler)
}

func TestLateHandlersWait(t *testing.T) {
	const latency = 20 * time.Millisecond
	var names []string
	for _, p := range All() {
		if p.Late == nil {
			continue
		}
		names = append(names, p.Name)
		srv, err := p.Late("127.0.0.1:0", latency)
		require.NoError(t, err)
		defer srv.Close()
		target, err := p.Target(srv.Addr, os.Getpid())
		require.NoError(t, err)
		result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 16), nil)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, result.Rows[0].P50, latency.Nanoseconds(), p.Name)
		assert.Zero(t, result.Rows[0].Errors)
	}
	assert.Equal(t, []string{"grpc-go", "kitex"}, names)
}
