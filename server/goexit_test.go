package server

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/bytepool"
)

// ErrorReply that ends its goroutine fails the request once, whether the handler or a Later
// has it called, and leaves nothing behind.
func TestGoexitInErrorReplyAfterLater(t *testing.T) {
	for _, how := range []string{"later", "fail later", "exit later", "panic later", "fail", "panic"} {
		t.Run(how, func(t *testing.T) {
			modes(t, func(t *testing.T, cfg Config) {
				kept := make(chan *Later, 1)
				cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
					how := string(r.Payload())
					if strings.HasSuffix(how, "later") {
						kept <- r.Later()
					}
					switch {
					case strings.HasPrefix(how, "fail"):
						return dst, errors.New("failed")
					case strings.HasPrefix(how, "panic"):
						panic("failed")
					case strings.HasPrefix(how, "exit"):
						runtime.Goexit()
					}
					return append(dst, how...), nil
				})
				cfg.ErrorReply = func(*Conn, []byte, []byte, error) []byte { runtime.Goexit(); return nil }
				s := launch(t, cfg)
				lent := bytepool.Outstanding()
				c := dial(t, s)
				c.send(1, []byte(how))
				if how == "later" {
					l, done := <-kept, make(chan struct{})
					go func() { defer close(done); _ = l.Fail(errors.New("no")) }()
					<-done
					assert.ErrorIs(t, l.Drop(), ErrAnswered)
				}
				eventually(t, s, "the outcome", func(st Stats) bool { return st.Requests == 1 && st.Unanswered+st.Dropped == 1 })
				if cfg.Workers == 0 && how != "later" {
					assert.Zero(t, c.closed(), "its loop is gone")
				} else {
					c.call(2, []byte("it is served"))
				}
				dial(t, s).call(3, []byte("others are served"))
				waitFor(t, "buffers to be returned", func() bool { return bytepool.Outstanding() == lent+readers(s) })
			})
		})
	}
}

// The loop refuses what nobody takes. What it has taken off the queue is given back.
func TestGoexitInErrorReplyOfARefusal(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Workers: 1, Handler: h, QueueTimeout: 50 * time.Millisecond,
		ErrorReply: func(*Conn, []byte, []byte, error) []byte { runtime.Goexit(); return nil }})
	c := dial(t, s)
	c.write(c.pipeline(3, 1))
	assert.Zero(t, c.closed(), "its loop is gone")
	close(h.gate('p'))
	eventually(t, s, "the outcomes", func(st Stats) bool { return st.Requests == 3 && st.Dropped == 3 })
	waitFor(t, "their bytes", func() bool { return s.jobBytes.Load() == 0 })
}

// Input in buffers of its own goes with its loop.
func TestGoexitGivesTheInputBack(t *testing.T) {
	s := launch(t, Config{Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		if req[0] == exit {
			runtime.Goexit()
		}
		return append(dst, req...), nil
	})})
	lent := bytepool.Outstanding()
	c := dial(t, s)
	bad := c.frame(1, []byte{exit, exit})
	c.write(bad[:7])
	eventually(t, s, "a part", func(st Stats) bool { return st.BytesIn == 7 })
	c.write(append(bad[7:], bad...)) // the frame is in one buffer, what comes behind it in the loop's
	assert.Zero(t, c.closed())
	waitFor(t, "buffers to be returned", func() bool { return bytepool.Outstanding() == lent })
}

// The same for what waited in a chunk.
func TestGoexitGivesTheChunkBack(t *testing.T) {
	c, l := offline(t, Config{Handler: HandlerFunc(func(*Conn, []byte, []byte) ([]byte, error) { runtime.Goexit(); return nil, nil })})
	lent := bytepool.Outstanding()
	c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent // nothing is parsed
	require.True(t, c.serve([]byte{0, 4, 0, 0, 0, 1, 0, 4, 0, 0, 0, 2}))
	l.left = 0
	f := &front{srv: c.srv, ending: make(chan struct{})}
	close(f.ending)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer f.bury(c)
		c.serve(nil)
	}()
	<-done
	assert.True(t, l.closed)
	c.end(nil)
	assert.Zero(t, bytepool.Outstanding()-lent)
	assert.Equal(t, tally{Requests: 1, Dropped: 1}, tally{Requests: c.loop.counted().Requests, Dropped: c.loop.counted().Dropped})
}

// A handler in place that ends its goroutine ends the connection, which is counted as that. The replies that
// were made before go out.
func TestGoexitInPlaceIsTheReasonOfTheEnd(t *testing.T) {
	s := launch(t, Config{Loops: 1, Handler: HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
		if string(req) == "exit" {
			runtime.Goexit()
		}
		return append(dst, req...), nil
	})})
	c := dial(t, s)
	c.write(append(c.frame(1, []byte("before")), c.frame(2, []byte("exit"))...))
	assert.Equal(t, 1, c.closed())
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Total() == 1 })
	st := s.Stats()
	assert.Equal(t, Closed{Loop: 1}, st.Closed)
	assert.EqualValues(t, 1, st.Replies)
	assert.EqualValues(t, 1, st.Panics)
	dial(t, s).call(1, []byte("others are served"))
}
