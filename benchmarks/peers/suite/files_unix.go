//go:build unix

package suite

import "syscall"

// filesMax is how many open files a process may have; 0 when that is not known.
func filesMax() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	// Signed on some systems, unsigned on others; "infinity" is negative or huge.
	return max(0, int64(limit.Cur))
}
