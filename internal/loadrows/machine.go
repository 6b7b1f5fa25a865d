//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// Beyond these a row that is missed is the machine's: what others used of its processors,
	// and what its host took.
	othersMost = 0.10
	stolenMost = 0.01
	// hertz is what the times of /proc/stat count in, on every Linux.
	hertz = 100
)

// usage is what others did to the machine while a row was measured, as parts of all its
// processors.
type usage struct {
	others, stolen float64
	known          bool
}

func (u usage) disturbed() bool { return u.known && (u.others > othersMost || u.stolen > stolenMost) }

func (u usage) String() string {
	if !u.known {
		return "what others used of it is not known"
	}
	return fmt.Sprintf("others used %.0f %% of it, its host %.1f %%", 100*u.others, 100*u.stolen)
}

// processors are the times of all processors together.
type processors struct{ busy, stolen time.Duration }

// watchMachine begins to measure what the machine is used for; all processes that a row starts
// have ended when its end is asked for.
func watchMachine() func() usage {
	began, own := time.Now(), ownTime()
	before, known := readProcessors()
	return func() usage {
		after, still := readProcessors()
		all := float64(time.Since(began)) * float64(runtime.NumCPU())
		ours := ownTime() - own
		return usage{max(float64(after.busy-before.busy-ours)/all, 0), float64(after.stolen-before.stolen) / all, known && still}
	}
}

// readProcessors reads /proc/stat, false where there is none.
func readProcessors() (p processors, ok bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return parseProcessors(line)
}

// parseProcessors reads its first line: user, nice, system, idle, iowait, irq, softirq, steal.
func parseProcessors(line string) (p processors, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return p, false
	}
	for i, text := range fields[1:9] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return p, false
		}
		d := time.Duration(n) * time.Second / hertz
		switch i {
		case 3, 4: // idle
		case 7:
			p.stolen += d
		default:
			p.busy += d
		}
	}
	return p, true
}

// ownTime is the processor time of this process and of those that it has started and that
// have ended.
func ownTime() (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}

// thisMachine names it.
func thisMachine() string {
	name := runtime.GOARCH
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.SplitSeq(string(data), "\n") {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := runtime.GOOS
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(data))
	}
	text := fmt.Sprintf("%d × %s, %s, %s", runtime.NumCPU(), name, kernel, runtime.Version())
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		text += ", load average " + strings.Fields(string(data) + " ?")[0]
	}
	return text
}

// version is what the command says of itself.
func version(binary string) string {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil {
		return "unknown: " + err.Error()
	}
	return strings.TrimSpace(string(out))
}
