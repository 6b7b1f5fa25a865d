//go:build !race && !invariant

package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is what the kernel counts.
type event struct {
	kind   uint32
	config uint64
}

var (
	instructions = event{unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_INSTRUCTIONS}
	taskClock    = event{unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_TASK_CLOCK}
)

// eventCounter counts an event in user space in every thread of a process, those it
// starts later included.
type eventCounter struct{ fds []int }

// countEvent begins to count; pid 0 is this process. The error says why the
// machine does not count here. The caller must close the counter.
func countEvent(e event, pid int) (*eventCounter, error) {
	if pid == 0 {
		pid = os.Getpid()
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(tasks) == 0 {
		return nil, fmt.Errorf("process %d has no threads: %w", pid, errors.Join(err, os.ErrNotExist))
	}
	c := &eventCounter{}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
			Type: e.kind, Config: e.config, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Bits: unix.PerfBitInherit | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv,
		}, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if errors.Is(err, unix.ESRCH) {
			continue // the thread has just ended
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("perf_event_open: %w", err), c.close())
		}
		c.fds = append(c.fds, fd)
	}
	return c, nil
}

// read returns the count so far.
func (c *eventCounter) read() (total uint64, err error) {
	var value [8]byte
	for _, fd := range c.fds {
		if n, err := unix.Read(fd, value[:]); err != nil || n != len(value) {
			return 0, fmt.Errorf("read a perf event: %d bytes, %w", n, err)
		}
		total += binary.NativeEndian.Uint64(value[:])
	}
	return total, nil
}

func (c *eventCounter) close() (err error) {
	for _, fd := range c.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	c.fds = nil
	return err
}
