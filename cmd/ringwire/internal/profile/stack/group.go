package stack

import "strings"

// Groups of what a processor does. Code of the library has a group for each
// package, such as "ringwire engine".
const (
	GroupScheduler = "scheduler"
	GroupChannel   = "channel"
	GroupCopy      = "memmove"
	GroupGC        = "gc, allocation"
	GroupRuntime   = "other runtime"
	GroupSync      = "sync" // without atomics, which are their caller's
	GroupLoop      = "gnet"
	GroupHarness   = "harness"
	GroupOther     = "other"
	// callPrefix comes before a system call's name.
	callPrefix = "syscall "
)

// Group says what the processor did when it ran the stack, leaf first.
func Group(frames []string) string {
	for _, name := range frames {
		if isMemory(name) {
			return GroupGC
		}
	}
	if isSystemCall(frames[0]) {
		return callPrefix + callName(frames)
	}
	for i, name := range frames {
		switch owner := OwnerOf(name); {
		case owner == Runtime && (strings.HasPrefix(name, "runtime.memmove") || strings.HasPrefix(name, "runtime.memclr")):
			return GroupCopy
		case owner == Runtime && isScheduler(name):
			return GroupScheduler
		case owner == Runtime && isChannel(name):
			return GroupChannel
		case owner == Runtime, Package(name) == "sync/atomic":
			continue // its caller says what for
		case i > 0 && OwnerOf(frames[0]) == Runtime:
			return GroupRuntime
		default:
			return ownGroup(owner, name)
		}
	}
	return GroupRuntime
}

func ownGroup(owner Owner, name string) string {
	switch owner {
	case Ours:
		return "ringwire " + strings.TrimPrefix(Package(name), ownModule)
	case Harness, Profiler:
		return GroupHarness
	case Loop:
		return GroupLoop
	case Sync:
		return GroupSync
	}
	return GroupOther
}

// isMemory reports whether a frame means that the stack allocates or collects.
func isMemory(name string) bool {
	return strings.HasPrefix(name, "runtime.mallocgc") || strings.HasPrefix(name, "runtime.gcAssist") ||
		memoryFunctions[name]
}

var memoryFunctions = set(
	"runtime.gcBgMarkWorker", "runtime.gcDrain", "runtime.gcStart", "runtime.gcMarkDone", "runtime.gcMarkTermination",
	"runtime.bgsweep", "runtime.bgscavenge", "runtime.deductSweepCredit", "runtime.wbBufFlush")

// isScheduler reports whether the function blocks, wakes or chooses goroutines.
func isScheduler(name string) bool { return schedulerFunctions[name] }

var schedulerFunctions = set(
	"runtime.mcall", "runtime.mstart", "runtime.mstart1", "runtime.schedule", "runtime.findRunnable", "runtime.findrunnable",
	"runtime.park_m", "runtime.gopark", "runtime.goparkunlock", "runtime.goready", "runtime.ready", "runtime.wakep",
	"runtime.startm", "runtime.stopm", "runtime.execute", "runtime.gosched_m", "runtime.goschedImpl", "runtime.Gosched",
	"runtime.gopreempt_m", "runtime.goyield_m", "runtime.goexit0", "runtime.goexit1", "runtime.newproc", "runtime.sysmon",
	"runtime.retake", "runtime.entersyscall", "runtime.reentersyscall", "runtime.exitsyscall", "runtime.exitsyscall0",
	"runtime.entersyscallblock", "runtime.handoffp", "runtime.netpoll", "runtime.netpollblock", "runtime.netpollready",
	"runtime.asyncPreempt", "runtime.asyncPreempt2", "runtime.newstack", "runtime.semacquire1", "runtime.semrelease1",
	"runtime.notewakeup", "runtime.notesleep", "runtime.injectglist", "runtime.resetspinning", "runtime.stealWork",
	"runtime.runqgrab", "runtime.checkTimers", "runtime.checkTimersNoP")

// isChannel reports whether the function is of channels or select.
func isChannel(name string) bool {
	for _, prefix := range []string{"runtime.chan", "runtime.select", "runtime.send", "runtime.recv", "runtime.acquireSudog",
		"runtime.releaseSudog", "runtime.closechan", "runtime.(*waitq)", "runtime.(*hchan)"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// isSystemCall reports whether the function is where Go enters the kernel: all of
// the call's time in the kernel is the leaf's.
func isSystemCall(name string) bool {
	pkg := Package(name)
	return strings.HasPrefix(pkg, "internal/runtime/syscall") || kernelEntries[name]
}

var kernelEntries = set(
	"runtime.futex", "runtime.usleep", "runtime.osyield", "runtime.epollwait", "runtime.kevent", "runtime.write1", "runtime.tgkill",
	"runtime.madvise", "runtime.mmap", "runtime.nanosleep", "runtime.rtsigprocmask", "runtime.timer_settime",
	"runtime.pthread_cond_wait_trampoline", "runtime.pthread_cond_signal_trampoline", "runtime.libcCall",
	"syscall.syscall", "syscall.syscall6", "syscall.rawSyscall", "syscall.RawSyscall6", "syscall.rawVforkSyscall",
	"golang.org/x/sys/unix.RawSyscallNoError")

// callName is the system call's name: that of the kernel's entry, or of the
// nearest caller that has one.
func callName(frames []string) string {
	if _, name, ok := strings.Cut(frames[0], "runtime."); ok && kernelEntries[frames[0]] {
		return name
	}
	for _, name := range frames[1:] {
		if call := callNames[name[strings.LastIndexAny(name, "./")+1:]]; call != "" {
			return call
		}
		if OwnerOf(name) == Ours {
			break
		}
	}
	return "other"
}

var callNames = map[string]string{
	"write": "write", "Write": "write", "Writev": "writev", "writev": "writev", "Send": "write", "sendto": "write",
	"read": "read", "Read": "read", "Recvfrom": "read", "recvfrom": "read",
	"EpollWait": "epoll_wait", "epollWait": "epoll_wait", "epollwait": "epoll_wait", "EpollPwait2": "epoll_wait",
	"kevent": "kevent", "Kevent": "kevent", "EpollCtl": "epoll_ctl", "Close": "close", "futex": "futex",
}
