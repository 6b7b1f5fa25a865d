package proc

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRSSGrowsWithWhatIsTouched(t *testing.T) {
	const size = 64 << 20
	before, err := RSS(os.Getpid())
	require.NoError(t, err)
	memory := make([]byte, size)
	for i := 0; i < size; i += os.Getpagesize() {
		memory[i] = 1
	}
	after, err := RSS(os.Getpid())
	require.NoError(t, err)
	assert.Greater(t, after-before, int64(size/2))
	runtime.KeepAlive(memory)
}

func TestRSSOfNoProcessFails(t *testing.T) {
	gone := exec.Command("/bin/true")
	require.NoError(t, gone.Run())
	_, err := RSS(gone.Process.Pid)
	require.Error(t, err)
}
