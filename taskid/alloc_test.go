//go:build !race

package taskid

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAllocFreeLifeOfARequest(t *testing.T) {
	tb := NewTable[int](64)
	life := func() {
		s := tb.Acquire()
		s.Buf.B = append(s.Buf.Reserve(70, true), "request"...)
		tb.Arm(s, 9)
		tb.MarkSent(s, 8)
		if got, match := tb.Answer(s.ID()); match == Won {
			tb.Release(got)
		}
	}
	for range 1000 {
		life() // every slot has its buffer
	}
	assert.Zero(t, testing.AllocsPerRun(1000, life))
}
