package benchmarks

import (
	"fmt"
	"testing"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
)

// roundTrip is one cell of the matrix. Each row of it varies one thing.
type roundTrip struct {
	api                     load.API
	callers, payload, conns int
}

func roundTrips() []roundTrip {
	var all []roundTrip
	for _, callers := range []int{1, 16, 64, 256, 1024, 4096} {
		all = append(all, roundTrip{load.SendInto, callers, 64, 1})
	}
	for _, api := range []load.API{load.Send, load.Go, load.Batch} {
		for _, callers := range []int{1, 64, 1024} {
			all = append(all, roundTrip{api, callers, 64, 1})
		}
	}
	for _, payload := range []int{8, 1024, 16 << 10, 60 << 10} {
		all = append(all, roundTrip{load.SendInto, 16, payload, 1})
	}
	for _, conns := range []int{2, 8, 64} {
		all = append(all, roundTrip{load.SendInto, 1024, 64, conns}, roundTrip{load.Go, 1024, 64, conns})
	}
	return all
}

// BenchmarkRoundTrip is a request and its checked reply, with so many in flight.
// For api=go and api=batch callers is the window and the size of the batch. B/s
// counts payload one way. Allocations are the client's.
func BenchmarkRoundTrip(b *testing.B) {
	for _, r := range roundTrips() {
		b.Run(fmt.Sprintf("api=%s/callers=%d/payload=%d/conns=%d", r.api, r.callers, r.payload, r.conns), func(b *testing.B) {
			broker := connect(b, r.callers, r.conns)
			l := load.New(broker, r.api, r.callers, r.payload)
			// A slot that was used has its buffer and its channel.
			if err := l.Run(2 * r.callers); err != nil {
				b.Fatal(err)
			}
			before := startTraffic(b, broker)
			b.SetBytes(int64(r.payload))
			b.ReportAllocs()
			b.ResetTimer()
			if err := l.Run(b.N); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
			before.reportBatches(b)
		})
	}
}
