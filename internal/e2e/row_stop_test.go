package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

// Row S12.
func TestServerRowPanicsFailTheirRequestsOnly(t *testing.T) {
	const callers, every = 8, 100
	for name, workers := range map[string]int{"in place": 0, "workers": 4} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			n := sized(2_000, 100_000)
			s := startServer(t, server.Config{Workers: workers, Extensions: true,
				Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
					if req[len(req)-1] == '!' {
						panic("a handler's bug")
					}
					return append(dst, req...), nil
				})})
			b := newBroker(t, engine.Config{Addrs: []string{s.Addr().String()}, Extensions: true, RequestTimeout: 5 * testBound})
			var calls, panicked atomic.Int64
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for i := calls.Add(1); i <= int64(n); i = calls.Add(1) {
						req := fmt.Sprint("request ", i)
						if i%every == 0 {
							req += "!"
						}
						reply, err := b.Send(context.Background(), []byte(req))
						var remote *engine.RemoteError
						switch {
						case i%every == 0 && errors.As(err, &remote):
							panicked.Add(1)
						case i%every == 0 || err != nil || string(reply) != req:
							t.Errorf("%q: %q, %v", req, reply, err)
						}
					}
				})
			}
			all.Wait()
			st := s.Stats()
			t.Logf("%d calls, %d of them panicked", n, panicked.Load())
			assert.EqualValues(t, n/every, panicked.Load())
			assert.EqualValues(t, n/every, st.Panics)
			assert.Zero(t, st.Closed.Total(), "no connection suffers")
			assert.Zero(t, b.Stats().ConnsLost)
		})
	}
}

// Row S15. Two servers leave and come back in turn.
func TestServerRowDrainsUnderLoadLoseNothing(t *testing.T) {
	checkLeaks(t)
	rounds := sized(3, 100)
	cfg := server.Config{Extensions: true, Workers: 2, ShutdownTimeout: 5 * testBound}
	fleet := []*server.Server{startServer(t, cfg), startServer(t, cfg)}
	b := newBroker(t, engine.Config{
		Addrs:          []string{fleet[0].Addr().String(), fleet[1].Addr().String()},
		Extensions:     true,
		RequestTimeout: 5 * testBound, ReadTimeout: -1,
	})
	var stop atomic.Bool
	var calls atomic.Int64
	var all sync.WaitGroup
	for who := range 16 {
		all.Go(func() {
			for n := 0; !stop.Load(); n++ {
				req := fmt.Sprintf("caller %d, call %d", who, n)
				if reply, err := b.Send(context.Background(), []byte(req)); err != nil || string(reply) != req {
					t.Errorf("%q: %q, %v", req, reply, err)
					return
				}
				calls.Add(1)
			}
		})
	}
	defer all.Wait()
	defer stop.Store(true)
	var abandoned uint64
	for round := range rounds {
		leaving := fleet[round%2]
		// Both have to be in use, or nothing is drained.
		before := leaving.Stats().Replies
		require.Eventually(t, func() bool { return t.Failed() || leaving.Stats().Replies > before+500 },
			5*testBound, time.Millisecond, "no load on %v", leaving.Addr())
		require.NoError(t, leaving.Shutdown(context.Background()))
		st := leaving.Stats()
		assert.Equal(t, st.Requests, st.Replies, "what has begun is answered: %+v", st)
		abandoned += st.Abandoned
		cfg.Addr = leaving.Addr().String()
		fleet[round%2] = startServer(t, cfg)
	}
	stop.Store(true)
	all.Wait()
	t.Logf("%d calls, %d drains, %d goaways; read and not begun, so made again: %d",
		calls.Load(), rounds, b.Stats().Goaways, abandoned)
	assert.GreaterOrEqual(t, b.Stats().Goaways, uint64(rounds))
	assert.Zero(t, b.Stats().Failed)
}

// Row S20. Clients come, write whole and half frames and go, in every way, when the stop comes.
func TestServerRowStopAtAnyMoment(t *testing.T) {
	checkLeaks(t)
	rng := rand.New(rand.NewPCG(seed(t), 20))
	rounds := sized(60, 2000)
	var slowest time.Duration
	late := 0
	for round := range rounds {
		s, err := server.New(server.Config{Addr: "127.0.0.1:0", Loops: 1 + round%3, Workers: round % 2 * 2,
			Extensions: round%4 == 0, ShutdownTimeout: rowTimeout, Logger: slog.New(slog.DiscardHandler),
			Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil })})
		require.NoError(t, err)
		require.NoError(t, s.Start())
		var gone atomic.Bool
		var all sync.WaitGroup
		for who := range 6 {
			decide := rand.New(rand.NewPCG(rng.Uint64(), uint64(who)))
			all.Go(func() {
				for !gone.Load() && visit(s.Addr().String(), decide) {
				}
			})
		}
		// Rounds stop before the first connection, in the middle, and late.
		if most := uint64(rng.IntN(40)); round%5 > 0 {
			require.Eventually(t, func() bool { return s.Stats().Accepted >= most }, 5*testBound, 100*time.Microsecond)
		}
		began := time.Now()
		if round%2 == 0 {
			err = s.Close()
		} else {
			err = s.Shutdown(context.Background())
		}
		took := time.Since(began)
		slowest = max(slowest, took)
		switch {
		case errors.Is(err, context.DeadlineExceeded): // somebody had to be cut, which is what it says
		case errors.Is(err, server.ErrHandlersRunning):
			// Its time and a second were over, which on a busy machine may be. It has said so,
			// and has to end soon.
			late++
			require.Eventually(t, func() bool { return s.Close() == nil }, testBound, time.Millisecond, "round %d: %v", round, err)
		default:
			assert.NoError(t, err)
		}
		assert.Less(t, took, 3*rowTimeout+time.Second, "round %d", round)
		gone.Store(true)
		all.Wait()
		st := s.Stats()
		assert.Equal(t, st.Accepted, st.Closed.Total(), "connections: %+v", st)
		assert.Equal(t, st.Requests, st.Replies+st.Unanswered+st.NoReplies+st.Dropped, "requests: %+v", st)
		require.NoError(t, s.Close(), "a second one changes nothing")
		require.False(t, t.Failed(), "round %d", round)
	}
	t.Logf("%d stops, the slowest took %v, %d were not over in their time", rounds, slowest.Round(time.Millisecond), late)
}

// visit is one client. It returns false when nobody listens.
func visit(addr string, decide *rand.Rand) bool {
	c, err := net.DialTimeout("tcp", addr, testBound)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testBound))
	frame := []byte{0, 6, 0, 0, 0, 1, 'x', 'y'}
	whole := decide.IntN(4)
	for range whole {
		if _, err := c.Write(frame); err != nil {
			return true
		}
	}
	if decide.IntN(3) == 0 {
		_, _ = c.Write(frame[:1+decide.IntN(len(frame)-1)])
	}
	if whole > 0 && decide.IntN(3) > 0 {
		_, _ = c.Read(make([]byte, 1+decide.IntN(20)))
	}
	switch decide.IntN(3) {
	case 0:
		_ = c.(*net.TCPConn).SetLinger(0)
	case 1:
		_ = c.(*net.TCPConn).CloseWrite()
	}
	return true
}
