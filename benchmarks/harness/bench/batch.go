package bench

import (
	"fmt"
	"time"
)

// batch is one goroutine that sends all callers' requests together. With
// several connections callbacks run concurrently, so each index has its own
// place to note the outcome.
type batch struct {
	load    *load
	client  batchClient
	reqs    [][]byte
	errs    []error
	runs    []int32 // how often fn ran for the index
	latency []int64 // nanoseconds; 0 when the request was not timed

	first uint32 // number of the batch's first request, modulo every
	start time.Time
}

// launchBatch starts the goroutine, which waits at the gate.
func (l *load) launchBatch(client batchClient) {
	n := len(l.callers)
	b := &batch{load: l, client: client, reqs: make([][]byte, n),
		errs: make([]error, n), runs: make([]int32, n), latency: make([]int64, n)}
	for i, c := range l.callers {
		b.reqs[i] = c.req
	}
	l.ready.Add(1)
	l.done.Add(1)
	go func() {
		defer l.done.Done()
		l.ready.Done()
		<-l.gate
		fn := b.answered
		// At least once, like every caller: see callInTurn.
		for b.send(fn); !l.stop.Load(); {
			b.send(fn)
		}
	}()
}

// send is the loop's body that is measured: number the requests, send them, look
// at every outcome.
func (b *batch) send(fn func(i int, reply []byte, err error)) {
	for _, c := range b.load.callers {
		setNumber(c.req, c.number)
	}
	// Batches without a timed request need no clock.
	if b.timed(0) || int(b.load.every-b.first) < len(b.reqs) {
		b.start = time.Now()
	}
	err := b.client.SendBatch(b.reqs, fn)
	for i, c := range b.load.callers {
		b.settle(i, c)
	}
	b.first = (b.first + uint32(len(b.reqs))) & (b.load.every - 1)
	if err != nil {
		time.Sleep(errorPause)
	}
}

// timed reports whether the latency of the batch's i'th request is taken.
func (b *batch) timed(i int) bool {
	return (b.first+uint32(i))&(b.load.every-1) == 0
}

// answered is the callback.
func (b *batch) answered(i int, reply []byte, err error) {
	b.runs[i]++
	if err != nil {
		b.errs[i] = err
		return
	}
	if b.timed(i) {
		b.latency[i] = int64(time.Since(b.start))
	}
	b.load.right(b.load.callers[i], reply)
}

// settle counts the outcome of index i and clears it for the next batch.
func (b *batch) settle(i int, c *caller) {
	if b.runs[i] != 1 {
		b.load.fail(fmt.Errorf("a batch ran the callback of request %d %d times", i, b.runs[i]))
	}
	b.runs[i] = 0
	c.number++
	if err := b.errs[i]; err != nil {
		b.errs[i] = nil
		c.failed(err)
		return
	}
	if ns := b.latency[i]; ns > 0 {
		b.latency[i] = 0
		if len(c.latencies) < cap(c.latencies) {
			c.latencies = append(c.latencies, ns)
		}
	}
	c.requests++
}
