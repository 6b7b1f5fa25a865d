package pool_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ringwire/ringwire/pool"
)

func TestADialFunctionThatFailsToAnswerFailsTheDialOnly(t *testing.T) {
	var nothing *net.TCPConn
	for name, c := range map[string]struct {
		dial func() (net.Conn, error)
		want string
	}{
		"nil":         {func() (net.Conn, error) { return nil, nil }, "neither a connection nor an error"},
		"nil pointer": {func() (net.Conn, error) { return nothing, nil }, "neither a connection nor an error"},
		"panic":       {func() (net.Conn, error) { panic("the resolver is upset") }, "Config.Dial panicked: the resolver is upset"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := pool.New(pool.Config{
				Addr: "server:1", MaxConns: 1, BackoffBase: time.Microsecond, BackoffMax: time.Microsecond,
				Dial: func(context.Context, string) (net.Conn, error) { return c.dial() },
			})
			require.NoError(t, err)
			for range 3 { // the only place is given back each time
				_, err = p.GetContext(t.Context())
				require.ErrorContains(t, err, c.want)
			}
			require.NoError(t, p.Close())
		})
	}
}
