package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringwire/ringwire/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// binary is the command under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "ringwire-test-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "ringwire")
		build := exec.Command("go", "build", "-ldflags", "-X main.commit=0123456789ab", "-o", binary, ".")
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

// outcome is what a finished command left.
type outcome struct {
	stdout, stderr string
	code           int
}

// execute runs a command line to its end, which must come within a minute.
func execute(t *testing.T, stdin string, name string, args ...string) outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// startServe runs "ringwire serve" and returns its address, and a function that
// interrupts it and returns what it printed after that.
func startServe(t *testing.T, args ...string) (addr string, interrupt func() string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"serve", "--addr", "127.0.0.1:0", "--stdin"}, args...)...)
	// The pipe's other end is this process's: the server ends with the test.
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)
	ended := false
	interrupt = func() string {
		ended = true
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		rest, err := io.ReadAll(lines)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait(), "it ends with 0")
		return string(rest)
	}
	t.Cleanup(func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return addr, interrupt
}

func TestHelpShowsExamplesForEveryCommand(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help", "bench"}, {"serve", "--help"}, {"call", "-h"}, {"bench", "--help"}, {"version", "--help"},
		{"profile", "--help"}, {"profile", "diff", "--help"}, {"profile", "keep", "--help"}, {"load", "merge", "--help"}, {"compare", "--help"}} {
		got := execute(t, "", binary, args...)
		assert.Equal(t, exitOK, got.code, args)
		assert.Contains(t, got.stdout, "Examples:", args)
		assert.Empty(t, got.stderr, args)
	}
}

func TestUsageErrorsExitWithTwoAndSayWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"":                                          "no command",
		"frobnicate":                                `unknown command "frobnicate"`,
		"laod":                                      `unknown command "laod": did you mean load?`,
		"--loud":                                    "--loud",
		"serve --loud":                              "--loud",
		"serve here":                                `"here"`,
		"serve --frame-length 3":                    "2 or 4",
		"serve --latency -1s":                       "latency -1s",
		"serve --reply-size 65532":                  "reply size 65532",
		"serve --allow localhost":                   `--allow: "localhost" is neither`,
		"serve --deny ::1,fe80::1%lo":               `--deny: "fe80::1%lo" is neither`,
		"serve --deny ::ffff:0:0/90":                "at least 96 bits",
		"serve --conn-rate-per-ip 1e9":              "MaxConnRatePerIP is 1e+09",
		"serve --conn-burst-per-ip 5":               "without a MaxConnRatePerIP",
		"serve --first-frame-timeout 25h":           "FirstFrameTimeout is 25h0m0s",
		"call":                                      "--data is missing",
		"call --data x -n 0":                        "-n 0",
		"call --data x --timeout 0s":                "--timeout 0s",
		"call --data @/no/such/file":                "/no/such/file",
		"bench --rounds ten":                        "ten",
		"bench --rounds 0":                          "rounds 0",
		"bench --callers 0":                         "callers 0",
		"bench --payload 4":                         "payload 4",
		"bench --apis async":                        `api "async"`,
		"bench --busy-poll 2ms":                     "at most 1ms",
		"bench --baseline redis":                    `"redis"`,
		"bench --baseline none --threshold speed":   `"speed"`,
		"bench --baseline none --threshold ratio>1": "needs a baseline",
		"bench --json /no/such/folder/x.json":       "/no/such/folder",
		"version now":                               `"now"`,
	} {
		got := execute(t, "", binary, strings.Fields(line)...)
		assert.Equal(t, exitUsage, got.code, "%s\n%s", line, got.stderr)
		assert.Contains(t, got.stderr, want, line)
		assert.Contains(t, got.stderr, "--help", line)
	}
}

func TestVersionPrintsTheCommit(t *testing.T) {
	for _, ask := range []string{"version", "--version"} {
		got := execute(t, "", binary, ask)
		assert.Equal(t, exitOK, got.code)
		assert.Contains(t, got.stdout, "ringwire devel commit 0123456789ab go")
		assert.Equal(t, 1, strings.Count(got.stdout, "\n"))
	}
}

func TestShellsCompleteCommandsAndFlags(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		got := execute(t, "", binary, "completion", shell)
		assert.Equal(t, exitOK, got.code)
		assert.Contains(t, got.stdout, "ringwire", shell)
	}
	for ask, want := range map[string]string{"lo": "load", "load --thresh": "--threshold", "serve --tls-c": "--tls-cert",
		"load --metrics": "--metrics-addr", "load --framing pay": "payshield", "load --arrivals p": "poisson", "load --order u": "unique"} {
		got := execute(t, "", binary, append([]string{"__complete"}, strings.Fields(ask)...)...)
		assert.Contains(t, got.stdout, want)
	}
}

func TestCallPrintsTheReplyOfServe(t *testing.T) {
	addr, interrupt := startServe(t)
	file := filepath.Join(t.TempDir(), "request")
	require.NoError(t, os.WriteFile(file, []byte("from a file"), 0o600))

	for want, args := range map[string][]string{
		"hello":        {"--data", "hello"},
		"":             {"--data", ""},
		"from a file":  {"--data", "@" + file},
		"from stdin\n": {"--data", "-"},
		"4869\n":       {"--data", "Hi", "--hex"},
		"ab\nab\nab\n": {"--data", "ab", "-n", "3"},
	} {
		got := execute(t, "from stdin\n", binary, append([]string{"call", "--addr", addr}, args...)...)
		assert.Equal(t, outcome{stdout: want}, got, args)
	}
	summary := interrupt()
	assert.Contains(t, summary, "connections  6 accepted, 0 refused (0 not allowed, ")
	assert.Contains(t, summary, "requests     8, replies 8, unanswered 0")
}

func TestServeAndCallSpeakTheExtension(t *testing.T) {
	addr, interrupt := startServe(t, "--extensions")
	for _, args := range [][]string{{"--extensions"}, nil} {
		got := execute(t, "", binary, append([]string{"call", "--addr", addr, "--data", "hello"}, args...)...)
		assert.Equal(t, outcome{stdout: "hello"}, got, args)
	}
	assert.Contains(t, interrupt(), "requests     2, replies 2, unanswered 0")

	plain, _ := startServe(t)
	got := execute(t, "", binary, "call", "--addr", plain, "--data", "hello", "--extensions")
	assert.Equal(t, exitFailed, got.code)
	assert.Contains(t, got.stderr, "does not speak the extension")
}

func TestServeWithWideFramesSizeAndLatency(t *testing.T) {
	stats := filepath.Join(t.TempDir(), "stats.json")
	addr, interrupt := startServe(t, "--frame-length", "4", "--reply-size", "3", "--latency", "30ms", "--json", stats)
	start := time.Now()
	got := execute(t, "", binary, "call", "--addr", addr, "--data", "hello", "--frame-length", "4")
	assert.Equal(t, outcome{stdout: "hel"}, got)
	assert.GreaterOrEqual(t, time.Since(start), 30*time.Millisecond)
	interrupt()
	written, err := os.ReadFile(stats)
	require.NoError(t, err)
	var counted server.Stats
	require.NoError(t, json.Unmarshal(written, &counted))
	assert.EqualValues(t, 1, counted.Requests)
	assert.EqualValues(t, 1, counted.Replies)
	assert.EqualValues(t, 8+5, counted.BytesIn)
}

func TestServeLetsIn(t *testing.T) {
	for name, tc := range map[string]struct {
		flags  []string
		served bool
	}{
		"allowed":     {[]string{"--allow", "10.0.0.0/8, 127.0.0.1", "--allow", "::1"}, true},
		"not allowed": {[]string{"--allow", "10.0.0.0/8"}, false},
		"denied":      {[]string{"--allow", "127.0.0.0/8", "--deny", "127.0.0.1"}, false},
		"within all":  {[]string{"--max-conns", "5", "--max-conns-per-ip", "1", "--conn-rate-per-ip", "0.1", "--conn-burst-per-ip", "1", "--first-frame-timeout", "1h"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			addr, interrupt := startServe(t, tc.flags...)
			got := execute(t, "", binary, "call", "--addr", addr, "--data", "hello", "--timeout", "2s")
			summary := interrupt()
			if tc.served {
				assert.Equal(t, outcome{stdout: "hello"}, got)
				assert.Contains(t, summary, "1 accepted, 0 refused")
			} else {
				assert.NotEqual(t, exitOK, got.code)
				assert.Contains(t, summary, " 0 accepted, ")
				assert.Contains(t, summary, " not allowed, 0 of one address, 0 too many, 0 too many handshakes)")
			}
		})
	}
}

func TestServeHasALimitForEachAddress(t *testing.T) {
	addr, interrupt := startServe(t, "--max-conns-per-ip", "1", "--first-frame-timeout", "20s")
	first, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer first.Close()
	second, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer second.Close()
	require.NoError(t, second.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = second.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	assert.Contains(t, interrupt(), "1 accepted, 1 refused (0 not allowed, 1 of one address, 0 too many, 0 too many handshakes)")
}

// What was refused is named by its reason: the parts are the total.
func TestTheSummaryNamesEachRefusal(t *testing.T) {
	var stats server.Stats
	fields := reflect.ValueOf(&stats).Elem()
	for i := range fields.NumField() {
		if f := fields.Field(i); f.Kind() == reflect.Uint64 {
			f.SetUint(1)
		}
	}
	require.EqualValues(t, 5, stats.Refused(), "a reason that the summary has to name")
	stats.Denied, stats.RejectedHandshakes = 3, 4
	var out strings.Builder
	require.NoError(t, writeSummary(&out, &stats))
	assert.Contains(t, out.String(), "10 refused (3 not allowed, 2 of one address, 1 too many, 4 too many handshakes)")
}

func TestServeSaysThatLatencyNeedsWorkers(t *testing.T) {
	got := execute(t, "", binary, "serve", "--addr", "127.0.0.1:0", "--latency", "1ms", "--stdin")
	assert.Equal(t, exitOK, got.code)
	assert.Contains(t, got.stderr, "using 4096 workers")
	got = execute(t, "", binary, "serve", "--addr", "127.0.0.1:0", "--latency", "1ms", "--workers", "2", "--stdin")
	assert.Empty(t, got.stderr)
}

func TestServeEndsWhenItsStandardInputCloses(t *testing.T) {
	got := execute(t, "some input", binary, "serve", "--addr", "127.0.0.1:0", "--stdin")
	assert.Equal(t, exitOK, got.code)
	assert.Contains(t, got.stdout, "listening on 127.0.0.1:")
}

func TestServeFailsOnAnAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	got := execute(t, "", binary, "serve", "--addr", taken.Addr().String())
	assert.Equal(t, exitFailed, got.code)
	assert.Contains(t, got.stderr, "in use")
}

func TestCallFailsWithOneWhenNobodyListens(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	got := execute(t, "", binary, "call", "--addr", free.Addr().String(), "--data", "x", "--timeout", "2s")
	assert.Equal(t, exitFailed, got.code)
	assert.Empty(t, got.stdout)
	assert.NotEmpty(t, got.stderr)
}

func TestCallGivesUpAfterItsTimeout(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = mute.Close() }()
	got := execute(t, "", binary, "call", "--addr", mute.Addr().String(), "--data", "x", "--timeout", "100ms")
	assert.Equal(t, exitFailed, got.code)
	assert.NotEmpty(t, got.stderr)
}

func TestAnIdleConnectionDoesNotHoldUpTheEndOfServe(t *testing.T) {
	addr, interrupt := startServe(t)
	idle, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = idle.Close() }()
	start := time.Now()
	interrupt()
	assert.Less(t, time.Since(start), drainTimeout+5*time.Second)
	require.NoError(t, idle.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = idle.Read(make([]byte, 1))
	assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is closed")
	assert.Error(t, err)
}
