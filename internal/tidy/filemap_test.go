package tidy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// mappedPackages are those whose every file, tests aside, docs/DESIGN.md explains.
var mappedPackages = []string{"ring", "taskid", "framing", "engine", "server"}

var (
	mapHeading = regexp.MustCompile(`(?mi)^##+ .*file map.*$`)
	nextPart   = regexp.MustCompile(`(?m)^## `)
	goFileName = regexp.MustCompile(`[\w./-]+\.go\b`)
)

// fileMapProblems compares the section "File map" of design, where each file is
// written with its path from the root, with the files that there are.
func fileMapProblems(design string, files []string) (problems []string) {
	at := mapHeading.FindStringIndex(design)
	if at == nil {
		return []string{`docs/DESIGN.md has no section "File map"`}
	}
	section := design[at[1]:]
	if end := nextPart.FindStringIndex(section); end != nil {
		section = section[:end[0]]
	}
	mapped := goFileName.FindAllString(section, -1)
	for _, name := range mapped {
		if !slices.Contains(files, name) {
			problems = append(problems, fmt.Sprintf("docs/DESIGN.md maps %s, which does not exist: write paths from the root", name))
		}
	}
	for _, name := range files {
		pkg, _, _ := strings.Cut(name, "/")
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") &&
			slices.Contains(mappedPackages, pkg) && !slices.Contains(mapped, name) {
			problems = append(problems, fmt.Sprintf("%s is missing from the file map in docs/DESIGN.md", name))
		}
	}
	return problems
}

func TestDesignMapsEveryFile(t *testing.T) {
	report(t, fileMapProblems(readFile(t, "docs/DESIGN.md"), repoFiles(t)))
}

func TestFileMapCheckSeesMissingAndStaleFiles(t *testing.T) {
	const design = "# Design\n`ring/other.go`\n## 9. File map\n- `ring/spsc.go` one producer\n### More\n| `engine/conn.go` | one connection |\n## 10. Else\n`ring/gone.go`\n"
	files := []string{"go.mod", "ring/spsc.go", "ring/spsc_test.go", "engine/conn.go", "internal/e2e/doc.go"}
	assert.Empty(t, fileMapProblems(design, files))
	assert.Len(t, fileMapProblems(design, files[:4]), 0)
	assert.Len(t, fileMapProblems(design, slices.Concat(files, []string{"ring/mpsc.go"})), 1, "unmapped")
	assert.Len(t, fileMapProblems(design, slices.Concat(files, []string{"ring/gone.go"})), 1, "mapped outside the section")
	assert.Len(t, fileMapProblems(design, files[:3]), 1, "stale")
	assert.Len(t, fileMapProblems("# Design\n", files), 1, "no section")
}
