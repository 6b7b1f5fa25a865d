//go:build race

package taskid

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = true
