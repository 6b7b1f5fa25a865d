//go:build race

package pool_test

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = true
