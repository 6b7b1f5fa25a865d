//go:build !unix

package load

import "time"

// cpuTime is negative: it is unknown here.
func cpuTime() time.Duration { return -1 }
