package pools

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// counted is an item whose closings are counted.
type counted struct{ closed *atomic.Int64 }

func (c *counted) Close() error { c.closed.Add(1); return nil }

func TestEveryPeerDoesWhatTheWorkloadSays(t *testing.T) {
	for _, name := range Names {
		for _, w := range Workloads() {
			var opened, closed atomic.Int64
			p, err := NewPeer(name, w.Capacity, func() (Item, error) { opened.Add(1); return &counted{&closed}, nil })
			require.NoError(t, err)
			const cycles = 200
			_, err = w.Run(p, cycles)
			require.NoError(t, err)
			if !w.Drop {
				assert.LessOrEqual(t, opened.Load(), int64(w.Capacity), "%s, %s", name, w)
				assert.Positive(t, opened.Load())
				assert.Zero(t, closed.Load())
			}
			p.Close() // puddle closes items on the side: count afterwards
			require.Equal(t, opened.Load(), closed.Load(), "%s, %s", name, w)
			if w.Drop {
				assert.GreaterOrEqual(t, closed.Load(), int64(cycles), "%s, %s", name, w)
			}
		}
	}
}

func TestEveryPeerReportsAFailedOpen(t *testing.T) {
	refused := errors.New("refused")
	for _, name := range Names {
		p, err := NewPeer(name, 1, func() (Item, error) { return nil, refused })
		require.NoError(t, err)
		_, err = Workload{Goroutines: 1}.Run(p, 1)
		require.ErrorIs(t, err, refused, name)
		p.Close()
	}
}

func BenchmarkPool(b *testing.B) {
	for _, w := range Workloads() {
		for _, name := range Names {
			b.Run(w.String()+"/peer="+name, func(b *testing.B) {
				src, err := NewSource(w.Item, b.TempDir())
				require.NoError(b, err)
				defer src.Close()
				p, err := NewPeer(name, w.Capacity, src.Open)
				require.NoError(b, err)
				defer p.Close()
				b.ReportAllocs()
				b.ResetTimer()
				_, err = w.Run(p, b.N)
				b.StopTimer()
				require.NoError(b, err)
			})
		}
	}
}
