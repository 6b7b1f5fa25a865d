// Package prom shows what servers, brokers and pools count to Prometheus.
//
//	reg := prometheus.NewRegistry()
//	reg.MustRegister(
//		prom.Server(srv.Stats),
//		prom.Broker(broker.Stats, broker.AddrStats),
//		prom.HTTPPool(pool.GetMetrics, pool.GetServerStats),
//	)
//	http.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
//
// A collector takes one snapshot a scrape and keeps nothing: requests do not pay for it. Nothing is
// registered that you do not register. Two of a kind in one registry need a label each:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"broker": "payments"}, reg).
//		MustRegister(prom.Broker(payments.Stats, payments.AddrStats))
//
// Labels have a bounded number of values: reasons, codes, and the servers that are configured at
// the moment. Snapshots are read number by number while requests go on, so sums of different
// metrics agree only roughly.
//
// How long requests take, brokers and servers measure themselves if LatencyEvery is set, and HTTP
// pools always: [BrokerLatency], [ServerLatency] and [HTTPPoolLatency]. [Timed], with a histogram of [NewDurations], measures each
// where the program makes it.
package prom
