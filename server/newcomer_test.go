package server

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// outwait waits until all that has connected so far is old enough to be evicted.
func outwait(t *testing.T, s *Server) {
	t.Helper()
	came := s.time()
	waitFor(t, "newcomers to grow old", func() bool { return s.clock.Load()-s.patience(s.cfg.evictAge) >= came })
}

// settled dials and waits until the server knows the connection.
func settled(t *testing.T, s *Server) *client {
	t.Helper()
	before := s.Stats().Accepted
	c := dial(t, s)
	eventually(t, s, "the connection", func(st Stats) bool { return st.Accepted > before })
	return c
}

func TestOldestNewcomerMakesRoom(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.MaxConns, cfg.evictAge = 10, 1
		s := launch(t, cfg)
		var speakers, silent []*client
		for i := range 4 { // the oldest of all
			c := settled(t, s)
			c.call(uint32(i), nil)
			speakers = append(speakers, c)
		}
		for range 5 {
			silent = append(silent, settled(t, s))
		}
		silent[1].call(1, nil) // it is none any more
		silent[2].write([]byte{0, 9, 0})
		outwait(t, s)
		assert.Zero(t, s.Stats().Closed, "nine have their places")
		for i, gone := range []int{0, 2, 3} {
			settled(t, s)
			eventually(t, s, "one to go", func(st Stats) bool { return st.Closed.Evicted == uint64(i+1) && st.Conns == 9 })
			assert.Zero(t, silent[gone].closed())
		}
		silent[4].call(1, []byte("it was next"))
		silent[1].call(2, nil)
		for i, c := range speakers {
			c.call(uint32(i), nil)
		}
		st := s.Stats()
		assert.Equal(t, st.Closed.Evicted, st.Closed.Total(), "%+v", st.Closed)
		assert.Zero(t, st.Refused())
	})
}

func TestNobodyIsEvictedWhenAllHaveSpoken(t *testing.T) {
	s := launch(t, Config{MaxConns: 10, evictAge: 1})
	var all []*client
	for i := range 10 {
		c := dial(t, s)
		c.call(uint32(i), nil)
		all = append(all, c)
	}
	outwait(t, s)
	assert.Zero(t, dial(t, s).closed())
	st := s.Stats()
	assert.EqualValues(t, 1, st.Rejected)
	assert.Zero(t, st.Closed)
	for i, c := range all {
		c.call(uint32(i), nil)
	}
}

// Even when those that say nothing have taken every place, one goes for each that comes.
func TestServerFullOfSilenceLetsOthersIn(t *testing.T) {
	s := launch(t, Config{MaxConns: 3, evictAge: 1})
	for range 3 {
		dial(t, s)
	}
	eventually(t, s, "all to have come", func(st Stats) bool { return st.Accepted == 3 })
	outwait(t, s)
	waitFor(t, "a place", func() bool {
		c := dial(t, s)
		if _, err := c.nc.Write(c.frame(1, nil)); err != nil {
			return false
		}
		_, err := c.frames.ReadFrame()
		return err == nil
	})
	assert.Positive(t, s.Stats().Closed.Evicted)
}

func TestNewcomerIsLeftAloneForAWhile(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), MaxConns: 1})
	s := c.srv
	since := s.conns.newcomers[c.slot].since
	s.clock.Store(since + s.patience(time.Second) - 1)
	s.evict()
	assert.Zero(t, l.wakes.Load())
	s.clock.Store(since + s.patience(time.Second))
	s.evict()
	assert.EqualValues(t, 1, l.wakes.Load())
	assert.False(t, c.serve(nil))
	assert.Equal(t, reasonEvicted, reason(c.why.Load()))
}

// The moments at which the first frame can come.
func TestFirstFrameThatHasArrivedIsAnswered(t *testing.T) {
	frame, err := framing.Append(nil, 7, []byte("request"))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		before, with, unread int // bytes parsed before, read in the turn after, and still unread in it
		stays                bool
	}{
		"silent":                   {0, 0, 0, false},
		"complete before":          {len(frame), 0, 0, true},
		"complete in that turn":    {0, len(frame), 0, true},
		"completed in that turn":   {3, len(frame) - 3, 0, true},
		"unread":                   {0, 0, len(frame), true},
		"the rest unread":          {5, 0, len(frame) - 5, true},
		"the rest in both":         {5, 1, len(frame) - 6, true},
		"unread, and not complete": {0, 0, len(frame) - 1, false},
		"the last byte is missing": {len(frame) - 1, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, l := offline(t, Config{Handler: HandlerFunc(echo), FirstFrameTimeout: time.Second})
			rest := frame
			next := func(n int) []byte { b := rest[:n]; rest = rest[n:]; return b }
			require.True(t, c.serve(next(tc.before)))
			expelled := c.srv.conns.expel(1<<62, reasonFirstFrame)
			assert.Equal(t, tc.before < len(frame), expelled == c)
			in := next(tc.with)
			l.onRead = func(p []byte) (int, error) { n := copy(p, next(tc.unread)); tc.unread = 0; return n, nil }
			assert.Equal(t, tc.stays, c.serve(in))
			for l.wakes.Swap(0) > 0 {
				require.True(t, c.serve(nil))
			}
			assert.Equal(t, tc.stays, string(l.out) == string(frame))
			assert.Equal(t, tc.stays, c.spoke)
			if tc.stays {
				assert.Equal(t, reasonNone, reason(c.why.Load()))
				assert.Nil(t, c.srv.conns.newcomers[c.slot], "what was known of it is dropped")
				assert.Nil(t, c.input)
				require.True(t, c.serve(frame), "and it is served on")
			} else {
				assert.Equal(t, reasonFirstFrame, reason(c.why.Load()))
				assert.Empty(t, l.out)
			}
		})
	}
}

// A whole frame that nobody could take yet is a first frame, too.
func TestFirstFrameThatWaitsCounts(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo)})
	frame, err := framing.Append(nil, 7, nil)
	require.NoError(t, err)
	c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent // nothing is parsed
	require.True(t, c.serve(frame[:4]))
	assert.False(t, c.spoke)
	require.True(t, c.serve(frame[4:]))
	assert.True(t, c.spoke)
	assert.Empty(t, l.out)
	assert.Zero(t, c.srv.conns.queue.Len())
}

func TestFirstFrameTimeout(t *testing.T) {
	const limit = 500 * time.Millisecond // time enough for a client that does speak
	modes(t, func(t *testing.T, cfg Config) {
		cfg.FirstFrameTimeout, cfg.FrameTimeout = limit, -1
		s := launch(t, cfg)
		speaker := dial(t, s)
		speaker.call(1, nil)
		began := time.Now()
		silent, slow := dial(t, s), dial(t, s)
		slow.write([]byte{0, 200})
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // that it goes on sending does not help it
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					_, _ = slow.nc.Write([]byte{0})
				}
			}
		}()
		assert.Zero(t, silent.closed())
		assert.GreaterOrEqual(t, time.Since(began), limit)
		eventually(t, s, "both", func(st Stats) bool { return st.Closed.FirstFrame == 2 && st.Conns == 1 })
		close(stop)
		<-done
		speaker.call(2, nil)
		assert.EqualValues(t, 2, s.Stats().Closed.Total())
	})
}

func TestSilenceIsAllowedByDefault(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(echo), MaxConns: -1})
	s := c.srv
	s.expire(1 << 62)
	s.clock.Store(1 << 62)
	for range 3 {
		require.Equal(t, refusedNot, enter(s, from("10.0.0.1")))
	}
	assert.Zero(t, l.wakes.Load())
	assert.Equal(t, 1, s.conns.queue.Len())
}

// Clients whose first frame comes when their time is up, or their place is wanted: each
// has its answer and stays, or is closed for that reason.
func TestFirstFrameAgainstItsTimeout(t *testing.T) {
	speaksPlain(t)
	waits(t)
	modes(t, func(t *testing.T, cfg Config) {
		const clients, each = 4, 40
		cfg.FirstFrameTimeout, cfg.MaxConns = 20*time.Millisecond, clients
		cfg.evictAge = 1
		s := launch(t, cfg)
		var mu sync.Mutex
		var answered, closed uint64
		var wg sync.WaitGroup
		for g := range clients {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 3))
				for range each {
					nc, err := net.Dial("tcp", s.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					_ = nc.SetDeadline(time.Now().Add(patienceMax))
					replies := framing.NewReader(nc, s.format)
					<-time.After(time.Duration(r.IntN(30)) * time.Millisecond)
					_, _ = nc.Write([]byte{0, 4, 0, 0, 0, 1})
					_, err = replies.ReadFrame()
					if err == nil {
						_, _ = nc.Write([]byte{0, 4, 0, 0, 0, 2})
						if _, err := replies.ReadFrame(); err != nil {
							t.Error("closed although it was answered:", err)
						}
					}
					_ = nc.Close()
					mu.Lock()
					if err == nil {
						answered++
					} else {
						closed++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		eventually(t, s, "all to end", func(st Stats) bool {
			return st.Accepted+st.Refused() == clients*each && st.Conns == 0
		})
		st := s.Stats()
		assert.EqualValues(t, clients*each, answered+closed)
		assert.Equal(t, closed, st.Closed.FirstFrame+st.Closed.Evicted+st.Rejected, "%d answered, %+v", answered, st)
		assert.Equal(t, 2*answered, st.Requests)
		assert.Zero(t, s.conns.queue.Len())
	})
}

func TestNewcomersFollowTheirConnections(t *testing.T) {
	s, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	r := &s.conns
	all := make([]*Conn, 40)
	for i := range all {
		all[i] = &Conn{srv: s, id: uint64(i)}
		r.add(all[i])
		r.greet(all[i])
	}
	for i, c := range all {
		switch i % 4 {
		case 0:
			r.remove(c)
		case 1:
			r.drop(c)
			r.drop(c)
		case 2:
			require.Same(t, c, r.expel(1<<62, reasonEvicted), "the oldest that is left")
		case 3: // stays; those before it are gone
			if i < len(all)-1 {
				n := r.newcomers[c.slot]
				r.queue.Remove(&n.place)
				r.queue.PushBack(&n.place, n)
			}
		}
	}
	require.Len(t, r.newcomers, len(r.conns))
	for i, c := range all {
		switch i % 4 {
		case 1:
			assert.Nil(t, r.newcomers[c.slot])
			assert.Equal(t, reasonNone, r.expelled(c))
		case 2:
			assert.Same(t, c, r.newcomers[c.slot].conn)
			assert.Equal(t, reasonEvicted, r.expelled(c))
		case 3:
			assert.Same(t, c, r.newcomers[c.slot].conn)
			assert.True(t, r.newcomers[c.slot].place.Listed())
			assert.Equal(t, reasonNone, r.expelled(c))
		}
	}
	assert.Equal(t, 10, r.queue.Len())
	for _, c := range r.conns {
		r.drop(c)
	}
	assert.Zero(t, r.queue.Len())
}
