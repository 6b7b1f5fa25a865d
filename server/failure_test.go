package server

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

var errRefused = errors.New("refused")

// misbehave does what the request says.
func misbehave(_ *Conn, dst, req []byte) ([]byte, error) {
	switch string(req) {
	case "error":
		return append(dst, "partial reply"...), errRefused
	case "silent":
		return append(dst, "partial reply"...), ErrNoReply
	case "panic":
		_ = append(dst, "partial reply"...)
		panic("a handler's panic")
	case "index":
		return append(dst, req[len(req)]), nil
	case "large":
		return append(dst, make([]byte, framing.MaxPayload+1)...), nil
	case "wrapped":
		return make([]byte, 1<<16+4), nil // its length would wrap to a valid one
	}
	return append(dst, req...), nil
}

// around surrounds a request with two that must not notice.
func around(c *client, req string) []byte {
	return bytes.Join([][]byte{c.frame(1, []byte("before")), c.frame(2, []byte(req)), c.frame(3, []byte("after"))}, nil)
}

func replies(c *client, n int) map[taskid.ID]string {
	got := make(map[taskid.ID]string)
	for range n {
		f := c.receive()
		got[f.ID] = string(f.Payload)
	}
	return got
}

func TestFailedRequestIsUnansweredAndTheRestUnharmed(t *testing.T) {
	for req, count := range map[string]func(Stats) uint64{
		"error":   func(st Stats) uint64 { return st.HandlerErrors },
		"silent":  func(st Stats) uint64 { return st.NoReplies },
		"panic":   func(st Stats) uint64 { return st.Panics },
		"index":   func(st Stats) uint64 { return st.Panics },
		"large":   func(st Stats) uint64 { return st.ReplyTooLarge },
		"wrapped": func(st Stats) uint64 { return st.ReplyTooLarge },
	} {
		t.Run(req, func(t *testing.T) {
			modes(t, func(t *testing.T, cfg Config) {
				cfg.Handler = HandlerFunc(misbehave)
				s := launch(t, cfg)
				c := dial(t, s)
				c.write(around(c, req))
				assert.Equal(t, map[taskid.ID]string{1: "before", 3: "after"}, replies(c, 2))
				c.call(4, []byte("later"))
				eventually(t, s, "the counters", func(st Stats) bool {
					return count(st) == 1 && st.NoReplies+st.Unanswered == 1 && st.Replies == 3
				})
			})
		})
	}
}

func TestErrorReplyIsSentInstead(t *testing.T) {
	var panicked *PanicError
	for req, want := range map[string]func(error) bool{
		"error": func(err error) bool { return errors.Is(err, errRefused) },
		"panic": func(err error) bool {
			return errors.As(err, &panicked) && panicked.Value == "a handler's panic" && panicked.Unwrap() == nil
		},
		"index": func(err error) bool { return errors.As(err, &panicked) && panicked.Unwrap() != nil },
		"large": func(err error) bool { return errors.Is(err, framing.ErrMaxLenExceeded) },
	} {
		t.Run(req, func(t *testing.T) {
			modes(t, func(t *testing.T, cfg Config) {
				cfg.Handler = HandlerFunc(misbehave)
				cfg.ErrorReply = func(_ *Conn, dst, req []byte, err error) []byte {
					if !want(err) {
						return append(dst, "wrong error"...)
					}
					return append(append(dst, "sorry: "...), req...)
				}
				s := launch(t, cfg)
				c := dial(t, s)
				c.write(around(c, req))
				assert.Equal(t, map[taskid.ID]string{1: "before", 2: "sorry: " + req, 3: "after"}, replies(c, 3))
				assert.Zero(t, s.Stats().Unanswered)
			})
		})
	}
}

func TestErrorReplyThatFailsSendsNothing(t *testing.T) {
	for name, reply := range map[string]func(*Conn, []byte, []byte, error) []byte{
		"nil":       func(*Conn, []byte, []byte, error) []byte { return nil },
		"too large": func(*Conn, []byte, []byte, error) []byte { return make([]byte, framing.MaxPayload+1) },
		"panic":     func(_ *Conn, dst, _ []byte, _ error) []byte { _ = append(dst, "junk"...); panic("again") },
	} {
		t.Run(name, func(t *testing.T) {
			modes(t, func(t *testing.T, cfg Config) {
				for _, req := range []string{"error", "panic", "large"} {
					cfg.Handler, cfg.ErrorReply = HandlerFunc(misbehave), reply
					s := launch(t, cfg)
					c := dial(t, s)
					c.write(around(c, req))
					assert.Equal(t, map[taskid.ID]string{1: "before", 3: "after"}, replies(c, 2))
					eventually(t, s, "the counter", func(st Stats) bool { return st.Unanswered == 1 })
				}
			})
		})
	}
}

func TestEmptyErrorReplyIsSent(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Handler = HandlerFunc(misbehave)
		cfg.ErrorReply = func(_ *Conn, dst, _ []byte, _ error) []byte { return dst }
		c := dial(t, launch(t, cfg))
		c.send(1, []byte("panic"))
		assert.Empty(t, c.receive().Payload)
	})
}

func TestReplyThatFitsExactlyIsSent(t *testing.T) {
	for _, format := range []framing.Format{{}, {MaxFrame: 1000}, {LengthSize: 4, MaxFrame: 100_000}} {
		s := launch(t, Config{Framing: format, Handler: HandlerFunc(func(_ *Conn, _, req []byte) ([]byte, error) {
			return make([]byte, format.MaxPayload()+len(req)), nil
		})})
		c := dial(t, s)
		c.send(1, []byte("x"))
		c.send(2, nil)
		f := c.receive()
		assert.EqualValues(t, 2, f.ID)
		assert.Len(t, f.Payload, format.MaxPayload())
	}
}

// Every second request panics, in every position of a read.
func TestManyPanicsFailOnlyTheirRequests(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Handler = HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			if req[0]%2 == 1 {
				panic(req)
			}
			return append(dst, req...), nil
		})
		s := launch(t, cfg)
		c := dial(t, s)
		var stream []byte
		const requests = 200
		for id := range uint32(requests) {
			stream = append(stream, c.frame(id, []byte{byte(id)})...)
		}
		go func() { _, _ = c.nc.Write(stream) }()
		for range requests / 2 {
			f := c.receive()
			require.Zero(t, f.ID%2)
			require.Equal(t, []byte{byte(f.ID)}, f.Payload)
		}
		eventually(t, s, "the counter", func(st Stats) bool { return st.Panics == requests/2 && st.Unanswered == requests/2 })
	})
}

func TestResetDuringTheHandlerHarmsNobody(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		inside, release := make(chan struct{}, 64), make(chan struct{})
		cfg.Handler = HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			if len(req) > 0 {
				inside <- struct{}{}
				<-release
			}
			return append(dst, make([]byte, 1000)...), nil
		})
		s := launch(t, cfg)
		c, healthy := dial(t, s), dial(t, s)
		healthy.send(1, nil)
		healthy.receive()
		c.write(c.pipeline(50, 10))
		<-inside
		require.NoError(t, c.tcp().SetLinger(0))
		require.NoError(t, c.nc.Close())
		close(release)
		eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Reset+st.Closed.Peer == 1 })
		// A descriptor may be used again at once: nothing of the old one may come.
		for id := range uint32(50) {
			again := dial(t, s)
			again.send(id, nil)
			assert.EqualValues(t, id, again.receive().ID)
			healthy.send(id, nil)
			assert.EqualValues(t, id, healthy.receive().ID)
		}
	})
}
