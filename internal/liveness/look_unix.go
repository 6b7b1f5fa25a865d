//go:build unix

package liveness

import "syscall"

// canLook says whether look works on this system.
const canLook = true

// look peeks at one byte of a non-blocking descriptor.
func look(fd uintptr) (finding, error) {
	var b [1]byte
	for range 8 { // signals may interrupt, but not for ever
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return unknown, nil
		case err != nil:
			return unknown, err
		case n == 0:
			return gone, nil
		}
		return waiting, nil
	}
	return unknown, nil
}
