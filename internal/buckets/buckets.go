// Package buckets has the bounds of histograms of durations, the same wherever ringwire shows
// one to others.
package buckets

import "time"

// Steps are 1, 2.5 and 5 times each power of ten from 10 µs to 10 s.
var Steps = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Seconds returns them in seconds.
func Seconds() []float64 {
	bounds := make([]float64, len(Steps))
	for i, d := range Steps {
		bounds[i] = d.Seconds()
	}
	return bounds
}
