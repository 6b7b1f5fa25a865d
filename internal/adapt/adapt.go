// Package adapt decides when a pool of connections grows, shrinks, and looks
// after itself more or less often. Its functions are pure: the pools own the
// counters, and call them once a turn.
package adapt

import "time"

const (
	// low and high are the shares below and above which something changes.
	low, high = 0.2, 0.8
	// step is how much an interval changes in a turn.
	step = 100 * time.Millisecond
	// turns is in how many turns, at least, an interval crosses its range.
	turns = 10
)

// Capacity returns the next capacity of a pool that made attempts to connect,
// of which successes succeeded, since the last turn: one less when fewer than
// 20 % did, one more when more than 80 % did, else cur. Without an attempt
// nothing is known and nothing changes. The result lies in min to max.
func Capacity(cur, min, max int, successes, attempts uint64) int {
	if attempts > 0 {
		switch rate := float64(successes) / float64(attempts); {
		case rate < low && cur > min:
			cur--
		case rate > high && cur < max:
			cur++
		}
	}
	return clamp(cur, min, max)
}

// Interval returns the next interval between turns for a pool that has idle
// connections of capacity: shorter when fewer than 20 % of capacity are idle, so
// that more are made soon, longer when more than 80 % are. The step is 100 ms, or
// a tenth of the range when that is less. The result lies in min to max. A
// capacity <= 0 counts as wholly idle: there is nothing to look after.
func Interval(cur, min, max time.Duration, idle, capacity int) time.Duration {
	by := step
	if small := (max - min) / turns; small < by {
		by = small
	}
	if by < 1 {
		by = 1
	}
	share := 1.0
	if capacity > 0 {
		share = float64(idle) / float64(capacity)
	}
	switch {
	case share < low && cur > min+by:
		cur -= by
	case share < low:
		cur = min
	case share > high && cur < max-by:
		cur += by
	case share > high:
		cur = max
	}
	return clamp(cur, min, max)
}

// clamp lets min win when the bounds are reversed.
func clamp[T int | time.Duration](v, min, max T) T {
	if v > max {
		v = max
	}
	if v < min {
		v = min
	}
	return v
}
