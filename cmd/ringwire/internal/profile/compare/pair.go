package compare

import (
	"maps"
	"math"
	"slices"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
)

// pair is one process of one suite in both runs.
type pair struct {
	report         *Report
	suite, process string
	limits         Limits
}

func (p *pair) add(c Change) {
	c.Suite, c.Process = p.suite, p.process
	p.report.Changes = append(p.report.Changes, c)
}

// processor compares where processor time went.
func (p *pair) processor(a, b *summary.CPU) {
	if a.Samples == 0 || b.Samples == 0 {
		p.report.notef("%s %s: no samples of the processor in one of the runs", p.suite, p.process)
		return
	}
	p.total(a, b)
	for _, what := range []struct {
		name          string
		before, after map[string]int64
	}{
		{"role", shares(a.Roles()), shares(b.Roles())},
		{"group", shares(a.Groups()), shares(b.Groups())},
		{"function", flat(a.Functions), flat(b.Functions)},
	} {
		for _, name := range names(what.before, what.after) {
			p.time(a, b, what.name, name, what.before[name], what.after[name])
		}
	}
}

// total compares all of the process's time: by the kernel's clock, which has no
// sampling error, when both runs have it.
func (p *pair) total(a, b *summary.CPU) {
	before, after := a.PerRequest(a.Samples), b.PerRequest(b.Samples)
	noise := sigmas * math.Hypot(a.Deviation(a.Samples), b.Deviation(b.Samples))
	if a.Clock > 0 && b.Clock > 0 {
		before, after = a.Clock, b.Clock
		noise = sigmas * math.Hypot(a.Clock*a.Spread, b.Clock*b.Spread)
	}
	if !p.changed(before, before, after, noise) {
		return
	}
	p.add(Change{Verdict: slowerOrFaster(before, after), What: "total", Name: "processor time",
		Before: before, After: after, Unit: "ns", Noise: noise})
	if part := alike(a, b); part >= alikePart {
		p.report.notef("%s %s: all of it takes %.2f times as long, but %.0f %% of the time is divided among the groups as before: "+
			"suspect the machine before the code, and take both profiles again, in turns", p.suite, p.process, after/before, 100*part)
	}
}

// alike is how much of the time both runs divide among the groups in the same way:
// 1 when each group has the same part in both.
func alike(a, b *summary.CPU) float64 {
	before, after := shares(a.Groups()), shares(b.Groups())
	common := 0.0
	for name := range before {
		common += min(a.Part(before[name]), b.Part(after[name])) / 100
	}
	return common
}

func (p *pair) time(a, b *summary.CPU, what, name string, samplesA, samplesB int64) {
	before, after := a.PerRequest(samplesA), b.PerRequest(samplesB)
	noise := sigmas * math.Hypot(a.Deviation(samplesA), b.Deviation(samplesB))
	if p.changed(a.PerRequest(a.Samples), before, after, noise) {
		p.add(Change{Verdict: slowerOrFaster(before, after), What: what, Name: name,
			Before: before, After: after, Unit: "ns", Noise: noise})
	}
}

// changed reports whether a difference exceeds the noise and the limit, which is
// a percentage of all.
func (p *pair) changed(all, before, after, noise float64) bool {
	diff := math.Abs(after - before)
	return diff > noise && diff >= p.limits.Percent/100*all
}

func slowerOrFaster(before, after float64) Verdict {
	if after > before {
		return Slower
	}
	return Faster
}

// allocations compares places by what they allocate for each request.
func (p *pair) allocations(a, b *summary.Allocs) {
	before, after := sites(a), sites(b)
	for _, name := range names(before, after) {
		x, y := before[name], after[name]
		if math.Abs(y-x) < p.limits.Allocs {
			continue
		}
		verdict := Allocates
		if y < x {
			verdict = Saves
		}
		p.add(Change{Verdict: verdict, What: "place", Name: name, Before: x, After: y, Unit: "objects"})
	}
}

// waits compares places by how often goroutines waited for a lock of the library.
func (p *pair) waits(a, b []summary.Wait) {
	before, after := contended(a), contended(b)
	for _, name := range names(before, after) {
		x, y := before[name], after[name]
		switch {
		case y >= waitsMin && x < y/10:
			p.add(Change{Verdict: Waits, What: "place", Name: name, Before: x, After: y, Unit: "waits"})
		case x >= waitsMin && y < x/10:
			p.add(Change{Verdict: WaitsLess, What: "place", Name: name, Before: x, After: y, Unit: "waits"})
		}
	}
}

func shares(all []summary.Share) map[string]int64 {
	m := make(map[string]int64, len(all))
	for _, s := range all {
		m[s.Name] = s.Samples
	}
	return m
}

func flat(all []summary.Function) map[string]int64 {
	m := make(map[string]int64, len(all))
	for _, f := range all {
		m[f.Name] = f.Flat
	}
	return m
}

func sites(a *summary.Allocs) map[string]float64 {
	m := make(map[string]float64, len(a.Sites))
	for _, s := range a.Sites {
		name := s.Function
		if s.Caller != "" {
			name += " for " + s.Caller
		}
		m[name] = a.PerRequest(s.Objects)
	}
	return m
}

// contended are events per request; a lock's mutex and block profiles both count
// it, and the larger one stands.
func contended(all []summary.Wait) map[string]float64 {
	m := make(map[string]float64)
	for _, w := range all {
		if w.Contended() {
			m[w.Site] = max(m[w.Site], w.Count)
		}
	}
	return m
}

// names are the keys of both, sorted.
func names[V any](a, b map[string]V) []string {
	all := make(map[string]bool, len(a)+len(b))
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}
