// Package summary condenses the profiles of one suite: into a JSON file that runs
// are compared by, and into tables for people. Times are per request, so that runs
// of different length or rate can be compared.
package summary

import (
	"encoding/json"
	"fmt"
	"io"
	"math"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/stack"
)

// Summary is what is kept of a suite's profiles.
type Summary struct {
	SchemaVersion int             `json:"schema_version"`
	Suite         profile.Suite   `json:"suite"`
	Phases        []profile.Phase `json:"phases"`
	Processes     []Process       `json:"processes"` // the client, then the server
}

// Process is one of the two.
type Process struct {
	Name       string      `json:"name"`
	CPU        CPU         `json:"cpu"`
	Allocs     Allocs      `json:"allocs"`
	Mutex      []Wait      `json:"mutex"`
	Block      []Wait      `json:"block"`
	Goroutines []Goroutine `json:"goroutines"`
}

// CPU says where processor time went. What the profiler itself took is left out,
// except from Clock.
type CPU struct {
	Samples  int64   `json:"samples"`
	Profiler int64   `json:"profiler_samples"` // left out
	Period   float64 `json:"ns_per_sample"`
	Requests uint64  `json:"requests"` // while samples were taken
	// Clock is nanoseconds per request by the kernel's clock of the process, and
	// Spread the standard deviation of it between slices, as a part of it. Both are
	// 0 when unknown.
	Clock  float64 `json:"clock_ns_per_request"`
	Spread float64 `json:"spread"`
	// Functions are in order of Flat; those far below the noise are left out.
	Functions []Function `json:"functions"`
	Cells     []Cell     `json:"cells"`
}

// Function is one, with what it was inlined into counted apart.
type Function struct {
	Name  string      `json:"name"`
	Owner stack.Owner `json:"owner"`
	Flat  int64       `json:"flat"` // samples in itself
	Cum   int64       `json:"cum"`  // samples in it and in what it called
}

// Cell is what a role's goroutines used for one thing.
type Cell struct {
	Role    string `json:"role"`
	Group   string `json:"group"`
	Samples int64  `json:"samples"`
}

// Allocs counts what was allocated in its phase, exactly.
type Allocs struct {
	Requests uint64 `json:"requests"`
	Sites    []Site `json:"sites"`
	// Objects that the load and the profilers allocated; no part of Sites.
	Harness  int64 `json:"harness_objects"`
	Profiler int64 `json:"profiler_objects"`
}

// Site is where something is allocated.
type Site struct {
	Function string `json:"function"` // the first that is not the runtime's
	Caller   string `json:"caller"`   // of the library, if Function is not; or ""
	Objects  int64  `json:"objects"`
	Bytes    int64  `json:"bytes"`
}

// Wait is where goroutines waited for one another.
type Wait struct {
	Site string `json:"site"` // the first function above the lock or channel
	Kind string `json:"kind"` // of what was waited for: see Kinds
	Own  bool   `json:"own"`  // the site is the library's
	// Count and Delay are per request: events, and nanoseconds that all waiting
	// goroutines waited together.
	Count float64 `json:"events_per_request"`
	Delay float64 `json:"ns_per_request"`
}

// What a Wait can be for.
const (
	WaitLock    = "lock"    // a mutex, a wait group, a condition
	WaitChannel = "channel" // by design, when a caller waits for its reply
	WaitSelect  = "select"
	WaitRuntime = "runtime" // a lock inside the runtime
)

// Contended reports whether the library's goroutines waited for a lock: for each
// other, that is, and not for something to do.
func (w *Wait) Contended() bool { return w.Own && w.Kind == WaitLock }

// Goroutine counts those alike.
type Goroutine struct {
	Role  string `json:"role"`
	State string `json:"state"`
	At    string `json:"at"` // the first function that is not the runtime's
	Count int64  `json:"count"`
}

// PerRequest turns samples into nanoseconds per request.
func (c *CPU) PerRequest(samples int64) float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(samples) * c.Period / float64(c.Requests)
}

// Deviation is the standard deviation of PerRequest(samples): the sampling's,
// which is that of a count, and what runs of the load differ by. No sample at all
// is as good as one: nobody knows that there was nothing.
func (c *CPU) Deviation(samples int64) float64 {
	sampling := c.PerRequest(1) * math.Sqrt(float64(max(samples, 1)))
	return math.Hypot(sampling, c.PerRequest(samples)*c.Spread)
}

// Part is samples in percent of all.
func (c *CPU) Part(samples int64) float64 {
	if c.Samples == 0 {
		return 0
	}
	return 100 * float64(samples) / float64(c.Samples)
}

// PerRequest is objects for each request of the phase.
func (a *Allocs) PerRequest(objects int64) float64 {
	if a.Requests == 0 {
		return 0
	}
	return float64(objects) / float64(a.Requests)
}

// Objects is what the library and its dependencies allocated.
func (a *Allocs) Objects() int64 {
	sum := int64(0)
	for _, s := range a.Sites {
		sum += s.Objects
	}
	return sum
}

// Process returns the one of that name, or nil.
func (s *Summary) Process(name string) *Process {
	for i := range s.Processes {
		if s.Processes[i].Name == name {
			return &s.Processes[i]
		}
	}
	return nil
}

// Phase returns the one of that name, or nil.
func (s *Summary) Phase(name string) *profile.Phase {
	for i := range s.Phases {
		if s.Phases[i].Name == name {
			return &s.Phases[i]
		}
	}
	return nil
}

// Write prints the summary as JSON.
func (s *Summary) Write(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", " ")
	return out.Encode(s)
}

// Read reads what Write wrote. It refuses other versions of the form.
func Read(r io.Reader) (*Summary, error) {
	var s Summary
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	if s.SchemaVersion != profile.SchemaVersion {
		return nil, fmt.Errorf("summary: schema version %d: this program reads %d: take the profiles again",
			s.SchemaVersion, profile.SchemaVersion)
	}
	return &s, nil
}
