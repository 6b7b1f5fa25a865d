package main

import (
	"encoding/json"
	"expvar"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/server"
)

const (
	// scrapesMost is how many requests for /metrics are answered at once.
	scrapesMost = 4
	// scrapeTimeout bounds one of them.
	scrapeTimeout = 10 * time.Second
)

// debugIndex is what / shows.
const debugIndex = `<!DOCTYPE html>
<title>ringwire serve</title>
<ul>
<li><a href="/metrics">/metrics</a> for Prometheus
<li><a href="/healthz">/healthz</a> 200 while requests are served
<li><a href="/debug/vars">/debug/vars</a> the statistics as JSON
<li><a href="/debug/pprof/">/debug/pprof/</a> profiles
</ul>
`

// debugPages shows a running server to those who look after it. Without a listener it does
// nothing.
type debugPages struct {
	stats    func() server.Stats
	latency  func() server.Latency
	listener *record.Server
	stopping atomic.Bool
}

// serveDebug starts what --debug-addr asks for.
func serveDebug(f serveFlags, srv *server.Server) (*debugPages, error) {
	d := &debugPages{stats: srv.Stats, latency: srv.Latency}
	if f.debugAddr == "" {
		return d, nil
	}
	if err := record.CheckAddr(f.debugAddr, f.debugRemote); err != nil {
		return nil, usageError("--debug-addr %w; --debug-remote allows it", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(prom.Server(srv.Stats), prom.ServerLatency(srv.Latency),
		collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMost, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", d.health)
	mux.HandleFunc("GET /debug/vars", d.vars)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, debugIndex) })
	var err error
	d.listener, err = record.Listen(f.debugAddr, mux)
	return d, err
}

// health says whether requests are served: not while the server stops, nor while a handler holds up
// an event loop.
func (d *debugPages) health(w http.ResponseWriter, _ *http.Request) {
	switch stuck := d.stats().StuckLoops; {
	case d.stopping.Load():
		http.Error(w, "stopping", http.StatusServiceUnavailable)
	case stuck > 0:
		http.Error(w, fmt.Sprintf("%d event loops are held up by a handler", stuck), http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(w, "ok\n")
	}
}

// vars is expvar's page with the statistics, which are not published there: expvar keeps a variable
// for good.
func (d *debugPages) vars(w http.ResponseWriter, _ *http.Request) {
	all := make(map[string]json.RawMessage)
	expvar.Do(func(v expvar.KeyValue) { all[v.Key] = json.RawMessage(v.Value.String()) })
	took := d.latency()
	stats, err := json.Marshal(struct {
		server.Stats
		Response, Service quantiles
	}{d.stats(), quantilesOf(&took.Response), quantilesOf(&took.Service)})
	if err == nil {
		all["ringwire"] = stats
		stats, err = json.MarshalIndent(all, "", "  ")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(append(stats, '\n'))
}

// quantiles are of a histogram, for people: seconds, and how many requests were timed.
type quantiles struct {
	Timed                uint64
	Mean, P50, P99, P999 float64
}

func quantilesOf(h *latency.Histogram) quantiles {
	return quantiles{
		h.Count(), h.Mean().Seconds(), h.Quantile(0.5).Seconds(), h.Quantile(0.99).Seconds(), h.Quantile(0.999).Seconds(),
	}
}

// announce prints where the pages are.
func (d *debugPages) announce(out io.Writer) error {
	if d.listener == nil {
		return nil
	}
	_, err := fmt.Fprintf(out, "debug on %s\n", d.listener.URL())
	return err
}

func (d *debugPages) close() {
	if d.listener != nil {
		_ = d.listener.Close()
	}
}
