package sockopt

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not name on every
// architecture.
const tcpUserTimeout = 18

// SetUserTimeout bounds the time that data sent on a TCP socket may stay
// unacknowledged before the kernel gives the connection up. Without it a silent
// partition is noticed only after many minutes of retransmission. The kernel counts
// in milliseconds: a fraction is cut off, and 0 is the system's default. The error is
// that of the system call, or of c when its socket is closed. Where there is no
// TCP_USER_TIMEOUT, which is everywhere but on Linux, it does nothing.
func SetUserTimeout(c syscall.RawConn, timeout time.Duration) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		millis := int(timeout.Milliseconds())
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, millis)
	})
	if err != nil {
		return err
	}
	return failed
}
