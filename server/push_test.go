package server

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/taskid"
)

// pusher is a server whose connections come out of a channel with their first
// request, "hello".
func pusher(t *testing.T, cfg Config) (s *Server, conns <-chan *Conn) {
	out := make(chan *Conn, 64)
	cfg.Handler = HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
		if string(req) == "hello" {
			out <- c
		}
		return append(dst, req...), nil
	})
	return launch(t, cfg), out
}

func mustFrame(t *testing.T, id uint32, payload []byte) []byte {
	t.Helper()
	b, err := framing.Append(nil, taskid.ID(id), payload)
	require.NoError(t, err)
	return b
}

func TestPushedFramesArriveWholeAndInOrderBetweenReplies(t *testing.T) {
	const pushers, each = 4, 200
	s, conns := pusher(t, Config{Workers: 4})
	c := dial(t, s)
	c.call(1, []byte("hello"))
	conn := <-conns

	var wg sync.WaitGroup
	for who := range pushers {
		wg.Go(func() {
			for i := range each {
				payload := binary.BigEndian.AppendUint32(nil, uint32(i))
				payload = append(payload, bytes.Repeat([]byte{byte(who)}, i)...)
				if err := conn.Push(mustFrame(t, uint32(1000+who), payload)); err != nil {
					t.Errorf("push %d of %d: %v", i, who, err)
					return
				}
			}
		})
	}
	for id := range each {
		c.send(uint32(id+1), []byte("request"))
	}
	next := make([]uint32, pushers)
	replies := 0
	for range pushers*each + each {
		f := c.receive()
		if f.ID < 1000 {
			require.Equal(t, "request", string(f.Payload))
			replies++
			continue
		}
		who := int(f.ID - 1000)
		require.Equal(t, next[who], binary.BigEndian.Uint32(f.Payload))
		require.Equal(t, bytes.Repeat([]byte{byte(who)}, int(next[who])), append([]byte{}, f.Payload[4:]...))
		next[who]++
	}
	wg.Wait()
	require.Equal(t, each, replies)
}

func TestHandlersPushComesBeforeItsReply(t *testing.T) {
	for _, workers := range []int{0, 4} {
		s := launch(t, Config{Workers: workers, Handler: HandlerFunc(func(c *Conn, dst, req []byte) ([]byte, error) {
			return append(dst, req...), c.Push(mustFrame(t, 7, req))
		})})
		c := dial(t, s)
		for id := range uint32(50) {
			c.send(100+id, []byte{byte(id)})
			first, second := c.receive().ID, c.receive().ID
			if workers > 0 {
				require.Equal(t, []taskid.ID{7, taskid.ID(100 + id)}, []taskid.ID{first, second})
			}
		}
	}
}

func TestPushIsBoundedByWhatThePeerLeavesUnread(t *testing.T) {
	s, conns := pusher(t, Config{MaxUnsent: 4 << 10})
	c := dial(t, s)
	c.call(1, []byte("hello"))
	conn := <-conns

	frame := mustFrame(t, 9, bytes.Repeat([]byte{'x'}, 1000))
	pushed := 0
	for ; ; pushed++ {
		if err := conn.Push(frame); err != nil {
			require.ErrorIs(t, err, ErrPushFull)
			break
		}
	}
	for range pushed { // none of those that were accepted is lost
		require.Equal(t, taskid.ID(9), c.receive().ID)
	}
	require.ErrorIs(t, conn.Push(bytes.Repeat([]byte{0}, 5<<10)), ErrPushFull)
	c.call(2, []byte("still here"))
}

func TestPushIsBoundedByWhatTheServerHolds(t *testing.T) {
	s, conns := pusher(t, Config{MaxHeld: 1})
	c := dial(t, s)
	c.call(1, []byte("hello"))
	conn := <-conns
	s.jobBytes.Add(2)
	err := conn.Push(mustFrame(t, 9, nil))
	s.jobBytes.Add(-2)
	require.ErrorIs(t, err, ErrPushFull)
}

func TestPushAfterTheEndFailsAndHoldsNothing(t *testing.T) {
	s, conns := pusher(t, Config{})
	c := dial(t, s)
	c.call(1, []byte("hello"))
	conn := <-conns
	require.NoError(t, conn.Push(mustFrame(t, 9, []byte("x"))))
	require.Equal(t, taskid.ID(9), c.receive().ID)
	require.NoError(t, conn.Close())
	require.ErrorIs(t, conn.Push(mustFrame(t, 9, nil)), net.ErrClosed)
	c.closed()
	eventually(t, s, "the end", func(s Stats) bool { return s.Conns == 0 })
	require.ErrorIs(t, conn.Push(mustFrame(t, 9, nil)), net.ErrClosed)
}

func TestPushRacingTheEnd(t *testing.T) {
	s, conns := pusher(t, Config{})
	for range 50 {
		c := dial(t, s)
		c.call(1, []byte("hello"))
		conn := <-conns
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for conn.Push(mustFrame(t, 9, []byte("x"))) == nil {
				}
			})
		}
		require.NoError(t, c.tcp().SetLinger(0))
		require.NoError(t, c.nc.Close())
		wg.Wait()
	}
	waitFor(t, "what was pushed to be dropped", func() bool { return s.jobBytes.Load() == 0 })
}

// The peer reads nothing for a while: what was pushed goes out when it reads again,
// although nothing else happens on the connection.
func TestPushedBytesWaitForThePeer(t *testing.T) {
	s, conns := pusher(t, Config{MaxUnsent: 256 << 10, WriteTimeout: -1})
	c := dial(t, s)
	c.call(1, []byte("hello"))
	conn := <-conns
	frame := mustFrame(t, 9, bytes.Repeat([]byte{'x'}, 60<<10))
	pushed := 0
	for full := 0; full < 50; {
		if conn.Push(frame) != nil {
			full++
			<-time.After(time.Millisecond) // the loop may not have had its turn
			continue
		}
		pushed++
		full = 0
	}
	for range pushed {
		require.Len(t, c.receive().Payload, 60<<10)
	}
	c.call(2, []byte("still here"))
}
