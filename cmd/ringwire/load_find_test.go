package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/load"
	"github.com/ringwire/ringwire/load/report"
	"github.com/ringwire/ringwire/load/search"
)

// licence lets so many requests a second through, in their order, all connections together.
type licence struct {
	every time.Duration
	mu    sync.Mutex
	next  time.Time
}

// turn is how long the next request waits.
func (l *licence) turn() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	wait := l.next.Sub(now)
	l.next = l.next.Add(l.every)
	return wait
}

// licensed is a backend that echoes at most so many requests a second. What is above that
// waits, also when its connection has gone.
func licensed(t *testing.T, perSecond int) string {
	t.Helper()
	l := &licence{every: time.Second / time.Duration(perSecond)}
	return accepting(t, func(conn net.Conn) {
		var mu sync.Mutex
		var replies sync.WaitGroup
		defer replies.Wait()
		for {
			frame := make([]byte, 2)
			if _, err := io.ReadFull(conn, frame); err != nil {
				return
			}
			frame = append(frame, make([]byte, int(frame[0])<<8|int(frame[1]))...)
			if _, err := io.ReadFull(conn, frame[2:]); err != nil {
				return
			}
			replies.Add(1)
			time.AfterFunc(l.turn(), func() {
				defer replies.Done()
				mu.Lock()
				defer mu.Unlock()
				_, _ = conn.Write(frame)
			})
		}
	})
}

// find runs "ringwire load --find-max" and reads its result.
func find(t *testing.T, args ...string) (outcome, found) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "found.json")
	got := execute(t, "", binary, append([]string{"load", "--json", path}, args...)...)
	var d found
	if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
		require.NoError(t, json.Unmarshal(data, &d), "%s", data)
	}
	return got, d
}

func TestTheRateOfALicenceIsFound(t *testing.T) {
	addr := licensed(t, 1000)
	got, d := find(t, "--find-max", "p50<50ms, error_rate<1%", "--find-range", "500:20k", "--find-within", "20%", "-d", "1s", "-c", "4", "--inflight", "64", addr)
	t.Log(got.stdout)
	if got.code == report.ExitInconclusive {
		t.Skip("the machine's host gave it too little time: " + d.Verdict)
	}
	require.Zero(t, got.code, got.stderr)
	assert.Equal(t, search.Found, d.Outcome)
	// Of a second whose first fifth is warm-up, an excess of 8.3 % is 50 ms of queue in the
	// middle. A machine that is busy with other things may make it less.
	assert.Less(t, d.Rate, 1090.0)
	assert.Greater(t, d.Above, 450.0)
	assert.LessOrEqual(t, d.Above, d.Rate*1.2+1)
	assert.Equal(t, []string{"p50<50ms", "error_rate<1%"}, d.Conditions)
	assert.Equal(t, d.Probes, len(d.Each))
	assert.Equal(t, 500.0, d.Each[0].Rate)
	for _, p := range d.Each {
		if p.Rate >= 1600 {
			assert.NotEqual(t, search.Met, p.Verdict, "%v/s", p.Rate)
		}
		require.NotNil(t, p.Summary)
		assert.Len(t, p.Values, 2)
	}
	assert.Contains(t, got.stdout, "verdict      found: "+rateText(d.Rate)+"/s")
	assert.NotContains(t, got.stdout+got.stderr, "\x1b")
}

// A probe that is missed by more than all lag is missed, whatever the lag was.
func TestAProbeIsJudgedByWhatItsRunSays(t *testing.T) {
	f := &finder{ctx: t.Context()}
	for _, c := range []struct {
		limited bool
		code    int
		want    search.Verdict
	}{
		{false, report.ExitOK, search.Met}, {true, report.ExitOK, search.Met}, {false, report.ExitThreshold, search.Missed},
		{true, report.ExitThreshold, search.Missed}, {true, report.ExitInconclusive, search.Limited}, {true, report.ExitFailed, search.Limited},
		{false, report.ExitFailed, search.Missed},
	} {
		res := &load.Result{Conns: load.Conns{Opened: 1}, Violations: load.Counts{Sent: 1, Replied: 1}}
		got, err := f.judge(&findProbe{Summary: &report.Summary{GeneratorLimited: c.limited, ExitCode: c.code}, result: res})
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%+v", c)
	}
}

func TestAProbeThatCannotBeMetAnyMoreStopsEarly(t *testing.T) {
	addr := licensed(t, 200)
	began := time.Now()
	got, d := find(t, "--find-max", "p50<1ms,p99<20ms", "--find-range", "1k:2k", "-d", "25s", "--warmup", "0s", "-c", "4", "--inflight", "64", addr)
	require.Contains(t, []int{exitThreshold, report.ExitInconclusive}, got.code, got.stdout+got.stderr)
	assert.Less(t, time.Since(began), 50*time.Second, "two probes would take that")
	require.NotEmpty(t, d.Each)
	assert.True(t, d.Each[0].Early)
	assert.Contains(t, got.stdout, "stopped early")
	if got.code == exitThreshold {
		assert.Equal(t, search.LowestMisses, d.Outcome)
		assert.Contains(t, got.stdout, "lowest misses: 1000/s")
	}
}

func TestTheRangeEndIsAnOutcome(t *testing.T) {
	addr, _ := startServe(t)
	got, d := find(t, "--find-max", "p50<30s", "--find-range", "50:200", "-d", "300ms", "--inflight", "64", addr)
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Equal(t, search.RangeEnd, d.Outcome)
	assert.InDelta(t, 200, d.Rate, 0)
	assert.Equal(t, 4, d.Probes)
	assert.Contains(t, got.stdout, "200/s and perhaps more")
}

func TestASearchEndsWithWhatMakesItPointless(t *testing.T) {
	addr, _ := startServe(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	for says, c := range map[string]struct {
		code int
		args []string
	}{
		"at 100/s: no connection": {1, []string{gone.Addr().String()}},
		"at 100/s: wrong replies": {3, []string{"--expect", "equal:x", addr}},
	} {
		got, d := find(t, append(c.args, "--find-max", "p99<1s", "-d", "300ms")...)
		assert.Equal(t, c.code, got.code, says)
		assert.Contains(t, got.stdout, says)
		assert.Equal(t, c.code, d.ExitCode)
		assert.Empty(t, d.Outcome)
		assert.Zero(t, d.Rate)
	}
	cmd := exec.CommandContext(t.Context(), binary, "load", "--find-max", "p99<1s", "-d", "1h", "--progress", addr)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = stderr.Read(make([]byte, 1)) // the first line of progress
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
}

func TestASearchRunsAScenario(t *testing.T) {
	addr, _ := startServe(t)
	file := filepath.Join(t.TempDir(), "s.yaml")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(`
version: 1
targets: ["%s"]
connections: {count: 2, inflight: 16}
load: {arrivals: poisson, rate: 5k, duration: 1h}
requests: [{name: a, payload: x}, {name: b, payload: y}]
thresholds: ["p99<1us"]
`, addr)), 0o600))
	got, d := find(t, "-f", file, "--find-max", "b.p50<30s", "--find-range", "50:100", "-d", "300ms")
	require.Zero(t, got.code, got.stdout+got.stderr)
	assert.Equal(t, []string{"b.p50<30s"}, d.Conditions)
	assert.Equal(t, search.RangeEnd, d.Outcome)
}

func TestASearchThatMakesNoSenseIsRefusedBeforeItDials(t *testing.T) {
	addr := accepting(t, func(net.Conn) { t.Error("dialled") })
	rows := filepath.Join(t.TempDir(), "rows.csv")
	require.NoError(t, os.WriteFile(rows, []byte("a\n1\n"), 0o600))
	for args, want := range map[string]string{
		"--find-max p99":                                                  `threshold "p99": must look like`,
		"--find-max p99<5ms,":                                             `threshold "": must look like`,
		"--find-max= ":                                                    "give --find-max a condition",
		"--find-range 1:2":                                                "give --find-max a condition",
		"--find-max p99<5ms -r 5":                                         "--rate: does not go with --find-max",
		"--find-max p99<5ms --hlog x":                                     "--hlog: does not go",
		"--find-max p99<5ms --threshold p50<1ms":                          "--threshold: does not go",
		"--find-max p99<5ms --find-range 5":                               "must look like 100:50k",
		"--find-max p99<5ms --find-range 0:5":                             "0: must be above 0",
		"--find-max p99<5ms --find-range 9:5":                             "range 9 to 5: must begin",
		"--find-max p99<5ms --find-within 2":                              "must be 0% to 1000%",
		"--find-max p99<5ms --find-within 90%":                            "precision 0.9: must be",
		"--find-max p99<5ms --json /nonexistent/x":                        "--json: ",
		"--find-max p99<5ms --warmup 6s":                                  "warm-up 6s: must be shorter than the run of 5s",
		"--find-max p99<5ms --data ${csv.a} --order unique --csv " + rows: "--order unique does not go with it",
	} {
		var out strings.Builder
		code := run(append([]string{"load", addr}, strings.Fields(args)...), strings.NewReader(""), &out, &out)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, out.String(), want, args)
	}
}

func TestAProbeIsJudgedByWhoseFaultItWas(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		met     bool
		summary report.Summary
		replied uint64
		want    search.Verdict
		code    int // of the error
	}{
		"all well":                      {t.Context(), false, report.Summary{}, 9, search.Met, 0},
		"all well, though limited":      {t.Context(), true, report.Summary{GeneratorLimited: true}, 9, search.Met, 0},
		"a threshold":                   {t.Context(), true, report.Summary{ExitCode: 99}, 9, search.Missed, 0},
		"stopped early":                 {t.Context(), true, report.Summary{ExitCode: 130}, 9, search.Missed, 0},
		"not all was sent":              {t.Context(), true, report.Summary{ExitCode: 1}, 9, search.Missed, 0},
		"not all was sent, and limited": {t.Context(), true, report.Summary{ExitCode: 1, GeneratorLimited: true}, 9, search.Limited, 0},
		"inconclusive":                  {t.Context(), true, report.Summary{ExitCode: 4, GeneratorLimited: true}, 9, search.Limited, 0},
		"no reply at a higher rate":     {t.Context(), true, report.Summary{ExitCode: 1}, 0, search.Missed, 0},
		"no reply at all":               {t.Context(), false, report.Summary{ExitCode: 1}, 0, "", 1},
		"wrong replies":                 {t.Context(), true, report.Summary{ExitCode: 3}, 9, "", 3},
		"interrupted":                   {over, true, report.Summary{ExitCode: 130}, 9, "", 130},
	} {
		f := &finder{ctx: c.ctx, met: c.met}
		got, err := f.judge(&findProbe{Summary: &c.summary,
			result: &load.Result{Conns: load.Conns{Opened: 1}, Violations: load.Counts{Replied: c.replied}}})
		assert.Equal(t, c.want, got, name)
		var exit *exitError
		if errors.As(err, &exit) {
			assert.Equal(t, c.code, exit.code, name)
		} else {
			assert.Zero(t, c.code, name)
		}
	}
}
