package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/hlog"
	"github.com/ringwire/ringwire/load/quantile"
)

// merged runs "ringwire load merge" and reads its report.
func merged(t *testing.T, args ...string) (outcome, loadSummary) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sum.json")
	got := execute(t, "", binary, append([]string{"load", "merge", "--json", path}, args...)...)
	var s loadSummary
	if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
		require.NoError(t, json.Unmarshal(data, &s), "%s", data)
	}
	return got, s
}

// Four processes at once, as four machines would.
func TestLogsOfFourProcessesAddUp(t *testing.T) {
	addr, _ := startServe(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	var files []string
	summaries := make([]loadSummary, 4)
	for i := range summaries {
		file := filepath.Join(dir, fmt.Sprint(i, ".hlog"))
		files = append(files, file)
		wg.Go(func() {
			var got outcome
			got, summaries[i] = execLoad(t, "-r", fmt.Sprint(200+100*i), "-d", "1200ms", "--inflight", "64", "--hlog", file,
				"--request", "a=xx", "--request", "b:2=yyyy", addr)
			assert.Zero(t, got.code, got.stderr)
		})
	}
	wg.Wait()
	got, s := merged(t, append(files, "--threshold", "b.p99<1m", "--threshold", "error_rate<1%")...)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Contains(t, got.stdout, "sum of 4 logs")
	assert.Contains(t, got.stdout, "b.p99<1m  met")
	var sent uint64
	for _, one := range summaries {
		sent += one.Summary.Sent
	}
	assert.Equal(t, sent, s.Summary.Sent)
	assert.EqualValues(t, sent, s.Summary.Response["count"])
	assert.Equal(t, "open", s.Loop)
	require.Len(t, s.Requests, 2)
	assert.Equal(t, sent, s.Requests[0].Counts.Sent+s.Requests[1].Counts.Sent)

	var m hlog.Merger
	union := (*hdrhistogram.Histogram)(nil)
	for _, name := range files {
		data, err := os.ReadFile(name)
		require.NoError(t, err)
		one, err := hlog.Read(bytes.NewReader(data))
		require.NoError(t, err)
		if h := one.Total.Response; union == nil {
			union = hdrhistogram.Import(h.Export())
		} else {
			union.Merge(h)
		}
		require.NoError(t, m.Add(one))
	}
	assert.True(t, union.Equals(m.Result().Total.Response))
	for key, q := range map[string]float64{"p50": 50, "p90": 90, "p99": 99, "p999": 99.9} {
		assert.Equal(t, quantile.At(union, q), s.Summary.Response[key], key)
	}

	got, s = merged(t, append(files, "--threshold", "rate>1m")...)
	assert.Contains(t, []int{exitThreshold, 4}, got.code, "4: a busy machine made a generator the limit")
	assert.Equal(t, got.code, s.Summary.ExitCode)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(files[0], data[:bytes.LastIndex(data, []byte("#["))], 0o600))
	got, s = merged(t, files...)
	assert.Equal(t, exitInterrupted, got.code, "one was killed")
	assert.Equal(t, sent, s.Summary.Sent)
}

func TestMergeJudgesTheSumAsARunIsJudged(t *testing.T) {
	addr, _ := startServe(t)
	wrong := filepath.Join(t.TempDir(), "wrong.hlog")
	got, _ := execLoad(t, "-n", "3", "--expect", "equal:other", "--hlog", wrong, addr)
	require.Equal(t, 3, got.code)
	fine := filepath.Join(t.TempDir(), "fine.hlog")
	got, _ = execLoad(t, "-n", "300", "--inflight", "4", "--hlog", fine, addr)
	require.Zero(t, got.code, got.stderr)
	got, s := merged(t, wrong, fine)
	assert.Equal(t, 3, got.code, got.stdout)
	assert.EqualValues(t, 303, s.Summary.Replied)
	assert.Equal(t, "closed", s.Loop)
	got, _ = merged(t, fine)
	assert.Zero(t, got.code, got.stdout)

	nothing := filepath.Join(t.TempDir(), "nothing.hlog")
	got, _ = execLoad(t, "-n", "3", "--hlog", nothing, "--no-progress", "127.0.0.1:1")
	require.Equal(t, 1, got.code)
	got, _ = merged(t, nothing)
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.stdout, "no connection")

	for args, want := range map[string]string{
		"":                           "no log: name files",
		"/nonexistent.hlog":          "/nonexistent.hlog",
		fine + " " + fine:            "is the same file as",
		"load_merge_test.go":         "load_merge_test.go: line 1: must look like",
		fine + " --threshold p99":    `threshold "p99": must look like`,
		fine + " --json /nonexist/x": "--json: ",
	} {
		var out strings.Builder
		code := run(append([]string{"load", "merge"}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}

func TestALogThatCannotBeWrittenFailsTheRun(t *testing.T) {
	dialled := accepting(t, mute)
	for args, want := range map[string]string{
		"--hlog /nonexistent/x":                          "--hlog: open /nonexistent/x",
		"--hlog " + os.DevNull + " --json " + os.DevNull: "must be two files",
	} {
		got := execute(t, "", binary, append([]string{"load", dialled}, strings.Fields(args)...)...)
		assert.Equal(t, exitUsage, got.code, args)
		assert.Contains(t, got.stderr, want)
	}
	if _, err := os.Stat("/dev/full"); err == nil {
		got := execute(t, "", binary, "load", "--hlog", "/dev/full", dialled)
		assert.Equal(t, exitUsage, got.code)
		assert.Contains(t, got.stderr, "no space left")
	}
}

func TestALineASecondIsShownWhenAskedFor(t *testing.T) {
	addr, _ := startServe(t)
	got, _ := execLoad(t, "-r", "500", "-d", "2500ms", "--inflight", "64", "--progress", addr)
	require.Zero(t, got.code, got.stderr)
	lines := strings.Split(strings.TrimRight(got.stderr, "\n"), "\n")
	require.NotEmpty(t, lines)
	form := regexp.MustCompile(`^ +\d+s  sent \d+/s  replied \d+/s  (p50 \S+s  p99 \S+s|no reply)  errors 0  in flight \d+  backlog \d+  connections 1$`)
	for _, line := range lines {
		assert.Regexp(t, form, line)
	}
	assert.Regexp(t, `p99 \S+s  errors`, got.stderr)
	assert.NotContains(t, got.stderr+got.stdout, "\x1b")
	got, _ = execLoad(t, "-r", "500", "-d", "1500ms", "--inflight", "64", addr)
	require.Zero(t, got.code)
	assert.Empty(t, got.stderr, "it is no terminal")
}
