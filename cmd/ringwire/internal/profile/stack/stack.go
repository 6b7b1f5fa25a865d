package stack

import (
	"github.com/google/pprof/profile"
)

// Label is the key of the profiler label that says a goroutine's role.
const Label = "ringwire"

// unknown is the name of a frame that has none.
const unknown = "unknown"

// Stack is what some samples of a profile have in common.
type Stack struct {
	// Frames are the names of functions, the leaf first, with what was inlined.
	Frames []string
	Role   string
	Values []int64 // one for each of the profile's sample types
}

// Read returns the stacks of a profile. The same one may occur more than once.
func Read(p *profile.Profile) []Stack {
	stacks := make([]Stack, 0, len(p.Sample))
	for _, s := range p.Sample {
		frames := framesOf(s)
		if len(frames) == 0 {
			continue
		}
		stacks = append(stacks, Stack{Frames: frames, Role: role(s, frames), Values: s.Value})
	}
	return stacks
}

func framesOf(s *profile.Sample) []string {
	var frames []string
	for _, location := range s.Location {
		if len(location.Line) == 0 {
			frames = append(frames, unknown)
		}
		for _, line := range location.Line {
			name := unknown
			if line.Function != nil && line.Function.Name != "" {
				name = line.Function.Name
			}
			frames = append(frames, name)
		}
	}
	return frames
}
