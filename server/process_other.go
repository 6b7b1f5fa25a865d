//go:build !unix

package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// descriptorLimit knows of no limit here.
func descriptorLimit() (n int64, ok bool) { return 0, false }

// shutdownWrite leaves it to the close that follows.
func shutdownWrite(int) {}

func duplicateDescriptor(uintptr) (*os.File, error) {
	return nil, fmt.Errorf("%s passes no descriptors to a new process: %w", runtime.GOOS, errors.ErrUnsupported)
}

// keepNonblocking has nothing to do: no process shares a socket here.
func keepNonblocking(syscall.RawConn) {}

// limitMode has no effect here.
func limitMode(uintptr, fs.FileMode) {}

// closeDescriptor leaves it to the collector of garbage, which closes a lost net.Conn.
func closeDescriptor(int) {}
