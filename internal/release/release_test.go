package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

func parse(t *testing.T, text string) *modfile.File {
	file, err := modfile.Parse("go.mod", []byte(text), nil)
	require.NoError(t, err)
	return file
}

func TestPinRequiresTheVersionAndReplacesNothing(t *testing.T) {
	ours := func(path string) bool { return path == root || strings.HasPrefix(path, root+"/") }
	file := parse(t, "module "+root+"/load\n\ngo 1.25\n\nrequire (\n\t"+root+" v0.0.0\n\texample.org/x v1.0.0\n)\n\nreplace "+root+" => ..\n")
	require.NoError(t, pin(file, ours, "v0.3.0"))
	got, err := file.Format()
	require.NoError(t, err)
	assert.Equal(t, "module "+root+"/load\n\ngo 1.25\n\nrequire (\n\t"+root+" v0.3.0\n\texample.org/x v1.0.0\n)\n", string(got))

	file = parse(t, "module m\n\nreplace example.org/x => ../x\n")
	require.ErrorContains(t, pin(file, ours, "v0.3.0"), "replaces example.org/x")
}

func TestWhatAModuleNeedsIsReleasedBeforeIt(t *testing.T) {
	modules := make(map[string]*moduleDir)
	add := func(dir string, needs ...string) {
		m := &moduleDir{dir: dir, path: root + "/" + dir, file: new(modfile.File)}
		require.NoError(t, m.file.AddModuleStmt(m.path))
		for _, need := range needs {
			require.NoError(t, m.file.AddRequire(root+"/"+need, "v0.0.0"))
		}
		modules[m.path] = m
	}
	add("a", "b", "c")
	add("b", "c", "d")
	add("c")
	add("d", "c")
	add("unasked", "a")
	order, err := released(modules, []string{"a"})
	require.NoError(t, err)
	assert.Equal(t, []string{"c/v1.0.0", "d/v1.0.0", "b/v1.0.0", "a/v1.0.0"}, tags(order, "v1.0.0"))
	_, err = released(modules, []string{"e"})
	require.ErrorContains(t, err, "no module in e")
	add("c", "a")
	_, err = released(modules, []string{"a"})
	require.ErrorContains(t, err, "needs itself")
}

// newRepository makes a repository with modules of our names that hold next to nothing.
func newRepository(t *testing.T) string {
	dir := t.TempDir()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	for name, text := range map[string]string{
		"go.mod":       "module " + root + "\n\ngo 1.25.0\n",
		"root.go":      "package ringwire\n\nconst Name = \"ringwire\"\n",
		"load/go.mod":  "module " + root + "/load\n\ngo 1.25.0\n\nrequire " + root + " v0.0.0\n\nreplace " + root + " => ..\n",
		"load/load.go": "package load\n\nimport \"" + root + "\"\n\nconst Name = ringwire.Name\n",
		"cmd/ringwire/go.mod": "module " + root + "/cmd/ringwire\n\ngo 1.25.0\n\nrequire (\n\t" + root + " v0.0.0\n\t" + root + "/load v0.0.0\n)\n\n" +
			"replace " + root + " => ../..\n\nreplace " + root + "/load => ../../load\n",
		"cmd/ringwire/main.go": `package main

import (
	"fmt"
	"runtime/debug"

	"` + root + `"
	"` + root + `/load"
)

var version, commit string

func main() {
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		version = info.Main.Version
	}
	if load.Name == ringwire.Name {
		fmt.Println(load.Name, version, "commit", commit)
	}
}
`,
	} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for _, args := range []string{"init --quiet", "config user.name Somebody", "config user.email somebody@example.org", "add .", "commit --quiet -m first"} {
		_, err := output(dir, "git", strings.Fields(args)...)
		require.NoError(t, err)
	}
	t.Chdir(dir)
	return dir
}

// The whole of it, for modules that build fast.
func TestAReleaseCanBeInstalledAndItsTagsStay(t *testing.T) {
	dir := newRepository(t)
	host := runtime.GOOS + "/" + runtime.GOARCH
	defer func(all []string) { platforms = all }(platforms)
	platforms = []string{host}
	out := filepath.Join(t.TempDir(), "dist")
	require.NoError(t, run("v0.9.0", out, true))

	binary := filepath.Join(out, fmt.Sprintf("ringwire_v0.9.0_%s_%s", runtime.GOOS, runtime.GOARCH))
	said, err := output("", binary)
	require.NoError(t, err)
	commit, err := output(dir, "git", "rev-parse", "--short=12", "v0.9.0^{commit}")
	require.NoError(t, err)
	assert.Equal(t, "ringwire v0.9.0 commit "+commit, said)
	if runtime.GOOS == "linux" {
		_, err = output(out, "sha256sum", "--check", "--strict", "SHA256SUMS")
		assert.NoError(t, err)
	}

	got, err := output(dir, "git", "tag")
	require.NoError(t, err)
	assert.Equal(t, []string{"cmd/ringwire/v0.9.0", "load/v0.9.0", "v0.9.0"}, strings.Fields(got))
	mod, err := output(dir, "git", "show", "cmd/ringwire/v0.9.0:cmd/ringwire/go.mod")
	require.NoError(t, err)
	assert.NotContains(t, mod, "replace")
	assert.Contains(t, mod, root+"/load v0.9.0")
	sums, err := output(dir, "git", "show", "v0.9.0:cmd/ringwire/go.sum")
	require.NoError(t, err)
	assert.Contains(t, sums, root+"/load v0.9.0 h1:")
	now, err := os.ReadFile(filepath.Join(dir, "cmd/ringwire/go.mod"))
	require.NoError(t, err)
	assert.Contains(t, string(now), "replace", "the branch keeps its own")

	require.ErrorContains(t, run("v0.9.0", filepath.Join(out, "again"), false), "exists already")
	require.ErrorContains(t, run("v0.9.1", out, false), "is not empty")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o644))
	require.ErrorContains(t, run("v0.9.1", filepath.Join(out, "again"), false), "working tree has changes")
}

func TestOnlyAVersionIsReleased(t *testing.T) {
	for _, bad := range []string{"", "1.2.3", "v1.2", "v1.2.3+build", "latest", "v2.0.0"} {
		require.ErrorContains(t, run(bad, t.TempDir(), false), "-version", bad)
	}
}
