package peer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/harness/proc"
)

// Sleepers is the bound for any system whose handlers wait: a goroutine for each caller
// that only sleeps, in this process, and no request at all.
func Sleepers() bench.Target {
	const note = "no requests: a goroutine for each caller only sleeps as long as the handler; the bound for any system"
	measure := func(ctx context.Context, c bench.Case, d time.Duration) (bench.Sample, error) {
		if _, err := sleepers(ctx, c, d/warmUpPart); err != nil {
			return bench.Sample{}, err
		}
		before, err := proc.CPUTime(0)
		sample, failed := sleepers(ctx, c, d)
		if after, errAfter := proc.CPUTime(0); err == nil && errAfter == nil {
			sample.CPU = after - before
		}
		return sample, failed
	}
	return bench.Target{Name: "only sleep", Note: note, APIs: []bench.API{bench.Native}, Measure: measure}
}

// sleepers lets all sleep again and again until d has passed. Each sleeps once at
// least, and the first sleeps are the latencies.
func sleepers(ctx context.Context, c bench.Case, d time.Duration) (bench.Sample, error) {
	slept := make([][]int64, c.Callers)
	counts := make([]uint64, c.Callers)
	start := time.Now()
	var all sync.WaitGroup
	for i := range c.Callers {
		all.Go(func() {
			kept := make([]int64, 0, latencyKept/c.Callers+1)
			var n uint64
			for last := time.Now(); ctx.Err() == nil; n++ {
				time.Sleep(c.Handler)
				now := time.Now()
				if len(kept) < cap(kept) {
					kept = append(kept, int64(now.Sub(last)))
				}
				if last = now; now.Sub(start) >= d {
					n++
					break
				}
			}
			slept[i], counts[i] = kept, n
		})
	}
	all.Wait()
	sample := bench.Sample{Elapsed: time.Since(start), Latencies: slices.Concat(slept...)}
	for _, n := range counts {
		sample.Requests += n
	}
	return sample, ctx.Err()
}
