//go:build !linux

package sockopt

import (
	"syscall"
	"time"
)

// SetUserTimeout does nothing where there is no TCP_USER_TIMEOUT.
func SetUserTimeout(syscall.RawConn, time.Duration) error { return nil }
