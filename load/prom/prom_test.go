package prom

import (
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ringwire/ringwire/internal/buckets"
	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/request"
	"github.com/ringwire/ringwire/load/schedule"
	"github.com/ringwire/ringwire/load/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backend answers frames of anet on each connection with what answer makes of a payload; nil is
// no answer.
func backend(t *testing.T, answer func(payload []byte) []byte) load.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	codec := codecOf(t)
	var wg sync.WaitGroup
	talk := func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		dec := wire.NewDecoder(codec)
		for {
			n, err := conn.Read(dec.Room())
			dec.Filled(n)
			for f, _ := dec.Next(); f != nil; f, _ = dec.Next() {
				if payload := answer(codec.Payload(nil, f.Bytes)); payload != nil {
					b, _ := codec.Append(nil, f.ID, payload)
					_, _ = conn.Write(b)
				}
			}
			if err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { talk(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	target, err := load.ParseTarget(l.Addr().String())
	require.NoError(t, err)
	return target
}

func codecOf(t *testing.T) *wire.Codec {
	t.Helper()
	s, err := wire.Preset("anet")
	require.NoError(t, err)
	c, err := wire.New(s)
	require.NoError(t, err)
	return c
}

// kind is a request whose reply is a success if it begins with 00.
func kind(t *testing.T, name, payload string) request.Kind {
	t.Helper()
	tp, err := request.Compile(payload, nil, 1)
	require.NoError(t, err)
	return request.Kind{Name: name, Weight: 1, Source: tp, Status: request.Status{Offset: 6, Len: 2, OK: [][]byte{[]byte("00")}}}
}

func config(t *testing.T, target load.Target, kinds ...request.Kind) load.Config {
	t.Helper()
	mix, err := request.NewMix(kinds)
	require.NoError(t, err)
	return load.Config{Targets: []load.Target{target}, Codec: codecOf(t), Mix: mix, Conns: 2, InFlight: 64}
}

func atRate(c load.Config, rate float64, d time.Duration) load.Config {
	c.Schedule = &schedule.Config{Stages: []schedule.Stage{{For: d, From: rate, To: rate}}}
	return c
}

// page serves a collector, and returns what scrapes it as Prometheus does, by the text format.
func page(t *testing.T, c *Collector) (scrape func() map[string]*dto.MetricFamily) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(c)
	s := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(s.Close)
	return func() map[string]*dto.MetricFamily {
		resp, err := client.Get(s.URL)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(resp.Body)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		return families
	}
}

// metric finds the metric of a family that has these labels: names and values by turns.
func metric(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) *dto.Metric {
	t.Helper()
	f := families["ringwire_load_"+name]
	require.NotNil(t, f, name)
	for _, m := range f.GetMetric() {
		has := make(map[string]string)
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		same := true
		for i := 0; i < len(labels); i += 2 {
			same = same && has[labels[i]] == labels[i+1]
		}
		if same {
			return m
		}
	}
	require.Fail(t, "no such metric", "%s %v", name, labels)
	return nil
}

// value is that of a counter or gauge, of all requests of the mix together if none is named.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) uint64 {
	t.Helper()
	m := metric(t, families, name, labels...)
	if m.Counter != nil {
		return uint64(m.GetCounter().GetValue())
	}
	return uint64(m.GetGauge().GetValue())
}

func TestFiguresAreTheReportsAfterTheEnd(t *testing.T) {
	var mu sync.Mutex
	n := 0
	target := backend(t, func(payload []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		n++
		switch {
		case n%50 == 7:
			return nil
		case n%50 == 9:
			return []byte("68 refused")
		case n%50 == 11:
			return []byte("0") // too short to have a status
		}
		return append([]byte("00"), payload...)
	})
	for name, kinds := range map[string][]request.Kind{
		"one kind":  {kind(t, "only", "payload ${seq}")},
		"two kinds": {kind(t, "echo", "payload ${seq}"), kind(t, "sale", "other ${seq}")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := atRate(config(t, target, kinds...), 500, 1200*time.Millisecond)
			cfg.Timeout, cfg.Drain, cfg.Warmup = 200*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
			c := New(&cfg)
			scrape := page(t, c)
			assert.EqualValues(t, 1, value(t, scrape(), "state", "state", Connecting))
			var before uint64
			cfg.Log = func(in *load.Interval) {
				c.Interval(in)
				seen := scrape()
				now := value(t, seen, "sent_total", "request", kinds[0].Name)
				assert.GreaterOrEqual(t, now, before)
				assert.Zero(t, value(t, seen, "state", "state", Connecting))
				before = now
			}
			res, err := load.Run(t.Context(), cfg)
			require.NoError(t, err)
			c.End(res)
			agrees(t, scrape(), res, kinds)
			assert.Positive(t, before)
		})
	}
}

// agrees compares what was scraped with the report.
func agrees(t *testing.T, seen map[string]*dto.MetricFamily, res *load.Result, kinds []request.Kind) {
	t.Helper()
	s := report.Summarize(res, report.Options{})
	require.Positive(t, s.Timeouts)
	require.Positive(t, s.Refused)
	require.Positive(t, s.Truncated)
	of := map[string]func(k string) uint64{
		"sent":    func(k string) uint64 { return value(t, seen, "sent_total", "request", k) },
		"replied": func(k string) uint64 { return value(t, seen, "replied_total", "request", k) },
		"late":    func(k string) uint64 { return value(t, seen, "late_total", "request", k) },
		"cut":     func(k string) uint64 { return value(t, seen, "cut_total", "request", k) },
		"lost":    func(k string) uint64 { return value(t, seen, "lost", "request", k) },
		"response": func(k string) uint64 {
			return metric(t, seen, "response_seconds", "request", k).GetHistogram().GetSampleCount()
		},
		"service": func(k string) uint64 {
			return metric(t, seen, "service_seconds", "request", k).GetHistogram().GetSampleCount()
		},
	}
	want := map[string]uint64{"sent": s.Sent, "replied": s.Replied, "late": s.Late, "cut": s.Cut, "lost": s.Lost,
		"response": uint64(s.Response.Count), "service": uint64(s.Service.Count)}
	for failure, n := range map[string]uint64{"timeouts": s.Timeouts, "conn_lost": s.ConnLost, "abandoned": s.Abandoned,
		"refused": s.Refused, "mismatch": s.Mismatch, "truncated": s.Truncated} {
		of[failure] = func(k string) uint64 { return value(t, seen, "failures_total", "request", k, "failure", failure) }
		want[failure] = n
	}
	for what, n := range want {
		sum := uint64(0)
		for _, k := range kinds {
			sum += of[what](k.Name)
		}
		assert.Equal(t, n, sum, what)
	}
	assert.EqualValues(t, s.Queue.Count, metric(t, seen, "queue_seconds").GetHistogram().GetSampleCount())
	assert.EqualValues(t, s.Lag.Count, metric(t, seen, "lag_seconds").GetHistogram().GetSampleCount())
	for _, code := range res.Codes {
		assert.Equal(t, code.Count, value(t, seen, "statuses_total", "status", code.Name), code.Name)
	}
	assert.Len(t, res.Codes, 2)
	assert.Equal(t, res.Bytes.Sent, value(t, seen, "bytes_total", "dir", "out"))
	assert.Equal(t, res.Bytes.Received, value(t, seen, "bytes_total", "dir", "in"))
	assert.Equal(t, res.Conns.Opened, value(t, seen, "connections_opened_total"))
	assert.Equal(t, s.Unsent, value(t, seen, "unsent_total", "why", "backlog")+value(t, seen, "unsent_total", "why", "generator"))
	assert.EqualValues(t, 1, value(t, seen, "state", "state", Over))
	assert.Zero(t, value(t, seen, "connections")+value(t, seen, "inflight")+value(t, seen, "target_rate"))
}

func TestWhileItRunsItTellsWhatIsUnderWay(t *testing.T) {
	target := backend(t, func([]byte) []byte { return nil })
	cfg := atRate(config(t, target, kind(t, "a", "x")), 100, time.Hour)
	cfg.Timeout, cfg.Drain, cfg.InFlight, cfg.Backlog = time.Minute, time.Millisecond, 3, 5
	c := New(&cfg)
	scrape := page(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen map[string]*dto.MetricFamily
	cfg.Log = func(in *load.Interval) {
		if c.Interval(in); seen == nil {
			seen = scrape()
			cancel()
		}
	}
	_, err := load.Run(ctx, cfg)
	require.NoError(t, err)
	require.NotNil(t, seen)
	assert.EqualValues(t, 2, value(t, seen, "connections"))
	assert.EqualValues(t, 6, value(t, seen, "inflight"))
	assert.EqualValues(t, 5, value(t, seen, "backlog"))
	assert.EqualValues(t, 100, value(t, seen, "target_rate"))
	assert.EqualValues(t, 6, value(t, seen, "sent_total", "request", "a"))
	assert.Positive(t, value(t, seen, "unsent_total", "why", "backlog"))
	assert.EqualValues(t, 1, value(t, seen, "state", "state", Sending))
}

func TestTheClosedLoopHasNoFiguresOfASchedule(t *testing.T) {
	target := backend(t, func(payload []byte) []byte { return []byte("00") })
	cfg := config(t, target, kind(t, "a", "x"))
	cfg.Requests = 100
	c := New(&cfg)
	cfg.Log = c.Interval
	res, err := load.Run(t.Context(), cfg)
	require.NoError(t, err)
	c.End(res)
	seen := page(t, c)()
	for _, name := range []string{"unsent_total", "backlog", "target_rate", "lag_max_seconds", "queue_seconds", "lag_seconds"} {
		assert.NotContains(t, seen, "ringwire_load_"+name)
	}
	assert.EqualValues(t, 100, value(t, seen, "replied_total", "request", "a"))
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

func TestConnectionsThatCannotBeMadeAreCountedByStep(t *testing.T) {
	cfg := config(t, load.Target{}, kind(t, "a", "x"))
	c := New(&cfg)
	c.End(&load.Result{Conns: load.Conns{Lost: 4, Cut: 1, Errors: map[string]uint64{
		"dial: connection refused": 2, "dial: timeout": 3, "opening: log-on: timeout": 5, "connection: closed by the peer": 4}}})
	seen := page(t, c)()
	assert.EqualValues(t, 5, value(t, seen, "connection_errors_total", "step", "dial"))
	assert.EqualValues(t, 5, value(t, seen, "connection_errors_total", "step", "opening"))
	assert.EqualValues(t, 4, value(t, seen, "connections_lost_total"))
	assert.EqualValues(t, 1, value(t, seen, "connections_cut_total"))
	assert.Zero(t, metric(t, seen, "response_seconds").GetHistogram().GetSampleCount())
}

func TestACounterDoesNotGoBack(t *testing.T) {
	before := load.Result{Kinds: []load.Figures{{Counts: load.Counts{Sent: 7}}, {}}}
	before.Total.Counts.Sent = 7
	now := load.Result{Kinds: []load.Figures{{Counts: load.Counts{Sent: 5}}, {Counts: load.Counts{Sent: 1}}}}
	now.Total.Counts.Sent = 6
	keepUp(&before, &now)
	assert.EqualValues(t, 7, now.Total.Counts.Sent)
	assert.EqualValues(t, 7, now.Kinds[0].Counts.Sent)
	assert.EqualValues(t, 1, now.Kinds[1].Counts.Sent)
	keepUp(&load.Result{}, &now)
}

func TestHistogramsHaveEachValueOnce(t *testing.T) {
	h := load.NewHistogram()
	values := []int64{0, 1, 9_000, 10_000, 11_000, 24_000, 700_000, 3_000_000, 3_000_000, 2_000_000_000, 60_000_000_000, int64(time.Hour)}
	sum := 0.0
	for _, v := range values {
		require.NoError(t, h.RecordValue(v))
		sum += float64(v) / 1e9
	}
	var out dto.Metric
	m, err := newSeconds(queues, h, time.Now())
	require.NoError(t, err)
	require.NoError(t, m.Write(&out))
	got := out.GetHistogram()
	assert.EqualValues(t, len(values), got.GetSampleCount())
	assert.InEpsilon(t, sum, got.GetSampleSum(), 0.001)
	require.Len(t, got.GetBucket(), len(buckets.Seconds()))
	for i, b := range got.GetBucket() {
		within := uint64(0)
		for _, v := range values {
			if float64(v)/1e9*1.001 <= b.GetUpperBound() { // 10 µs as the histogram sees it are above 10 µs
				within++
			}
		}
		assert.Equal(t, within, b.GetCumulativeCount(), "%d: up to %v", i, b.GetUpperBound())
	}
	natively(t, got, h)
}

// natively checks that the native buckets have the values of a histogram, each where it belongs.
func natively(t *testing.T, got *dto.Histogram, h *hdrhistogram.Histogram) {
	t.Helper()
	assert.EqualValues(t, 1, got.GetZeroCount())
	total, index, n, at := got.GetZeroCount(), int32(0), int64(0), 0
	bounds := make(map[int32]int64)
	for _, span := range got.GetPositiveSpan() {
		index += span.GetOffset()
		for range span.GetLength() {
			n += got.GetPositiveDelta()[at]
			at++
			bounds[index] = n
			total += uint64(n)
			index++
		}
	}
	assert.EqualValues(t, h.TotalCount(), total)
	for _, bar := range h.Distribution() {
		if bar.Count > 0 && bar.To > 0 {
			v := float64(bar.To) / 1e9
			var in int64
			for i, n := range bounds {
				if high := math.Pow(2, float64(i)/8); v <= high && v > math.Pow(2, float64(i-1)/8) {
					in = n
				}
			}
			assert.Positive(t, in, "%v", v)
		}
	}
}
