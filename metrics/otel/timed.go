package otel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/internal/buckets"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/server"
)

// kinds are the values of error.type, with what an error of that kind is, the first that fits.
var kinds = []struct {
	name string
	is   error
}{
	{"timeout", context.DeadlineExceeded},
	{"cancelled", context.Canceled},
	{"overloaded", server.ErrOverloaded},
	{"refused", engine.ErrRefused},
	{"queue_full", engine.ErrQueueFull},
	{"no_server", engine.ErrNoPoolsAvailable},
	{"connection_lost", engine.ErrConnLost},
	{"closed", engine.ErrClosingBroker},
	{"closed", engine.ErrQuit},
}

// calls records durations with the attributes of a call's end, which are made once.
type calls struct {
	histogram metric.Float64Histogram
	ok, other metric.MeasurementOption
	failed    []metric.MeasurementOption // beside kinds
}

func newCalls(meter metric.Meter, name, description string, attrs []attribute.KeyValue) (*calls, error) {
	if meter == nil {
		return nil, errors.New("otel: meter is nil")
	}
	histogram, err := meter.Float64Histogram(name, metric.WithDescription(description), metric.WithUnit("s"),
		metric.WithExplicitBucketBoundaries(buckets.Seconds()...))
	if err != nil {
		return nil, err
	}
	attrs = append([]attribute.KeyValue{attribute.String("rpc.system.name", "ringwire")}, attrs...)
	option := func(kind string) metric.MeasurementOption {
		all := append([]attribute.KeyValue(nil), attrs...)
		if kind != "" {
			all = append(all, attribute.String("error.type", kind))
		}
		return metric.WithAttributeSet(attribute.NewSet(all...))
	}
	c := &calls{histogram: histogram, ok: option(""), other: option("_OTHER")}
	for _, k := range kinds {
		c.failed = append(c.failed, option(k.name))
	}
	return c, nil
}

func (c *calls) record(ctx context.Context, d time.Duration, err error) {
	c.histogram.Record(ctx, d.Seconds(), c.end(err))
}

// end returns the attributes of an outcome.
func (c *calls) end(err error) metric.MeasurementOption {
	if err == nil {
		return c.ok
	}
	for i, k := range kinds {
		if errors.Is(err, k.is) {
			return c.failed[i]
		}
	}
	return c.other
}

// Timed returns a Client whose calls are those of c and are recorded as rpc.client.call.duration,
// with error.type if they fail: timeout, cancelled, refused, queue_full, no_server,
// connection_lost, closed, else _OTHER. attrs are added to each, such as rpc.method or
// server.address. What was not accepted by Go is not recorded, nor is SendOneWay.
func Timed(c engine.Client, meter metric.Meter, attrs ...attribute.KeyValue) (engine.Client, error) {
	return Sampled(c, meter, 1, attrs...)
}

// Sampled is Timed of one call of so many, chosen at random, for brokers that make so many calls
// that two looks at the clock and the recording are much. every must lie in 1 to 1,048,576.
func Sampled(c engine.Client, meter metric.Meter, every int, attrs ...attribute.KeyValue) (engine.Client, error) {
	if c == nil {
		return nil, errors.New("otel: Client of Timed is nil")
	}
	if every < 1 || every > measure.EveryMost {
		return nil, fmt.Errorf("otel: every of Sampled is %d; it must lie in 1 to %d", every, measure.EveryMost)
	}
	calls, err := newCalls(meter, "rpc.client.call.duration", "Time from a call until its outcome, repetitions included.", attrs)
	if err != nil {
		return nil, err
	}
	return measure.Timed(c, every, calls.record), nil
}

// TimedHandler returns a Handler that is h and whose requests are recorded as
// rpc.server.call.duration: how long they waited and how long h took, which for one that is
// answered by Later is not the whole time. error.type is overloaded or _OTHER if h fails, and
// missing if it panics. attrs are added to each.
func TimedHandler(h server.Handler, meter metric.Meter, attrs ...attribute.KeyValue) (server.Handler, error) {
	if h == nil {
		return nil, errors.New("otel: Handler of TimedHandler is nil")
	}
	calls, err := newCalls(meter, "rpc.server.call.duration", "Time from a request's arrival until its handler returned.", attrs)
	if err != nil {
		return nil, err
	}
	return measure.TimedHandler(h, func(d time.Duration, err error) {
		if errors.Is(err, server.ErrNoReply) {
			err = nil
		}
		calls.record(context.Background(), d, err)
	}), nil
}
