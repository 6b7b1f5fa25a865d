package compare

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var limits = Limits{Percent: PercentMin, Allocs: AllocsMin}

// run is one with a suite in which the client spent these samples, one nanosecond
// per request each.
func run(samples map[string]int64) *Run {
	cpu := summary.CPU{Period: 1e6, Requests: 1e6}
	for name, n := range samples {
		cpu.Samples += n
		cpu.Functions = append(cpu.Functions, summary.Function{Name: name, Flat: n, Cum: n})
	}
	cpu.Cells = []summary.Cell{{Role: "reader", Group: "ringwire engine", Samples: cpu.Samples}}
	s := &summary.Summary{SchemaVersion: profile.SchemaVersion,
		Suite:  profile.Suite{Name: "one", API: bench.Blocking, Callers: 1, Payload: 64},
		Phases: []profile.Phase{{Name: "cpu", Requests: 1e6, Elapsed: time.Second}},
		Processes: []summary.Process{
			{Name: profile.Client, CPU: cpu, Allocs: summary.Allocs{Requests: 1e6}},
			{Name: profile.Server, CPU: summary.CPU{Samples: 1, Period: 1e6, Requests: 1e6}, Allocs: summary.Allocs{Requests: 1e6}},
		}}
	return &Run{Path: "folder", Suites: map[string]Suite{"one": {Summary: s, Metadata: profile.Metadata{Conns: 1}}}}
}

func (r *Run) client() *summary.Process { return &r.Suites["one"].Summary.Processes[0] }

func compared(t *testing.T, a, b *Run) *Report {
	t.Helper()
	report, err := Runs(a, b, limits)
	require.NoError(t, err)
	return report
}

// of are the changes of one kind.
func (r *Report) of(what string) (changes []Change) {
	for _, c := range r.Changes {
		if c.What == what {
			changes = append(changes, c)
		}
	}
	return changes
}

func TestAFunctionThatBecameSlowerIsNamed(t *testing.T) {
	report := compared(t, run(map[string]int64{"f": 1000, "g": 1000}), run(map[string]int64{"f": 2000, "g": 1010}))
	functions := report.of("function")
	require.Len(t, functions, 1)
	c := functions[0]
	assert.Equal(t, "f", c.Name)
	assert.Equal(t, Slower, c.Verdict)
	assert.InDelta(t, 1000, c.Before, 1e-6)
	assert.InDelta(t, 2000, c.After, 1e-6)
	assert.InDelta(t, 164, c.Noise, 1, "three roots of 3000")
	require.Len(t, report.of("total"), 1)
	assert.Len(t, report.of("role"), 1)
	assert.Len(t, report.of("group"), 1)
	assert.Equal(t, "total", report.Changes[0].What, "the total comes first")
	assert.Equal(t, 4, report.Worse())
}

func TestAFunctionThatAppearedOrVanishedIsNamed(t *testing.T) {
	report := compared(t, run(map[string]int64{"f": 1000, "old": 500}), run(map[string]int64{"f": 1000, "new": 500}))
	functions := report.of("function")
	require.Len(t, functions, 2)
	assert.Equal(t, Change{"one", "client", Slower, "function", "new", 0, 500, "ns", functions[0].Noise}, functions[0])
	assert.Equal(t, Faster, functions[1].Verdict)
	assert.Equal(t, 1, report.Worse())
}

func TestNoiseIsNotReported(t *testing.T) {
	for name, pair := range map[string][2]*Run{
		"nothing changed":     {run(map[string]int64{"f": 1000}), run(map[string]int64{"f": 1000})},
		"within the sampling": {run(map[string]int64{"f": 100, "g": 20}), run(map[string]int64{"f": 110, "g": 38})},
		"below the limit":     {run(map[string]int64{"f": 1e6, "g": 1e6}), run(map[string]int64{"f": 1e6, "g": 1.09e6})},
	} {
		report := compared(t, pair[0], pair[1])
		assert.Empty(t, report.Changes, name)
		assert.Zero(t, report.Worse())
	}
}

func TestWhatSlicesDifferByIsNoise(t *testing.T) {
	a, b := run(map[string]int64{"f": 1000, "g": 1000}), run(map[string]int64{"f": 1400, "g": 1000})
	require.NotEmpty(t, compared(t, a, b).of("function"))
	a.client().CPU.Spread = 0.2
	assert.Empty(t, compared(t, a, b).of("function"), "400 ns are within three times 200")
}

// divide sets the groups of the client's time.
func (r *Run) divide(groups map[string]int64) *Run {
	cpu := &r.client().CPU
	cpu.Cells = nil
	for name, n := range groups {
		cpu.Cells = append(cpu.Cells, summary.Cell{Role: "reader", Group: name, Samples: n})
	}
	return r
}

func TestAMachineThatIsSlowerAsAWholeIsSuspected(t *testing.T) {
	before := run(map[string]int64{"f": 5000, "g": 5000}).divide(map[string]int64{"memmove": 5000, "channel": 5000})
	slower := run(map[string]int64{"f": 7500, "g": 7500}).divide(map[string]int64{"memmove": 8000, "channel": 7000})
	report := compared(t, before, slower)
	require.Len(t, report.Notes, 1)
	assert.Contains(t, report.Notes[0], "all of it takes 1.50 times as long, but 97 % of the time is divided among the groups as before")
	changed := run(map[string]int64{"f": 10000, "g": 5000}).divide(map[string]int64{"memmove": 10000, "new": 5000})
	assert.Empty(t, compared(t, before, changed).Notes, "one half of the time is divided otherwise")
}

func TestTheTotalIsByTheKernelsClockWhenThereIsOne(t *testing.T) {
	a, b := run(map[string]int64{"f": 100}), run(map[string]int64{"f": 110})
	a.client().CPU.Clock, a.client().CPU.Spread = 100, 0.005
	b.client().CPU.Clock, b.client().CPU.Spread = 110, 0.005
	report := compared(t, a, b)
	require.Len(t, report.Changes, 1, "ten percent are in the sampling's noise, but not in the clock's")
	assert.Equal(t, "total", report.Changes[0].What)
	assert.InDelta(t, 110, report.Changes[0].After, 1e-9)
}

func TestAPlaceThatBeganToAllocateIsNamed(t *testing.T) {
	a, b := run(nil), run(nil)
	a.client().Allocs.Sites = []summary.Site{{Function: "engine.h", Objects: 5}, {Function: "engine.old", Objects: 1e6}}
	b.client().Allocs.Sites = []summary.Site{{Function: "engine.h", Objects: 9}, {Function: "sync.x", Caller: "taskid.lend", Objects: 2e6}}
	report := compared(t, a, b)
	places := report.of("place")
	require.Len(t, places, 2)
	assert.Equal(t, Change{"one", "client", Allocates, "place", "sync.x for taskid.lend", 0, 2, "objects", 0}, places[0])
	assert.Equal(t, Change{"one", "client", Saves, "place", "engine.old", 1, 0, "objects", 0}, places[1])
	assert.Equal(t, 1, report.Worse())
}

func TestContentionThatAppearedIsNamedButNoRegression(t *testing.T) {
	a, b := run(map[string]int64{"f": 1}), run(map[string]int64{"f": 1})
	gone := summary.Wait{Site: "engine.gone", Kind: summary.WaitLock, Own: true, Count: 0.1}
	b.client().Mutex = []summary.Wait{{Site: "engine.locked", Kind: summary.WaitLock, Own: true, Count: 0.01}}
	b.client().Block = []summary.Wait{
		{Site: "engine.await", Kind: summary.WaitChannel, Own: true, Count: 1},
		{Site: "net.x", Kind: summary.WaitLock, Count: 1},
		{Site: "engine.rare", Kind: summary.WaitLock, Own: true, Count: 1e-5}}
	a.client().Mutex = []summary.Wait{gone}
	places := compared(t, a, b).of("place")
	require.Len(t, places, 2)
	assert.Equal(t, Change{"one", "client", Waits, "place", "engine.locked", 0, 0.01, "waits", 0}, places[0])
	assert.Equal(t, WaitsLess, places[1].Verdict)
	assert.Zero(t, compared(t, a, b).Worse())
}

func TestRunsThatCannotBeComparedAreRefused(t *testing.T) {
	a, b := run(nil), run(nil)
	b.Suites["one"].Summary.Suite.Callers = 2
	_, err := Runs(a, b, limits)
	require.ErrorContains(t, err, "another load")
	b.Suites = map[string]Suite{"two": b.Suites["one"]}
	_, err = Runs(a, b, limits)
	require.ErrorContains(t, err, "no suite in common")
}

func TestNotesSayWhatElseDiffers(t *testing.T) {
	a, b := run(map[string]int64{"f": 1}), run(map[string]int64{"f": 1})
	a.Suites["two"] = a.Suites["one"]
	other := b.Suites["one"]
	other.Metadata.Go = "go1.99"
	b.Suites["one"], b.Suites["three"] = other, other
	text := strings.Join(compared(t, a, b).Notes, "\n")
	assert.Contains(t, text, "suite two is only in")
	assert.Contains(t, text, "suite three is only in")
	assert.Contains(t, text, "version of Go: , go1.99")
}

func TestAReportIsPrinted(t *testing.T) {
	var out strings.Builder
	a, b := run(map[string]int64{"f": 1000, "g": 1000}), run(map[string]int64{"f": 2000, "g": 1000})
	b.client().Allocs.Sites = []summary.Site{{Function: "engine.h", Objects: 1e6}}
	require.NoError(t, compared(t, a, b).Write(&out))
	assert.Contains(t, out.String(), "one: 1000000 requests/s before, 1000000 after (+0.0 %)")
	assert.Regexp(t, `one +client +slower +function +1000 +2000 +ns +\+100 % +164 +f`, out.String())
	assert.Regexp(t, `one +client +allocates +place +0.0 +1.0 +objects +new +- +engine.h`, out.String())
	out.Reset()
	require.NoError(t, compared(t, a, a).Write(&out))
	assert.Contains(t, out.String(), "Nothing became slower")
}

func writeSuite(t *testing.T, dir string, s *summary.Summary) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	f, err := os.Create(filepath.Join(dir, profile.SummaryFile))
	require.NoError(t, err)
	require.NoError(t, s.Write(f))
	require.NoError(t, f.Close())
	data, err := json.Marshal(profile.Metadata{Commit: "abc"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, profile.MetadataFile), data, 0o600))
}

func TestLoadReadsARunOrOneSuite(t *testing.T) {
	dir := t.TempDir()
	s := run(nil).Suites["one"].Summary
	writeSuite(t, filepath.Join(dir, "one"), s)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "else"), 0o755))
	for _, path := range []string{dir, filepath.Join(dir, "one")} {
		loaded, err := Load(path)
		require.NoError(t, err)
		require.Len(t, loaded.Suites, 1)
		assert.Equal(t, "abc", loaded.Suites["one"].Metadata.Commit)
		assert.Equal(t, s.Suite, loaded.Suites["one"].Summary.Suite)
	}
}

func TestLoadSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "nowhere"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Load(dir)
	require.ErrorContains(t, err, "ringwire profile")
	writeSuite(t, filepath.Join(dir, "one"), run(nil).Suites["one"].Summary)
	require.NoError(t, os.Remove(filepath.Join(dir, "one", profile.MetadataFile)))
	_, err = Load(dir)
	require.ErrorContains(t, err, "no metadata.json")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", profile.SummaryFile), []byte("{}"), 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, "schema version 0")
}
