package capture

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/record"
)

// FileName is the file in which a kind of recording is kept.
func FileName(kind record.Kind) string {
	if kind == record.Trace {
		return "trace.out"
	}
	return string(kind) + ".pb.gz"
}

// Write puts the recordings into a folder for each process below dir.
func (c *Captured) Write(dir string) error {
	var errs []error
	for process, recordings := range c.Recordings {
		folder := filepath.Join(dir, process)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for kind, data := range recordings {
			errs = append(errs, os.WriteFile(filepath.Join(folder, FileName(kind)), data, 0o644))
		}
	}
	return errors.Join(errs...)
}
