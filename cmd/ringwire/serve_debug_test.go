package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/server"
)

// getPage gets a page of a server that was started with --debug-addr.
func getPage(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	status, body, err := tryPage(client, url)
	require.NoError(t, err)
	return status, body
}

func tryPage(client *http.Client, url string) (status int, body string, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

// debugURL reads the line that says where the pages are.
func debugURL(t *testing.T, stdout *bufio.Reader) string {
	t.Helper()
	line, err := stdout.ReadString('\n')
	require.NoError(t, err)
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "debug on ")
	require.True(t, ok, line)
	return url
}

func TestServeShowsMetricsHealthVariablesAndProfiles(t *testing.T) {
	first, stdout := startServeLines(t, "--debug-addr", "127.0.0.1:0")
	addr, ok := strings.CutPrefix(strings.TrimSpace(first), "listening on ")
	require.True(t, ok, first)
	url := debugURL(t, stdout)
	require.True(t, strings.HasPrefix(url, "http://127.0.0.1:"), url)
	called := execute(t, "", binary, "call", "--addr", addr, "--data", "hello")
	require.Equal(t, exitOK, called.code, called.stderr)

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{
		"":                              `href="/metrics"`,
		"healthz":                       "ok\n",
		"metrics":                       "\nringwire_server_requests_total{code=\"replied\"} 1\n",
		"debug/pprof/":                  "goroutine",
		"debug/pprof/goroutine?debug=1": "goroutine profile",
	} {
		status, body := getPage(t, client, url+path)
		assert.Equal(t, http.StatusOK, status, path)
		assert.Contains(t, body, want, path)
	}
	_, metrics := getPage(t, client, url+"metrics")
	assert.Contains(t, metrics, "\ngo_goroutines ")
	assert.Contains(t, metrics, "\ngo_build_info{")
	assert.Contains(t, metrics, "\nringwire_server_request_duration_seconds_bucket{le=\"1e-05\"} ")
	assert.Contains(t, metrics, "\nringwire_server_handler_duration_seconds_count ")

	status, body := getPage(t, client, url+"debug/vars")
	require.Equal(t, http.StatusOK, status)
	var vars struct {
		Ringwire struct {
			server.Stats
			Response, Service quantiles
		}
		Cmdline  []string
		Memstats map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(body), &vars))
	assert.EqualValues(t, 1, vars.Ringwire.Replies)
	assert.Contains(t, vars.Cmdline, "--debug-addr")
	assert.NotEmpty(t, vars.Memstats)

	status, _ = getPage(t, client, url+"nothing")
	assert.Equal(t, http.StatusNotFound, status)
}

func TestServeShowsItsPagesOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, stdout := startServeLines(t, "--debug-addr", "unix:"+path)
	require.Equal(t, "unix:"+path, debugURL(t, stdout))
	transport := &http.Transport{DisableKeepAlives: true}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	status, body := getPage(t, &http.Client{Transport: transport}, "http://server/healthz")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ok\n", body)
}

func TestDebugPagesAreForThisMachineUnlessSaidOtherwise(t *testing.T) {
	for line, want := range map[string]string{
		"serve --debug-addr 0.0.0.0:0":               "--debug-remote",
		"serve --debug-addr :6060":                   "--debug-remote",
		"serve --debug-addr nonsense":                "HOST:PORT",
		"serve --debug-addr nonsense --debug-remote": "HOST:PORT",
	} {
		got := execute(t, "", binary, strings.Fields(line)...)
		assert.Equal(t, exitUsage, got.code, line)
		assert.Contains(t, got.stderr, want, line)
	}
}

// Of real traffic one of 256 is timed, so the numbers are those of a made-up histogram.
func TestVariablesHaveQuantiles(t *testing.T) {
	var l server.Latency
	for range 99 {
		l.Response.Record(time.Millisecond)
	}
	l.Response.Record(time.Second)
	d := &debugPages{stats: func() server.Stats { return server.Stats{} }, latency: func() server.Latency { return l }}
	w := httptest.NewRecorder()
	d.vars(w, nil)
	var vars struct {
		Ringwire struct{ Response, Service quantiles }
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &vars))
	assert.Equal(t, quantiles{Timed: 100, Mean: 0.01099, P50: 0.001, P99: 0.001, P999: 1}, vars.Ringwire.Response)
	assert.Zero(t, vars.Ringwire.Service)
}

func TestHealthIsBadWhileStoppingAndWhileALoopIsStuck(t *testing.T) {
	var stats server.Stats
	d := &debugPages{stats: func() server.Stats { return stats }}
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		d.health(w, nil)
		return w.Code, w.Body.String()
	}
	status, _ := ask()
	assert.Equal(t, http.StatusOK, status)
	stats.StuckLoops = 2
	status, body := ask()
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "2 event loops are held up by a handler\n", body)
	stats.StuckLoops = 0
	d.stopping.Store(true)
	status, body = ask()
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Equal(t, "stopping\n", body)
}

func TestHealthTurnsBadWhenTheServerBeginsToStop(t *testing.T) {
	// The reply takes so long that the end cannot come before the test has looked; it is killed then.
	cmd := exec.CommandContext(t.Context(), binary, "serve", "--addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0", "--latency", "1m")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	require.NoError(t, err)
	url := debugURL(t, lines)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

	nc, err := net.Dial("tcp", strings.TrimPrefix(strings.TrimSpace(first), "listening on "))
	require.NoError(t, err)
	defer func() { _ = nc.Close() }()
	_, err = nc.Write([]byte{0, 5, 0, 0, 0, 1, 'x'})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, body, err := tryPage(client, url+"metrics")
		return err == nil && strings.Contains(body, "\nringwire_server_running 1\n")
	}, 20*time.Second, 10*time.Millisecond)
	status, _ := getPage(t, client, url+"healthz")
	require.Equal(t, http.StatusOK, status)

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Eventually(t, func() bool {
		status, body, err := tryPage(client, url+"healthz")
		return err == nil && status == http.StatusServiceUnavailable && body == "stopping\n"
	}, 20*time.Second, 10*time.Millisecond)
}
