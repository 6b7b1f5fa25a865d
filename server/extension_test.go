package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// extended is a client that speaks the extension.
type extended struct{ *client }

// dialExtended connects and exchanges the hellos.
func dialExtended(t *testing.T, s *Server) extended {
	t.Helper()
	c := extended{dial(t, s)}
	c.write(c.hello())
	f := c.receive()
	require.Equal(t, framing.ControlID, f.ID)
	h, err := framing.ParseHello(f.Payload)
	require.NoError(t, err)
	require.Equal(t, framing.Hello{Server: true, Version: framing.ExtensionVersion}, h)
	return c
}

func (c extended) hello() []byte {
	b, err := c.format.AppendHello(nil, framing.Hello{Version: 9})
	require.NoError(c.t, err)
	return b
}

func (c extended) request(id uint32, remaining uint32, payload string) []byte {
	b, err := c.format.AppendRequest(nil, taskid.ID(id), remaining, []byte(payload))
	require.NoError(c.t, err)
	return b
}

func (c extended) control(kind framing.Control, body string) []byte {
	b, err := c.format.AppendControl(nil, kind, []byte(body))
	require.NoError(c.t, err)
	return b
}

// expect receives the reply to a request.
func (c extended) expect(id uint32, payload string) {
	c.t.Helper()
	f := c.receive()
	require.EqualValues(c.t, id, f.ID)
	status, body, err := framing.ParseReply(f.Payload)
	require.NoError(c.t, err)
	require.Equal(c.t, framing.StatusOK, status)
	require.Equal(c.t, payload, string(body))
}

// expectReason receives what there is instead of a reply.
func (c extended) expectReason(id uint32, want framing.Status, code uint32, text string) {
	c.t.Helper()
	f := c.receive()
	require.EqualValues(c.t, id, f.ID)
	status, body, err := framing.ParseReply(f.Payload)
	require.NoError(c.t, err)
	require.Equal(c.t, want, status)
	gotCode, got, err := framing.ParseReason(body)
	require.NoError(c.t, err)
	assert.Equal(c.t, code, gotCode)
	assert.Contains(c.t, got, text)
}

// expectControl receives a control frame.
func (c extended) expectControl(want framing.Control) (body []byte) {
	c.t.Helper()
	f := c.receive()
	require.Equal(c.t, framing.ControlID, f.ID)
	kind, body, err := framing.ParseControl(f.Payload)
	require.NoError(c.t, err)
	require.Equal(c.t, want, kind)
	return body
}

func TestExtensionIsSpokenWithWhoOffersIt(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Extensions = true
		s := launch(t, cfg)
		c := dialExtended(t, s)
		for id, payload := range []string{"", "one", strings.Repeat("x", framing.MaxPayload-framing.RemainingSize)} {
			c.write(c.request(uint32(id+1), 0, payload))
			c.expect(uint32(id+1), payload)
		}
		plain := dial(t, s)
		plain.call(0, []byte("anet's counter wraps to 0"))
		plain.call(7, []byte{byte(framing.ControlPing)})
		// A hello that is not the first frame is a request like any other.
		hello := c.hello()
		plain.write(hello)
		f := plain.receive()
		assert.Equal(t, taskid.ID(0), f.ID)
		assert.Equal(t, hello[6:], f.Payload)
	})
}

// A hello that had to wait, because the loop gave way to somebody, is a hello still.
func TestAHelloThatWaitsIsAHello(t *testing.T) {
	c, l := offline(t, Config{Extensions: true, Handler: HandlerFunc(echo)})
	c.unsent, l.left = c.srv.cfg.MaxUnsent, c.srv.cfg.MaxUnsent // nothing is parsed
	hello := extended{&client{t: t, format: c.srv.format}}.hello()
	require.True(t, c.serve(hello))
	require.Empty(t, l.out)
	l.left = 0
	require.True(t, c.serve(nil))
	assert.NotNil(t, c.ext.Load())
	assert.NotEqual(t, hello, l.out)
}

// The whole conversation in one write, and byte by byte.
func TestExtensionInPieces(t *testing.T) {
	s := launch(t, Config{Extensions: true})
	for _, size := range []int{1, 3, 1000} {
		c := extended{dial(t, s)}
		stream := c.hello()
		for id := range uint32(5) {
			stream = append(stream, c.request(id+1, id, fmt.Sprint("request ", id))...)
			stream = append(stream, c.control(framing.ControlPing, "12345678")...)
		}
		for len(stream) > 0 {
			n := min(size, len(stream))
			c.write(stream[:n])
			stream = stream[n:]
		}
		c.receive()
		for id := range uint32(5) {
			c.expect(id+1, fmt.Sprint("request ", id))
			assert.Equal(t, "12345678", string(c.expectControl(framing.ControlPong)))
		}
	}
}

func TestNobodySpeaksTheExtensionUnlessItIsOn(t *testing.T) {
	s := launch(t, Config{})
	c := extended{dial(t, s)}
	c.write(c.hello())
	f := c.receive()
	assert.Equal(t, c.hello()[6:], f.Payload, "it is a request")
}

func TestWhatIsNoHelloIsARequest(t *testing.T) {
	s := launch(t, Config{Extensions: true})
	server, err := s.format.AppendHello(nil, framing.Hello{Server: true, Version: 1})
	require.NoError(t, err)
	for name, first := range map[string][]byte{
		"a server's hello": server,
		"cut short":        {0, 7, 0, 0, 0, 0, 1, 'r', 'w'},
		"another ID":       append([]byte{0, 11, 0, 0, 0, 1}, server[6:]...),
	} {
		c := dial(t, s)
		c.write(first)
		assert.Equal(t, first[6:], c.receive().Payload, name)
		c.call(3, []byte("plain"))
	}
}

func TestFailuresAreStatuses(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Extensions = true
		cfg.ErrorReply = func(*Conn, []byte, []byte, error) []byte { t.Error("ErrorReply is asked"); return nil }
		cfg.Handler = HandlerFunc(func(_ *Conn, dst, req []byte) ([]byte, error) {
			switch string(req) {
			case "own":
				return append(dst, "unsent"...), fmt.Errorf("because: %w", &Error{Code: 42, Text: "no such thing"})
			case "error":
				return dst, errors.New("some failure")
			case "overloaded":
				return dst, ErrOverloaded
			case "panic":
				panic("secret")
			case "large":
				return make([]byte, framing.MaxPayload), nil
			case "none":
				return dst, ErrNoReply
			}
			return append(dst, req...), nil
		})
		s := launch(t, cfg)
		c := dialExtended(t, s)
		for req, want := range map[string]struct {
			status framing.Status
			code   uint32
			text   string
		}{
			"own":        {framing.StatusFailed, 42, "no such thing"},
			"error":      {framing.StatusFailed, 0, "some failure"},
			"overloaded": {framing.StatusRefused, framing.RefusedOverloaded, "overloaded"},
			"panic":      {framing.StatusFailed, 0, "handler panicked with a string"},
			"large":      {framing.StatusFailed, 0, "65536"},
		} {
			c.write(c.request(9, 0, req))
			c.expectReason(9, want.status, want.code, want.text)
		}
		c.write(c.request(10, 0, "none"))
		c.expectReason(10, framing.StatusFailed, 0, "no reply")
		c.write(c.request(uint32(taskid.Nobody), 0, "none")) // it is not waited for
		c.write(c.request(11, 0, "echo"))
		c.expect(11, "echo")
		eventually(t, s, "the counts", func(st Stats) bool { return st.NoReplies == 1 })
	})
}

func TestWhoHasGivenUpIsRefused(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Extensions: true, Workers: 1, Handler: h, QueueTimeout: time.Hour, FrameTimeout: 20 * time.Millisecond})
	c := dialExtended(t, s)
	c.write(c.request(1, 0, "b"))
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	c.write(c.request(2, 1, "p"))
	c.write(c.request(3, 3_600_000, "p"))
	eventually(t, s, "them to wait", func(st Stats) bool { return st.Queued == 2 })
	at := s.time() // the clock may be late
	waitFor(t, "the time to pass", func() bool { return s.clock.Load() > at+2 })
	close(h.gate('p'))
	close(h.gate('b'))
	c.expect(1, "b")
	c.expectReason(2, framing.StatusRefused, framing.RefusedExpired, "")
	c.expect(3, "p")
	assert.EqualValues(t, 1, s.Stats().Expired)
	assert.EqualValues(t, 2, h.calls.Load())
}

// Of the clients of one server only those are refused that can be told.
func TestOnlyWhoCanBeToldIsRefused(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Extensions: true, Workers: 1, Handler: h, QueueTimeout: 50 * time.Millisecond})
	c, plain := dialExtended(t, s), dial(t, s)
	plain.send(1, []byte("p"))
	waitFor(t, "the handler", func() bool { return h.inside.Load() == 1 })
	plain.send(2, []byte("p"))
	c.write(c.request(1, 0, "p"))
	c.expectReason(1, framing.StatusRefused, framing.RefusedOverloaded, "")
	close(h.gate('p'))
	plain.receive()
	plain.receive()
	assert.EqualValues(t, 1, s.Stats().Overloaded)
}

func TestRequestsTellHowLongTheirCallersWait(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		type told struct {
			left  time.Duration
			known bool
		}
		got := make(chan told, 1)
		cfg.Extensions = true
		cfg.Handler = RequestFunc(func(r *Request, dst []byte) ([]byte, error) {
			left, known := r.Remaining()
			got <- told{left, known}
			return dst, nil
		})
		s := launch(t, cfg)
		c := dialExtended(t, s)
		c.write(c.request(1, 3_600_000, ""))
		one := <-got
		assert.True(t, one.known)
		assert.LessOrEqual(t, one.left, time.Hour)
		assert.Greater(t, one.left, time.Hour-patienceMax)
		c.write(c.request(2, 0, ""))
		assert.Zero(t, <-got)
		plain := dial(t, s)
		plain.send(3, []byte{0, 0, 1, 0})
		assert.Zero(t, <-got)
	})
}

func TestMalformedForTheExtensionEndsTheConnection(t *testing.T) {
	s := launch(t, Config{Extensions: true})
	for i, bad := range [][]byte{
		{0, 4, 0, 0, 0, 0},    // a control frame without a type
		{0, 5, 0, 0, 0, 0, 0}, // the type 0
		extended{&client{t: t, format: s.format}}.hello(), // a second hello
		{0, 6, 0, 0, 0, 0, 2, 1},                          // a ping of one byte
		{0, 7, 0, 0, 0, 1, 0, 0, 0},                       // a request without its time
	} {
		c := dialExtended(t, s)
		c.write(c.request(1, 0, "before"))
		c.expect(1, "before")
		c.write(append(bad, c.request(2, 0, "after")...))
		assert.Zero(t, c.closed(), "bad frame %d", i)
		eventually(t, s, "the reason", func(st Stats) bool { return st.Closed.Malformed == uint64(i+1) })
	}
	c := dialExtended(t, s)
	for kind := framing.Control(3); kind < 10; kind++ {
		c.write(c.control(kind, "12345678")) // not for the server, or not known
	}
	c.write(c.request(1, 0, "ignored"))
	c.expect(1, "ignored")
}

func TestDropIsToldToo(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 2)
		cfg.Extensions, cfg.Handler = true, h
		s := launch(t, cfg)
		c := dialExtended(t, s)
		c.write(c.request(7, 0, ""))
		require.NoError(t, (<-h).Drop())
		c.expectReason(7, framing.StatusFailed, 0, "no reply")
		c.write(c.request(uint32(taskid.Nobody), 0, ""))
		require.NoError(t, (<-h).Drop())
		eventually(t, s, "the counts", func(st Stats) bool { return st.NoReplies == 1 && st.Replies == 1 })
	})
}

// A restart: goaway at once, what comes all the same is served, then done and the end.
func TestShutdownSaysGoawayAndDone(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		h := make(laters, 3)
		cfg.Extensions, cfg.Handler = true, h
		s := launch(t, cfg)
		c := dialExtended(t, s)
		c.write(c.request(1, 0, "before"))
		first := <-h
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(context.Background()) }()
		c.expectControl(framing.ControlGoaway)
		c.write(c.request(2, 0, "crosses"))
		second := <-h
		require.NoError(t, second.Reply([]byte("two")))
		c.expect(2, "two")
		require.NoError(t, first.Reply([]byte("one")))
		c.expect(1, "one")
		c.expectControl(framing.ControlDone)
		c.write(c.request(3, 0, "too late"))
		_, err := c.frames.ReadFrame()
		assert.Equal(t, io.EOF, err)
		require.NoError(t, c.nc.Close())
		require.NoError(t, <-stopped)
		assert.Empty(t, h, "nothing is begun after done")
		assert.EqualValues(t, 1, s.Stats().Closed.Shutdown)
	})
}

// An idle client goes at once, and the server does not wait for it to be quiet.
func TestShutdownIsOverWhenAllHaveGone(t *testing.T) {
	s := launch(t, Config{Extensions: true, ShutdownTimeout: -1, quietTicks: 1 << 30})
	c := dialExtended(t, s)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	c.expectControl(framing.ControlGoaway)
	require.NoError(t, c.nc.Close())
	require.NoError(t, <-stopped)
	assert.EqualValues(t, 1, s.Stats().Closed.Shutdown)
}

// A handler that closes its connection says the same.
func TestConnCloseSaysDone(t *testing.T) {
	s := launch(t, Config{Extensions: true, Handler: HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
		return append(dst, req...), c.Close()
	})})
	c := dialExtended(t, s)
	c.write(append(c.request(1, 0, "last"), c.request(2, 0, "not begun")...))
	c.expect(1, "last")
	c.expectControl(framing.ControlGoaway)
	c.expectControl(framing.ControlDone)
	assert.EqualValues(t, 1, s.Stats().Requests)
}

func TestPushWithTheExtension(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Extensions = true
		s := launch(t, cfg)
		c := extended{dial(t, s)}
		var conn *Conn
		waitFor(t, "the connection", func() bool { s.conns.scan(func(c *Conn) { conn = c }); return conn != nil })
		require.NoError(t, conn.Push(append(c.frame(7, []byte("early")), c.frame(8, nil)...)))
		c.write(c.hello())
		f := c.receive()
		require.Equal(t, framing.ControlID, f.ID, "the hello comes first")
		c.expect(7, "early")
		c.expect(8, "")
		require.NoError(t, conn.Push(c.frame(9, []byte("later"))))
		c.expect(9, "later")
		for name, bad := range map[string][]byte{
			"ID 0":      c.frame(0, []byte("x")),
			"cut short": c.frame(1, []byte("x"))[:6],
			"bad":       {0, 1},
			"too large": c.frame(1, make([]byte, framing.MaxPayload)),
		} {
			assert.Error(t, conn.Push(bad), name)
		}
		plain := dial(t, s)
		plain.call(1, nil)
		s.conns.scan(func(c *Conn) {
			if c != conn {
				assert.NoError(t, c.Push(plain.frame(2, []byte("as it is"))))
			}
		})
		assert.Equal(t, "as it is", string(plain.receive().Payload))
	})
}

// Pings wait behind requests that cannot be taken, so the server says that it lives.
func TestABlockedConnectionGetsSignsOfLife(t *testing.T) {
	h := &heldBack{}
	s := launch(t, Config{Extensions: true, Workers: 1, MaxUnparsed: 256 << 10, QueueTimeout: -1, Handler: h})
	c := dialExtended(t, s)
	for id := range uint32(300) {
		c.write(c.request(id+1, 0, strings.Repeat("x", 100)))
	}
	c.write(c.control(framing.ControlPing, "whatever"))
	eventually(t, s, "parsing to stop", func(st Stats) bool { return st.Pauses > 0 })
	assert.Equal(t, make([]byte, framing.PingSize), c.expectControl(framing.ControlPong))
	close(h.gate('x'))
}

// Each request of many clients under load is answered, or was not begun when done came.
func TestRestartLosesNothing(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		const clients, window = 4, 32
		var ran sync.Map
		cfg.Extensions = true
		cfg.Handler = HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
			ran.Store(string(req), true)
			return append(dst, req...), nil
		})
		s := launch(t, cfg)
		var all sync.WaitGroup
		var answered atomic.Int64
		for who := range clients {
			c := dialExtended(t, s)
			all.Go(func() {
				open := make(map[taskid.ID]string)
				goaway := false
				next := uint32(1)
				for {
					for ; !goaway && len(open) < window; next++ {
						name := fmt.Sprint(who, " ", next)
						open[taskid.ID(next)] = name
						if _, err := c.nc.Write(c.request(next, 0, name)); err != nil {
							t.Error("written before goaway:", err)
							return
						}
					}
					f, err := c.frames.ReadFrame()
					switch {
					case err != nil:
						t.Error("the end without done:", err)
						return
					case f.ID != framing.ControlID:
						if want := append([]byte{0}, open[f.ID]...); !bytes.Equal(want, f.Payload) {
							t.Errorf("request %d has the reply %q", f.ID, f.Payload)
						}
						delete(open, f.ID)
						answered.Add(1)
						continue
					}
					switch kind, _, _ := framing.ParseControl(f.Payload); kind {
					case framing.ControlGoaway:
						goaway = true
					case framing.ControlDone:
						for _, name := range open {
							if _, begun := ran.Load(name); begun {
								t.Error("begun, not answered:", name)
							}
						}
						return
					}
				}
			})
		}
		waitFor(t, "the load", func() bool { return answered.Load() > 1000 })
		assert.NoError(t, s.Shutdown(context.Background()))
		all.Wait()
	})
}

// A flood of pings is a turn like any other: it ends when others wait.
func TestAFloodOfPingsLetsOthersBy(t *testing.T) {
	conns, links := onLoop(t, 1, Config{Extensions: true, Handler: HandlerFunc(echo)})
	c, l := conns[0], links[0]
	peer := extended{&client{t: t, format: c.srv.format}}
	require.True(t, c.serve(peer.hello()))
	const n = 50_000
	flood := bytes.Repeat(peer.control(framing.ControlPing, "12345678"), n)
	require.True(t, c.serve(flood))
	require.True(t, c.listed, "the rest waits for its turn")
	for c.listed {
		require.True(t, c.serve(nil))
	}
	assert.Len(t, l.out, len(flood)+len(peer.hello()))
}
