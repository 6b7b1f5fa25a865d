package pool_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

const modelConns = 5

// model is a pool as it should be, beside the one under test. Its dials never have
// to back off, so every outcome is certain.
type model struct {
	t   *testing.T
	rng *rand.Rand
	p   *pool.Of[*item]
	src *source

	refusing bool
	idle     []*item // the last is the next to be handed out
	lent     []*item
	doomed   []*item // flushed while they were lent
	back     []*item // returned for good
	waiters  []modelWaiter
	foreign  *item
}

type modelWaiter struct {
	done   <-chan outcome
	cancel context.CancelFunc
}

func TestRandomOperationsAgreeWithAModel(t *testing.T) {
	operations := 1_000_000
	if testing.Short() || raceEnabled {
		operations = 20_000
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	const perPool = 20_000
	for n := 0; n < operations; n += perPool {
		src := &source{}
		cfg := pool.Config{MaxConns: modelConns, MinCapacity: 1, BackoffBase: -1, MaxLifetime: -1, MaxInterval: time.Hour}
		bubble(t, src, cfg, func(t *testing.T, p *pool.Of[*item]) {
			m := &model{t: t, rng: rand.New(rand.NewPCG(seed, uint64(n))), p: p, src: src, foreign: &item{src: &source{}}}
			for range perPool {
				m.step()
				m.check()
			}
			for _, w := range m.waiters {
				w.cancel()
			}
			synctest.Wait()
		})
	}
}

func (m *model) open() int { return len(m.idle) + len(m.lent) }

// take removes a random element.
func take[E any](rng *rand.Rand, from *[]E) (e E) {
	n := rng.IntN(len(*from))
	e = (*from)[n]
	*from = slices.Delete(*from, n, n+1)
	return e
}

func (m *model) step() {
	switch roll := m.rng.IntN(1000); {
	case roll < 400:
		m.get()
	case roll < 700:
		m.put()
	case roll < 850:
		m.release()
	case roll < 920:
		m.cancel()
	case roll < 970:
		m.misuse()
	case roll < 980:
		m.refusing = !m.refusing
		if m.refusing {
			m.src.dialBy(always(errRefused))
		} else {
			m.src.dialBy(nil)
		}
	case roll < 988:
		m.clean()
	case roll < 996:
		m.flush()
	default:
		time.Sleep(pool.DefaultIdleTimeout)
		synctest.Wait()
		m.drop(&m.idle)
	}
}

// drop checks that the pool has closed all of a list.
func (m *model) drop(list *[]*item) {
	for _, i := range *list {
		if i.closed.Load() != 1 {
			m.t.Fatalf("item %d was closed %d times", i.id, i.closed.Load())
		}
	}
	*list = nil
}

func (m *model) get() {
	if top := len(m.idle) - 1; top >= 0 {
		if i, err := m.p.GetContext(bg); err != nil || i != m.idle[top] {
			m.t.Fatalf("got %v, %v instead of item %d", i, err, m.idle[top].id)
		}
		m.lent = append(m.lent, m.idle[top])
		m.idle = m.idle[:top]
		return
	}
	if len(m.waiters) > 20 {
		return
	}
	ctx, cancel := context.WithCancel(bg)
	m.waiters = append(m.waiters, modelWaiter{goGet(ctx, m.p), cancel})
	m.serve()
}

// serve gives those that wait what the free places allow.
func (m *model) serve() {
	synctest.Wait()
	for len(m.waiters) > 0 && m.open() < modelConns {
		w := m.waiters[0]
		m.waiters = m.waiters[1:]
		w.cancel()
		got := m.outcome(w)
		switch {
		case m.refusing && got.err == nil, !m.refusing && got.err != nil:
			m.t.Fatalf("refusing %v, but got %+v", m.refusing, got)
		case m.refusing:
			require.ErrorIs(m.t, got.err, errRefused)
		default:
			m.lent = append(m.lent, got.item)
		}
	}
}

func (m *model) outcome(w modelWaiter) outcome {
	select {
	case got := <-w.done:
		return got
	default:
		m.t.Fatalf("the first of %d still waits: %+v", len(m.waiters)+1, m.p.Stats())
		return outcome{}
	}
}

func (m *model) put() {
	if len(m.doomed) > 0 && m.rng.IntN(2) == 0 {
		i := take(m.rng, &m.doomed)
		require.NoError(m.t, m.p.Put(i))
		m.back = append(m.back, i)
		return
	}
	if len(m.lent) == 0 {
		return
	}
	i := take(m.rng, &m.lent)
	require.NoError(m.t, m.p.Put(i))
	if len(m.waiters) == 0 {
		m.idle = append(m.idle, i)
		return
	}
	synctest.Wait()
	w := m.waiters[0]
	m.waiters = m.waiters[1:]
	w.cancel()
	if got := m.outcome(w); got.item != i {
		m.t.Fatalf("item %d was put back, and the first waiter got %+v", i.id, got)
	}
	m.lent = append(m.lent, i)
}

func (m *model) release() {
	from := &m.lent
	if len(m.doomed) > 0 && m.rng.IntN(2) == 0 {
		from = &m.doomed
	}
	if len(*from) == 0 {
		return
	}
	i := take(m.rng, from)
	require.NoError(m.t, m.p.Release(i))
	m.back = append(m.back[max(0, len(m.back)-20):], i)
	m.drop(&[]*item{i})
	m.serve()
}

func (m *model) cancel() {
	if len(m.waiters) == 0 {
		return
	}
	w := take(m.rng, &m.waiters)
	w.cancel()
	synctest.Wait()
	require.ErrorIs(m.t, m.outcome(w).err, context.Canceled)
}

func (m *model) misuse() {
	give := m.p.Put
	if m.rng.IntN(2) == 0 {
		give = m.p.Release
	}
	require.ErrorIs(m.t, give(m.foreign), pool.ErrForeign)
	for _, i := range m.back {
		require.ErrorIs(m.t, give(i), pool.ErrForeign)
	}
	for _, i := range m.idle {
		require.ErrorIs(m.t, give(i), pool.ErrNotLent)
	}
}

func (m *model) clean() {
	require.Equal(m.t, len(m.idle), m.p.Clean())
	m.drop(&m.idle)
	m.serve()
}

func (m *model) flush() {
	require.Equal(m.t, m.open(), m.p.Flush())
	m.drop(&m.idle)
	m.doomed = append(m.doomed, m.lent...)
	m.drop(&m.lent)
	m.serve()
}

func (m *model) check() {
	synctest.Wait()
	st := m.p.Stats()
	if st.Idle != len(m.idle) || st.InUse != len(m.lent) || st.Waiting != len(m.waiters) ||
		st.Opening != 0 || st.Closing != 0 || m.src.live.Load() != int64(m.open()) ||
		st.Opened != st.Closed()+uint64(m.open()) {
		m.t.Fatalf("idle %d, lent %d, waiting %d, open items %d; but %+v", len(m.idle), len(m.lent), len(m.waiters), m.src.live.Load(), st)
	}
	for _, i := range m.lent {
		if i.closed.Load() != 0 {
			m.t.Fatalf("item %d was closed under its owner", i.id)
		}
	}
}
