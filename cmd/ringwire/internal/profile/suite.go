// Package profile says what "ringwire profile" captures and where it is kept.
// Its subpackages record, capture, summarize, draw and compare.
package profile

import (
	"fmt"
	"strings"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// The processes that are profiled, and the names of their folders.
const (
	Client = "client"
	Server = "server"
)

// Files of a suite's folder.
const (
	MetadataFile = "metadata.json"
	SummaryFile  = "summary.json"
	TablesFile   = "summary.md"
	FlameFile    = "flame.html"
)

// Suite is a load under which profiles are taken.
type Suite struct {
	Name    string    `json:"name"`
	API     bench.API `json:"api"`
	Callers int       `json:"callers"`
	Payload int       `json:"payload_bytes"`
}

// Suites lists those that there are. Between them they cover the paths that differ:
// a lone caller writes and reads for itself, many share a write, more than the caches hold,
// callbacks send from the reader, a batch arrives at once, and large payloads leave the pools'
// smallest sizes.
func Suites() []Suite {
	return []Suite{
		{"one", bench.Blocking, 1, 64},
		{"blocking-64", bench.Blocking, 64, 64},
		{"blocking-256", bench.Blocking, 256, 64},
		{"blocking-1024", bench.Blocking, 1024, 64},
		{"blocking-4096", bench.Blocking, 4096, 64},
		{"callback-1024", bench.Callback, 1024, 64},
		{"batch-1024", bench.Batch, 1024, 64},
		{"large", bench.Blocking, 64, 16 << 10},
	}
}

// Choose returns the suites of these names, in the order of Suites; "all" names
// every one.
func Choose(names []string) ([]Suite, error) {
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	var chosen []Suite
	var known []string
	for _, s := range Suites() {
		if wanted[s.Name] || wanted["all"] {
			chosen = append(chosen, s)
		}
		delete(wanted, s.Name)
		known = append(known, s.Name)
	}
	delete(wanted, "all")
	for name := range wanted {
		return nil, fmt.Errorf("suite %q: must be all, or of %s", name, strings.Join(known, ", "))
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no suite: give all, or some of %s", strings.Join(known, ", "))
	}
	return chosen, nil
}

// Phase is a span of load in which something was recorded.
type Phase struct {
	Name     string        `json:"name"`
	Requests uint64        `json:"requests"`
	Errors   uint64        `json:"errors"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	// Slices are the phase's runs of the load; what differs between them is noise.
	Slices []Slice `json:"slices"`
}

// Slice is one run of the load.
type Slice struct {
	Requests  uint64        `json:"requests"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	ClientCPU time.Duration `json:"client_cpu_ns"` // by the kernel's clock; 0 when unknown
	ServerCPU time.Duration `json:"server_cpu_ns"`
}

// Rate is the phase's requests per second.
func (p *Phase) Rate() float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return float64(p.Requests) / p.Elapsed.Seconds()
}

// CPUTime is what the slice cost the process.
func (s *Slice) CPUTime(process string) time.Duration {
	if process == Client {
		return s.ClientCPU
	}
	return s.ServerCPU
}

// SchemaVersion is that of MetadataFile and SummaryFile; a reader refuses others.
const SchemaVersion = 1

// Metadata says how a suite's profiles came about.
type Metadata struct {
	SchemaVersion int `json:"schema_version"`

	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Command []string  `json:"command"`
	bench.Host

	Suite  Suite        `json:"suite"`
	Conns  int          `json:"conns"`
	Phases []PhaseCount `json:"phases"`
}

// PhaseCount is what the load did in a phase.
type PhaseCount struct {
	Name      string  `json:"name"`
	Seconds   float64 `json:"seconds"`
	Requests  uint64  `json:"requests"`
	Errors    uint64  `json:"errors"`
	ReqPerSec float64 `json:"req_per_s"`
}

// Describe is the metadata of the machine and the build, without a suite.
func Describe(commit string, command []string) Metadata {
	m := bench.Describe(bench.Config{}, commit, command)
	return Metadata{SchemaVersion: SchemaVersion, Time: m.Time, Commit: m.Commit, Command: m.Command, Host: m.Host}
}

// Of completes the metadata with what a suite's phases did.
func (m Metadata) Of(suite Suite, conns int, phases []Phase) Metadata {
	m.Suite, m.Conns = suite, conns
	m.Phases = make([]PhaseCount, 0, len(phases))
	for i := range phases {
		p := &phases[i]
		m.Phases = append(m.Phases, PhaseCount{p.Name, p.Elapsed.Seconds(), p.Requests, p.Errors, p.Rate()})
	}
	return m
}

// Machine is one line about the machine and the build.
func (m *Metadata) Machine() string {
	b := bench.Metadata{Host: m.Host, Commit: m.Commit}
	return b.Machine()
}
