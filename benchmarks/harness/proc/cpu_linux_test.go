package proc

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCPUTimeRisesWithWork(t *testing.T) {
	before, err := CPUTime(0)
	require.NoError(t, err)
	sum := 0
	for used := time.Duration(0); used < 10*time.Millisecond; {
		for i := range 100_000 {
			sum += i
		}
		now, err := CPUTime(os.Getpid())
		require.NoError(t, err)
		used = now - before
	}
	assert.Positive(t, sum)
}

func TestCPUTimeOfAnotherProcess(t *testing.T) {
	busy := exec.Command("/bin/sh", "-c", "while :; do :; done")
	require.NoError(t, busy.Start())
	defer func() { _ = busy.Wait() }()
	defer func() { _ = busy.Process.Kill() }()
	require.Eventually(t, func() bool {
		used, err := CPUTime(busy.Process.Pid)
		return err == nil && used > 10*time.Millisecond
	}, 30*time.Second, time.Millisecond)
}

func TestCPUTimeOfNoProcessFails(t *testing.T) {
	gone := exec.Command("/bin/true")
	require.NoError(t, gone.Run())
	_, err := CPUTime(gone.Process.Pid)
	require.Error(t, err)
}
