package epoll

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Available says whether there is epoll on this system.
const Available = true

// Of returns the instance that watches a descriptor, and whether it could be told. It looks
// at all descriptors of the process.
func Of(fd int) (Instance, bool) {
	const all = "/proc/self/fd"
	entries, err := os.ReadDir(all)
	if err != nil {
		return 0, false
	}
	watched := fmt.Appendf(nil, "%d", fd)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(all, e.Name()))
		if err != nil || target != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", e.Name()))
		if err != nil || !watches(info, watched) {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		return Instance(n), err == nil
	}
	return 0, false
}

// watches reports whether an instance with this fdinfo watches a descriptor: a line of it
// begins "tfd:" and the number (proc_pid_fdinfo(5)).
func watches(info, fd []byte) bool {
	for line := range bytes.Lines(info) {
		rest, ok := bytes.CutPrefix(line, []byte("tfd:"))
		if fields := bytes.Fields(rest); ok && len(fields) > 0 && bytes.Equal(fields[0], fd) {
			return true
		}
	}
	return false
}

// Watch sets what a descriptor that the instance watches already is watched for.
func (i Instance) Watch(fd int, reads, writes bool) error {
	var events uint32
	if reads {
		events |= unix.EPOLLIN | unix.EPOLLPRI
	}
	if writes {
		events |= unix.EPOLLOUT
	}
	event := unix.EpollEvent{Events: events, Fd: int32(fd)}
	return unix.EpollCtl(int(i), unix.EPOLL_CTL_MOD, fd, &event)
}

// Ready reports whether the instance has something to tell, and leaves it there.
func (i Instance) Ready() bool {
	fds := []unix.PollFd{{Fd: int32(i), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return n > 0 || err != nil
}
