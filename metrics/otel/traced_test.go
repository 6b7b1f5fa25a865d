package otel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/ringwire/ringwire/engine"
	"github.com/ringwire/ringwire/metrics/otel"
	"github.com/ringwire/ringwire/server"
)

// spans returns a tracer, and what has ended of its spans.
func spans(t *testing.T, opts ...sdktrace.TracerProviderOption) (trace.Tracer, func() []sdktrace.ReadOnlySpan) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(append(opts, sdktrace.WithSpanProcessor(recorder))...)
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	return provider.Tracer("test"), recorder.Ended
}

// attrs are a span's or an event's attributes as text.
func attrs(all []attribute.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, a := range all {
		m[string(a.Key)] = a.Value.Emit()
	}
	return m
}

// failingServer answers requests with their bytes, and "fail…" with code 17, what follows and more text.
func failingServer(t *testing.T) (addr string, b *engine.Broker) {
	t.Helper()
	srv, err := server.New(server.Config{
		Addr: "127.0.0.1:0", Loops: 1, Logger: slog.New(slog.DiscardHandler), Extensions: true,
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			if text, fails := bytes.CutPrefix(req, []byte("fail")); fails {
				return nil, &server.Error{Code: 17, Text: string(text) + strings.Repeat("é", 400)}
			}
			return append(dst, req...), nil
		}),
	})
	require.NoError(t, err)
	require.NoError(t, srv.Start())
	t.Cleanup(func() { require.NoError(t, srv.Close()) })
	b, err = engine.New(engine.Config{Addrs: []string{srv.Addr().String()}, Extensions: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.NoError(t, b.WaitReady(t.Context()))
	return srv.Addr().String(), b
}

func TestEachCallHasASpan(t *testing.T) {
	addr, b := failingServer(t)
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer, attribute.String("rpc.method", "authorize"), attribute.String("peer.service", "cards"))
	require.NoError(t, err)
	ctx, parent := tracer.Start(t.Context(), "parent")
	defer parent.End()

	_, err = client.Send(ctx, []byte("x"))
	require.NoError(t, err)
	_, err = client.SendInto(ctx, nil, []byte("fail"))
	require.Error(t, err)
	done := make(chan int, 1)
	require.NoError(t, client.Go(ctx, []byte("x"), func([]byte, error) { done <- len(ended()) }))
	assert.Equal(t, 3, <-done, "its span has ended")
	require.NoError(t, client.SendBatch(ctx, [][]byte{nil, nil, nil}, func(int, []byte, error) {}))
	require.NoError(t, client.SendOneWay(ctx, nil))

	all := ended()
	require.Len(t, all, 5)
	for i, s := range all {
		assert.Equal(t, "authorize", s.Name())
		assert.Equal(t, trace.SpanKindClient, s.SpanKind())
		assert.Equal(t, parent.SpanContext().SpanID(), s.Parent().SpanID())
		a := attrs(s.Attributes())
		assert.Equal(t, "ringwire authorize cards", a["rpc.system.name"]+" "+a["rpc.method"]+" "+a["peer.service"])
		if i < 3 {
			assert.Equal(t, host+" "+port, a["server.address"]+" "+a["server.port"])
		}
		var stages []string
		for _, e := range s.Events() {
			stages = append(stages, e.Name)
			assert.False(t, e.Time.Before(s.StartTime()) || e.Time.After(s.EndTime()), "%v", e)
			assert.Equal(t, host, attrs(e.Attributes)["server.address"])
		}
		switch i {
		case 0, 2:
			assert.Equal(t, []string{"placed", "written", "replied"}, stages)
		case 1:
			assert.Equal(t, codes.Error, s.Status().Code)
			assert.Equal(t, "_OTHER 17", a["error.type"]+" "+a["rpc.response.status_code"])
			assert.LessOrEqual(t, len(s.Status().Description), 256)
			assert.Contains(t, s.Status().Description, "ééé")
		case 3:
			assert.Equal(t, "3", a["ringwire.batch.size"])
		}
		if i != 1 {
			assert.Equal(t, codes.Unset, s.Status().Code)
			assert.NotContains(t, a, "error.type")
		}
	}
}

// An error's text is cut between characters, not within one.
func TestTheTextOfAnErrorIsCutBetweenCharacters(t *testing.T) {
	_, b := failingServer(t)
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer)
	require.NoError(t, err)
	sizes := make(map[int]bool)
	for _, req := range []string{"fail", "fail."} {
		_, err = client.Send(t.Context(), []byte(req))
		require.Error(t, err)
		all := ended()
		text := all[len(all)-1].Status().Description
		assert.True(t, utf8.ValidString(text), "%q", text)
		assert.True(t, strings.HasPrefix(err.Error(), text), "%q", text)
		sizes[len(text)] = true
	}
	assert.Equal(t, map[int]bool{256: true, 255: true}, sizes)
}

// The outcome of Go is its function's, and so is its span's.
func TestASpanOfGoHasTheErrorOfItsFunction(t *testing.T) {
	_, b := failingServer(t)
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer)
	require.NoError(t, err)
	done := make(chan error, 1)
	require.NoError(t, client.Go(t.Context(), []byte("fail"), func(_ []byte, err error) { done <- err }))
	require.Error(t, <-done)
	all := ended()
	require.Len(t, all, 1)
	assert.Equal(t, codes.Error, all[0].Status().Code)
	a := attrs(all[0].Attributes())
	assert.Equal(t, "_OTHER 17", a["error.type"]+" "+a["rpc.response.status_code"])
}

// cuttingServer ends each connection when something comes on it.
func cuttingServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Read(make([]byte, 1))
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-ended })
	return ln.Addr().String()
}

// stagesOf returns the stages that a caller's own Trace has, and the server that was last chosen.
func stagesOf(own *engine.Trace) (stages []engine.Stage, last string) {
	for _, e := range own.Events() {
		stages = append(stages, e.Stage)
		if e.Stage == engine.StagePlaced {
			last = e.Addr
		}
	}
	return stages, last
}

// Each attempt is seen: where it went, when, and why there was another one.
func TestAttemptsOfTheBrokerAreEvents(t *testing.T) {
	good, _ := failingServer(t)
	bad := cuttingServer(t)
	b, err := engine.New(engine.Config{Addrs: []string{bad, good}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer)
	require.NoError(t, err)
	own := new(engine.Trace)
	for repeated := false; !repeated; {
		own.Reset()
		_, err = client.Send(t.Context(), []byte("x"), engine.Call{Trace: own, Idempotent: true})
		require.NoError(t, err)
		stages, _ := stagesOf(own)
		repeated = slices.Contains(stages, engine.StageRepeated)
	}
	all := ended()
	span := all[len(all)-1]
	_, last := stagesOf(own)
	a := attrs(span.Attributes())
	assert.Equal(t, last, net.JoinHostPort(a["server.address"], a["server.port"]))
	noted := own.Events()
	require.Len(t, span.Events(), len(noted)-1, "the end of the span is no event of it")
	for i, e := range span.Events() {
		assert.Equal(t, string(noted[i].Stage), e.Name)
		assert.Equal(t, noted[i].At, e.Time)
		want := ""
		if noted[i].Stage == engine.StageRepeated {
			want = "connection_lost"
		}
		kind, there := attrs(e.Attributes)["error.type"]
		assert.Equal(t, want, kind)
		assert.Equal(t, want != "", there)
	}
}

// A call that waits for another attempt has no server, and the span keeps the last one.
func TestASpanKeepsTheServerThatWasLastChosen(t *testing.T) {
	bad := cuttingServer(t)
	b, err := engine.New(engine.Config{Addrs: []string{bad}, BackoffBase: time.Hour, BackoffMax: time.Hour})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	own, done := new(engine.Trace), make(chan error, 1)
	require.NoError(t, client.Go(ctx, nil, func(_ []byte, err error) { done <- err }, engine.Call{Trace: own, Idempotent: true}))
	require.Eventually(t, func() bool {
		stages, _ := stagesOf(own)
		return slices.Contains(stages, engine.StageRepeated)
	}, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	a := attrs(ended()[0].Attributes())
	assert.Equal(t, bad, net.JoinHostPort(a["server.address"], a["server.port"]))
	assert.Equal(t, "cancelled", a["error.type"])
}

func TestASpanOfAFailedCallEnds(t *testing.T) {
	tracer, ended := spans(t)
	client, err := otel.Traced(failing{err: fmt.Errorf("wrapped: %w", engine.ErrTimeout)}, tracer)
	require.NoError(t, err)
	_, err = client.Send(t.Context(), nil)
	require.ErrorIs(t, err, engine.ErrTimeout)
	require.Error(t, client.Go(t.Context(), nil, func([]byte, error) { t.Error("it was not accepted") }))
	require.PanicsWithValue(t, "no", func() { _ = client.SendOneWay(t.Context(), nil) })
	all := ended()
	require.Len(t, all, 3)
	for i, want := range []string{"timeout", "queue_full", ""} {
		assert.Equal(t, "ringwire", all[i].Name())
		assert.Equal(t, want, attrs(all[i].Attributes())["error.type"])
	}
}

func (f failing) Go(context.Context, []byte, func([]byte, error), ...engine.Call) error {
	return engine.ErrQueueFull
}

func (f failing) SendOneWay(context.Context, []byte) error { panic("no") }

// What a caller's own Trace has from before is not the span's.
func TestASpanHasTheStagesOfItsOwnCall(t *testing.T) {
	_, b := failingServer(t)
	tracer, ended := spans(t)
	client, err := otel.Traced(b, tracer)
	require.NoError(t, err)
	own := new(engine.Trace)
	for range 3 {
		_, err = client.Send(t.Context(), nil, engine.Call{Trace: own})
		require.NoError(t, err)
	}
	for _, s := range ended() {
		assert.Len(t, s.Events(), 3)
	}
	assert.Len(t, own.Events(), 12)
}

func TestWhatIsNotSampledIsNotTraced(t *testing.T) {
	tracer, ended := spans(t, sdktrace.WithSampler(sdktrace.NeverSample()))
	var seen *engine.Trace
	_, b := failingServer(t)
	inner := engine.Intercept(b, func(ctx context.Context, in engine.Invocation, next engine.Invoker) error {
		seen = in.Call.Trace
		return next(ctx, in)
	})
	client, err := otel.Traced(inner, tracer)
	require.NoError(t, err)
	_, err = client.Send(t.Context(), nil)
	require.NoError(t, err)
	assert.Nil(t, seen)
	assert.Empty(t, ended())
}

func TestServersOfSpansHaveAddressAndPort(t *testing.T) {
	for addr, want := range map[string]string{
		"tcp://[::1]:9000": "::1 9000", "unix:///run/s": "/run/s ", "db:http": "db ", "pipe": "pipe ", "": " ",
	} {
		tracer, ended := spans(t)
		client, err := otel.Traced(failing{err: &engine.OpError{Op: "wait", Addr: addr, Err: engine.ErrConnLost}}, tracer)
		require.NoError(t, err)
		_, err = client.Send(t.Context(), nil)
		require.Error(t, err)
		a := attrs(ended()[0].Attributes())
		assert.Equal(t, want, a["server.address"]+" "+a["server.port"], strconv.Quote(addr))
		if addr == "" {
			assert.NotContains(t, a, "server.address")
		}
	}
}

func TestSpansHaveTheCodeThatTheServerAnswered(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"refused": {&engine.RefusedError{Code: 23}, "23"},
		"failed":  {&engine.RemoteError{Code: 1234}, "1234"},
		"neither": {engine.ErrConnLost, ""},
	} {
		tracer, ended := spans(t)
		client, err := otel.Traced(failing{err: fmt.Errorf("wrapped: %w", tc.err)}, tracer)
		require.NoError(t, err)
		_, err = client.Send(t.Context(), nil)
		require.ErrorIs(t, err, tc.err)
		code, there := attrs(ended()[0].Attributes())["rpc.response.status_code"]
		assert.Equal(t, tc.want, code, name)
		assert.Equal(t, tc.want != "", there, name)
	}
}

func TestTracedNeedsAClientAndATracer(t *testing.T) {
	tracer, _ := spans(t)
	_, err := otel.Traced(nil, tracer)
	assert.EqualError(t, err, "otel: Client of Traced is nil")
	_, err = otel.Traced(failing{err: errors.New("x")}, nil)
	assert.EqualError(t, err, "otel: tracer of Traced is nil")
}
