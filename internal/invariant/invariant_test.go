package invariant_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/invariant"
)

func TestCheckPanicsOnlyWhenEnabled(t *testing.T) {
	assert.NotPanics(t, func() { invariant.Check(true, "holds") })
	broken := func() { invariant.Check(false, "this was broken on purpose") }
	if invariant.Enabled {
		assert.PanicsWithValue(t, "invariant violated: this was broken on purpose", broken)
	} else {
		assert.NotPanics(t, broken)
	}
}

// probe is a package that checks something. It exists only in an overlay.
const probe = `package probe

import "github.com/ringwire/ringwire/internal/invariant"

func Probe(ok bool) { invariant.Check(ok, "a message to look for") }
`

func TestCheckLeavesNoCodeWithoutTheTag(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go tool")
	}
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "probe.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(source, []byte(probe), 0o600))
	virtual, err := filepath.Abs("probe/probe.go")
	require.NoError(t, err)
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {virtual: source}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))

	assembly := func(tags string) string {
		build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-tags", tags, "-gcflags=-S", "./probe")
		build.Env = append(os.Environ(), "GOFLAGS=", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "probe.Probe")
		return string(out)
	}
	assert.Contains(t, assembly("invariant"), "gopanic")
	off := assembly("")
	assert.NotContains(t, off, "gopanic")
	assert.NotContains(t, off, "CALL")
	assert.NotContains(t, off, "a message to look for")
}
