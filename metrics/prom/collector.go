package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringwire/ringwire/internal/measure"
)

// collector is a prometheus.Collector of the values of a snapshot.
type collector[S any] struct {
	descs     descs
	snapshot  func() S
	values    []measure.Value[S]
	durations []measure.Duration[S]
	each      func(measure.Put) // sends what there is of each server; nil: nothing
}

// descs are the descriptions of all families.
type descs map[*measure.Family]*prometheus.Desc

func (d descs) add(f *measure.Family) {
	if d[f] == nil {
		d[f] = prometheus.NewDesc(f.Name, f.Help, f.Labels, nil)
	}
}

func newCollector[S any](snapshot func() S, values []measure.Value[S], durations ...measure.Duration[S]) *collector[S] {
	c := &collector[S]{descs: make(descs), snapshot: snapshot, values: values, durations: durations}
	for _, v := range values {
		c.descs.add(v.Family)
	}
	for _, d := range durations {
		c.descs.add(d.Family)
	}
	return c
}

// withEach adds what there is of each of several.
func withEach[S, E any](c *collector[S], each measure.Each[E], all func() []E) {
	for _, f := range each.Families {
		c.descs.add(f)
	}
	c.each = func(put measure.Put) {
		for _, one := range all() {
			each.Take(put, &one)
		}
	}
}

// Describe sends the descriptions of all metrics.
func (c *collector[S]) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect sends the metrics of a snapshot taken now.
func (c *collector[S]) Collect(ch chan<- prometheus.Metric) {
	put := func(f *measure.Family, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if f.Counter {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(c.descs[f], kind, value, labels...)
	}
	s := c.snapshot()
	for _, v := range c.values {
		put(v.Family, v.Of(&s), v.Labels...)
	}
	for _, d := range c.durations { // a summary without quantiles
		ch <- prometheus.MustNewConstSummary(c.descs[d.Family], uint64(d.Count(&s)), d.Total(&s).Seconds(), nil)
	}
	if c.each != nil {
		c.each(put)
	}
}

// must panics if a snapshot is missing, at the call that the caller can see.
func must(there bool, what string) {
	if !there {
		panic("prom: " + what + " is nil")
	}
}
