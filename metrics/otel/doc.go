// Package otel shows what servers, brokers and pools count to OpenTelemetry, and how long requests
// take.
//
//	meter := provider.Meter("payments")
//	counted, err := otel.Broker(meter, broker.Stats, broker.AddrStats)
//	defer counted.Unregister()
//	client, err := otel.Timed(broker, meter) // what the program calls instead of broker
//
// The instruments of [Server], [Broker], [Pool], [PairedPool] and [HTTPPool] are observed when
// metrics are read; requests do not pay for them. Their names are those of metrics/prom with dots:
// ringwire_server_requests_total is ringwire.server.requests there. Attributes that you give tell
// two of a kind apart.
//
// [BrokerLatency] and [ServerLatency] produce the same durations, of one request in so many, from
// what brokers and servers measure themselves, for nothing, and [HTTPPoolLatency] those of each
// request of an HTTP pool. [Traced] makes a span of each call.
//
// [Timed] and [TimedHandler] record rpc.client.call.duration and rpc.server.call.duration as the
// semantic conventions of OpenTelemetry have them. Their buckets go from 10 µs to 10 s. Exponential
// buckets, which resolve all of it alike, are for the program that makes the MeterProvider to
// choose:
//
//	sdk.NewView(
//		sdk.Instrument{Name: "rpc.*.call.duration"},
//		sdk.Stream{Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}},
//	)
package otel
