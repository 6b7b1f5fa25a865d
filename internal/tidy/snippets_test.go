package tidy

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A snippet is a fenced Go block of a document. One that says just "go" is a
// whole file and goes through go vet. One that says "go fragment" is a piece of
// a file, and must be statements or declarations that parse.
type snippet struct {
	where    string // file:line of the opening fence
	fragment bool
	code     string
}

var goFence = regexp.MustCompile("(?ms)^( *)```(?:go|golang)\\b([^\n]*)\n(.*?)^ *```")

func snippetsOf(name, text string) (all []snippet, problems []string) {
	for _, at := range goFence.FindAllStringSubmatchIndex(text, -1) {
		s := snippet{
			where: fmt.Sprintf("%s:%d", name, 1+strings.Count(text[:at[0]], "\n")),
			code:  text[at[6]:at[7]],
		}
		switch mark := strings.TrimSpace(text[at[4]:at[5]]); mark {
		case "":
			if !strings.HasPrefix(s.code, "package ") {
				problems = append(problems, s.where+": make this a complete file or mark it ```go fragment")
				continue
			}
		case "fragment":
			s.fragment = true
			if !parsesAsFragment(s.code) {
				problems = append(problems, s.where+": neither statements nor declarations")
				continue
			}
		default:
			problems = append(problems, fmt.Sprintf("%s: unknown mark %q: write ```go or ```go fragment", s.where, mark))
			continue
		}
		all = append(all, s)
	}
	return all, problems
}

func parsesAsFragment(code string) bool {
	for _, file := range []string{"package p\n" + code, "package p\nfunc _() {\n" + code + "\n}"} {
		if _, err := parser.ParseFile(token.NewFileSet(), "", file, parser.SkipObjectResolution); err == nil {
			return true
		}
	}
	return false
}

// vetFiles compiles and vets each complete snippet as a package of its own, in
// a module that sees this one's working tree and the versions it requires.
func vetFiles(t *testing.T, snippets []snippet) []string {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs(root)
	require.NoError(t, err)
	requirements := strings.Replace(readFile(t, "go.mod"), "module "+modulePath, "module snippets", 1)
	mod := fmt.Sprintf("%s\nrequire %s v0.0.0\nreplace %s => %s\n", requirements, modulePath, modulePath, here)
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	write("go.mod", mod)
	write("go.sum", readFile(t, "go.sum"))
	for i, s := range snippets {
		// The directive makes go vet report the document's own lines.
		file, line, _ := strings.Cut(s.where, ":")
		var number int
		_, err := fmt.Sscan(line, &number)
		require.NoError(t, err)
		write(fmt.Sprintf("s%d/s.go", i), fmt.Sprintf("//line %s:%d\n%s", file, number+1, s.code))
	}
	vet := exec.CommandContext(t.Context(), "go", "vet", "./...")
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := vet.CombinedOutput(); err != nil {
		return []string{fmt.Sprintf("go vet of the documents' code: %v\n%s", err, out)}
	}
	return nil
}

func TestCodeInDocumentsCompiles(t *testing.T) {
	var complete []snippet
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		all, problems := snippetsOf(name, readFile(t, name))
		report(t, problems)
		for _, s := range all {
			if !s.fragment {
				complete = append(complete, s)
			}
		}
	}
	if len(complete) > 0 {
		report(t, vetFiles(t, complete))
	}
}

func TestSnippetCheckSeesWhatDoesNotCompile(t *testing.T) {
	const doc = "Text.\n```go\npackage p\n\nvar N = 1\n```\n- item\n  ```go fragment\n  n := 1\n  ```\n```go\nn := 1\n```\n```go fragment\nn := \n```\n```go ignore\n```\n```sh\ngo test\n```\n```golang\nn := 1\n```\n"
	all, problems := snippetsOf("x.md", doc)
	require.Len(t, all, 2)
	assert.Equal(t, snippet{where: "x.md:2", code: "package p\n\nvar N = 1\n"}, all[0])
	assert.True(t, all[1].fragment)
	assert.Len(t, problems, 4)

	assert.Empty(t, vetFiles(t, all[:1]))
	bad := vetFiles(t, []snippet{all[0], {where: "y.md:10", code: "package p\n\nvar N = undefined\n"}})
	require.Len(t, bad, 1)
	assert.Contains(t, bad[0], "y.md:13: undefined: undefined")
}
