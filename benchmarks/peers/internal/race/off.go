//go:build !race

// Package race tells tests whether the race detector is compiled in.
package race

// Enabled is false: everything is tested.
const Enabled = false
