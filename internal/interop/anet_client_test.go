package interop

import (
	"context"
	"testing"

	"github.com/andrei-cloud/anet"
	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/server"
)

// startOurServer serves echo until the test ends and returns its address.
func startOurServer(t *testing.T, cfg server.Config) string {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	cfg.Handler = server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
		return append(dst, req...), nil
	})
	srv, err := server.New(cfg)
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close our server: %v", err)
		}
	})
	return srv.Addr().String()
}

// newAnetClient returns a broker of anet v1.0.0 over conns connections.
//
// Without multiplexing a worker has one request in flight on one connection, and
// up to QueueSize requests wait. With it each connection carries up to
// MaxInflightPerConn and a request beyond that is refused, hence the bounds above
// what the tests have in flight.
func newAnetClient(t *testing.T, addr string, multiplex bool, conns int) anet.Broker {
	t.Helper()
	poolConfig := anet.DefaultPoolConfig()
	factory := anet.NewTCPFactory(poolConfig)
	cfg := anet.DefaultBrokerConfig()
	cfg.ReadTimeout, cfg.WriteTimeout = patience, patience
	cfg.QueueSize = 1024
	cfg.MaxInflightPerConn = 1024
	cfg.Multiplex = multiplex

	var pools []anet.Pool
	workers := conns
	if multiplex {
		// A multiplexed connection goes back to its pool at once, so a pool of
		// several would seldom open the second: one pool for each.
		workers = 0
		cfg.OptimizeMemory = anetReusesMemory
		for range conns {
			pools = append(pools, anet.NewPool(1, factory, addr, poolConfig))
		}
	} else {
		pools = append(pools, anet.NewPool(uint32(conns), factory, addr, poolConfig))
	}
	broker := anet.NewBroker(pools, workers, nil, cfg)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = broker.Start() // ErrQuit when the broker is closed
	}()
	t.Cleanup(func() {
		broker.Close()
		for _, pool := range pools {
			pool.Close()
		}
		<-stopped
	})
	return broker
}

// testAnetClient tries the client in both of its modes against addr.
func testAnetClient(t *testing.T, addr string) {
	for mode, multiplex := range map[string]bool{"queue": false, "multiplex": true} {
		t.Run(mode, func(t *testing.T) {
			client := newAnetClient(t, addr, multiplex, 4)
			send := func(ctx context.Context, req []byte) ([]byte, error) {
				return client.SendContext(ctx, &req)
			}
			testEachSize(t, send)
			testConcurrent(t, send)

			tooLong := make([]byte, payloadMax+1)
			_, err := client.Send(&tooLong)
			require.ErrorIs(t, err, anet.ErrMaxLenExceeded)
			testEachSize(t, send) // and the connection is none the worse
		})
	}
}

func TestAnetClientWorksAgainstOurServer(t *testing.T) {
	t.Run("replies on the loop", func(t *testing.T) {
		testAnetClient(t, startOurServer(t, server.Config{}))
	})
	t.Run("replies from workers", func(t *testing.T) {
		testAnetClient(t, startOurServer(t, server.Config{Workers: 4}))
	})
}

// The control: when this fails too, it is not our server that is to blame.
func TestAnetClientWorksAgainstAnetServer(t *testing.T) {
	testAnetClient(t, startPeer(t))
}
