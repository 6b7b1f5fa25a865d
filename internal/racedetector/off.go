//go:build !race

package racedetector

// On is true under go test -race.
const On = false
