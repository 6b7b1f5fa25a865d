//go:build !unix

package engine

// writeFD is not used: every write goes through the flusher.
func writeFD(uintptr, []byte) (int, error) { return 0, nil }

// hasWriteFD says whether writeFD works on this system.
const hasWriteFD = false
