package server

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/bytepool"
)

// unread returns the stream of a connection that nobody reads, over a pipe, which takes nothing
// that its other end, the peer, does not read.
func unread(t *testing.T) (s *stream, peer net.Conn) {
	t.Helper()
	srv, err := New(Config{Handler: HandlerFunc(echo), Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	srv.streams = newStreams(srv)
	nc, peer := net.Pipe()
	c := &Conn{srv: srv}
	srv.streams.take(nc, c)
	s = c.link.(*stream)
	s.awaitTurn()
	require.True(t, s.turn(func(l *loop) bool { c.begin(s, l); return true }))
	t.Cleanup(func() { _, _ = nc.Close(), peer.Close() })
	return s, peer
}

// reading reads as the stream's goroutine does, and tells how a read has ended.
func (s *stream) reading() <-chan error {
	read := make(chan error, 1)
	go func() {
		_, err := s.carrier.next()
		read <- err
	}()
	return read
}

// finish ends a stream as the goroutine that reads does, and returns how long that took.
func (s *stream) finish() time.Duration {
	began := time.Now()
	s.front.all.Add(1)
	s.end(nil)
	s.front.all.Wait()
	return time.Since(began)
}

// A connection that ends waits for a peer to take its replies, and no longer than it says.
func TestTheEndOfAStreamWaitsForAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lent := bytepool.Outstanding()
		s, peer := unread(t)
		require.NoError(t, s.write([]byte("reply")))
		require.NoError(t, s.write([]byte("another")))
		assert.Equal(t, lingerTime, s.finish())
		_, err := peer.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, lent, bytepool.Outstanding())
		assert.Error(t, s.write([]byte("late")))
	})
}

func TestTheEndOfAStreamSendsWhatThePeerTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := unread(t)
		require.NoError(t, s.write([]byte("reply")))
		s.closeWrite()
		read := make(chan string, 1)
		go func() {
			b, _ := io.ReadAll(peer)
			read <- string(b)
		}()
		assert.Zero(t, s.finish())
		assert.Equal(t, "reply", <-read)
		assert.ErrorIs(t, s.write([]byte("late")), net.ErrClosed)
	})
}

// close has everything return that waits, at once. A goroutine that does not come to it, because its
// handler blocks, has its connection closed in a while.
func TestAStreamThatIsCutWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := unread(t)
		began := time.Now()
		read := s.reading()
		require.NoError(t, s.write([]byte("reply")))
		synctest.Wait()
		s.close()
		require.Error(t, <-read)
		s.front.all.Wait()
		assert.False(t, s.mayRead())
		assert.Zero(t, time.Since(began), "neither the read nor the write has waited")
		s.carrier.dispose()

		_ = s.hear(false, false)
		assert.False(t, s.mayRead(), "nobody waits to be heard any more")

		_, err := peer.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
	})
}

// The same where no write has failed, which closes the connection: the peer sees the end late.
func TestAStreamWhoseHandlerBlocksIsClosedAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := unread(t)
		began := time.Now()
		s.close()
		_, err := peer.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, closeLate, time.Since(began))
	})
}

// The writer wakes a connection that waits for it, once, when half of what may be unsent has gone.
func TestTheWriterWakesAConnectionThatIsBehind(t *testing.T) {
	s, _ := unread(t)
	most := s.front.srv.cfg.MaxUnsent
	s.writing = true // by nobody: what is written stays
	require.NoError(t, s.write(make([]byte, most-1)))
	assert.False(t, s.wrote(0), "it does not wait")
	require.NoError(t, s.write(make([]byte, 1)))
	require.Equal(t, most, s.buffered())
	assert.False(t, s.wrote(most/2-1))
	assert.True(t, s.wrote(1))
	assert.False(t, s.wrote(1), "it has been woken")
	s.writeFailed(io.ErrClosedPipe)
	assert.Zero(t, s.buffered(), "nothing waits any more")
	assert.ErrorIs(t, s.write([]byte("x")), io.ErrClosedPipe)
	bytepool.Put(s.out)
}

// A turn whose goroutine is ended, or that panics, leaves nothing behind but what it has counted.
func TestATurnThatIsAbandonedLeavesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		leave func()
		why   reason
		at    phase
	}{
		"ends its goroutine": {runtime.Goexit, reasonLoop, phaseBroken},
		"panics":             {func() { panic("a fault of the server") }, reasonInternal, phaseDoomed},
	} {
		t.Run(name, func(t *testing.T) {
			lent := bytepool.Outstanding()
			s, _ := unread(t)
			before := s.front.counted()
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.awaitTurn()
				s.turn(func(l *loop) bool {
					l.source = bytepool.Get(1)
					l.event.Reads++
					tc.leave()
					return true
				})
			}()
			<-done
			assert.Equal(t, lent, bytepool.Outstanding())
			assert.Equal(t, before.Reads+1, s.front.counted().Reads)
			assert.EqualValues(t, 1, s.front.srv.failures.panics.Load())
			assert.Equal(t, tc.why, reason(s.conn.why.Load()))
			assert.Equal(t, tc.at, s.conn.at())
			assert.Zero(t, s.front.turns())
			assert.False(t, s.turning, "others get the turn")
		})
	}
}

// A loop that is lent again knows nothing of the connection it was lent to before. Those that are
// not kept stay counted.
func TestLoopsAreLentAgain(t *testing.T) {
	s, _ := unread(t)
	f := s.front
	f.keep, f.spare = 1, nil
	one, two, broken := f.lend(), f.lend(), f.lend()
	for _, l := range []*loop{one, two, broken} {
		l.holder.Store(s.conn)
		l.cameBack.Store(5)
		l.event.Reads++
		l.publish()
	}
	assert.Equal(t, 3, f.turns())
	assert.EqualValues(t, 3, f.counted().Reads)
	f.giveBack(broken, false)
	assert.Empty(t, f.spare)
	f.giveBack(one, true)
	f.giveBack(two, true)
	assert.Zero(t, f.turns())
	assert.EqualValues(t, 3, f.counted().Reads)
	assert.Equal(t, []*loop{one}, f.spare)
	again := f.lend()
	assert.Same(t, one, again)
	assert.Nil(t, again.holder.Load())
	assert.Zero(t, again.cameBack.Load())
	assert.True(t, again.pauses)
	assert.EqualValues(t, 3, f.counted().Reads)
	assert.True(t, f.lend().pauses)
}

// TLS may have a word for a peer that does not read. To close a connection does not wait for it.
func TestASecuredConnectionIsClosedAtOnce(t *testing.T) {
	cfg := testTLS(t)
	server, known, now := cfg.server.Clone(), cfg.client.Clone(), time.Now()
	server.SessionTicketsDisabled = true         // over a pipe, the client would have to read them
	known.Time = func() time.Time { return now } // the certificates are not of the bubble's time
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		tc := tls.Server(here, server)
		client := tls.Client(there, known)
		shaken := make(chan error, 1)
		go func() { shaken <- tc.Handshake() }()
		require.NoError(t, client.Handshake())
		require.NoError(t, <-shaken)

		began := time.Now()
		var c carrier
		c.init(&Server{}, tc)
		c.close()
		assert.Zero(t, time.Since(began))
		_ = there.Close()
	})
}

func TestACutEndsTheReadOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := unread(t)
		began := time.Now()
		read := s.reading()
		synctest.Wait()
		s.close()
		require.Error(t, <-read)
		assert.Zero(t, time.Since(began))
		s.carrier.dispose()
	})
}

// A turn that goes on for long has not come back, and that is known while it does.
func TestALongTurnOfAStreamIsKnownWhileItGoesOn(t *testing.T) {
	s, _ := unread(t)
	s.cameBack.Store(5)
	assert.EqualValues(t, 5, s.back(100))
	l := s.front.lend()
	s.lent.Store(l)
	assert.EqualValues(t, 5, s.back(100))
	l.mark(time.Now())
	l.since.Add(-int64(time.Minute))
	assert.EqualValues(t, 100, s.back(100))
}

// A connection that comes while the server ends begins no handshake, which nobody would end.
func TestNoHandshakeBeginsAfterTheCut(t *testing.T) {
	srv, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	h := newHandshakes(srv)
	nc, peer := net.Pipe()
	t.Cleanup(func() { _, _ = nc.Close(), peer.Close() })
	open := h.note(nc)
	require.NotNil(t, open)
	require.True(t, h.done(open))
	h.cut()
	assert.Nil(t, h.note(nc))
	assert.EqualValues(t, 1, h.n.Load(), "the first one, whose goroutine would count it out")
}

// A stream polls when no other has had a turn for a while.
func TestAStreamThatIsNotAloneDoesNotPoll(t *testing.T) {
	var srv Server
	var one, two carrier
	here, there := net.Pipe()
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	one.init(&srv, here)
	two.init(&srv, there)
	alone := func(c *carrier) (turns int) {
		for turns = 1; !c.isAlone(); turns++ {
		}
		return turns
	}
	assert.Equal(t, aloneMin, alone(&one))
	assert.True(t, one.isAlone())
	assert.False(t, two.isAlone())
	assert.Equal(t, aloneMin, alone(&one), "from the beginning")
	two.dispose()
	assert.True(t, one.isAlone(), "the end of another one is no turn")
	one.dispose()
	assert.Nil(t, srv.recent.Load(), "nothing is kept of a stream that has ended")
}

// The same over TLS, which is where streams poll.
func TestStreamsThatTakeTurnsDoNotPoll(t *testing.T) {
	s := launch(t, Config{TLS: testTLS(t).server, BusyPoll: MaxBusyPoll})
	if s.busyPoll == 0 {
		t.Skip("with one processor nobody polls")
	}
	one, two := dial(t, s), dial(t, s)
	for range 2 * aloneMin {
		one.call(1, nil)
		two.call(1, nil)
	}
	assert.Zero(t, s.Stats().Polled)
	for s.Stats().Polled == 0 {
		one.call(1, nil)
	}
}
