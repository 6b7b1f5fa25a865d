package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/internal/race"
	"github.com/ringwire/ringwire/benchmarks/peers/suite"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asCommand makes the test binary run main, so that the servers that a test
// starts are processes of their own.
const asCommand = "PEERS_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// programs builds the servers that are programs of their own.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, by := range map[string]struct{ command, module string }{
		"ringwire":                {"go", "../../cmd/ringwire"},
		"anet-v1-baseline-server": {"./go-v1", "anetserver"},
		"anet-baseline-server":    {"go", "anetserver"},
	} {
		build := exec.CommandContext(t.Context(), by.command, "build", "-o", filepath.Join(dir, name), ".")
		build.Dir = by.module
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return dir
}

// command runs this program as a process of its own.
func command(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	// The race detector's runtime sleeps a second at exit unless told not to.
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err = cmd.Run()
	return out.String(), complaints.String(), err
}

func TestRunMeasuresEachPeerAndWritesWhatWasAskedFor(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	names := suite.PeerNames()
	if race.Enabled { // its client has data races
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, bench.Anet) })
	}
	stdout, stderr, err := command(t, "run", "--bin", programs(t), "--peers", strings.Join(names, ","), "--sections", "throughput,limits,bandwidth,rate,options",
		"--callers", "1,4", "--rounds", "1", "--slice", "20ms",
		"--json", path("peers.json"), "--markdown", path("peers.md"), "--svg-dir", path("charts"))
	require.NoError(t, err, "%s", stderr)
	assert.Contains(t, stdout, "Targets")

	in, err := os.Open(path("peers.json"))
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	report, err := suite.Read(in)
	require.NoError(t, err)
	assert.False(t, report.Partial)
	require.Len(t, report.Sections, 5)
	measured := make(map[string]bool)
	for _, s := range report.Sections {
		for _, row := range s.Rows {
			measured[row.System] = true
			assert.Positive(t, row.Requests, "%s %s %d", s.Name, row.System, row.Callers)
			assert.Zero(t, row.Errors, "%s %s %d", s.Name, row.System, row.Callers)
			assert.Empty(t, row.Failure)
		}
	}
	for _, s := range report.Systems {
		assert.Equal(t, s.Missing == "", measured[s.Name], "%s: measured, or said to be missing", s.Name)
	}
	for _, name := range []string{"peers.md", "charts/throughput.svg", "charts/latency.svg", "charts/cpu.svg", "charts/losses.svg"} {
		content, err := os.ReadFile(path(name))
		require.NoError(t, err)
		assert.NotEmpty(t, content, name)
	}
}

func TestRunMeasuresEverydayUseOfBothSystems(t *testing.T) {
	if race.Enabled {
		t.Skip("anet's client has data races")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	_, stderr, err := command(t, "run", "--bin", programs(t), "--peers", "anet,net.Conn", "--sections", "everyday",
		"--rounds", "1", "--slice", "50ms", "--json", path("peers.json"), "--markdown", path("peers.md"), "--svg-dir", dir)
	require.NoError(t, err, "%s", stderr)
	in, err := os.Open(path("peers.json"))
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	report, err := suite.Read(in)
	require.NoError(t, err)
	require.Len(t, report.Sections, 1)
	section := report.Sections[0]
	assert.Len(t, section.Rows, 6, "the best cases of 1, 16 and 64 callers of both")
	conditions := make(map[string]map[string]bool)
	for _, row := range section.Everyday {
		if conditions[row.System] == nil {
			conditions[row.System] = make(map[string]bool)
		}
		conditions[row.System][row.Condition] = true
		assert.Zero(t, row.Errors, "%s %s", row.System, row.Condition)
		if strings.HasPrefix(row.Condition, "5 ms handlers") {
			assert.Greater(t, row.P50, 5*time.Millisecond.Nanoseconds(), "%s: its server waits", row.System)
		} else if row.API == bench.Blocking {
			assert.Positive(t, row.Requests, "%s %s", row.System, row.Condition)
		}
	}
	assert.Len(t, conditions, 2)
	for _, name := range []string{"deadline", "4 servers", "idle", "5 ms handlers"} {
		assert.True(t, conditions[bench.Anet][name], name)
		assert.True(t, conditions[bench.Ringwire][name], name)
	}
	assert.True(t, conditions[bench.Ringwire]["64 workers"])
	assert.False(t, conditions[bench.Anet]["64 workers"], "it has no such setting")
	markdown, err := os.ReadFile(path("peers.md"))
	require.NoError(t, err)
	assert.Contains(t, string(markdown), "| deadline | 16 |")
	assert.FileExists(t, path("losses.svg"))
	assert.NoFileExists(t, path("throughput.svg"))
}

func TestRunMeasuresTheServerAndLeavesNothingRunning(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	names := slices.Concat(suite.PeerNames(), suite.ServerNames())
	if race.Enabled { // its client has data races
		names = slices.DeleteFunc(names, func(name string) bool { return strings.HasPrefix(name, bench.Anet) })
	}
	bin := programs(t)
	stdout, stderr, err := command(t, "run", "--bin", bin, "--peers", strings.Join(names, ","),
		"--sections", "light,handlers,polling", "--clients", "5,40", "--rounds", "1", "--slice", "20ms",
		"--json", path("server.json"), "--markdown", path("server.md"))
	require.NoError(t, err, "%s", stderr)
	assert.Contains(t, stdout, "beside goroutines")
	in, err := os.Open(path("server.json"))
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	report, err := suite.Read(in)
	require.NoError(t, err)
	require.Len(t, report.Sections, 3)
	measured := make(map[string][]string)
	for _, s := range report.Sections {
		for _, row := range s.Rows {
			measured[s.Name] = append(measured[s.Name], row.System)
			assert.GreaterOrEqual(t, row.Requests, uint64(row.Callers), "%s %s: each caller sends", s.Name, row.System)
			assert.Zero(t, row.Errors, "%s %s", s.Name, row.System)
			assert.Empty(t, row.Failure)
			assert.Positive(t, row.P99, "%s %s", s.Name, row.System)
			assert.GreaterOrEqual(t, row.P50, row.Handler.Nanoseconds(), "%s %s: its server waits", s.Name, row.System)
		}
	}
	if !race.Enabled && runtime.GOOS == "linux" {
		light := []string{bench.Ringwire, "ringwire Loops 2", "goroutines", bench.Anet, "gnet", "netpoll"}
		assert.Equal(t, slices.Concat(light, light), measured["light"])
		handlers := []string{bench.Ringwire, "grpc-go", "kitex", bench.Anet}
		late := append(slices.Clone(handlers), "only sleep")
		assert.Equal(t, slices.Concat(handlers, late, late), measured["handlers"])
		assert.Equal(t, []string{bench.Ringwire, "polling"}, measured["polling"])
	}
	for _, program := range []string{bin, os.Args[0] + "\x00serve"} {
		assert.Eventually(t, func() bool { return len(running(t, program)) == 0 }, 10*time.Second, 10*time.Millisecond,
			"%q", running(t, program))
	}
}

func TestRunMeasuresEverybodyOverTLSAndLeavesNothingBehind(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	bin := programs(t)
	stdout, stderr, err := command(t, "run", "--bin", bin, "--peers", "rueidis,grpc-go,arpc,nats,net.Conn",
		"--sections", "tls,tls-window", "--rounds", "1", "--slice", "20ms", "--json", filepath.Join(dir, "tls.json"))
	require.NoError(t, err, "%s", stderr)
	in, err := os.Open(filepath.Join(dir, "tls.json"))
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	report, err := suite.Read(in)
	require.NoError(t, err)
	require.Len(t, report.Sections, 2)
	measured := make(map[string][]int)
	for _, row := range slices.Concat(report.Sections[0].Rows, report.Sections[1].Rows) {
		name := row.System
		if row.API == bench.Callback || row.API == bench.Batch {
			name += " " + string(row.API)
		}
		measured[name] = append(measured[name], row.Callers)
		assert.GreaterOrEqual(t, row.Requests, uint64(row.Callers), "%s: each caller sends", name)
		assert.Zero(t, row.Errors, name)
		assert.Empty(t, row.Failure, name)
	}
	callers := []int{1, 16, 64, 256}
	want := map[string][]int{"tls.Conn ping-pong": {1}, "tls.Conn prebuilt frames": {1024}}
	for _, name := range []string{bench.Ringwire, "ringwire plain", "rueidis", "grpc-go", "arpc", "nats", "tls.Conn"} {
		want[name] = callers
	}
	for _, name := range []string{bench.Ringwire, "ringwire plain"} {
		want[name+" callback"], want[name+" batch"] = []int{1024}, []int{1024}
	}
	for _, name := range []string{bench.Ringwire + " callback", "rueidis DoMulti batch", "grpc-go stream callback",
		"arpc CallAsync callback", "nats PublishRequest callback", "tls.Conn"} {
		want[name] = append(slices.Clone(want[name]), 1024)
	}
	goals := 5*len(callers) + 2 + len(callers) + 2 + 5
	if without := "rueidis over TLS is left out: "; strings.Contains(stderr, without) {
		assert.Equal(t, 2, strings.Count(stdout, without), "once a section")
		delete(want, "rueidis")
		delete(want, "rueidis DoMulti batch")
		goals -= len(callers) + 1
	}
	assert.Equal(t, want, measured)
	assert.Len(t, report.Goals, goals)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left, "the key of the run")
	for _, program := range []string{bin, os.Args[0] + "\x00serve"} {
		assert.Eventually(t, func() bool { return len(running(t, program)) == 0 }, 10*time.Second, 10*time.Millisecond,
			"%q", running(t, program))
	}
}

func TestRunReadsTheMemoryOfIdleConnectionsOverTLS(t *testing.T) {
	if race.Enabled || runtime.GOOS != "linux" {
		t.Skip("memory is read on Linux, and the race detector's is not ours")
	}
	dir := t.TempDir()
	stdout, stderr, err := command(t, "run", "--bin", programs(t), "--peers", "net.Conn", "--sections", "memory",
		"--rounds", "1", "--json", filepath.Join(dir, "memory.json"))
	require.NoError(t, err, "%s", stderr)
	in, err := os.Open(filepath.Join(dir, "memory.json"))
	require.NoError(t, err)
	defer func() { _ = in.Close() }()
	report, err := suite.Read(in)
	require.NoError(t, err)
	var systems []string
	for _, m := range report.Memory {
		systems = append(systems, m.System)
		require.Len(t, m.BytesPerConn, 1, m.System)
		assert.Greater(t, m.BytesPerConn[0], 100.0, m.System)
		assert.Contains(t, stdout, m.System)
	}
	assert.Equal(t, []string{bench.Ringwire, "net.Conn", "ringwire over TLS", "a bare tls.Conn and a goroutine"}, systems)
	require.Len(t, report.Goals, 2)
	assert.Equal(t, "memory of our server over TLS", report.Goals[1].Against)
}

func TestServeTrimsItsMemoryIfAskedTo(t *testing.T) {
	forced := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	before := forced()
	go func() { ended <- serve(ctx, "net.Conn", serveFlags{addr: "127.0.0.1:0", trim: true}, io.Discard) }()
	assert.Eventually(t, func() bool { return forced() > before+1 }, 10*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

// running are the command lines of processes that begin so, where /proc tells.
func running(t *testing.T, begin string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(line), begin) {
			found = append(found, string(line))
		}
	}
	return found
}

func TestRunSaysThatLightClientsNeedMoreFiles(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Skip("nothing limits open files here")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `ulimit -n 256 && exec "$0" "$@"`, os.Args[0],
		"run", "--bin", programs(t), "--peers", "ringwire", "--sections", "light", "--clients", "10,1000,3000",
		"--rounds", "1", "--slice", "10ms")
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	require.NoError(t, cmd.Run(), "%s", complaints.String())
	const want = "1000 light clients and more are left out: a process may have 256 open files here, and 1200 are needed"
	assert.Equal(t, 1, strings.Count(complaints.String(), want))
	assert.Equal(t, 1, strings.Count(out.String(), want))
	assert.Regexp(t, `\n10 +ringwire `, out.String())
	assert.NotRegexp(t, `\n1000 +ringwire `, out.String())
}

func TestRunLeavesOutAPeerThatDoesNotStartAndFails(t *testing.T) {
	dir := programs(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "anet-v1-baseline-server")))
	stdout, stderr, err := command(t, "run", "--bin", dir, "--peers", "anet,anet-v0.3.0,net.Conn",
		"--sections", "throughput", "--callers", "2", "--rounds", "1", "--slice", "10ms")
	require.Error(t, err)
	assert.Contains(t, stderr, "anet is left out")
	assert.Contains(t, stderr, "make build")
	assert.Contains(t, stdout, "net.Conn", "the others were measured")
	assert.Contains(t, stdout, "anet was not measured")
	assert.NotContains(t, stderr, "anet-v0.3.0 is left out", "its server is another program")
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for want, args := range map[string][]string{
		"no peer":         {"run", "--peers", "x"},
		"no section":      {"run", "--sections", "x"},
		"no such file":    {"run", "--from", filepath.Join(t.TempDir(), "none.json")},
		"no server":       {"serve", "anet"},
		"unknown command": {"measure"},
		"callers 0":       {"run", "--callers", "0"},
		"belong together": {"serve", "grpc-go", "--tls-cert", "cert.pem"},
		"over TLS":        {"serve", "kitex", "--tls-cert", "cert.pem", "--tls-key", "key.pem"},
		"of the run":      {"serve", "grpc-go", "--tls-cert", "none.pem", "--tls-key", "none.pem"},
		"light clients":   {"run", "--clients", "0"},
		"must be 0":       {"serve", "grpc-go", "--latency", "-1s"},
		"that waits":      {"serve", "gorpc", "--latency", "1s"},
	} {
		_, stderr, err := command(t, args...)
		require.Error(t, err, want)
		assert.Contains(t, stderr, want)
	}
}

func TestQuickChangesOnlyWhatWasNotGiven(t *testing.T) {
	f := runFlags{quick: true, Options: suite.Options{Callers: []int{7}, Rounds: 9}}
	f.quicken(func(name string) bool { return name == "callers" })
	assert.Equal(t, []int{7}, f.Callers)
	assert.Equal(t, suite.DefaultClients(true), f.Clients)
	assert.Equal(t, 3, f.Rounds)
	assert.Less(t, f.Slice, bench.SliceMax)
}
