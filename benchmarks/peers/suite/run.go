package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/ringwire/ringwire/benchmarks/peers/peer"
)

// Progress shows how far a run is. Its functions are called between slices.
type Progress struct {
	Section func(title string)
	Status  func(bench.Status)
	Note    func(text string)
}

// Run measures what the options ask for. A case that fails is left out of the
// rounds that follow, its row says why, and the run's error names it. The report
// holds what was measured in any case.
func Run(ctx context.Context, o Options, metadata bench.Metadata, progress Progress) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	servers, err := newFleet(o.Programs)
	if err != nil {
		return nil, err
	}
	defer servers.stop()
	b := &builder{options: &o, fleet: servers, used: make(map[string]bool), missing: make(map[string]string),
		note: progress.Note, files: filesMax()}
	defer b.forget()
	r := &Report{SchemaVersion: SchemaVersion, Metadata: metadata}
	for _, s := range sections() {
		if len(o.Sections) > 0 && !slices.Contains(o.Sections, s.name) {
			continue
		}
		progress.Section(s.title)
		err = errors.Join(err, b.run(ctx, s, r, progress))
		if ctx.Err() != nil {
			break
		}
	}
	err = errors.Join(err, b.failed)
	r.Partial = err != nil
	r.Systems = b.systems()
	r.Goals = r.goals()
	return r, err
}

// run measures one section into r.
func (b *builder) run(ctx context.Context, s section, r *Report, progress Progress) error {
	if s.cases == nil {
		var err error
		r.Memory, err = b.measureMemory(ctx, b.options.Rounds, progress.Note)
		return err
	}
	b.notes = nil
	cases, err := s.cases(ctx, b)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if len(cases) == 0 {
		progress.Note("nothing to measure: its peers were not asked for, or are missing")
		return nil
	}
	plan := bench.Plan{Cases: cases, Rounds: b.options.Rounds, Slice: b.options.Slice, KeepGoing: true}
	result, err := bench.RunPlan(ctx, plan, progress.Status)
	if result != nil {
		r.Sections = append(r.Sections,
			Section{Name: s.name, Title: s.title, Beside: s.beside, Notes: b.notes, Rows: result.Rows, Everyday: result.Everyday})
	}
	return err
}

// systems describes the peers that the sections have asked for.
func (b *builder) systems() []System {
	var systems []System
	for _, p := range slices.Concat(peer.All(), peer.Servers()) {
		if b.used[p.Name] {
			systems = append(systems, System{Name: p.Name, Module: p.Module, Version: peer.Version(p.Module),
				Note: p.Note, Missing: b.missing[p.Name]})
		}
	}
	return systems
}
