package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// started notes the setups that were asked for.
type started map[string][]Setup

func (s started) start(system string, setup Setup) (Server, error) {
	s[system] = append(s[system], setup)
	return Server{Addr: "127.0.0.1:1", PID: os.Getpid()}, nil
}

// systems are ours and both baselines, of fakes.
func systems() []Target {
	return []Target{fakeTarget(Ringwire, APIs(), echoing, nil),
		fakeTarget(AnetV1, []API{Blocking, Batch}, echoing, nil),
		fakeTarget(AnetV0, []API{Blocking, Batch}, echoing, nil)}
}

// everydayPlan adds the everyday cases to those of the config.
func everydayPlan(t *testing.T, cfg *Config, targets []Target) (Plan, started) {
	t.Helper()
	servers := make(started)
	plan := cfg.Plan(targets)
	require.NoError(t, plan.AddEveryday(cfg, Everyday{Targets: targets, Start: servers.start}))
	require.NoError(t, plan.Validate())
	return plan, servers
}

func TestEveryEverydayCaseOfOursHasItsBaselinesBesideIt(t *testing.T) {
	cfg := small(Blocking, Callback)
	plan, _ := everydayPlan(t, &cfg, systems())
	seen := make(map[string]bool)
	for i := range plan.Cases {
		c := &plan.Cases[i]
		seen[c.Condition] = true
		if c.Target.Name != Ringwire || c.API == Callback {
			continue
		}
		for _, baseline := range []string{AnetV1, AnetV0} {
			at := slices.IndexFunc(plan.Cases, func(o Case) bool {
				return o.Target.Name == baseline && o.sameLoad(c, c.Beside)
			})
			require.GreaterOrEqual(t, at, 0, "%s has no %s", c, baseline)
			between := plan.Cases[min(i, at):max(i, at)]
			for _, o := range between {
				assert.Equal(t, c.Callers, o.Callers, "%s and %s are neighbours", c, baseline)
			}
		}
	}
	assert.Len(t, seen, 1+len(conditions))
}

func TestEverydayAddsTheBestCasesThatLackOnly(t *testing.T) {
	cfg := small(Blocking)
	cfg.Callers = []int{16, 256}
	plan, _ := everydayPlan(t, &cfg, systems())
	var best []int
	for _, c := range plan.Cases {
		if c.Condition == "" && c.Target.Name == Ringwire {
			best = append(best, c.Callers)
		}
	}
	assert.Equal(t, []int{1, 16, 64, 256}, best)
}

func TestEverydayStartsWhatItsConditionsSay(t *testing.T) {
	cfg := small(Blocking)
	_, servers := everydayPlan(t, &cfg, systems())
	for _, want := range []Setup{
		{}, {Number: 3}, {Workers: 64}, {NoPolling: true}, {Workers: 64, NoPolling: true},
		{Workers: 64, Latency: lateHandler},
		{Workers: 64, NoPolling: true, Latency: lateHandler},
	} {
		assert.Contains(t, servers[Ringwire], want)
	}
	for _, setup := range servers[AnetV1] {
		allowed := []Setup{{}, {Number: 1}, {Number: 2}, {Number: 3}, {Latency: lateHandler}}
		assert.Contains(t, allowed, setup)
	}
	plan := cfg.Plan(systems())
	refuse := func(string, Setup) (Server, error) { return Server{}, errFake }
	err := plan.AddEveryday(&cfg, Everyday{Targets: systems(), Start: refuse})
	require.ErrorIs(t, err, errFake)
	require.ErrorContains(t, err, "deadline of ringwire")
}

func TestEverydayCasesOfFourServersKnowTheirProcesses(t *testing.T) {
	cfg := small(Blocking)
	plan, _ := everydayPlan(t, &cfg, systems())
	for _, c := range plan.Cases {
		if c.Condition == "4 servers" {
			assert.Len(t, c.Target.MorePIDs, 3, c.String())
		}
		assert.Equal(t, c.Condition == "4 connections", c.Conns == 4, c.String())
	}
}

// contexts is a client that keeps the last call's context.
type contexts struct {
	fake
	last context.Context
}

func (c *contexts) callContext(ctx context.Context, dst []byte, req *[]byte) ([]byte, error) {
	c.last = ctx
	return c.Call(dst, req)
}

func TestCallsAreBoundedAsTheConditionSays(t *testing.T) {
	req := newRequest(16, 1)
	client := &contexts{}
	c := bounded(client, ownDeadline)
	_, err := c.Call(nil, &req)
	require.NoError(t, err)
	first := client.last
	_, has := first.Deadline()
	assert.True(t, has)
	require.ErrorIs(t, first.Err(), context.Canceled, "the caller cancels it")
	_, _ = c.Call(nil, &req)
	assert.NotSame(t, first, client.last)

	c = bounded(client, sharedCancel)
	_, _ = c.Call(nil, &req)
	first = client.last
	_, _ = c.Call(nil, &req)
	assert.Same(t, first, client.last)
	_, has = first.Deadline()
	assert.False(t, has)
	require.NoError(t, first.Err())
	require.NoError(t, c.Close())
	require.Error(t, first.Err())
	assert.True(t, client.closed.Load())

	client.last = nil
	c = bounded(client, unbounded)
	_, _ = c.Call(nil, &req)
	assert.Nil(t, client.last)
}

func TestAnIdleCaseSendsNothing(t *testing.T) {
	client := &fake{}
	target := Target{Name: Ringwire, APIs: []API{Idle}, PID: os.Getpid(),
		Dial: func(context.Context, int) (Client, error) { return client, nil }}
	plan := onePlan(&target, Idle)
	plan.Cases[0].Condition, plan.Cases[0].CPU = "idle", true
	result, err := RunPlan(t.Context(), plan, nil)
	require.NoError(t, err)
	assert.Zero(t, client.sent.Load())
	assert.Empty(t, result.Rows)
	row := result.Everyday[0]
	assert.Equal(t, 3, row.Rounds)
	assert.Zero(t, row.ReqPerSec)
	assert.Nil(t, row.CPUPerReq)
	if runtime.GOOS == "linux" {
		assert.Positive(t, *row.CPUPerSecond)
	}
	require.NoError(t, result.WriteJSON(&bytes.Buffer{}), "no field is infinite")
}

func TestACPUCasesRateIsKeptByATimer(t *testing.T) {
	target := fakeTarget(Ringwire, APIs(), echoing, nil)
	plan := onePlan(&target, Blocking)
	plan.Slice = 50 * time.Millisecond
	plan.Cases[0].CPU, plan.Cases[0].Rate, plan.Cases[0].Condition = true, 500, "100 req/s"
	result, err := RunPlan(t.Context(), plan, nil)
	require.NoError(t, err)
	row := result.Everyday[0]
	assert.LessOrEqual(t, row.ReqPerSec, 520.0, "no more than the rate, and the tick that ends it")
	assert.Zero(t, row.LagP99, "no pacer")
}

func TestACasesOwnSliceWinsAndHasALimit(t *testing.T) {
	target := fakeTarget(Ringwire, APIs(), echoing, nil)
	plan := onePlan(&target, Blocking)
	plan.Slice, plan.Cases[0].Slice = time.Minute, 2*time.Millisecond
	result, err := RunPlan(t.Context(), plan, nil)
	require.NoError(t, err)
	assert.Equal(t, "2ms", result.Rows[0].Slice)
	plan.Cases[0].Slice = time.Hour
	require.ErrorContains(t, plan.Validate(), "slice 1h")
}

// under makes a cell one of a condition.
func under(condition, beside string, c *cell) *cell {
	c.Condition, c.Beside = condition, beside
	return c
}

// busy is a cell of processor time, in milliseconds a second by round.
func busy(condition, beside, name string, ms ...int) *cell {
	c := under(condition, beside, rates(name, Blocking, slices.Repeat([]uint64{100}, len(ms))...))
	c.CPU = true
	for i, m := range c.rounds {
		m.cpu = time.Duration(ms[i]) * time.Millisecond
	}
	return c
}

// everydayResult has a condition with rows of anet, one without, and processor time.
func everydayResult() *Result {
	r := summarize([]*cell{
		rates(Ringwire, Blocking, 1200), rates(AnetV1, Blocking, 100), rates(AnetV0, Blocking, 90),
		under("no polling", "", rates(Ringwire, Blocking, 50)),
		under("deadline", "deadline", rates(Ringwire, Blocking, 400)),
		under("deadline", "deadline", rates(AnetV1, Blocking, 80)),
		under("deadline", "deadline", rates(AnetV0, Blocking, 40)),
		busy("idle", "idle", Ringwire, 8),
		busy("idle", "idle", AnetV1, 2), busy("idle", "idle", AnetV0, 1),
		busy("idle, no polling", "idle", Ringwire, 1),
	}, false)
	r.Metadata = Describe(small(Blocking), "abc123", nil)
	return r
}

func TestConditionsAreComparedWithinTheirOwn(t *testing.T) {
	r := everydayResult()
	require.Len(t, r.Rows, 3, "rows with a condition are apart")
	assert.InDelta(t, 12, *r.Rows[0].RatioToAnet, 1e-9)
	ratio := func(condition string) *Row {
		at := slices.IndexFunc(r.Everyday, func(row Row) bool {
			return row.Condition == condition && row.System == Ringwire
		})
		require.GreaterOrEqual(t, at, 0, condition)
		return &r.Everyday[at]
	}
	assert.InDelta(t, 5, *ratio("deadline").RatioToAnet, 1e-9)
	assert.InDelta(t, 0.5, *ratio("no polling").RatioToAnet, 1e-9, "beside the best case of anet")
	idle := ratio("idle")
	assert.Nil(t, idle.RatioToAnet, "its rate says nothing")
	assert.InDeltaMapValues(t, map[string]float64{AnetV1: 0.25, AnetV0: 0.125}, idle.CPURatios, 1e-9)
	assert.InDelta(t, 8e6, *idle.CPUPerSecond, 1e-3)
	assert.InDelta(t, 1, ratio("idle, no polling").CPURatios[AnetV0], 1e-9)
	assert.Empty(t, ratio("deadline").CPURatios)
}

func TestSummaryPutsBestAndEverydaySideBySideLossesFirst(t *testing.T) {
	var b bytes.Buffer
	r := everydayResult()
	require.NoError(t, r.WriteTable(&b, false))
	_, summary, found := strings.Cut(b.String(), rateTitle+"\n")
	require.True(t, found)
	lines := strings.Split(summary, "\n")
	assert.Equal(t, "no polling 16 50.0 100 v1.0.0 0.50x 12.00x", firstFields(lines[1], 8))
	assert.Equal(t, "best case 16 1.20k 100 v1.0.0 12.00x -", firstFields(lines[2], 8))
	assert.Equal(t, "deadline 16 400 80.0 v1.0.0 5.00x 12.00x", firstFields(lines[3], 7))
	_, cpu, found := strings.Cut(summary, cpuTitle+"\n")
	require.True(t, found)
	lines = strings.Split(cpu, "\n")
	assert.Equal(t, "idle 16 8.00ms/s 1.00ms/s v0.3.0 0.12x", firstFields(lines[1], 6))
	assert.Contains(t, b.String(), "SLOWER than anet: "+
		"ringwire blocking with 16 callers (no polling), 0.50x of anet-v1.0.0.\n")
	assert.Contains(t, b.String(), "MORE PROCESSOR TIME than anet: idle, 8.00x of anet-v0.3.0.\n")

	b.Reset()
	require.NoError(t, (&Result{Rows: r.Rows}).WriteTable(&b, false))
	assert.NotContains(t, b.String(), rateTitle, "there is no everyday row")
}

// firstFields are those of a line of the table, with one space between.
func firstFields(line string, n int) string {
	fields := strings.Fields(line)
	return strings.Join(fields[:min(n, len(fields))], " ")
}

func TestSummaryWithoutABaselineHasNoFactor(t *testing.T) {
	r := summarize([]*cell{rates(Ringwire, Blocking, 1200),
		under("deadline", "deadline", rates(Ringwire, Blocking, 400)),
		busy("idle", "idle", Ringwire, 8)}, false)
	var b bytes.Buffer
	require.NoError(t, r.WriteTable(&b, false))
	_, summary, _ := strings.Cut(b.String(), rateTitle+"\n")
	assert.Equal(t, "deadline 16 400 - - - -", firstFields(strings.Split(summary, "\n")[2], 7))
	assert.NotContains(t, b.String(), "SLOWER")
	assert.NotContains(t, b.String(), "PROCESSOR TIME than")
}

func TestMarkdownHasTheSummaryAndEveryRow(t *testing.T) {
	var b bytes.Buffer
	r := everydayResult()
	require.NoError(t, r.WriteMarkdown(&b))
	text := b.String()
	assert.True(t, strings.HasPrefix(text, "SLOWER than anet: "), text)
	for _, want := range []string{
		"| no polling | 16 | 50.0 | 100 | v1.0.0 | 0.50x | 12.00x |",
		"| idle | 16 | 8.00ms/s | 1.00ms/s | v0.3.0 | 0.12x |",
		"| 16 | ringwire | blocking | 1.20k |",
		"|---|---:|---:|---:|---|---:|",
		"commit abc123",
	} {
		assert.Contains(t, text, want)
	}
	assert.Equal(t, `a\|b`, escapeCell("a|b"))
}

func TestJSONKeepsEverydayRowsApart(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, everydayResult().WriteJSON(&b))
	var got struct{ Rows, Everyday []map[string]any }
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Len(t, got.Rows, 3)
	require.Len(t, got.Everyday, 8)
	assert.NotContains(t, got.Rows[0], "condition")
	assert.Equal(t, "deadline", got.Everyday[0]["condition"], "in the order of the report")
	assert.Equal(t, "deadline", got.Everyday[0]["beside"])
	last := got.Everyday[7]
	assert.Equal(t, "idle, no polling", last["condition"])
	assert.Contains(t, last, "cpu_ratios")
	assert.Contains(t, last, "cpu_ns_per_s")
}

func TestProgressNamesTheCondition(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, false, 0, false)
	p.Show(Status{Done: 1, Total: 2, Round: 1, Rounds: 1, System: Anet, API: Blocking, Callers: 16,
		Condition: "deadline", ReqPerSec: 1, Elapsed: plainEvery})
	assert.Contains(t, b.String(), "anet blocking, 16 callers (deadline): ")
}

// besideOne has only the baseline that reports call by its short name.
func besideOne() *Result {
	return summarize([]*cell{
		rates(Ringwire, Blocking, 1200), rates(Anet, Blocking, 100),
		under("no polling", "", rates(Ringwire, Blocking, 50)),
		under("deadline", "deadline", rates(Ringwire, Blocking, 400)),
		under("deadline", "deadline", rates(Anet, Blocking, 80)),
		busy("idle", "idle", Ringwire, 8), busy("idle", "idle", Anet, 2),
		busy("idle, no polling", "idle", Ringwire, 1),
	}, false)
}

func TestWorseAreTheRowsThatLoseWithWhatTheyAreComparedWith(t *testing.T) {
	worse := besideOne().Worse()
	require.Len(t, worse, 2)
	assert.Equal(t, "no polling", worse[0].Condition)
	assert.Equal(t, Anet, worse[0].Baseline)
	assert.InDelta(t, 0.5, worse[0].Factor, 1e-9, "beside the best case of anet")
	assert.False(t, worse[0].CPU)
	assert.Equal(t, "idle", worse[1].Condition)
	assert.InDelta(t, 0.25, worse[1].Factor, 1e-9, "four times the processor time")
	assert.True(t, worse[1].CPU)
	assert.Equal(t, 16, worse[1].Row.Callers)
}

func TestEverydayAloneLeavesOutTheOtherRowsAndTheMachine(t *testing.T) {
	r := besideOne()
	var table, markdown bytes.Buffer
	require.NoError(t, r.WriteEveryday(&table))
	require.NoError(t, r.WriteEverydayMarkdown(&markdown))
	assert.Regexp(t, `deadline +16 +400 +80.0 +v1.0.0 +5.00x +12.00x`, table.String())
	assert.Regexp(t, `idle +16 +8.00ms/s +2.00ms/s +v1.0.0 +0.25x`, table.String())
	assert.Contains(t, markdown.String(), "| deadline | 16 | 400 | 80.0 | v1.0.0 | 5.00x | 12.00x |")
	assert.Contains(t, markdown.String(), "| idle | 16 | 8.00ms/s | 2.00ms/s | v1.0.0 | 0.25x |")
	for _, text := range []string{table.String(), markdown.String()} {
		assert.Contains(t, text, "SLOWER than anet: ringwire blocking with 16 callers (no polling), 0.50x of anet.")
		assert.Contains(t, text, "MORE PROCESSOR TIME than anet: idle, 4.00x of anet.")
		assert.Contains(t, text, "call timeout: engine.Call")
		assert.NotContains(t, text, "harder of anet's", "there is one")
		assert.NotContains(t, text, "allocs/req")
		assert.NotContains(t, text, "GOMAXPROCS")
	}
}

func TestAnEverydayRowThatFailedAtOnceIsNotCompared(t *testing.T) {
	failed := under("deadline", "deadline", rates(Ringwire, Blocking, 0))
	failed.failure = errFake
	r := summarize([]*cell{rates(Ringwire, Blocking, 1200), rates(Anet, Blocking, 100), failed,
		under("deadline", "deadline", rates(Anet, Blocking, 80))}, false)
	require.Len(t, r.Everyday, 2)
	assert.Empty(t, r.Worse())
	var b bytes.Buffer
	require.NoError(t, r.WriteEveryday(&b))
	assert.Regexp(t, `best case +16 +1.20k`, b.String())
	assert.NotRegexp(t, `deadline +16`, b.String())
}
