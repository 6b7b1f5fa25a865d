package bench

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func small(apis ...API) Config {
	return Config{Callers: []int{1, 4}, APIs: apis, PayloadBytes: 16, Conns: 1, Rounds: 2, Slice: 2 * time.Millisecond}
}

func TestRunMeasuresEveryCellInEveryRound(t *testing.T) {
	var clients []*fake
	targets := []Target{
		fakeTarget(Ringwire, APIs(), echoing, &clients),
		fakeTarget(Anet, []API{Blocking, Batch}, echoing, &clients),
	}
	var statuses []Status
	result, err := Run(t.Context(), small(APIs()...), targets, func(s Status) { statuses = append(statuses, s) })
	require.NoError(t, err)
	assert.False(t, result.Partial)
	require.Len(t, result.Rows, 2*(3+2), "callers x (ringwire's apis + anet's)")
	for _, row := range result.Rows {
		assert.Equal(t, 2, row.Rounds, "%s %s %d", row.System, row.API, row.Callers)
		assert.Len(t, row.ReqPerSecRounds, 2)
		assert.Positive(t, row.Requests)
		assert.Zero(t, row.Errors)
		assert.Positive(t, row.ReqPerSec)
		assert.Positive(t, row.LatencySamples)
		assert.Positive(t, row.P50)
		assert.LessOrEqual(t, row.P50, row.P99)
		assert.LessOrEqual(t, row.P99, row.P999)
		if runtime.GOOS == "linux" {
			require.Len(t, row.StolenRounds, 2)
			assert.GreaterOrEqual(t, row.StolenRounds[0], 0.0)
		}
		assert.Equal(t, row.System == Ringwire, row.RatioToAnet != nil, "ringwire's rows have a ratio")
	}
	require.Len(t, statuses, 20)
	assert.Equal(t, 20, statuses[19].Done)
	assert.Equal(t, 2, statuses[19].Round)
	assert.Len(t, clients, 20, "a client for every slice")
	for _, c := range clients {
		assert.True(t, c.closed.Load(), "every client is closed")
	}
}

func TestRunCountsWhatTheClientAnswered(t *testing.T) {
	for _, api := range APIs() {
		t.Run(string(api), func(t *testing.T) {
			client := &fake{}
			l := newLoad(client, api, 8, 16, 0)
			m, err := l.run(t.Context(), 2*time.Millisecond, 1)
			require.NoError(t, err)
			assert.EqualValues(t, client.sent.Load(), m.requests)
			assert.Zero(t, m.errors)
			var timed uint64
			for _, c := range l.callers {
				timed += min(c.requests, uint64(cap(c.latencies)))
			}
			assert.EqualValues(t, timed, len(m.latencies), "with every = 1 each is timed while there is room")
		})
	}
}

func TestRunTimesOneRequestInEvery(t *testing.T) {
	for _, api := range APIs() {
		t.Run(string(api), func(t *testing.T) {
			l := newLoad(&fake{}, api, 3, 16, 0)
			var requests, expected, timed float64
			// Runs until enough was sent to tell one in eight from all.
			for run := 0; run < 1000 && requests < 500; run++ {
				_, err := l.run(t.Context(), time.Millisecond, 8)
				require.NoError(t, err)
				for _, c := range l.callers {
					share := min(float64(c.requests)/8, float64(cap(c.latencies)))
					require.InDelta(t, share, float64(len(c.latencies)), 1, "a caller's share is rounded once")
					requests += float64(c.requests)
					expected += share
					timed += float64(len(c.latencies))
				}
			}
			require.GreaterOrEqual(t, requests, 500.0)
			assert.InDelta(t, expected, timed, expected/2)
		})
	}
}

func TestRequestsOfAClientAreAllDifferent(t *testing.T) {
	for _, api := range APIs() {
		// Every fifth fails: its late reply must not pass for that of the next.
		client := &fake{record: true, seen: make(map[string]int), failing: true, every: 5}
		l := newLoad(client, api, 3, identityBytes, 0)
		for range 2 {
			_, err := l.run(t.Context(), 5*time.Millisecond, 1)
			require.NoError(t, err)
		}
		assert.GreaterOrEqual(t, len(client.seen), 2*3, "%s: each caller sends in each run", api)
		assert.Len(t, client.seen, int(client.sent.Load()), api)
	}
}

func TestRunFailsWhenAReplyIsWrong(t *testing.T) {
	for _, api := range APIs() {
		for name, faulty := range map[string]func() *fake{
			"another caller's": func() *fake { return &fake{wrong: true} },
			"cut":              func() *fake { return &fake{short: true} },
		} {
			t.Run(string(api)+"/"+name, func(t *testing.T) {
				result, err := Run(t.Context(), small(api), []Target{fakeTarget(Ringwire, APIs(), faulty, nil)}, nil)
				require.ErrorContains(t, err, "wrong reply: caller")
				require.ErrorContains(t, err, "ringwire "+string(api))
				assert.True(t, result.Partial)
			})
		}
	}
}

func TestRunFailsWhenACallbackRunsTwice(t *testing.T) {
	doubled := func() *fake { return &fake{doubled: true} }
	for _, api := range []API{Callback, Batch} {
		cfg := small(api)
		cfg.Callers = []int{1}
		_, err := Run(t.Context(), cfg, []Target{fakeTarget(Ringwire, APIs(), doubled, nil)}, nil)
		require.Error(t, err, api)
	}
}

func TestRunFailsWhenABatchLosesACallback(t *testing.T) {
	silent := func() *fake { return &fake{silent: true} }
	_, err := Run(t.Context(), small(Batch), []Target{fakeTarget(Ringwire, APIs(), silent, nil)}, nil)
	require.ErrorContains(t, err, "0 times")
}

func TestRunFailsWhenNoRequestSucceeds(t *testing.T) {
	for _, api := range APIs() {
		for name, faulty := range map[string]func() *fake{
			"failing":  func() *fake { return &fake{failing: true} },
			"refusing": func() *fake { return &fake{failing: true, refuse: true} },
		} {
			t.Run(string(api)+"/"+name, func(t *testing.T) {
				result, err := Run(t.Context(), small(api), []Target{fakeTarget(Ringwire, APIs(), faulty, nil)}, nil)
				require.ErrorIs(t, err, errFake)
				require.ErrorContains(t, err, "no request succeeded")
				assert.Empty(t, result.Rows)
			})
		}
	}
}

func TestRunCountsFailedRequests(t *testing.T) {
	for _, api := range APIs() {
		some := func() *fake { return &fake{failing: true, every: 3} }
		result, err := Run(t.Context(), small(api), []Target{fakeTarget(Ringwire, APIs(), some, nil)}, nil)
		require.NoError(t, err)
		for _, row := range result.Rows {
			assert.Positive(t, row.Errors, api)
			assert.Positive(t, row.Requests, api)
		}
	}
}

func TestRunStopsAndIsPartialWhenTheContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := small(Blocking)
	cfg.Rounds = 1000
	result, err := Run(ctx, cfg, []Target{fakeTarget(Ringwire, APIs(), echoing, nil)}, func(s Status) {
		if s.Done == 3 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, result.Partial)
	require.Len(t, result.Rows, 2)
	assert.Equal(t, 3, result.Rows[0].Rounds+result.Rows[1].Rounds)
}

func TestRunReportsAFailedDial(t *testing.T) {
	target := Target{Name: Ringwire, APIs: APIs(), Dial: func(context.Context, int) (Client, error) { return nil, errFake }}
	_, err := Run(t.Context(), small(Blocking), []Target{target}, nil)
	require.ErrorIs(t, err, errFake)
}

func TestRunNeedsACell(t *testing.T) {
	_, err := Run(t.Context(), small(Callback), []Target{fakeTarget(Anet, []API{Blocking}, echoing, nil)}, nil)
	require.Error(t, err)
}

func TestOrderHasEveryCellOnceAndChanges(t *testing.T) {
	for n := 1; n <= 30; n++ {
		cells := make([]*cell, n)
		for i := range cells {
			cells[i] = &cell{Case: Case{Callers: i}}
		}
		var firsts []int
		for round := range n {
			sequence := order(cells, round)
			firsts = append(firsts, sequence[0].Callers)
			seen := make(map[*cell]bool)
			for _, c := range sequence {
				seen[c] = true
			}
			require.Len(t, seen, n, "n=%d round=%d", n, round)
		}
		slices.Sort(firsts)
		assert.Len(t, slices.Compact(firsts), n, "n=%d: n rounds begin in n places", n)
	}
}

func TestOrderPutsEachOfAPairFirstInHalfTheRounds(t *testing.T) {
	cfg := small(Blocking)
	cfg.Callers = []int{1, 2, 3, 4, 5}
	cells := makeCells(cfg.Plan([]Target{
		fakeTarget(Ringwire, APIs(), echoing, nil), fakeTarget(Anet, APIs(), echoing, nil)}))
	place := func(sequence []*cell, name string, callers int) int {
		return slices.IndexFunc(sequence, func(c *cell) bool { return c.Callers == callers && c.Target.Name == name })
	}
	for _, callers := range cfg.Callers {
		first := 0
		for round := range 10 {
			sequence := order(cells, round)
			if place(sequence, Ringwire, callers) < place(sequence, Anet, callers) {
				first++
			}
		}
		assert.InDelta(t, 5, first, 1, "%d callers", callers)
	}
}

func TestSamplingKeepsWithinItsBound(t *testing.T) {
	for _, expected := range []float64{0, 1, samplesPerSlice, samplesPerSlice + 1, 1e6, 123456789, 1e12} {
		every := sampling(expected)
		assert.Zero(t, every&(every-1), "%v: %d is a power of two", expected, every)
		assert.LessOrEqual(t, expected/float64(every), float64(samplesPerSlice), "%v", expected)
		if every > 1 {
			assert.Greater(t, 4*expected/float64(every), float64(samplesPerSlice)/2, "%v: no fewer samples than needed", expected)
		}
	}
}

func TestValidateNamesTheField(t *testing.T) {
	ok := small(Blocking)
	require.NoError(t, ok.Validate())
	for want, change := range map[string]func(*Config){
		"callers 0":        func(c *Config) { c.Callers = []int{0} },
		"callers 16385":    func(c *Config) { c.Callers = []int{16385} },
		"no callers":       func(c *Config) { c.Callers = nil },
		"callers 4: given": func(c *Config) { c.Callers = []int{4, 4} },
		"no api":           func(c *Config) { c.APIs = nil },
		`api "async"`:      func(c *Config) { c.APIs = []API{"async"} },
		`"batch": given`:   func(c *Config) { c.APIs = []API{Batch, Batch} },
		"payload 7":        func(c *Config) { c.PayloadBytes = 7 },
		"payload 65532":    func(c *Config) { c.PayloadBytes = 65532 },
		"conns 0":          func(c *Config) { c.Conns = 0 },
		"rounds 0":         func(c *Config) { c.Rounds = 0 },
		"slice 0s":         func(c *Config) { c.Slice = 0 },
	} {
		cfg := small(Blocking)
		change(&cfg)
		require.ErrorContains(t, cfg.Validate(), want)
	}
}

func TestMismatchTellsWhoseReplyCame(t *testing.T) {
	req, reply := newRequest(16, 3), newRequest(16, 5)
	setNumber(req, 7)
	setNumber(reply, 9)
	assert.EqualError(t, mismatch(req, reply),
		"wrong reply: caller 3's request 7 (16 bytes) got the reply of caller 5's request 9")
	same := slices.Clone(req)
	same[15]++
	assert.ErrorContains(t, mismatch(req, same), "other bytes")
	assert.ErrorContains(t, mismatch(req, req[:4]), "answered with 4 bytes")
}

func TestFirstErrorKeepsTheFirst(t *testing.T) {
	second := errors.New("second")
	assert.Equal(t, errFake, firstError(errFake, second))
	assert.Equal(t, second, firstError(nil, second))
}
