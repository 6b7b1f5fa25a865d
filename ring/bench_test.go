package ring

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// channel is what the rings are compared with.
type channel struct{ c chan uint64 }

func (q channel) TryPush(v uint64) bool {
	select {
	case q.c <- v:
		return true
	default:
		return false
	}
}

func (q channel) TryPop() (v uint64, ok bool) {
	select {
	case v = <-q.c:
		return v, true
	default:
		return 0, false
	}
}

func (q channel) PopInto(dst []uint64) int {
	for i := range dst {
		v, ok := q.TryPop()
		if !ok {
			return i
		}
		dst[i] = v
	}
	return len(dst)
}

func (q channel) Len() int { return len(q.c) }
func (q channel) Cap() int { return cap(q.c) }

// transfer measures one value from a producer to the benchmark's goroutine, which
// drains in batches of at most 256. Both sides yield when there is nothing to do.
func transfer(b *testing.B, q both, producers int) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for !stop.Load() {
				if !q.TryPush(uint64(p)) {
					runtime.Gosched()
				}
			}
		})
	}
	batch := make([]uint64, 256)
	left, batches := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		for left == 0 {
			if left = q.PopInto(batch); left == 0 {
				runtime.Gosched()
				continue
			}
			batches++
		}
		left--
	}
	b.ReportMetric(float64(b.N)/float64(batches), "values/batch")
	stop.Store(true)
	wg.Wait()
}

func BenchmarkSPSC(b *testing.B) {
	for _, capacity := range []int{8, 1024} {
		for _, queue := range []string{"ring", "chan"} {
			b.Run(fmt.Sprintf("cap=%d/queue=%s", capacity, queue), func(b *testing.B) {
				if queue == "chan" {
					transfer(b, channel{make(chan uint64, capacity)}, 1)
					return
				}
				transfer(b, NewSPSC[uint64](capacity), 1)
			})
		}
	}
}

func BenchmarkMPSC(b *testing.B) {
	for _, producers := range []int{1, 4, 64} {
		for _, capacity := range []int{8, 1024} {
			for _, queue := range []string{"ring", "chan"} {
				b.Run(fmt.Sprintf("producers=%d/cap=%d/queue=%s", producers, capacity, queue), func(b *testing.B) {
					if queue == "chan" {
						transfer(b, channel{make(chan uint64, capacity)}, producers)
						return
					}
					transfer(b, NewMPSC[uint64](capacity), producers)
				})
			}
		}
	}
}

// BenchmarkPushPop has one goroutine do both: the cost without contention.
func BenchmarkPushPop(b *testing.B) {
	spsc, mpsc, c := NewSPSC[uint64](1024), NewMPSC[uint64](1024), channel{make(chan uint64, 1024)}
	b.Run("queue=spsc", func(b *testing.B) {
		for b.Loop() {
			spsc.TryPush(1)
			spsc.TryPop()
		}
	})
	b.Run("queue=mpsc", func(b *testing.B) {
		for b.Loop() {
			mpsc.TryPush(1)
			mpsc.TryPop()
		}
	})
	b.Run("queue=chan", func(b *testing.B) {
		for b.Loop() {
			c.TryPush(1)
			c.TryPop()
		}
	})
}

func BenchmarkCounter(b *testing.B) {
	striped := NewCounter()
	var single atomic.Uint64
	b.Run("sum=striped", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				striped.Add(1)
			}
		})
	})
	b.Run("sum=atomic", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				single.Add(1)
			}
		})
	})
}
