package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/memnet"
	"github.com/ringwire/ringwire/server"
)

// inMemory runs a test with the service and a client of it. In the bubble time goes by only while
// everybody waits, so hours take no time.
func inMemory(t *testing.T, test func(t *testing.T, s *server.Server, b *engine.Broker)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := server.New(config())
		require.NoError(t, err)
		ln := memnet.Listen()
		require.NoError(t, s.Serve(ln))
		defer func() { assert.NoError(t, s.Close()) }()
		b, err := engine.New(engine.Config{Addrs: []string{"memory:1"}, DialContext: ln.DialContext, Extensions: true})
		require.NoError(t, err)
		defer func() { assert.NoError(t, b.Close()) }()
		test(t, s, b)
	})
}

func ask(t *testing.T, b *engine.Broker, name string) string {
	t.Helper()
	reply, err := b.Send(t.Context(), []byte(name))
	require.NoError(t, err)
	return string(reply)
}

func TestNamesAreCountedForAnHour(t *testing.T) {
	inMemory(t, func(t *testing.T, _ *server.Server, b *engine.Broker) {
		assert.Equal(t, "1", ask(t, b, "apples"))
		assert.Equal(t, "2", ask(t, b, "apples"))
		assert.Equal(t, "1", ask(t, b, "pears"))
		time.Sleep(40 * time.Minute) // the server ends the silent connection, the client makes another
		assert.Equal(t, "3", ask(t, b, "apples"))
		time.Sleep(40 * time.Minute)
		assert.Equal(t, "2", ask(t, b, "apples"))
	})
}

func TestANameIsNeeded(t *testing.T) {
	inMemory(t, func(t *testing.T, _ *server.Server, b *engine.Broker) {
		_, err := b.Send(t.Context(), nil)
		var failed *engine.RemoteError
		require.ErrorAs(t, err, &failed)
		assert.EqualValues(t, 400, failed.Code)
	})
}

func TestASilentConnectionIsEnded(t *testing.T) {
	inMemory(t, func(t *testing.T, s *server.Server, b *engine.Broker) {
		ask(t, b, "apples")
		time.Sleep(11 * time.Minute)
		assert.EqualValues(t, 1, s.Stats().Closed.Idle)
	})
}
