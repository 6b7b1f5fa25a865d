//go:build !unix

package rawio

// Available says whether Read and Write work on this system.
const Available = false

// Write must not be called here.
func Write(uintptr, []byte) (int, error) { panic("rawio: not available on this system") }

// Read must not be called here.
func Read(uintptr, []byte) (int, error) { panic("rawio: not available on this system") }
