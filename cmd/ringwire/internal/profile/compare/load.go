// Package compare says what became slower, began to allocate or began to wait
// between two runs of "ringwire profile".
package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
)

// Run is a folder that "ringwire profile" wrote, or the summaries kept of one.
type Run struct {
	Path   string
	Suites map[string]Suite
}

// Suite is one of a run.
type Suite struct {
	Summary  *summary.Summary
	Metadata profile.Metadata
}

// Load reads a run's folder, or that of a single suite.
func Load(path string) (*Run, error) {
	run := &Run{Path: path, Suites: make(map[string]Suite)}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("compare: %w", err)
	}
	folders := []string{path}
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(path, e.Name()))
		}
	}
	for _, folder := range folders {
		suite, err := loadSuite(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("compare: %s: %w", folder, err)
		}
		run.Suites[suite.Summary.Suite.Name] = *suite
	}
	if len(run.Suites) == 0 {
		return nil, fmt.Errorf("compare: %s: holds no %s, nor does a folder in it: give a folder that 'ringwire profile' wrote",
			path, profile.SummaryFile)
	}
	return run, nil
}

func loadSuite(folder string) (*Suite, error) {
	f, err := os.Open(filepath.Join(folder, profile.SummaryFile))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var s Suite
	if s.Summary, err = summary.Read(f); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(folder, profile.MetadataFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no %s beside %s", profile.MetadataFile, profile.SummaryFile)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &s.Metadata); err != nil {
		return nil, fmt.Errorf("%s: %w", profile.MetadataFile, err)
	}
	return &s, nil
}
