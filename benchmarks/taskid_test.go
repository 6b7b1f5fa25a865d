package benchmarks

import (
	"fmt"
	"testing"

	"github.com/ringwire/ringwire/taskid"
)

// useSlot is one request from Acquire to Free. It reports whether the answer found
// its request.
func useSlot(table *taskid.Table[int]) bool {
	s, id := table.Acquire()
	table.Arm(s, id, 9)
	if _, match := table.Answer(id); match != taskid.Won {
		return false
	}
	table.Free(id)
	return true
}

// useSlots is as many requests as there is room for in ids, their slots taken and
// returned together.
func useSlots(table *taskid.Table[int], ids []taskid.ID) bool {
	n := table.AcquireInto(ids)
	for _, id := range ids[:n] {
		table.Arm(table.Slot(id), id, 9)
	}
	for _, id := range ids[:n] {
		if _, match := table.Answer(id); match != taskid.Won {
			return false
		}
	}
	table.FreeAll(ids[:n])
	return n == len(ids)
}

// renewer makes one request after the other of the same slot.
func renewer(table *taskid.Table[int]) func() bool {
	s, id := table.Acquire()
	return func() bool {
		table.Arm(s, id, 9)
		_, match := table.Answer(id)
		s, id = table.Renew(id)
		return match == taskid.Won
	}
}

// BenchmarkTaskID is a request's way through the table of those in flight,
// without its queue and its socket. goroutines=all has one for each processor.
func BenchmarkTaskID(b *testing.B) {
	const missed = "an answer did not find its request"
	b.Run("op=life/goroutines=1", func(b *testing.B) {
		table := taskid.NewTable[int](1024)
		b.ReportAllocs()
		for b.Loop() {
			if !useSlot(table) {
				b.Fatal(missed)
			}
		}
	})
	b.Run("op=life/goroutines=all", func(b *testing.B) {
		table := taskid.NewTable[int](1024)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if !useSlot(table) {
					b.Error(missed)
					return
				}
			}
		})
	})
	b.Run("op=renew/goroutines=1", func(b *testing.B) {
		use := renewer(taskid.NewTable[int](1024))
		b.ReportAllocs()
		for b.Loop() {
			if !use() {
				b.Fatal(missed)
			}
		}
	})
	b.Run("op=lives/size=32/goroutines=1", func(b *testing.B) {
		table := taskid.NewTable[int](1024)
		ids := make([]taskid.ID, 32)
		if !useSlot(table) { // so that it has grown
			b.Fatal(missed)
		}
		b.ReportAllocs()
		for b.Loop() {
			if !useSlots(table, ids) {
				b.Fatal(missed)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(ids)), "ns/request")
	})
	for _, open := range []int{1, 1000, 8192} {
		b.Run(fmt.Sprintf("op=sweep/open=%d", open), func(b *testing.B) {
			table := taskid.NewTable[int](8192)
			for range open {
				s, id := table.Acquire()
				table.Arm(s, id, 1000)
			}
			b.ReportAllocs()
			for b.Loop() {
				table.Expire(1, func(*taskid.Slot[int], taskid.ID) { b.Error("nothing is due") })
			}
		})
	}
}
