//go:build !linux

package busypoll

// Yield does nothing: what it mends is known of Linux only.
func Yield() {}
