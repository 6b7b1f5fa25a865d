package engine

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

// Batches of one size come one after another, as from a loop: each connection must get its
// share of them, and not of the sum only when their size is a lucky one.
func TestBatchesAreSharedBetweenConnections(t *testing.T) {
	const batches = 60
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
