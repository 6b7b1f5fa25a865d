package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tiny is a benchmark that takes a moment.
var tiny = []string{"bench", "--quick", "--baseline", "none", "--callers", "1,8", "--slice", "10ms"}

// requireNoServer fails when a server that was started by a benchmark lives on.
// Each has the path of our binary, which no other test's process shares.
func requireNoServer(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return
	}
	require.Eventually(t, func() bool { return len(children(t)) == 0 }, 15*time.Second, 5*time.Millisecond)
}

// children lists the processes that run as servers of a benchmark.
func children(t *testing.T) []int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var pids []int
	for _, entry := range entries {
		line, err := os.ReadFile(entry) // empty when the process is a zombie
		if err == nil && strings.HasPrefix(string(line), binary+"\x00serve\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// benchReport is the part of the JSON output that tests read.
type benchReport struct {
	SchemaVersion int              `json:"schema_version"`
	Partial       bool             `json:"partial"`
	Metadata      map[string]any   `json:"metadata"`
	Rows          []map[string]any `json:"rows"`
	Everyday      []map[string]any `json:"everyday"`
}

func readReport(t *testing.T, path string) benchReport {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var r benchReport
	require.NoError(t, json.Unmarshal(data, &r))
	return r
}

func TestBenchPrintsATableAndWritesJSONAndSVG(t *testing.T) {
	dir := t.TempDir()
	jsonPath, svgPath := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.svg")
	got := execute(t, "", binary, append(tiny, "--json", jsonPath, "--svg", svgPath)...)
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.Contains(t, got.stdout, "req/s")
	assert.NotContains(t, got.stdout+got.stderr, "\x1b", "no escapes without a terminal")

	r := readReport(t, jsonPath)
	assert.Equal(t, 2, r.SchemaVersion)
	assert.False(t, r.Partial)
	assert.Equal(t, "0123456789ab", r.Metadata["commit"])
	assert.Equal(t, runtime.Version(), r.Metadata["go_version"])
	assert.Contains(t, fmt.Sprint(r.Metadata["command"]), "bench --quick")
	require.Len(t, r.Rows, 6, "two numbers of callers, three apis")
	for _, row := range r.Rows {
		assert.Equal(t, "ringwire", row["system"])
		assert.Equal(t, row["callers"], row["window"])
		assert.EqualValues(t, 64, row["payload_bytes"])
		assert.EqualValues(t, 3, row["rounds"])
		assert.EqualValues(t, 0, row["errors"])
		for _, field := range []string{"requests", "req_per_s", "p50_ns", "p99_ns", "p999_ns"} {
			assert.Positive(t, row[field], field)
		}
		assert.Contains(t, row, "allocs_per_req")
		assert.NotContains(t, row, "ratio_to_anet")
		if runtime.GOOS == "linux" {
			assert.Positive(t, row["cpu_ns_per_req"])
		}
	}
	picture, err := os.ReadFile(svgPath)
	require.NoError(t, err)
	assert.Contains(t, string(picture), "<svg")
	requireNoServer(t)
}

func TestBenchExitsWith99WhenAThresholdIsNotMet(t *testing.T) {
	got := execute(t, "", binary, append(tiny, "--apis", "blocking", "--threshold", "req_per_s>1000m", "--threshold", "errors==0")...)
	assert.Equal(t, exitThreshold, got.code)
	assert.Contains(t, got.stderr, "threshold not met: req_per_s>1000m: blocking with 1 caller has")
	assert.Contains(t, got.stdout, "req/s", "the table is printed all the same")
	got = execute(t, "", binary, append(tiny, "--apis", "blocking", "--threshold", "req_per_s>1")...)
	assert.Equal(t, exitOK, got.code, got.stderr)
}

func TestBenchWithoutItsBaselineIsAUsageError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	got := execute(t, "", binary, "bench", "--quick")
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "anet-v1-baseline-server")
	assert.Contains(t, got.stderr, "make build")
	assert.Contains(t, got.stderr, "--baseline none")
}

// TestBenchFailsWhenAServerCannotBeReached gives it a baseline whose server
// announces an address at which nobody listens.
func TestBenchFailsWhenAServerCannotBeReached(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho listening on %s\nexec cat\n", free.Addr())
	for _, b := range baselines {
		require.NoError(t, os.WriteFile(filepath.Join(dir, b.program), []byte(script), 0o700))
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	jsonPath := filepath.Join(dir, "r.json")
	got := execute(t, "", binary, "bench", "--quick", "--callers", "2", "--slice", "10ms", "--apis", "blocking", "--json", jsonPath)
	assert.Equal(t, exitFailed, got.code)
	assert.Contains(t, got.stderr, " blocking with 2 callers: connect")
	assert.Contains(t, got.stderr, "refused")
	assert.True(t, readReport(t, jsonPath).Partial)
	requireNoServer(t)
}

// startBench starts a benchmark of a few long slices.
func startBench(t *testing.T, args ...string) (cmd *exec.Cmd, output func() string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), binary, append([]string{"bench", "--baseline", "none", "--callers", "2",
		"--rounds", "1", "--slice", "1m"}, args...)...)
	var stdout strings.Builder
	cmd.Stdout = &stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, stdout.String
}

func TestBenchPrintsPartialResultsWhenInterrupted(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), binary, "bench", "--baseline", "none", "--callers", "2", "--apis", "blocking",
		"--rounds", "1000", "--slice", "20ms")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	var stdout strings.Builder
	cmd.Stdout = &stdout
	require.NoError(t, cmd.Start())
	// The first progress line comes after five seconds.
	lines := bufio.NewScanner(stderr)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), "ringwire blocking, 2 callers")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	var last string
	for lines.Scan() {
		last = lines.Text()
	}
	err = cmd.Wait()
	require.Error(t, err)
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Contains(t, last, "interrupted")
	assert.Contains(t, stdout.String(), "PARTIAL")
	assert.Contains(t, stdout.String(), "ringwire  blocking")
	requireNoServer(t)
}

func TestBenchStopsAtOnceWhenInterruptedDuringASlice(t *testing.T) {
	cmd, output := startBench(t)
	waitForServer(t)
	start := time.Now()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	assert.Less(t, time.Since(start), 20*time.Second)
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode(), output())
	requireNoServer(t)
}

func TestServerOfABenchEndsWhenTheBenchIsKilled(t *testing.T) {
	cmd, _ := startBench(t)
	waitForServer(t)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	requireNoServer(t)
}

// waitForServer returns when the benchmark has started its server.
func waitForServer(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("finds the server in /proc")
	}
	require.Eventually(t, func() bool { return len(children(t)) == 1 }, 15*time.Second, time.Millisecond)
}

func TestBenchMeasuresEverydayUseBesideTheBestCase(t *testing.T) {
	dir := t.TempDir()
	jsonPath, mdPath := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.md")
	got := execute(t, "", binary, "bench", "--groups", "everyday", "--baseline", "none", "--rounds", "1",
		"--slice", "20ms", "--json", jsonPath, "--markdown", mdPath)
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.Contains(t, got.stdout, "deadline, workers, no polling")
	r := readReport(t, jsonPath)
	require.Len(t, r.Rows, 3, "the best case with 1, 16 and 64 callers")
	seen := make(map[any]int)
	for _, row := range r.Everyday {
		seen[row["condition"]]++
		assert.EqualValues(t, 0, row["errors"], row["condition"])
	}
	for condition, rows := range map[string]int{
		"deadline": 2, "call timeout": 2, "shared cancel": 2, "64 workers": 3, "no polling": 3,
		"4 connections": 2, "4 servers": 2, "idle": 1, "idle, no polling": 1, "100 req/s": 1,
		"100 req/s, no polling": 1, "5 ms handlers": 1, "5 ms handlers, no polling": 1,
	} {
		assert.Equal(t, rows, seen[condition], condition)
	}
	text, err := os.ReadFile(mdPath)
	require.NoError(t, err)
	assert.Contains(t, string(text), "| 4 servers | 64 |")
	requireNoServer(t)
}

func TestBenchOfANamedLoadLeavesOutEverydayUse(t *testing.T) {
	got := execute(t, "", binary, append(tiny, "--apis", "blocking")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.NotContains(t, got.stdout, "everyday")
	got = execute(t, "", binary, append(tiny, "--apis", "blocking", "--groups", "best,everyday")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.Contains(t, got.stdout, "everyday")
	for _, groups := range []string{"other", ""} {
		got = execute(t, "", binary, "bench", "--groups", groups)
		assert.Equal(t, exitUsage, got.code)
		assert.Contains(t, got.stderr, "--groups")
	}
}
