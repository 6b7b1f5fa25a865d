package ring

import "math/bits"

// roundUp returns the smallest power of two that is at least capacity.
func roundUp(capacity int) int {
	if capacity < 1 {
		panic("ring: capacity must be at least 1")
	}
	return 1 << bits.Len(uint(capacity-1))
}
