//go:build unix

package backends

import "syscall"

// freeze stops a process where it is; its sockets stay open.
func freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }

// thaw lets it go on.
func thaw(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }
