//go:build race

package e2e

// raceEnabled says that the race detector runs, which makes virtual time slow.
const raceEnabled = true
