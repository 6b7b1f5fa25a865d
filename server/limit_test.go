package server

import (
	"bytes"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// narrow dials with a receive buffer so small that the server's output backs up.
// It has to be small before the connection is made, or the segments of the
// loopback are larger than the window and everything waits for probes.
func narrow(t *testing.T, s *Server) *client {
	t.Helper()
	return dialBy(t, s, net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if failed := raw.Control(func(fd uintptr) { err = shrinkReceiveBuffer(fd) }); failed != nil {
			return failed
		}
		return err
	}})
}

// amplify answers with 32 KiB whatever is asked.
func amplify(_ *Conn, dst, _ []byte) ([]byte, error) {
	return append(dst, make([]byte, 32<<10)...), nil
}

func TestPeerThatNeverReadsIsClosedAndBounded(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		const unsent = 128 << 10
		cfg.Handler, cfg.WriteTimeout, cfg.MaxUnsent = HandlerFunc(amplify), 2*time.Second, unsent // time enough to fill the kernel's buffers
		s := launch(t, cfg)
		deaf, healthy := narrow(t, s), dial(t, s)
		eventually(t, s, "both", func(st Stats) bool { return st.Conns == 2 })
		// Many more requests than the kernel's buffers take replies.
		deaf.write(deaf.pipeline(2000, 0))
		backUp(t, s, 1)
		for st := s.Stats(); st.Conns == 2; st = s.Stats() {
			require.Less(t, st.HeldBytes, int64(unsent+flushBytes+2*framing.MaxPayload), "replies are not made for nobody")
			healthy.send(1, nil)
			require.Len(t, healthy.receive().Payload, 32<<10)
		}
		st := s.Stats()
		// TCP's own timeout an event loop may meet as an end.
		assert.EqualValues(t, 1, st.Closed.SlowReader+st.Closed.Dead+st.Closed.Peer, "%+v", st.Closed)
		assert.EqualValues(t, 1, st.Closed.Total())
		assert.Less(t, st.Requests, uint64(2000)+st.Replies)
	})
}

// A peer that reads late gets everything, in order, although parsing stopped.
func TestParsingResumesWhenThePeerReads(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Handler, cfg.MaxUnsent = HandlerFunc(amplify), 64<<10
		s := launch(t, cfg)
		c := narrow(t, s)
		const requests = 300
		c.write(c.pipeline(requests, 100))
		backUp(t, s, 1)
		seen := make(map[uint32]bool)
		for i := range requests {
			f := c.receive()
			require.False(t, seen[uint32(f.ID)], "a reply came twice")
			seen[uint32(f.ID)] = true
			if cfg.Workers == 0 {
				require.EqualValues(t, i+1, f.ID)
			}
			require.Len(t, f.Payload, 32<<10)
		}
		assert.EqualValues(t, requests, s.Stats().Replies)
		c.send(requests+1, nil)
		assert.EqualValues(t, requests+1, c.receive().ID, "and goes on")
	})
}

func TestInputBeyondItsBoundClosesTheConnection(t *testing.T) {
	onLoops(t)
	const unparsed = 256 << 10
	release := make(chan struct{})
	s := launch(t, Config{Workers: 1, MaxInFlight: 1, MaxUnparsed: unparsed, neverPause: true,
		Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) { <-release; return dst, nil })})
	t.Cleanup(func() { close(release) })
	c, healthy := dial(t, s), dial(t, s)
	c.send(0, nil)
	eventually(t, s, "the worker to be held", func(st Stats) bool { return st.Running == 1 })
	flood := c.pipeline(100, 1000)
	for range 20 {
		if _, err := c.nc.Write(flood); err != nil {
			break
		}
		require.Less(t, s.Stats().HeldBytes, int64(4*unparsed))
	}
	eventually(t, s, "the reason", func(st Stats) bool { return st.Closed.Input == 1 })
	healthy.send(1, nil)
	eventually(t, s, "the neighbour's request", func(st Stats) bool { return st.Queued == 1 && st.Running == 1 })
}

// Peers that read late make the server hold too much: all are slowed, none is closed.
func TestServerWideBoundSlowsPeersThatRead(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		const bound, conns, requests = 2 << 20, 6, 150
		cfg.Handler, cfg.MaxHeld, cfg.MaxUnsent = HandlerFunc(amplify), bound, 1<<20
		cfg.MaxInFlight = 4 // or all that the workers may hold would be theirs
		s := launch(t, cfg)
		var late []*client
		for range conns { // each may hold half the bound
			c := narrow(t, s)
			c.write(c.pipeline(requests, 0))
			late = append(late, c)
		}
		backUp(t, s, conns)
		assert.Less(t, s.Stats().HeldBytes, int64(bound+conns*(flushBytes+framing.MaxPayload)))
		healthy := dial(t, s)
		healthy.send(1, nil)
		assert.Len(t, healthy.receive().Payload, 32<<10, "who reads at once is served meanwhile")
		var wg sync.WaitGroup
		for _, c := range late {
			wg.Go(func() {
				for range requests {
					if f, err := c.frames.ReadFrame(); err != nil || len(f.Payload) != 32<<10 {
						t.Error("a reply is lost:", err)
						return
					}
				}
			})
		}
		wg.Wait()
		assert.Zero(t, s.Stats().Closed, "nobody is closed")
		eventually(t, s, "all to be given back", func(st Stats) bool { return st.HeldBytes == 0 })
	})
}

// Replies that nobody reads are bounded off the loop, too: when much is held, one request of
// each connection is taken at a time, and a client that reads is served.
func TestRepliesOfWorkersThatNobodyReadsAreBounded(t *testing.T) {
	const bound, conns, requests = 2 << 20, 10, 250
	s := launch(t, Config{Workers: 4, MaxHeld: bound, MaxUnsent: 4 << 10, WriteTimeout: -1, Handler: HandlerFunc(amplify)})
	for range conns {
		c := narrow(t, s)
		c.write(c.pipeline(requests, 0))
	}
	healthy := dial(t, s)
	var most int64
	for id := range uint32(50) {
		healthy.send(id, nil)
		assert.Len(t, healthy.receive().Payload, 32<<10)
		most = max(most, s.jobBytes.Load())
	}
	waitFor(t, "the workers to have done what they may", func() bool {
		most = max(most, s.jobBytes.Load())
		st := s.Stats()
		return st.Queued > conns && st.Running == 0 && s.workers.queue.ready.Load() == 0
	})
	// Each frame of 32 KiB is in a buffer of 64 KiB; the workers were at it when the bound came.
	assert.Less(t, most, int64(bound+(conns+1+4)*(64<<10)))
}

// Many that are small each are found by the sweep.
func TestServerWideBoundHoldsForManySmallOnes(t *testing.T) {
	const bound, conns = 512 << 10, 12
	s := launch(t, Config{MaxHeld: bound, neverPause: true})
	for i := range uint32(conns) {
		c := dial(t, s)
		c.write(c.frame(i, make([]byte, 65_000))[:60_000])
	}
	eventually(t, s, "some to be closed", func(st Stats) bool { return st.BytesIn == conns*60_000 && st.Closed.Memory > 0 })
	eventually(t, s, "the bound to hold", func(st Stats) bool { return st.HeldBytes <= bound })
	assert.Positive(t, s.Stats().Conns, "those within the bound stay")
}

func TestShedClosesTheLargestAndNoMore(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo), MaxHeld: 350})
	require.NoError(t, err)
	var links []*scripted
	for _, held := range []int64{100, 300, 0, 200} {
		l := &scripted{}
		c := &Conn{srv: s, link: l, loop: newLoop()}
		c.held.Store(held)
		s.held.Add(held)
		s.conns.add(c)
		links = append(links, l)
	}
	s.shed()
	for i, l := range links {
		assert.Equal(t, i == 1, l.closed, "connection %d", i)
	}
}

// A flood of the smallest frames over many connections, each sent at once.
func TestFloodOfSmallFramesIsAnswered(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.MaxInFlight, cfg.QueueSize = 16, 32
		s := launch(t, cfg)
		const conns, requests = 8, 3000
		done := make(chan int, conns)
		for range conns {
			c := dial(t, s)
			go func() { _, _ = c.nc.Write(bytes.Repeat([]byte{0, 4, 0, 0, 0, 9}, requests)) }()
			go func() {
				n := 0
				for ; n < requests; n++ {
					if f, err := c.frames.ReadFrame(); err != nil || f.ID != 9 || len(f.Payload) > 0 {
						break
					}
				}
				done <- n
			}()
		}
		for range conns {
			assert.Equal(t, requests, <-done)
		}
		assert.EqualValues(t, conns*requests, s.Stats().Replies)
	})
}

func TestConnsBeyondTheLimitAreClosedAtOnce(t *testing.T) {
	s := launch(t, Config{MaxConns: 2})
	a, b := dial(t, s), dial(t, s)
	a.call(1, nil)
	b.call(1, nil)
	assert.Zero(t, dial(t, s).closed())
	assert.EqualValues(t, 1, s.Stats().Rejected)
	require.NoError(t, a.nc.Close())
	eventually(t, s, "the end", func(st Stats) bool { return st.Conns == 1 })
	dial(t, s).call(1, nil)
	b.call(2, nil)
}

// The connection object of a used, idle connection: with the event loop's own it
// has to stay below a kilobyte.
func TestConnIsSmall(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Conn{}), uintptr(384))
}

func TestRegistryFollowsConnections(t *testing.T) {
	var r registry
	all := make([]*Conn, 3*scanChunk/2)
	for i := range all {
		all[i] = &Conn{id: uint64(i)}
		r.add(all[i])
	}
	for i := 0; i < len(all); i += 3 {
		r.remove(all[i])
	}
	seen := make(map[uint64]bool)
	r.scan(func(c *Conn) {
		assert.False(t, seen[c.id], "seen twice")
		seen[c.id] = true
	})
	assert.Len(t, seen, r.len())
	for i := range all {
		assert.Equal(t, i%3 != 0, seen[uint64(i)], "connection %d", i)
	}
}

// One that grows while the server holds too much goes at once.
func TestGrowingConnectionGoesWhenTheServerHoldsTooMuch(t *testing.T) {
	for name, kib := range map[string]struct {
		before, after int
		goes          bool
	}{
		"grows":    {280, 300, true},
		"is small": {0, 100, false},
		"shrinks":  {280, 270, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := offline(t, Config{Handler: HandlerFunc(echo), MaxHeld: 1 << 20})
			c.unsent, l.left = kib.before<<10, kib.before<<10
			require.True(t, c.serve(nil))
			c.srv.held.Add(1 << 20) // others'
			c.unsent, l.left = kib.after<<10, kib.after<<10
			assert.Equal(t, !kib.goes, c.serve(nil))
			assert.Equal(t, kib.goes, reason(c.why.Load()) == reasonMemory)
		})
	}
}

// Without TCP's own timeout, which a unix socket has not.
func TestPeerThatNeverReadsAUnixSocketIsClosed(t *testing.T) {
	s := launch(t, Config{Addr: "unix://" + filepath.Join(t.TempDir(), "s"), Handler: HandlerFunc(amplify),
		WriteTimeout: 200 * time.Millisecond})
	c := dial(t, s)
	go func() { _, _ = c.nc.Write(c.pipeline(2000, 0)) }()
	eventually(t, s, "the reason", func(st Stats) bool { return st.Closed.SlowReader == 1 })
}

func TestProgressKeepsASlowReader(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), WriteTimeout: time.Second})
	const all = 8 * progressBytes
	l.left = all
	c.handed, c.unsent = all, all
	limit := c.srv.patience(time.Second)
	now := c.srv.clock.Load()
	for range 5 { // each time enough goes, in two halves, just in time
		l.left -= progressBytes / 2
		c.srv.clock.Store(now + limit/2)
		require.True(t, c.serve(nil))
		l.left -= progressBytes / 2
		now += limit
		c.srv.clock.Store(now)
		require.True(t, c.serve(nil))
	}
	l.left -= progressBytes / 2
	c.srv.clock.Store(now + limit)
	require.True(t, c.serve(nil), "not before the time is over")
	c.srv.clock.Store(now + limit + 1)
	require.False(t, c.serve(nil), "half of it is not enough")
	assert.Equal(t, reasonSlowReader, reason(c.why.Load()))
}

// WriteTimeout counts from when there is something to take, however long nothing was, and
// however long the handler has taken.
func TestWriteTimeoutBeginsWithTheOutput(t *testing.T) {
	var now int64
	var c *Conn
	limit := int64(0)
	c, l := offline(t, Config{WriteTimeout: time.Second, Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		now += 10 * limit
		c.srv.clock.Store(now)
		return append(dst, req...), nil
	})})
	limit, now = c.srv.patience(time.Second), c.srv.clock.Load()
	l.left = 7 // the peer takes nothing
	require.True(t, c.serve(oneFrame(t, 1)))
	now += limit
	c.srv.clock.Store(now)
	require.True(t, c.serve(nil), "not before the time is over")
	c.srv.clock.Store(now + 1)
	require.False(t, c.serve(nil))
	assert.Equal(t, reasonSlowReader, reason(c.why.Load()))
}
