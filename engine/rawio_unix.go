//go:build unix

package engine

import (
	"io"
	"syscall"
)

// rawTries bounds how often a system call that a signal interrupted is repeated.
const rawTries = 8

// writeFD makes one attempt to write b to a non-blocking descriptor. A full
// socket buffer is no error: n is then 0.
func writeFD(fd uintptr, b []byte) (n int, err error) {
	n, _, err = attemptFD(syscall.Write, fd, b)
	return n, err
}

// readFD makes one attempt to read from a non-blocking descriptor. That there is
// nothing to read is no error: n is then 0.
func readFD(fd uintptr, b []byte) (n int, err error) {
	n, blocked, err := attemptFD(syscall.Read, fd, b)
	if n == 0 && !blocked && err == nil {
		err = io.EOF
	}
	return n, err
}

// attemptFD makes one attempt at call. blocked says that it would have had to wait.
func attemptFD(call func(fd int, b []byte) (int, error), fd uintptr, b []byte) (n int, blocked bool, err error) {
	for range rawTries {
		n, err = call(int(fd), b)
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, true, nil
		}
		return 0, false, err
	}
	return 0, true, nil
}

// hasRawIO says whether writeFD and readFD work on this system.
const hasRawIO = true
