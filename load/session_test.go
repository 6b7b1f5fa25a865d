package load

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/pace"
	"github.com/ringwire/ringwire/load/wire"
)

// piped returns a session whose writes block until the test reads from the other end. Only
// its writer runs.
func piped(t *testing.T, cfg Config) (*run, *session, net.Conn) {
	t.Helper()
	require.NoError(t, cfg.Validate())
	r := newRun(cfg.withDefaults())
	r.state.Store(sending)
	ours, theirs := net.Pipe()
	s := newSession(r.links[0], ours, wire.NewDecoder(cfg.Codec))
	r.links[0].current.Store(s)
	r.ended.Go(s.writer)
	t.Cleanup(func() {
		if !seen(s, func() bool { return s.ended }) {
			_, _ = s.end(net.ErrClosed)
		}
		_ = theirs.Close()
		r.cancel()
		r.ended.Wait()
	})
	return r, s, theirs
}

// seen calls f under the session's lock.
func seen[T any](s *session, f func() T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func openTo(t *testing.T, inFlight int) Config {
	cfg := atRate(to(t, serve(t, "anet", nil), "anet", 0), 1, time.Hour)
	cfg.InFlight = inFlight
	return cfg
}

func TestWhatTimesOutUnwrittenKeepsItsSlotUntilItIs(t *testing.T) {
	r, s, peer := piped(t, openTo(t, 4))
	s.start()
	for n := range uint64(4) {
		require.True(t, s.offer(due{n: n}, r.now()))
	}
	s.flush()
	require.False(t, s.offer(due{}, r.now()), "the window is full")
	s.expire(r.now() + time.Minute)
	assert.Equal(t, 0, seen(s, s.table.Open), "all have timed out")
	assert.Equal(t, 0, seen(s, s.free), "and none was written")
	assert.Zero(t, r.free.Load())

	buf := make([]byte, 4096)
	for n := 0; n < 4*len("LLhhhhpayload 0"); {
		got, err := peer.Read(buf)
		require.NoError(t, err)
		n += got
	}
	require.Eventually(t, func() bool { return seen(s, s.free) == 4 }, 10*time.Second, time.Millisecond)
	assert.EqualValues(t, 4, r.free.Load(), "the pacer is told")
	assert.Equal(t, 4, seen(s, s.table.GivenUp), "their IDs rest")
}

// The clock may have a connection in its hands while that ends.
func TestWhatTheConnectionsEndHasCountedDoesNotTimeOut(t *testing.T) {
	r, s, _ := piped(t, openTo(t, 4))
	s.start()
	for n := range uint64(4) {
		require.True(t, s.offer(due{n: n, phase: 1}, r.now()))
	}
	_, _ = s.end(net.ErrClosed)
	assert.Zero(t, s.expire(r.now()+time.Minute), "nothing is in flight")
	assert.Equal(t, Counts{Sent: 4, ConnLost: 4}, s.shard.phases[1].counts)
}

func TestSentIsWhenTheWriteBeginsAndLagWhenThePeerHeldItUp(t *testing.T) {
	r, s, peer := piped(t, openTo(t, 4))
	s.start()
	require.True(t, s.offer(due{n: 0, intended: r.now()}, r.now()))
	s.flush()
	require.Eventually(t, func() bool { return seen(s, func() bool { return s.stalled }) }, 10*time.Second, time.Millisecond)
	given := r.now()
	require.True(t, s.offer(due{n: 1, intended: given - time.Microsecond}, given))
	before := r.now()
	require.Greater(t, before, given)
	buf := make([]byte, 4096)
	for range 2 {
		_, err := peer.Read(buf)
		require.NoError(t, err)
	}
	q, _ := s.table.Find(1)
	assert.GreaterOrEqual(t, seen(s, func() time.Duration { return q.sent }), before, "sent after the first write had ended")
	assert.Equal(t, time.Microsecond, seen(s, func() time.Duration { return q.lag }), "it waited for the peer")
}

func TestWhatCameBehindTheOpeningIsLookedAtAtOnce(t *testing.T) {
	_, s, peer := piped(t, openTo(t, 4))
	s.dec.Filled(copy(s.dec.Room(), "\x00\x04\x00\x00\x00\x63")) // a frame that nobody asked for
	ended := make(chan error)
	go func() { ended <- s.read() }()
	require.Eventually(t, func() bool {
		s.shard.mu.Lock()
		defer s.shard.mu.Unlock()
		return s.shard.replies.UnknownID == 1
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, peer.Close())
	require.Error(t, <-ended)
}

func TestThePacerLooksAfterTheBacklogWhileASlotIsFree(t *testing.T) {
	r, s, _ := piped(t, openTo(t, 4))
	s.start()
	r.backlog.push(due{n: 7})
	r.place(pace.Request{Index: 8}, r.now())
	assert.Zero(t, r.backlog.len.Load())
	q, _ := s.table.Find(0)
	assert.EqualValues(t, 7, q.number, "the oldest first")
	assert.Equal(t, 2, s.table.Open())
}
