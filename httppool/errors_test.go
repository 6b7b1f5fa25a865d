package httppool_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/httppool"
)

// Errors about URLs go into logs.
func TestErrorsAboutURLsTellNoPassword(t *testing.T) {
	p := newPool(t, httppool.HTTPPoolConfig{})
	for _, bad := range []string{"http://user:secret@host:port", "http://user:secret@host", "http://user:secret@host/path", "ftp://user:secret@host"} {
		for _, err := range []error{p.AddServer(bad, 1), p.AddServer(bad, -1), p.SetWeight(bad, 1), p.RemoveServer(bad)} {
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
		}
		_, err := p.GetConnection(&httppool.ConnectionRequest{ServerHint: bad})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "secret")
	}
}

// A caller that gives a context a cause gets it, and the context's error as well.
func TestACauseOfAContextIsToldBesideItsError(t *testing.T) {
	hold := make(chan struct{})
	b := newBackend(t, 1, func(http.ResponseWriter, *http.Request) { <-hold })
	t.Cleanup(func() { close(hold) })
	p := newPool(t, httppool.HTTPPoolConfig{MaxTotalConnections: 1}, b)
	why := errors.New("why")
	ended := func() context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
		return ctx
	}
	req, err := http.NewRequestWithContext(ended(), http.MethodGet, "http://pool/", nil)
	require.NoError(t, err)
	_, err = p.RoundTrip(req)
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, context.Canceled)

	got, err := p.GetConnection(&httppool.ConnectionRequest{})
	require.NoError(t, err)
	_, err = p.GetConnection(&httppool.ConnectionRequest{Context: ended()})
	require.ErrorIs(t, err, why)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, p.ReleaseConnection(got.Connection))
}
