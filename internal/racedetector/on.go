//go:build race

// Package racedetector tells whether this program was built with the race detector, under
// which code takes five to ten times as long. For tests, which do less then.
package racedetector

// On is true under go test -race.
const On = true
