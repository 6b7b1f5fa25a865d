package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Listening sockets are passed from process to process as systemd passes them
// (sd_listen_fds(3)): from descriptor 3 on, their number in LISTEN_FDS, their names in
// LISTEN_FDNAMES, and in LISTEN_PID, where it is known, for which process they are.
const (
	firstInherited = 3
	inheritedMax   = 1024
	envFDs         = "LISTEN_FDS"
	envNames       = "LISTEN_FDNAMES"
	envPID         = "LISTEN_PID"
	// nameOwned is the name of a unix socket whose file the process removes that inherits it.
	nameOwned = "ringwire-owned"
	nameOther = "ringwire"
)

// HandOver starts cmd as the successor of this process, which serves the same listeners: it
// calls Inherited and Serve. Both accept until this server's Shutdown, which is to come when
// the successor says that it serves; so no connection is refused in between. The files of unix
// sockets are the successor's from now on. What is passed on are sockets, not what is spoken on
// them: where that is TLS the successor needs Config.TLS, or calls ServeTLS, too. cmd.ExtraFiles
// must be empty, because descriptors 3 and following are the listeners; cmd.Env gets the variables
// that say so.
//
// It fails when there is nothing to pass on, when a listener has no descriptor, and with the
// error of cmd.Start; then nothing has changed.
func (s *Server) HandOver(cmd *exec.Cmd) error {
	s.mu.Lock()
	listeners := slices.Clone(s.listeners)
	closing := s.isClosing()
	s.mu.Unlock()
	switch {
	case closing:
		return ErrServerClosed
	case len(listeners) == 0:
		return errors.New("server: HandOver: there is no listener yet; call Start or Serve first")
	case len(cmd.ExtraFiles) > 0:
		return errors.New("server: HandOver: cmd.ExtraFiles is not empty; pass other descriptors in another way")
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	names := make([]string, len(listeners))
	for i, ln := range listeners {
		f, err := duplicate(ln.Listener)
		if err != nil {
			return fmt.Errorf("server: HandOver: %w", err)
		}
		files = append(files, f)
		names[i] = nameOther
		if _, owned := ln.Listener.(*unixListener); owned {
			names[i] = nameOwned
		}
	}
	env := cmd.Env
	if env == nil {
		env = os.Environ()
	}
	env = slices.DeleteFunc(slices.Clone(env), isListenVariable)
	cmd.Env = append(env, envFDs+"="+strconv.Itoa(len(files)), envNames+"="+strings.Join(names, ":"))
	cmd.ExtraFiles = files
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("server: HandOver: %w", err)
	}
	for _, ln := range listeners {
		if u, owned := ln.Listener.(*unixListener); owned {
			u.given.Store(true)
		}
	}
	return nil
}

// duplicate returns a file with a duplicate of a listener's descriptor. File of package net
// would not do: when such a file is passed on, the socket, ours too, is made blocking, and
// nothing could end an accept that waits.
func duplicate(ln net.Listener) (f *os.File, err error) {
	source, ok := ln.(syscall.Conn)
	switch {
	case !ok && isSecured(ln):
		return nil, errors.New("a listener of package tls has no descriptor; give ServeTLS the listener below it")
	case !ok:
		return nil, fmt.Errorf("a %T has no descriptor; use a TCP or unix listener", ln)
	}
	raw, err := source.SyscallConn()
	if err != nil {
		return nil, err
	}
	if failed := raw.Control(func(fd uintptr) { f, err = duplicateDescriptor(fd) }); failed != nil {
		return nil, failed
	}
	return f, err
}

func isListenVariable(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	return name == envFDs || name == envNames || name == envPID
}

// Inherited returns the listeners that this process was given when it was started, by systemd
// (socket activation) or by HandOver, in their order; none and no error if there are none.
// Call it once, before anything opens descriptors by number, and give each to Serve. It takes
// the variables that tell of them out of the environment, so that other children do not see
// them.
func Inherited() ([]net.Listener, error) {
	count, names, pid := os.Getenv(envFDs), os.Getenv(envNames), os.Getenv(envPID)
	for _, v := range []string{envFDs, envNames, envPID} {
		_ = os.Unsetenv(v)
	}
	if count == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // they are somebody else's
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > inheritedMax {
		return nil, fmt.Errorf("server: Inherited: %s is %q; it must be 0 to %d", envFDs, count, inheritedMax)
	}
	all := make([]net.Listener, 0, n)
	for i, name := range namesOf(names, n) {
		ln, err := inherit(firstInherited+i, name)
		if err != nil {
			for _, ln := range all {
				_ = ln.Close()
			}
			return nil, fmt.Errorf("server: Inherited: descriptor %d: %w", firstInherited+i, err)
		}
		all = append(all, ln)
	}
	return all, nil
}

// namesOf returns as many names as there are descriptors.
func namesOf(list string, n int) []string {
	names := strings.Split(list, ":")
	return append(names, make([]string, n)...)[:n]
}

// inherit makes a listener of a descriptor, which it closes.
func inherit(fd int, name string) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close()
	ln, err := net.FileListener(f) // a duplicate
	if err != nil {
		return nil, err
	}
	u, ok := ln.(*net.UnixListener)
	if !ok || name != nameOwned {
		return ln, nil
	}
	return ownUnix(u)
}
