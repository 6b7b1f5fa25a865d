package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile"
	"github.com/ringwire/ringwire/cmd/ringwire/internal/profile/summary"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shortProfile profiles two suites in a moment and returns the run's folder.
func shortProfile(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	got := execute(t, "", binary, "profile", "--suite", "one,callback-1024", "--duration", "200ms", "--out", out)
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.Contains(t, got.stdout, "req/s")
	assert.Contains(t, got.stderr, "callback-1024: contention")
	requireNoServer(t)
	folders, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Len(t, folders, 1)
	assert.Regexp(t, `^\d{8}T\d{6}Z-0123456789ab$`, folders[0].Name())
	run := filepath.Join(out, folders[0].Name())
	assert.Contains(t, got.stdout, "ringwire profile keep "+run)
	return run
}

func readSummary(t *testing.T, dir string) *summary.Summary {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, profile.SummaryFile))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	s, err := summary.Read(f)
	require.NoError(t, err)
	return s
}

func requireFilesOfSuite(t *testing.T, dir string) {
	t.Helper()
	for _, process := range []string{"client", "server"} {
		for _, kind := range []string{"cpu", "allocs", "mutex", "block", "goroutine"} {
			data, err := os.ReadFile(filepath.Join(dir, process, kind+".pb.gz"))
			require.NoError(t, err)
			_, err = pprof.ParseData(data)
			require.NoError(t, err, kind)
		}
		trace, err := os.ReadFile(filepath.Join(dir, process, "trace.out"))
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(trace), "go 1."))
	}
	data, err := os.ReadFile(filepath.Join(dir, profile.MetadataFile))
	require.NoError(t, err)
	var m profile.Metadata
	require.NoError(t, json.Unmarshal(data, &m))
	assert.Equal(t, "0123456789ab", m.Commit)
	assert.Contains(t, m.Command, "--duration")
	require.Len(t, m.Phases, 6)
	for _, phase := range m.Phases {
		assert.Positive(t, phase.Requests, phase.Name)
		assert.Zero(t, phase.Errors)
		assert.Positive(t, phase.ReqPerSec)
	}
	tables, err := os.ReadFile(filepath.Join(dir, profile.TablesFile))
	require.NoError(t, err)
	assert.Contains(t, string(tables), "## Server")
	page, err := os.ReadFile(filepath.Join(dir, profile.FlameFile))
	require.NoError(t, err)
	assert.Contains(t, string(page), "</html>")
}

func TestProfileWritesEverythingAndComparesIt(t *testing.T) {
	run := shortProfile(t)
	for _, suite := range []string{"one", "callback-1024"} {
		dir := filepath.Join(run, suite)
		requireFilesOfSuite(t, dir)
		s := readSummary(t, dir)
		assert.Equal(t, suite, s.Suite.Name)
		for _, p := range s.Processes {
			roles := make(map[string]bool)
			for _, g := range p.Goroutines {
				roles[g.Role] = true
			}
			assert.True(t, roles[map[string]string{"client": "reader", "server": "loop"}[p.Name]], "goroutines of %s: %v", p.Name, p.Goroutines)
		}
	}
	kept := t.TempDir()
	got := execute(t, "", binary, "profile", "keep", run, "--to", kept)
	require.Equal(t, exitOK, got.code, got.stderr)
	kept = filepath.Join(kept, filepath.Base(run))
	for _, name := range []string{profile.MetadataFile, profile.SummaryFile, profile.TablesFile, profile.FlameFile} {
		assert.FileExists(t, filepath.Join(kept, "one", name))
	}
	assert.NoDirExists(t, filepath.Join(kept, "one", "client"))
	got = execute(t, "", binary, "profile", "diff", kept, run, "--fail")
	require.Equal(t, exitOK, got.code, got.stderr)
	assert.Contains(t, got.stdout, "Nothing became slower")

	allocate(t, filepath.Join(kept, "one"))
	got = execute(t, "", binary, "profile", "diff", run, kept)
	assert.Equal(t, exitOK, got.code)
	assert.Regexp(t, `one +server +allocates +place .* server\.made`, got.stdout)
	got = execute(t, "", binary, "profile", "diff", run, kept, "--fail")
	assert.Equal(t, exitRegression, got.code)
	assert.Contains(t, got.stderr, "1 regressions")
}

// allocate makes a suite's summary one of a server that allocates.
func allocate(t *testing.T, dir string) {
	t.Helper()
	s := readSummary(t, dir)
	a := &s.Process(profile.Server).Allocs
	a.Sites = append(a.Sites, summary.Site{Function: "server.made", Objects: int64(a.Requests)})
	require.NoError(t, writeFile(dir, profile.SummaryFile, s.Write))
}

func TestProfileSaysWhenItIsNotInTheRepository(t *testing.T) {
	t.Chdir(t.TempDir())
	f := profileFlags{}
	var notes strings.Builder
	folder, err := f.folder(&notes, profile.Metadata{Commit: "abc"})
	require.NoError(t, err)
	assert.Contains(t, notes.String(), "not the root of the ringwire repository")
	assert.DirExists(t, folder)
	_, err = f.folder(&notes, profile.Metadata{Commit: "abc"})
	require.Error(t, err, "a run does not write into another one's folder")

	require.NoError(t, os.WriteFile("go.mod", []byte("module github.com/ringwire/ringwire\n"), 0o600))
	notes.Reset()
	_, err = f.folder(&notes, profile.Metadata{Commit: "def"})
	require.NoError(t, err)
	assert.Empty(t, notes.String())
}

func TestALargeFlameGraphIsNotKept(t *testing.T) {
	run, to := filepath.Join(t.TempDir(), "run"), t.TempDir()
	dir := filepath.Join(run, "one")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{profile.MetadataFile, profile.SummaryFile, profile.TablesFile, profile.FlameFile} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), make([]byte, keptFlameMax+1), 0o600))
	}
	var out strings.Builder
	require.NoError(t, keepRun(&out, run, to))
	assert.Contains(t, out.String(), "not kept: ")
	assert.NoFileExists(t, filepath.Join(to, "run", "one", profile.FlameFile))
	assert.FileExists(t, filepath.Join(to, "run", "one", profile.SummaryFile))
	require.ErrorContains(t, keepRun(&out, to, to), "give a folder")
}

func TestProfileRefusesNonsense(t *testing.T) {
	for line, want := range map[string]string{
		"profile --suite small":           `suite "small"`,
		"profile --duration 1h":           "--duration 1h0m0s: must be",
		"profile --conns 0":               "--conns 0",
		"profile extra":                   `"extra"`,
		"profile diff a":                  "1 arguments given, 2 needed",
		"profile diff a b --min 101":      "--min 101",
		"profile diff a b --min-allocs 0": "--min-allocs 0",
		"profile keep":                    "0 arguments given, 1 needed",
	} {
		got := execute(t, "", binary, strings.Fields(line)...)
		assert.Equal(t, exitUsage, got.code, line)
		assert.Contains(t, got.stderr, want, line)
	}
	got := execute(t, "", binary, "profile", "diff", t.TempDir(), t.TempDir())
	assert.Equal(t, exitFailed, got.code)
}

// startServeLines runs "ringwire serve" until the test ends, and returns its first
// line of output and the rest.
func startServeLines(t *testing.T, args ...string) (string, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"serve", "--addr", "127.0.0.1:0", "--stdin"}, args...)...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	t.Cleanup(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, lines)
		assert.NoError(t, cmd.Wait(), "it ends with 0 when its input does")
	})
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	return line, lines
}

func TestAnInterruptedProfileLeavesNothingBehind(t *testing.T) {
	out := t.TempDir()
	cmd := exec.Command(binary, "profile", "--suite", "one", "--duration", "1m", "--out", out)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stderr)
	_, err = lines.ReadString('\n') // the first phase begins
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(rest), "interrupted")
	requireNoServer(t)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Empty(t, left)
}
