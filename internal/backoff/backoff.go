// Package backoff computes the pauses between attempts that fail.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Policy bounds the pauses. The zero value never pauses.
type Policy struct {
	// Min is the longest pause after the first failure. It doubles with each
	// further failure in a row.
	Min time.Duration
	// Max is the longest pause of all.
	Max time.Duration
}

// Delay returns the pause after a number of failures in a row: uniform in
// [0, min(Max, Min·2^(failures-1))], and 0 for failures <= 0. Drawing from the
// whole range, full jitter, spreads clients that lost the same server (AWS
// Architecture Blog, 2015). It is safe for any number of goroutines.
func (p Policy) Delay(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(p.Bound(failures)) + 1))
}

// Bound returns the longest pause that Delay can return for failures.
func (p Policy) Bound(failures int) time.Duration {
	if failures <= 0 || p.Min <= 0 || p.Max <= 0 {
		return 0
	}
	// One below the largest duration, so that Delay's range cannot overflow.
	limit := min(p.Max, 1<<63-2)
	bound := p.Min
	for range failures - 1 {
		if bound > limit-bound {
			return limit
		}
		bound *= 2
	}
	return min(bound, limit)
}
