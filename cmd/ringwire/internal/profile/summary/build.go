package summary

import (
	"fmt"
	"math"

	pprof "github.com/google/pprof/profile"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/capture"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

// Build condenses what was captured.
func Build(suite profile.Suite, c *capture.Captured) (*Summary, error) {
	s := &Summary{SchemaVersion: profile.SchemaVersion, Suite: suite, Phases: c.Phases}
	for _, name := range []string{profile.Client, profile.Server} {
		p, err := buildProcess(name, c)
		if err != nil {
			return nil, fmt.Errorf("summary: %s of %s: %w", name, suite.Name, err)
		}
		s.Processes = append(s.Processes, *p)
	}
	return s, nil
}

func buildProcess(name string, c *capture.Captured) (*Process, error) {
	parsed := make(map[record.Kind]*pprof.Profile)
	for kind, data := range c.Recordings[name] {
		if kind == record.Trace {
			continue
		}
		p, err := pprof.ParseData(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		parsed[kind] = p
	}
	for _, kind := range record.Kinds() {
		if kind != record.Trace && (parsed[kind] == nil || c.Phase(kind) == nil) {
			return nil, fmt.Errorf("no %s profile", kind)
		}
	}
	return &Process{
		Name:       name,
		CPU:        cpuOf(name, parsed[record.CPU], c.Phase(record.CPU)),
		Allocs:     allocsOf(stack.Read(parsed[record.Allocs]), c.Phase(record.Allocs).Requests),
		Mutex:      waitsOf(stack.Read(parsed[record.Mutex]), c.Phase(record.Mutex).Requests),
		Block:      waitsOf(stack.Read(parsed[record.Block]), c.Phase(record.Block).Requests),
		Goroutines: goroutinesOf(stack.Read(parsed[record.Goroutine])),
	}, nil
}

func cpuOf(process string, p *pprof.Profile, phase *profile.Phase) CPU {
	cpu := CPU{Period: float64(p.Period), Requests: phase.Requests}
	cpu.Clock, cpu.Spread = clock(process, phase.Slices)
	cpu.count(stack.Read(p))
	return cpu
}

// clock is the processor time per request by the kernel's clock: the mean of the
// slices, and their standard deviation as a part of it.
func clock(process string, slices []profile.Slice) (mean, spread float64) {
	var costs []float64
	for i := range slices {
		used := slices[i].CPUTime(process)
		if used <= 0 || slices[i].Requests == 0 {
			return 0, 0
		}
		costs = append(costs, float64(used)/float64(slices[i].Requests))
		mean += costs[i]
	}
	if len(costs) == 0 {
		return 0, 0
	}
	mean /= float64(len(costs))
	if len(costs) < 2 {
		return mean, 0
	}
	squares := 0.0
	for _, cost := range costs {
		squares += (cost - mean) * (cost - mean)
	}
	return mean, math.Sqrt(squares/float64(len(costs)-1)) / mean
}
