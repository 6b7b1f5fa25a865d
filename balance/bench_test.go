package balance_test

import (
	"fmt"
	"testing"

	"github.com/ringwire/ringwire/balance"
)

// BenchmarkPick is one pick among four servers, by goroutines for each processor, each with
// another key.
func BenchmarkPick(b *testing.B) {
	key := balance.KeyOf("user-123")
	for _, strategy := range balance.Strategies() {
		for _, weights := range [][]int{{1, 1, 1, 1}, {1, 2, 3, 4}} {
			r := newRig(b, strategy, weights...)
			name := fmt.Sprintf("strategy=%s/weights=%v", strategy, weights)
			b.Run(name+"/goroutines=1", func(b *testing.B) {
				b.ReportAllocs()
				for key := key; b.Loop(); key++ {
					if _, err := r.b.Pick(key, nil); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(name+"/goroutines=8", func(b *testing.B) {
				b.SetParallelism(4) // times GOMAXPROCS
				b.RunParallel(func(pb *testing.PB) {
					for key := key; pb.Next(); key++ {
						if _, err := r.b.Pick(key, nil); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
