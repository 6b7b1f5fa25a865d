package summary

import (
	"bytes"
	"strings"
	"testing"
	"time"

	pprof "github.com/google/pprof/profile"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/capture"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const own = "github.com/ringwire/ringwire/"

// entry is a sample to be: its stack, leaf first, role and values.
type entry struct {
	role   string
	values []int64
	frames []string
}

// encoded is a profile with these samples.
func encoded(t *testing.T, types []string, entries ...entry) []byte {
	t.Helper()
	p := &pprof.Profile{Period: 10e6, PeriodType: &pprof.ValueType{Type: "cpu", Unit: "nanoseconds"}}
	for _, name := range types {
		p.SampleType = append(p.SampleType, &pprof.ValueType{Type: name, Unit: "x"})
	}
	functions := map[string]*pprof.Location{}
	for _, e := range entries {
		s := &pprof.Sample{Value: e.values}
		if e.role != "" {
			s.Label = map[string][]string{stack.Label: {e.role}}
		}
		for _, name := range e.frames {
			if functions[name] == nil {
				f := &pprof.Function{ID: uint64(len(p.Function) + 1), Name: name}
				p.Function = append(p.Function, f)
				functions[name] = &pprof.Location{ID: f.ID, Line: []pprof.Line{{Function: f}}}
				p.Location = append(p.Location, functions[name])
			}
			s.Location = append(s.Location, functions[name])
		}
		p.Sample = append(p.Sample, s)
	}
	var out bytes.Buffer
	require.NoError(t, p.Write(&out))
	return out.Bytes()
}

// captured is a suite with a million requests in each phase.
func captured(t *testing.T) *capture.Captured {
	t.Helper()
	c := &capture.Captured{Recordings: map[string]map[record.Kind][]byte{}}
	for _, name := range []string{"cpu", "allocs", "contention", "goroutines"} {
		c.Phases = append(c.Phases, profile.Phase{Name: name, Requests: 1e6, Elapsed: 2 * time.Second, Slices: []profile.Slice{
			{Requests: 5e5, Elapsed: time.Second, ClientCPU: 450 * time.Millisecond, ServerCPU: 100 * time.Millisecond},
			{Requests: 5e5, Elapsed: time.Second, ClientCPU: 550 * time.Millisecond, ServerCPU: 100 * time.Millisecond},
		}})
	}
	for _, process := range []string{profile.Client, profile.Server} {
		c.Recordings[process] = map[record.Kind][]byte{
			record.CPU: encoded(t, []string{"samples", "cpu"},
				entry{"reader", []int64{60, 60e7}, []string{own + "taskid.f", own + "engine.g", own + "engine.g", own + "engine.read"}},
				entry{"caller", []int64{30, 30e7}, []string{"runtime.memmove", own + "engine.h", own + "benchmarks/harness/bench.call"}},
				entry{"", []int64{10, 10e7}, []string{"runtime.futex", "runtime.mcall"}},
				entry{"profiler", []int64{7, 7e7}, []string{"runtime/pprof.profileWriter"}}),
			record.Allocs: encoded(t, []string{"alloc_objects", "alloc_space"},
				entry{"", []int64{2e6, 64e6}, []string{"runtime.makeslice", own + "engine.h", own + "benchmarks/harness/bench.call"}},
				entry{"", []int64{3, 96}, []string{"sync.(*Pool).pinSlow", own + "taskid.lend", own + "engine.h"}},
				entry{"", []int64{50, 96}, []string{own + "benchmarks/harness/bench.call"}},
				entry{"", []int64{70, 96}, []string{"net/http.x"}}),
			record.Mutex: encoded(t, []string{"contentions", "delay"},
				entry{"", []int64{100, 5000}, []string{"sync.(*Mutex).Unlock", own + "engine.locked"}},
				entry{"", []int64{100, 4000}, []string{"sync.(*Mutex).Unlock", "net.x", own + "engine.h"}},
				entry{"", []int64{200, 3000}, []string{"runtime.unlock2", "runtime.schedule", "runtime.mcall"}},
				entry{"", []int64{100, 9000}, []string{"sync.(*Mutex).Unlock", own + "benchmarks/harness/bench.call"}}),
			record.Block: encoded(t, []string{"contentions", "delay"},
				entry{"", []int64{1e6, 8e9}, []string{"runtime.chanrecv1", own + "engine.await"}},
				entry{"", []int64{5e5, 7e9}, []string{"runtime.selectgo", own + "engine.flush"}},
				entry{"", []int64{1, 7e5}, []string{"runtime.selectgo", own + "engine.sweep"}}),
			record.Goroutine: encoded(t, []string{"goroutine"},
				entry{"caller", []int64{64}, []string{"runtime.gopark", "runtime.chanrecv", own + "engine.await"}},
				entry{"profiler", []int64{3}, []string{"runtime.gopark", "net/http.x"}}),
			record.Trace: []byte("go 1.26 trace"),
		}
	}
	return c
}

var suite = profile.Suite{Name: "blocking-64", API: bench.Blocking, Callers: 64, Payload: 64}

func build(t *testing.T) *Summary {
	t.Helper()
	s, err := Build(suite, captured(t))
	require.NoError(t, err)
	require.Len(t, s.Processes, 2)
	return s
}

func TestCPUIsPerRequestWithoutTheProfiler(t *testing.T) {
	cpu := build(t).Process(profile.Client).CPU
	assert.EqualValues(t, 100, cpu.Samples)
	assert.EqualValues(t, 7, cpu.Profiler)
	assert.InDelta(t, 1000, cpu.PerRequest(cpu.Samples), 1e-6, "100 samples of 10 ms in a million requests")
	assert.InDelta(t, 1000, cpu.Clock, 1e-6)
	assert.InDelta(t, 0.1414, cpu.Spread, 1e-3, "900 and 1100 ns")
	assert.Equal(t, []Function{
		{"taskid.f", stack.Ours, 60, 60}, {"runtime.memmove", stack.Runtime, 30, 30}, {"runtime.futex", stack.Runtime, 10, 10},
		{"engine.g", stack.Ours, 0, 60}, // once, though it calls itself
		{"engine.read", stack.Ours, 0, 60},
		{"bench.call", stack.Harness, 0, 30}, {"engine.h", stack.Ours, 0, 30}, {"runtime.mcall", stack.Runtime, 0, 10},
	}, cpu.Functions)
	assert.Equal(t, []Share{{"reader", 60}, {"caller", 30}, {"scheduler", 10}}, cpu.Roles())
	assert.Equal(t, []Share{{"ringwire taskid", 60}, {"memmove", 30}, {"syscall futex", 10}}, cpu.Groups())
	assert.EqualValues(t, 30, cpu.cell("caller", "memmove"))
	assert.Zero(t, cpu.cell("reader", "memmove"))
}

func TestDeviationIsOfTheSamplingAndOfTheSlices(t *testing.T) {
	cpu := CPU{Samples: 1000, Period: 1e6, Requests: 1e6}
	assert.InDelta(t, 10, cpu.Deviation(100), 1e-9, "the root of 100, one nanosecond each")
	assert.InDelta(t, 1, cpu.Deviation(0), 1e-9, "no sample does not mean no time")
	cpu.Spread = 0.1
	assert.InDelta(t, 14.14, cpu.Deviation(100), 0.01)
	assert.Zero(t, (&CPU{}).PerRequest(5), "nothing is divided by no request")
	assert.Zero(t, (&CPU{}).Part(5))
}

func TestAllocationsAreByPlaceWithoutTheLoadAndTheProfiler(t *testing.T) {
	a := build(t).Process(profile.Server).Allocs
	assert.Equal(t, []Site{{"engine.h", "", 2e6, 64e6}, {"sync.(*Pool).pinSlow", "taskid.lend", 3, 96}}, a.Sites)
	assert.EqualValues(t, 50, a.Harness)
	assert.EqualValues(t, 70, a.Profiler)
	assert.InDelta(t, 2.000003, a.PerRequest(a.Objects()), 1e-9)
}

func TestOnlyWhatIsDirectlyAboveALockIsContention(t *testing.T) {
	p := build(t).Process(profile.Client)
	require.Len(t, p.Mutex, 3, "the load's own is left out")
	assert.Equal(t, Wait{"engine.locked", WaitLock, true, 1e-4, 0.005}, p.Mutex[0])
	assert.True(t, p.Mutex[0].Contended())
	assert.Equal(t, Wait{"net.x", WaitLock, false, 1e-4, 0.004}, p.Mutex[1])
	assert.False(t, p.Mutex[1].Contended())
	assert.Equal(t, Wait{"runtime.schedule", WaitRuntime, false, 2e-4, 0.003}, p.Mutex[2])
	assert.Equal(t, Wait{"engine.await", WaitChannel, true, 1, 8000}, p.Block[0])
	assert.False(t, p.Block[0].Contended(), "to wait for a reply is no contention")
	assert.Equal(t, WaitSelect, p.Block[1].Kind)
}

func TestGoroutinesAreByRoleAndState(t *testing.T) {
	assert.Equal(t, []Goroutine{{"caller", "chan receive", "engine.await", 64}}, build(t).Process(profile.Client).Goroutines)
}

func TestTablesNameWhatMatters(t *testing.T) {
	var out strings.Builder
	m := profile.Metadata{Command: []string{"ringwire", "profile"}, Host: bench.Host{Go: "go1.26"}, Commit: "abc", Conns: 1}
	require.NoError(t, build(t).WriteTables(&out, &m))
	text := out.String()
	for _, want := range []string{
		"# Profile of blocking-64", "`ringwire profile`", "commit abc", "## Client", "## Server",
		"| cpu | 2.00 | 1000000 | 0 | 500000 |",
		"|  | % | all | reader | caller | scheduler |",
		"| memmove | 30.0 | 300 | 0 | 300 | 0 |",
		"| 600 | ± 230 | 60.0 | 600 | 60.0 | `taskid.f` |",
		"| 2.0000 | 2000000 | 64000000 | `engine.h` |  |",
		"Locks of the library that goroutines waited for", "`engine.locked`",
		"| 1.00000 | 8000 | channel | `engine.await` |",
		"| 64 | caller | chan receive | `engine.await` |",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "pinSlow", "three in a million are not shown")
	assert.NotContains(t, text, "engine.sweep")
}

func TestTablesSayWhenThereIsNothing(t *testing.T) {
	s := &Summary{Processes: []Process{{Name: "client"}}}
	var out strings.Builder
	require.NoError(t, s.WriteTables(&out, &profile.Metadata{}))
	assert.Contains(t, out.String(), "No place allocates")
	assert.Contains(t, out.String(), "No goroutine waited for a lock of the library")
}

func TestASummaryIsReadAsItWasWritten(t *testing.T) {
	s := build(t)
	var out bytes.Buffer
	require.NoError(t, s.Write(&out))
	read, err := Read(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	assert.Equal(t, s, read)
	_, err = Read(strings.NewReader(`{"schema_version": 99}`))
	require.ErrorContains(t, err, "schema version 99")
	_, err = Read(strings.NewReader(`[`))
	require.Error(t, err)
}

func TestAMissingOrBrokenProfileIsAnError(t *testing.T) {
	c := captured(t)
	delete(c.Recordings[profile.Server], record.Block)
	_, err := Build(suite, c)
	require.ErrorContains(t, err, "server of blocking-64: no block profile")
	c.Recordings[profile.Client][record.CPU] = []byte("x")
	_, err = Build(suite, c)
	require.ErrorContains(t, err, "client of blocking-64: cpu")
}
