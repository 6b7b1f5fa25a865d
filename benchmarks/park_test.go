package benchmarks

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// parking is a way for a goroutine to wait until another has an answer for it.
type parking struct {
	wait func(caller int)
	wake func(caller int)
}

// BenchmarkPark wakes callers in turn, as the reader of a connection does, and lets
// all have run before it begins again: the floor under a blocking call, whatever the
// transport. Run it with -cpu 1 for the cost without a second thread.
func BenchmarkPark(b *testing.B) {
	for _, callers := range []int{16, 64, 256, 1024, 4096} {
		for kind, p := range parkings(callers) {
			b.Run(fmt.Sprintf("kind=%s/callers=%d", kind, callers), func(b *testing.B) {
				benchmarkPark(b, callers, p)
			})
		}
	}
}

func parkings(callers int) map[string]parking {
	channels := make([]chan struct{}, callers)
	mutexes := make([]sync.Mutex, callers)
	groups := make([]sync.WaitGroup, callers)
	for i := range callers {
		channels[i] = make(chan struct{}, 1)
		mutexes[i].Lock()
		groups[i].Add(1)
	}
	return map[string]parking{
		"channel":   {func(i int) { <-channels[i] }, func(i int) { channels[i] <- struct{}{} }},
		"mutex":     {func(i int) { mutexes[i].Lock() }, func(i int) { mutexes[i].Unlock() }},
		"waitgroup": {func(i int) { groups[i].Wait(); groups[i].Add(1) }, func(i int) { groups[i].Done() }},
	}
}

func benchmarkPark(b *testing.B, callers int, p parking) {
	var (
		all  sync.WaitGroup
		ran  atomic.Int64
		stop atomic.Bool
	)
	for i := range callers {
		all.Go(func() {
			for !stop.Load() {
				p.wait(i)
				ran.Add(1)
			}
		})
	}
	woken := int64(0)
	b.ResetTimer()
	for woken < int64(b.N) {
		for i := range callers {
			p.wake(i)
		}
		for woken += int64(callers); ran.Load() < woken; {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(woken), "ns/wake")
	b.ReportMetric(0, "ns/op") // b.N is rounded up to whole turns
	stop.Store(true)
	for i := range callers {
		p.wake(i)
	}
	all.Wait()
}
