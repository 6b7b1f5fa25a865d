//go:build !linux

package pace

import "time"

const (
	// timerLate is by how much a timer may be late.
	timerLate = 2 * time.Millisecond
	// napMax is for how long the end of the run may go unseen.
	napMax = 10 * time.Millisecond
)

// nap sleeps while a timer cannot be late for d, and returns at once when it could be:
// the goroutine that waits then spins, and lets others run in between. What it costs is
// not known.
func nap(d time.Duration, _ bool) (used time.Duration) {
	if d > timerLate {
		time.Sleep(min(d-timerLate, napMax))
	}
	return 0
}
