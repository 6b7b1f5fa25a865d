package engine

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not name on
// every architecture.
const tcpUserTimeout = 18

// userTimeoutMillis is how long sent data may stay unacknowledged before the
// kernel gives the connection up; without it a silent partition is noticed only
// after many minutes of retransmission.
const userTimeoutMillis = 10_000

// controlSocket prepares a client socket before it connects.
func controlSocket(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	ctl := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, userTimeoutMillis)
	})
	if ctl != nil {
		return ctl
	}
	return err
}
