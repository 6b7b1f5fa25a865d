//go:build unix

package rawio

import (
	"io"
	"syscall"
)

// Available says whether Read and Write work on this system.
const Available = true

// tries bounds how often a system call that a signal interrupted is repeated.
const tries = 8

// Write makes one attempt to write b. A full socket buffer is no error: n is then 0.
func Write(fd uintptr, b []byte) (n int, err error) {
	n, _, err = attempt(syscall.Write, fd, b)
	return n, err
}

// Read makes one attempt to read into b, which must not be empty. That there is
// nothing to read is no error: n is then 0. The end is io.EOF.
func Read(fd uintptr, b []byte) (n int, err error) {
	n, blocked, err := attempt(syscall.Read, fd, b)
	if n == 0 && !blocked && err == nil {
		err = io.EOF
	}
	return n, err
}

// attempt makes one attempt at call. blocked says that it would have had to wait.
func attempt(call func(fd int, b []byte) (int, error), fd uintptr, b []byte) (n int, blocked bool, err error) {
	for range tries {
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
