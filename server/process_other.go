//go:build !unix

package server

// descriptorLimit knows of no limit here.
func descriptorLimit() (n int64, ok bool) { return 0, false }

// shutdownWrite leaves it to the close that follows.
func shutdownWrite(int) {}

// closeDescriptor leaves it to the collector of garbage, which closes a lost net.Conn.
func closeDescriptor(int) {}
