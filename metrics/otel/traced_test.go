package otel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"

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

// failingServer answers requests with their bytes, and "fail" with code 7.
func failingServer(t *testing.T) (addr string, b *engine.Broker) {
	t.Helper()
	srv, err := server.New(server.Config{
		Addr: "127.0.0.1:0", Loops: 1, Logger: slog.New(slog.DiscardHandler), Extensions: true,
		Handler: server.HandlerFunc(func(_ *server.Conn, dst, req []byte) ([]byte, error) {
			if string(req) == "fail" {
				return nil, &server.Error{Code: 7, Text: strings.Repeat("é", 400)}
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
	client, err := otel.Traced(b, tracer, attribute.String("rpc.method", "authorize"))
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
		assert.Equal(t, "ringwire authorize", a["rpc.system.name"]+" "+a["rpc.method"])
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
			assert.Equal(t, "_OTHER 7", a["error.type"]+" "+a["rpc.response.status_code"])
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
		"tcp://[::1]:9000": "::1 9000", "unix:///run/s": "/run/s ", "db:http": "db ", "": " ",
	} {
		tracer, ended := spans(t)
		client, err := otel.Traced(failing{err: &engine.OpError{Op: "wait", Addr: addr, Err: engine.ErrConnLost}}, tracer)
		require.NoError(t, err)
		_, err = client.Send(t.Context(), nil)
		require.Error(t, err)
		a := attrs(ended()[0].Attributes())
		assert.Equal(t, want, a["server.address"]+" "+a["server.port"], strconv.Quote(addr))
	}
}

func TestTracedNeedsAClientAndATracer(t *testing.T) {
	tracer, _ := spans(t)
	_, err := otel.Traced(nil, tracer)
	assert.EqualError(t, err, "otel: Client of Traced is nil")
	_, err = otel.Traced(failing{err: errors.New("x")}, nil)
	assert.EqualError(t, err, "otel: tracer of Traced is nil")
}
