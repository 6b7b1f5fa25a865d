// Package sockopt sets the options of sockets that package net has no method for.
package sockopt

import (
	"syscall"
	"time"
)

// Dial returns a function for net.Dialer.Control that calls [SetUserTimeout] before a
// socket connects. Sockets of network "unix" have no such option and are left alone.
// The function is safe for concurrent use.
func Dial(userTimeout time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		if network == "unix" {
			return nil
		}
		return SetUserTimeout(c, userTimeout)
	}
}
