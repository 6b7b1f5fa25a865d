package compare

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
)

// Defaults of Limits.
const (
	PercentMin = 5.0
	AllocsMin  = 0.01
)

// Limits are below what a change is not reported.
type Limits struct {
	// Percent of the process's time per request in the first run that a change
	// of processor time must reach; it must also exceed the noise.
	Percent float64
	// Allocs is how many objects per request a place must allocate more or fewer.
	// These are counted, not sampled: there is no noise but that of pools that the
	// collector emptied.
	Allocs float64
}

const (
	// sigmas is how many standard deviations are more than noise. With 400
	// functions about one in a run exceeds three by chance, hardly ever one that
	// also exceeds Limits.Percent.
	sigmas = 3
	// waitsMin is how many events per request make contention worth a line, if
	// the other run has less than a tenth of it.
	waitsMin = 1e-4
	// alikePart is how much of the time both runs must divide among the groups in
	// the same way for the machine to be the likely cause of a changed total. It is a
	// rule of thumb for a note: runs of one program on a busy machine, with 140 to 400
	// samples, shared 77 to 91 %, and with a slow function added 46 to 86 %.
	alikePart = 0.85
)

// Verdict says what a change means.
type Verdict string

const (
	Slower    Verdict = "slower"
	Allocates Verdict = "allocates"
	Waits     Verdict = "waits"
	Faster    Verdict = "faster"
	Saves     Verdict = "allocates less"
	WaitsLess Verdict = "waits less"
)

// Worse reports whether the change is a regression that a run can be failed for.
// Waits are not: a lock may be contended and yet faster.
func (v Verdict) Worse() bool { return v == Slower || v == Allocates }

// Change is a difference that exceeds limits and noise.
type Change struct {
	Suite, Process string
	Verdict        Verdict
	What           string // total, role, group, function, or place
	Name           string
	Before, After  float64 // per request, in Unit
	Unit           string
	Noise          float64 // what the difference had to exceed; 0 for counts
}

// Report is what a comparison found.
type Report struct {
	Changes []Change
	// Rates are requests per second of the undisturbed phase, for orientation only.
	Rates []Rate
	Notes []string // what a reader must know to judge the changes
}

// Rate is how fast a suite ran.
type Rate struct {
	Suite         string
	Before, After float64
}

// Worse is the number of regressions.
func (r *Report) Worse() int {
	n := 0
	for _, c := range r.Changes {
		if c.Verdict.Worse() {
			n++
		}
	}
	return n
}

// Runs compares the suites that both runs have.
func Runs(a, b *Run, limits Limits) (*Report, error) {
	r := &Report{}
	var common []string
	for _, name := range slices.Sorted(maps.Keys(a.Suites)) {
		if _, both := b.Suites[name]; both {
			common = append(common, name)
		} else {
			r.notef("suite %s is only in %s", name, a.Path)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.Suites)) {
		if _, both := a.Suites[name]; !both {
			r.notef("suite %s is only in %s", name, b.Path)
		}
	}
	if len(common) == 0 {
		return nil, fmt.Errorf("compare: %s and %s have no suite in common", a.Path, b.Path)
	}
	r.circumstances(a.Suites[common[0]].Metadata, b.Suites[common[0]].Metadata)
	for _, name := range common {
		before, after := a.Suites[name], b.Suites[name]
		if before.Summary.Suite != after.Summary.Suite || before.Metadata.Conns != after.Metadata.Conns {
			return nil, fmt.Errorf("compare: suite %s is another load in %s than in %s: compare runs with the same settings", name, a.Path, b.Path)
		}
		r.suite(before.Summary, after.Summary, limits)
	}
	slices.SortStableFunc(r.Changes, func(x, y Change) int {
		return cmp.Or(strings.Compare(x.Suite, y.Suite), strings.Compare(x.Process, y.Process), cmp.Compare(order(x), order(y)),
			cmp.Compare(math.Abs(y.After-y.Before), math.Abs(x.After-x.Before)))
	})
	return r, nil
}

// order is the sequence of changes within a process: the total, then what is
// worse, then what is better.
func order(c Change) int {
	if c.What == "total" {
		return -1
	}
	return slices.Index([]Verdict{Slower, Allocates, Waits, Faster, Saves, WaitsLess}, c.Verdict)
}

func (r *Report) notef(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// circumstances notes what else differs between the runs.
func (r *Report) circumstances(a, b profile.Metadata) {
	for _, f := range []struct{ name, a, b string }{
		{"version of Go", a.Go, b.Go},
		{"processor", fmt.Sprintf("%d x %s", a.Cores, a.CPU), fmt.Sprintf("%d x %s", b.Cores, b.CPU)},
		{"GOMAXPROCS", fmt.Sprint(a.GOMAXPROCS), fmt.Sprint(b.GOMAXPROCS)},
		{"kernel", a.Kernel, b.Kernel},
	} {
		if f.a != f.b {
			r.notef("the runs differ in %s: %s, %s", f.name, f.a, f.b)
		}
	}
}

func (r *Report) suite(a, b *summary.Summary, limits Limits) {
	r.Rates = append(r.Rates, Rate{a.Suite.Name, rate(a), rate(b)})
	for _, name := range []string{profile.Client, profile.Server} {
		before, after := a.Process(name), b.Process(name)
		if before == nil || after == nil {
			continue
		}
		p := &pair{report: r, suite: a.Suite.Name, process: name, limits: limits}
		p.processor(&before.CPU, &after.CPU)
		p.allocations(&before.Allocs, &after.Allocs)
		p.waits(append(slices.Clone(before.Mutex), before.Block...), append(slices.Clone(after.Mutex), after.Block...))
	}
}

// rate is that of the phase in which the processor was sampled.
func rate(s *summary.Summary) float64 {
	if phase := s.Phase("cpu"); phase != nil {
		return phase.Rate()
	}
	return 0
}
