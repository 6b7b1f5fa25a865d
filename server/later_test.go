package server

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// laters is a handler that answers nothing, and tells what it was asked for.
type laters chan *Later

func (l laters) Handle(r *Request, dst []byte) ([]byte, error) {
	l <- r.Later()
	return append(dst, "not sent"...), nil
}

func TestReplyComesLater(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 3)
		cfg.Handler = h
		s := launch(t, cfg)
		c := dial(t, s)
		var ls []*Later
		for id := range uint32(3) {
			c.send(id, []byte{byte(id)})
			ls = append(ls, <-h)
		}
		require.NoError(t, ls[2].Reply([]byte("two")))
		f := c.receive()
		assert.EqualValues(t, 2, f.ID)
		assert.Equal(t, "two", string(f.Payload))
		require.ErrorIs(t, ls[0].Fail(nil), errNoFailure)
		require.NoError(t, ls[0].Drop(), "it waited on")
		require.NoError(t, ls[1].Reply(nil))
		assert.EqualValues(t, 1, c.receive().ID)
		eventually(t, s, "the counts", func(st Stats) bool { return st.Replies == 2 && st.NoReplies == 1 })
		for _, l := range ls {
			assert.ErrorIs(t, l.Reply(nil), ErrAnswered)
			assert.ErrorIs(t, l.Fail(errors.New("no")), ErrAnswered)
			assert.ErrorIs(t, l.Drop(), ErrAnswered)
		}
	})
}

// One of many calls that answer at once does, and Handle may not have returned yet.
func TestLaterIsAnsweredOnce(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		const rounds, rivals = 300, 3
		var done sync.WaitGroup
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			l, id := r.Later(), r.ID()
			assert.Same(t, l, r.Later())
			for i := range rivals {
				done.Go(func() {
					if i == int(id)%rivals {
						_ = l.Fail(errors.New("failed"))
					} else {
						_ = l.Reply([]byte{byte(id)})
					}
				})
			}
			return dst, nil
		})
		cfg.ErrorReply = func(_ *Conn, dst, _ []byte, _ error) []byte { return append(dst, 'f') }
		s := launch(t, cfg)
		c := dial(t, s)
		c.write(c.pipeline(rounds, 1))
		seen := make(map[uint32]bool)
		for range rounds {
			f := c.receive()
			assert.False(t, seen[uint32(f.ID)])
			seen[uint32(f.ID)] = true
			assert.Contains(t, []string{"f", string([]byte{byte(f.ID)})}, string(f.Payload))
		}
		done.Wait()
		c.send(rounds+1, []byte{0})
		c.receive()
	})
}

func TestReplyThatDoesNotFitLeavesTheRequestOpen(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 1)
		cfg.Handler, cfg.Framing = h, framing.Format{MaxFrame: 100}
		s := launch(t, cfg)
		c := dial(t, s)
		c.send(7, nil)
		l := <-h
		require.ErrorIs(t, l.Reply(make([]byte, 97)), framing.ErrMaxLenExceeded)
		require.NoError(t, l.Reply(make([]byte, 96)))
		assert.Len(t, c.receive().Payload, 96)
	})
}

// What Handle returns after Later is no reply, but a failure is one, if there is none yet.
func TestHandlerThatFailsAfterLater(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		kept := make(chan *Later, 3)
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			l := r.Later()
			kept <- l
			switch r.Payload()[0] {
			case 'e':
				return dst, errors.New("failed")
			case 'p':
				panic("failed")
			}
			assert.NoError(t, l.Reply([]byte("first")))
			return dst, errors.New("too late")
		})
		cfg.ErrorReply = func(_ *Conn, dst, req []byte, _ error) []byte { return append(append(dst, req...), '!') }
		s := launch(t, cfg)
		c := dial(t, s)
		for id, want := range map[uint32]string{'e': "e!", 'p': "p!", 'r': "first"} {
			c.send(id, []byte{byte(id)})
			f := c.receive()
			assert.EqualValues(t, id, f.ID)
			assert.Equal(t, want, string(f.Payload))
			assert.ErrorIs(t, (<-kept).Drop(), ErrAnswered)
		}
	})
}

// A request that is answered later counts in MaxInFlight.
func TestLaterKeepsItsPlace(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 10)
		cfg.Handler, cfg.MaxInFlight = h, 3
		s := launch(t, cfg)
		c := dial(t, s)
		c.write(c.pipeline(5, 1))
		var ls []*Later
		for range 3 {
			ls = append(ls, <-h)
		}
		dial(t, s).send(1, nil) // the other's is taken after what there was of the first
		require.NoError(t, (<-h).Drop())
		assert.Empty(t, h)
		for _, l := range ls {
			require.NoError(t, l.Reply(nil))
		}
		for range 2 {
			require.NoError(t, (<-h).Reply(nil))
		}
		for range 5 {
			c.receive()
		}
	})
}

func TestLaterOutlivesItsConnection(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 3)
		cfg.Handler = h
		s := launch(t, cfg)
		c := dial(t, s)
		c.write(c.pipeline(3, 1))
		ls := []*Later{<-h, <-h, <-h}
		require.NoError(t, c.nc.Close())
		eventually(t, s, "the end", func(st Stats) bool { return st.Conns == 0 })
		assert.ErrorIs(t, ls[0].Reply(nil), net.ErrClosed)
		assert.ErrorIs(t, ls[1].Fail(errors.New("no")), net.ErrClosed)
		assert.NoError(t, ls[2].Drop())
		eventually(t, s, "the counts", func(st Stats) bool { return st.Dropped == 3 })
	})
}

// Shutdown waits for a reply that comes later, and gives up on one that does not come.
func TestShutdownWaitsForLater(t *testing.T) {
	waits(t)
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 2)
		cfg.Handler, cfg.ShutdownTimeout = h, time.Second
		s := launch(t, cfg)
		c, other := dial(t, s), dial(t, s)
		c.send(1, nil)
		l := <-h
		other.send(1, nil)
		lost := <-h
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(context.Background()) }()
		waitFor(t, "the stop to begin", s.isClosing)
		require.NoError(t, l.Reply([]byte("in time")))
		assert.Equal(t, "in time", string(c.receive().Payload))
		assert.ErrorIs(t, <-stopped, context.DeadlineExceeded)
		assert.ErrorIs(t, lost.Reply(nil), net.ErrClosed)
	})
}

func TestContextEndsWithTheConnection(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		got := make(chan context.Context, 2)
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			assert.Same(t, r.Conn().Context(), r.Context())
			got <- r.Context()
			return dst, nil
		})
		s := launch(t, cfg)
		c := dial(t, s)
		c.call(1, nil)
		c.call(2, nil)
		ctx := <-got
		assert.Same(t, ctx, <-got)
		require.NoError(t, ctx.Err())
		require.NoError(t, c.nc.Close())
		<-ctx.Done()
		assert.Equal(t, net.ErrClosed, context.Cause(ctx))
	})
}

// A handler that waits for its context is let go when the time of a drain is up.
func TestContextEndsWhenADrainsTimeIsUp(t *testing.T) {
	waits(t)
	modes(t, func(t *testing.T, cfg Config) {
		inside := make(chan *Conn, 1)
		cfg.ShutdownTimeout = time.Second
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			inside <- r.Conn()
			<-r.Context().Done()
			return dst, nil
		})
		s := launch(t, cfg)
		c := dial(t, s)
		c.send(1, nil)
		conn := <-inside
		assert.ErrorIs(t, s.Shutdown(context.Background()), context.DeadlineExceeded)
		require.NoError(t, s.Close())
		assert.Error(t, conn.Context().Err(), "also for who asks afterwards")
	})
}

func TestArrivalAndDetach(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		type seen struct {
			at   time.Time
			copy []byte
		}
		got := make(chan seen, 1)
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			got <- seen{r.Arrival(), r.Detach()}
			return dst, nil
		})
		s := launch(t, cfg)
		c := dial(t, s)
		before := time.Now()
		c.send(1, []byte("mine"))
		c.receive()
		one := <-got
		assert.WithinRange(t, one.at, before, time.Now())
		c.send(2, []byte("next"))
		c.receive()
		assert.Equal(t, "mine", string(one.copy))
	})
}

// A handler that ends its goroutine has failed; what it has promised is settled.
func TestGoexitAfterLater(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		kept := make(chan *Later, 1)
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			if string(r.Payload()) == "exit" {
				kept <- r.Later()
				runtime.Goexit()
			}
			return append(dst, r.Payload()...), nil
		})
		cfg.ErrorReply = func(_ *Conn, dst, _ []byte, err error) []byte {
			assert.ErrorIs(t, err, ErrGoexit)
			return append(dst, "failed"...)
		}
		s := launch(t, cfg)
		c := dial(t, s)
		c.send(1, []byte("exit"))
		if cfg.Workers > 0 {
			assert.Equal(t, "failed", string(c.receive().Payload))
		} else {
			assert.Zero(t, c.closed(), "its loop is gone")
			// By a turn that comes before the end it is unanswered, by the end dropped.
			eventually(t, s, "the request", func(st Stats) bool { return st.Dropped+st.Unanswered == 1 })
		}
		assert.ErrorIs(t, (<-kept).Reply(nil), ErrAnswered)
		dial(t, s).call(2, []byte("others are served"))
	})
}
