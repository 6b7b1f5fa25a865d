//go:build !unix

package engine

// writeFD is not used: every write goes through the flusher.
func writeFD(uintptr, []byte) (int, error) { return 0, nil }

// readFD is not used: nobody polls.
func readFD(uintptr, []byte) (int, error) { return 0, nil }

// hasRawIO says whether writeFD and readFD work on this system.
const hasRawIO = false
