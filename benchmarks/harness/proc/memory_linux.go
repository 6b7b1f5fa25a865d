package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// RSS is how many bytes of memory a process holds, as the kernel counts them:
// anonymous memory, which leaves out the pages of the program's file.
func RSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("proc: memory of process %d: %w", pid, err)
	}
	_, rest, found := bytes.Cut(status, []byte("\nRssAnon:"))
	fields := bytes.Fields(rest)
	if !found || len(fields) < 2 || string(fields[1]) != "kB" {
		return 0, fmt.Errorf("proc: memory of process %d: its status has no RssAnon in kB", pid)
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("proc: memory of process %d: %w", pid, err)
	}
	return kb << 10, nil
}
