package tidy

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const (
	functionLinesMax = 70
	fileLinesMax     = 400
	testFileLinesMax = 600
)

func lengthProblems(s source) (problems []string) {
	limit := fileLinesMax
	if s.isTest() {
		limit = testFileLinesMax
	}
	if n := s.line(s.file.FileEnd); n > limit {
		problems = append(problems, fmt.Sprintf("%s has %d lines, more than %d: split it by content", s.path, n, limit))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.FuncDecl, *ast.FuncLit:
			first, last := s.line(n.Pos()), s.line(n.End())
			if f, ok := n.(*ast.FuncDecl); ok {
				first = s.line(f.Type.Func)
			}
			if last-first+1 > functionLinesMax {
				problems = append(problems, fmt.Sprintf("%s:%d: function of %d lines, more than %d", s.path, first, last-first+1, functionLinesMax))
			}
		}
		return true
	})
	return problems
}

func TestFunctionsAndFilesAreShort(t *testing.T) {
	for _, s := range sources(t) {
		report(t, lengthProblems(s))
	}
}

func TestLengthCheckSeesOneLineTooMany(t *testing.T) {
	body := func(lines int) string { return "func() {\n" + strings.Repeat("println()\n", lines-2) + "}\n" }
	declared := func(lines int) string {
		return "package p\n// A comment above does not count.\n" + strings.Replace(body(lines), "func", "func f", 1)
	}
	assert.Empty(t, lengthProblems(parseSource(t, "a.go", declared(functionLinesMax))))
	assert.Len(t, lengthProblems(parseSource(t, "a.go", declared(functionLinesMax+1))), 1)
	assert.Empty(t, lengthProblems(parseSource(t, "a.go", "package p\nvar f = "+body(functionLinesMax))))
	assert.Len(t, lengthProblems(parseSource(t, "a.go", "package p\nvar f = "+body(functionLinesMax+1))), 1)

	file := func(lines int) string { return "package p\n" + strings.Repeat("// text\n", lines-1) }
	assert.Empty(t, lengthProblems(parseSource(t, "a.go", file(fileLinesMax))))
	assert.Len(t, lengthProblems(parseSource(t, "a.go", file(fileLinesMax+1))), 1)
	assert.Empty(t, lengthProblems(parseSource(t, "a_test.go", file(testFileLinesMax))))
	assert.Len(t, lengthProblems(parseSource(t, "a_test.go", file(testFileLinesMax+1))), 1)
}
