//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package server

import (
	"errors"
	"syscall"
)

func setReusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("anet/server: ServerConfig.ReusePort is for Linux and the BSDs; switch it off")
}
