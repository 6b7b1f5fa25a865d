package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// liveTimeout bounds the look whether a unix socket's file has a server.
const liveTimeout = time.Second

// unixListener owns the file that it has bound, and removes no other: a successor may have
// put its own in the place.
type unixListener struct {
	*net.UnixListener
	path   string
	file   fs.FileInfo
	given  atomic.Bool // a successor owns the file
	closed sync.Once
	err    error // of closed
}

// listenUnix binds a unix socket. A file that a dead server has left is replaced; one with
// a live server behind it is an error. mode is the file's; 0 leaves it to the umask.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	ln, err := bindUnix(path, mode)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeDead(path); err != nil {
			return nil, err
		}
		ln, err = bindUnix(path, mode)
	}
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "@") {
		return ln, nil // an abstract name has no file
	}
	if mode != 0 {
		err = os.Chmod(path, mode)
	}
	var l *unixListener
	if err == nil {
		l, err = ownUnix(ln)
	}
	if err != nil {
		_ = ln.Close()
		_ = os.Remove(path)
		return nil, err
	}
	return l, nil
}

// bindUnix listens on a unix socket. Linux gives its file no more than the mode of the socket, so
// no process can connect before Chmod that may not afterwards.
func bindUnix(path string, mode fs.FileMode) (*net.UnixListener, error) {
	var lc net.ListenConfig
	if mode != 0 {
		lc.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { limitMode(fd, mode) })
		}
	}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}

// ownUnix makes us the owner of the file that a listener has bound.
func ownUnix(ln *net.UnixListener) (*unixListener, error) {
	ln.SetUnlinkOnClose(false)
	path := ln.Addr().String()
	file, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return &unixListener{UnixListener: ln, path: path, file: file}, nil
}

// removeDead removes a unix socket's file if nobody listens on it.
func removeDead(path string) error {
	before, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // somebody was faster
	case err != nil:
		return err
	case before.Mode()&fs.ModeSocket == 0:
		return fmt.Errorf("%s exists and is no socket; remove it or choose another path", path)
	}
	nc, err := net.DialTimeout("unix", path, liveTimeout)
	if err == nil {
		_ = nc.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w: a server listens on it", path, syscall.EADDRINUSE)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
		return nil // it is another one's by now
	}
	return os.Remove(path)
}

// Close closes the listener and removes its file, if it still is its own.
func (l *unixListener) Close() error {
	l.closed.Do(func() {
		l.err = l.UnixListener.Close()
		if l.given.Load() {
			return
		}
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(l.file, now) {
			_ = os.Remove(l.path)
		}
	})
	return l.err
}
