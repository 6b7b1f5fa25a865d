//go:build unix

package rawio

import (
	"io"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pair returns the two ends of a non-blocking stream.
func pair(t *testing.T) (a, b uintptr) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		require.NoError(t, syscall.SetNonblock(fd, true))
		t.Cleanup(func() { _ = syscall.Close(fd) })
	}
	return uintptr(fds[0]), uintptr(fds[1])
}

func TestBytesAndTheEndPass(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 10)
	n, err := Read(b, buf)
	require.NoError(t, err, "nothing there is no error")
	require.Zero(t, n)
	n, err = Write(a, []byte("abc"))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = Read(b, buf)
	require.NoError(t, err)
	require.Equal(t, "abc", string(buf[:n]))
	require.NoError(t, syscall.Shutdown(int(a), syscall.SHUT_WR))
	for range 2 {
		n, err = Read(b, buf)
		require.Zero(t, n)
		require.Equal(t, io.EOF, err, "the end stays")
	}
}

func TestAFullBufferIsNoError(t *testing.T) {
	a, _ := pair(t)
	chunk := make([]byte, 1<<20)
	for range 1000 {
		n, err := Write(a, chunk)
		require.NoError(t, err)
		if n == 0 {
			return
		}
	}
	t.Fatal("the buffer is never full")
}

func TestErrorsAreReturned(t *testing.T) {
	a, b := pair(t)
	require.NoError(t, syscall.Shutdown(int(b), syscall.SHUT_RD))
	_, err := Write(a, []byte("x"))
	assert.ErrorIs(t, err, syscall.EPIPE)
	_, err = Read(^uintptr(0), make([]byte, 1))
	assert.ErrorIs(t, err, syscall.EBADF)
}

func TestAnInterruptedCallIsRepeated(t *testing.T) {
	calls := 0
	interrupted := func(until int) func(int, []byte) (int, error) {
		return func(int, []byte) (int, error) {
			if calls++; calls <= until {
				return -1, syscall.EINTR
			}
			return 2, nil
		}
	}
	n, blocked, err := attempt(interrupted(3), 0, nil)
	require.NoError(t, err)
	assert.False(t, blocked)
	assert.Equal(t, 2, n)
	calls = 0
	n, blocked, err = attempt(interrupted(1000), 0, nil)
	require.NoError(t, err)
	assert.True(t, blocked, "not for ever")
	assert.Zero(t, n)
	assert.Equal(t, tries, calls)
}
