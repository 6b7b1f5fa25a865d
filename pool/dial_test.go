package pool_test

import (
	"context"
	"errors"
	"io"
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

// A connection that was not greeted is closed, and its place is free again.
func TestAGreetingThatFailsFailsTheDial(t *testing.T) {
	for name, c := range map[string]struct {
		greet func(ctx context.Context, nc net.Conn) error
		want  string
	}{
		"error": {func(context.Context, net.Conn) error { return errors.New("unknown user") }, "unknown user"},
		"panic": {func(context.Context, net.Conn) error { panic("no password") }, "Config.Greet panicked: no password"},
		"slow": {func(ctx context.Context, _ net.Conn) error {
			<-ctx.Done()
			return ctx.Err()
		}, "DialTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			ends := make(chan net.Conn, 3)
			p, err := pool.New(pool.Config{
				Addr: "server:1", MaxConns: 1, BackoffBase: time.Microsecond, BackoffMax: time.Microsecond,
				DialTimeout: 100 * time.Millisecond, Greet: c.greet,
				Dial: func(context.Context, string) (net.Conn, error) {
					client, server := net.Pipe()
					ends <- server
					return client, nil
				},
			})
			require.NoError(t, err)
			for range 3 {
				_, err = p.GetContext(t.Context())
				require.ErrorContains(t, err, c.want)
				_, err = (<-ends).Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF, "it was closed")
			}
			require.NoError(t, p.Close())
			require.EqualValues(t, 3, p.Stats().DialErrors)
		})
	}
}

func TestAConnectionIsGreetedBeforeItIsLent(t *testing.T) {
	p, err := pool.New(pool.Config{
		Addr: "server:1",
		Greet: func(_ context.Context, nc net.Conn) error {
			_, err := nc.Write([]byte("hello"))
			return err
		},
		Dial: func(context.Context, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				b := make([]byte, 5)
				io.ReadFull(server, b)
				server.Write(b)
			}()
			return client, nil
		},
	})
	require.NoError(t, err)
	nc, err := p.GetContext(t.Context())
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(nc, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, p.Release(nc))
	require.NoError(t, p.Close())
}
