package load

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/server"
)

func apis() []API { return []API{Send, SendInto, Go, Batch} }

// connected returns a broker that ends with the test.
func connected(t *testing.T, addr string, callers, conns int) *engine.Broker {
	t.Helper()
	broker, err := Connect(addr, callers, conns)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	return broker
}

// serving returns the address of a server in this process.
func serving(t *testing.T, handler server.HandlerFunc) string {
	t.Helper()
	srv, err := server.New(server.Config{Addr: "127.0.0.1:0", Handler: handler})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	return srv.Addr().String()
}

func TestRunSendsAsManyRequestsAsAsked(t *testing.T) {
	srv := started(t)
	for _, api := range apis() {
		for _, callers := range []int{1, 7} {
			for _, requests := range []int{0, 1, 20, 500} {
				t.Run(fmt.Sprintf("api=%s/callers=%d/requests=%d", api, callers, requests), func(t *testing.T) {
					broker := connected(t, srv.Addr, callers, 1)
					l := New(broker, api, callers, 64)
					for range 2 { // a load may run again
						before, err := Ask(broker)
						require.NoError(t, err)
						require.NoError(t, l.Run(requests))
						after, err := Ask(broker)
						require.NoError(t, err)
						// A report does not count its own request.
						require.Equal(t, uint64(requests)+1, after.Server.Requests-before.Server.Requests)
					}
				})
			}
		}
	}
}

func TestRunOverSeveralConnections(t *testing.T) {
	srv := started(t)
	for _, api := range apis() {
		require.NoError(t, New(connected(t, srv.Addr, 16, 3), api, 16, 1000).Run(2000), "%s", api)
	}
}

func TestRunFailsOnAReplyThatIsNotTheEcho(t *testing.T) {
	for name, spoil := range map[string]func(reply []byte) []byte{
		"another byte": func(b []byte) []byte { b[len(b)-1]++; return b },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"late":         func(b []byte) []byte { b[7]--; return b },
		"another's":    func(b []byte) []byte { b[3]++; return b },
	} {
		for _, api := range apis() {
			t.Run(fmt.Sprintf("%s/api=%s", name, api), func(t *testing.T) {
				var answered atomic.Int64
				addr := serving(t, func(_ *server.Conn, dst, req []byte) ([]byte, error) {
					reply := append(dst, req...)
					if answered.Add(1) == 50 {
						reply = spoil(reply)
					}
					return reply, nil
				})
				l := New(connected(t, addr, 8, 1), api, 8, 64)
				assert.ErrorContains(t, l.Run(200), "is not its echo")
				assert.NoError(t, l.Run(200), "the next run begins anew")
			})
		}
	}
}

func TestRunFailsWithAFailedRequest(t *testing.T) {
	srv := started(t)
	for _, api := range apis() {
		broker, err := Connect(srv.Addr, 4, 1)
		require.NoError(t, err)
		require.NoError(t, broker.Close())
		assert.ErrorIs(t, New(broker, api, 4, 64).Run(100), engine.ErrQuit, "%s", api)
	}
}

func TestRunRefusesAnUnknownAPI(t *testing.T) {
	assert.ErrorContains(t, New(nil, "carrier pigeon", 1, 64).Run(1), "must be")
}

func TestConnectFailsWithoutAServer(t *testing.T) {
	_, err := Connect("no port", 1, 1)
	assert.Error(t, err)
}
