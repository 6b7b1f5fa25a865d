package pace

import (
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	// napMin is the shortest sleep. One costs some 5 µs of processor time, so what is due
	// within napMin of each other shares one, and is late by that at most.
	napMin = 20 * time.Microsecond
	// napMax is for how long a processor of the runtime's is kept.
	napMax = 100 * time.Microsecond
)

// nap sleeps for d, or for less. Threads have a slack of 50 µs by which the kernel may
// wake them late (prctl(2), PR_SET_TIMERSLACK); without it a nap is late by 5 µs. The
// thread gets its slack back, because others run on it. If measure is set, nap returns
// the processor time that it used.
//
// The runtime is not told of the sleep: it would take the processor away after 20 µs,
// and the goroutine that sleeps would have to wait for another.
func nap(d time.Duration, measure bool) (used time.Duration) {
	const setTimerSlack, shortest, usual = 29, 1, 0
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if measure {
		before := threadTime()
		defer func() { used = threadTime() - before }()
	}
	t := syscall.NsecToTimespec(int64(min(max(d, napMin), napMax)))
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, shortest, 0)
	// A signal may end it early.
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, usual, 0)
	return used
}

// threadTime is the processor time of this thread.
func threadTime() time.Duration {
	const clockThreadCPU = 3
	var t syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPU,
		uintptr(unsafe.Pointer(&t)), 0)
	return time.Duration(t.Nano())
}
