package server

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// journal keeps what the hooks are told.
type journal struct {
	mu     sync.Mutex
	opened map[uint64]bool
	closed map[uint64]string
}

func newJournal() *journal {
	return &journal{opened: make(map[uint64]bool), closed: make(map[uint64]string)}
}

func (j *journal) open(c *Conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opened[c.ID()] = true
	c.SetValue("seen")
}

func (j *journal) close(c *Conn, why string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed[c.ID()] += why
}

func TestHooksTellOfEachConnection(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		j := newJournal()
		cfg.OnOpen, cfg.OnClose = j.open, j.close
		cfg.Handler = HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
			if string(req) == "close" {
				return dst, c.Close()
			}
			return append(dst, c.Value().(string)...), nil
		})
		s := launch(t, cfg)
		for _, req := range []string{"stay", "go", "close"} {
			c := dial(t, s)
			c.send(1, []byte(req))
			c.receive()
			if req == "go" {
				require.NoError(t, c.nc.Close())
			}
		}
		eventually(t, s, "two ends", func(st Stats) bool { return st.Conns == 1 })
		require.NoError(t, s.Shutdown(context.Background()))
		assert.Len(t, j.opened, 3)
		assert.Equal(t, map[uint64]string{1: "server is closing", 2: "closed by the peer", 3: "closed by a handler"}, j.closed)
	})
}

// What the hook pushes comes first, and it may refuse a connection.
func TestOnOpenMayPushAndClose(t *testing.T) {
	j := newJournal()
	s := launch(t, Config{OnClose: j.close, OnOpen: func(c *Conn) {
		if c.ID()%2 == 0 {
			assert.NoError(t, c.Push([]byte{0, 6, 0, 0, 0, 9, 'b', 'y'}))
			assert.NoError(t, c.Close())
			return
		}
		assert.NoError(t, c.Push([]byte{0, 6, 0, 0, 0, 9, 'h', 'i'}))
	}})
	c := dial(t, s)
	assert.Equal(t, "hi", string(c.receive().Payload))
	c.call(1, []byte("served"))
	refused := dial(t, s)
	assert.Equal(t, "by", string(refused.receive().Payload))
	assert.Zero(t, refused.closed())
	eventually(t, s, "the end", func(st Stats) bool { return st.Conns == 1 })
	j.mu.Lock()
	defer j.mu.Unlock()
	assert.Equal(t, map[uint64]string{2: "closed by a handler"}, j.closed)
}

// A hook that panics costs its connection, and nobody else anything.
func TestHooksThatPanic(t *testing.T) {
	var closes atomic.Int64
	s := launch(t, Config{
		OnOpen: func(c *Conn) {
			if c.ID() == 1 {
				panic("no")
			}
		},
		OnClose: func(*Conn, string) { closes.Add(1); panic("no") },
	})
	assert.Zero(t, dial(t, s).closed())
	c := dial(t, s)
	c.call(1, nil)
	require.NoError(t, c.nc.Close())
	eventually(t, s, "the ends", func(st Stats) bool { return st.Conns == 0 && st.Accepted == 1 })
	assert.EqualValues(t, 2, closes.Load())
	assert.EqualValues(t, 3, s.Stats().Panics)
}

// A place is free when its end has been told, so what waits to be told is bounded.
func TestOnCloseThatBlocksKeepsThePlace(t *testing.T) {
	release := make(chan struct{})
	s := launch(t, Config{MaxConns: 2, OnClose: func(*Conn, string) { <-release }})
	for range 2 {
		c := dial(t, s)
		c.call(1, nil)
		require.NoError(t, c.nc.Close())
	}
	eventually(t, s, "the ends", func(st Stats) bool { return st.Closed.Peer == 2 })
	assert.Equal(t, 2, s.Stats().Conns)
	assert.Zero(t, dial(t, s).closed(), "there is no room")
	close(release)
	eventually(t, s, "the places", func(st Stats) bool { return st.Conns == 0 })
	dial(t, s).call(1, nil)
}
