// Package defaults holds what all configurations share.
package defaults

import "time"

// MaxTimeout is the longest time that a configuration takes, a day. A longer one is
// a slip of units, or means none, for which a negative value stands.
const MaxTimeout = 24 * time.Hour

// Set stores value in a field that has its zero value.
func Set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
