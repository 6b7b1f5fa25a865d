package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// A moduleDir is a module of the repository.
type moduleDir struct {
	dir, path string
	file      *modfile.File
}

// modules returns all modules of the clone, by path.
func (r *release) modules() (map[string]*moduleDir, error) {
	found := make(map[string]*moduleDir)
	err := filepath.WalkDir(r.tree, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != r.tree && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.Name() != "go.mod" {
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := modfile.Parse(name, data, nil)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(r.tree, filepath.Dir(name))
		if err != nil {
			return err
		}
		found[file.Module.Mod.Path] = &moduleDir{dir: filepath.ToSlash(dir), path: file.Module.Mod.Path, file: file}
		return nil
	})
	return found, err
}

// released returns the products and what they need of the repository, each behind what it needs.
func released(modules map[string]*moduleDir, products []string) (order []*moduleDir, err error) {
	const visiting, done = 1, 2
	state := make(map[string]int)
	var visit func(m *moduleDir) error
	visit = func(m *moduleDir) error {
		switch state[m.path] {
		case visiting:
			return fmt.Errorf("%s needs itself", m.path)
		case done:
			return nil
		}
		state[m.path] = visiting
		for _, req := range m.file.Require {
			if needed, ours := modules[req.Mod.Path]; ours {
				if err := visit(needed); err != nil {
					return err
				}
			}
		}
		state[m.path] = done
		order = append(order, m)
		return nil
	}
	for _, dir := range products {
		var product *moduleDir
		for _, m := range modules {
			if m.dir == dir {
				product = m
			}
		}
		if product == nil {
			return nil, fmt.Errorf("there is no module in %s", dir)
		}
		if err := visit(product); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// pin makes file require the released modules at the version, and drops their replace lines.
// Any other replace line is an error: it would make the module one that cannot be installed.
func pin(file *modfile.File, ours func(path string) bool, version string) error {
	var errs []error
	for _, req := range slices.Clone(file.Require) {
		if ours(req.Mod.Path) {
			errs = append(errs, file.AddRequire(req.Mod.Path, version))
		}
	}
	for _, rep := range slices.Clone(file.Replace) {
		if !ours(rep.Old.Path) {
			errs = append(errs, fmt.Errorf("go.mod replaces %s, which is not released", rep.Old.Path))
			continue
		}
		errs = append(errs, file.DropReplace(rep.Old.Path, rep.Old.Version))
	}
	file.Cleanup()
	return errors.Join(errs...)
}
