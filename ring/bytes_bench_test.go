package ring

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/ringwire/ringwire/internal/baton"
)

// BenchmarkBytes is the way of a record of 64 bytes from a producer to the goroutine that
// consumes: producers pass the right to consume among themselves, as the engine's callers
// do.
func BenchmarkBytes(b *testing.B) {
	for _, producers := range []int{1, 2, 8} {
		b.Run(fmt.Sprint("producers=", producers), func(b *testing.B) {
			r := NewBytes()
			var right baton.Right
			right.Init()
			record := make([]byte, 64)
			sum, chunks := 0, 0
			consume := func() {
				for part, n, _ := r.Take(); n > 0; part, n, _ = r.Take() {
					sum += len(part)
					chunks++
					r.Done()
				}
			}
			look := func() {
				if right.State() == baton.Free && right.Take() {
					consume()
					for right.Release(r.Ready) {
						consume()
					}
				}
			}
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			var wg sync.WaitGroup
			for p := range producers {
				wg.Go(func() {
					for range (b.N + p) / producers {
						room, ok := r.Reserve(len(record))
						for ; !ok; room, ok = r.Reserve(len(record)) {
							look()
							runtime.Gosched()
						}
						copy(room.Bytes(), record)
						room.Publish()
						look()
					}
				})
			}
			wg.Wait()
			if sum != b.N*len(record) {
				b.Fatalf("%d bytes came out of %d", sum, b.N*len(record))
			}
			b.ReportMetric(float64(b.N)/float64(chunks), "records/take")
		})
	}
}
