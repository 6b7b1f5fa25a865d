//go:build !race && !invariant

package gate

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/benchmarks/internal/load"
)

var update = flag.Bool("update", false, "write this machine's instructions per request to testdata/baseline.json")

// perRequest is how many instructions a request takes in user space.
type perRequest struct {
	Client float64 `json:"client"`
	Server float64 `json:"server"`
}

// baselines holds, for an architecture and a load, what a request took when the
// file was last updated.
type baselines map[string]map[string]perRequest

var baselinePath = filepath.Join("testdata", "baseline.json")

func readBaselines(path string) (baselines, error) {
	b := baselines{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	return b, json.Unmarshal(text, &b)
}

// set writes one figure and leaves the others, of other architectures too.
func (b baselines) set(path, arch, name string, got perRequest) error {
	if b[arch] == nil {
		b[arch] = map[string]perRequest{}
	}
	b[arch][name] = got
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// within reports whether got is not more than the baseline and its margin.
func (p perRequest) within(got perRequest) bool {
	return got.Client <= p.Client*(1+instructionsMargin) && got.Server <= p.Server*(1+instructionsMargin)
}

// countRun counts an event per request on both ends during a run.
func countRun(t *testing.T, e event, srv *load.Server, l *load.Load, requests int) perRequest {
	t.Helper()
	count := func(pid int) func() float64 {
		c, err := countEvent(e, pid)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.close()) })
		before, err := c.read()
		require.NoError(t, err)
		return func() float64 {
			after, err := c.read()
			require.NoError(t, err)
			return float64(after-before) / float64(requests)
		}
	}
	client, server := count(0), count(srv.PID())
	require.NoError(t, l.Run(requests))
	return perRequest{client(), server()}
}

// needEvent skips the test, and says why, where the machine does not count.
func needEvent(t *testing.T, e event, what string) {
	t.Helper()
	c, err := countEvent(e, 0)
	if err != nil {
		t.Skipf("this machine does not count %s: %v", what, err)
	}
	require.NoError(t, c.close())
}

func TestInstructionsStayNearTheBaseline(t *testing.T) {
	needEvent(t, instructions, "instructions")
	known, err := readBaselines(baselinePath)
	require.NoError(t, err)
	if !*update && known[runtime.GOARCH] == nil {
		t.Skipf("%s has no baseline for %s yet: go test ./gate -run Instructions -update writes it", baselinePath, runtime.GOARCH)
	}
	srv := startServer(t)
	for _, b := range budgets {
		t.Run(b.String(), func(t *testing.T) {
			_, l := connect(t, srv.Addr, b)
			got := countRun(t, instructions, srv, l, b.requests)
			t.Logf("instructions per request: client %.0f, server %.0f", got.Client, got.Server)
			if *update {
				require.NoError(t, known.set(baselinePath, runtime.GOARCH, b.String(), got))
				return
			}
			want, ok := known[runtime.GOARCH][b.String()]
			require.True(t, ok, "%s lacks this load; run with -update", baselinePath)
			assert.True(t, want.within(got), "more than the baseline %+v and %.0f %%: %+v; if that is meant, run with -update",
				want, 100*instructionsMargin, got)
		})
	}
}

// The same way of counting with an event that needs no counter in the processor.
func TestEventsOfBothProcessesAreCounted(t *testing.T) {
	needEvent(t, taskClock, "the processor time of threads")
	srv := startServer(t)
	b := budgets[1]
	_, l := connect(t, srv.Addr, b)
	got := countRun(t, taskClock, srv, l, 50_000)
	assert.Greater(t, got.Client, 10.0, "nanoseconds of a thread for each request")
	assert.Greater(t, got.Server, 10.0)
}

func TestBaselineIsKeptPerArchitectureAndChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "testdata", "baseline.json")
	b, err := readBaselines(path)
	require.NoError(t, err)
	require.Empty(t, b)
	want := perRequest{1000, 500}
	require.NoError(t, b.set(path, "amd64", "x", want))
	require.NoError(t, b.set(path, "arm64", "x", perRequest{1, 2}))
	again, err := readBaselines(path)
	require.NoError(t, err)
	assert.Equal(t, want, again["amd64"]["x"])
	assert.Equal(t, perRequest{1, 2}, again["arm64"]["x"])

	assert.True(t, want.within(perRequest{1249, 624}))
	assert.False(t, want.within(perRequest{1260, 500}))
	assert.False(t, want.within(perRequest{1000, 630}))
}
