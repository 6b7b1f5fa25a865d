package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A terminal of tmux's, in which a person sees the screen and presses q. make load-browser
// installs tmux.
func TestAPersonSeesTheRunAndEndsItByAKey(t *testing.T) {
	tmux, err := exec.LookPath("tmux")
	if err != nil {
		t.Skip("no tmux: make load-browser installs it and runs this")
	}
	addr, _ := startServe(t)
	for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}} {
		t.Run(fmt.Sprintf("%dx%d", size[0], size[1]), func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "tmux")
			do := func(args ...string) string {
				out, err := exec.CommandContext(t.Context(), tmux, append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			do("new-session", "-d", "-x", fmt.Sprint(size[0]), "-y", fmt.Sprint(size[1]),
				fmt.Sprintf("'%s' load -r 50 -d 1h %s; echo ended with $?; exec sleep 1000", binary, addr))
			defer do("kill-server")
			see := func(want string) string {
				var seen string
				for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // a screen has no other signal
					seen = do("capture-pane", "-p")
					if strings.Contains(seen, want) {
						return seen
					}
					require.True(t, time.Now().Before(end), "no %q in\n%s", want, seen)
				}
			}
			first := see("/ 1h0m0s   q ends it")
			assert.Contains(t, first, "in flight")
			do("send-keys", "q")
			see("ended with 130")
			assert.Contains(t, do("capture-pane", "-p", "-S", "-200"), "verdict")
		})
	}
}

// An output that is no terminal gets no screen: not one escape.
func TestWithoutATerminalNothingIsDrawn(t *testing.T) {
	addr, _ := startServe(t)
	for _, flags := range [][]string{nil, {"--progress"}} {
		got := execute(t, "", binary, append([]string{"load", "-r", "50", "-d", "1200ms", addr}, flags...)...)
		assert.Equal(t, exitOK, got.code, got.stderr)
		assert.False(t, bytes.ContainsRune([]byte(got.stdout+got.stderr), '\x1b'))
		assert.Equal(t, flags != nil, strings.Contains(got.stderr, "sent "), got.stderr)
	}
}

func TestTheReportIsAPage(t *testing.T) {
	addr, _ := startServe(t)
	file := filepath.Join(t.TempDir(), "report.html")
	got := execute(t, "", binary, "load", "-r", "200", "-d", "2500ms", "--html", file, "--threshold", "p99<1h", addr)
	require.Equal(t, exitOK, got.code, got.stderr)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	page := string(content)
	assert.Contains(t, page, "<h1 class=\"met\">ok")
	assert.Contains(t, page, addr)
	assert.GreaterOrEqual(t, strings.Count(page, "<svg viewBox"), 4)

	got = execute(t, "", binary, "load", "-n", "1", "--html", filepath.Join(file, "x"), addr)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "--html")
	got = execute(t, "", binary, "load", "-n", "1", "--html", file, "--json", file, addr)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.stderr, "must be two files")
}
