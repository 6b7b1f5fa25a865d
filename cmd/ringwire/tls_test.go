package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringwire/ringwire/internal/testca"
	"github.com/ringwire/ringwire/load"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// papers are the files of a server and of a client that trust each other.
type papers struct {
	servers, clients     *testca.CA
	cert, key, ca        string // the server's; ca is of its clients
	ownCert, ownKey, own string // the client's; own is of its servers
}

func newPapers(t *testing.T) *papers {
	p := &papers{servers: testca.New(t), clients: testca.New(t)}
	p.cert, p.key = testca.Files(t, t.TempDir(), p.servers.Server(t, "localhost"))
	p.ca = p.clients.File(t, filepath.Dir(p.cert))
	p.ownCert, p.ownKey = testca.Files(t, t.TempDir(), p.clients.Client(t, "caller"))
	p.own = p.servers.File(t, filepath.Dir(p.ownCert))
	return p
}

func (p *papers) serve() []string {
	return []string{"--tls-cert", p.cert, "--tls-key", p.key, "--tls-client-ca", p.ca}
}

func (p *papers) call(t *testing.T, addr string, more ...string) outcome {
	t.Helper()
	return execute(t, "", binary, append([]string{"call", "--addr", addr, "--data", "hello", "--timeout", "10s"}, more...)...)
}

func TestCallAndServeOverMutualTLS(t *testing.T) {
	p := newPapers(t)
	addr, interrupt := startServe(t, p.serve()...)
	whole := []string{"--tls-ca", p.own, "--tls-cert", p.ownCert, "--tls-key", p.ownKey, "--tls-server-name", "localhost"}
	assert.Equal(t, outcome{stdout: "hello"}, p.call(t, addr, whole...))
	for want, flags := range map[string][]string{
		"it looks like a TLS server":           {"--timeout", "2s"},
		"refuses our TLS certificate":          whole[:2:2],
		"not elsewhere":                        append(whole[:6:6], "--tls-server-name", "elsewhere"),
		"certificate signed by unknown":        whole[6:],
		"x509: cannot validate certificate fo": whole[:6],
	} {
		if want == "refuses our TLS certificate" {
			flags = append(flags, whole[6:]...)
		}
		got := p.call(t, addr, flags...)
		assert.Equal(t, exitFailed, got.code, want)
		assert.Contains(t, got.stderr, want)
		assert.Empty(t, got.stdout)
	}
	assert.Contains(t, interrupt(), "requests     1, replies 1")
}

func TestTLSFlagsThatMakeNoSense(t *testing.T) {
	p := newPapers(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	expired, expiredKey := testca.Files(t, t.TempDir(), p.servers.Server(t, "shop", testca.Expired))
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"serve --tls-cert " + p.cert, []string{"--tls-cert without --tls-key"}},
		{"serve --tls-key " + p.key, []string{"--tls-key without --tls-cert"}},
		{"serve --tls-client-ca " + p.ca, []string{"--tls-client-ca without --tls-cert"}},
		{"serve --tls-cert " + p.cert + " --tls-key " + p.ownKey, []string{"--tls-cert, --tls-key: certs: ", "does not match"}},
		{"serve --tls-cert " + p.cert + " --tls-key /no/such/key", []string{"--tls-key: certs: ", "/no/such/key"}},
		{"serve --tls-cert " + expired + " --tls-key " + expiredKey, []string{"--tls-cert: certs: ", `"shop" has expired`}},
		{"serve --tls-cert " + p.cert + " --tls-key " + p.key + " --tls-client-ca " + empty, []string{"--tls-client-ca: certs: ", "contains no certificate"}},
		{"call --data x --tls-ca " + empty, []string{"--tls-ca: certs: ", "contains no certificate"}},
		{"call --data x --tls-cert " + p.ownCert, []string{"--tls-cert without --tls-key"}},
		{"load tls://127.0.0.1:1 --tls-cert " + expired + " --tls-key " + expiredKey, []string{"--tls-cert: certs: ", `"shop" has expired`}},
		{"load tls://127.0.0.1:1 --tls-ca " + empty, []string{"--tls-ca: certs: ", "contains no certificate"}},
		{"load --listen tls://127.0.0.1:0 --tls-cert " + p.cert + " --tls-key " + p.ownKey, []string{"--listen: --tls-cert, --tls-key: certs: ", "does not match"}},
		{"bench --baseline none --tls-ca " + p.own, []string{"--tls-cert is missing"}},
		{"bench --baseline none --tls-cert " + p.cert + " --tls-key " + p.key + " --tls-ca " + p.own,
			[]string{"--tls-cert: ", "lacks clientAuth; leave --tls-ca out, or name a certificate for both"}},
		{"bench --baseline none --tls-cert " + p.ownCert + " --tls-key " + p.ownKey, []string{"--tls-cert: ", "lacks serverAuth"}},
		{"bench --baseline none --tls-server-name shop", []string{"--tls-cert is missing"}},
		{"bench --baseline none --tls-cert " + p.cert + " --tls-key " + p.key + " --tls-server-name shop", []string{"--tls-server-name: ", "not shop"}},
	} {
		got := execute(t, "", binary, strings.Fields(tc.line)...)
		assert.Equal(t, exitUsage, got.code, "%s\n%s", tc.line, got.stderr)
		for _, want := range append(tc.want, "--help") {
			assert.Contains(t, got.stderr, want, tc.line)
		}
	}
}

// A handshake that is measured is a whole one, unless resumption is asked for.
func TestLoadResumesWhatItIsToldTo(t *testing.T) {
	p := newPapers(t)
	targets := []load.Target{{TLS: true}}
	for _, resume := range []bool{false, true} {
		for name, own := range map[string]tlsFlags{"authority": {ca: p.own}, "certificate": {cert: p.ownCert, key: p.ownKey}} {
			f := targetTLS{tlsFlags: own, resume: resume}
			cfg, err := f.config(targets)
			require.NoError(t, err)
			assert.Equal(t, resume, cfg.ClientSessionCache != nil, name)
		}
	}
}

// A backend that connects to a load generator may be old.
func TestLoadListensForTLSOfOldBackends(t *testing.T) {
	p := newPapers(t)
	f := targetTLS{tlsFlags: tlsFlags{cert: p.cert, key: p.key, ca: p.ca}}
	l, err := f.listen("tls://127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	own := tlsFlags{cert: p.ownCert, key: p.ownKey, ca: p.own, serverName: "localhost"}
	client, err := own.client()
	require.NoError(t, err)
	client.MaxVersion = tls.VersionTLS12
	shaken := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
		shaken <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	require.NoError(t, err)
	_ = conn.Close()
	require.NoError(t, <-shaken)
}

// serveFollowing runs a server that tells of its certificates, and returns its address, what it
// says on standard error, and a function that has it read its files now.
func serveFollowing(t *testing.T, args ...string) (addr string, said *spoken, hangUp func()) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGHUP")
	}
	cmd := exec.Command(binary, append([]string{"serve", "--addr", "127.0.0.1:0", "--stdin"}, args...)...)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	said = new(spoken)
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		assert.NoError(t, cmd.Wait())
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return strings.TrimPrefix(strings.TrimSpace(line), "listening on "), said,
		func() { require.NoError(t, cmd.Process.Signal(syscall.SIGHUP)) }
}

// spoken is what a command writes.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// await waits until the command has said a text.
func (s *spoken) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return strings.Contains(s.b.String(), text)
	}, 20*time.Second, 5*time.Millisecond, text)
}

// A running server uses the files as they are after SIGHUP, or says why not.
func TestServeReloadsItsCertificates(t *testing.T) {
	p := newPapers(t)
	addr, said, hangUp := serveFollowing(t, p.serve()...)
	flags := []string{"--tls-ca", p.own, "--tls-cert", p.ownCert, "--tls-key", p.ownKey, "--tls-server-name"}
	require.Equal(t, outcome{stdout: "hello"}, p.call(t, addr, append(flags, "localhost")...))

	secret, err := os.ReadFile(p.key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.key, nil, 0o600))
	hangUp()
	said.await(t, "certificates: those before stay in use: certs: "+p.key)
	require.Equal(t, outcome{stdout: "hello"}, p.call(t, addr, append(flags, "localhost")...))
	assert.NotContains(t, said.b.String(), strings.Split(string(secret), "\n")[1])

	testca.Files(t, filepath.Dir(p.cert), p.servers.Server(t, "renewed"))
	hangUp()
	said.await(t, "certificates: the files have changed and are in use")
	require.Equal(t, outcome{stdout: "hello"}, p.call(t, addr, append(flags, "renewed")...))
}

// What may be used for anything, or does not say for what, is for a benchmark, and with one that is
// for servers alone the client shows none.
func TestBenchTakesCertificatesThatAreForBothEnds(t *testing.T) {
	p := newPapers(t)
	for name, tc := range map[string]struct {
		usage []x509.ExtKeyUsage
		ca    string
	}{
		"server alone, not mutual": {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, ""},
		"both":                     {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, p.own},
		"anything":                 {[]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, p.own},
		"it does not say":          {nil, p.own},
	} {
		cert, key := testca.Files(t, t.TempDir(), p.servers.Server(t, "bench", testca.Usage(tc.usage...)))
		f := tlsFlags{cert: cert, key: key, ca: tc.ca}
		_, err := f.benchClient()
		assert.NoError(t, err, name)
	}
}

func TestBenchOverTLS(t *testing.T) {
	ca := testca.New(t)
	both := testca.Usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	cert, key := testca.Files(t, t.TempDir(), ca.Server(t, "bench", both))
	for want, flags := range map[string][]string{
		"ringwire: TLS 1.3; connections of all others are plain.":        nil,
		"ringwire: mutual TLS 1.3; connections of all others are plain.": {"--tls-ca", ca.File(t, filepath.Dir(cert))},
	} {
		json := filepath.Join(t.TempDir(), "r.json")
		args := append([]string{"--json", json, "--tls-cert", cert, "--tls-key", key}, flags...)
		got := execute(t, "", binary, append(tiny, args...)...)
		require.Equal(t, exitOK, got.code, got.stderr)
		assert.Contains(t, got.stdout, want)
		for _, row := range readReport(t, json).Rows {
			assert.EqualValues(t, 0, row["errors"])
			assert.Positive(t, row["requests"])
		}
		requireNoServer(t)
	}
}
