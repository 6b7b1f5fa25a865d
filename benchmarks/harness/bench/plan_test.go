package bench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func onePlan(target *Target, api API) Plan {
	return Plan{Rounds: 3, Slice: 2 * time.Millisecond,
		Cases: []Case{{Target: target, API: api, Callers: 2, PayloadBytes: 16, Conns: 1}}}
}

func TestPlanNamesWhatMakesNoSense(t *testing.T) {
	target := fakeTarget(Ringwire, APIs(), echoing, nil)
	target.CallersMax = 4
	measured := Target{Name: "native", APIs: []API{Native}}
	for want, change := range map[string]func(*Plan){
		"no system has":    func(p *Plan) { p.Cases = nil },
		"without a target": func(p *Plan) { p.Cases[0].Target = nil },
		"has only":         func(p *Plan) { p.Cases[0].API = Native },
		"at most 4":        func(p *Plan) { p.Cases[0].Callers = 5 },
		"callers 0":        func(p *Plan) { p.Cases[0].Callers = 0 },
		"payload 7":        func(p *Plan) { p.Cases[0].PayloadBytes = 7 },
		"conns 0":          func(p *Plan) { p.Cases[0].Conns = 0 },
		"rate -1":          func(p *Plan) { p.Cases[0].Rate = -1 },
		"rate needs":       func(p *Plan) { p.Cases[0].Rate, p.Cases[0].API = 1, Batch },
		"Measure belongs":  func(p *Plan) { p.Cases[0].Target, p.Cases[0].API = &measured, Native },
		"rounds 0":         func(p *Plan) { p.Rounds = 0 },
		"slice 0s":         func(p *Plan) { p.Slice = 0 },
		"reply of its own": func(p *Plan) {
			answers := Target{Name: "native", APIs: []API{Native}, Reply: []byte("x"),
				Measure: func(context.Context, Case, time.Duration) (Sample, error) { return Sample{}, nil }}
			p.Cases[0].Target, p.Cases[0].API = &answers, Native
		},
	} {
		p := onePlan(&target, Blocking)
		require.NoError(t, p.Validate())
		change(&p)
		require.ErrorContains(t, p.Validate(), want)
		_, err := RunPlan(t.Context(), p, nil)
		require.ErrorContains(t, err, want)
	}
}

func TestConfigLeavesOutTargetsThatCannotHaveSoManyCallers(t *testing.T) {
	lone := fakeTarget("lone", []API{Blocking}, echoing, nil)
	lone.CallersMax = 1
	cfg := small(Blocking)
	plan := cfg.Plan([]Target{fakeTarget(Ringwire, APIs(), echoing, nil), lone})
	var names []string
	for _, c := range plan.Cases {
		names = append(names, c.String())
	}
	assert.Equal(t, []string{"ringwire blocking with 1 caller", "lone blocking with 1 caller", "ringwire blocking with 4 callers"}, names)
}

func TestKeepGoingDropsOnlyTheCaseThatFails(t *testing.T) {
	dials := 0
	bad := Target{Name: "bad", APIs: []API{Blocking}, Dial: func(context.Context, int) (Client, error) {
		dials++
		if dials > 1 {
			return nil, errFake
		}
		return echoing(), nil
	}}
	good := fakeTarget("good", []API{Blocking}, echoing, nil)
	plan := onePlan(&bad, Blocking)
	plan.Cases = append(plan.Cases, onePlan(&good, Blocking).Cases...)
	plan.KeepGoing = true
	result, err := RunPlan(t.Context(), plan, nil)
	require.ErrorIs(t, err, errFake)
	assert.True(t, result.Partial)
	require.Len(t, result.Rows, 2)
	assert.Equal(t, 2, dials, "it is not tried again")
	assert.Equal(t, 1, result.Rows[0].Rounds)
	assert.Contains(t, result.Rows[0].Failure, errFake.Error())
	assert.Equal(t, 3, result.Rows[1].Rounds)
	assert.Empty(t, result.Rows[1].Failure)
}

func TestKeepGoingEndsWithTheContext(t *testing.T) {
	target := fakeTarget("good", []API{Blocking}, echoing, nil)
	plan := onePlan(&target, Blocking)
	plan.KeepGoing = true
	ctx, cancel := context.WithCancel(t.Context())
	result, err := RunPlan(ctx, plan, func(Status) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, result.Rows[0].Rounds)
}

func TestANativeTargetMeasuresItself(t *testing.T) {
	sample := Sample{Requests: 300, Elapsed: time.Second, CPU: time.Millisecond, Latencies: []int64{30, 10, 20}}
	target := Target{Name: "native", APIs: []API{Native}, Note: "counts", Measure: func(_ context.Context, c Case, d time.Duration) (Sample, error) {
		assert.Equal(t, 2, c.Callers)
		assert.Equal(t, 2*time.Millisecond, d)
		return sample, nil
	}}
	result, err := RunPlan(t.Context(), onePlan(&target, Native), nil)
	require.NoError(t, err)
	row := result.Rows[0]
	assert.InDelta(t, 300, row.ReqPerSec, 1e-9)
	assert.Equal(t, []float64{20, 20, 20}, row.P50Rounds)
	assert.EqualValues(t, 9, row.LatencySamples)
	assert.InDelta(t, 1e6/300.0, *row.CPUPerReq, 1e-6)
	assert.Equal(t, "counts", row.Note)

	sample.Requests = 0
	_, err = RunPlan(t.Context(), onePlan(&target, Native), nil)
	require.ErrorContains(t, err, "answered no request")
	target.Measure = func(context.Context, Case, time.Duration) (Sample, error) { return Sample{}, errFake }
	_, err = RunPlan(t.Context(), onePlan(&target, Native), nil)
	require.ErrorIs(t, err, errFake)
}

// stored answers every request with the same bytes.
type stored struct{ value []byte }

func (s stored) Call(dst []byte, _ *[]byte) ([]byte, error) { return append(dst, s.value...), nil }
func (s stored) Close() error                               { return nil }

func (s stored) Go(_ []byte, fn func(reply []byte, err error)) error {
	go fn(s.value, nil)
	return nil
}

func (s stored) SendBatch(reqs [][]byte, fn func(i int, reply []byte, err error)) error {
	for i := range reqs {
		fn(i, s.value, nil)
	}
	return nil
}

func TestATargetsOwnReplyIsCheckedInsteadOfAnEcho(t *testing.T) {
	for _, api := range APIs() {
		value := []byte("stored")
		target := Target{Name: "store", APIs: APIs(), Reply: []byte("stored"),
			Dial: func(context.Context, int) (Client, error) { return stored{value}, nil }}
		result, err := RunPlan(t.Context(), onePlan(&target, api), nil)
		require.NoError(t, err, api)
		assert.Positive(t, result.Rows[0].Requests, api)
		value[0] = 'x'
		_, err = RunPlan(t.Context(), onePlan(&target, api), nil)
		require.ErrorContains(t, err, "wrong reply", api)
	}
}

func TestRatiosAreByRound(t *testing.T) {
	assert.Equal(t, []float64{2, 3}, Ratios([]float64{2, 5, 9, 1}, []float64{1, 0, 3}))
	assert.Empty(t, Ratios(nil, []float64{1}))
}

func TestPercentileOfSortedValues(t *testing.T) {
	assert.Zero(t, percentile(nil, 0.5))
	assert.EqualValues(t, 2, percentile([]int64{1, 2, 3}, 0.5))
	assert.EqualValues(t, 3, percentile([]int64{1, 2, 3}, 1))
}

// slow takes its time over every request.
type slow struct{ wait time.Duration }

func (s slow) Call(dst []byte, req *[]byte) ([]byte, error) {
	time.Sleep(s.wait)
	return append(dst, *req...), nil
}
func (slow) Close() error { return nil }

func TestPacedRequestsAreThoseThatFellDue(t *testing.T) {
	const rate = 2000
	l := newLoad(echoing(), Blocking, 4, 16, 0)
	l.rate, l.patience = rate, time.Hour
	for range 2 {
		m, err := l.run(t.Context(), 30*time.Millisecond, 1)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, m.requests, uint64(1+rate*30/1000))
		assert.LessOrEqual(t, float64(m.requests), 1+rate*m.elapsed.Seconds())
		assert.Len(t, m.latencies, int(m.requests))
		assert.Len(t, m.lags, int(m.requests))
		assert.Zero(t, m.unsent)
	}
}

func TestPacedLatencyCountsFromWhenARequestWasDue(t *testing.T) {
	const wait = 20 * time.Millisecond
	l := newLoad(slow{wait}, Blocking, 1, 16, 0)
	l.rate, l.patience = 200, time.Hour // four times what one caller can send
	m, err := l.run(t.Context(), wait, 1)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(m.latencies), 5, "those due in the slice are sent after it")
	for i, ns := range m.latencies {
		intended := time.Duration(i) * time.Second / 200
		assert.GreaterOrEqual(t, ns, int64(time.Duration(i+1)*wait-intended), "request %d", i)
		assert.LessOrEqual(t, m.lags[i], ns)
	}
}

func TestPacedRowsTellLagAndWhatWasNotSent(t *testing.T) {
	target := fakeTarget(Ringwire, APIs(), echoing, nil)
	plan := onePlan(&target, Blocking)
	plan.Cases[0].Rate = 5000
	result, err := RunPlan(t.Context(), plan, nil)
	require.NoError(t, err)
	row := result.Rows[0]
	assert.Positive(t, row.LagP50)
	assert.LessOrEqual(t, row.LagP50, row.LagP99)
	assert.LessOrEqual(t, row.LagP99, row.P99)

	c := rates(Ringwire, Blocking, 100, 200, 0)
	c.rounds[0].unsent, c.rounds[1].unsent = 3, 4
	assert.EqualValues(t, 7, c.row().Unsent)
}

func TestARowWithoutARateHasNoLag(t *testing.T) {
	target := fakeTarget(Ringwire, APIs(), echoing, nil)
	result, err := RunPlan(t.Context(), onePlan(&target, Blocking), nil)
	require.NoError(t, err)
	assert.Zero(t, result.Rows[0].LagP99)
}

func TestPacedRunEndsAfterAWrongReply(t *testing.T) {
	l := newLoad(&fake{wrong: true}, Blocking, 4, 16, 0)
	l.rate = 1000
	_, err := l.run(t.Context(), 5*time.Millisecond, 1)
	require.ErrorContains(t, err, "wrong reply")
}
