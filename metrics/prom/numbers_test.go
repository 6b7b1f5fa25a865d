package prom_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

// named returns a line for each number of a snapshot that is a metric: the field, the metric's kind and name, and
// its labels' values.
func named(t *testing.T, of string, c prometheus.Collector, fields map[float64]string) (lines []string) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(c))
	families, err := reg.Gather()
	require.NoError(t, err)
	add := func(value float64, words ...string) {
		if field, there := fields[value]; there {
			lines = append(lines, strings.Join(append([]string{of + "." + field}, words...), " "))
		}
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			words := []string{strings.ToLower(f.GetType().String()), f.GetName()}
			for _, l := range m.GetLabel() {
				words = append(words, l.GetValue())
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				add(m.GetCounter().GetValue(), words...)
			case dto.MetricType_GAUGE:
				add(m.GetGauge().GetValue(), words...)
			case dto.MetricType_SUMMARY:
				add(m.GetSummary().GetSampleSum(), append(words, "sum")...)
				add(float64(m.GetSummary().GetSampleCount()), append(words, "count")...)
			default:
				t.Errorf("%s is a %v", f.GetName(), f.GetType())
			}
		}
	}
	return lines
}

// testdata/numbers.txt was checked line by line: a number that goes to another name or label shows.
func TestEachNumberHasItsNameAndLabel(t *testing.T) {
	servers, fields := snapshot[server.Stats](t)
	lines := named(t, "server", prom.Server(servers), fields)
	brokers, fields := snapshot[engine.Stats](t)
	lines = append(lines, named(t, "broker", prom.Broker(brokers, nil), fields)...)
	pools, fields := snapshot[pool.Stats](t)
	lines = append(lines, named(t, "pool", prom.Pool(pools), fields)...)
	pairs, fields := snapshot[paired.Stats](t)
	lines = append(lines, named(t, "paired", prom.PairedPool(pairs), fields)...)
	https, fields := snapshot[httppool.HTTPPoolMetrics](t)
	c := prom.HTTPPool(func() *httppool.HTTPPoolMetrics { m := https(); return &m }, nil)
	lines = append(lines, named(t, "httppool", c, fields)...)
	slices.Sort(lines)
	want, err := os.ReadFile("testdata/numbers.txt")
	require.NoError(t, err)
	assert.Equal(t, string(want), strings.Join(lines, "\n")+"\n")
}
