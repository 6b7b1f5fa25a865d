//go:build !race && !invariant && unix

package gate

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// hold stops a process until it is let go.
func hold(t *testing.T, pid int) (letGo func()) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	return func() { require.NoError(t, syscall.Kill(pid, syscall.SIGCONT)) }
}
