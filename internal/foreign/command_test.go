package foreign

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load/report"
)

// patience bounds what should take a second.
const patience = 60 * time.Second

// Programs, built by TestMain.
var (
	command    string // ringwire
	anetServer string // the server of anet v0.3.0
)

func TestMain(m *testing.M) { os.Exit(runWithPrograms(m)) }

func runWithPrograms(m *testing.M) int {
	dir, err := os.MkdirTemp("", "foreign")
	if err != nil {
		fmt.Fprintln(os.Stderr, "foreign:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	command, anetServer = filepath.Join(dir, "ringwire.exe"), filepath.Join(dir, "anetserver.exe")
	for program, source := range map[string]string{
		command:    filepath.Join("..", "..", "cmd", "ringwire"),
		anetServer: filepath.Join("..", "..", "benchmarks", "peers", "anetserver"),
	} {
		build := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
		build.Dir = source
		build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "foreign: building %s: %v\n%s", source, err, out)
			return 1
		}
	}
	return m.Run()
}

// ringwire runs the command and returns what it printed and its exit code.
func ringwire(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command, args...)
	b, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// load runs "ringwire load" with a report for programs, and returns that and the exit code. What it
// prints is logged.
func load(t *testing.T, args ...string) (doc *report.Document, code int) {
	t.Helper()
	doc, code, out := loadQuietly(t, args...)
	t.Logf("ringwire load %s\n%s", shell(args), out)
	return doc, code
}

// loadQuietly is load without the log.
func loadQuietly(t *testing.T, args ...string) (doc *report.Document, code int, out string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	out, code = ringwire(t, append([]string{"load", "--no-progress", "--json", file}, args...)...)
	b, err := os.ReadFile(file)
	require.NoError(t, err, out)
	doc = new(report.Document)
	require.NoError(t, json.Unmarshal(b, doc), out)
	return doc, code, out
}

// shell writes arguments as one would type them.
func shell(args []string) string {
	var quoted []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " ${}*?<>|&;()") {
			a = "'" + a + "'"
		}
		quoted = append(quoted, a)
	}
	return strings.Join(quoted, " ")
}

// requests is how many each backend gets, and window how many are in flight.
const (
	requests = 10_000
	window   = 32
)

// answered has a backend checked, and then asked so many times, and requires that each reply
// was the right one.
func answered(t *testing.T, target string, flags ...string) *report.Summary {
	t.Helper()
	flags = append(flags, target)
	out, code := ringwire(t, append([]string{"load", "--check"}, flags...)...)
	t.Logf("ringwire load --check %s\n%s", shell(flags), out)
	require.Zero(t, code, "the check")
	require.Contains(t, out, "check        fine: ")

	doc, code := load(t, append([]string{"-n", strconv.Itoa(requests), "--inflight", strconv.Itoa(window), "-t", "30s"}, flags...)...)
	s := doc.Summary
	assert.Zero(t, code, s.Verdict)
	assert.Equal(t, report.Summary{Sent: requests, Replied: requests}, counts(s))
	assert.EqualValues(t, 1, doc.Connections.Opened)
	return s
}

// counts is what of a summary can be said beforehand: what became of the requests.
func counts(s *report.Summary) report.Summary {
	c := *s
	c.PeerRequests, c.PeerAnswered = 0, 0
	c.Rate, c.Lag, c.Response, c.Service, c.Queue = 0, nil, nil, nil, nil
	c.GeneratorLimited, c.GeneratorWhy = false, ""
	if c.ExitCode == 0 {
		c.Verdict = ""
	}
	return c
}

// scenario is a file of docs/load.
func scenario(name string) string { return filepath.Join("..", "..", "docs", "load", name) }

// freeAddr is an address of the loopback interface that nobody has a listener at, for servers
// that do not say which port they were given.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
