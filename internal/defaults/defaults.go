// Package defaults holds what all configurations share.
package defaults

import "time"

// MaxTimeout is the longest time that a configuration takes, a day. A longer one is
// a slip of units, or means none, for which a negative value stands.
const MaxTimeout = 24 * time.Hour

// Timeout returns what a configuration without a longest timeout means: standard for zero, and at
// most MaxTimeout.
func Timeout(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return min(d, MaxTimeout)
}

// Set stores value in a field that has its zero value.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
