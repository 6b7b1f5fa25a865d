package server

import (
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the hook has asked for goes with the connection that is not served.
func TestAHookThatPanicsLeavesNothing(t *testing.T) {
	kept := make(chan *Conn, 1)
	s := launch(t, Config{OnOpen: func(c *Conn) {
		assert.NoError(t, c.Push([]byte{0, 6, 0, 0, 0, 9, 'h', 'i'}))
		_ = c.Context()
		kept <- c
		panic("no")
	}})
	assert.Zero(t, dial(t, s).closed())
	c := <-kept
	<-c.Context().Done()
	assert.Equal(t, net.ErrClosed, c.Push([]byte{0, 4, 0, 0, 0, 1}))
	assert.Zero(t, s.jobBytes.Load())
}

// A hook that ends its goroutine, as testing.T.FailNow does, has failed like one that panics.
func TestHooksThatEndTheirGoroutine(t *testing.T) {
	var closes atomic.Int64
	s := launch(t, Config{
		MaxConns: 4,
		OnOpen: func(c *Conn) {
			if c.ID() <= 2 {
				runtime.Goexit()
			}
		},
		OnClose: func(*Conn, string) { closes.Add(1); runtime.Goexit() },
	})
	for range 2 {
		assert.Zero(t, dial(t, s).closed())
	}
	for range 6 { // more than there is room for
		c := dial(t, s)
		c.call(1, []byte("others are served"))
		require.NoError(t, c.nc.Close())
		eventually(t, s, "the place", func(st Stats) bool { return st.Conns == 0 })
	}
	assert.EqualValues(t, 8, closes.Load())
	assert.EqualValues(t, 10, s.Stats().Panics)
}
