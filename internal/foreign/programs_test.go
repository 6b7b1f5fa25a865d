//go:build linux

package foreign

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/internal/testca"
)

// found is the path of a program, or skips the test.
func found(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if _, err = os.Stat("/usr/sbin/" + program); err != nil {
			t.Skipf("no %s: make load-foreign installs it and runs this", program)
		}
		path = "/usr/sbin/" + program
	}
	return path
}

// startsMax bounds the ports that are tried.
const startsMax = 5

// start runs a server until the test ends. args are its arguments for an address that is free;
// somebody may take that first, then another one is tried.
func start(t *testing.T, program string, args func(addr string) []string) (addr string) {
	t.Helper()
	var said bytes.Buffer
	for range startsMax {
		addr = freeAddr(t)
		said.Reset()
		cmd := exec.Command(program, args(addr)...)
		cmd.Stdout, cmd.Stderr = &said, &said
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it does not outlive the test
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = cmd.Wait() }()
		stop := func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
			<-ended
		}
		if listens(addr, ended) {
			t.Cleanup(stop)
			return addr
		}
		stop()
	}
	require.Fail(t, "it does not listen", "%s: %s", program, said.String())
	return ""
}

// listens waits until somebody listens at the address, or the server has ended.
func listens(addr string, ended <-chan struct{}) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	giveUp := time.After(10 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-giveUp:
			return false
		case <-tick.C:
		}
	}
}

// hostPort cuts an address.
func hostPort(addr string) (host, port string) {
	host, port, _ = net.SplitHostPort(addr)
	return host, port
}

func asRoot() bool { return os.Getuid() == 0 }

// knot starts knotd with a zone in which every name has an address.
func knot(t *testing.T) (addr string) {
	t.Helper()
	program, dir := found(t, "knotd"), t.TempDir()
	zone := "$ORIGIN example.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n* A 192.0.2.1\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "example.zone"), []byte(zone), 0o644))
	return start(t, program, func(addr string) []string {
		host, port := hostPort(addr)
		conf := fmt.Sprintf(`server:
    listen: %s@%s
    rundir: %q
database:
    storage: %q
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: %q
zone:
  - domain: example
`, host, port, dir, dir, dir)
		file := filepath.Join(dir, "knot.conf")
		require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
		return []string{"-c", file}
	})
}

func TestKnot(t *testing.T) {
	answered(t, knot(t), dnsFlags("0x8500")...) // with authority
}

func TestMemcached(t *testing.T) {
	addr := start(t, found(t, "memcached"), func(addr string) []string {
		host, port := hostPort(addr)
		args := []string{"-l", host, "-p", port, "-U", "0", "-t", "1"}
		if asRoot() {
			args = append(args, "-u", "nobody")
		}
		return args
	})
	t.Run("set and get", func(t *testing.T) { answered(t, addr, "-f", scenario("memcached.yaml")) })
	t.Run("no-op", func(t *testing.T) { // which is what is sent without --data
		answered(t, addr, "--framing", "memcached", "--status", "off=6,len=2", "--ok", "0x0000")
	})
}

func TestGearmand(t *testing.T) {
	addr := start(t, found(t, "gearmand"), func(addr string) []string {
		host, port := hostPort(addr)
		return []string{"-L", host, "-p", port, "-l", "stderr"}
	})
	// ECHO_REQ of text that is another each time: only it tells whose reply one is.
	answered(t, addr, "--framing", "gearman", "--data", "${hex:00}REQ${hex:00000010}ping ${seq:8}", "--expect", "repeats:off=8")
}

// freeDiameter asks Device-Watchdog-Requests of a peer that comes again, which the second
// connection's is.
func TestFreeDiameter(t *testing.T) {
	const whitelist = "/usr/lib/freeDiameter/acl_wl.fdx"
	program, dir := found(t, "freeDiameterd"), t.TempDir()
	if _, err := os.Stat(whitelist); err != nil {
		t.Skip("no freediameter-extensions: make load-foreign installs it and runs this")
	}
	ca := testca.New(t) // it wants a certificate, and does not use it here
	cert, key := testca.Files(t, dir, ca.Server(t, "server.example"))
	known := filepath.Join(dir, "known") // peers, which may do without TLS
	require.NoError(t, os.WriteFile(known, []byte("ALLOW_IPSEC load.example\n"), 0o644))
	addr := start(t, program, func(addr string) []string {
		host, port := hostPort(addr)
		conf := fmt.Sprintf(`Identity = "server.example";
Realm = "test.example";
ListenOn = %q;
Port = %s;
SecPort = 0;
No_SCTP;
TLS_Cred = %q, %q;
TLS_CA = %q;
LoadExtension = %q : %q;
`, host, port, cert, key, ca.File(t, dir), whitelist, known)
		file := filepath.Join(dir, "freeDiameter.conf")
		require.NoError(t, os.WriteFile(file, []byte(conf), 0o644))
		return []string{"-c", file}
	})
	s := answered(t, addr, "-f", scenario("diameter.yaml"))
	assert.Positive(t, s.PeerRequests)
	assert.Equal(t, s.PeerRequests, s.PeerAnswered)
}

func TestDiod(t *testing.T) {
	program := found(t, "diod")
	if !asRoot() {
		t.Skip("diod wants to be root")
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "motd"), []byte("Welcome to a file of 9P.\n"), 0o644))
	addr := start(t, program, func(addr string) []string {
		return []string{"-f", "-n", "-e", dir, "-l", addr, "-L", "stderr"}
	})
	// The scenario's directory is /export.
	text, err := os.ReadFile(scenario("9p.yaml"))
	require.NoError(t, err)
	there := hex.EncodeToString(binary.LittleEndian.AppendUint16(nil, uint16(len(dir)))) + "}" + dir
	ours := strings.Replace(string(text), "0700}/export", there, 1)
	require.Contains(t, ours, dir)
	file := filepath.Join(t.TempDir(), "9p.yaml")
	require.NoError(t, os.WriteFile(file, []byte(ours), 0o644))
	answered(t, addr, "-f", file)
}
