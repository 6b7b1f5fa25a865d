//go:build unix

package engine

import "syscall"

// writeFD makes one attempt to write b to a non-blocking descriptor. A full
// socket buffer is no error: n is then 0.
func writeFD(fd uintptr, b []byte) (n int, err error) {
	for try := 0; try < 8; try++ {
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

// hasWriteFD says whether writeFD works on this system.
const hasWriteFD = true
