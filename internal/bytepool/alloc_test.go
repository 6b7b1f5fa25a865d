//go:build !race && !invariant

package bytepool

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// learned is how many returns it takes until a pool of bytebufferpool drops what is
// larger than what came back most.
const learned = 42_000

// A pool that learns one size from what comes back drops each larger buffer once
// small ones have come back often enough. Each class has a pool of its own, so the
// large ones stay, also when their borrower lets them grow.
func TestAllocNothingForLargeBuffersAmongManySmallOnes(t *testing.T) {
	small := make([]byte, 70)
	for range 3 * learned {
		b := Get(16)
		b.B = append(b.B, small...)
		Put(b)
	}
	large := make([]byte, 60<<10)
	allocs := testing.AllocsPerRun(1000, func() {
		b := Get(len(large) / 2)
		b.B = append(append(b.B, large[:len(large)/2]...), large[len(large)/2:]...)
		Put(b)
		b = Get(16)
		b.B = append(b.B, small...)
		Put(b)
	})
	require.Less(t, allocs, 0.1)
}

// Each class has learned the size that it lends when borrowers begin to let their
// buffers grow. Their buffers go to the class above, where they are found again.
func TestAllocNothingForBuffersThatGrewIntoTheNextClass(t *testing.T) {
	for c := minClass; c < maxClass; c++ {
		for range 2 * learned {
			Put(Get(1 << c))
		}
		require.Less(t, testing.AllocsPerRun(1000, func() {
			one, two := Get(1<<c), Get(1<<c)
			for _, b := range []*Buffer{one, two} {
				if cap(b.B) == 1<<c {
					b.B = append(b.B[:1<<c], 0)
				}
				Put(b)
			}
		}), 0.1, "%d bytes", 1<<c)
	}
}

// The garbage collector takes what lay unused for two of its cycles. What is in use
// all the time has to be made again now and then, which is far from every time.
func TestAllocLittleWhileTheCollectorRuns(t *testing.T) {
	const runs, cycles = 10_000, 20
	n := 0
	allocs := testing.AllocsPerRun(runs, func() {
		b := Get(1000)
		b.B = append(b.B, "something"...)
		Put(b)
		if n++; n%(runs/cycles) == 0 {
			runtime.GC()
		}
	})
	require.Less(t, allocs, 0.1)
}

func BenchmarkGetPut(b *testing.B) {
	for name, n := range map[string]int{"size=64": 64, "size=60KiB": 60 << 10} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					Put(Get(n))
				}
			})
		})
	}
}
