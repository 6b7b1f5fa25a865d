//go:build gc && (amd64 || arm64)

package goroutine

// Self returns the ID of the goroutine that calls it: the address of what the
// runtime keeps about it, which does not move.
func Self() ID
