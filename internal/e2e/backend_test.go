package e2e

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/faultnet"
	"github.com/ringwire/ringwire/server"
)

// backends are three servers of which one hangs: its connections stay open, more are
// accepted, what is sent is taken. Later it goes on as if nothing had been.
type backends struct {
	t    *testing.T
	b    *engine.Broker
	hang func() // the second
	goOn func()
	// served counts the requests that each has answered.
	served [3]func() uint64

	calls, failed atomic.Int64
	turns         [20]atomic.Int64 // calls of each caller
}

// callers call until ended is closed, with a pause after each call.
func (s *backends) callers(pause time.Duration, ended <-chan struct{}) (wait func()) {
	var wg sync.WaitGroup
	for i := range s.turns {
		wg.Go(func() {
			for {
				reply, err := s.b.Send(context.Background(), []byte("request"))
				s.calls.Add(1)
				if err != nil {
					s.failed.Add(1)
					assert.ErrorIs(s.t, err, engine.ErrTimeout)
				} else {
					assert.Equal(s.t, "request", string(reply))
				}
				s.turns[i].Add(1)
				select {
				case <-ended:
					return
				case <-time.After(pause):
				}
			}
		})
	}
	return wg.Wait
}

// next returns a function that tells whether each caller's present call is over.
func (s *backends) next() func() bool {
	var now [len(s.turns)]int64
	for i := range now {
		now[i] = s.turns[i].Load()
	}
	return func() bool {
		for i := range now {
			if s.turns[i].Load() == now[i] {
				return false
			}
		}
		return true
	}
}

// state is that of the second address.
func (s *backends) state() engine.AddrState { return s.b.AddrStats()[1].State }

// errorsIn counts calls and failures while during runs.
func (s *backends) errorsIn(during func()) (calls, failed int64) {
	calls, failed = s.calls.Load(), s.failed.Load()
	during()
	return s.calls.Load() - calls, s.failed.Load() - failed
}

// TestOneOfThreeBackendsThatHangsCostsHardlyACallVirtual in virtual time, with the
// timeouts that are the defaults.
func TestOneOfThreeBackendsThatHangsCostsHardlyACallVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := map[string]*stoppable{"one:1": {}, "two:1": {}, "three:1": {}}
		s := &backends{t: t, hang: peers["two:1"].stop, goOn: peers["two:1"].resume}
		for i, addr := range []string{"one:1", "two:1", "three:1"} {
			s.served[i] = peers[addr].served.Load
		}
		var err error
		s.b, err = engine.New(engine.Config{
			Addrs: []string{"one:1", "two:1", "three:1"}, ConnsPerAddr: 2, BusyPoll: -1,
			DialContext: func(_ context.Context, _, addr string) (net.Conn, error) { return peers[addr].dial(), nil },
		})
		require.NoError(t, err)
		ended := make(chan struct{})
		wait := s.callers(50*time.Millisecond, ended)
		<-time.After(time.Second)
		s.hang()
		<-time.After(10 * time.Second)
		calls, failed := s.errorsIn(func() { <-time.After(27 * time.Second) })
		t.Logf("%d of %d calls failed; %+v", failed, calls, s.b.AddrStats()[1])
		assert.GreaterOrEqual(t, calls, int64(10_000))
		assert.LessOrEqual(t, failed*1000, calls)
		assert.NotEqual(t, engine.AddrUp, s.state())

		s.goOn()
		went := time.Now()
		assert.Eventually(t, func() bool { return s.state() == engine.AddrUp }, 10*time.Second, 10*time.Millisecond, "back in use")
		t.Logf("in use again after %v", time.Since(went))
		before := s.served[1]()
		calls, failed = s.errorsIn(func() { <-time.After(5 * time.Second) })
		assert.Zero(t, failed)
		assert.Greater(t, int64(s.served[1]()-before), calls/4, "it has its share")
		close(ended)
		wait()
		require.NoError(t, s.b.Close())
		for _, p := range peers {
			p.close()
		}
	})
}

// A stoppable server echoes over pipes. While it is stopped it takes what comes, as the
// kernel does for a process, and answers later.
type stoppable struct {
	served atomic.Uint64

	mu    sync.Mutex // guards what follows
	gate  chan struct{}
	conns []net.Conn
}

func (s *stoppable) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *stoppable) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gate)
	s.gate = nil
}

// running waits until the server is not stopped.
func (s *stoppable) running() {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
}

func (s *stoppable) dial() net.Conn {
	client, server := net.Pipe()
	s.mu.Lock()
	s.conns = append(s.conns, server)
	s.mu.Unlock()
	got := make(chan framing.Frame, 1<<12) // the kernel's buffer
	go func() {
		defer close(got)
		for in := framing.NewReader(server, framing.Format{}); ; {
			f, err := in.ReadFrame()
			if err != nil {
				return
			}
			f.Payload = append([]byte(nil), f.Payload...)
			got <- f
		}
	}()
	go func() {
		for f := range got {
			s.running()
			s.served.Add(1)
			out, _ := framing.Append(nil, f.ID, f.Payload)
			_, _ = server.Write(out) // the client may be gone
		}
	}()
	return client
}

func (s *stoppable) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

// TestOneOfThreeBackendsThatHangsCostsHardlyACall over sockets, with timeouts of a
// fraction of a second, and in counts of calls.
func TestOneOfThreeBackendsThatHangsCostsHardlyACall(t *testing.T) {
	checkLeaks(t)
	s := &backends{t: t}
	var addrs []string
	for i := range s.served {
		srv, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: server.HandlerFunc(
			func(_ *server.Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil },
		)})
		require.NoError(t, err)
		require.NoError(t, srv.Start())
		t.Cleanup(func() { assert.NoError(t, srv.Close()) })
		p, err := faultnet.New(faultnet.Config{Target: srv.Addr().String()})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, p.Close()) })
		addrs = append(addrs, p.Addr())
		s.served[i] = func() uint64 { return srv.Stats().Requests }
		if i == 1 {
			s.hang, s.goOn = p.Pause, p.Resume
		}
	}
	s.b = newBroker(t, engine.Config{
		Addrs: addrs, ConnsPerAddr: 2,
		RequestTimeout: 10 * productTimeout, ReadTimeout: productTimeout, SilenceTimeout: productTimeout / 2,
	})
	ended := make(chan struct{})
	wait := s.callers(time.Millisecond, ended)
	end := sync.OnceFunc(func() { close(ended); wait() })
	defer end() // also if the test fails before
	eventually := func(why string, is func() bool) {
		t.Helper()
		require.Eventually(t, is, 5*testBound, time.Millisecond, why)
	}
	for round := range sized(1, 20) {
		eventually("all are in use", func() bool { return s.state() == engine.AddrUp && s.calls.Load() > 100 })
		s.hang()
		eventually("found out", func() bool { return s.state() != engine.AddrUp })
		// A caller that has a request there waits for its time to be up.
		eventually("all callers are back", s.next())
		calls, failed := s.errorsIn(func() {
			for until := s.calls.Load() + 10_000; s.calls.Load() < until; {
				<-time.After(time.Millisecond)
			}
		})
		t.Logf("round %d: %d of %d calls failed; %+v", round, failed, calls, s.b.AddrStats()[1])
		assert.LessOrEqual(t, failed*1000, calls)

		s.goOn()
		eventually("back in use", func() bool { return s.state() == engine.AddrUp })
		before := s.served[1]()
		calls, failed = s.errorsIn(func() {
			eventually("has its share", func() bool { return s.served[1]()-before > 1000 })
		})
		assert.LessOrEqual(t, failed*1000, calls)
	}
	end()
	require.NoError(t, s.b.Close())
}
