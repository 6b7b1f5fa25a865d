package ring

import (
	"sync/atomic"
	"testing"
)

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
