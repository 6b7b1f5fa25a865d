package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tcpUserTimeout is TCP_USER_TIMEOUT, which package syscall does not name on every
// architecture.
const tcpUserTimeout = 18

func TestSocketOptionsAreSet(t *testing.T) {
	onLoops(t)
	fds := make(chan int, 1)
	s := launch(t, Config{Handler: HandlerFunc(func(c *Conn, dst, _ []byte) ([]byte, error) {
		fds <- c.link.(*gnetLink).fd
		return dst, nil
	})})
	dial(t, s).call(1, nil)
	fd := <-fds
	for name, option := range map[string]struct{ level, name, want int }{
		"TCP_NODELAY":      {syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1},
		"SO_KEEPALIVE":     {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":     {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
		"TCP_KEEPINTVL":    {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 5},
		"TCP_KEEPCNT":      {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
		"TCP_USER_TIMEOUT": {syscall.IPPROTO_TCP, tcpUserTimeout, 10_000},
	} {
		got, err := syscall.GetsockoptInt(fd, option.level, option.name)
		require.NoError(t, err)
		assert.Equal(t, option.want, got, name)
	}
}

// The kernel takes no more than nine hours of it. A longer one must not cost connections.
func TestAnyKeepAliveThatIsValidCanBeSet(t *testing.T) {
	s := launch(t, Config{Handler: HandlerFunc(echo), KeepAlive: MaxTimeout})
	dial(t, s).call(1, nil)
}

// The file of a unix socket has no other rights than UnixMode's, not even for the moment before
// its mode is set: a process that connects in that moment is in.
func TestTheFileOfAUnixSocketNeverHasMoreRights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	ln, err := bindUnix(path, 0o600)
	require.NoError(t, err)
	defer ln.Close()
	file, err := os.Lstat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), file.Mode().Perm())
}
