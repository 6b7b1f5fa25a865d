package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newIdentity(t *testing.T) *Identity {
	t.Helper()
	id, err := NewIdentity(t.TempDir())
	require.NoError(t, err)
	return id
}

// startSecured starts the server in this process.
func startSecured(t *testing.T, p Peer) string {
	t.Helper()
	if p.Missing != nil && p.Missing() != "" {
		t.Skip(p.Missing())
	}
	srv, err := p.Serve("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(srv.Close)
	return srv.Addr
}

func TestEverySecuredPeerAnswers64CallersWithTheirOwnBytes(t *testing.T) {
	var names []string
	id := newIdentity(t)
	for _, p := range Secured(id) {
		names = append(names, p.Name)
		t.Run(p.Name, func(t *testing.T) {
			require.Same(t, id, p.Identity)
			target, err := p.Target(startSecured(t, p), os.Getpid())
			require.NoError(t, err)
			result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 64), nil)
			require.NoError(t, err)
			assert.Positive(t, result.Rows[0].Requests)
			assert.Zero(t, result.Rows[0].Errors)
		})
	}
	assert.Equal(t, []string{bench.Ringwire, "rueidis", "grpc-go", "arpc", "nats", "net.Conn"}, names)
	for _, p := range All() {
		assert.Nil(t, p.Identity, "%s is plain unless asked", p.Name)
	}
}

// A proxy that can read replies changes them, which TestEveryPeersWrongReplyIsFound sees of what is
// not secured. None can here.
func TestNothingOfASecuredRequestCanBeReadOnItsWay(t *testing.T) {
	tails := [][]byte{{56, 57, 58, 59, 60, 61, 62, 63}, redisValue()[RedisValueBytes-8:]}
	for _, p := range Secured(newIdentity(t)) {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startCorrupting(t, startSecured(t, p), tails), os.Getpid())
			require.NoError(t, err)
			result, err := bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 1), nil)
			require.NoError(t, err)
			assert.Positive(t, result.Rows[0].Requests)
		})
	}
}

func TestEverySecuredPeersWrongReplyIsFound(t *testing.T) {
	tails := [][]byte{{56, 57, 58, 59, 60, 61, 62, 63}, redisValue()[RedisValueBytes-8:]}
	id := newIdentity(t)
	for _, p := range Secured(id) {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startCorruptingTLS(t, id, startSecured(t, p), tails), os.Getpid())
			require.NoError(t, err)
			_, err = bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 1), nil)
			require.ErrorContains(t, err, "wrong reply")
		})
	}
}

// startCorruptingTLS is startCorrupting with the key of both ends. All that it dials is to speak TLS 1.3.
func startCorruptingTLS(t *testing.T, id *Identity, addr string, tails [][]byte) string {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg, out := id.server(), id.client()
	cfg.NextProtos, out.NextProtos = []string{"h2"}, []string{"h2"}
	return corrupt(t, tls.NewListener(plain, cfg), func() (net.Conn, error) {
		upstream, err := tls.Dial("tcp", addr, out)
		if err != nil {
			return nil, err
		}
		if v := upstream.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("the server speaks %s", tls.VersionName(v))
		}
		return upstream, nil
	}, tails)
}

func TestSecuredClientsTrustTheRunsIdentityOnly(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	theirs := Secured(other)
	for i, p := range Secured(id) {
		t.Run(p.Name, func(t *testing.T) {
			addr := startSecured(t, p)
			target, err := theirs[i].Target(addr, os.Getpid())
			if err == nil {
				_, err = bench.RunPlan(t.Context(), plan(&target, bench.Blocking, 1), nil)
			}
			require.Error(t, err)
			assert.Regexp(t, "certificate|no connection", err.Error())
		})
	}
}

func TestNativeTargetsRunOverTLS(t *testing.T) {
	id := newIdentity(t)
	addr := startSecured(t, Ringwire().Secured(id))
	for name, c := range map[string]struct {
		target  bench.Target
		callers int
	}{
		"tls.Conn prebuilt frames": {FramesLimit(id, addr, os.Getpid()), 1024},
		"tls.Conn ping-pong":       {PingPong(id, addr, os.Getpid()), 1},
	} {
		assert.Equal(t, name, c.target.Name)
		result, err := bench.RunPlan(t.Context(), plan(&c.target, bench.Native, c.callers), nil)
		require.NoError(t, err, name)
		assert.Positive(t, result.Rows[0].Requests, name)
		assert.Zero(t, result.Rows[0].Requests%uint64(c.callers), name)
	}
	wrong := PingPong(id, startCorruptingTLS(t, id, addr, [][]byte{{0, 0, 0, 1}}), os.Getpid())
	_, err := bench.RunPlan(t.Context(), plan(&wrong, bench.Native, 1), nil)
	require.ErrorContains(t, err, "wrong reply")
	plain := PingPong(nil, addr, os.Getpid())
	_, err = bench.RunPlan(t.Context(), plan(&plain, bench.Native, 1), nil)
	require.Error(t, err, "the server speaks nothing but TLS")
}

func TestRingwiresOtherWaysOfSendingRunOverTLS(t *testing.T) {
	p := Ringwire().Secured(newIdentity(t))
	target, err := p.Target(startSecured(t, p), os.Getpid())
	require.NoError(t, err)
	for _, api := range []bench.API{bench.Callback, bench.Batch} {
		result, err := bench.RunPlan(t.Context(), plan(&target, api, 256), nil)
		require.NoError(t, err, api)
		assert.GreaterOrEqual(t, result.Rows[0].Requests, uint64(256), api)
		assert.Zero(t, result.Rows[0].Errors, api)
	}
}

func TestAnIdentityIsOneCertificateOfP256InFilesOfItsOwner(t *testing.T) {
	dir := t.TempDir()
	id, err := NewIdentity(dir)
	require.NoError(t, err)
	for _, file := range []string{id.Cert, id.Key} {
		info, err := os.Stat(file)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
		}
	}
	loaded, err := LoadIdentity(id.Cert, id.Key)
	require.NoError(t, err)
	assert.Equal(t, id.pair.Certificate, loaded.pair.Certificate)
	require.Len(t, loaded.pair.Certificate, 1)
	key, ok := loaded.pair.Leaf.PublicKey.(*ecdsa.PublicKey)
	require.True(t, ok)
	assert.Equal(t, elliptic.P256(), key.Curve)
	assert.WithinDuration(t, time.Now().Add(identityTime), loaded.pair.Leaf.NotAfter, time.Minute)

	other, err := NewIdentity(t.TempDir())
	require.NoError(t, err)
	_, err = LoadIdentity(id.Cert, other.Key)
	require.ErrorContains(t, err, "certificate of the run", "the key is another's")
	_, err = LoadIdentity(id.Cert, dir+"/none.pem")
	require.ErrorContains(t, err, "none.pem")
	_, err = NewIdentity(dir + "/none")
	require.Error(t, err)
}

// A Redis without TLS is made of a script here: it says what such a Redis says.
func TestARedisWithoutTLSIsSaidToBeOne(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("scripts are for shells")
	}
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	program := func(name, says string) {
		require.NoError(t, os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\necho '"+says+"'\nexit 1\n"), 0o700))
	}
	program(RedisBenchmark, "")
	program(redisProgram, `>>> tls-port "0"`)
	id := newIdentity(t)
	p := Rueidis().Secured(id)
	assert.Contains(t, p.Missing(), "built without TLS")
	_, err := p.Serve("127.0.0.1:0")
	require.ErrorContains(t, err, "built without TLS")
	assert.Empty(t, Rueidis().Missing(), "it is good for plain connections")
	program(redisProgram, `>>> port "none"`)
	assert.Empty(t, p.Missing())
	t.Setenv("PATH", t.TempDir())
	assert.Contains(t, p.Missing(), "not installed")
}
