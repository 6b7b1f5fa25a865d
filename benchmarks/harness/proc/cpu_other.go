//go:build !linux

package proc

import (
	"errors"
	"time"
)

// CPUTime fails: only Linux has a clock for another process's processor time.
func CPUTime(int) (time.Duration, error) {
	return 0, errors.New("proc: the processor time of another process is known on linux only")
}
