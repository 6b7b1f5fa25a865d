//go:build !race

package taskid

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAllocFreeLifeOfARequest(t *testing.T) {
	tb := NewTable[int](64)
	var ids [32]ID
	release := func(_ *Slot[int], id ID) { tb.Release(id) }
	for name, life := range map[string]func(){
		"answered": func() {
			s, id := tb.Acquire()
			tb.Arm(s, id, 9)
			if _, match := tb.Answer(id); match == Won {
				tb.Free(id)
			}
		},
		"answered, and the slot used again": func() {
			s, id := tb.Acquire()
			for range 3 {
				tb.Arm(s, id, 9)
				tb.Answer(id)
				s, id = tb.Renew(id)
			}
			tb.Free(id)
		},
		"many at once": func() {
			n := tb.AcquireInto(ids[:])
			for _, id := range ids[:n] {
				tb.Arm(tb.Slot(id), id, 9)
				tb.Answer(id)
			}
			tb.FreeAll(ids[:n])
		},
		"cancelled": func() {
			s, id := tb.Acquire()
			tb.Arm(s, id, 9)
			if _, won := tb.Cancel(id); won {
				tb.Release(id)
			}
			tb.Answer(id)
		},
		"expired": func() {
			s, id := tb.Acquire()
			tb.Arm(s, id, 9)
			tb.Expire(9, release)
			tb.Answer(id)
		},
	} {
		life() // the table has grown
		assert.Zero(t, testing.AllocsPerRun(1000, life), name)
		assert.Zero(t, tb.InUse(), name)
	}
}
