package queues

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// capacity is that of the engine's queue, rounded up.
	capacity = 1024
	// popBatch is how many values the consumer takes at most at once, as the
	// engine's flusher does.
	popBatch = 256
)

// A value is the number of its producer, and which of its values it is. A
// producer's last one has every bit of the second set.
const (
	turnBits = 48
	lastTurn = 1<<turnBits - 1
)

// transfer runs producers until it is told to stop and takes what they push.
type transfer struct {
	q         queue
	producers int
	stop      atomic.Bool
	running   sync.WaitGroup

	next    []uint64 // the turn expected from each producer
	batch   []uint64
	left    []uint64 // of batch, not yet taken
	batches int
	ended   int // producers whose last value was taken
	err     error
}

func startTransfer(q queue, producers int) *transfer {
	t := &transfer{q: q, producers: producers, next: make([]uint64, producers), batch: make([]uint64, popBatch)}
	for p := range producers {
		t.running.Go(func() {
			push := q.producer()
			turn := uint64(p) << turnBits
			for ; !t.stop.Load(); turn++ {
				push(turn)
			}
			push(uint64(p)<<turnBits | lastTurn)
		})
	}
	return t
}

// take takes one value and looks whether it is its producer's next.
func (t *transfer) take() {
	if len(t.left) == 0 {
		t.left = t.batch[:t.q.popInto(t.batch)]
		t.batches++
	}
	p, turn := t.left[0]>>turnBits, t.left[0]&lastTurn
	t.left = t.left[1:]
	switch {
	case p >= uint64(t.producers):
		t.err = fmt.Errorf("a value of producer %d, of %d", p, t.producers)
	case turn == lastTurn:
		t.ended++
	case turn != t.next[p]:
		t.err = fmt.Errorf("producer %d: value %d where %d was next", p, turn, t.next[p])
	default:
		t.next[p]++
	}
}

// end stops the producers and takes the rest. It returns the first disorder.
func (t *transfer) end() error {
	t.stop.Store(true)
	for t.ended < t.producers && t.err == nil {
		t.take()
	}
	if t.err == nil {
		t.running.Wait()
	}
	return t.err
}

// BenchmarkRing is one value from a producer to the consumer, while all of them
// go as fast as they can. values/pop is how many the consumer found at once.
func BenchmarkRing(b *testing.B) {
	for _, k := range kinds() {
		for _, producers := range []int{1, 2, 4, 8} {
			if producers > k.producersMax {
				continue
			}
			b.Run(fmt.Sprintf("kind=%s/producers=%d", k.name, producers), func(b *testing.B) {
				t := startTransfer(k.make(capacity), producers)
				b.ReportAllocs()
				for b.Loop() {
					t.take()
				}
				b.ReportMetric(float64(b.N)/float64(max(t.batches, 1)), "values/pop")
				if err := t.end(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkRingAlone is a push and a pop by one goroutine: the price without
// anybody else.
func BenchmarkRingAlone(b *testing.B) {
	for _, k := range kinds() {
		if k.name == "xsync-umpsc" {
			continue // its bound is the other side's progress, which is measured above
		}
		b.Run("kind="+k.name, func(b *testing.B) {
			q := k.make(capacity)
			push, one := q.producer(), make([]uint64, 1)
			b.ReportAllocs()
			for b.Loop() {
				push(1)
				q.popInto(one)
			}
		})
	}
}

func TestEveryKindKeepsEachProducersOrderAndLosesNothing(t *testing.T) {
	for _, k := range kinds() {
		for _, size := range []int{128, capacity} {
			for _, producers := range []int{1, 3, 8} {
				if producers > k.producersMax {
					continue
				}
				t.Run(fmt.Sprintf("kind=%s/cap=%d/producers=%d", k.name, size, producers), func(t *testing.T) {
					tr := startTransfer(k.make(size), producers)
					for range 10_000 {
						tr.take()
					}
					require.NoError(t, tr.end())
				})
			}
		}
	}
}
