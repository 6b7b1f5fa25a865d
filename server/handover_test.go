package server

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/framing"
)

const successorEnv = "RINGWIRE_SERVER_TEST_SUCCESSOR"

// succeed is what the test binary does as a successor: it serves what it has inherited until
// its standard input is closed.
func succeed() int {
	listeners, err := Inherited()
	if err != nil || len(listeners) == 0 || os.Getenv(envFDs) != "" {
		return 3
	}
	s, err := New(Config{Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		return append(dst, "successor"...), nil
	})})
	if err != nil {
		return 4
	}
	for _, ln := range listeners {
		if s.Serve(ln) != nil {
			return 5
		}
	}
	_, _ = os.Stdout.WriteString("serves\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	if s.Shutdown(context.Background()) != nil {
		return 6
	}
	return 0
}

func TestHandOver(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows passes no descriptors on")
	}
	for name, addr := range map[string]string{
		"tcp": "127.0.0.1:0", "unix": "unix://" + filepath.Join(t.TempDir(), "s"),
	} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, Config{Addr: addr})
			network, where := s.Addr().Network(), s.Addr().String()
			old := dial(t, s)
			old.call(1, []byte("predecessor"))

			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), successorEnv+"=1", envPID+"=1", envFDs+"=9")
			cmd.Stderr = os.Stderr
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, s.HandOver(cmd))
			line := make([]byte, 7)
			_, err = stdout.Read(line)
			require.NoError(t, err)
			old.call(2, []byte("goes on"))
			require.NoError(t, s.Shutdown(context.Background()))

			for range 20 {
				c := dialAddr(t, net.Dialer{}, network, where, framing.Format{})
				c.send(1, nil)
				assert.Equal(t, "successor", string(c.receive().Payload))
				require.NoError(t, c.nc.Close())
			}
			require.NoError(t, stdin.Close())
			require.NoError(t, cmd.Wait())
			_, err = net.Dial(network, where)
			assert.Error(t, err)
			if network == "unix" {
				_, err := os.Lstat(where)
				assert.ErrorIs(t, err, os.ErrNotExist, "the file went with its last owner")
			}
		})
	}
}

func TestHandOverThatFailsChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := launch(t, Config{Addr: "unix://" + path})
	require.Error(t, s.HandOver(exec.Command(filepath.Join(t.TempDir(), "missing"))))
	require.ErrorContains(t, s.HandOver(&exec.Cmd{ExtraFiles: []*os.File{os.Stdin}}), "ExtraFiles")
	dial(t, s).call(1, nil)
	require.NoError(t, s.Shutdown(context.Background()))
	_, err := os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "the file is ours still")
	require.ErrorIs(t, s.HandOver(exec.Command("true")), ErrServerClosed)
	unstarted, err := New(Config{Handler: HandlerFunc(echo)})
	require.NoError(t, err)
	require.ErrorContains(t, unstarted.HandOver(exec.Command("true")), "no listener yet")
}

func TestInheritedIsOnlyWhatIsOurs(t *testing.T) {
	for name, env := range map[string][3]string{
		"nothing":         {},
		"somebody else's": {"1", "", "1"},
		"none":            {"0", "", strconv.Itoa(os.Getpid())},
	} {
		t.Setenv(envFDs, env[0])
		t.Setenv(envNames, env[1])
		t.Setenv(envPID, env[2])
		all, err := Inherited()
		require.NoError(t, err, name)
		assert.Empty(t, all, name)
		_, left := os.LookupEnv(envFDs)
		assert.False(t, left)
	}
	for _, bad := range []string{"x", "-1", "100000"} {
		t.Setenv(envFDs, bad)
		_, err := Inherited()
		assert.ErrorContains(t, err, "LISTEN_FDS", bad)
	}
}
