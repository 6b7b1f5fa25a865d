package load

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"time"
)

// stolenTime is the processor time that the machine's host took from it since its start,
// on an average processor; negative if unknown.
func stolenTime() time.Duration {
	// A processor's times are counted in hundredths of a second; the eighth is stolen.
	const tick, field = 10 * time.Millisecond, 8
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return -1
	}
	first, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(first)
	if len(fields) <= field || string(fields[0]) != "cpu" {
		return -1
	}
	n, err := strconv.ParseInt(string(fields[field]), 10, 64)
	if err != nil {
		return -1
	}
	return time.Duration(n) * tick / time.Duration(runtime.NumCPU())
}
