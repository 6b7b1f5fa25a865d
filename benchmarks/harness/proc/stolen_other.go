//go:build !linux

package proc

import (
	"errors"
	"time"
)

// Stolen fails: only Linux tells what the host took.
func Stolen() (time.Duration, error) {
	return 0, errors.New("proc: stolen time is known on linux only")
}
