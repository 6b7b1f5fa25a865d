package tidy

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository's directory: go test runs in the package's own.
const root = "../.."

const modulePath = "github.com/ringwire/ringwire"

// source is one parsed Go file. Paths are relative to the root, with slashes.
type source struct {
	path   string
	nested bool // belongs to a module other than the root's
	fset   *token.FileSet
	file   *ast.File
}

func (s source) pkg() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s source) line(pos token.Pos) int { return s.fset.Position(pos).Line }

// parseSource parses text as the file name of the root module.
func parseSource(t *testing.T, name, text string) source {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	require.NoError(t, err)
	return source{path: name, fset: fset, file: file}
}

// sources parses every Go file of every module, generated corpora aside.
func sources(t *testing.T) []source {
	t.Helper()
	files := repoFiles(t)
	var modules []string
	for _, f := range files {
		if path.Base(f) == "go.mod" && path.Dir(f) != "." {
			modules = append(modules, path.Dir(f)+"/")
		}
	}
	var all []source
	for _, f := range files {
		if path.Ext(f) != ".go" || strings.Contains("/"+f, "/testdata/") {
			continue
		}
		s := parseSource(t, f, readFile(t, f))
		s.nested = slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(f, m) })
		all = append(all, s)
	}
	require.NotEmpty(t, all)
	return all
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	return string(b)
}

// repoFiles lists the files that are, or would be, committed: what git knows
// and does not ignore. A source archive has no git: there it is every file.
func repoFiles(t *testing.T) []string {
	t.Helper()
	files, err := listFiles()
	require.NoError(t, err)
	require.Contains(t, files, "go.mod")
	return files
}

var listFiles = sync.OnceValues(func() ([]string, error) {
	git := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	git.Dir = root
	out, err := git.Output()
	if err != nil {
		return walkFiles()
	}
	var files []string
	for name := range bytes.SplitSeq(bytes.TrimRight(out, "\x00"), []byte{0}) {
		info, err := os.Stat(filepath.Join(root, string(name)))
		if err == nil && info.Mode().IsRegular() { // not one that was just deleted
			files = append(files, string(name))
		}
	}
	return files, nil
})

func walkFiles() ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin"):
			return fs.SkipDir
		case d.Type().IsRegular():
			files = append(files, name)
		}
		return nil
	})
	return files, err
}

// report fails the test with one line for each problem.
func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func TestWalkAndGitListTheSameGoFiles(t *testing.T) {
	walked, err := walkFiles()
	require.NoError(t, err)
	for _, f := range repoFiles(t) {
		if path.Ext(f) == ".go" && !slices.Contains(walked, f) {
			t.Errorf("%s is listed but not found by walking", f)
		}
	}
}
