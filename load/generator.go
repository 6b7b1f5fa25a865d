package load

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// Generator is what the generator itself took, which tells whether a figure is the
// backend's or its own.
type Generator struct {
	// CPU is the part of GOMAXPROCS processors that it used, 0 to 1; negative: unknown.
	CPU float64 `json:"cpu"`
	// Stolen is the part of the time in which the machine's host had its processors do
	// something else, 0 to 1; negative: unknown.
	Stolen float64 `json:"stolen"`
	// SchedP99 is the 99th percentile of the time that goroutines waited for a processor.
	SchedP99 time.Duration `json:"sched_p99_ns"`
	// PauseMax is the longest pause of the garbage collector, at most.
	PauseMax time.Duration `json:"gc_pause_max_ns"`
}

var generatorMetrics = []string{"/sched/latencies:seconds", "/sched/pauses/total/gc:seconds"}

// watchUse begins to measure and returns what ends that.
func watchUse() func() Generator {
	began, cpu, stolen := time.Now(), cpuTime(), stolenTime()
	before := readMetrics()
	return func() Generator {
		took := float64(time.Since(began))
		g := Generator{CPU: -1, Stolen: -1}
		if after := cpuTime(); cpu >= 0 && after >= 0 {
			g.CPU = float64(after-cpu) / took / float64(runtime.GOMAXPROCS(0))
		}
		if after := stolenTime(); stolen >= 0 && after >= 0 {
			g.Stolen = float64(after-stolen) / took
		}
		after := readMetrics()
		g.SchedP99 = since(before[0], after[0], 0.99)
		g.PauseMax = since(before[1], after[1], 1)
		return g
	}
}

func readMetrics() []*metrics.Float64Histogram {
	var all []*metrics.Float64Histogram
	for _, name := range generatorMetrics {
		sample := []metrics.Sample{{Name: name}}
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
			all = append(all, nil)
			continue
		}
		all = append(all, sample[0].Value.Float64Histogram())
	}
	return all
}

// since returns a quantile of what a histogram of seconds has gained: the upper end of its
// bucket, or the lower one if that has none. 0 if nothing.
func since(before, after *metrics.Float64Histogram, q float64) time.Duration {
	if before == nil || after == nil || len(before.Counts) != len(after.Counts) {
		return 0
	}
	total := uint64(0)
	for i := range after.Counts {
		total += after.Counts[i] - before.Counts[i]
	}
	seen := uint64(0)
	for i := range after.Counts {
		seen += after.Counts[i] - before.Counts[i]
		if seen > 0 && float64(seen) >= q*float64(total) {
			edge := after.Buckets[i+1]
			if edge > 1e9 { // infinite
				edge = after.Buckets[i]
			}
			return time.Duration(edge * float64(time.Second))
		}
	}
	return 0
}
