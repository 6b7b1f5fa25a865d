package paired

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger counts the connections that a pool was given and those that were closed,
// below the pool.
type ledger struct{ opened, closed atomic.Int64 }

// booked is a connection in a ledger.
type booked struct {
	net.Conn
	ledger *ledger
	once   sync.Once
}

func (l *ledger) book(nc net.Conn) net.Conn {
	l.opened.Add(1)
	return &booked{Conn: nc, ledger: l}
}

func (b *booked) Close() error {
	b.once.Do(func() { b.ledger.closed.Add(1) })
	return b.Conn.Close()
}

type bookedListener struct {
	net.Listener
	ledger *ledger
}

func (b bookedListener) Accept() (net.Conn, error) {
	nc, err := b.Listener.Accept()
	if err == nil {
		nc = b.ledger.book(nc)
	}
	return nc, err
}

// holders knows which connections are held at one end.
type holders struct{ m sync.Map }

// take records that id is held, and reports whether nobody else held it.
func (h *holders) take(id string) bool { _, twice := h.m.LoadOrStore(id, true); return !twice }
func (h *holders) leave(id string)     { h.m.Delete(id) }

// end is one pool of the pair under chaos.
type end struct {
	pool    *Pool
	books   ledger
	holders holders
}

// TestChaos makes random calls at both ends, and checks what must hold: no
// connection has two holders at one end, what one end writes the other reads, and
// every connection is closed in the end.
func TestChaos(t *testing.T) {
	noLeaks(t)
	moves := 25_000 // of some six calls each
	if testing.Short() {
		moves = 5_000
	}
	m := newMemory()
	var s, c end
	s.pool = newServer(t, ServerConfig{
		Listener: bookedListener{m, &s.books}, MaxCapacity: 40, Interval: time.Millisecond, IdleTimeout: 50 * time.Millisecond,
	})
	c.pool = newClient(t, s.pool, ClientConfig{
		MinCapacity: 30, MaxCapacity: 60, MinInterval: time.Millisecond, MaxInterval: 2 * time.Millisecond, BackoffMax: 4 * time.Millisecond,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if rand.IntN(20) == 0 {
				return nil, errors.New("chaos")
			}
			nc, err := m.Dial(ctx, addr)
			if err != nil {
				return nil, err
			}
			return c.books.book(nc), nil
		},
	})
	var wg sync.WaitGroup
	var left, pairs atomic.Int64
	left.Store(int64(moves))
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				chaoticMove(t, &s, &c, &pairs)
			}
		})
	}
	wg.Wait()
	for _, e := range []*end{&s, &c} {
		got := e.pool.Stats()
		assert.Zero(t, got.InUse)
		assert.Zero(t, got.Waiting)
		assert.Equal(t, got.Active, got.Idle)
		assert.NotZero(t, got.Puts)
	}
	assert.LessOrEqual(t, s.pool.Active(), 40)
	assert.Positive(t, pairs.Load(), "both halves met")
	require.NoError(t, s.pool.Close())
	require.NoError(t, c.pool.Close())
	close(m.queue)
	for nc := range m.queue { // dialled, and accepted by nobody
		nc.Close()
	}
	for _, e := range []*end{&s, &c} {
		assert.Equal(t, e.books.opened.Load(), e.books.closed.Load(), "each connection is closed")
		// The counts of errors are compared here, where no dial can change one in between.
		got := e.pool.Stats()
		causes := got.DialErrors + got.HandshakeErrors + got.IPRejects + got.Rejected + got.AcceptErrors
		assert.Equal(t, causes, e.pool.ErrorCount())
		assert.Zero(t, e.pool.Active())
		assert.Empty(t, e.pool.shelf.byID)
	}
	t.Logf("%d pairs; server %+v; client %+v", pairs.Load(), s.pool.Stats(), c.pool.Stats())
}

func chaoticMove(t *testing.T, s, c *end, pairs *atomic.Int64) {
	near, far := s, c
	if rand.IntN(2) == 0 {
		near, far = c, s
	}
	switch rand.IntN(100) {
	case 0:
		near.pool.Clean()
		return
	case 1:
		if rand.IntN(20) == 0 {
			near.pool.Flush()
		}
		return
	case 2:
		_, err := near.pool.ClientGet(lookOnly(), randomID().String())
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("got %v", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(bg, time.Duration(rand.IntN(3))*time.Millisecond)
	defer cancel()
	id, a, err := near.pool.ServerGet(ctx)
	if err != nil {
		return
	}
	if !near.holders.take(id) {
		t.Errorf("%s was handed out twice", id)
	}
	if rand.IntN(4) > 0 {
		b, err := far.pool.ClientGet(ctx, id)
		if err == nil {
			if !far.holders.take(id) {
				t.Errorf("%s was handed out twice", id)
			}
			if exchange(t, a, b, id) {
				pairs.Add(1)
			}
			giveBack(far, id, b)
		}
	}
	giveBack(near, id, a)
}

// exchange sends the ID through the pair. It fails only by the connection's end.
func exchange(t *testing.T, a, b net.Conn, id string) bool {
	go a.Write([]byte(id))
	got := make([]byte, len(id))
	_, err := io.ReadFull(b, got)
	if err == nil && string(got) != id {
		t.Errorf("%s got what was meant for %s", id, got)
	}
	return err == nil
}

// giveBack ends the use of a connection in one of the ways there are.
func giveBack(e *end, id string, nc net.Conn) {
	e.holders.leave(id) // first: Put may hand it out at once
	switch rand.IntN(6) {
	case 0:
		nc.Close()
	case 1:
		_ = e.pool.Put(id, nc)
		_ = e.pool.Put(id, nc)
		nc.Close()
	default:
		_ = e.pool.Put(id, nc)
	}
}

func TestCloseDuringEverything(t *testing.T) {
	noLeaks(t)
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	cert := anyCertificate(t)
	for i := range rounds {
		config, mode := (*tls.Config)(nil), TLSNone
		if i%2 == 0 {
			config, mode = &tls.Config{Certificates: []tls.Certificate{cert}}, TLSSelfSigned
		}
		server := newServer(t, ServerConfig{TLS: config})
		client := newClient(t, server, ClientConfig{MinCapacity: 3, MaxCapacity: 8, MinInterval: time.Millisecond, TLSMode: mode})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { useUntilClosed(t, server, client) })
			wg.Go(func() { useUntilClosed(t, client, server) })
		}
		wg.Go(func() {
			if _, err := client.ClientGet(bg, "0123456789abcdef"); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
		})
		first, second := server, client
		if rand.IntN(2) == 0 {
			first, second = client, server
		}
		pause := time.NewTimer(time.Duration(rand.IntN(10)) * time.Millisecond)
		<-pause.C // any moment will do: nothing is waited for
		wg.Go(func() { assert.NoError(t, first.Close()) })
		wg.Go(func() { assert.NoError(t, first.Close()) })
		wg.Go(func() { assert.NoError(t, second.Close()) })
		wg.Wait()
		for _, p := range []*Pool{server, client} {
			got := p.Stats()
			assert.Zero(t, got.Active+got.Idle+got.InUse+got.Bringing+got.Waiting)
			assert.NotNil(t, p.ctx.Err())
		}
		_, err := server.server.listener.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
	}
}

func useUntilClosed(t *testing.T, near, far *Pool) {
	for {
		id, a, err := near.ServerGet(bg)
		if err != nil {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(bg, time.Millisecond)
		b, err := far.ClientGet(ctx, id)
		cancel()
		if err == nil {
			go a.Write([]byte("x"))
			b.Read(make([]byte, 1))
			_ = far.Put(id, b)
		}
		_ = near.Put(id, a)
	}
}
