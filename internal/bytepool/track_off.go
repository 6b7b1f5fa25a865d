//go:build !invariant

package bytepool

func noteGet(*Buffer) {}
func notePut(*Buffer) {}

// Outstanding returns how many buffers are lent, or 0 without the build tag
// invariant. A test that ends with as many as it began with has lost none.
func Outstanding() int { return 0 }
