package benchmarks

import (
	"fmt"
	"testing"

	"github.com/ringwire/ringwire/taskid"
)

// useSlot is one request from Acquire to Release. It reports whether the answer
// found its request.
func useSlot(table *taskid.Table[int], pooled bool) bool {
	s := table.Acquire()
	s.Buf.B = append(s.Buf.Reserve(70, pooled), "request"...)
	table.Arm(s, 9)
	table.Queued(s.ID())
	table.MarkSent(s, 8)
	got, match := table.Answer(s.ID())
	if match != taskid.Won {
		return false
	}
	table.Release(got)
	return true
}

// BenchmarkTaskID is a request's way through the table of those in flight,
// without its queue and its socket. goroutines=all has one for each processor.
func BenchmarkTaskID(b *testing.B) {
	for _, pooled := range []bool{true, false} {
		b.Run(fmt.Sprintf("op=life/goroutines=1/pooled=%t", pooled), func(b *testing.B) {
			table := taskid.NewTable[int](1024)
			b.ReportAllocs()
			for b.Loop() {
				if !useSlot(table, pooled) {
					b.Fatal("the answer did not find its request")
				}
			}
		})
	}
	b.Run("op=life/goroutines=all/pooled=true", func(b *testing.B) {
		table := taskid.NewTable[int](1024)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if !useSlot(table, true) {
					b.Error("the answer did not find its request")
					return
				}
			}
		})
	})
	for _, open := range []int{1, 1000, 8192} {
		b.Run(fmt.Sprintf("op=sweep/open=%d", open), func(b *testing.B) {
			table := taskid.NewTable[int](8192)
			for range open {
				table.Arm(table.Acquire(), 1000)
			}
			b.ReportAllocs()
			for b.Loop() {
				table.Expire(1, func(*taskid.Slot[int], bool) { b.Error("nothing is due") })
			}
		})
	}
}
