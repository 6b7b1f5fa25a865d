package engine

import (
	"github.com/ringwire/ringwire/internal/stopwatch"
	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/taskid"
)

// Latency returns how long calls have taken since New, as far as they were timed, see
// Config.LatencyEvery: from the call of Send, SendInto, Go or SendBatch until its outcome, whatever
// that is, with all waiting and repetitions; of a callback until it is called. Left out are what Go
// did not accept, and SendOneWay. The difference of two snapshots is what lies between them
// (latency.Histogram.Since).
func (b *Broker) Latency() latency.Histogram { return b.stopwatch.Histogram() }

// newTimedWaiter makes what Broker.waiters has none of.
func (b *Broker) newTimedWaiter() any {
	w := newWaiter().(*waiter)
	w.turns = b.stopwatch.NewTurns()
	return w
}

// timedCallback is the outcome of a Go that is timed and whose context cannot end.
type timedCallback struct {
	b     *Broker
	fn    func(reply []byte, err error)
	began stopwatch.Time
}

func (t *timedCallback) callback(reply []byte, err error) {
	b, fn := t.b, t.fn
	b.stopwatch.End(t.began) // first: fn may panic
	if b.pooled {
		t.fn = nil
		b.timed.Put(t)
	}
	fn(reply, err)
}

// calling returns the outcome of a Go whose context cannot end.
func (b *Broker) calling(fn func(reply []byte, err error)) outcome {
	began := b.stopwatch.Begin()
	if began == 0 {
		return plainCallback(fn)
	}
	return b.timing(fn, began)
}

// timing returns the outcome of a Go that began at began, is timed, and whose context cannot end.
func (b *Broker) timing(fn func(reply []byte, err error), began stopwatch.Time) outcome {
	t, _ := b.timed.Get().(*timedCallback)
	if t == nil {
		t = new(timedCallback)
	}
	t.b, t.fn, t.began = b, fn, began
	return t
}

// timeByID decides whether a Go is timed, by the ID that it gets at once: a random number for each
// would take a tenth of what callbacks reach.
func (b *Broker) timeByID(r *request, id taskid.ID) {
	r.unchosen = false
	if b.stopwatch.Chosen(uint32(id)) {
		r.to = b.timing(r.to.(plainCallback), stopwatch.Now())
	}
}

// timeLater decides whether a Go is timed that waits for its ID.
func (b *Broker) timeLater(r *request) {
	r.unchosen = false
	r.to = b.calling(r.to.(plainCallback))
}

// timeSome chooses which requests of a batch that begins are timed.
func (bt *batch) timeSome() {
	if bt.timedFrom = bt.b.stopwatch.First(); bt.timedFrom < len(bt.reqs) {
		bt.began = stopwatch.Now()
		bt.setTimed(true)
	}
}

// setTimed notes at the chosen requests whether they are timed.
func (bt *batch) setTimed(timed bool) {
	for i := bt.timedFrom; i < len(bt.reqs); i += bt.b.stopwatch.Every() {
		bt.items[i].timed = timed
	}
}
