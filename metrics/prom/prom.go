package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/internal/measure"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

// Server returns a Collector of a server's Stats, ringwire_server_….
func Server(stats func() server.Stats) prometheus.Collector {
	must(stats != nil, "stats of Server")
	return newCollector(stats, measure.Server())
}

// Broker returns a Collector of a broker's Stats, ringwire_client_…, and of its AddrStats,
// ringwire_client_server_…; servers may be nil.
func Broker(stats func() engine.Stats, servers func() []engine.AddrStats) prometheus.Collector {
	must(stats != nil, "stats of Broker")
	c := newCollector(stats, measure.Broker())
	if servers != nil {
		withEach(c, measure.BrokerServers(), func() []engine.AddrStats { return measure.Merged(servers()) })
	}
	return c
}

// Pool returns a Collector of a pool's Stats, ringwire_pool_….
func Pool(stats func() pool.Stats) prometheus.Collector {
	must(stats != nil, "stats of Pool")
	return newCollector(stats, measure.Pool())
}

// PairedPool returns a Collector of the Stats of a pool of package paired, ringwire_paired_….
func PairedPool(stats func() paired.Stats) prometheus.Collector {
	must(stats != nil, "stats of PairedPool")
	return newCollector(stats, measure.PairedPool())
}

// HTTPPool returns a Collector of an HTTP pool's metrics, ringwire_httppool_…, and of its servers,
// ringwire_httppool_server_…; servers may be nil. What the pool has as means and rates, is here as
// sums and counts, so that Prometheus can take them over any span of time. The process's memory
// is in prometheus/collectors.NewGoCollector.
func HTTPPool(metrics func() *httppool.HTTPPoolMetrics, servers func() []*httppool.ServerTarget) prometheus.Collector {
	must(metrics != nil, "metrics of HTTPPool")
	c := newCollector(func() httppool.HTTPPoolMetrics { return *metrics() }, measure.HTTPPool(), measure.HTTPPoolDurations()...)
	if servers != nil {
		withEach(c, measure.HTTPPoolServers(), func() []httppool.ServerTarget {
			var all []httppool.ServerTarget
			for _, s := range servers() {
				all = append(all, *s)
			}
			return all
		})
	}
	return c
}
