package paired

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of this file run in bubbles of their own time, over net.Pipes.

// memoryPair returns a server and a client that dials it.
func memoryPair(t *testing.T, s ServerConfig, c ClientConfig) (server, client *Pool) {
	m := newMemory()
	s.Listener = m
	server = newServer(t, s)
	c.Addr, c.Dial = "memory", m.Dial
	client = newClient(t, server, c)
	return server, client
}

func TestAThousandWaitersAtADeadAddressStayWithinTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		client := newClient(t, nil, ClientConfig{
			MinCapacity: 1000, MaxCapacity: 1000, MinInterval: 500 * time.Millisecond, MaxInterval: 5 * time.Second,
			Dial: func(context.Context, string) (net.Conn, error) { dials.Add(1); return nil, syscall.ECONNREFUSED },
		})
		ctx, cancel := context.WithTimeout(bg, 2*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				_, _, err := client.ServerGet(ctx)
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		require.EqualValues(t, parallelMax, dials.Load(), "in the first moment")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		require.Greater(t, dials.Load(), int64(parallelMax), "dials that fail together are one failure: the first pause is short")
		wg.Wait()
		// Pauses of 5 s on average once they are at their longest: some 30 in two
		// minutes. That as many as 100 were drawn is as good as impossible.
		assert.LessOrEqual(t, dials.Load(), int64(parallelMax+100))
		assert.GreaterOrEqual(t, dials.Load(), int64(parallelMax+2))
		assert.EqualValues(t, dials.Load(), client.Stats().DialErrors)
		require.NoError(t, client.Close())
		before := dials.Load()
		time.Sleep(time.Minute)
		assert.Equal(t, before, dials.Load(), "no dial after Close")
	})
}

func TestAClientRecoversWhenItsServerIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server := newServer(t, ServerConfig{Listener: m})
		var up atomic.Bool
		client := newClient(t, nil, ClientConfig{
			MinCapacity: 40, MaxCapacity: 40, MinInterval: time.Second, MaxInterval: time.Second,
			Dial: func(ctx context.Context, addr string) (net.Conn, error) {
				if !up.Load() {
					return nil, syscall.ECONNREFUSED
				}
				return m.Dial(ctx, addr)
			},
		})
		time.Sleep(time.Minute)
		require.Zero(t, client.Active())
		up.Store(true)
		time.Sleep(DefaultBackoffMax)
		synctest.Wait()
		require.NotZero(t, client.Active(), "the next attempt comes within the longest pause")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, 40, client.Idle(), "and the rest with the next round")
		assert.Equal(t, 40, server.Idle())
		_, _, err := client.ServerGet(lookOnly())
		require.NoError(t, err)
	})
}

func TestConnectionsNobodyTakesAreClosedOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, ServerConfig{IdleTimeout: time.Minute}, ClientConfig{IdleTimeout: -1, MinCapacity: 2, MaxCapacity: 2})
		synctest.Wait()
		id, s, err := server.ServerGet(bg)
		require.NoError(t, err)
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 0, server.Stats().Evicted)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 1, server.Stats().Evicted, "only the one that was ready")
		require.Equal(t, 1, server.InUse())
		require.NoError(t, server.Put(id, s))
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		_, err = server.ClientGet(lookOnly(), id)
		require.NoError(t, err, "Put begins a new minute")
		require.NotNil(t, client)
	})
}

func TestAGetDoesNotRelyOnTheManagerToEvict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _ := memoryPair(t, ServerConfig{}, ClientConfig{MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
		require.NoError(t, server.WaitReady(bg))
		server.mu.Lock()
		id := server.shelf.idle.Back().id
		server.shelf.idle.Back().since = time.Now().Add(-DefaultIdleTimeout) // the manager sleeps
		server.mu.Unlock()
		_, err := server.ClientGet(bg, id.String())
		require.ErrorIs(t, err, ErrNotFound)
		assert.EqualValues(t, 1, server.Stats().Evicted)
		assert.Zero(t, server.Active())
	})
}

func TestAClientKeepsItsLeastThroughEvictionAndGivesUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := memoryPair(t, ServerConfig{IdleTimeout: -1}, ClientConfig{
			MinCapacity: 2, MaxCapacity: 6, MinInterval: 100 * time.Millisecond, MaxInterval: time.Second,
		})
		synctest.Wait()
		require.Equal(t, 2, client.Capacity(), "no demand, no growth")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, client.Capacity())
		require.Equal(t, time.Second, client.Interval(), "all ready: there is no hurry")

		var held []net.Conn
		for range 6 {
			_, nc, err := client.ServerGet(bg)
			require.NoError(t, err)
			held = append(held, nc)
		}
		require.Equal(t, 6, client.Capacity(), "it grew with the demand")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Equal(t, 100*time.Millisecond, client.Interval())
		require.Equal(t, 6, client.Active())
		short, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, _, err := client.ServerGet(short)
		require.ErrorIs(t, err, context.DeadlineExceeded, "never more than the most")

		for _, nc := range held {
			require.NoError(t, client.Put(nc.(*Conn).ID(), nc))
		}
		time.Sleep(DefaultIdleTimeout + 2*time.Second)
		synctest.Wait()
		assert.Equal(t, 2, client.Capacity(), "nobody needed more")
		assert.Equal(t, 2, client.Active())
		assert.EqualValues(t, 6, client.Stats().Evicted)
	})
}

func TestARoundFillsThePoolWhateverItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, ServerConfig{}, ClientConfig{MinCapacity: 5 * parallelMax, MaxCapacity: 5 * parallelMax, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
		synctest.Wait()
		assert.Equal(t, 5*parallelMax, client.Idle())
		assert.Equal(t, 5*parallelMax, server.Idle())
	})
}

func TestDialsUnderWayHaveTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		client := newClient(t, nil, ClientConfig{
			MinCapacity: 3, MaxCapacity: 9, MinInterval: time.Millisecond, MaxInterval: time.Second, DialTimeout: time.Hour,
			Dial: func(ctx context.Context, _ string) (net.Conn, error) {
				dials.Add(1)
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		time.Sleep(time.Minute)
		assert.EqualValues(t, 3, dials.Load())
		assert.Equal(t, 3, client.Stats().Bringing)
	})
}

func TestRoundsOfDialsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := memoryPair(t, ServerConfig{}, ClientConfig{MinInterval: time.Second, MaxInterval: time.Second})
		start := time.Now()
		for i := range 10 {
			_, nc, err := client.ServerGet(bg)
			require.NoError(t, err)
			require.Equal(t, time.Duration(i)*time.Second, time.Since(start), "one connection a round")
			require.NoError(t, nc.Close())
		}
	})
}

func TestPeersThatKeepSilentAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server := newServer(t, ServerConfig{Listener: m, HandshakeTimeout: 3 * time.Second})
		nc, err := m.Dial(bg, "")
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, 1, server.Stats().Bringing)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		_, err = nc.Read(make([]byte, idSize))
		require.Error(t, err)
		require.Zero(t, server.Stats().Bringing)
		require.EqualValues(t, 1, server.Stats().HandshakeErrors)

		silent := newMemory()
		defer silent.Close()
		client := newClient(t, nil, ClientConfig{Dial: silent.Dial, HandshakeTimeout: 3 * time.Second, MinInterval: time.Hour, MaxInterval: time.Hour, BackoffMax: time.Hour})
		time.Sleep(3*time.Second - time.Millisecond)
		synctest.Wait()
		require.Zero(t, client.Stats().HandshakeErrors)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 1, client.Stats().HandshakeErrors)
		_, err = (<-silent.queue).Read(make([]byte, 1))
		require.Error(t, err, "the client has closed it")
	})
}

// broke is a listener on a machine that has run out of descriptors.
type broke struct {
	*memory
	tries atomic.Int64
	rich  atomic.Bool
}

func (b *broke) Accept() (net.Conn, error) {
	b.tries.Add(1)
	if !b.rich.Load() {
		return nil, syscall.EMFILE
	}
	return b.memory.Accept()
}

func TestFailedAcceptsAreRepeatedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &broke{memory: newMemory()}
		server := newServer(t, ServerConfig{Listener: ln})
		time.Sleep(time.Minute)
		tries := ln.tries.Load()
		assert.Greater(t, tries, int64(20))
		assert.Less(t, tries, int64(500), "half a second on average")
		_, _, err := server.ServerGet(lookOnly())
		require.ErrorIs(t, err, syscall.EMFILE)
		ln.rich.Store(true)
		client := newClient(t, nil, ClientConfig{Dial: ln.Dial})
		_, _, err = server.ServerGet(bg)
		require.NoError(t, err)
		require.True(t, client.Ready())
		assert.LessOrEqual(t, server.Stats().AcceptErrors, uint64(ln.tries.Load()))
	})
}

func TestCloseGivesUpOnADialThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, near := make(chan struct{}), make(chan net.Conn, 1)
		p, err := NewClientPool(ClientConfig{Dial: func(context.Context, string) (net.Conn, error) {
			<-release
			a, b := net.Pipe()
			near <- b
			return a, nil
		}})
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		require.ErrorContains(t, p.Close(), "Dial")
		require.Equal(t, closeMax, time.Since(start))
		close(release)
		require.NoError(t, p.Close(), "now it has ended")
		_, err = (<-near).Read(make([]byte, 1))
		require.Error(t, err, "what came late was closed")
	})
}

func TestManagersWaitForClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(t, ServerConfig{}, ClientConfig{})
		var ended atomic.Int64
		for range 2 {
			go func() { client.ClientManager(); ended.Add(1) }()
			go func() { server.ServerManager(); ended.Add(1) }()
		}
		_, _, err := server.ServerGet(bg)
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, ended.Load())
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		synctest.Wait()
		require.EqualValues(t, 4, ended.Load())
		server.ServerManager()
		client.ClientManager()
	})
}
