package otel

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

// Server has a server's Stats observed, as ringwire.server.…, until the Registration is
// unregistered.
func Server(meter metric.Meter, stats func() server.Stats, attrs ...attribute.KeyValue) (metric.Registration, error) {
	if stats == nil {
		return nil, errors.New("otel: stats of Server is nil")
	}
	return observe(meter, attrs, stats, measure.Server(), nil, none)
}

// Broker has a broker's Stats observed, as ringwire.client.…, and its AddrStats, as
// ringwire.client.server_…; servers may be nil.
func Broker(
	meter metric.Meter, stats func() engine.Stats,
	servers func() []engine.AddrStats, attrs ...attribute.KeyValue,
) (metric.Registration, error) {
	if stats == nil {
		return nil, errors.New("otel: stats of Broker is nil")
	}
	each := none
	if servers != nil {
		each = several(measure.BrokerServers(), func() []engine.AddrStats { return measure.Merged(servers()) })
	}
	return observe(meter, attrs, stats, measure.Broker(), nil, each)
}

// Pool has a pool's Stats observed, as ringwire.pool.….
func Pool(meter metric.Meter, stats func() pool.Stats, attrs ...attribute.KeyValue) (metric.Registration, error) {
	if stats == nil {
		return nil, errors.New("otel: stats of Pool is nil")
	}
	return observe(meter, attrs, stats, measure.Pool(), nil, none)
}

// PairedPool has the Stats of a pool of package paired observed, as ringwire.paired.….
func PairedPool(meter metric.Meter, stats func() paired.Stats, attrs ...attribute.KeyValue) (metric.Registration, error) {
	if stats == nil {
		return nil, errors.New("otel: stats of PairedPool is nil")
	}
	return observe(meter, attrs, stats, measure.PairedPool(), nil, none)
}

// HTTPPool has an HTTP pool's metrics observed, as ringwire.httppool.…, and its servers, as
// ringwire.httppool.server_…; servers may be nil.
func HTTPPool(
	meter metric.Meter, metrics func() *httppool.HTTPPoolMetrics,
	servers func() []*httppool.ServerTarget, attrs ...attribute.KeyValue,
) (metric.Registration, error) {
	if metrics == nil {
		return nil, errors.New("otel: metrics of HTTPPool is nil")
	}
	each := none
	if servers != nil {
		each = several(measure.HTTPPoolServers(), func() (all []httppool.ServerTarget) {
			for _, s := range servers() {
				all = append(all, *s)
			}
			return all
		})
	}
	return observe(meter, attrs, func() httppool.HTTPPoolMetrics { return *metrics() }, measure.HTTPPool(), measure.HTTPPoolDurations(), each)
}

// group is families and the function that takes their values.
type group struct {
	families []*measure.Family
	take     func(measure.Put)
}

var none = group{take: func(measure.Put) {}}

// several is a group of one value for each of several.
func several[E any](each measure.Each[E], all func() []E) group {
	return group{each.Families, func(put measure.Put) {
		for _, one := range all() {
			each.Take(put, &one)
		}
	}}
}

// observer makes instruments and observes them.
type observer struct {
	meter       metric.Meter
	attrs       []attribute.KeyValue
	instruments map[*measure.Family]metric.Float64Observable
	all         []metric.Observable
	errs        []error
}

// observe registers what observes a snapshot: values, durations, and a group.
func observe[S any](meter metric.Meter, attrs []attribute.KeyValue, snapshot func() S,
	values []measure.Value[S], durations []measure.Duration[S], each group) (metric.Registration, error) {
	if meter == nil {
		return nil, errors.New("otel: meter is nil")
	}
	o := &observer{meter: meter, attrs: attrs, instruments: make(map[*measure.Family]metric.Float64Observable)}
	for _, v := range values {
		o.add(v.Family)
	}
	counts := make([]*measure.Family, len(durations))
	for i, d := range durations {
		o.add(d.Family)
		name := strings.TrimSuffix(d.Family.Name, "_seconds")
		counts[i] = &measure.Family{
			Name: name + "_count", Help: "How many times are in the sum of " + nameOf(d.Family.Name) + ".",
			Counter: true,
		}
		o.add(counts[i])
	}
	for _, f := range each.families {
		o.add(f)
	}
	if err := errors.Join(o.errs...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		put := o.putter(to)
		s := snapshot()
		for _, v := range values {
			put(v.Family, v.Of(&s), v.Labels...)
		}
		for i, d := range durations {
			put(d.Family, d.Total(&s).Seconds())
			put(counts[i], float64(d.Count(&s)))
		}
		each.take(put)
		return nil
	}, o.all...)
}

// add makes the instrument of a family, once.
func (o *observer) add(f *measure.Family) {
	if o.instruments[f] != nil {
		return
	}
	var made metric.Float64Observable
	var err error
	if f.Counter {
		made, err = o.meter.Float64ObservableCounter(nameOf(f.Name), metric.WithDescription(f.Help), metric.WithUnit(unitOf(f.Name)))
	} else {
		made, err = o.meter.Float64ObservableGauge(nameOf(f.Name), metric.WithDescription(f.Help), metric.WithUnit(unitOf(f.Name)))
	}
	if err != nil {
		o.errs = append(o.errs, err)
		return
	}
	o.instruments[f] = made
	o.all = append(o.all, made)
}

func (o *observer) putter(to metric.Observer) measure.Put {
	return func(f *measure.Family, value float64, labels ...string) {
		attrs := append([]attribute.KeyValue(nil), o.attrs...)
		for i, l := range labels {
			attrs = append(attrs, attribute.String(f.Labels[i], l))
		}
		to.ObserveFloat64(o.instruments[f], value, metric.WithAttributes(attrs...))
	}
}

// nameOf turns a name of Prometheus into one of OpenTelemetry, where units and "total" are no part
// of it.
func nameOf(name string) string {
	for _, suffix := range []string{"_total", "_seconds", "_ratio"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return strings.Replace(name, "_", ".", 2)
}

// unitOf returns the unit that a name of Prometheus ends with.
func unitOf(name string) string {
	switch name = strings.TrimSuffix(name, "_total"); {
	case strings.HasSuffix(name, "_seconds"):
		return "s"
	case strings.HasSuffix(name, "_bytes"):
		return "By"
	default:
		return "1"
	}
}
