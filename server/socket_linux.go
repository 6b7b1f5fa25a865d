package server

import (
	"net"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not name on
// every architecture.
const tcpUserTimeout = 18

// setUserTimeout bounds the time that sent data may stay unacknowledged. Without
// it a silent partition is noticed only after many minutes of retransmission.
func setUserTimeout(tc *net.TCPConn, timeout time.Duration) error {
	raw, err := tc.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(timeout.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
