package paired

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNextCapacity(t *testing.T) {
	all, none := rate{5, 5}, rate{0, 5}
	for _, c := range []struct {
		name string
		load load
		want int
	}{
		{"nothing known", load{capacity: 5, min: 2, max: 9, wanted: 5}, 5},
		{"success without demand", load{capacity: 5, min: 2, max: 9, dials: all, fresh: true}, 5},
		{"success, four fifths wanted", load{capacity: 5, min: 2, max: 9, wanted: 4, dials: all, fresh: true}, 5},
		{"success, all wanted", load{capacity: 5, min: 2, max: 9, wanted: 5, dials: all, fresh: true}, 6},
		{"old success, all wanted", load{capacity: 5, min: 2, max: 9, wanted: 5, dials: all}, 6},
		{"more wanted", load{capacity: 5, min: 2, max: 9, wanted: 8, dials: all}, 8},
		{"much more wanted", load{capacity: 5, min: 2, max: 9, wanted: 99, dials: all}, 9},
		{"failure", load{capacity: 5, min: 2, max: 9, dials: none, fresh: true}, 4},
		{"failure shrinks once", load{capacity: 5, min: 2, max: 9, dials: none}, 5},
		{"failure at the least", load{capacity: 2, min: 2, max: 9, dials: none, fresh: true, wanted: 9}, 2},
		{"half failed", load{capacity: 5, min: 2, max: 9, dials: rate{1, 2}, fresh: true, wanted: 9}, 5},
		{"at the most", load{capacity: 9, min: 2, max: 9, wanted: 18, dials: all, fresh: true}, 9},
	} {
		assert.Equal(t, c.want, nextCapacity(c.load), c.name)
	}
}

func TestPutAboveAShrunkenCapacityCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := memoryPair(t, ServerConfig{}, ClientConfig{MinCapacity: 1, MaxCapacity: 3})
		first, a, err := client.ServerGet(bg)
		require.NoError(t, err)
		second, b, err := client.ServerGet(bg)
		require.NoError(t, err)
		client.mu.Lock()
		client.capacity = 1
		client.mu.Unlock()
		require.ErrorIs(t, client.Put(first, a), ErrFull)
		require.NoError(t, client.Put(second, b))
		assert.EqualValues(t, 1, client.Stats().Full)
		assert.Equal(t, 1, client.Active())
		time.Sleep(time.Second)
	})
}

func TestMissingAndReversedBoundsGetTheirDefaults(t *testing.T) {
	for _, c := range [][5]int{ // low, high, default, want low, want high
		{0, 0, 7, 7, 7}, {-1, -1, 7, 7, 7}, {3, 0, 7, 3, 3}, {0, 3, 7, 3, 3}, {0, 9, 7, 7, 9}, {2, 5, 7, 2, 5}, {5, 2, 7, 2, 5},
	} {
		low, high := ordered(c[0], c[1], c[2])
		assert.Equal(t, [2]int{c[3], c[4]}, [2]int{low, high}, "%v", c)
	}
	c := ClientConfig{MinCapacity: 20, MaxCapacity: 5, MinInterval: 5 * time.Second, MaxInterval: time.Second, Addr: "h:1"}.withDefaults()
	assert.Equal(t, []int{5, 20}, []int{c.MinCapacity, c.MaxCapacity})
	assert.Equal(t, []time.Duration{time.Second, 5 * time.Second}, []time.Duration{c.MinInterval, c.MaxInterval})
	assert.Equal(t, []time.Duration{10 * time.Second, 5 * time.Second, 5 * time.Second, 60 * time.Second, 30 * time.Second},
		[]time.Duration{c.BackoffMax, c.DialTimeout, c.HandshakeTimeout, c.IdleTimeout, c.KeepAlive})
	s := ServerConfig{}.withDefaults()
	assert.Equal(t, []int{1, 1000, 256}, []int{s.MinCapacity, s.MaxCapacity, s.MaxHandshakes})
	s = ServerConfig{MinCapacity: 9, MaxCapacity: 5}.withDefaults()
	assert.Equal(t, []int{5, 9}, []int{s.MinCapacity, s.MaxCapacity})
	s = ServerConfig{MinCapacity: 2000}.withDefaults()
	assert.Equal(t, []int{2000, 2000}, []int{s.MinCapacity, s.MaxCapacity})
}
