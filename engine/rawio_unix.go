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
	for range rawTries {
		n, err = syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		}
		return 0, err
	}
	return 0, nil
}

// readFD makes one attempt to read from a non-blocking descriptor. That there is
// nothing to read is no error: n is then 0.
func readFD(fd uintptr, b []byte) (n int, err error) {
	for range rawTries {
		n, err = syscall.Read(int(fd), b)
		switch err {
		case nil:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		}
		return 0, err
	}
	return 0, nil
}

// hasRawIO says whether writeFD and readFD work on this system.
const hasRawIO = true
