package taskid

import (
	"fmt"
	"testing"
)

// life is one request from Acquire to Release.
func life(tb *Table[int], pooled bool) {
	s := tb.Acquire()
	s.Buf.B = append(s.Buf.Reserve(70, pooled), "request"...)
	tb.Arm(s, 9)
	tb.MarkSent(s, 8)
	if got, match := tb.Answer(s.ID()); match == Won {
		tb.Release(got)
	}
}

func BenchmarkLife(b *testing.B) {
	for _, pooled := range []bool{true, false} {
		b.Run(fmt.Sprintf("pooled=%t", pooled), func(b *testing.B) {
			b.ReportAllocs()
			tb := NewTable[int](1024)
			for b.Loop() {
				life(tb, pooled)
			}
		})
	}
}

func BenchmarkLifeParallel(b *testing.B) {
	b.ReportAllocs()
	tb := NewTable[int](1024)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			life(tb, true)
		}
	})
}

func BenchmarkExpire(b *testing.B) {
	for _, open := range []int{1, 1000, 8192} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			tb := NewTable[int](8192)
			for range open {
				tb.Arm(tb.Acquire(), 1000)
			}
			for b.Loop() {
				tb.Expire(1, func(*Slot[int], bool) { b.Error("nothing is due") })
			}
		})
	}
}
