package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/pool"
)

// never is a pause that no test outlives. A real one is anywhere between 0 and its
// bound, so that of an hour ends within a minute once in sixty times.
const never = 1_000_000 * time.Hour

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	bg         = context.Background()
	errRefused = errors.New("refused")
)

// item is something to be pooled that knows what happened to it.
type item struct {
	id     int
	src    *source
	closed atomic.Int32
}

func (i *item) Close() error {
	if i.closed.Add(1) == 1 {
		i.src.live.Add(-1)
	}
	return nil
}

// source opens items, and counts.
type source struct {
	dials, live, most atomic.Int64
	ping              func(ctx context.Context, i *item) error

	mu sync.Mutex
	// dial, if set, decides each outcome; n counts from 1.
	dial func(ctx context.Context, n int64) error
	all  []*item
}

// dialBy changes dial while a pool uses the source.
func (s *source) dialBy(dial func(context.Context, int64) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dial = dial
}

func (s *source) open(ctx context.Context) (*item, error) {
	n := s.dials.Add(1)
	s.mu.Lock()
	dial := s.dial
	s.mu.Unlock()
	if dial != nil {
		if err := dial(ctx, n); err != nil {
			return nil, err
		}
	}
	for live := s.live.Add(1); ; {
		most := s.most.Load()
		if live <= most || s.most.CompareAndSwap(most, live) {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &item{id: len(s.all), src: s}
	s.all = append(s.all, i)
	return i, nil
}

// always makes every dial fail with err.
func always(err error) func(context.Context, int64) error {
	return func(context.Context, int64) error { return err }
}

// hang makes every dial last until its context ends.
func hang(ctx context.Context, _ int64) error {
	<-ctx.Done()
	return ctx.Err()
}

// newPool makes a pool that must be closed, with nothing left, when the test ends.
func newPool(t *testing.T, s *source, cfg pool.Config) *pool.Of[*item] {
	t.Helper()
	p, err := pool.NewOf(pool.Source[*item]{Open: s.open, Ping: s.ping}, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { closePool(t, p, s) })
	return p
}

func newConnPool(t *testing.T, cfg pool.Config) *pool.Pool {
	t.Helper()
	p, err := pool.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	return p
}

// closePool closes p and checks what must hold then. Inside a bubble it must be
// called there.
func closePool(t *testing.T, p *pool.Of[*item], s *source) {
	t.Helper()
	require.NoError(t, p.Close())
	st := p.Stats()
	conserved(t, st)
	assert.Zero(t, st.Idle+st.InUse+st.Opening+st.Closing+st.Waiting, "%+v", st)
	assert.Zero(t, s.live.Load(), "open items")
	assert.LessOrEqual(t, s.most.Load(), int64(p.Cap()))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.all {
		assert.EqualValues(t, 1, i.closed.Load(), "closings of item %d", i.id)
	}
}

func conserved(t *testing.T, st pool.Stats) {
	t.Helper()
	require.Equal(t, st.Opened, st.Closed()+uint64(st.Idle+st.InUse), "%+v", st)
}

// bubble runs f on fake time, with a pool.
func bubble(t *testing.T, s *source, cfg pool.Config, f func(t *testing.T, p *pool.Of[*item])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, err := pool.NewOf(pool.Source[*item]{Open: s.open, Ping: s.ping}, cfg)
		require.NoError(t, err)
		f(t, p)
		closePool(t, p, s)
	})
}

func get(t *testing.T, p *pool.Of[*item]) *item {
	t.Helper()
	i, err := p.GetContext(bg)
	require.NoError(t, err)
	require.Zero(t, i.closed.Load(), "a closed item was handed out")
	return i
}

func getN(t *testing.T, p *pool.Of[*item], n int) (all []*item) {
	t.Helper()
	for range n {
		all = append(all, get(t, p))
	}
	return all
}

func put(t *testing.T, p *pool.Of[*item], all ...*item) {
	t.Helper()
	for _, i := range all {
		require.NoError(t, p.Put(i))
	}
}

// outcome is what a Get on its own goroutine returned.
type outcome struct {
	item *item
	err  error
}

// goGet starts a Get that could be cancelled and, inside a bubble, returns when it
// waits.
func goGet(ctx context.Context, p *pool.Of[*item]) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		i, err := p.GetContext(ctx)
		done <- outcome{i, err}
	}()
	synctest.Wait()
	return done
}

// pending reports whether a Get still waits.
func pending(done <-chan outcome) bool {
	synctest.Wait()
	return len(done) == 0
}
