package server

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deadFile leaves the file of a unix socket whose server was killed.
func deadFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	ln.SetUnlinkOnClose(false)
	require.NoError(t, ln.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err)
	return path
}

func TestStartReplacesTheFileOfADeadServer(t *testing.T) {
	path := deadFile(t)
	s := launch(t, Config{Addr: "unix://" + path})
	dial(t, s).call(1, []byte("x"))
	require.NoError(t, s.Shutdown(context.Background()))
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, fs.ErrNotExist, "an orderly end removes it")
}

func TestStartLeavesALiveServersFileAlone(t *testing.T) {
	s := launch(t, Config{Addr: "unix://" + filepath.Join(t.TempDir(), "s")})
	second, err := New(Config{Addr: "unix://" + s.Addr().String(), Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	require.ErrorContains(t, second.Start(), "a server listens on it")
	require.NoError(t, second.Close())
	dial(t, s).call(1, []byte("x"))
}

func TestStartLeavesAFileThatIsNoSocketAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	s, err := New(Config{Addr: "unix://" + path, Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	require.ErrorContains(t, s.Start(), "is no socket")
	require.NoError(t, s.Close())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
}

func TestTheFileOfASuccessorStays(t *testing.T) {
	addr := "unix://" + filepath.Join(t.TempDir(), "s")
	old := launch(t, Config{Addr: addr})
	require.NoError(t, os.Remove(strings.TrimPrefix(addr, "unix://")))
	next := launch(t, Config{Addr: addr})
	require.NoError(t, old.Shutdown(context.Background()))
	dial(t, next).call(1, []byte("x"))
}

func TestModeOfAUnixSocket(t *testing.T) {
	s := launch(t, Config{Addr: "unix://" + filepath.Join(t.TempDir(), "s"), UnixMode: 0o660})
	info, err := os.Stat(s.Addr().String())
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o660), info.Mode().Perm())
}

func TestAbstractUnixSocketHasNoFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("abstract names are Linux's")
	}
	s := launch(t, Config{Addr: "unix://@ringwire-test-" + filepath.Base(t.TempDir()) + strings.ReplaceAll(t.Name(), "/", "")})
	dial(t, s).call(1, []byte("x"))
}

func TestMisuseIsAnErrorThatSaysWhatToDo(t *testing.T) {
	_, err := New(Config{Handler: HandlerFunc(nil)})
	require.ErrorContains(t, err, "Config.Handler is nil")
	_, err = New(Config{Addr: "127.0.0.1:99999", Handler: HandlerFunc(echo)})
	require.ErrorContains(t, err, "port 99999 must lie in 0 to 65535")
	s := launch(t, Config{})
	require.ErrorContains(t, s.Start(), "Start was called before; Serve takes further listeners")
	dial(t, s).call(1, []byte("x"))
}

func TestStartMayBeTriedAgainAfterItFailed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s, err := New(Config{Addr: ln.Addr().String(), Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	require.Error(t, s.Start())
	require.NoError(t, ln.Close())
	require.NoError(t, s.Start())
	require.NoError(t, s.Close())
}

func TestWaitReturnsWhatTheStopHasMet(t *testing.T) {
	s := launch(t, Config{})
	got := make(chan error, 1)
	go func() { got <- s.Wait() }()
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, <-got)
	require.NoError(t, s.Wait(), "again")
}

// A program that has set no Logger hears of what goes wrong, by the default one.
func TestTheDefaultLoggerHearsWarnings(t *testing.T) {
	var text bytes.Buffer
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	slog.SetDefault(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	long := strings.Repeat("x", 2*errorTextMax)
	s := launch(t, Config{Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		return dst, errors.New("no such account" + long)
	})})
	dial(t, s).send(1, nil)
	eventually(t, s, "the request", func(st Stats) bool { return st.HandlerErrors == 1 })
	s.log(logAccept, slog.LevelInfo, "chatter")
	require.NoError(t, s.Close())
	assert.Contains(t, text.String(), "no such account")
	assert.NotContains(t, text.String(), long, "it is cut")
	assert.NotContains(t, text.String(), "chatter")
}
