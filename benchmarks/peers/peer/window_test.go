package peer

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/ringwire/ringwire/benchmarks/harness/bench"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

func TestEveryWindowOverTLSAnswers256RequestsWithTheirOwnBytes(t *testing.T) {
	id := newIdentity(t)
	names := make(map[string]bench.API)
	for _, p := range Secured(id) {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startSecured(t, p), os.Getpid())
			require.NoError(t, err)
			api := p.InWindow(&target)
			names[target.Name] = api
			result, err := bench.RunPlan(t.Context(), plan(&target, api, 256), nil)
			require.NoError(t, err)
			assert.GreaterOrEqual(t, result.Rows[0].Requests, uint64(256), "each is sent")
			assert.Zero(t, result.Rows[0].Errors)
		})
	}
	want := map[string]bench.API{bench.Ringwire: bench.Callback, "rueidis DoMulti": bench.Batch, "grpc-go stream": bench.Callback,
		"arpc CallAsync": bench.Callback, "nats PublishRequest": bench.Callback, "tls.Conn": bench.Blocking}
	if redisTLSMissing() != "" {
		delete(want, "rueidis DoMulti")
	}
	assert.Equal(t, want, names)
}

func TestEveryWindowsWrongReplyIsFound(t *testing.T) {
	tails := [][]byte{{56, 57, 58, 59, 60, 61, 62, 63}, redisValue()[RedisValueBytes-8:]}
	id := newIdentity(t)
	for _, p := range Secured(id) {
		t.Run(p.Name, func(t *testing.T) {
			target, err := p.Target(startCorruptingTLS(t, id, startSecured(t, p), tails), os.Getpid())
			require.NoError(t, err)
			_, err = bench.RunPlan(t.Context(), plan(&target, p.InWindow(&target), 4), nil)
			require.ErrorContains(t, err, "wrong reply")
		})
	}
}

// calls is a client that notes its end.
type calls struct{ closed bool }

func (c *calls) Call(dst []byte, _ *[]byte) ([]byte, error) { return dst, nil }
func (c *calls) Close() error                               { c.closed = true; return nil }

func TestAWindowThatDoesNotOpenClosesItsClient(t *testing.T) {
	for _, p := range All() {
		if p.Window == nil || p.Window.Open == nil {
			continue
		}
		client := new(calls)
		target := bench.Target{Dial: func(context.Context, int) (bench.Client, error) { return client, nil }}
		p.InWindow(&target)
		_, err := target.Dial(t.Context(), 1)
		require.ErrorContains(t, err, "*peer.calls is not its client", p.Name)
		assert.True(t, client.closed, p.Name)

		refused := errors.New("refused")
		target = bench.Target{Dial: func(context.Context, int) (bench.Client, error) { return nil, refused }}
		p.InWindow(&target)
		_, err = target.Dial(t.Context(), 1)
		require.ErrorIs(t, err, refused, p.Name)
	}
}

// brokenStream takes messages, and then ends.
type brokenStream struct {
	grpc.ClientStream
	ctx  context.Context
	ends chan error
}

func (s *brokenStream) Context() context.Context { return s.ctx }
func (s *brokenStream) SendMsg(any) error        { return nil }
func (s *brokenStream) RecvMsg(any) error        { return <-s.ends }

func TestAStreamThatEndsFailsWhatIsInFlight(t *testing.T) {
	broken := &brokenStream{ctx: t.Context(), ends: make(chan error)}
	s := &grpcStream{stream: broken, ended: make(chan struct{}), pending: make(chan func([]byte, error), 2)}
	go s.receive()
	var failed, again []error
	for range 2 {
		require.NoError(t, s.Go(nil, func(_ []byte, err error) {
			failed = append(failed, err)
			again = append(again, s.Go(nil, func([]byte, error) { t.Error("it was refused") }))
		}))
	}
	gone := errors.New("gone")
	broken.ends <- gone
	<-s.ended
	assert.Equal(t, []error{gone, gone}, failed)
	assert.Equal(t, []error{gone, gone}, again)
}

func TestAStreamEndsAfterAReplyThatNobodyWaitsFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	broken := &brokenStream{ctx: ctx, ends: make(chan error)}
	s := &grpcStream{stream: broken, ended: make(chan struct{}), pending: make(chan func([]byte, error), 1)}
	go s.receive()
	broken.ends <- nil
	cancel()
	broken.ends <- ctx.Err()
	<-s.ended
	require.ErrorIs(t, s.Go(nil, nil), context.Canceled)
}

func TestReplyWithoutAResponderIsAnErrorAndStrayOnesAreNoReplies(t *testing.T) {
	w := &natsWindow{inbox: "in.", lines: make([]natsLine, 1), free: make(chan int, 1)}
	for _, subject := range []string{"in.0", "in.1", "in.-1", "in.x", "in."} {
		w.answered(&nats.Msg{Subject: subject, Data: []byte("stray")})
		assert.Empty(t, w.free, subject)
	}
	var got error
	w.lines[0].fn = func(_ []byte, err error) { got = err }
	w.answered(&nats.Msg{Subject: "in.0"})
	require.ErrorIs(t, got, nats.ErrNoResponders)
	assert.Len(t, w.free, 1, "its line is free again")
}
