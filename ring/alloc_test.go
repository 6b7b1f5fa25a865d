//go:build !race

package ring

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRingsAndCounterDoNotAlloc(t *testing.T) {
	type value struct {
		p *int
		n [3]int
	}
	spsc, mpsc := NewSPSC[value](4), NewMPSC[value](4)
	counter := NewCounter()
	dst := make([]value, 8)
	x := value{p: new(int), n: [3]int{1, 2, 3}}
	moved := 0
	allocs := testing.AllocsPerRun(1000, func() {
		for range 5 { // the fifth is refused
			spsc.TryPush(x)
			mpsc.TryPush(x)
		}
		spsc.TryPop()
		mpsc.TryPop()
		moved += spsc.PopInto(dst) + mpsc.PopInto(dst)
		spsc.TryPop()
		mpsc.TryPop()
		counter.Add(uint64(mpsc.Len()) + mpsc.Pushed() + uint64(spsc.Len()))
	})
	assert.Zero(t, allocs)
	assert.Equal(t, 1001*6, moved)
	assert.Equal(t, x.n, dst[0].n)
	assert.NotZero(t, counter.Load())
}
