//go:build !linux

package load

import "time"

// stolenTime is negative: it is unknown here.
func stolenTime() time.Duration { return -1 }
