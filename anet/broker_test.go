package anet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/anet"
	"github.com/ringwire/ringwire/engine"
)

func TestEachReplyComesToItsRequest(t *testing.T) {
	for name, config := range map[string]*anet.BrokerConfig{
		"workers":   nil,
		"multiplex": {Multiplex: true, MaxInflightPerConn: 4096},
		"literal":   {QueueSize: 5000},
	} {
		t.Run(name, func(t *testing.T) {
			pool := newOwnPool(4, dialer(echo(t)))
			b := start(t, 8, config, pool)
			const senders, each = 64, 50
			var wg sync.WaitGroup
			for s := range senders {
				wg.Go(func() {
					for i := range each {
						text := fmt.Sprintf("request %d of %d", i, s)
						req := []byte(text)
						response, err := b.SendAsync(&req)
						if err != nil {
							t.Errorf("SendAsync: %v", err)
							return
						}
						clear(req) // it is the caller's again
						if r := <-response; r.Err != nil || string(r.Payload) != text {
							t.Errorf("got %q, %v for %q", r.Payload, r.Err, text)
							return
						}
					}
				})
			}
			wg.Wait()
			assert.LessOrEqual(t, pool.Len(), 4)
		})
	}
}

func TestManyAsyncRequestsOfOneCaller(t *testing.T) {
	b := start(t, 2, nil, newOwnPool(2, dialer(echo(t))))
	var responses []<-chan anet.Response
	for i := range 500 {
		req := []byte(fmt.Sprint(i))
		response, err := b.SendAsyncContext(t.Context(), &req)
		require.NoError(t, err)
		require.Equal(t, 1, cap(response))
		responses = append(responses, response)
	}
	for i, response := range responses {
		r := <-response
		require.NoError(t, r.Err)
		require.Equal(t, fmt.Sprint(i), string(r.Payload))
	}
}

func TestEmptyAndLargestRequests(t *testing.T) {
	b := start(t, 1, nil, newOwnPool(1, dialer(echo(t))))
	reply, err := b.Send(nil)
	require.NoError(t, err)
	require.NotNil(t, reply)
	require.Empty(t, reply)

	largest := make([]byte, 65531)
	var none context.Context // never ends
	reply, err = b.SendContext(none, &largest)
	require.NoError(t, err)
	require.Equal(t, largest, reply)

	tooLarge := make([]byte, 65532)
	_, err = b.Send(&tooLarge)
	require.Equal(t, anet.ErrMaxLenExceeded, err)
	_, err = b.SendAsync(&tooLarge)
	require.Equal(t, anet.ErrMaxLenExceeded, err)
}

func TestStartAndCloseAsDocumented(t *testing.T) {
	none := anet.NewBroker(nil, 0, nil, nil)
	require.NoError(t, none.Start())
	_, err := none.Send(nil)
	require.Equal(t, anet.ErrNoPoolsAvailable, err)
	none.Close()
	none.Close()
	require.Equal(t, anet.ErrQuit, none.Start())
	_, err = none.Send(nil)
	require.Equal(t, anet.ErrClosingBroker, err)
	_, err = none.SendAsync(nil)
	require.Equal(t, anet.ErrClosingBroker, err)

	some := anet.NewBroker([]anet.Pool{nil}, 3, &anet.NoopLogger{}, nil)
	begin(t, some)
	_, err = some.Send(nil)
	require.ErrorIs(t, err, anet.ErrNoPoolsAvailable)
	some.Close()
	require.Equal(t, anet.ErrQuit, some.Start())
}

func TestRequestsWaitForStartUpToQueueSize(t *testing.T) {
	addr := echo(t)
	other := start(t, 1, nil, newOwnPool(1, dialer(addr)))
	pool := newOwnPool(1, dialer(addr))
	b := anet.NewBroker([]anet.Pool{pool}, 1, nil, &anet.BrokerConfig{QueueSize: 2})
	t.Cleanup(pool.Close)
	var responses []<-chan anet.Response
	for range 2 {
		response, err := b.SendAsync(nil)
		require.NoError(t, err)
		responses = append(responses, response)
	}
	_, err := b.Send(nil)
	require.Equal(t, anet.ErrQueueFull, err)
	for range 100 { // so much can happen meanwhile
		_, err := other.Send(nil)
		require.NoError(t, err)
	}
	require.Zero(t, pool.gets.Load(), "the pool was asked before Start")
	begin(t, b)
	for _, response := range responses {
		require.NoError(t, (<-response).Err)
	}
	_, err = b.Send(nil)
	require.NoError(t, err)
}

func TestOpenRequestsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		config anet.BrokerConfig
		most   int
	}{
		"workers":   {anet.BrokerConfig{QueueSize: 3, ReadTimeout: -1}, 5},
		"multiplex": {anet.BrokerConfig{Multiplex: true, MaxInflightPerConn: 2, ReadTimeout: -1}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			pool := newOwnPool(2, dialer(peer(t, silent)))
			log := &startLog{started: make(chan struct{})}
			b := anet.NewBroker([]anet.Pool{pool}, 2, log, &c.config)
			begin(t, b)
			<-log.started
			for i := range c.most {
				_, err := b.SendAsync(nil)
				require.NoError(t, err, "request %d", i+1)
			}
			_, err := b.SendAsync(nil)
			require.Equal(t, anet.ErrQueueFull, err)
			_, err = b.Send(nil)
			require.Equal(t, anet.ErrQueueFull, err)
		})
	}
}

// startLog tells when a broker has started.
type startLog struct {
	anet.NoopLogger
	once    sync.Once
	started chan struct{}
}

func (l *startLog) Infof(string, ...any) { l.once.Do(func() { close(l.started) }) }

func TestNoMoreConnectionsThanWorkersAndCapacity(t *testing.T) {
	for _, c := range []struct{ workers, capacity, most int }{{2, 8, 2}, {8, 3, 3}} {
		pool := newOwnPool(c.capacity, dialer(echo(t)))
		b := start(t, c.workers, nil, pool)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 20 {
					if _, err := b.Send(nil); err != nil {
						t.Errorf("Send: %v", err)
					}
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, pool.Len(), c.most)
		assert.LessOrEqual(t, pool.askedMost.Load(), int64(c.most), "the pool is not asked for more than it can give")
	}
}

func TestIdleConnectionGoesBackToItsPoolAlive(t *testing.T) {
	pool := newOwnPool(1, dialer(echo(t)))
	first := start(t, 1, nil, pool)
	second := start(t, 1, nil, pool)
	reply, err := send(first, "one")
	require.NoError(t, err)
	require.Equal(t, "one", reply)
	soon(t, func() bool { return pool.lent.Load() == 0 }, "the connection is put back")
	require.Zero(t, pool.releases.Load())

	reply, err = send(second, "two") // on the same connection, by another broker
	require.NoError(t, err)
	require.Equal(t, "two", reply)
	second.Close()
	require.Zero(t, pool.lent.Load(), "Close gives connections back")
	require.EqualValues(t, 2, pool.puts.Load())

	reply, err = send(first, "three")
	require.NoError(t, err)
	require.Equal(t, "three", reply)
	require.Equal(t, 1, pool.Len())
	require.Zero(t, pool.releases.Load())
}

// What was read beyond the replies is lost with the engine, so the next user would
// get the stream out of step.
func TestConnectionWithUnaskedBytesIsNotPutBack(t *testing.T) {
	for name, extra := range map[string][]byte{
		"unknown reply":   {0, 4, 0xff, 0xff, 0xff, 0xff},
		"part of a frame": {0},
	} {
		t.Run(name, func(t *testing.T) {
			pool := newOwnPool(1, dialer(peer(t, func(nc net.Conn) {
				msg, err := anet.Read(nc)
				if err != nil {
					return
				}
				reply := append([]byte{0, byte(len(msg))}, msg...)
				_, _ = nc.Write(append(reply, extra...))
				silent(nc)
			})))
			b := start(t, 1, nil, pool)
			_, err := send(b, "x")
			require.NoError(t, err)
			soon(t, func() bool { return pool.lent.Load() == 0 }, "the connection is given up")
			require.Zero(t, pool.puts.Load())
		})
	}
}

func TestLostConnectionIsReleasedAndReplaced(t *testing.T) {
	var conns atomic.Int64
	pool := newOwnPool(1, dialer(peer(t, func(nc net.Conn) {
		first := conns.Add(1) == 1
		for {
			msg, err := anet.Read(nc)
			if err != nil {
				return
			}
			if first {
				_ = nc.(*net.TCPConn).SetLinger(0) // a reset
				return
			}
			_ = anet.Write(nc, msg)
		}
	})))
	b := start(t, 1, nil, pool)
	_, err := send(b, "lost")
	require.Error(t, err)
	reply, err := send(b, "found")
	require.NoError(t, err)
	require.Equal(t, "found", reply)
	soon(t, func() bool { return pool.releases.Load() == 1 }, "the first connection is released, once")
}

func TestPoolOfClosedConnectionsIsGoneThrough(t *testing.T) {
	addr := echo(t)
	pool := newOwnPool(3, dialer(addr))
	for range 2 { // dead ones
		pool.places <- struct{}{}
		ours, theirs := tcpPair(t)
		theirs.Close()
		pool.idle <- ours
	}
	b := start(t, 1, nil, pool)
	reply, err := send(b, "x")
	require.NoError(t, err)
	require.Equal(t, "x", reply)
	require.EqualValues(t, 2, pool.releases.Load())
}

func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	return a, b
}

func TestDeadlinesOfTheFactoryDoNotCount(t *testing.T) {
	addr := echo(t)
	b := start(t, 1, nil, newOwnPool(1, func() (anet.PoolItem, error) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			err = nc.SetDeadline(time.Now().Add(-time.Second))
		}
		return nc, err
	}))
	_, err := send(b, "x")
	require.NoError(t, err)
}

func TestContextEndsItsOwnRequestOnly(t *testing.T) {
	pool := newOwnPool(1, dialer(peer(t, silent)))
	b := start(t, 1, nil, pool)
	other, err := b.SendAsync(nil)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = b.SendContext(ctx, nil)
	require.Equal(t, context.DeadlineExceeded, err)
	require.ErrorIs(t, err, anet.ErrTimeout)

	ctx, cancel = context.WithCancel(t.Context())
	response, err := b.SendAsyncContext(ctx, nil)
	require.NoError(t, err)
	cancel()
	require.Equal(t, anet.Response{Err: context.Canceled}, <-response)

	b.Close()
	require.Equal(t, anet.Response{Err: anet.ErrClosingBroker}, <-other)
	soon(t, func() bool { return pool.lent.Load() == 0 }, "the connection is given up")
	require.Zero(t, pool.puts.Load())
}

func TestReadTimeoutIsATimeout(t *testing.T) {
	pool := newOwnPool(1, dialer(peer(t, silent)))
	b := start(t, 1, &anet.BrokerConfig{ReadTimeout: 20 * time.Millisecond}, pool)
	_, err := b.Send(nil)
	require.ErrorIs(t, err, anet.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var ne net.Error
	require.True(t, errors.As(err, &ne) && ne.Timeout())
	soon(t, func() bool { return pool.lent.Load() == 0 }, "the connection is given up")
	require.Zero(t, pool.puts.Load(), "a reply may still come on it")
}

func TestLostConnectionTellsTheCause(t *testing.T) {
	b := start(t, 1, nil, newOwnPool(1, dialer(peer(t, func(nc net.Conn) { _, _ = anet.Read(nc) }))))
	_, err := b.Send(nil)
	require.ErrorIs(t, err, engine.ErrConnLost)
	require.ErrorContains(t, err, "closed by the peer")
}

func TestBadLengthIsNamed(t *testing.T) {
	b := start(t, 1, nil, newOwnPool(1, dialer(peer(t, func(nc net.Conn) {
		_, _ = anet.Read(nc)
		_, _ = nc.Write([]byte{0, 3, 1, 2, 3})
		silent(nc)
	}))))
	_, err := b.Send(nil)
	require.ErrorIs(t, err, anet.ErrInvalidMsgLength)
}
