package pace

import (
	"syscall"
	"time"
)

const (
	// napMin is the shortest sleep. One costs some 5 µs of processor time, so what is due
	// within napMin of each other shares one, and is late by that at most.
	napMin = 20 * time.Microsecond
	// napMax is for how long a processor of the runtime's is kept.
	napMax = 100 * time.Microsecond
)

// nap sleeps for d in the kernel, or for less. Threads have a slack of 50 µs by which
// the kernel may wake them late (prctl(2), PR_SET_TIMERSLACK); without it a nap is
// late by 5 µs. The thread gets its slack back, because it is not the pacer's.
func nap(d time.Duration) {
	const setTimerSlack, shortest, usual = 29, 1, 0
	t := syscall.NsecToTimespec(int64(min(max(d, napMin), napMax)))
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, shortest, 0)
	_ = syscall.Nanosleep(&t, nil) // a signal may end it early
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, usual, 0)
}
