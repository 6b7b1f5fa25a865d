package tidy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// topLayer is above every numbered one.
const topLayer = 1 << 10

// onlyImporter names, for each module that may be linked into the library, the
// one package that may import it. Test files are free to import testify and goleak.
var onlyImporter = map[string]string{
	"github.com/panjf2000/gnet/v2":      "server",
	"github.com/panjf2000/ants/v2":      "server",
	"github.com/valyala/bytebufferpool": "internal/bytepool",
	"golang.org/x/sys":                  "internal/epoll",
}

var (
	layerRow  = regexp.MustCompile(`(?m)^\| *(\d+|top) *\|([^|]+)\|`)
	backticks = regexp.MustCompile("`([^`]+)`")
)

// parseLayers reads the table of packages in docs/DESIGN.md, which is the only
// place where a package gets its layer. A name that ends in /… stands for
// the package and everything below it.
func parseLayers(design string) (map[string]int, error) {
	levels := make(map[string]int)
	for _, row := range layerRow.FindAllStringSubmatch(design, -1) {
		level, err := strconv.Atoi(row[1])
		if err != nil {
			level = topLayer
		}
		for _, name := range backticks.FindAllStringSubmatch(row[2], -1) {
			if _, twice := levels[name[1]]; twice {
				return nil, fmt.Errorf("docs/DESIGN.md: %s has two layers", name[1])
			}
			levels[name[1]] = level
		}
	}
	return levels, nil
}

func levelOf(levels map[string]int, pkg string) (int, bool) {
	if level, ok := levels[pkg]; ok {
		return level, true
	}
	for name, level := range levels {
		if above, ok := strings.CutSuffix(name, "/…"); ok && strings.HasPrefix(pkg+"/", above+"/") {
			return level, true
		}
	}
	return 0, false
}

// layerProblems checks imports, the import paths of each package of the root
// module without its tests, against the layers.
func layerProblems(levels map[string]int, imports map[string][]string) (problems []string) {
	for _, pkg := range slices.Sorted(maps.Keys(imports)) {
		here, listed := levelOf(levels, pkg)
		if !listed {
			problems = append(problems, fmt.Sprintf("package %s has no layer: add it to the table in docs/DESIGN.md", pkg))
		}
		for _, imp := range imports[pkg] {
			if own, ok := strings.CutPrefix(imp, modulePath+"/"); ok {
				if there, known := levelOf(levels, own); !known || there >= here {
					problems = append(problems, fmt.Sprintf("%s must not import %s: imports point down only", pkg, own))
				}
			} else if !mayImport(pkg, imp) {
				problems = append(problems, fmt.Sprintf("%s must not import %s", pkg, imp))
			}
		}
	}
	for name := range levels {
		if _, exists := imports[name]; !exists && !strings.HasSuffix(name, "…") {
			problems = append(problems, fmt.Sprintf("docs/DESIGN.md gives a layer to %s, which has no Go file", name))
		}
	}
	return problems
}

// mayImport reports whether pkg may import a path that is not the project's own.
func mayImport(pkg, imp string) bool {
	if domain, _, _ := strings.Cut(imp, "/"); !strings.Contains(domain, ".") {
		return true // standard library
	}
	for module, importer := range onlyImporter {
		if imp == module || strings.HasPrefix(imp, module+"/") {
			return pkg == importer
		}
	}
	return false
}

func TestImportsPointDown(t *testing.T) {
	levels, err := parseLayers(readFile(t, "docs/DESIGN.md"))
	require.NoError(t, err)
	imports := make(map[string][]string)
	for _, s := range sources(t) {
		if s.nested {
			continue // on top of everything: nothing in the root can import it
		}
		imports[s.pkg()] = slices.Grow(imports[s.pkg()], 0) // packages of tests alone have a layer too
		if s.isTest() {
			continue
		}
		for _, spec := range s.file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			imports[s.pkg()] = append(imports[s.pkg()], imp)
		}
	}
	report(t, layerProblems(levels, imports))
}

func TestLayerCheckSeesForbiddenImports(t *testing.T) {
	levels, err := parseLayers("| layer | package |\n| 0 | `low` |\n| 1 | `left` `right` |\n| 1 | `server` |\n| top | `examples/…`, nested |\n")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"low": 0, "left": 1, "right": 1, "server": 1, "examples/…": topLayer}, levels)
	good := func() map[string][]string {
		return map[string][]string{
			"low":           {"net/http"},
			"left":          {modulePath + "/low"},
			"right":         nil,
			"server":        {"github.com/panjf2000/gnet/v2/pkg/logging"},
			"examples":      {modulePath + "/left"},
			"examples/echo": {modulePath + "/left"},
		}
	}
	assert.Empty(t, layerProblems(levels, good()))

	for pkg, imp := range map[string]string{
		"low":           modulePath + "/left",
		"left":          modulePath + "/right",
		"right":         "github.com/panjf2000/gnet/v2",
		"server":        "github.com/panjf2000/gnet/v3",
		"examples/echo": modulePath + "/unheard-of",
		"stray":         "fmt",
		"examples2":     "fmt",
	} {
		bad := good()
		bad[pkg] = append(bad[pkg], imp)
		assert.Len(t, layerProblems(levels, bad), 1, "%s importing %s", pkg, imp)
	}
	missing := good()
	delete(missing, "right")
	assert.Len(t, layerProblems(levels, missing), 1, "a listed package without files")

	_, err = parseLayers("| 0 | `low` |\n| 1 | `low` |\n")
	assert.Error(t, err)
}
