// Package busypoll keeps the goroutines of a process that poll instead of sleeping from
// taking all its processors, and makes polls rare that are in vain.
package busypoll

import (
	"runtime"
	"sync/atomic"
)

var polling atomic.Int32

// Limit returns how many goroutines may poll at once: half as many as there are
// processors, and one at least. It stops the scheduler for a moment, so it is asked
// for once and kept.
func Limit() int32 { return int32(max(1, runtime.GOMAXPROCS(0)/2)) }

// Enter reports whether one more may poll. Then it must call Leave when it has
// finished.
func Enter(limit int32) bool {
	if polling.Add(1) > limit {
		polling.Add(-1)
		return false
	}
	return true
}

// Leave ends what Enter allowed.
func Leave() { polling.Add(-1) }

// Polling returns how many goroutines poll.
func Polling() int { return int(polling.Load()) }
