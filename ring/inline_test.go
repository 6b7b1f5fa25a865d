package ring

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// probe is a package that uses the rings as doc.go says. It exists only in an
// overlay.
const probe = `package probe

import (
	"github.com/ringwire/ringwire/ring"
	_ "sync/atomic"
)

func Push(r *ring.SPSC[int], v int) bool         { return r.TryPush(v) }
func Pop(r *ring.SPSC[int]) (int, bool)          { return r.TryPop() }
func PopM(r *ring.MPSC[uint32]) (uint32, bool)   { return r.TryPop() }
func Empty(r *ring.MPSC[uint32]) bool            { return r.Empty() }
func PushP(r *ring.SPSC[*byte], v *byte) bool    { return r.TryPush(v) }
func PopP(r *ring.SPSC[*byte]) (*byte, bool)     { return r.TryPop() }
func Count(c *ring.Counter)                      { c.Add(1) }
`

func TestFastPathsAreInlinedIntoOtherPackages(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go tool")
	}
	dir := t.TempDir()
	source, overlay := filepath.Join(dir, "probe.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(source, []byte(probe), 0o600))
	virtual, err := filepath.Abs("inlineprobe/probe.go")
	require.NoError(t, err)
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {virtual: source}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))

	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-gcflags=-m=1", "./inlineprobe")
	// The budget is kept for platforms with 64-bit atomic instructions; and a tag or
	// -race would change what is inlined.
	build.Env = append(os.Environ(), "GOFLAGS=", "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, call := range []string{
		"can inline ring.(*SPSC[go.shape.int]).TryPush",
		"can inline ring.(*SPSC[go.shape.int]).TryPop",
		"inlining call to ring.(*SPSC[go.shape.int]).TryPush",
		"inlining call to ring.(*SPSC[go.shape.int]).TryPop",
		"inlining call to ring.(*SPSC[go.shape.*uint8]).TryPush",
		"inlining call to ring.(*SPSC[go.shape.*uint8]).TryPop",
		"inlining call to ring.(*MPSC[go.shape.uint32]).TryPop",
		"inlining call to ring.(*MPSC[go.shape.uint32]).Empty",
		"inlining call to ring.(*Counter).Add",
	} {
		if !strings.Contains(string(out), call) {
			t.Errorf("the compiler does not report %q", call)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
