package server

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/certs"
	"github.com/ringwire/ringwire/framing"
	"github.com/ringwire/ringwire/internal/testca"
)

const (
	successorEnv = "RINGWIRE_SERVER_TEST_SUCCESSOR"
	// successorTLSEnv names the directory with the certificates of a successor that has some.
	successorTLSEnv = "RINGWIRE_SERVER_TEST_SUCCESSOR_TLS"
)

// succeed is what the test binary does as a successor: it serves what it has inherited until
// its standard input is closed.
func succeed() int {
	listeners, err := Inherited()
	if err != nil || len(listeners) == 0 || os.Getenv(envFDs) != "" {
		return 3
	}
	cfg := Config{Handler: HandlerFunc(func(_ *Conn, dst, _ []byte) ([]byte, error) {
		return append(dst, "successor"...), nil
	})}
	if dir := os.Getenv(successorTLSEnv); dir != "" {
		c := certs.Config{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
		files, err := certs.Load(c)
		if err != nil {
			return 7
		}
		defer files.Close()
		cfg.TLS = files.Server()
	}
	s, err := New(cfg)
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

// A listener whose connections are secured is handed over as its socket; the successor secures
// them with certificates of its own.
func TestHandOverOfATLSListener(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows passes no descriptors on")
	}
	x := launchTLS(t, nil)
	dir := t.TempDir()
	testca.Files(t, dir, x.servers.Server(t, "localhost"))
	x.clients.File(t, dir)
	old := x.enter(t, x.good(t))
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), successorEnv+"=1", successorTLSEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, x.HandOver(cmd))
	_, err = stdout.Read(make([]byte, 7))
	require.NoError(t, err)
	old.call(1, []byte("goes on"))
	require.NoError(t, x.Shutdown(context.Background()))
	c := x.enter(t, x.good(t))
	c.send(1, nil)
	assert.Equal(t, "successor", string(c.receive().Payload))
	_ = x.refused(t, x.client())
	require.NoError(t, c.nc.Close())
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}

// What is spoken by a listener itself cannot be handed over; the error says what can.
func TestHandOverOfAListenerOfPackageTLS(t *testing.T) {
	x := launchTLS(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := launch(t, Config{})
	require.NoError(t, s.Serve(tls.NewListener(ln, x.cfg.TLS)))
	assert.ErrorContains(t, s.HandOver(exec.Command("true")), "give ServeTLS the listener below it")
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
