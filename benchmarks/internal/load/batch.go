package load

import (
	"context"
	"fmt"
	"sync/atomic"
)

// batch is one goroutine that sends all callers' requests together.
type batch struct {
	load *Load
	reqs [][]byte
	runs []atomic.Int32 // how often the callback ran for an index of this batch
	fn   func(i int, reply []byte, err error)
}

func newBatch(l *Load) *batch {
	b := &batch{load: l, runs: make([]atomic.Int32, len(l.callers))}
	for _, c := range l.callers {
		b.reqs = append(b.reqs, c.req)
	}
	b.fn = b.answered
	return b
}

// take returns how many requests the next batch has, 0 when there is none.
func (b *batch) take() int {
	if b.load.failure.Load() != nil {
		return 0
	}
	n := min(int64(len(b.reqs)), b.load.left.Load())
	b.load.left.Add(-n)
	return int(n)
}

// send sends the first n callers' requests and looks at every outcome.
func (b *batch) send(n int) {
	for _, c := range b.load.callers[:n] {
		c.renew()
	}
	if err := b.load.broker.SendBatch(context.Background(), b.reqs[:n], b.fn); err != nil {
		b.load.fail(err)
	}
	for i := range n {
		if ran := b.runs[i].Swap(0); ran != 1 {
			b.load.fail(fmt.Errorf("load: a batch ran the callback of request %d %d times", i, ran))
		}
	}
}

func (b *batch) answered(i int, reply []byte, err error) {
	b.runs[i].Add(1)
	b.load.callers[i].check(reply, err)
}
