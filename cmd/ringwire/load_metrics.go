package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/prom"
)

// lingerMax bounds --metrics-linger.
const lingerMax = time.Hour

// metricsFlags are those of what a run shows to Prometheus.
type metricsFlags struct {
	addr   string
	linger time.Duration
}

func (f *metricsFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.addr, "metrics-addr", "", "serve the figures at HOST:PORT under /metrics, for Prometheus, and /healthz, until the report is written")
	flags.DurationVar(&f.linger, "metrics-linger", 0, "serve them for so much longer, so that the last ones are scraped, too; Ctrl-C ends it")
}

// check refuses what makes no sense.
func (f *metricsFlags) check(given func(string) bool) error {
	switch {
	case given("metrics-linger") && f.addr == "":
		return fmt.Errorf("--metrics-linger %v: give --metrics-addr, too", f.linger)
	case f.linger < 0 || f.linger > lingerMax:
		return fmt.Errorf("--metrics-linger %v: must be 0 to %v", f.linger, lingerMax)
	case f.addr == "":
		return nil
	}
	if _, _, err := net.SplitHostPort(f.addr); err != nil {
		return fmt.Errorf("--metrics-addr %q: must be HOST:PORT, such as 127.0.0.1:9100 or :9100", f.addr)
	}
	return nil
}

// metricsPages show a run. A nil one shows nothing.
type metricsPages struct {
	run    *prom.Collector
	linger time.Duration
	http   *http.Server
	served chan struct{} // closed when Serve has returned
}

// serve starts what --metrics-addr asks for, and says where it is.
func (f *metricsFlags) serve(cmd *cobra.Command, cfg *load.Config) (*metricsPages, error) {
	if f.addr == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		return nil, usageError("--metrics-addr %s: %w", f.addr, err)
	}
	m := &metricsPages{run: prom.New(cfg), linger: f.linger, served: make(chan struct{})}
	reg := prometheus.NewRegistry()
	reg.MustRegister(m.run, collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesMost, Timeout: scrapeTimeout,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, m.run.State()+"\n") })
	m.http = &http.Server{Handler: mux, ReadTimeout: scrapeTimeout, IdleTimeout: time.Minute}
	go func() {
		defer close(m.served)
		_ = m.http.Serve(listener)
	}()
	_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "metrics on http://%s/metrics\n", listener.Addr())
	return m, nil
}

// follow has the run tell what happens.
func (m *metricsPages) follow(cfg *load.Config) {
	if m == nil {
		return
	}
	log := cfg.Log
	cfg.Log = func(in *load.Interval) {
		m.run.Interval(in)
		if log != nil {
			log(in)
		}
	}
}

// end takes what the run gave.
func (m *metricsPages) end(res *load.Result) {
	if m != nil {
		m.run.End(res)
	}
}

// stay goes on serving for as long as was asked for, or until ctx ends.
func (m *metricsPages) stay(ctx context.Context, stderr io.Writer) {
	if m == nil || m.linger == 0 || ctx.Err() != nil {
		return
	}
	_, _ = fmt.Fprintf(stderr, "metrics for %v more; Ctrl-C ends it\n", m.linger)
	timer := time.NewTimer(m.linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (m *metricsPages) close() {
	if m != nil {
		_ = m.http.Close()
		<-m.served
	}
}
