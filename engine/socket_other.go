//go:build !linux

package engine

import "syscall"

// controlSocket prepares a client socket before it connects: nothing to do where
// there is no TCP_USER_TIMEOUT.
func controlSocket(string, string, syscall.RawConn) error { return nil }
