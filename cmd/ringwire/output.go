package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
)

// writeJSON writes a value as indented JSON.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// outputs are the files a result goes to. They are created before the run, so
// that a path that cannot be written is known before minutes have passed.
type outputs struct {
	json, markdown, svg *os.File // nil when not asked for
}

func createOutputs(jsonPath, markdownPath, svgPath string) (*outputs, error) {
	var o outputs
	for _, f := range []struct {
		path string
		file **os.File
	}{{jsonPath, &o.json}, {markdownPath, &o.markdown}, {svgPath, &o.svg}} {
		if f.path == "" {
			continue
		}
		file, err := os.Create(f.path)
		if err != nil {
			_ = o.close()
			return nil, &exitError{exitUsage, err}
		}
		*f.file = file
	}
	return &o, nil
}

// write writes the result and closes the files.
func (o *outputs) write(result *bench.Result) error {
	var errs []error
	if o.json != nil {
		errs = append(errs, result.WriteJSON(o.json))
	}
	if o.markdown != nil {
		errs = append(errs, result.WriteMarkdown(o.markdown))
	}
	if o.svg != nil {
		errs = append(errs, result.WriteSVG(o.svg))
	}
	return errors.Join(append(errs, o.close())...)
}

// close closes what is still open.
func (o *outputs) close() error {
	var errs []error
	for _, f := range []**os.File{&o.json, &o.markdown, &o.svg} {
		if *f != nil {
			errs = append(errs, (*f).Close())
			*f = nil
		}
	}
	return errors.Join(errs...)
}
