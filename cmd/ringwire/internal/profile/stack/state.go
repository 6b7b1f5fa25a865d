package stack

import "strings"

// State is what a goroutine in a goroutine profile does, which the profile does
// not say but the stack, leaf first, does.
func State(frames []string) string {
	switch pkg := Package(frames[0]); {
	case isSystemCall(frames[0]), pkg == "syscall", pkg == "golang.org/x/sys/unix":
		return "syscall"
	case frames[0] == "os/signal.signal_recv":
		return "signal"
	case !strings.HasPrefix(frames[0], "runtime.gopark"):
		return "runnable"
	}
	for _, name := range frames {
		for prefix, state := range parkedIn {
			if strings.HasPrefix(name, prefix) {
				return state
			}
		}
		if OwnerOf(name) != Runtime {
			break
		}
	}
	return "parked"
}

// parkedIn names what a parked goroutine waits for by the beginning of the
// function that parked it.
var parkedIn = map[string]string{
	"runtime.chanrecv":            "chan receive",
	"runtime.chansend":            "chan send",
	"runtime.selectgo":            "select",
	"runtime.netpollblock":        "network",
	"runtime.semacquire":          "lock",
	"sync.runtime_notifyListWait": "condition",
	"runtime.notifyListWait":      "condition",
	"time.Sleep":                  "sleep",
	"runtime.timeSleep":           "sleep",
}
