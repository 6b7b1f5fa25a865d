package prom

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringwire/ringwire/load"
)

// Collector is a prometheus.Collector of one run. It is safe for concurrent use.
type Collector struct {
	names   []string // of the mix
	open    bool     // the loop is
	created time.Time

	mu         sync.Mutex // guards what follows
	state      string
	status     load.Status
	lagMax     int64 // of the last interval
	response   []*hdrhistogram.Histogram
	service    []*hdrhistogram.Histogram
	queue, lag *hdrhistogram.Histogram
}

// New returns a Collector of a run of that configuration, whose Interval has to become its Log, or
// to be called by that.
func New(cfg *load.Config) *Collector {
	c := &Collector{open: cfg.Schedule != nil, created: time.Now(), state: Connecting,
		response: make([]*hdrhistogram.Histogram, len(cfg.Mix.Kinds)),
		service:  make([]*hdrhistogram.Histogram, len(cfg.Mix.Kinds))}
	for _, k := range cfg.Mix.Kinds {
		c.names = append(c.names, k.Name)
	}
	return c
}

// Interval takes what came of a second.
func (c *Collector) Interval(in *load.Interval) {
	status := in.Status()
	c.mu.Lock()
	defer c.mu.Unlock()
	keepUp(&c.status.SoFar, &status.SoFar)
	c.status = *status
	switch {
	case status.Draining:
		c.state = Draining
	case status.Warmup:
		c.state = Warmup
	default:
		c.state = Sending
	}
	c.lagMax = in.Total.Lag.Max()
	for i := range in.Kinds {
		merge(&c.response[i], in.Kinds[i].Response)
		merge(&c.service[i], in.Kinds[i].Service)
	}
	merge(&c.queue, in.Total.Queue)
	merge(&c.lag, in.Total.Lag)
}

// keepUp has what was sent not fall behind what was told before, which Prometheus would take for
// the count of a new run.
func keepUp(before, now *load.Result) {
	keep := func(before, now *load.Counts) { now.Sent = max(now.Sent, before.Sent) }
	keep(&before.Total.Counts, &now.Total.Counts)
	for i := range before.Kinds {
		keep(&before.Kinds[i].Counts, &now.Kinds[i].Counts)
	}
}

// merge adds what an interval has; it is the interval's.
func merge(to **hdrhistogram.Histogram, from *hdrhistogram.Histogram) {
	if from.TotalCount() == 0 {
		return
	}
	if *to == nil {
		*to = load.NewHistogram()
	}
	(*to).Merge(from) // none is out of range: both are of the run's kind
}

// End takes what the run gave; it keeps the histograms, and changes nothing in them. From then on
// the figures are those of the report.
func (c *Collector) End(res *load.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state, c.status, c.lagMax = Over, load.Status{SoFar: *res}, 0
	for i := range c.names {
		of := c.figures(i)
		c.response[i], c.service[i] = of.Response, of.Service
	}
	c.queue, c.lag = res.Total.Queue, res.Total.Lag
}

// figures are those of a request of the mix. The lock is held.
func (c *Collector) figures(i int) *load.Figures {
	if r := &c.status.SoFar; i < len(r.Kinds) {
		return &r.Kinds[i]
	}
	return &c.status.SoFar.Total // it is the only one, or nothing is known yet
}

// State says how far the run is.
func (c *Collector) State() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// Collect sends the metrics as they are.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.metrics() {
		ch <- m
	}
}

func (c *Collector) metrics() (ms []prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add := func(m prometheus.Metric, err error) {
		if err != nil {
			m = prometheus.NewInvalidMetric(prometheus.NewInvalidDesc(err), err)
		}
		ms = append(ms, m)
	}
	value := func(f family, v float64, labels ...string) {
		add(prometheus.NewConstMetric(f.desc, f.kind, v, labels...))
	}
	count := put(func(f family, v uint64, labels ...string) { value(f, float64(v), labels...) })
	latency := func(d *prometheus.Desc, h *hdrhistogram.Histogram, labels ...string) {
		add(newSeconds(d, h, c.created, labels...))
	}
	for i, name := range c.names {
		count.request(name, &c.figures(i).Counts)
		latency(responses, c.response[i], name)
		latency(services, c.service[i], name)
	}
	r := &c.status.SoFar
	count.run(r)
	for _, s := range states {
		is := 0.0
		if s == c.state {
			is = 1
		}
		value(state, is, s)
	}
	value(inFlight, float64(c.status.InFlight))
	value(connections, float64(c.status.Conns))
	if c.open {
		count(unsent, r.Unsent.Backlog, "backlog")
		count(unsent, r.Unsent.Generator, "generator")
		count(unsent, r.Unsent.Early, "early")
		value(backlog, float64(c.status.Backlog))
		value(target, c.status.Rate)
		value(lagMax, float64(c.lagMax)/1e9)
		latency(queues, c.queue)
		latency(lags, c.lag)
	}
	return ms
}
