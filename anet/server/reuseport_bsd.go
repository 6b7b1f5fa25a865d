//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package server

import "syscall"

// setReusePort lets the socket share its address.
func setReusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}
