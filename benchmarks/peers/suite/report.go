package suite

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// SchemaVersion is that of a Report's JSON form. It rises when a field changes
// its meaning or goes away.
const SchemaVersion = 1

// Report is what a run found.
type Report struct {
	SchemaVersion int            `json:"schema_version"`
	Partial       bool           `json:"partial"` // interrupted, or something failed
	Metadata      bench.Metadata `json:"metadata"`
	Systems       []System       `json:"systems"`
	Sections      []Section      `json:"sections"`
	Memory        []Memory       `json:"memory,omitempty"`
	Goals         []Goal         `json:"goals,omitempty"`
}

// System is ringwire or one of its peers.
type System struct {
	Name    string `json:"name"`
	Module  string `json:"module,omitempty"`
	Version string `json:"version,omitempty"`
	Note    string `json:"note,omitempty"`
	Missing string `json:"missing,omitempty"` // why it was not measured
}

// Section is the rows of cases that ran interleaved.
type Section struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Beside is the system that all rows are compared with; absent: each is compared with
	// ringwire's.
	Beside string      `json:"beside,omitempty"`
	Notes  []string    `json:"notes,omitempty"` // what was left out, and why
	Rows   []bench.Row `json:"rows"`
	// Everyday are the rows that have a condition. Only the section "everyday" has them.
	Everyday []bench.Row `json:"everyday,omitempty"`
}

// WriteJSON prints the report as one indented JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

// Read reads what WriteJSON wrote, and sets the goals beside it anew.
func Read(in io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, err
	}
	if r.SchemaVersion != SchemaVersion {
		return nil, fmt.Errorf("the result has schema version %d, this program reads %d: measure again", r.SchemaVersion, SchemaVersion)
	}
	r.Goals = r.goals()
	return &r, nil
}

// section is the one of that name; nil when it did not run.
func (r *Report) section(name string) *Section {
	for i := range r.Sections {
		if r.Sections[i].Name == name {
			return &r.Sections[i]
		}
	}
	return nil
}

// row finds the row that match accepts; nil when there is none with a round.
func (s *Section) row(match func(*bench.Row) bool) *bench.Row {
	if s == nil {
		return nil
	}
	for i := range s.Rows {
		if s.Rows[i].Rounds > 0 && match(&s.Rows[i]) {
			return &s.Rows[i]
		}
	}
	return nil
}

// blockingRow is a system's row with so many callers.
func (s *Section) blockingRow(system string, callers int) *bench.Row {
	return s.row(func(r *bench.Row) bool {
		return r.System == system && r.Callers == callers && (r.API == bench.Blocking || r.API == bench.Native)
	})
}
