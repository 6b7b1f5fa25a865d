package server

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// modes runs a test with handlers on the loop and on workers.
func modes(t *testing.T, run func(t *testing.T, cfg Config)) {
	t.Run("handlers=loop", func(t *testing.T) { run(t, Config{}) })
	t.Run("handlers=workers", func(t *testing.T) { run(t, Config{Workers: 4}) })
}

func TestEchoOfEverySize(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		s := launch(t, cfg)
		c := dial(t, s)
		for i, size := range []int{0, 1, 2, 64, 1024, 32 << 10, framing.MaxPayload - 1, framing.MaxPayload} {
			c.call(uint32(i+1), bytes.Repeat([]byte{byte(i)}, size))
		}
		st := s.Stats()
		assert.EqualValues(t, 8, st.Requests)
		assert.EqualValues(t, 8, st.Replies)
		assert.EqualValues(t, st.BytesIn, st.BytesOut)
		assert.Equal(t, 1, st.Conns)
	})
}

func TestEveryTaskIDIsEchoed(t *testing.T) {
	c := dial(t, launch(t, Config{}))
	for _, id := range []uint32{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 0} {
		c.call(id, []byte("x"))
	}
}

func TestWideFramesAreServed(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Framing = framing.Format{LengthSize: 4}
		c := dial(t, launch(t, cfg))
		for i, size := range []int{0, 70_000, 3 << 20} {
			c.call(uint32(i), bytes.Repeat([]byte{byte(i)}, size))
		}
	})
}

func TestUnixSocketIsServed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := launch(t, Config{Addr: "unix://" + path, Handler: HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
		return append(dst, c.LocalAddr().String()...), nil
	})})
	c := dial(t, s)
	c.send(1, nil)
	assert.Equal(t, path, string(c.receive().Payload))
}

func TestHandlerMayReturnAnySlice(t *testing.T) {
	own := []byte("own")
	replies := map[string]struct {
		handle HandlerFunc
		want   string
	}{
		"dst":              {func(_ *Conn, dst, req []byte) ([]byte, error) { return append(dst, req...), nil }, "request"},
		"request":          {func(_ *Conn, _, req []byte) ([]byte, error) { return req, nil }, "request"},
		"part of request":  {func(_ *Conn, _, req []byte) ([]byte, error) { return req[2:4], nil }, "qu"},
		"own":              {func(*Conn, []byte, []byte) ([]byte, error) { return own, nil }, "own"},
		"nil":              {func(*Conn, []byte, []byte) ([]byte, error) { return nil, nil }, ""},
		"empty dst":        {func(_ *Conn, dst, _ []byte) ([]byte, error) { return dst, nil }, ""},
		"middle of dst":    {func(_ *Conn, dst, _ []byte) ([]byte, error) { return append(dst, "0123456"...)[3:5], nil }, "34"},
		"dst, then other":  {func(_ *Conn, dst, _ []byte) ([]byte, error) { _ = append(dst, "junk"...); return own, nil }, "own"},
		"beyond the spare": {func(_ *Conn, dst, _ []byte) ([]byte, error) { return append(dst[:0:0], "moved"...), nil }, "moved"},
	}
	modes(t, func(t *testing.T, cfg Config) {
		for name, r := range replies {
			t.Run(name, func(t *testing.T) {
				cfg.Handler = r.handle
				c := dial(t, launch(t, cfg))
				c.write(bytes.Join([][]byte{c.frame(1, []byte("request")), c.frame(2, []byte("request"))}, nil))
				for range 2 {
					assert.Equal(t, r.want, string(c.receive().Payload))
				}
			})
		}
	})
}

// dst must be the output buffer itself, or every reply is copied once more.
func TestReplyAppendedToDstIsNotCopied(t *testing.T) {
	var inPlace atomic.Int64
	s := launch(t, Config{Handler: HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
		out := c.loop.out
		behindHeader := len(out) + framing.HeaderSize
		if len(dst) == 0 && &dst[:1][0] == &out[:behindHeader+1][behindHeader] {
			inPlace.Add(1)
		}
		return append(dst, req...), nil
	})})
	c := dial(t, s)
	for id := range uint32(3) {
		c.call(id, []byte("abc"))
	}
	require.EqualValues(t, 3, inPlace.Load())
}

func TestPipelinedRequestsShareWrites(t *testing.T) {
	const requests = 2_000 // as many replies as the kernel takes at once, even if nobody reads
	s := launch(t, Config{})
	c := dial(t, s)
	go func() { _, _ = c.nc.Write(c.pipeline(requests, 16)) }()
	for id := range requests {
		require.Equal(t, taskid.ID(id+1), c.receive().ID, "replies of a loop keep the order")
	}
	st := s.Stats()
	assert.EqualValues(t, requests, st.Replies)
	assert.Less(t, st.Writes, uint64(requests/20), "each read is answered by one write")
	assert.LessOrEqual(t, st.Writes, st.Reads+st.BytesOut/flushBytes)
}

func TestFramesSplitAnywhereAreServed(t *testing.T) {
	s := launch(t, Config{})
	probe := dial(t, s)
	stream := bytes.Join([][]byte{probe.frame(1, []byte("first")), probe.frame(2, nil), probe.frame(3, []byte("third"))}, nil)
	for cut := range len(stream) {
		c := dial(t, s)
		c.write(stream[:cut])
		// The rest follows in a read of its own: the part before has been read.
		eventually(t, s, "the first part", func(st Stats) bool { return st.BytesIn >= uint64(cut*len(stream)+cut) })
		c.write(stream[cut:])
		for id, want := range []string{"first", "", "third"} {
			f := c.receive()
			require.Equal(t, taskid.ID(id+1), f.ID, "cut at %d", cut)
			require.Equal(t, want, string(f.Payload), "cut at %d", cut)
		}
	}
}

// Random pieces against what one write gives.
func TestStreamInRandomPiecesIsServed(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.MaxInFlight = 4 // so that workers make parsing stop in the middle
		s := launch(t, cfg)
		for seed := range uint64(20) {
			rng := rand.New(rand.NewPCG(seed, 1))
			c := dial(t, s)
			var stream []byte
			want := make(map[taskid.ID][]byte)
			for id := range taskid.ID(40) {
				payload := make([]byte, rng.IntN(1<<rng.IntN(15)))
				for i := range payload {
					payload[i] = byte(rng.Uint32())
				}
				want[id] = payload
				stream = append(stream, c.frame(uint32(id), payload)...)
			}
			go func() {
				for len(stream) > 0 {
					n := min(len(stream), 1+rng.IntN(1+rng.IntN(20_000)))
					if _, err := c.nc.Write(stream[:n]); err != nil {
						return // reported by the reader
					}
					stream = stream[n:]
				}
			}()
			for range 40 {
				f := c.receive()
				payload, ok := want[f.ID]
				require.True(t, ok, "seed %d: reply %v came twice or was never asked for", seed, f.ID)
				require.True(t, bytes.Equal(payload, f.Payload), "seed %d: reply %v differs", seed, f.ID)
				delete(want, f.ID)
			}
			require.NoError(t, c.nc.Close())
		}
	})
}

// An idle connection must cost little, so nothing may stay staged.
func TestIdleConnectionHoldsNoBuffer(t *testing.T) {
	s := launch(t, Config{})
	c := dial(t, s)
	c.write(c.frame(1, []byte("half a frame"))[:9])
	eventually(t, s, "the part to be staged", func(st Stats) bool { return st.HeldBytes > 0 })
	c.write(c.frame(1, []byte("half a frame"))[9:])
	assert.Equal(t, "half a frame", string(c.receive().Payload))
	eventually(t, s, "the buffer to be returned", func(st Stats) bool { return st.HeldBytes == 0 })
	s.conns.scan(func(c *Conn) { assert.Nil(t, c.desk.Load()) })
}

func TestSeveralLoopsServe(t *testing.T) {
	onLoops(t)
	s := launch(t, Config{Loops: 4})
	var all []*client
	for range 16 {
		all = append(all, dial(t, s))
	}
	for i, c := range all {
		c.call(uint32(i), []byte("x"))
	}
	f, _, _ := s.parts()
	require.Len(t, f.loops, 4)
	for _, l := range f.loops { // on a busy machine one may be late, and others be asked
		assert.Positive(t, l.conns.Load(), "connections are spread")
	}
	assert.EqualValues(t, 16, s.Stats().Requests)
}

func TestSeveralListenersAreServed(t *testing.T) {
	speaksPlain(t)
	s := launch(t, Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, s.Serve(ln))
	nc, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	b, err := framing.Append(nil, 7, []byte("second"))
	require.NoError(t, err)
	_, err = nc.Write(b)
	require.NoError(t, err)
	got := make([]byte, len(b))
	_, err = io.ReadFull(nc, got)
	require.NoError(t, err)
	assert.Equal(t, b, got)
	assert.NotEqual(t, ln.Addr(), s.Addr(), "Addr is the first")
}

func TestConnTellsWhoItIs(t *testing.T) {
	type seen struct {
		id            uint64
		local, remote string
		value         any
	}
	conns := make(chan seen, 4)
	s := launch(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
		n, _ := c.Value().(int)
		conns <- seen{c.ID(), c.LocalAddr().String(), c.RemoteAddr().String(), c.Value()}
		c.SetValue(n + 1)
		return dst, nil
	})})
	a, b := dial(t, s), dial(t, s)
	for _, c := range []*client{a, a, b} {
		c.call(1, nil)
	}
	first, again, other := <-conns, <-conns, <-conns
	assert.Equal(t, a.nc.LocalAddr().String(), first.remote)
	assert.Equal(t, s.Addr().String(), first.local)
	assert.Nil(t, first.value)
	assert.Equal(t, 1, again.value)
	assert.Equal(t, first.id, again.id)
	assert.Nil(t, other.value)
	assert.NotEqual(t, first.id, other.id)
}

func TestHandlerCanCloseItsConnection(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cfg.Handler = HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
			if string(req) == "bye" {
				assert.NoError(t, c.Close())
				assert.NoError(t, c.Close(), "again")
			}
			return append(dst, req...), nil
		})
		s := launch(t, cfg)
		c := dial(t, s)
		c.write(bytes.Join([][]byte{c.frame(1, []byte("hello")), c.frame(2, []byte("bye"))}, nil))
		assert.Equal(t, 2, c.closed(), "the replies come first")
		require.NoError(t, c.nc.Close())
		eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Handler == 1 })
	})
}

// Frames behind the one at which the handler closed must not be handled.
func TestNothingIsHandledAfterClose(t *testing.T) {
	s := launch(t, Config{Handler: HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
		_ = c.Close()
		return dst, nil
	})})
	c := dial(t, s)
	c.write(c.pipeline(100, 10))
	assert.Equal(t, 1, c.closed())
	assert.EqualValues(t, 1, s.Stats().Requests)
}

func TestConnOutlivesItsEnd(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := launch(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
		conns <- c
		return dst, nil
	})})
	c := dial(t, s)
	c.call(1, nil)
	require.NoError(t, c.nc.Close())
	eventually(t, s, "the end", func(st Stats) bool { return st.Closed.Peer == 1 })
	conn := <-conns
	assert.NoError(t, conn.Close())
	conn.SetValue(fmt.Sprint(conn.ID(), conn.LocalAddr(), conn.RemoteAddr()))
	assert.NotEmpty(t, conn.Value())
	assert.NoError(t, s.Close())
	assert.NoError(t, conn.Close(), "after the server's end")
}
