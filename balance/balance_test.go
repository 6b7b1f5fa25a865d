package balance_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/balance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend is what the tests balance.
type backend struct {
	id   int
	load balance.Load
}

// rig is a balancer over backends.
type rig struct {
	t        testing.TB
	b        *balance.Balancer[*backend]
	backends []*backend
	members  []balance.Member[*backend]
}

func newRig(t testing.TB, strategy balance.Strategy, weights ...int) *rig {
	b, err := balance.New[*backend](strategy)
	require.NoError(t, err)
	r := &rig{t: t, b: b}
	for id, weight := range weights {
		r.add(id, weight)
	}
	r.replace()
	return r
}

func (r *rig) add(id, weight int) {
	be := &backend{id: id}
	r.backends = append(r.backends, be)
	r.members = append(r.members, balance.Member[*backend]{
		Name: fmt.Sprintf("10.0.0.%d:9000", id), Server: be, Weight: weight, Load: &be.load,
	})
}

func (r *rig) replace() { require.NoError(r.t, r.b.Replace(r.members)) }

// picks picks n times, each with another key, and counts how often each member was
// picked.
func (r *rig) picks(n int, skip func(*backend) bool) map[int]int {
	counts := make(map[int]int)
	for i := range n {
		be, err := r.b.Pick(balance.KeyOf(fmt.Sprint("client ", i)), skip)
		require.NoError(r.t, err)
		counts[be.id]++
	}
	return counts
}

// places says where each of n keys goes.
func (r *rig) places(n int) []int {
	at := make([]int, n)
	for i := range at {
		be, err := r.b.Pick(balance.KeyOf(fmt.Sprint("client ", i)), nil)
		require.NoError(r.t, err)
		at[i] = be.id
	}
	return at
}

// table says of each strategy how exactly it shares n requests.
var table = []struct {
	strategy balance.Strategy
	weighs   bool
	exact    bool // by turns; else by chance
}{
	{balance.RoundRobin, false, true},
	{balance.LeastConn, true, true},
	{balance.TwoChoices, true, false},
	{balance.WeightedRound, true, true},
	{balance.Random, false, false},
	{balance.IPHash, true, false},
}

func TestTableHasAllStrategies(t *testing.T) {
	require.Len(t, table, len(balance.Strategies()))
	for i, s := range balance.Strategies() {
		require.Equal(t, s, table[i].strategy)
	}
}

// near checks counts against shares of n. By chance they may be six deviations apart, which
// one run in 500 million is.
func near(t *testing.T, exact bool, n int, shares map[int]float64, counts map[int]int) {
	t.Helper()
	total := 0.0
	for _, share := range shares {
		total += share
	}
	for id, share := range shares {
		p := share / total
		apart := 1.0
		if !exact {
			apart = 6 * math.Sqrt(float64(n)*p*(1-p))
		}
		assert.InDelta(t, float64(n)*p, float64(counts[id]), apart, "backend %d of %v", id, counts)
	}
}

func TestSharesAreFair(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			const n = 6000
			r := newRig(t, c.strategy, 0, 0, 0)
			near(t, c.exact, n, map[int]float64{0: 1, 1: 1, 2: 1}, r.picks(n, nil))

			weighted := map[int]float64{0: 1, 1: 1, 2: 1}
			if c.weighs {
				weighted = map[int]float64{0: 3, 1: 1, 2: 2}
			}
			r = newRig(t, c.strategy, 3, 1, 2)
			near(t, c.exact, n, weighted, r.picks(n, nil))
		})
	}
}

func TestWeightsAreExactInEachWindow(t *testing.T) {
	for _, weights := range [][]int{{3, 1}, {5, 1, 1}, {1, 1, 1}, {7, 3, 2, 9}, {2, 4, 6}, {100, 1}, {10_000, 5_000}} {
		t.Run(fmt.Sprint(weights), func(t *testing.T) {
			divisor, sum := 0, 0
			for _, w := range weights {
				sum += w
				for a := w; a != 0; {
					divisor, a = a, divisor%a
				}
			}
			round := sum / divisor
			r := newRig(t, balance.WeightedRound, weights...)
			seen := make([]int, 3*round)
			for i := range seen {
				be, err := r.b.Pick(0, nil)
				require.NoError(t, err)
				seen[i] = be.id
			}
			counts := make([]int, len(weights))
			for i, id := range seen {
				counts[id]++
				if i >= round {
					counts[seen[i-round]]--
				}
				if i < round-1 {
					continue
				}
				for id, w := range weights {
					require.Equal(t, w/divisor, counts[id], "backend %d in the window that ends with pick %d", id, i)
				}
			}
		})
	}
}

func TestWeightedTurnsAreSpread(t *testing.T) {
	// No stretch gives a server two turns more or fewer than its part of it.
	for range 50 {
		weights := make([]int, 2+rand.IntN(6))
		sum := 0
		for i := range weights {
			weights[i] = 1 + rand.IntN(20)
			sum += weights[i]
		}
		r := newRig(t, balance.WeightedRound, weights...)
		counts := make([]int, len(weights))
		for n := 1; n <= 2*sum; n++ {
			be, err := r.b.Pick(0, nil)
			require.NoError(t, err)
			counts[be.id]++
			for id, w := range weights {
				part := float64(n*w) / float64(sum)
				require.InDelta(t, part, float64(counts[id]), 2, "weights %v, backend %d of %d picks", weights, id, n)
			}
		}
	}
}

func TestWhatIsDownIsLeftOut(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy, 1, 1, 1, 1)
			r.members[1].Down = true
			r.replace()
			require.Equal(t, 3, r.b.Len())
			near(t, c.exact, 3000, map[int]float64{0: 1, 1: 0, 2: 1, 3: 1}, r.picks(3000, nil))
			r.members[1].Down = false
			r.replace()
			near(t, c.exact, 4000, map[int]float64{0: 1, 1: 1, 2: 1, 3: 1}, r.picks(4000, nil))
		})
	}
}

func TestWhatIsSkippedIsSharedByTheRest(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy, 1, 1, 1, 1)
			counts := r.picks(3000, func(be *backend) bool { return be.id == 2 })
			assert.Zero(t, counts[2])
			if c.strategy == balance.LeastConn {
				return // whose turn it is, is skipped: the next one has two of four turns
			}
			near(t, c.exact, 3000, map[int]float64{0: 1, 1: 1, 3: 1}, counts)

			counts = r.picks(100, func(be *backend) bool { return be.id != 3 })
			assert.Equal(t, map[int]int{3: 100}, counts)
		})
	}
}

func TestNoneIsLeft(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy)
			_, err := r.b.Pick(1, nil)
			require.ErrorIs(t, err, balance.ErrNoPoolsAvailable, "no server")

			for n := 1; n <= 3; n++ {
				r.add(n, n)
				r.replace()
				_, err = r.b.Pick(1, func(*backend) bool { return true })
				require.ErrorIs(t, err, balance.ErrNoPoolsAvailable, "all of %d skipped", n)
				_, err = r.b.Pick(1, nil)
				require.NoError(t, err)
			}
			for i := range r.members {
				r.members[i].Down = true
			}
			r.replace()
			_, err = r.b.Pick(1, nil)
			require.ErrorIs(t, err, balance.ErrNoPoolsAvailable, "all down")
			require.Zero(t, r.b.Len())
		})
	}
}

func TestShareIsTakenByEachStrategy(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			const n = 7000
			r := newRig(t, c.strategy, 1, 1, 1)
			r.members[0].Share = 10
			r.replace()
			counts := r.picks(n, nil)
			if c.strategy == balance.TwoChoices {
				assert.Less(t, counts[0], n/6)
				assert.Positive(t, counts[0])
				return
			}
			near(t, c.exact, n, map[int]float64{0: 0.1, 1: 1, 2: 1}, counts)
		})
	}
}

func TestServerIsFoundWhileItIsHealthy(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy, 1, 1)
			name := r.members[1].Name
			be, ok := r.b.Find(name)
			require.True(t, ok)
			require.Same(t, r.backends[1], be)
			r.members[1].Down = true
			r.replace()
			be, ok = r.b.Find(name)
			require.False(t, ok)
			require.Nil(t, be)
			r.members[1].Down = false
			r.replace()
			_, ok = r.b.Find(name)
			require.True(t, ok)
			_, ok = r.b.Find("10.0.0.9:9000")
			require.False(t, ok)
		})
	}
}

func TestFewestInFlightForTheirWeightArePicked(t *testing.T) {
	for _, strategy := range []balance.Strategy{balance.LeastConn, balance.TwoChoices} {
		t.Run(string(strategy), func(t *testing.T) {
			r := newRig(t, strategy, 1, 1)
			r.backends[0].load.Begin()
			require.Equal(t, 1, r.backends[0].load.InFlight())
			assert.Equal(t, map[int]int{1: 100}, r.picks(100, nil))
			r.backends[0].load.End()
			r.backends[1].load.Begin()
			assert.Equal(t, map[int]int{0: 100}, r.picks(100, nil))

			// 600 that stay: each takes them by its weight.
			r = newRig(t, strategy, 3, 1, 2)
			for range 600 {
				be, err := r.b.Pick(0, nil)
				require.NoError(t, err)
				be.load.Begin()
			}
			apart := 1.0
			if strategy == balance.TwoChoices {
				apart = 15
			}
			for i, want := range []float64{300, 100, 200} {
				assert.InDelta(t, want, r.backends[i].load.InFlight(), apart, "backend %d", i)
			}
		})
	}
}

func TestPicksOfManyGoroutinesAreFair(t *testing.T) {
	const goroutines, each = 8, 3000
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy, 1, 1, 1)
			var (
				wg     sync.WaitGroup
				mu     sync.Mutex
				counts = make(map[int]int)
			)
			for g := range goroutines {
				wg.Go(func() {
					own := make(map[int]int)
					for i := range each {
						be, err := r.b.Pick(balance.KeyOf(fmt.Sprint(g, "/", i)), nil)
						if err != nil {
							t.Error(err)
							return
						}
						own[be.id]++
						if i%100 == 0 { // a set replaced meanwhile changes nothing
							if err := r.b.Replace(r.members); err != nil {
								t.Error(err)
							}
						}
					}
					mu.Lock()
					defer mu.Unlock()
					for id, n := range own {
						counts[id] += n
					}
				})
			}
			wg.Wait()
			near(t, c.exact, goroutines*each, map[int]float64{0: 1, 1: 1, 2: 1}, counts)
		})
	}
}

func TestOnlyKeysOfAServerThatWentMove(t *testing.T) {
	const keys = 5000
	for _, weights := range [][]int{{1, 1, 1, 1}, {1, 2, 3, 4}} {
		r := newRig(t, balance.IPHash, weights...)
		before := r.places(keys)
		r.members[2].Down = true
		r.replace()
		after := r.places(keys)
		for i := range keys {
			if before[i] != 2 {
				require.Equal(t, before[i], after[i], "key %d", i)
			}
			require.NotEqual(t, 2, after[i])
		}
		// Skipping it for one pick sends a key where it would go without it.
		r.members[2].Down = false
		r.replace()
		for i := range keys {
			be, err := r.b.Pick(balance.KeyOf(fmt.Sprint("client ", i)), func(be *backend) bool { return be.id == 2 })
			require.NoError(t, err)
			require.Equal(t, after[i], be.id)
		}
	}
}

func TestKeysMoveOnlyTowardsAServerThatCame(t *testing.T) {
	const keys = 5000
	r := newRig(t, balance.IPHash, 1, 1, 1)
	before := r.places(keys)
	toward := func(what string, id int) {
		after := r.places(keys)
		moved := 0
		for i := range keys {
			if before[i] != after[i] {
				moved++
				require.Equal(t, id, after[i], "%s: key %d", what, i)
			}
		}
		require.Positive(t, moved, what)
		before = after
	}
	r.add(3, 1)
	r.members[3].Share = 10
	r.replace()
	toward("a tenth of its share", 3)
	r.members[3].Share = 50
	r.replace()
	toward("half of its share", 3)
	r.members[3].Share = 0
	r.replace()
	toward("its share", 3)
	r.members[0].Weight = 3
	r.replace()
	toward("weight", 0)
}

func TestKeysAreTheSameInAllProcesses(t *testing.T) {
	// Values of another implementation of FNV-1a, and what became of them here: a change
	// would send every client elsewhere.
	assert.Zero(t, balance.KeyOf(""))
	assert.Equal(t, uint64(0xaf63dc4c8601ec8c), balance.KeyOf("a"))
	assert.Equal(t, uint64(0x85944171f73967e8), balance.KeyOf([]byte("foobar")))
	r := newRig(t, balance.IPHash, 1, 1, 1, 1)
	assert.Equal(t, []int{2, 0, 3, 3, 2, 3, 0, 1}, r.places(8))
}

func TestManyPicksAreThatManyPicks(t *testing.T) {
	for _, c := range table {
		t.Run(string(c.strategy), func(t *testing.T) {
			r := newRig(t, c.strategy, 3, 1, 2)
			counts := make(map[int]int)
			count := func(be *backend) { counts[be.id]++ }
			const n = 6000
			for _, batch := range []int{1, 5, 0, n - 6} {
				require.NoError(t, r.b.PickMany(0, batch, count))
			}
			weighted := map[int]float64{0: 1, 1: 1, 2: 1}
			if c.weighs {
				weighted = map[int]float64{0: 3, 1: 1, 2: 2}
			}
			near(t, c.exact || c.strategy == balance.IPHash, n, weighted, counts)
			clear(counts)
			require.NoError(t, r.b.PickMany(7, 10, count))
			if c.strategy == balance.IPHash {
				require.Len(t, counts, 1)
			}
			require.NoError(t, r.b.Replace(nil))
			require.ErrorIs(t, r.b.PickMany(7, 10, count), balance.ErrNoPoolsAvailable)
		})
	}
}

func TestKeylessPicksOfIPHashTakeTurns(t *testing.T) {
	r := newRig(t, balance.IPHash, 1, 1)
	counts := make(map[int]int)
	for range 100 {
		be, err := r.b.Pick(0, nil)
		require.NoError(t, err)
		counts[be.id]++
	}
	assert.Equal(t, map[int]int{0: 50, 1: 50}, counts)
}

func TestLongSchedulesAreRounded(t *testing.T) {
	weights := make([]int, 300)
	for i := range weights {
		weights[i] = balance.MaxWeight - i
	}
	weights[0] = 1
	r := newRig(t, balance.WeightedRound, weights...)
	const n = 300 * 300
	counts := r.picks(n, nil)
	assert.Positive(t, counts[0], "the smallest weight still has its turn")
	for id := 1; id < len(weights); id++ {
		require.InEpsilon(t, 300, counts[id], 0.1, "backend %d", id)
	}
}

func TestNonsenseIsRefusedByName(t *testing.T) {
	_, err := balance.New[int]("fastest")
	require.ErrorContains(t, err, `strategy "fastest" is unknown; take one of round_robin, least_conn`)
	b, err := balance.New[int]("")
	require.NoError(t, err)
	require.Equal(t, balance.RoundRobin, b.Strategy())
	for _, s := range balance.Strategies() {
		parsed, err := balance.ParseStrategy(string(s))
		require.NoError(t, err)
		require.Equal(t, s, parsed)
	}

	require.NoError(t, b.Replace([]balance.Member[int]{{Name: "a", Server: 7}}))
	for want, members := range map[string][]balance.Member[int]{
		`Member.Name is empty`:                   {{}},
		`Member.Name "a" is there twice`:         {{Name: "a"}, {Name: "b"}, {Name: "a", Down: true}},
		`Member.Weight of "a" is -1`:             {{Name: "a", Weight: -1}},
		`Member.Weight of "a" is 10001; it must`: {{Name: "a", Weight: balance.MaxWeight + 1}},
		`Member.Share of "a" is 101; it must`:    {{Name: "a", Share: 101}},
		`65537 members; there may be 65536`:      make([]balance.Member[int], balance.MaxMembers+1),
	} {
		require.ErrorContains(t, b.Replace(members), want)
	}
	server, err := b.Pick(0, nil)
	require.NoError(t, err)
	assert.Equal(t, 7, server, "the set before is still there")

	l, err := balance.New[int](balance.LeastConn)
	require.NoError(t, err)
	require.ErrorContains(t, l.Replace([]balance.Member[int]{{Name: "a"}}), `Member.Load of "a" is nil`)
}

func TestALoadMayAskForTheCount(t *testing.T) {
	n := 5
	load := balance.LoadOf(func() int { return n })
	load.Begin()
	assert.Equal(t, 5, load.InFlight())
	n = 7
	assert.Equal(t, 7, load.InFlight())
	for _, strategy := range []balance.Strategy{balance.LeastConn, balance.TwoChoices} {
		b, err := balance.New[string](strategy)
		require.NoError(t, err)
		require.NoError(t, b.Replace([]balance.Member[string]{
			{Name: "busy", Server: "busy", Load: load},
			{Name: "idle", Server: "idle", Load: balance.LoadOf(func() int { return 0 })},
		}))
		for range 20 {
			got, err := b.Pick(0, nil)
			require.NoError(t, err)
			require.Equal(t, "idle", got)
		}
	}
}
