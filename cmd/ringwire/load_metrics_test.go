package main

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/report"
)

// shownLoad is a run of "ringwire load --metrics-addr".
type shownLoad struct {
	cmd    *exec.Cmd
	stderr *bufio.Reader
	client *http.Client
	url    string // of /metrics
}

func showLoad(t *testing.T, args ...string) *shownLoad {
	t.Helper()
	s := &shownLoad{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	s.cmd = exec.CommandContext(t.Context(), binary, append([]string{"load", "--metrics-addr", "127.0.0.1:0"}, args...)...)
	stderr, err := s.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
	s.stderr = bufio.NewReader(stderr)
	var ok bool
	s.url, ok = strings.CutPrefix(s.line(t), "metrics on ")
	require.True(t, ok)
	return s
}

func (s *shownLoad) line(t *testing.T) string {
	t.Helper()
	line, err := s.stderr.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func (s *shownLoad) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	resp, err := s.client.Get(s.url)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(t, err)
	return families
}

func (s *shownLoad) health(t *testing.T) string {
	t.Helper()
	status, body := getPage(t, s.client, strings.TrimSuffix(s.url, "metrics")+"healthz")
	require.Equal(t, http.StatusOK, status)
	return strings.TrimSpace(body)
}

// sum adds up the counters of a family, or the counts of its histograms, that have a label's value;
// an empty one is all.
func sum(families map[string]*dto.MetricFamily, name, value string) (n uint64) {
	for _, m := range families["ringwire_load_"+name].GetMetric() {
		for _, l := range m.GetLabel() {
			if value == "" || l.GetValue() == value {
				n += uint64(m.GetCounter().GetValue()) + m.GetHistogram().GetSampleCount()
				break
			}
		}
	}
	return n
}

func TestLoadShowsPrometheusTheNumbersOfItsReport(t *testing.T) {
	addr, _ := startServe(t)
	path := filepath.Join(t.TempDir(), "report.json")
	s := showLoad(t, "--metrics-linger", "1m", "-r", "500", "-d", "1500ms", "--warmup", "200ms", "--inflight", "64", "--json", path,
		"--request", "echo=xx00", "--request", "sale:2=xx68", "--status", "off=8,len=2", "--ok", "00", addr)
	require.Eventually(t, func() bool { return s.health(t) == "sending" }, 20*time.Second, 10*time.Millisecond)
	during := s.scrape(t)
	assert.Positive(t, sum(during, "sent_total", ""))
	assert.NotNil(t, during["go_goroutines"])
	assert.Contains(t, s.line(t), "metrics for 1m0s more", "the report is written")
	assert.Equal(t, "over", s.health(t))
	seen := s.scrape(t)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var d report.Document
	require.NoError(t, json.Unmarshal(text, &d))
	for what, n := range map[[2]string]uint64{
		{"sent_total", ""}: d.Summary.Sent, {"replied_total", ""}: d.Summary.Replied,
		{"failures_total", "refused"}: d.Summary.Refused, {"failures_total", "timeouts"}: d.Summary.Timeouts,
		{"response_seconds", ""}: uint64(d.Summary.Response.Count), {"service_seconds", ""}: uint64(d.Summary.Service.Count),
		{"sent_total", "echo"}: d.Requests[0].Counts.Sent, {"sent_total", "sale"}: d.Requests[1].Counts.Sent,
		{"response_seconds", "echo"}: uint64(d.Requests[0].Response.Count),
		{"statuses_total", "00"}:     d.Requests[0].Counts.Replied, {"statuses_total", "68"}: d.Requests[1].Counts.Replied,
		{"bytes_total", "out"}: d.Bytes.Sent, {"bytes_total", "in"}: d.Bytes.Received,
	} {
		assert.Equal(t, n, sum(seen, what[0], what[1]), what)
	}
	assert.EqualValues(t, d.Requests[1].Counts.Sent, d.Summary.Refused, "each sale")
	assert.InDelta(t, 650, d.Summary.Sent, 5)
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	require.NoError(t, s.cmd.Wait(), "its end is that of the run")
}

func TestAnInterruptedLoadDoesNotLinger(t *testing.T) {
	addr, _ := startServe(t)
	s := showLoad(t, "--metrics-linger", "1h", "-d", "1h", addr)
	require.Eventually(t, func() bool { return s.health(t) == "sending" }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.cmd.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, s.cmd.Wait(), &exit)
	assert.Equal(t, exitInterrupted, exit.ExitCode())
}

func TestLoadRefusesAnAddressForMetricsThatItCannotServe(t *testing.T) {
	target := accepting(t, func(net.Conn) { t.Error("dialled") })
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	path := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(path, []byte("from before"), 0o600))
	for args, want := range map[string]string{
		"--metrics-addr " + taken.Addr().String():          "--metrics-addr " + taken.Addr().String() + ": listen tcp",
		"--metrics-addr 9100":                              `--metrics-addr "9100": must be HOST:PORT`,
		"--metrics-addr 127.0.0.1:none":                    "--metrics-addr 127.0.0.1:none: ",
		"--metrics-linger 5s":                              "--metrics-linger 5s: give --metrics-addr, too",
		"--metrics-linger 2h --metrics-addr :0":            "--metrics-linger 2h0m0s: must be 0 to 1h0m0s",
		"--metrics-linger -1s --metrics-addr :0":           "--metrics-linger -1s: must be 0 to",
		"--metrics-addr 127.0.0.1:0 --find-max p99<5ms":    "--metrics-addr: does not go with --find-max",
		"--metrics-addr 127.0.0.1:0 --json /nonexistent/x": "--json: ",
		"--metrics-addr 127.0.0.1:0 --rate 0":              "--rate 0: must be above 0",
	} {
		var out strings.Builder
		line := append(strings.Fields(args), "--json", path, target)
		if strings.Contains(args, "--json") {
			line = append(strings.Fields(args), target)
		}
		code := run(append([]string{"load"}, line...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "from before", string(kept))
}

func TestAScenarioMayShowItselfToPrometheus(t *testing.T) {
	addr, _ := startServe(t)
	file := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(file, []byte("version: 1\ntargets: [\""+addr+"\"]\nload: {requests: 5}\nmetrics_addr: \"127.0.0.1:0\"\n"), 0o600))
	got, s := execLoad(t, "-f", file)
	require.Zero(t, got.code, got.stderr)
	assert.EqualValues(t, 5, s.Summary.Sent)
	assert.Contains(t, got.stderr, "metrics on http://127.0.0.1:")
}
