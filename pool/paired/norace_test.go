//go:build !race

package paired

// raceEnabled says that the race detector makes everything slow.
const raceEnabled = false
