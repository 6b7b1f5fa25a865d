package tidy

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
)

// machinePath matches paths that mean something on one machine only: those of
// the tree the project was written in. (Not written out, or it would match here.)
var machinePath = regexp.MustCompile(`(^|[^\w.)])/work` + `/|\.\./sha` + `red\b|/tmp/br` + `ief`)

func pathProblems(name, text string) (problems []string) {
	for i, line := range bytes.Split([]byte(text), []byte("\n")) {
		if at := machinePath.Find(line); at != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: a path of one machine: %q", name, i+1, at))
		}
	}
	return problems
}

func TestNoFileNamesAMachinesPaths(t *testing.T) {
	for _, name := range repoFiles(t) {
		report(t, pathProblems(name, readFile(t, name)))
	}
}

func TestPathCheckSeesAbsoluteAndForeignPaths(t *testing.T) {
	assert.Empty(t, pathProblems("a.md", "net/work/x, ./work/, home/runner/work/, ../sharedness, https://example.org/work/"))
	for _, bad := range []string{"/work" + "/main", "see `/work" + "/x`", "text\n../sha" + "red/style.md", "/tmp/br" + "ief/x"} {
		assert.Len(t, pathProblems("a.md", bad), 1, bad)
	}
}
