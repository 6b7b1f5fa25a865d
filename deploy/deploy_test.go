// Package deploy loads the dashboards and the alert rules of this folder, and checks them against the
// collectors.
package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/health"
	"github.com/ringwire/ringwire/httppool"
	"github.com/ringwire/ringwire/latency"
	"github.com/ringwire/ringwire/load"
	loadprom "github.com/ringwire/ringwire/load/prom"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/metrics/prom"
	"github.com/ringwire/ringwire/pool"
	"github.com/ringwire/ringwire/pool/paired"
	"github.com/ringwire/ringwire/server"
)

const rulesFile = "prometheus/ringwire.rules.yml"

// dashboards are all there are, with how many metrics each has to name at least.
var dashboards = map[string]int{"grafana/ringwire.json": 40, "grafana/ringwire-load.json": 25}

// metrics are all there are: the values of each label, by metric and label.
type metrics map[string]map[string]map[string]bool

// targetLabels are those that Prometheus adds.
var targetLabels = map[string]bool{"job": true, "instance": true}

func (m metrics) add(name string, labels []*dto.LabelPair) {
	if m[name] == nil {
		m[name] = make(map[string]map[string]bool)
	}
	for _, l := range labels {
		if m[name][l.GetName()] == nil {
			m[name][l.GetName()] = make(map[string]bool)
		}
		m[name][l.GetName()][l.GetValue()] = true
	}
}

// collected are the metrics of all collectors, and of the runtime's that "ringwire serve" has.
func collected(t *testing.T) metrics {
	t.Helper()
	var addrs []engine.AddrStats
	for i, state := range []engine.AddrState{engine.AddrUp, engine.AddrTrial, engine.AddrEjected, engine.AddrSilent, engine.AddrDown, engine.AddrIdle} {
		addrs = append(addrs, engine.AddrStats{Addr: fmt.Sprint(i), State: state})
	}
	target := &httppool.ServerTarget{URL: &url.URL{Scheme: "http", Host: "a"}, State: health.Up}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(
		prom.Server(func() server.Stats { return server.Stats{} }), prom.ServerLatency(func() (l server.Latency) { return l }),
		prom.Broker(func() engine.Stats { return engine.Stats{} }, func() []engine.AddrStats { return addrs }), prom.BrokerLatency(func() (h latency.Histogram) { return h }),
		prom.Pool(func() pool.Stats { return pool.Stats{} }),
		prom.PairedPool(func() paired.Stats { return paired.Stats{} }),
		prom.HTTPPool(func() *httppool.HTTPPoolMetrics { return &httppool.HTTPPoolMetrics{} },
			func() []*httppool.ServerTarget { return []*httppool.ServerTarget{target} }),
		prom.HTTPPoolLatency(func() (h latency.Histogram) { return h }),
		loadRun(t), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	families, err := reg.Gather()
	require.NoError(t, err)
	all := make(metrics)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				name := "le"
				all.add(f.GetName()+"_bucket", append(m.GetLabel(), &dto.LabelPair{Name: &name}))
				fallthrough
			case dto.MetricType_SUMMARY:
				all.add(f.GetName()+"_sum", m.GetLabel())
				all.add(f.GetName()+"_count", m.GetLabel())
			default:
				all.add(f.GetName(), m.GetLabel())
			}
		}
	}
	return all
}

// loadRun is a collector of a run of the load generator in which there was everything.
func loadRun(t *testing.T) prometheus.Collector {
	t.Helper()
	payload, err := request.Compile("payload", nil, 1)
	require.NoError(t, err)
	mix, err := request.NewMix([]request.Kind{{Name: "request", Weight: 1, Source: payload}})
	require.NoError(t, err)
	c := loadprom.New(&load.Config{Mix: mix, Schedule: &schedule.Config{}})
	c.End(&load.Result{Codes: []load.Code{{Name: "00", OK: true, Count: 1}}})
	return c
}

// problems says what is wrong with an expression: its syntax, or a metric, a label or a label's value
// that does not exist. used gets the metrics that it names.
func (m metrics) problems(expr string, used map[string]bool) (problems []string) {
	expr = strings.NewReplacer("$__rate_interval", "5m", "$__interval", "5m").Replace(expr)
	parsed, err := metricsql.Parse(expr)
	if err != nil {
		return []string{err.Error()}
	}
	names := make(map[string]bool)
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		metric, ok := e.(*metricsql.MetricExpr)
		if !ok {
			return
		}
		for _, filters := range metric.LabelFilterss {
			name := ""
			for _, f := range filters {
				if f.Label == "__name__" && !f.IsRegexp && !f.IsNegative {
					name = f.Value
				}
			}
			names[name], used[name] = true, true
			problems = append(problems, m.filterProblems(name, filters)...)
		}
	})
	if len(names) == 0 {
		problems = append(problems, "names no metric")
	}
	metricsql.VisitAll(parsed, func(e metricsql.Expr) {
		if aggr, ok := e.(*metricsql.AggrFuncExpr); ok {
			for _, label := range aggr.Modifier.Args {
				if !m.hasLabel(names, label) {
					problems = append(problems, fmt.Sprintf("no metric of it has the label %s", label))
				}
			}
		}
	})
	return problems
}

// record adds what a rule records: a metric that may have the labels of those it is made of.
func (m metrics) record(name, expr string) {
	from := make(map[string]bool)
	m.problems(expr, from)
	made := make(map[string]map[string]bool)
	for metric := range from {
		maps.Copy(made, m[metric])
	}
	m[name] = made
}

func (m metrics) hasLabel(names map[string]bool, label string) bool {
	for name := range names {
		if m[name][label] != nil {
			return true
		}
	}
	return targetLabels[label]
}

// filterProblems checks what stands in a metric's braces.
func (m metrics) filterProblems(name string, filters []metricsql.LabelFilter) (problems []string) {
	labels, exists := m[name]
	if !exists {
		return []string{fmt.Sprintf("no collector has the metric %q", name)}
	}
	for _, f := range filters {
		values := labels[f.Label]
		switch {
		case f.Label == "__name__" || targetLabels[f.Label]:
			continue
		case values == nil:
			problems = append(problems, fmt.Sprintf("%s has no label %s", name, f.Label))
			continue
		}
		wanted := []string{f.Value}
		if f.IsRegexp {
			wanted = strings.Split(f.Value, "|")
		}
		for _, w := range wanted {
			if !values[w] {
				problems = append(problems, fmt.Sprintf("label %s of %s has no value %q", f.Label, name, w))
			}
		}
	}
	return problems
}

// rules is what Prometheus reads; a field that it does not know is an error.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Record, Expr string
			For                 string
			Labels, Annotations map[string]string
		}
	}
}

func loadRules(t *testing.T) (r rules) {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	require.NoError(t, err)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&r))
	require.NotEmpty(t, r.Groups)
	return r
}

func TestAlertRulesNameWhatTheCollectorsHave(t *testing.T) {
	all, used, seen := collected(t), make(map[string]bool), make(map[string]bool)
	for _, g := range loadRules(t).Groups {
		assert.NotEmpty(t, g.Rules, g.Name)
		for _, r := range g.Rules {
			for _, p := range all.problems(r.Expr, used) {
				t.Errorf("%s: %s: %s", rulesFile, r.Alert+r.Record, p)
			}
			if r.Record != "" { // a metric for the rules after it
				all.record(r.Record, r.Expr)
				continue
			}
			assert.False(t, seen[r.Alert], "%s is there twice", r.Alert)
			seen[r.Alert] = true
			assert.Contains(t, []string{"critical", "warning"}, r.Labels["severity"], r.Alert)
			if r.For != "" {
				_, err := time.ParseDuration(r.For)
				assert.NoError(t, err, r.Alert)
			}
			for _, name := range []string{"summary", "description"} {
				assert.NotEmpty(t, r.Annotations[name], "%s: %s", r.Alert, name)
				assert.NoError(t, expand(r.Annotations[name]), "%s: %s", r.Alert, name)
			}
		}
	}
	assert.Greater(t, len(seen), 10)
}

// expand runs the template of an annotation as Prometheus does.
func expand(text string) error {
	same := func(v float64) string { return fmt.Sprint(v) }
	tmpl, err := template.New("annotation").Option("missingkey=error").
		Funcs(template.FuncMap{"humanizeDuration": same, "humanizePercentage": same}).
		Parse("{{$labels := .Labels}}{{$value := .Value}}" + text)
	if err != nil {
		return err
	}
	labels := map[string]string{"job": "j", "instance": "i", "server": "s", "state": "down", "kind": "k", "reason": "r"}
	return tmpl.Execute(&bytes.Buffer{}, map[string]any{"Labels": labels, "Value": 0.5})
}

// dashboard is the part of Grafana's JSON that matters here.
type dashboard struct {
	UID, Title    string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct{ RefID, Expr, LegendFormat string }
}

func loadDashboard(t *testing.T, file string) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &d))
	require.NotEmpty(t, d.Panels)
	return d
}

var (
	variable = regexp.MustCompile(`\$\{?(\w+)`)
	legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

func TestDashboardsNameWhatTheCollectorsHave(t *testing.T) {
	all := collected(t)
	for file, least := range dashboards {
		used := make(map[string]bool)
		named(t, all, file, used)
		assert.Greater(t, len(used), least, file)
		if file != "grafana/ringwire-load.json" {
			continue
		}
		for name := range all { // which has all of a run
			histogram := strings.HasSuffix(name, "_sum") || strings.HasSuffix(name, "_count")
			if strings.HasPrefix(name, "ringwire_load_") && !histogram {
				assert.True(t, used[name], "%s shows no %s", file, name)
			}
		}
	}
}

// named checks the names in a dashboard, and notes the metrics that are used.
func named(t *testing.T, all metrics, file string, used map[string]bool) {
	t.Helper()
	d := loadDashboard(t, file)
	known := map[string]bool{"__rate_interval": true}
	for _, v := range d.Templating.List {
		known[v.Name] = true
	}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		assert.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			for _, problem := range all.problems(target.Expr, used) {
				t.Errorf("%s: %s: %s: %s", file, p.Title, target.Expr, problem)
			}
			for _, v := range variable.FindAllStringSubmatch(target.Expr, -1) {
				assert.True(t, known[v[1]], "%s: no variable %s", p.Title, v[1])
			}
			for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				assert.Regexp(t, `by \([^)]*\b`+l[1]+`\b`, target.Expr, "%s: the legend names a label that is summed away", p.Title)
			}
		}
	}
}

func TestPanelsOfADashboardDoNotOverlap(t *testing.T) {
	for file := range dashboards {
		doNotOverlap(t, loadDashboard(t, file).Panels)
	}
}

func doNotOverlap(t *testing.T, panels []panel) {
	t.Helper()
	taken, ids := make(map[[2]int]string), make(map[int]bool)
	for _, p := range panels {
		assert.False(t, ids[p.ID], "%s: ID %d is taken", p.Title, p.ID)
		ids[p.ID] = true
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[cell], "%s", p.Title)
				taken[cell] = p.Title
			}
		}
	}
}

func TestTheCheckSeesWhatIsWrong(t *testing.T) {
	all := collected(t)
	for expr, want := range map[string]string{
		`sum(rate(ringwire_server_requests_total[5m])`:         "unexpected token",
		`rate(ringwire_server_request_total[5m])`:              `no collector has the metric "ringwire_server_request_total"`,
		`ringwire_server_requests_total{kode="replied"}`:       "has no label kode",
		`ringwire_server_requests_total{code="replyed"}`:       `has no value "replyed"`,
		`ringwire_server_requests_total{code=~"replied|lost"}`: `has no value "lost"`,
		`sum by (reason) (ringwire_server_requests_total)`:     "no metric of it has the label reason",
		`ringwire_client_request_duration_seconds`:             "no collector has the metric",
		`vector(1)`: "names no metric",
		`ringwire_client_server_connections > 3 and on (job) ringwire_client_inflight_requests`: "ringwire_client_inflight_requests",
	} {
		assert.Contains(t, strings.Join(all.problems(expr, make(map[string]bool)), "; "), want, expr)
	}
	recorded := `sum without (server) (recorded{state="up"})`
	assert.NotEmpty(t, all.problems(recorded, make(map[string]bool)))
	all.record("recorded", "ringwire_client_server_state == 1")
	assert.Empty(t, all.problems(recorded, make(map[string]bool)))
	assert.Empty(t, all.problems(`histogram_quantile(0.9, sum by (le, job) (rate(ringwire_client_request_duration_seconds_bucket{job=~"$job"}[$__rate_interval])))`, make(map[string]bool)))
	assert.Error(t, expand("{{ $labels.instanze }}"))
}

// promtool, where it is installed, reads the rules as Prometheus does, and has them fire on made-up
// series.
func TestAlertsFireWhenPromtoolRunsThem(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: prometheus): the rules are parsed only")
	}
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", "prometheus/ringwire.test.yml"}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		assert.NoError(t, err, "%s", out)
	}
}
