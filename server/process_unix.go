//go:build unix

package server

import (
	"io/fs"
	"os"
	"syscall"
)

// descriptorLimit returns how many descriptors the process may have.
func descriptorLimit() (n int64, ok bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	// Signed on some systems, unsigned on others; "infinity" is negative or huge.
	if n = int64(limit.Cur); n < 0 {
		return 0, false
	}
	return n, true
}

// shutdownWrite sends the end of our direction. A peer that is gone already has no
// use for it.
func shutdownWrite(fd int) { _ = syscall.Shutdown(fd, syscall.SHUT_WR) }

// duplicateDescriptor returns a file with a duplicate of a descriptor, which children do not
// inherit unless it is passed to them.
func duplicateDescriptor(fd uintptr) (*os.File, error) {
	syscall.ForkLock.RLock()
	n, err := syscall.Dup(int(fd))
	if err == nil {
		syscall.CloseOnExec(n)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(n), "listener"), nil
}

// keepNonblocking lets an accept that waits be ended. That accepts do not block is kept with
// the socket, for all processes that share it, and one of them may have changed it: package os
// does when a File of package net's is passed to a child.
func keepNonblocking(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { _ = syscall.SetNonblock(int(fd), true) })
}

// limitMode sets the mode of a socket that is not bound yet, where that has an effect.
func limitMode(fd uintptr, mode fs.FileMode) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) }

// closeDescriptor closes a socket that nobody else will.
func closeDescriptor(fd int) { _ = syscall.Close(fd) }
