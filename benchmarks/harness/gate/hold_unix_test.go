//go:build !race && !invariant && unix

package gate

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hold stops a process until it is let go. When it returns, each thread has stopped, where
// the system tells: a server that still answers the first half of a batch would keep the
// other half from ever being complete.
func hold(t *testing.T, pid int) (letGo func()) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	assert.Eventually(t, func() bool { return stopped(pid) }, fillTimeout, time.Millisecond)
	return func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) }
}

// stopped reports whether all threads of a process are stopped; true where there is no /proc.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The state is behind the name, which is in parentheses (proc_pid_stat(5)).
		if state := stat[bytes.LastIndexByte(stat, ')')+1:]; len(state) < 2 || state[1] != 'T' {
			return false
		}
	}
	return true
}
