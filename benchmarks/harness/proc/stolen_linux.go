package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// userTick is the unit of /proc/stat, whatever the kernel's own tick is.
const userTick = 10 * time.Millisecond

// stolenField is the place of "steal" in the first line of /proc/stat (proc_stat(5)).
const stolenField = 8

// Stolen is the time, since the machine started and over all its processors, that
// they wanted to run and the host let somebody else run instead. It counts in steps
// of 10 ms, and stays 0 on a machine that has no host. The error says why it cannot
// be known.
func Stolen() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("proc: stolen time: %w", err)
	}
	return parseStolen(data)
}

func parseStolen(stat []byte) (time.Duration, error) {
	first, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(first)
	if len(fields) <= stolenField || string(fields[0]) != "cpu" {
		return 0, errors.New("proc: stolen time: /proc/stat does not begin with the processors' times")
	}
	ticks, err := strconv.ParseInt(string(fields[stolenField]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("proc: stolen time: %w", err)
	}
	return time.Duration(ticks) * userTick, nil
}
