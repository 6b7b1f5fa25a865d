package server

import (
	"runtime"
	"strings"
	"syscall"
)

// reusePortOption is SO_REUSEPORT, which package syscall does not have on every
// Linux: asm/socket.h of MIPS differs from all others that Go supports.
func reusePortOption() int {
	if strings.HasPrefix(runtime.GOARCH, "mips") {
		return 0x200
	}
	return 0xf
}

// setReusePort lets the socket share its address.
func setReusePort(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePortOption(), 1)
	}); err != nil {
		return err
	}
	return failed
}
