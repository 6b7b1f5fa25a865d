package record

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/google/pprof/profile"
)

// gained is what a profile that only grows gained between two moments.
func gained(before, after []byte) ([]byte, error) {
	diff, err := subtract(before, after)
	if err != nil {
		return nil, err
	}
	return encode(diff)
}

// allocated is gained for a heap profile, of which it leaves out what was in use:
// that does not only grow.
func allocated(before, after []byte) ([]byte, error) {
	diff, err := subtract(before, after)
	if err != nil {
		return nil, err
	}
	const objects, bytes = "alloc_objects", "alloc_space"
	at := func(name string) int {
		return slices.IndexFunc(diff.SampleType, func(t *profile.ValueType) bool { return t.Type == name })
	}
	first, second := at(objects), at(bytes)
	if first < 0 || second < 0 {
		return nil, fmt.Errorf("a heap profile without %s and %s: this version of Go writes another form", objects, bytes)
	}
	diff.SampleType = []*profile.ValueType{diff.SampleType[first], diff.SampleType[second]}
	diff.DefaultSampleType = objects
	for _, s := range diff.Sample {
		s.Value = []int64{s.Value[first], s.Value[second]}
	}
	diff.Sample = slices.DeleteFunc(diff.Sample, func(s *profile.Sample) bool { return s.Value[0] == 0 })
	return encode(diff)
}

func subtract(before, after []byte) (*profile.Profile, error) {
	old, err := profile.ParseData(before)
	if err != nil {
		return nil, err
	}
	now, err := profile.ParseData(after)
	if err != nil {
		return nil, err
	}
	old.Scale(-1)
	diff, err := profile.Merge([]*profile.Profile{old, now})
	if err != nil {
		return nil, err
	}
	diff.TimeNanos = now.TimeNanos
	diff.DurationNanos = now.TimeNanos - old.TimeNanos
	return diff, nil
}

func encode(p *profile.Profile) ([]byte, error) {
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
