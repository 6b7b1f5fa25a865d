package interop

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peerBinary is the server of anet v0.3.0, built by TestMain.
var peerBinary string

func TestMain(m *testing.M) {
	os.Exit(runWithPeer(m))
}

func runWithPeer(m *testing.M) int {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	peerBinary = filepath.Join(dir, "anetserver.exe")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", peerBinary, ".")
	build.Dir = filepath.Join("..", "..", "benchmarks", "peers", "anetserver")
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "interop: building the peer: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startPeer runs the server of anet v0.3.0 until the test ends and returns its
// address. The peer also exits when the pipe to its standard input breaks, so
// it does not outlive a test process that is killed.
func startPeer(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(peerBinary, "--stdin")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("peer: %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, "the peer printed %q", line)
	return addr
}
