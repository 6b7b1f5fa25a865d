package framing_test

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The codec runs once per frame at both ends, so it must disappear into its
// callers. Its cost is close to what the inliner allows: a line more can undo it.
func TestCodecIsInlined(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command")
	}
	out, err := exec.Command(tool, "build", "-gcflags=-m", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range []string{"Append", "Parse", "Seal", "Reserve", "FrameSize", "AppendPlain", "ParsePlain"} {
		require.Regexp(t, regexp.MustCompile(`(?m): can inline `+name+`$`), string(out))
	}
}
