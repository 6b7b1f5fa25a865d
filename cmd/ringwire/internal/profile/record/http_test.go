package record

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func serve(t *testing.T, addr string) *Server {
	t.Helper()
	s, err := Listen(addr, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestARemoteRecordsLikeALocal(t *testing.T) {
	tcp := serve(t, "127.0.0.1:0")
	socket := "unix:" + filepath.Join(t.TempDir(), "s")
	assert.Equal(t, socket, serve(t, socket).URL())
	for name, r := range map[string]interface {
		Start(ctx context.Context, kind Kind) error
		Stop(ctx context.Context, kind Kind) ([]byte, error)
	}{
		"tcp":   Dial(tcp.listener.Addr().String()),
		"unix":  Dial(socket),
		"local": Local{&Recorder{}},
	} {
		for _, kind := range Kinds() {
			require.NoError(t, r.Start(t.Context(), kind), name)
			require.ErrorContains(t, r.Start(t.Context(), kind), "already", name)
			data, err := r.Stop(t.Context(), kind)
			require.NoError(t, err, name)
			if kind == Trace {
				assert.True(t, bytes.HasPrefix(data, []byte("go 1.")))
				continue
			}
			_, err = profile.ParseData(data)
			require.NoError(t, err, name)
			_, err = r.Stop(t.Context(), kind)
			require.ErrorContains(t, err, "not being recorded", name)
		}
	}
}

func TestARemoteFailsWhenNobodyServes(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	require.NoError(t, err)
	addr := s.listener.Addr().String()
	require.NoError(t, s.Close())
	require.ErrorContains(t, Dial(addr).Start(t.Context(), CPU), "ask the other process")
}

func TestTheStandardProfilesAreServed(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	for path, want := range map[string]string{
		"":                  "Types of profiles available",
		"goroutine?debug=1": "goroutine profile",
		"cmdline":           "record.test",
	} {
		resp, err := http.Get(s.URL() + "debug/pprof/" + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Contains(t, string(body), want)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAnotherSitesPageCannotRecord(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		strings.TrimSuffix(s.URL(), "/")+startPath+"?kind=cpu", nil)
	require.NoError(t, err)
	req.Header.Set("Origin", "https://example.org")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()
}

func TestOnlyLoopbackUnlessRemote(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "127.1.2.3:6060", "[::1]:0", "localhost:0", "unix:/x"} {
		assert.NoError(t, CheckAddr(addr, false), addr)
	}
	for _, addr := range []string{":6060", "0.0.0.0:0", "[::]:0", "192.0.2.1:1", "example.org:1", "localhost.example.org:1"} {
		assert.ErrorContains(t, CheckAddr(addr, false), "not a loopback", addr)
		assert.NoError(t, CheckAddr(addr, true), addr)
	}
	for _, addr := range []string{"", "127.0.0.1", "unix:"} {
		assert.ErrorContains(t, CheckAddr(addr, true), "must", addr)
	}
}
