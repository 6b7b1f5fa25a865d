package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/balance"

	"github.com/ringwire/ringwire/framing"
)

// Batches of one size come one after another, as from a loop: each connection must get its
// share of them, and not of the sum only when their size is a lucky one.
func TestBatchesAreSharedBetweenConnections(t *testing.T) {
	const batches = 30
	for _, conns := range []int{2, 3} {
		for _, n := range []int{1, 2, 3, 7, 50, 64, 65, 100, 129, 500} {
			t.Run(fmt.Sprintf("conns=%d/batch=%d", conns, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got := make([]atomic.Int64, conns)
					cfg := Config{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						return pipeDial(farEnd(framing.Format{}, func(p *far, f framing.Frame) {
							got[addr[len(addr)-1]-'0'].Add(1)
							farEcho(p, f)
						}))(ctx, network, addr)
					}}
					for i := range conns {
						cfg.Addrs = append(cfg.Addrs, fmt.Sprintf("pipe:%d", i))
					}
					b := bubbleBroker(t, cfg)
					synctest.Wait()
					for range batches {
						require.NoError(t, b.SendBatch(bg, make([][]byte, n), func(int, []byte, error) {}))
					}
					requireShared(t, got, batches*n)
				})
			})
		}
	}
}

// requireShared checks that each has got about as much as the others.
func requireShared(t *testing.T, got []atomic.Int64, total int) {
	t.Helper()
	share := float64(total) / float64(len(got))
	for i := range got {
		require.InDelta(t, share, got[i].Load(), share/10, "connection %d", i)
	}
}

// Frames that do not fit a chunk of the outbox go one by one.
func TestBatchesOfLargeRequestsAreSharedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make([]atomic.Int64, 2)
		b := bubbleBroker(t, Config{
			Addrs: []string{"pipe:0", "pipe:1"}, Framing: wide,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return pipeDial(farEnd(wide, func(p *far, f framing.Frame) {
					got[addr[len(addr)-1]-'0'].Add(1)
					p.reply(f.ID, nil)
				}))(ctx, network, addr)
			},
		})
		synctest.Wait()
		reqs := make([][]byte, 6)
		for i := range reqs {
			reqs[i] = make([]byte, 100<<10)
		}
		for range 20 {
			require.NoError(t, b.SendBatch(bg, reqs, func(int, []byte, error) {}))
			require.Equal(t, got[0].Load(), got[1].Load())
		}
	})
}

// A batch is shared as its requests would be one by one: exactly, in each round of turns, and
// whatever the size of the batches.
func TestWeightsAreExactForBatches(t *testing.T) {
	for _, weights := range [][]int{{1, 2, 3}, {2, 1, 1}, {7, 1, 2}} {
		for _, n := range []int{1, 2, 3, 50, 150} {
			for _, conns := range []int{1, 2} {
				t.Run(fmt.Sprintf("weights=%v/batch=%d/conns=%d", weights, n, conns), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b, names, s := together(t, Config{Balance: balance.WeightedRound, ConnsPerAddr: conns})
						round := 0
						for i, name := range names {
							require.NoError(t, b.SetWeight(name, weights[i]))
							round += weights[i]
						}
						for range 2 { // as many batches as make whole rounds
							for range round {
								require.NoError(t, b.SendBatch(bg, make([][]byte, n), func(int, []byte, error) {}))
							}
							for i, got := range s.counts(names) {
								require.Equal(t, n*weights[i], got, names[i])
							}
						}
					})
				})
			}
		}
	}
}

// By load a server is chosen for a run, so a batch may miss each server's part by about one; by
// two choices, which are at random, by some: three are one in a thousand.
func TestABatchByLoadMissesNoPartByMoreThanARun(t *testing.T) {
	for strategy, runs := range map[balance.Strategy]int{balance.LeastConn: 1, balance.TwoChoices: 6} {
		t.Run(string(strategy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// None has its queue full, or the others get what it refuses.
				b, names, s := together(t, Config{Balance: strategy, SilenceTimeout: -1, ReadTimeout: -1, QueueSize: 8192})
				for _, name := range names {
					s[name].behave(swallows)
				}
				const n = 3000
				done := make(chan error, 1)
				go func() { done <- b.SendBatch(bg, make([][]byte, n), func(int, []byte, error) {}) }()
				synctest.Wait()
				for i, got := range s.counts(names) {
					require.InDelta(t, n*(i+1)/6, got, float64(runs*runMax), names[i])
				}
				for _, name := range names {
					s[name].relent()
				}
				require.NoError(t, <-done)
			})
		})
	}
}

// The parts of servers that take nothing go to the others.
func TestAPartThatIsNotTakenGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, names, s := together(t, Config{Balance: balance.WeightedRound, SilenceTimeout: -1, ReadTimeout: -1, MaxInFlight: 200})
		s["three:1"].behave(swallows)
		done := make(chan error, 1)
		go func() { done <- b.SendBatch(bg, make([][]byte, 3000), func(int, []byte, error) {}) }()
		synctest.Wait()
		got := s.counts(names)
		require.Equal(t, 200, got[2])
		require.Equal(t, 2800, got[0]+got[1])
		s["three:1"].relent()
		require.NoError(t, <-done)
	})
}
