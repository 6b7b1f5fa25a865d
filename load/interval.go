package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Interval is what came of requests in about a second, without the warm-up. Those of a
// run, added up, have the histograms of its Result.
type Interval struct {
	From, To time.Duration // since the first request was due
	// Total and Kinds have histograms and no counts. All belong to the run, and are valid
	// until the function that got them returns. Status tells what else there is to tell.
	Total Figures
	Kinds []Figures // one for each of the mix, even if that has only one

	run *run
}

// interval is what a shard records for Config.Observe and Config.Log, which are told by
// the second. A nil one records nothing.
type interval struct {
	observed         bool     // there is an Observe
	all              latency  // for it: response, the warm-up too
	kinds            []series // the rest if there is a Log; without counts
	queue, lag, late latency
}

// newInterval returns nil if nobody wants to know.
func newInterval(cfg *Config) *interval {
	if cfg.Log == nil && cfg.Observe == nil {
		return nil
	}
	i := &interval{observed: cfg.Observe != nil}
	if cfg.Log != nil {
		i.kinds = make([]series, len(cfg.Mix.Kinds))
	}
	return i
}

// succeeded records a success.
func (i *interval) succeeded(q *inflight, response, service time.Duration) {
	if i == nil {
		return
	}
	if i.observed {
		i.all.record(response)
	}
	if i.kinds != nil && q.phase != warmup {
		i.kinds[q.kind].response.record(response)
		i.kinds[q.kind].service.record(service)
	}
}

// timedOut records a request at its age.
func (i *interval) timedOut(q *inflight, age time.Duration) {
	if i == nil {
		return
	}
	if i.observed {
		i.all.record(age)
	}
	if i.kinds != nil && q.phase != warmup {
		i.kinds[q.kind].response.record(age)
	}
}

// waited records what a request that is not the warm-up's waited before it was sent.
func (i *interval) waited(q *inflight, sent, lag time.Duration) {
	if i != nil && i.kinds != nil {
		i.queue.record(sent - q.intended)
		i.lag.record(lag)
	}
}

// cameLate records a late reply to such a request.
func (i *interval) cameLate(response time.Duration) {
	if i != nil && i.kinds != nil {
		i.late.record(response)
	}
}

func (i *interval) each(f func(*latency)) {
	f(&i.all)
	f(&i.queue)
	f(&i.lag)
	f(&i.late)
	for k := range i.kinds {
		f(&i.kinds[k].response)
		f(&i.kinds[k].service)
	}
}

// empty forgets what is recorded and keeps the memory.
func (i *interval) empty() {
	i.each((*latency).empty)
}

func (l *latency) empty() {
	if l.Histogram != nil && l.TotalCount() > 0 {
		l.Reset()
	}
}

func (i *interval) merge(from *interval) {
	i.all.merge(from.all)
	i.queue.merge(from.queue)
	i.lag.merge(from.lag)
	i.late.merge(from.late)
	for k := range from.kinds {
		i.kinds[k].merge(&from.kinds[k])
	}
}

// watcher tells Observe and Log what happens, from a goroutine of its own. What it needs
// does not grow with the run: one interval more than there are shards, and their sum.
type watcher struct {
	run   *run
	spare *interval
	sum   *interval
	total series // of all kinds, if there is more than one
	from  time.Duration
	none  *hdrhistogram.Histogram
	over  chan struct{} // closed to end it
	ended chan struct{} // closed at its end
}

// watch starts the run's watcher, if anybody wants to know. The function it returns ends
// it, when nothing is recorded any more.
func (r *run) watch() (end func()) {
	spare := newInterval(&r.cfg)
	if spare == nil {
		return func() {}
	}
	w := &watcher{run: r, spare: spare, sum: newInterval(&r.cfg), none: latency{}.filled(),
		over: make(chan struct{}), ended: make(chan struct{})}
	go w.work()
	return func() { close(w.over); <-w.ended }
}

func (w *watcher) work() {
	defer close(w.ended)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.tell()
		case <-w.over:
			w.collect()
			w.log()
			return
		}
	}
}

// tell tells what happened since it did so last.
func (w *watcher) tell() {
	w.collect()
	if observe := w.run.cfg.Observe; observe != nil && !w.run.draining() {
		s := w.run.snapshot()
		s.Response = w.filled(w.sum.all)
		observe(s)
	}
	w.log()
}

// collect takes what the shards have recorded. Each is asked for a moment only: it gets
// an empty interval for its full one.
func (w *watcher) collect() {
	w.sum.empty()
	for _, s := range w.run.shards {
		s.mu.Lock()
		s.interval, w.spare = w.spare, s.interval
		s.mu.Unlock()
		w.sum.merge(w.spare)
		w.spare.empty()
	}
}

func (w *watcher) log() {
	log := w.run.cfg.Log
	if log == nil {
		return
	}
	in := Interval{From: w.from, To: w.run.now(), run: w.run}
	w.from = in.To
	total := &w.sum.kinds[0]
	if len(w.sum.kinds) > 1 {
		total = &w.total
		total.response.empty()
		total.service.empty()
	}
	for k := range w.sum.kinds {
		kind := &w.sum.kinds[k]
		if total != kind {
			total.merge(kind)
		}
		in.Kinds = append(in.Kinds, Figures{Name: w.run.cfg.Mix.Kinds[k].Name,
			Response: w.filled(kind.response), Service: w.filled(kind.service), Queue: w.none, Lag: w.none, Late: w.none})
	}
	in.Total = Figures{Response: w.filled(total.response), Service: w.filled(total.service),
		Queue: w.filled(w.sum.queue), Lag: w.filled(w.sum.lag), Late: w.filled(w.sum.late)}
	log(&in)
}

func (w *watcher) filled(l latency) *hdrhistogram.Histogram {
	if l.Histogram == nil {
		return w.none
	}
	return l.Histogram
}
