// Package prom shows a run of package load to Prometheus while it lasts.
//
//	c := prom.New(&cfg)
//	cfg.Log = c.Interval
//	reg := prometheus.NewRegistry()
//	reg.MustRegister(c)
//	http.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
//	res, err := load.Run(ctx, cfg)
//	c.End(res)
//
// Figures are those of the report, by its words: the warm-up is in none, and after End they are the
// report's exactly. Until then they are of a second ago at most, and requests pay for them what
// they pay for [load.Config.Log]; a scrape asks the run for nothing.
//
// Labels are bounded: request has the names of the mix, 64 at most, and status 64 statuses and
// "others".
package prom
