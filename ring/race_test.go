//go:build race

package ring

const raceDetector = true
